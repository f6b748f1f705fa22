"""ZooModel: a calculator of the zoo as a model of TorchSim.

    energy (S,) eV,  forces (N, 3) eV/A,  stress (S, 3, 3) eV/A^3 = virial_s / V_s

with TorchSim's sign of the stress, which is ASE's (positive = tension). States go to calczoo's flat tensors and results
come back as tensors, all on the model's device: no structure is made on the way.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from threading import RLock
from typing import Any

import torch
from calczoo import get_calculator
from calczoo.calculator import ZooCalculator
from calczoo.core.errors import NonFiniteResult, OptionError, PropertyNotImplementedError, TooLarge
from calczoo.core.model import Model
from calczoo.core.results import Results
from calczoo.core.system import System
from torch_sim.models.interface import ModelInterface

from .neighbours import Neighbours
from .state import States

_OWN = frozenset({"energy", "forces", "virial", "virials", "pair_gradients"})
"""Outputs that TorchSim has its own switches for, or that mean nothing outside calczoo."""
SCALINGS = ("n_atoms_x_density", "n_atoms")


class ZooModel(ModelInterface):
    """Any calculator of the zoo, for torch_sim.optimize, integrate and static.

    calculator: a ZooCalculator, a Model of calczoo, or a spec such as "snap:Mo + zbl(4.0, 4.8)", for which device,
    dtype, elements, skin and further options go to get_calculator. compute_stress: default where the model has it.
    outputs: further ones to return with every call, such as ("energies", "extrapolation_grade"). pbc: periodic
    directions of all systems, three bools, where a state's one bool cannot say it. charge: total charge (e) of every
    system, for states that have no attribute `charge`. memory_scales_with: see TorchSim's autobatching.

    Stress is NaN for systems that are not periodic in all three directions. Raises the errors of calczoo.core.errors,
    which name the structure of the batch, before or after the evaluation; a result that is not finite is never
    returned.
    """

    mixed_pbc = True
    """Understands a state whose pbc is a tensor (S, 3)."""

    def __init__(
        self,
        calculator: ZooCalculator | Model | str,
        *,
        device: torch.device | str | None = None,
        dtype: torch.dtype | str | None = None,
        elements: str | Iterable[str] | None = None,
        compute_forces: bool = True,
        compute_stress: bool | None = None,
        outputs: Sequence[str] = (),
        pbc: Sequence[bool] | bool | None = None,
        charge: float = 0.0,
        memory_scales_with: str = "n_atoms_x_density",
        skin: float | None = None,
        **options: Any,
    ):
        super().__init__()
        self.calculator = _calculator(calculator, device, dtype, elements, skin, options)
        self.zoo: Model = self.calculator.model
        self._device, self._dtype = self.zoo.device, self.zoo.dtype
        self._check_precision(device, dtype)
        self._compute_forces = self._compute_stress = False
        self.compute_forces = compute_forces
        self.compute_stress = "virial" in self.zoo.outputs if compute_stress is None else compute_stress
        if memory_scales_with not in SCALINGS:
            raise OptionError(f"memory_scales_with is {memory_scales_with!r}; allowed are {', '.join(SCALINGS)}")
        self._memory_scales_with = memory_scales_with
        self.outputs = _further(outputs, self.zoo)
        self.states = States(self.zoo, pbc, float(charge))
        skin = self.calculator.skin if self.zoo.cutoff > 0.0 else 0.0
        self.neighbours = Neighbours(self.zoo.cutoff, skin, self.calculator.max_memory_gib)
        self._lock = RLock()

    # -- what TorchSim asks for ----------------------------------------------------------------------------------

    @property
    def compute_forces(self) -> bool:
        """Whether forces are among the results; can be switched."""
        return self._compute_forces

    @compute_forces.setter
    def compute_forces(self, wanted: bool) -> None:
        self._compute_forces = self._switch(wanted, "forces", "forces")

    @property
    def compute_stress(self) -> bool:
        """Whether the stress is among the results; can be switched."""
        return self._compute_stress

    @compute_stress.setter
    def compute_stress(self, wanted: bool) -> None:
        self._compute_stress = self._switch(wanted, "stress", "virial")

    @property
    def cutoff(self) -> float:
        """A, from the card: zero where the calculator does not tell."""
        return self.zoo.cutoff or self.zoo.card.cutoff

    @property
    def card(self) -> Any:
        """Facts about the model."""
        return self.zoo.card

    @property
    def numbers(self) -> tuple[int, ...]:
        """Atomic numbers that it knows."""
        return self.zoo.numbers

    def forward(self, state: Any, **kwargs: Any) -> dict[str, torch.Tensor]:
        """Energy, and forces, stress and further outputs as switched on, of a SimState or a dict of its attributes;
        keywords of other models are not used."""
        with self._lock:  # the neighbour list belongs to one call at a time
            system, pairs = self._prepared(state)
            results = self.zoo.compute(system, pairs, self._need())
        out = {"energy": results.energy}
        if self.compute_forces:
            out["forces"] = results.forces
        if self.compute_stress:
            out["stress"] = _stress(results, system)
        out |= {name: getattr(results, name) for name in self.outputs}
        out = {name: t.detach().to(device=self.device, dtype=self.dtype) for name, t in out.items()}
        self._check_finite(out, system)
        return out

    # -- inside --------------------------------------------------------------------------------------------------

    def __getstate__(self) -> dict[str, Any]:
        return {k: v for k, v in self.__dict__.items() if k != "_lock"}  # a lock is neither copied nor pickled

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        self._lock = RLock()

    def _prepared(self, state: Any):
        try:
            return self.neighbours.update(self.states.system(state))
        except TooLarge as error:
            if self.device.type != "cuda":
                raise
            # how TorchSim's autobatching finds out how much fits
            raise torch.OutOfMemoryError(f"CUDA out of memory. {error}") from error

    def _need(self) -> frozenset[str]:
        need = {"energy", *self.outputs}
        return frozenset(need | ({"forces"} if self.compute_forces else set()) |
                         ({"virial"} if self.compute_stress else set()))  # fmt: skip

    def _switch(self, wanted: bool, name: str, output: str) -> bool:
        if wanted and output not in self.zoo.outputs:
            reason = getattr(self.zoo, "missing", {}).get(output)
            raise PropertyNotImplementedError(
                f"{self.zoo.card.name} does not compute {name}{f': {reason}' if reason else ''}"
            )
        return bool(wanted)

    def _check_precision(self, device: torch.device | str | None, dtype: torch.dtype | str | None) -> None:
        kind = getattr(torch, dtype, None) if isinstance(dtype, str) else dtype
        if kind not in (None, self._dtype):
            raise OptionError(f"the calculator computes in {self._dtype}, not {dtype}; make it with dtype=...")
        if device not in (None, "auto") and torch.device(device).type != self._device.type:
            raise OptionError(f"the calculator is on {self._device}, not {device}; make it with device=...")

    def _check_finite(self, out: dict[str, torch.Tensor], system: System) -> None:
        checked = [out[name] for name in ("energy", "forces") if name in out]
        if bool(torch.stack([t.isfinite().all() for t in checked]).all()):
            return
        bad = ~out["energy"].isfinite()
        if "forces" in out:
            rows = (~out["forces"].isfinite()).any(dim=1).to(torch.int64)
            bad |= torch.zeros_like(bad, dtype=torch.int64).index_add(0, system.system_index, rows) > 0
        which = ", ".join(map(str, torch.nonzero(bad).flatten().tolist()))
        raise NonFiniteResult(
            f"{self.card.name} gave a non-finite energy or force for structure {which} of {system.n_systems}; it may "
            "be far outside the model's range (very short distances, too long a time step?)"
        )


def _calculator(
    given: Any, device: Any, dtype: Any, elements: Any, skin: float | None, options: dict[str, Any]
) -> ZooCalculator:
    """The calculator that was given, or that a spec names."""
    if isinstance(given, str):
        return get_calculator(
            given, elements=elements, device="auto" if device is None else str(device),
            dtype="float64" if dtype is None else str(dtype).removeprefix("torch."), skin=skin, **options,
        )  # fmt: skip
    if unused := sorted({*options, *({"elements"} if elements is not None else ())}):
        raise OptionError(f"'{unused[0]}' is for a spec; here the calculator is made already")
    if isinstance(given, ZooCalculator):
        return given if skin is None else ZooCalculator(given.model, skin, given.max_memory_gib)
    if isinstance(given, Model):
        return ZooCalculator(given, skin)
    raise OptionError(
        f"calculator is a {type(given).__name__}; expected a calculator of calczoo (get_calculator), its model, or a "
        "spec"
    )


def _further(outputs: Sequence[str], model: Model) -> tuple[str, ...]:
    names = (outputs,) if isinstance(outputs, str) else tuple(outputs)
    has = sorted(model.outputs - _OWN)
    if unknown := [name for name in names if name not in has]:
        raise OptionError(f"outputs names '{unknown[0]}'; {model.card.name} has {', '.join(has) or 'no further ones'}")
    return names


def _stress(results: Results, system: System) -> torch.Tensor:
    """(S, 3, 3) eV/A^3, symmetric; NaN for structures without three periodic directions."""
    virial = 0.5 * (results.virial + results.virial.mT)
    stress = virial / system.volumes().to(virial.dtype)[:, None, None]
    return torch.where(system.pbc.all(dim=1)[:, None, None], stress, torch.nan)
