"""A small correct calculator, and one broken variant of it per verification check."""

from __future__ import annotations

import itertools
import time

import numpy as np
from ase import Atoms
from ase.calculators.calculator import Calculator, PropertyNotImplementedError, all_changes

from calczoo.core.errors import InvalidStructure

RC = 5.0
SIZE = {"Cu": 2.5, "Ni": 2.4, "Al": 2.8}


class Good(Calculator):
    """E_i = 1/2 sum s phi + c rho^2, phi = D (x^2 - 2 x), x = exp(-a (r - r0)), rho = sum s, s = (1 - (r/rc)^2)^4.

    Smooth at the cutoff up to the third derivative; image atoms by brute force; refuses bad input.
    """

    implemented_properties = ["energy", "forces", "stress"]
    depth, decay, embed = 0.4, 1.6, 0.01

    def calculate(self, atoms=None, properties=("energy",), system_changes=tuple(all_changes)):
        super().calculate(atoms, properties, system_changes)
        self.check(self.atoms)
        self.results = self.evaluate_one(self.atoms)
        if "stress" in properties and "stress" not in self.results:
            raise PropertyNotImplementedError("stress needs three periodic directions")

    def check(self, atoms: Atoms) -> None:
        self.check_elements(atoms)
        self.check_finite(atoms)
        self.check_cell(atoms)

    def check_elements(self, atoms: Atoms) -> None:
        if unknown := set(atoms.get_chemical_symbols()) - set(SIZE):
            raise ValueError(f"no parameters for {unknown}")

    def check_finite(self, atoms: Atoms) -> None:
        if not (np.isfinite(atoms.positions).all() and np.isfinite(atoms.cell.array).all()):
            raise ValueError("structure is not finite")

    def check_cell(self, atoms: Atoms) -> None:
        vectors = atoms.cell.array[atoms.pbc]
        if len(vectors) and np.linalg.matrix_rank(vectors, tol=1e-6) < len(vectors):
            raise ValueError("degenerate cell")

    def check_distance(self, r: np.ndarray) -> None:
        if len(r) and r.min() < 1e-3:
            raise ValueError("atoms overlap")

    def wrap(self, atoms: Atoms, vectors: np.ndarray) -> np.ndarray:
        return atoms.positions - np.floor(atoms.positions @ np.linalg.pinv(vectors)) @ vectors

    def reach(self, vectors: np.ndarray) -> np.ndarray:
        heights = 1.0 / np.linalg.norm(np.linalg.pinv(vectors), axis=0)
        return np.ceil(RC / heights).astype(int) + 1

    def pairs(self, atoms: Atoms) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """i, j, r_j - r_i of all directed pairs within the cutoff."""
        pbc = self.periodic(atoms)
        vectors = atoms.cell.array[pbc]
        x, shifts = atoms.positions, np.zeros((1, 3))
        if pbc.any():
            x = self.wrap(atoms, vectors)
            shifts = np.array(list(itertools.product(*[range(-n, n + 1) for n in self.reach(vectors)]))) @ vectors
        v = x[None, :, None, :] + shifts[None, None] - x[:, None, None, :]
        r2 = (v**2).sum(-1)
        same = (np.arange(len(x))[:, None] == np.arange(len(x)))[:, :, None] & (shifts == 0).all(1)
        i, j, s = np.nonzero((r2 < RC**2) & ~same)
        return i, j, v[i, j, s]

    def periodic(self, atoms: Atoms) -> np.ndarray:
        return np.asarray(atoms.pbc)

    def cut(self, r: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        u = 1 - (r / RC) ** 2
        return u**4, -8 * r / RC**2 * u**3

    def extra_energy(self, atoms: Atoms, i, j, v) -> float:
        """Where broken variants put their fault."""
        return 0.0

    def evaluate_one(self, atoms: Atoms) -> dict:
        n = len(atoms)
        i, j, v = self.pairs(atoms)
        r = np.linalg.norm(v, axis=1)
        self.check_distance(r)
        size = np.array([SIZE.get(s, 2.6) for s in atoms.get_chemical_symbols()])
        s, ds = self.cut(r)
        x = np.exp(-self.decay * (r - 0.5 * (size[i] + size[j])))
        phi = self.depth * (x**2 - 2 * x)
        dphi = self.depth * self.decay * (2 * x - 2 * x**2)
        rho = np.bincount(i, s, minlength=n)
        slope = 0.5 * (phi * ds + dphi * s) + 2 * self.embed * rho[i] * ds
        g = slope[:, None] * v / r[:, None]
        forces = np.zeros((n, 3))
        np.add.at(forces, i, g)
        np.add.at(forces, j, -g)
        energy = 0.5 * float(np.sum(s * phi)) + self.embed * float(np.sum(rho**2)) + self.extra_energy(atoms, i, j, v)
        results = {"energy": energy, "forces": forces}
        if self.has_stress(atoms):
            virial = v.T @ g
            virial = 0.5 * (virial + virial.T) / max(atoms.get_volume() if atoms.cell.rank == 3 else 1.0, 1e-9)
            results["stress"] = virial[[0, 1, 2, 1, 0, 0], [0, 1, 2, 2, 2, 1]]
        return results

    def has_stress(self, atoms: Atoms) -> bool:
        return bool(atoms.pbc.all())


class Batched(Good):
    """Good, with `evaluate`."""

    def evaluate(self, structures, properties=("energy", "forces")):
        out = []
        for atoms in structures:
            self.check(atoms)
            out.append(self.evaluate_one(atoms))
        return out


class NoSlabs(Batched):
    """Good, but refuses structures that are periodic in one or two directions, as Ewald sums do."""

    def check(self, atoms):
        super().check(atoms)
        if atoms.pbc.any() and not atoms.pbc.all():
            raise InvalidStructure("all three directions, or none")


class Single(Good):
    """Good in float32: positions, energy and forces are rounded."""

    def evaluate_one(self, atoms):
        rounded = atoms.copy()
        rounded.positions = atoms.positions.astype(np.float32)
        results = super().evaluate_one(rounded)
        return {k: np.float64(np.float32(v)) if k == "energy" else v.astype(np.float32) for k, v in results.items()}


# -- one fault each ----------------------------------------------------------------------------------------------


class NoNickel(Good):
    def check_elements(self, atoms):
        if "Ni" in atoms.get_chemical_symbols():
            raise RuntimeError("nickel was forgotten")


class MixedPbcAsFull(Good):
    def periodic(self, atoms):
        return np.array([True] * 3 if atoms.pbc.any() and atoms.cell.rank == 3 else [False] * 3)

    def has_stress(self, atoms):
        return atoms.cell.rank == 3


class OrderMatters(Good):
    def extra_energy(self, atoms, i, j, v):
        return 1e-6 * float(np.sum(i * np.linalg.norm(v, axis=1)))


class WrongForces(Good):
    def evaluate_one(self, atoms):
        results = super().evaluate_one(atoms)
        return {**results, "forces": 1.001 * results["forces"]}


class WrongStress(Good):
    def evaluate_one(self, atoms):
        results = super().evaluate_one(atoms)
        if "stress" in results:
            results["stress"] = results["stress"][[0, 1, 2, 5, 4, 3]]
        return results


class Truncated(Good):
    """Energy and force jump by a little at the cutoff."""

    def cut(self, r):
        s, ds = super().cut(r)
        return s + 1e-3, ds


class Kinked(Good):
    """dE/dr jumps inside the range."""

    def extra_energy(self, atoms, i, j, v):
        return 0.5 * 1e-4 * float(np.sum(np.abs(np.linalg.norm(v, axis=1) - 3.456789)))

    def evaluate_one(self, atoms):
        results = super().evaluate_one(atoms)
        i, j, v = self.pairs(atoms)
        r = np.linalg.norm(v, axis=1)
        np.add.at(results["forces"], i, 1e-4 * (np.sign(r - 3.456789) / r)[:, None] * v)
        return results


class KnowsDirections(Good):
    def extra_energy(self, atoms, i, j, v):
        return 1e-6 * float(np.sum(v[:, 0] ** 2 * self.cut(np.linalg.norm(v, axis=1))[0]))


class Chiral(Good):
    """A pseudoscalar: invariant under rotation, odd under inversion."""

    def extra_energy(self, atoms, i, j, v):
        s = self.cut(np.linalg.norm(v, axis=1))[0]
        m = np.zeros((3, len(atoms), 3))
        for k in range(3):
            np.add.at(m[k], i, (s ** (k + 1))[:, None] * v)
        return 1e-3 * float(np.sum(m[0] * np.cross(m[1], m[2])))


class SharedScratch(Good):
    """All instances work in one buffer."""

    scratch: dict = {}

    def evaluate_one(self, atoms):
        SharedScratch.scratch["atoms"] = atoms
        time.sleep(1e-5)
        return super().evaluate_one(SharedScratch.scratch["atoms"])


class Leaky(Good):
    kept: list = []

    def evaluate_one(self, atoms):
        Leaky.kept.append(np.ones(4000))
        return super().evaluate_one(atoms)


class Superlinear(Good):
    def extra_energy(self, atoms, i, j, v):
        return 1e-6 * len(atoms) ** 2


class SuperlinearWithCharges(Superlinear):
    """Charges flow between clusters far apart, and the energy does not add up either."""

    implemented_properties = [*Good.implemented_properties, "charges"]

    def evaluate_one(self, atoms):
        return {**super().evaluate_one(atoms), "charges": np.linspace(-1.0, 1.0, len(atoms))}


class FeelsTheBox(Good):
    def extra_energy(self, atoms, i, j, v):
        return 1e-6 * len(atoms) * atoms.cell.rank


class Random(Good):
    calls = 0

    def extra_energy(self, atoms, i, j, v):
        Random.calls += 1
        return 1e-13 * (Random.calls % 3)


class NearestImageOnly(Good):
    def pairs(self, atoms):
        i, j, v = super().pairs(atoms)
        best: dict = {}
        for k, key in enumerate(zip(i.tolist(), j.tolist(), strict=True)):
            if key not in best or (v[k] ** 2).sum() < (v[best[key]] ** 2).sum():
                best[key] = k
        keep = np.array(sorted(best.values()), dtype=int)
        return i[keep], j[keep], v[keep]


class StaleNeighbours(Good):
    def pairs(self, atoms):
        if getattr(self, "_size", None) != len(atoms):
            self._size, self._pairs = len(atoms), super().pairs(atoms)
        return self._pairs


class TakesAnything(Good):
    def check_elements(self, atoms):
        pass


class BatchMixesUp(Batched):
    def evaluate(self, structures, properties=("energy", "forces")):
        out = super().evaluate(structures, properties)
        sizes = [len(a) for a in structures]
        if len(set(sizes)) > 1:  # as if the offsets of unequal structures were wrong
            out[-2]["energy"] += 1e-6
        return out


class SwallowsNan(Good):
    def check_finite(self, atoms):
        atoms.positions = np.nan_to_num(atoms.positions, posinf=50.0)
        atoms.cell = np.nan_to_num(atoms.cell.array)


class PassesNanOn(Good):
    """Gives NaN for NaN: no number, but no error either."""

    def check_finite(self, atoms):
        self._bad = not (np.isfinite(atoms.positions).all() and np.isfinite(atoms.cell.array).all())

    def evaluate_one(self, atoms):
        if self._bad:
            return {"energy": np.nan, "forces": np.full((len(atoms), 3), np.nan)}
        return super().evaluate_one(atoms)


class SoftCore(Good):
    def check_distance(self, r):
        pass

    def pairs(self, atoms):
        i, j, v = super().pairs(atoms)
        return i, j, v + 1e-9 * (np.abs(v).max(axis=1, keepdims=True) < 1e-9)


class SomethingFromNothing(Good):
    def extra_energy(self, atoms, i, j, v):
        return 1.0 if len(atoms) == 0 else 0.0


class IgnoresFlatCells(Good):
    def check_cell(self, atoms):
        pass

    def periodic(self, atoms):
        return np.asarray(atoms.pbc) & (atoms.cell.rank == 3)


class NeverWraps(Good):
    def wrap(self, atoms, vectors):
        return atoms.positions


class SkewBlind(Good):
    """Takes vector lengths for plane distances."""

    def reach(self, vectors):
        return np.ceil(RC / np.linalg.norm(vectors, axis=1)).astype(int) + 1


class StressOfNothing(Good):
    def has_stress(self, atoms):
        return True


class Shifted(Good):
    """Stands for a single precision variant that is not the same model."""

    depth = 0.401


class ChangesItsInput(Good):
    def get_property(self, name, atoms=None, allow_calculation=True):
        if atoms is not None:
            atoms.positions += 1e-7
        return super().get_property(name, atoms, allow_calculation)


class Heats(Good):
    """A force along the velocity of the last step: energy grows slowly whatever the step."""

    def evaluate_one(self, atoms):
        results = super().evaluate_one(atoms)
        last = getattr(self, "_last", None)
        if last is not None and last.shape == atoms.positions.shape and 0 < np.abs(atoms.positions - last).max() < 0.1:
            step = atoms.positions - last
            results["forces"] = results["forces"] + 0.02 * step / np.abs(step).max()
        self._last = atoms.positions.copy()
        return results
