"""TorchSim's states as calczoo's systems: flat tensors in, flat tensors out, on the device where they are.

    TorchSim: cell (S, 3, 3) holds the cell vectors as columns, pbc is one bool for the whole state
    calczoo:  cell (S, 3, 3) holds them as rows, pbc (S, 3)

What does not change from step to step (sizes, elements) is checked and taken to the host once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from ase.data import chemical_symbols
from calczoo.core.errors import InvalidStructure, OptionError
from calczoo.core.system import System, check_cell, check_elements


@dataclass
class Layout:
    """Which atom belongs to which system, and what it is, with the tensors that this was read from."""

    sources: tuple[tuple[torch.Tensor, int], ...]
    first: tuple[int, ...]
    system_index: torch.Tensor
    numbers: torch.Tensor


class States:
    """Makes systems of states; remembers the layout of the last one. pbc, charge: see ZooModel."""

    def __init__(self, model: Any, pbc: Sequence[bool] | None = None, charge: float = 0.0):
        self.model = model
        self.pbc = None if pbc is None else _three(pbc)
        self.charge = charge
        self._layout: Layout | None = None

    def system(self, state: Any) -> System:
        """The system of a SimState, or of a dict of its attributes.

        Raises InvalidStructure (shapes, atomic numbers), UnsupportedElement, OptionError (contradicting pbc).
        """
        device, dtype = self.model.device, self.model.dtype
        positions = _tensor(state, "positions", device)
        cell = _tensor(state, "cell", device)
        if cell.ndim == 2:
            cell = cell.unsqueeze(0)
        layout = self._layout_of(state, positions, cell)
        n_systems = len(layout.first) - 1
        if positions.dtype != dtype:  # models see differences only, and far from the origin few digits are left
            positions = (positions - _centres(positions, layout)[layout.system_index]).to(dtype)
        charges = _get(state, "initial_charges")
        return System(
            numbers=layout.numbers,
            positions=positions.contiguous(),
            cell=cell.mT.to(dtype).contiguous(),
            pbc=self._periodic(_get(state, "pbc"), n_systems, device),
            system_index=layout.system_index,
            first=layout.first,
            charge=self._total_charge(state, charges, layout),
            initial_charges=None if charges is None else charges.detach().to(device=device, dtype=dtype),
        )

    # -- what stays as it is -----------------------------------------------------------------------------------

    def _layout_of(self, state: Any, positions: torch.Tensor, cell: torch.Tensor) -> Layout:
        numbers = _get(state, "atomic_numbers")
        if numbers is None:
            raise InvalidStructure("the state has no atomic_numbers")
        index = _get(state, "system_idx")
        given = [t for t in (index, numbers) if t is not None]
        old = self._layout
        shape = (len(cell), len(positions))
        if old is not None and shape == (len(old.first) - 1, old.first[-1]) and _same(old, given):
            return old
        self._layout = None  # nothing stale is left behind should a check raise
        device = positions.device
        if index is None:
            index = torch.zeros(len(positions), dtype=torch.int64)
        layout = _layout(index, numbers, len(positions), cell, device)
        check_numbers(layout, self.model)
        layout.sources = tuple((t, t._version) for t in given)
        self._layout = layout
        return layout

    def _periodic(self, stated: Any, n_systems: int, device: torch.device) -> torch.Tensor:
        if self.pbc is not None:
            if stated is True and not all(self.pbc):
                raise OptionError(
                    f"the model was told pbc={self.pbc}, but the state has pbc=True, and TorchSim would wrap its atoms "
                    "in all three directions; give it states with pbc=False"
                )
            stated = self.pbc
        if stated is None:
            raise InvalidStructure("the state has no pbc")
        flags = torch.as_tensor(stated, dtype=torch.bool, device=device)
        if flags.shape not in ((), (3,), (n_systems, 3)):
            raise InvalidStructure(f"pbc has shape {tuple(flags.shape)}; expected (), (3,) or ({n_systems}, 3)")
        return flags.expand(n_systems, 3).contiguous()

    def _total_charge(self, state: Any, charges: torch.Tensor | None, layout: Layout) -> torch.Tensor:
        """(S,) e: the state's `charge`, else the sum of its initial charges, else what the model was told."""
        n, device, dtype = len(layout.first) - 1, self.model.device, self.model.dtype
        total = _get(state, "charge")
        if total is not None:
            total = torch.as_tensor(total, device=device).detach().to(dtype).reshape(-1)
            if len(total) not in (1, n):
                raise InvalidStructure(f"charge has {len(total)} values; expected one per system ({n})")
            return total.expand(n).contiguous()
        if charges is not None:
            zero = torch.zeros(n, dtype=dtype, device=device)
            return zero.index_add(0, layout.system_index, charges.detach().to(device=device, dtype=dtype))
        return torch.full((n,), self.charge, dtype=dtype, device=device)


