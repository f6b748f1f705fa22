"""The three modes: smoke (seconds, for tests), fast (the default) and full (for publication)."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from calczoo.core.errors import OptionError


@dataclass(frozen=True)
class Settings:
    """Numerical settings of one mode. Lengths in A, forces in eV/A, strains without unit, q-mesh lengths in A."""

    mode: str
    scan_points: int
    eos_points: int
    eos_range: float = 0.06  # V/V0 - 1 at the ends
    strain: float = 1e-3  # and twice this
    displacement: float = 0.01  # and twice this
    phonon_lengths: tuple[float, ...] = (12.0,)
    band_points: int = 41
    mesh: float = 60.0
    vacancy_lengths: tuple[float, ...] = (10.5, 13.5)
    vacancy_fmax: float = 1e-3
    crystal_fmax: float = 1e-4
    strained_relative: float = 1e-3  # forces left in a strained cell, relative to what the strain caused
    max_steps: int = 300
    temperature: float = 300.0

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


MODES = {
    "smoke": Settings("smoke", 15, 7, phonon_lengths=(8.0,), band_points=21, mesh=30.0, vacancy_lengths=(8.0,)),
    "fast": Settings("fast", 27, 11),
    "full": Settings(
        "full", 41, 15, phonon_lengths=(12.0, 18.0), band_points=81, mesh=100.0, vacancy_lengths=(10.5, 13.5, 17.5),
        vacancy_fmax=1e-4, max_steps=1000,
    ),
}  # fmt: skip


def get_settings(mode: str) -> Settings:
    if mode not in MODES:
        raise OptionError(f"unknown mode {mode!r}; allowed: {', '.join(MODES)}")
    return MODES[mode]
