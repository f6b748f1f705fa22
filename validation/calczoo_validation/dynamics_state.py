"""One replica of a molecular dynamics run: what it is, how it moves by one step, what is recorded. See dynamics.py."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from ase import Atoms
from ase.units import GPa, fs, kB
from vesin import NeighborList

JUMP = 1.0  # A, longest move of an atom in one step
HOT = 6.0  # times the target temperature (and HOT_FLOOR on top) counts as an explosion
HOT_FLOOR = 1500.0  # K
VOLUME = (0.35, 3.0)  # bounds of V / V(start)


@dataclass
class Replica:
    """One system to be run.

    temperature K; timestep fs; friction 1/ps (0: velocity Verlet, NVE); pressure GPa (None: fixed cell); axes: which
    Cartesian lengths the barostat moves, each by itself (None: all three by one factor); compressibility 1/GPa and
    barostat_time ps set only how fast the volume responds; velocities (n, 3) in ASE's units (None: drawn); frozen (n,)
    bool: atoms that do not move; closest A: atoms closer than this end the run; seed: of all random numbers.
    """

    atoms: Atoms
    temperature: float
    timestep: float
    friction: float = 0.0
    pressure: float | None = None
    axes: tuple[bool, bool, bool] | None = None
    compressibility: float = 0.01
    barostat_time: float = 0.5
    velocities: np.ndarray | None = None
    frozen: np.ndarray | None = None
    closest: float = 0.5
    seed: int | tuple[int, ...] = 0
    label: str = ""


@dataclass
class Trace:
    """What was recorded of one replica, every `every` steps, the start included.

    time ps; potential, kinetic, total eV; temperature K; pressure GPa (where stress was computed); volume A^3. frames:
    (cell (3, 3), unwrapped positions (n, 3)) at each `frames_every`. alive: it reached the end; else `reason`.
    """

    label: str
    natoms: int
    time: list[float] = field(default_factory=list)
    potential: list[float] = field(default_factory=list)
    kinetic: list[float] = field(default_factory=list)
    temperature: list[float] = field(default_factory=list)
    pressure: list[float] = field(default_factory=list)
    volume: list[float] = field(default_factory=list)
    frames: list[tuple[np.ndarray, np.ndarray]] = field(default_factory=list)
    alive: bool = True
    reason: str = ""
    survived: float = 0.0

    @property
    def total(self) -> np.ndarray:
        return np.array(self.potential) + np.array(self.kinetic)


def default_timestep(atoms: Atoms) -> float:
    """fs: 2 fs for an atom of 40 amu, as the square root of the lightest mass, between 0.25 and 4 fs."""
    return float(np.clip(2.0 * np.sqrt(atoms.get_masses().min() / 40.0), 0.25, 4.0))


def thermal_velocities(atoms: Atoms, temperature: float, rng: np.random.Generator, frozen=None) -> np.ndarray:
    """(n, 3) Maxwell-Boltzmann velocities with the centre of mass at rest, in ASE's units."""
    masses = atoms.get_masses()[:, None]
    v = rng.standard_normal((len(atoms), 3)) * np.sqrt(kB * temperature / masses)
    if frozen is not None:
        v[frozen] = 0.0
        return v
    return v - (masses * v).sum(axis=0) / masses.sum()


