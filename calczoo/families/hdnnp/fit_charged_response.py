"""Stage two of training generations 3 and 4: what the trained charges leave to the short-range networks.

The charges are fixed by stage one, and so is all that depends on them alone. Energies, forces and stresses of the model
with short-range networks of zero, that is electrostatics with charges that respond to every displacement, are taken off
the reference values. What remains in generation 4 is

    E = sum_i NN_i(G_i, Q_i),     F_a = - sum_i dNN_i/dG_i . dG_i/dr_a - sum_i dNN_i/dQ_i dQ_i/dr_a

in which an atom's charge is one more input with derivatives of its own, but in the positions of all atoms:

    dQ_i/dr_a = - sum_k P_ik [ dchi_k/dr_a + (dA/dr_a Q)_k ],     P = M^-1 without the row and column of the constraint.

They are made once for each structure, exactly, as a matrix. Nothing is left out of the forces.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import torch
from ase import Atoms

from ...core.pairs import find_pairs
from ...core.system import System
from ...core.units import VOIGT
from ...fitting.data import Dataset
from ...fitting.errors import evaluate
from .charged import HdnnpCharged
from .fit_charged_stages import nothing
from .fit_columns import Block
from .fit_frames import Frame
from .params import HdnnpParams


def without_short(params: HdnnpParams) -> HdnnpParams:
    """The same charges and electrostatics, with short-range networks of zero and no energies of free atoms."""
    models = tuple(replace(m, short=nothing(m.short.n_inputs), energy=0.0) for m in params.models)
    return replace(params, models=models, mean_energy=0.0)


def rest(data: Dataset, model: HdnnpCharged) -> Dataset:
    """Reference values less those of `model`, whose short-range networks are zero."""
    energies, forces, stresses = data.energies.copy(), [], []
    for k, found in enumerate(evaluate(model, data)):
        energies[k] -= found["energy"]
        f, s = data.forces[k], data.stresses[k]
        forces.append(None if f is None else f - found["forces"])
        stresses.append(None if s is None else s - found["stress"])
    return replace(data, energies=energies, forces=tuple(forces), stresses=tuple(stresses))


# -- generation 4: charges as inputs -------------------------------------------------------------------------


def charges_of(model: HdnnpCharged, structures: Sequence[Atoms]) -> list[np.ndarray]:
    """(n,) e of each structure."""
    out = []
    for atoms in structures:
        system = System.from_atoms(atoms)
        found = model.compute(system, find_pairs(system, model.cutoff), frozenset({"charges"}))
        assert found.charges is not None
        out.append(found.charges.numpy())
    return out


class Response:
    """Charges of structures and their derivatives in positions and strain, for a model on the CPU."""

    def __init__(self, model: HdnnpCharged):
        self.model = model

    def of(self, atoms: Atoms, blocks: Sequence[Block]) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Charges (n,) e, dQ_i/dr_a (n_a, 3, n_i) e/A, and dQ_i/dstrain (n_i, 6) e. blocks: derivatives of the scaled
        symmetry functions of each element."""
        system = System.from_atoms(atoms)
        n = system.n_atoms
        parts = self.model.parts(system, find_pairs(system, self.model.cutoff))
        charges, geometry = parts.source.charges, parts.geometry
        # the right sides of all atoms: chi through the functions, A through bilinear gradients
        by_position, by_strain = charges.new_zeros(n, 3, n), charges.new_zeros(n, 6)
        species = self.model.index[system.numbers]
        for e, block in enumerate(blocks):
            atoms_e = torch.nonzero(species == e).flatten()
            if not len(atoms_e):
                continue
            w = parts.x_slope[atoms_e][:, : block.values.shape[1] if block.rows is None else block.rows.shape[3]]
            assert block.rows is not None and block.strain is not None
            by_position[:, :, atoms_e] = _chi_rows(block, w)
            by_strain[atoms_e] = torch.einsum("isk,ik->is", block.strain.double(), w)
        unit = torch.eye(n, dtype=charges.dtype)
        response = torch.stack([parts.source.back(unit[k])[0] for k in range(n)])  # rows: dQ_k/dchi
        by_position = by_position @ response.T
        by_strain = response @ by_strain
        for k in range(n):
            forces, virial = geometry.gradients(response[k].contiguous(), charges)
            by_position[:, :, k] -= forces
            sym = 0.5 * (virial[0] + virial[0].T)
            by_strain[k] += torch.stack([sym[x, y] for x, y in VOIGT])
        return charges, by_position, by_strain