def _layout(
    index: torch.Tensor, numbers: torch.Tensor, n_atoms: int, cell: torch.Tensor, device: torch.device
) -> Layout:
    index, numbers = index.detach().to(device=device).long(), numbers.detach().to(device=device).long()
    if len(index) != n_atoms or len(numbers) != n_atoms or cell.shape[1:] != (3, 3):
        raise InvalidStructure(
            f"shapes do not fit: {n_atoms} positions, {len(numbers)} atomic_numbers, {len(index)} system_idx, "
            f"cell {tuple(cell.shape)}"
        )
    host = index.cpu().numpy()
    if len(host) and (host[0] < 0 or host[-1] >= len(cell) or (np.diff(host) < 0).any()):
        raise InvalidStructure(f"system_idx must rise from 0 to {len(cell) - 1}, the number of cells less one")
    first = (0, *np.cumsum(np.bincount(host, minlength=len(cell))).tolist())
    return Layout((), first, index, numbers)


def _same(old: Layout, given: Sequence[torch.Tensor]) -> bool:
    """True for the very tensors of the last call, unchanged; no value is looked at."""
    return len(given) == len(old.sources) and all(
        t is kept and t._version == version for t, (kept, version) in zip(given, old.sources, strict=True)
    )


def check_numbers(layout: Layout, model: Any) -> None:
    """Raise InvalidStructure or UnsupportedElement, naming the atom and its system."""
    numbers = layout.numbers.cpu().numpy()
    for s, (a, b) in enumerate(zip(layout.first[:-1], layout.first[1:], strict=True)):
        where = f" of structure {s}" if len(layout.first) > 2 else ""
        wrong = np.flatnonzero((numbers[a:b] < 1) | (numbers[a:b] >= len(chemical_symbols)))
        if len(wrong):
            raise InvalidStructure(
                f"atom {wrong[0]}{where} has atomic number {numbers[a + wrong[0]]}; allowed is 1 to 118"
            )
        check_elements(numbers[a:b], model.numbers, model.card.name, where)


def check_geometry(system: System, which: Sequence[int] | None = None) -> None:
    """Raise InvalidStructure or InvalidCell for the structures `which` (all by default) where no model can work."""
    positions, cells = system.positions.detach().cpu().double().numpy(), system.cell.detach().cpu().double().numpy()
    pbcs = system.pbc.cpu().numpy()
    for s in range(system.n_systems) if which is None else which:
        where = f" of structure {s}" if system.n_systems > 1 else ""
        mine = positions[system.first[s] : system.first[s + 1]]
        bad = np.argwhere(~np.isfinite(mine))
        if len(bad):
            k, axis = bad[0]
            raise InvalidStructure(f"positions[{k}, {axis}] is {mine[k, axis]}{where}; every value must be finite")
        if not np.isfinite(cells[s]).all():
            raise InvalidStructure(f"the cell{where} is not finite: {cells[s].tolist()}")
        check_cell(cells[s], pbcs[s], where)


def _centres(positions: torch.Tensor, layout: Layout) -> torch.Tensor:
    """(S, 3) mean positions."""
    n = len(layout.first) - 1
    sizes = positions.new_tensor([max(b - a, 1) for a, b in zip(layout.first[:-1], layout.first[1:], strict=True)])
    return positions.new_zeros((n, 3)).index_add(0, layout.system_index, positions) / sizes[:, None]


def _get(state: Any, name: str) -> Any:
    return state.get(name) if isinstance(state, dict) else getattr(state, name, None)


def _tensor(state: Any, name: str, device: torch.device) -> torch.Tensor:
    found = _get(state, name)
    if not isinstance(found, torch.Tensor):
        raise InvalidStructure(f"{name} of the state is {type(found).__name__}; expected is a tensor")
    return found.detach().to(device)


def _three(pbc: Any) -> tuple[bool, bool, bool]:
    flags = (pbc,) * 3 if isinstance(pbc, bool) else tuple(pbc)
    if len(flags) != 3 or not all(isinstance(f, (bool, np.bool_)) for f in flags):
        raise OptionError(f"pbc is {pbc!r}; expected is True, False, or three of them")
    return bool(flags[0]), bool(flags[1]), bool(flags[2])
