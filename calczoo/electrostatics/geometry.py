"""Geometry: the Coulomb interaction of point charges and Gaussians of given structures.

    E = 1/2 q^T A q      for each structure; k = e^2 / (4 pi eps0)

    open       A_ij = k erf(r / sqrt(2) gamma) / r              A_ii = k / (sqrt(pi) sigma_i)
    periodic   A_ij = k [ sum_R (erfc(r / sqrt(2) eta) - erfc(r / sqrt(2) gamma)) / r - 2 pi eta^2 / V
                          + (4 pi / V) sum_{K != 0} exp(-eta^2 K^2 / 2) / K^2 cos(K.r_ij) ]
               A_ii has in addition  k [ 1 / (sqrt(pi) sigma_i) - 2 / (sqrt(2 pi) eta) ]

with gamma^2 = sigma_i^2 + sigma_j^2. Charges of width zero are points: erf and its complement become 1 and 0, and
1 / (sqrt(pi) sigma) is left out (a point has no energy of its own). The sum over R includes an atom's own images.

Net charge. The term with eta^2 / V is the uniform background that neutralises a periodic structure of charge Q, as is
usual for point charges: it makes A independent of eta, and it is nothing for neutral structures, in which it changes
neither energies nor potentials. Gaussians differ from points at short range only, by sum_R erfc(r / sqrt(2) gamma) / r,
with no background of their own. (Dropping K = 0 from the Gaussians' own series would add 2 pi k Q sum_i q_i sigma_i^2
over V to the energy; codes without any background term differ by pi k eta^2 Q^2 / V. Charges found by equilibration at
fixed Q are the same without it.) The energy of a charged cell depends on its size and shape through the background:
corrections are due before it is compared between cells.

Structures periodic in one or two directions are refused: this sum is not theirs.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
import torch

from ..core.errors import AtomsOverlap, OptionError, TooLarge, UnsupportedPeriodicity
from ..core.pairs import available_memory_gib
from ..core.system import System
from . import mesh, nvalchemi_mesh, open_space
from .lattice import reduced_cell
from .mesh import Mesh
from .methods import choose_method
from .nvalchemi_mesh import NvalchemiMesh
from .parallel import one_torch_thread
from .real_space import RealSpace, find
from .reciprocal import Reciprocal
from .splitting import Splitting, choose, cutoffs

COULOMB = 14.399645478425668
"""e^2 / (4 pi eps0) in eV A (CODATA 2018)."""
DENSE = 1500
"""Up to this many atoms, a structure of Gaussian charges is expected to need its matrix."""
SUMS, ITERATED = 5, 30
"""Sums that an energy with its derivatives takes, and those of charges that are iterated to."""


class OpenPart:
    """One open structure."""

    def __init__(self, x: torch.Tensor, widths: torch.Tensor, coulomb: float, threads: int):
        self.x, self.k, self.threads = x, coulomb, threads
        self.squares = widths * widths
        self.own = coulomb * _self_interaction(widths)
        self._matrix: torch.Tensor | None = None

    @property
    def n(self) -> int:
        return self.x.shape[0]

    def long_waves(self, count: int) -> None:
        return None

    def short_range(self, eta: float, cutoff: float) -> tuple[float, RealSpace, torch.Tensor]:
        """`eta`, the pairs within `cutoff` and the diagonal of the interaction cut at width eta."""
        low = self.x.min(dim=0).values
        box = np.diag((self.x.max(dim=0).values - low + cutoff + 1.0).cpu().numpy())
        fractional = (self.x - low) @ torch.from_numpy(np.linalg.inv(box)).to(self.x.device)
        pairs, _ = find(fractional, box, cutoff, eta, self.squares, self.threads)
        return eta, pairs, self.own - self.k * 2.0 / (math.sqrt(2.0 * math.pi) * eta)

    def overlap(self) -> tuple[int, int, float] | None:
        return open_space.overlap(self.x, self.threads)

    def diagonal(self) -> torch.Tensor:
        return self.own

    def matrix(self) -> torch.Tensor:
        if self._matrix is None:
            _check_matrix(self.n)
            self._matrix = self.k * open_space.matrix(self.x, self.squares, self.threads)
            self._matrix.diagonal().add_(self.own)
        return self._matrix

    def potential(self, q: torch.Tensor) -> torch.Tensor:
        if self._matrix is not None:
            return self._matrix @ q
        return self.k * open_space.potential(self.x, self.squares, q, self.threads) + self.own * q

    def gradients(self, p: torch.Tensor, q: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        forces, virial = open_space.gradients(self.x, self.squares, p, q, self.threads)
        return self.k * forces, self.k * virial


class PeriodicPart:
    """One structure that is periodic in all three directions."""

    def __init__(
        self,
        x: torch.Tensor,
        cell: np.ndarray,
        widths: torch.Tensor,
        coulomb: float,
        threads: int,
        splitting: Splitting,
        accuracy: float,
        method: str = "ewald",
        max_memory_gib: float | None = None,
    ):
        self.k, self.threads, self.splitting = coulomb, threads, splitting
        self.accuracy, self.method = accuracy, method
        self.cell = reduced_cell(cell)
        self.volume = abs(float(np.linalg.det(self.cell)))
        fractional = x @ torch.from_numpy(np.linalg.inv(self.cell)).to(x.device)
        fractional = fractional - fractional.floor()
        self.fractional = torch.where(fractional >= 1.0, 0.0, fractional)
        self.squares = widths * widths
        eta = splitting.eta
        self.net = -2.0 * math.pi * eta**2 / self.volume
        self.own = _self_interaction(widths) - 2.0 / (math.sqrt(2.0 * math.pi) * eta)
        self.max_memory_gib = max_memory_gib
        self._real: RealSpace | None = None
        self._waves: Reciprocal | Mesh | NvalchemiMesh | None = None
        self._matrix: torch.Tensor | None = None
        self._close: tuple[int, int, float] | None = None

    @property
    def n(self) -> int:
        return self.fractional.shape[0]

    def short_range(self, eta: float, cutoff: float) -> tuple[float, RealSpace, torch.Tensor]:
        """The splitting's own eta, the pairs within `cutoff` and the diagonal of the real-space part."""
        own = self.splitting.eta
        pairs, _ = find(self.fractional, self.cell, cutoff, own, self.squares, self.threads, self.max_memory_gib)
        return own, pairs, self.k * self.own

    @property
    def real(self) -> RealSpace:
        if self._real is None:
            s = self.splitting
            self._real, self._close = find(
                self.fractional, self.cell, s.real_cutoff, s.eta, self.squares, self.threads, self.max_memory_gib
            )
        return self._real

    @property
    def waves(self) -> Reciprocal | Mesh | NvalchemiMesh:
        if self._waves is None:
            self._waves = self._exact() if self.method == "ewald" else self._mesh()
        return self._waves

    def _exact(self, cutoff: float | None = None) -> Reciprocal:
        s = self.splitting
        return Reciprocal(self.fractional, self.cell, s.eta, cutoff or s.reciprocal_cutoff, self.threads)

    def _mesh(self) -> Mesh | NvalchemiMesh:
        s, kind = self.splitting, NvalchemiMesh if self.method == "nvalchemi" else Mesh
        return kind(self.fractional, self.cell, s.eta, s.reciprocal_cutoff, self.accuracy)

    def long_waves(self, count: int) -> torch.Tensor:
        """(n, 2 w) with w <= count: the longest waves times the roots of their coefficients."""
        around = (3.0 * count * (2.0 * math.pi) ** 3 / (2.0 * math.pi * self.volume)) ** (1.0 / 3.0)
        return self._exact(min(1.2 * around, self.splitting.reciprocal_cutoff)).longest(count)

    def overlap(self) -> tuple[int, int, float] | None:
        return self._close if self.real is not None else None

    def diagonal(self) -> torch.Tensor:
        if self._matrix is not None:
            return self._matrix.diagonal()
        real = self.real
        atoms = torch.repeat_interleave(torch.arange(self.n, device=real.j.device), real.first.diff().long())
        image = atoms == real.j
        own = self.own.index_add(0, atoms[image], real.a[image])
        return self.k * (own + (self.net + self.waves.origin()))

    def matrix(self) -> torch.Tensor:
        if self._matrix is None:
            _check_matrix(self.n)
            waves = self.waves if isinstance(self.waves, Reciprocal) else self._exact()
            matrix = waves.matrix()
            self.real.add_to(matrix, self.threads)
            matrix += self.net
            matrix.diagonal().add_(self.own)
            self._matrix = matrix.mul_(self.k)
        return self._matrix

    def potential(self, q: torch.Tensor) -> torch.Tensor:
        if self._matrix is not None:
            return self._matrix @ q
        phi = self.real.potential(q, self.threads) + self.waves.potential(q)
        return self.k * (phi + self.own * q + self.net * q.sum())

    def gradients(self, p: torch.Tensor, q: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        forces, virial = self.real.gradients(p, q, self.threads)
        wave_forces, wave_virial = self.waves.gradients(p, q)
        virial = virial + wave_virial
        virial.diagonal().sub_(self.net * p.sum() * q.sum())
        return self.k * (forces + wave_forces), self.k * virial


class Geometry:
    """The Coulomb matrices A of all structures of a System, made when they are needed; see the module docstring.

    Everything is float64 on the system's device. Part s, `parts[s]`, has the same methods for one structure, with
    tensors of its own atoms.
    """

    def __init__(self, first: Sequence[int], parts: Sequence[OpenPart | PeriodicPart], device: torch.device):
        self.first, self.parts, self.device = tuple(first), tuple(parts), device

    @classmethod
    @one_torch_thread()
    def of(
        cls,
        system: System,
        widths: torch.Tensor | None = None,
        coulomb: float = COULOMB,
        accuracy: float = 1e-10,
        *,
        method: str = "auto",
        dense: bool | None = None,
        splitting: float | None = None,
        threads: int = 1,
        max_memory_gib: float | None = None,
    ) -> Geometry:
        """widths (N,) A: standard deviations of Gaussian charges, None or zeros for points; coulomb: k in eV A / e^2;
        accuracy: of potentials, relative to coulomb times e/A; method: "ewald" (exact sums), "mesh" (torch-pme, down to
        1e-9; matrices stay exact), "nvalchemi" (down to 1e-6) or "auto", see methods.py; dense: whether matrices will
        be asked for, which only changes the time (None: for Gaussians of structures up to 1500 atoms); splitting: eta
        (A) instead of the best one.

        Raises UnsupportedPeriodicity (one or two directions; an InvalidStructure), AtomsOverlap, TooLarge, OptionError,
        BackendUnavailable (a mesh without its package).
        """
        if not 1e-15 <= accuracy <= 1e-2:
            raise OptionError(f"accuracy of electrostatics is {accuracy!r}; allowed is 1e-15 to 1e-2")
        x = system.positions.detach().double()
        sigma = _checked_widths(system, widths)
        periodic, cells = system.pbc.cpu().numpy(), system.cell.detach().double().cpu().numpy()
        parts: list[OpenPart | PeriodicPart] = []
        for s, (a, b) in enumerate(zip(system.first[:-1], system.first[1:], strict=True)):
            where = f" of structure {s}" if system.n_systems > 1 else ""
            if not periodic[s].any() or a == b:
                parts.append(OpenPart(x[a:b], sigma[a:b], coulomb, threads))
            elif not periodic[s].all():
                raise UnsupportedPeriodicity(_partly_periodic(periodic[s].tolist(), where))
            else:
                way = choose_method(method, b - a, accuracy, x.device.type)
                make = cls._splitting(b - a, cells[s], sigma[a:b], accuracy, way, dense, splitting)
                one = (x[a:b], cells[s], sigma[a:b], coulomb, threads, make, accuracy, way, max_memory_gib)
                parts.append(PeriodicPart(*one))
            if close := parts[-1].overlap():
                raise AtomsOverlap(*close, where)
        return cls(system.first, parts, x.device)

    @staticmethod
    def _splitting(
        n: int,
        cell: np.ndarray,
        sigma: torch.Tensor,
        accuracy: float,
        method: str,
        dense: bool | None,
        eta: float | None,
    ) -> Splitting:
        """The splitting of one periodic structure."""
        wide, volume = math.sqrt(2.0) * float(sigma.max()), abs(float(np.linalg.det(cell)))
        if eta is not None:
            return cutoffs(float(eta), wide, n / volume, accuracy)
        if method != "ewald":
            spacing = nvalchemi_mesh.spacing if method == "nvalchemi" else mesh.spacing
            return mesh.choose(n, volume, wide, accuracy, spacing)
        matrix = dense if dense is not None else wide > 0.0 and n <= DENSE
        return choose(n, volume, wide, accuracy, matrix, ITERATED if wide > 0.0 and not matrix else SUMS)

    def part(self, q: torch.Tensor, s: int) -> torch.Tensor:
        """The rows of structure s of a per-atom tensor."""
        return q[self.first[s] : self.first[s + 1]]

    @one_torch_thread()
    def matrix(self, s: int = 0) -> torch.Tensor:
        """(n, n) eV/e^2: A of structure s; kept, so do not write into it."""
        return self.parts[s].matrix()

    @one_torch_thread()
    def diagonal(self) -> torch.Tensor:
        """(N,) A_ii."""
        return self._gather(lambda part, q: part.diagonal(), self._atoms())

    @one_torch_thread()
    def potential(self, q: torch.Tensor) -> torch.Tensor:
        """(N,) A q, eV/e."""
        return self._gather(lambda part, q: part.potential(q), self._charges(q))

    @one_torch_thread()
    def energy(self, q: torch.Tensor) -> torch.Tensor:
        """(S,) eV: 1/2 q^T A q of each structure."""
        q = self._charges(q)
        each = 0.5 * q * self.potential(q)
        return torch.stack([self.part(each, s).sum() for s in range(len(self.parts))]) if self.parts else each[:0]

    @one_torch_thread()
    def gradients(self, p: torch.Tensor, q: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Forces (N, 3), minus the gradient, and virial (S, 3, 3), the derivative by strain, of p^T A q at fixed p, q.

        Those of the energy are half of gradients(q, q)."""
        same, q = p is q, self._charges(q)
        p = q if same else self._charges(p)
        forces = q.new_zeros((q.shape[0], 3))
        virial = q.new_zeros((len(self.parts), 3, 3))
        for s, part in enumerate(self.parts):
            if part.n:
                right = self.part(q, s)
                left = right if same else self.part(p, s)
                rows = slice(self.first[s], self.first[s + 1])
                forces[rows], virial[s] = part.gradients(left, right)
        return forces, virial

    def _atoms(self) -> torch.Tensor:
        return torch.zeros(self.first[-1], dtype=torch.float64, device=self.device)

    def _charges(self, q: torch.Tensor) -> torch.Tensor:
        if q.shape != (self.first[-1],):
            raise OptionError(f"charges have shape {tuple(q.shape)}; expected one per atom, ({self.first[-1]},)")
        return q.detach().to(device=self.device, dtype=torch.float64).contiguous()

    def _gather(self, f: Callable, q: torch.Tensor) -> torch.Tensor:
        out = torch.empty_like(q)
        for s, part in enumerate(self.parts):
            if part.n:
                out[self.first[s] : self.first[s + 1]] = f(part, self.part(q, s))
        return out


def _self_interaction(widths: torch.Tensor) -> torch.Tensor:
    """1 / (sqrt(pi) sigma), zero for points."""
    return torch.where(widths > 0, 1.0 / (math.sqrt(math.pi) * widths.clamp(min=1e-300)), 0.0)


def _checked_widths(system: System, widths: torch.Tensor | None) -> torch.Tensor:
    n = system.n_atoms
    if widths is None:
        return torch.zeros(n, dtype=torch.float64, device=system.positions.device)
    widths = widths.detach().to(device=system.positions.device, dtype=torch.float64)
    if widths.shape != (n,) or not bool((torch.isfinite(widths) & (widths >= 0) & (widths <= 100)).all()):
        raise OptionError("Gaussian widths must be finite lengths from 0 to 100 A, one per atom")
    return widths


def _partly_periodic(pbc: list[bool], where: str) -> str:
    axes = "".join(axis for axis, on in zip("xyz", pbc, strict=True) if on)
    return (
        f"electrostatics needs a structure that is open or periodic in all three directions; this one{where} has pbc "
        f"{pbc} (along {axes} only): make it periodic in all three with a vacuum that is wide enough "
        "(atoms.center(vacuum=20, axis=...); atoms.pbc = True), or switch pbc off"
    )


def _check_matrix(n: int) -> None:
    needed = 3 * 8 * n * n / 2**30
    if needed > 0.1 and needed > (limit := 0.8 * available_memory_gib()):
        raise TooLarge(needed, limit)