class State:
    """Positions, velocities and last forces of one replica."""

    def __init__(self, replica: Replica, index: int):
        r = self.replica = replica
        self.atoms = Atoms(numbers=r.atoms.numbers, positions=r.atoms.positions, cell=r.atoms.cell, pbc=r.atoms.pbc)
        self.atoms.set_masses(r.atoms.get_masses())
        if "initial_charges" in r.atoms.arrays:
            self.atoms.set_initial_charges(r.atoms.get_initial_charges())
        self.atoms.info = dict(r.atoms.info)
        self.n, self.dt = len(self.atoms), r.timestep * fs
        seed = r.seed if isinstance(r.seed, tuple) else (r.seed, index)
        self.rng = np.random.default_rng(seed)
        self.mass = self.atoms.get_masses()[:, None]
        self.moving = None if r.frozen is None or not np.any(r.frozen) else ~np.asarray(r.frozen, dtype=bool)
        self.dof = 3 * self.n - 3 if self.moving is None else 3 * int(self.moving.sum())
        self.v = (
            thermal_velocities(self.atoms, r.temperature, self.rng, r.frozen)
            if r.velocities is None
            else np.array(r.velocities, dtype=float)
        )
        self.temperature = r.temperature
        self.c = float(np.exp(-r.friction * 1e-3 / fs * self.dt))  # friction in 1/ps
        self.forces = np.zeros((self.n, 3))
        self.energy, self.stress = np.nan, None
        self.volume0 = self.atoms.get_volume() if self.atoms.cell.rank == 3 else 0.0
        self.steps = 0
        self.trace = Trace(r.label or f"replica {index + 1}", self.n)
        self.frame_cell0 = self.atoms.cell.array.copy()

    @property
    def alive(self) -> bool:
        return self.trace.alive

    @property
    def time(self) -> float:
        return self.steps * self.replica.timestep * 1e-3

    def kinetic(self) -> float:
        return 0.5 * float((self.mass * self.v**2).sum())

    def kinetic_temperature(self) -> float:
        return 2 * self.kinetic() / (max(self.dof, 1) * kB)

    def pressure(self) -> float:
        """GPa, with the kinetic part at the measured temperature; the resting centre of mass is made up for."""
        ideal = self.n * kB * self.kinetic_temperature() / self.atoms.get_volume()
        return (ideal - float(np.mean(self.stress[:3]))) / GPa

    def stop(self, reason: str) -> None:
        self.trace.alive, self.trace.reason = False, reason
        self.trace.survived = self.time

    def _drift(self) -> None:
        # a new array each time: whoever holds the old one (a calculator's cache) keeps what it saw
        self.atoms.arrays["positions"] = self.atoms.arrays["positions"] + 0.5 * self.dt * self.v

    def _ornstein_uhlenbeck(self) -> None:
        noise = self.rng.standard_normal((self.n, 3)) * np.sqrt(kB * self.temperature / self.mass)
        v = self.c * self.v + np.sqrt(1 - self.c**2) * noise
        if self.moving is None:
            v -= (self.mass * v).sum(axis=0) / self.mass.sum()
        else:
            v *= self.moving[:, None]
        self.v = v

    def kick(self) -> None:
        """B, with the forces of the present positions."""
        push = 0.5 * self.dt * self.forces / self.mass
        self.v += push if self.moving is None else push * self.moving[:, None]

    def drift(self) -> None:
        """A O A; without friction the two halves of A are one drift."""
        before = self.atoms.arrays["positions"]
        self._drift()
        if self.c < 1.0:
            self._ornstein_uhlenbeck()
        self._drift()
        longest = float(np.abs(self.atoms.arrays["positions"] - before).max(initial=0.0))
        if not longest < JUMP:
            self.stop(f"an atom moved by {longest:.2g} A in one step of {self.replica.timestep:g} fs")

    def receive(self, result) -> None:
        """Take over forces and end the step."""
        if not isinstance(result, dict):
            self.stop(f"the evaluation failed: {str(result)[:200]}")
            return
        self.forces, self.energy, self.stress = result["forces"], result["energy"], result.get("stress")
        self.kick()
        self.steps += 1
        temperature = self.kinetic_temperature()
        limit = HOT * max(self.temperature, self.replica.temperature) + HOT_FLOOR
        if not temperature < limit:
            self.stop(f"the temperature reached {temperature:.3g} K (target {self.temperature:.0f} K)")

    def move_cell(self, virial: np.ndarray, interval: int) -> None:
        """One move of the barostat over `interval` steps; virial (3,) = -dU/d(eps_aa) / V, eV/A^3."""
        r, volume = self.replica, self.atoms.get_volume()
        kt = kB * self.temperature
        mobility = r.compressibility / GPa / (r.barostat_time * 1e3 * fs) * self.dt * interval
        drive = virial + self.n * kt / volume - r.pressure * GPa
        if r.axes is None:
            noise = np.sqrt(2 * kt * mobility / volume) * self.rng.standard_normal()
            move = np.full(3, (mobility * drive.mean() + noise) / 3)
        else:
            noise = np.sqrt(2 * kt * mobility / (3 * volume)) * self.rng.standard_normal(3)
            move = np.where(r.axes, mobility / 3 * drive + noise, 0.0)
        factor = np.exp(np.clip(move, -0.02, 0.02))
        self.atoms.set_cell(self.atoms.cell.array * factor, scale_atoms=False)
        self.atoms.arrays["positions"] = self.atoms.arrays["positions"] * factor
        ratio = self.atoms.get_volume() / self.volume0
        if not VOLUME[0] < ratio < VOLUME[1]:
            self.stop(f"the volume reached {ratio:.2f} times that of the start")

    def check_distances(self) -> None:
        found = closest_pair(self.atoms, self.replica.closest)
        if found is not None:
            self.stop(f"two atoms came within {found:.2f} A of each other (limit {self.replica.closest:.2f} A)")

    def record(self) -> None:
        t = self.trace
        t.time.append(self.time)
        t.potential.append(self.energy)
        t.kinetic.append(self.kinetic())
        t.temperature.append(self.kinetic_temperature())
        t.volume.append(self.atoms.get_volume() if self.volume0 else 0.0)
        if self.stress is not None:
            t.pressure.append(self.pressure())


def closest_pair(atoms: Atoms, cutoff: float) -> float | None:
    """Smallest distance (A) of two atoms if it is below `cutoff`, else None."""
    if cutoff <= 0 or len(atoms) == 0:
        return None
    search = NeighborList(cutoff=max(cutoff, 2.0), full_list=False, sorted=False, n_threads=1)  # not too fine a grid
    (d,) = search.compute(atoms.get_positions(wrap=True), atoms.cell.array, [bool(p) for p in atoms.pbc], "d")
    return float(d.min()) if len(d) and d.min() < cutoff else None