def _chi_rows(block: Block, w: torch.Tensor) -> torch.Tensor:
    """(n, 3, n_e): derivatives of the outputs of one element's atoms, given those in its functions."""
    assert block.rows is not None
    rows, n_e = block.rows.double(), len(w)
    if block.index is None:
        return torch.einsum("axmk,mk->axm", rows, w)
    products = torch.einsum("axmk,amk->axm", rows, w[block.index])
    out = rows.new_zeros(len(rows), 3, n_e)
    return out.scatter_add(2, block.index[:, None, :].expand(-1, 3, -1), products)


def with_charges(block: Block, by_position: torch.Tensor, by_strain: torch.Tensor) -> Block:
    """A block with one more column, that of an element's charges: by_position (n, 3, n_e), by_strain (n_e, 6)."""
    rows, strain = block.rows, block.strain
    assert rows is not None and strain is not None
    if block.index is not None:  # charges depend on all positions, so that nothing is sparse any more
        n, _, _, width = rows.shape
        dense = rows.new_zeros(n, 3, by_position.shape[2], width)
        index = block.index[:, None, :, None].expand(-1, 3, -1, width)
        rows = dense.scatter_add(2, index, rows)
    new, strained = by_position.to(rows), by_strain.to(strain)
    rows, strain = torch.cat([rows, new[..., None]], dim=3), torch.cat([strain, strained[..., None]], dim=2)
    return Block(block.values, rows, None, strain)


def add_charges(
    frames: Sequence[Frame],
    structures: Sequence[Atoms],
    model: HdnnpCharged,
    shifts: Sequence[tuple[float, float]],
    memory: float,
    tell: Callable[[float], None],
) -> None:
    """Give the frames the charge as the last input, (Q - mean) / deviation with `shifts` of each element, and its
    derivatives. memory: bytes of derivatives that are kept; those of other structures are made when needed."""
    response = Response(model)
    room = memory
    for k, (frame, atoms) in enumerate(zip(frames, structures, strict=True)):
        made, frame.blocks, inner = None, None, frame.blocks
        if frame.targets.wants_rows:
            make = _maker(frame, inner, atoms, response, shifts)
            made, charges = make()
            size = sum(4 * b.rows.numel() for b in made if b.rows is not None)
            if size <= room:
                room -= size
                frame.blocks = made
            else:
                frame.make = lambda make=make: make()[0]
        else:
            charges = torch.from_numpy(charges_of(model, [atoms])[0])
        species = model.index[torch.from_numpy(atoms.numbers).long()]
        for e, (mean, deviation) in enumerate(shifts):
            q = ((charges[species == e] - mean) / deviation).to(frame.inputs[e])
            frame.inputs[e] = torch.cat([frame.inputs[e], q[:, None]], dim=1)
        tell((k + 1) / len(frames))


def _maker(
    frame: Frame, kept: list[Block] | None, atoms: Atoms, response: Response, shifts: Sequence[tuple[float, float]]
) -> Callable[[], tuple[list[Block], torch.Tensor]]:
    """What makes the blocks of a frame, with the column of charges."""
    source = frame.make
    found: list[tuple[torch.Tensor, ...]] = []  # responses are made once: they are the larger part of the work

    def make() -> tuple[list[Block], torch.Tensor]:
        blocks = kept if kept is not None else source()  # type: ignore[misc]
        device = next(b.rows.device for b in blocks if b.rows is not None)
        plain = [_moved(b, torch.device("cpu")) for b in blocks]
        if not found:
            charges, by_position, by_strain = response.of(atoms, plain)
            kind = frame.inputs[0].dtype
            found.append((charges, by_position.to(kind), by_strain.to(kind)))
        charges, by_position, by_strain = found[0]
        species = response.model.index[torch.from_numpy(atoms.numbers).long()]
        out = []
        for e, (block, (_, deviation)) in enumerate(zip(plain, shifts, strict=True)):
            mine = species == e
            new = with_charges(block, by_position[:, :, mine] / deviation, by_strain[mine] / deviation)
            out.append(_moved(new, device))
        return out, charges

    return make


def _moved(block: Block, device: torch.device) -> Block:
    parts = (None if t is None else t.to(device) for t in (block.rows, block.index, block.strain))
    return Block(block.values, *parts)
