"""Hessians: second derivatives of the energy with respect to positions, periodic images included.

    H[3n + a, 3m + b] = d2E / dx_na dx_mb = -dF_mb / dx_na        eV/A^2

An image moves with its atom, so H holds the force constants of the structure at the Gamma point.

Analytic, for local models of the torch backend: E = sum_i U_i, and U_i depends on the vectors r_p of the site's own
pairs only, so one reverse pass through the gradient g_q = dU_i/dr_q along a vector w in the space of pairs,

    G_q = sum_p (d g_q / d r_p) . w_p,

serves all sites at once. Either w moves one atom (3N passes give the rows of H one after the other), or it marks the
k-th pair of every site along one axis (3 max_i m_i passes for sites of m_i pairs, whatever N), and the blocks
h_pq = dg_q/dr_p are added to rows j_p and -i, columns j_q and -i. Whichever takes fewer passes is used. Sites are taken
in chunks, with one stand-in atom per element for all neighbours, so that memory is bounded and the rest of the
structure costs nothing.

Finite differences: central ones at h and h/2 with Richardson's extrapolation, displaced structures in batches.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
import torch
from ase import Atoms

from .compose import CommitteeModel, Scale, Sum
from .compositions.weighted import Weighted, site_twin
from .core.errors import NonFiniteResult, OptionError, PropertyNotImplementedError, TooLarge
from .core.model import Model, TorchModel, twin_of
from .core.pairs import Pairs, available_memory_gib, find_pairs
from .core.system import System, check_elements

if TYPE_CHECKING:
    from .calculator import ZooCalculator

METHODS = ("auto", "analytic", "differences")
STEP = 4e-3
"""First displacement (A) of the differences; the second is half of it."""

FLOAT32_STEP = 4e-2
"""The same for forces in single precision, whose noise a short step would blow up."""

PROBE, PROBE_TOLERANCE = 1e-4, 5e-3
"""Length (A) of the displacement that an analytic Hessian is tried on, and what may differ relative to its largest
entry (or to 0.1 eV/A^2): forces of tables have kinks."""

GRAPH_BYTES = 192 << 20
"""Sites are taken in chunks whose graphs need about this much memory."""

BATCH_ATOMS = 20000
"""Displaced structures are evaluated in batches of about this many atoms."""


@dataclass(frozen=True)
class Hessian:
    """matrix (3 n, 3 N) in eV/A^2; method: "analytic", "differences" or both, by term of a sum; error: the change that
    the extrapolation of the differences makes (0 for analytic); asymmetry: largest |H - H^T| before it was
    symmetrised, NaN where only some rows were asked for."""

    matrix: np.ndarray
    method: str
    error: float = 0.0
    asymmetry: float = float("nan")


def hessian(
    calculator: ZooCalculator, atoms: Atoms, indices: Sequence[int] | None = None, method: str = "auto"
) -> Hessian:
    """See ZooCalculator.get_hessian."""
    if method not in METHODS:
        raise OptionError(f"method is {method!r}; allowed are {', '.join(METHODS)}")
    from .calculator import ZooCalculator as One

    check_elements(atoms.numbers, calculator.model.numbers, calculator.card.name)
    rows = checked_indices(indices, len(atoms))
    check_memory(len(rows), len(atoms), calculator.max_memory_gib)
    limit = calculator.max_memory_gib
    matrix, methods, error = np.zeros((3 * len(rows), 3 * len(atoms))), {}, 0.0
    for factor, model in _terms(calculator.model):
        part, kind = None, "analytic"
        twin = None if method == "differences" else analytic_model(model)
        if twin is not None:
            weights = model.fixed(len(atoms)) if isinstance(model, Weighted) else None
            part = analytic_hessian(twin, atoms, rows, limit, weights)
            same = twin if weights is None else Weighted(twin, model.weights, model.inverse)
            if not _is_derivative(part, One(same, skin=0.0), atoms, rows):
                part = None
        if part is None and method == "analytic":
            raise PropertyNotImplementedError(
                f"{model.card.name} has no analytic second derivatives; use method='auto' or 'differences'"
            )
        if part is None:
            one = One(model, skin=0.0, max_memory_gib=limit)
            step = STEP if model.dtype == torch.float64 else FLOAT32_STEP
            part, left = difference_hessian(partial(_forces, one), atoms, rows, step)
            error, kind = error + abs(factor) * left, "differences"
        methods.setdefault(kind, []).append(model.card.name)
        matrix += factor * part
    if not np.isfinite(matrix).all():
        raise NonFiniteResult(f"{calculator.card.name} gave a non-finite Hessian; atoms may be far too close")
    name = next(iter(methods)) if len(methods) == 1 else "; ".join(f"{k}: {', '.join(v)}" for k, v in methods.items())
    if indices is not None:
        return Hessian(matrix, name, error)
    asymmetry = float(np.abs(matrix - matrix.T).max(initial=0.0))
    return Hessian(0.5 * (matrix + matrix.T), name, error, asymmetry)


def checked_indices(indices: Sequence[int] | None, n: int) -> np.ndarray:
    """(n,) atoms whose rows are wanted; negative ones count from the end, a mask of booleans is taken as such.

    Raises OptionError for atoms that do not exist and for anything but whole numbers."""
    if indices is None:
        return np.arange(n)
    array = np.asarray(indices)
    if array.dtype == bool:
        if array.shape != (n,):
            raise OptionError(f"the mask of atoms has shape {array.shape}; expected ({n},)")
        return np.flatnonzero(array)
    if array.size and (array.ndim != 1 or not np.issubdtype(array.dtype, np.integer)):
        raise OptionError(f"indices are {indices!r}; expected a list of atoms, or a mask of booleans")
    array = array.reshape(-1).astype(int)
    if array.size and (array.min() < -n or array.max() >= n):
        bad = array[(array < -n) | (array >= n)][0]
        raise OptionError(f"atom {bad} does not exist; the structure has {n} atoms (0 to {n - 1})")
    return array % n if n else array


def check_memory(rows: int, n: int, max_memory_gib: float | None) -> None:
    """Raise TooLarge when matrix and work copies would not fit."""
    needed = (4 * 9.0 * 8.0 * rows * n + 2 * GRAPH_BYTES) / 2**30
    limit = max_memory_gib if max_memory_gib is not None else 0.8 * available_memory_gib()
    if needed > limit:
        raise TooLarge(needed, limit)


def _terms(model: Model, factor: float = 1.0) -> list[tuple[float, Model]]:
    """Sums, factors and committees taken apart."""
    if isinstance(model, Scale):
        return _terms(model.model, factor * model.factor)
    if isinstance(model, Sum):
        return [term for m in model.models for term in _terms(m, factor)]
    if isinstance(model, CommitteeModel):
        return [term for m in model.models for term in _terms(m, factor / len(model.models))]
    return [(factor, model)]


def analytic_model(model: Model) -> TorchModel | None:
    """The model itself, or its twin on the torch backend in double precision, where that has differentiable site
    energies; None where there is none. Of a model with weights of atoms the one without them."""
    weighted = isinstance(model, Weighted) and model.is_fixed
    twin = site_twin(model.model) if weighted else twin_of(model)
    if not isinstance(twin, TorchModel) or twin.dtype != torch.float64:
        return None
    # a model of tabulated forces, say, has gradients of its own and no site energies to differentiate
    return None if type(twin).site_energies is TorchModel.site_energies else twin


# -- finite differences --------------------------------------------------------------------------------------


def _forces(calculator: ZooCalculator, many: list[Atoms]) -> list[np.ndarray]:
    return [r["forces"] for r in calculator.evaluate(many, ("energy", "forces"))]


def difference_hessian(
    forces: Callable[[list[Atoms]], list[np.ndarray]], atoms: Atoms, rows: np.ndarray, step: float = STEP
) -> tuple[np.ndarray, float]:
    """(3 n, 3 N) by central differences of forces at h and h/2, H = (4 H(h/2) - H(h)) / 3, and the largest change that
    this makes to H(h/2). `forces` evaluates many structures at once."""
    n = len(atoms)
    out, error = np.zeros((len(rows), 3, 3 * n)), 0.0
    per_batch = max(1, BATCH_ATOMS // max(12 * n, 1))
    start = atoms.copy()
    start.calc = None
    for a in range(0, len(rows), per_batch):
        atom = rows[a : a + per_batch]
        moved = []
        for k in atom:
            for axis in range(3):
                for by in (step, -step, step / 2, -step / 2):
                    one = start.copy()
                    one.positions[k, axis] += by
                    moved.append(one)
        f = np.array(forces(moved)).reshape(len(atom), 3, 4, 3 * n)
        wide, narrow = (f[:, :, 1] - f[:, :, 0]) / (2 * step), (f[:, :, 3] - f[:, :, 2]) / step
        out[a : a + per_batch] = (4.0 * narrow - wide) / 3.0
        error = max(error, float(np.abs(out[a : a + per_batch] - narrow).max(initial=0.0)))
    return out.reshape(3 * len(rows), 3 * n), error


# -- analytic ------------------------------------------------------------------------------------------------


def analytic_hessian(
    model: TorchModel,
    atoms: Atoms,
    rows: np.ndarray,
    max_memory_gib: float | None = None,
    weights: np.ndarray | None = None,
) -> np.ndarray:
    """(3 n, 3 N) by reverse passes through the gradient of the site energies; see the module docstring. weights (N,):
    factors of the site energies."""
    system = System.from_atoms(atoms, model.device, torch.float64)
    pairs = _within(find_pairs(system, model.cutoff, 0.0, max_memory_gib), system, model.cutoff)
    work = _Rows(system, pairs, rows, weights)
    before = torch.get_num_threads()
    torch.set_num_threads(model.threads)
    try:
        for sites in work.chunks(model):
            work.add(model, sites)
    finally:
        torch.set_num_threads(before)
    return work.result()


def _is_derivative(matrix: np.ndarray, calculator: ZooCalculator, atoms: Atoms, rows: np.ndarray) -> bool:
    """True where H v is the change of the forces along one direction v: site energies that depend on more than the
    site's own pairs would break the premise of `analytic_hessian`."""
    v = np.random.default_rng(0).uniform(-1.0, 1.0, (len(atoms), 3))
    moved = [atoms.copy(), atoms.copy()]
    for one, sign in zip(moved, (1.0, -1.0), strict=True):
        one.calc = None
        one.positions += sign * PROBE * v
    plus, minus = _forces(calculator, moved)
    numerical = (minus - plus)[rows].ravel() / (2 * PROBE)
    allowed = PROBE_TOLERANCE * max(0.1, np.abs(matrix).max(initial=0.0))
    return bool(np.abs(matrix @ v.ravel() - numerical).max(initial=0.0) <= allowed)


def _within(pairs: Pairs, system: System, cutoff: float) -> Pairs:
    """The pairs inside the cutoff, with i, j, first and vectors' worth of shifts; `incoming` is not kept up."""
    inside = torch.nonzero(pairs.vectors(system).norm(dim=1) < cutoff).flatten()
    counts = torch.bincount(pairs.i[inside].long(), minlength=system.n_atoms)
    first = torch.cat([counts.new_zeros(1), counts.cumsum(0)]).to(torch.int32)
    return replace(
        pairs, i=pairs.i[inside], j=pairs.j[inside], shift_index=pairs.shift_index[inside], first=first,
        incoming=torch.empty(0, dtype=torch.int32, device=first.device),
    )  # fmt: skip


class _Rows:
    """The wanted rows while they are summed: matrix (3, rows * N * 3), first axis the direction of the row."""

    def __init__(self, system: System, pairs: Pairs, rows: np.ndarray, weights: np.ndarray | None):
        self.system, self.n = system, system.n_atoms
        device = system.positions.device
        self.weights = None if weights is None else torch.from_numpy(weights).to(device)
        unique, inverse = (torch.from_numpy(x).to(device) for x in np.unique(rows, return_inverse=True))
        self.unique, self.inverse = unique, inverse
        self.row_of = torch.full((self.n,), -1, dtype=torch.long, device=device)
        self.row_of[unique] = torch.arange(len(unique), device=device)
        self.i, self.j, self.first = pairs.i.long(), pairs.j.long(), pairs.first.long()
        self.vectors = pairs.vectors(system)
        self.matrix = torch.zeros((3, len(unique) * self.n * 3), dtype=torch.float64, device=device)
        touched = self.row_of >= 0  # sites whose energy depends on a wanted atom
        touched[self.i[self.row_of[self.j] >= 0]] = True
        self.sites = torch.nonzero(touched & (self.first.diff() > 0)).flatten()

    def result(self) -> np.ndarray:
        blocks = self.matrix.reshape(3, len(self.unique), 3 * self.n).transpose(0, 1)[self.inverse]
        return blocks.reshape(3 * len(self.inverse), 3 * self.n).cpu().numpy()

    def chunks(self, model: TorchModel) -> list[torch.Tensor]:
        """Sites in groups of bounded memory, by the size of the graph of the site with most neighbours."""
        if not len(self.sites):
            return []
        used = 0

        def note(tensor: torch.Tensor) -> torch.Tensor:
            nonlocal used
            used += tensor.numel() * tensor.element_size()
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
            _Chunk(self, self.sites[torch.argmax(self.first.diff()[self.sites])][None]).gradient(model)
        return list(self.sites.split(max(1, GRAPH_BYTES // max(used, 1))))

    def add(self, model: TorchModel, sites: torch.Tensor) -> None:
        """The share of these sites in all rows."""
        chunk = _Chunk(self, sites)
        g = chunk.gradient(model)
        if g is None or not g.requires_grad:  # no pair in range, or energies linear in the vectors
            return
        for w, targets in chunk.passes():
            for axis in range(3):
                along = torch.zeros_like(g)
                along[:, axis] = w
                (big,) = torch.autograd.grad(g, chunk.vectors, along, retain_graph=True, allow_unused=True)
                if big is not None:
                    self._scatter(chunk, axis, big, targets)

    def _scatter(self, chunk: _Chunk, axis: int, big: torch.Tensor, targets: list[tuple[float, torch.Tensor]]) -> None:
        """Add G to columns j and -G to columns i of the rows that each site's `targets` name (-1: none)."""
        own = torch.zeros((len(chunk.sites), 3), dtype=big.dtype, device=big.device).index_add(0, chunk.local, -big)
        for sign, row in targets:
            for column, of_site, value in ((chunk.j, row[chunk.local], big), (chunk.sites, row, own)):
                there = torch.nonzero(of_site >= 0).flatten()
                place = 3 * (of_site[there] * self.n + column[there])
                index = place[:, None] + torch.arange(3, device=place.device)
                self.matrix[axis].scatter_add_(0, index.reshape(-1), sign * value[there].reshape(-1))


class _Chunk:
    """Some sites with all their pairs; every neighbour is a stand-in, of which there is one per element."""

    def __init__(self, rows: _Rows, sites: torch.Tensor):
        self.rows, self.sites = rows, sites
        start, count = rows.first[sites], rows.first.diff()[sites]
        self.local = torch.repeat_interleave(torch.arange(len(sites), device=sites.device), count)
        within = torch.arange(len(self.local), device=sites.device) - (count.cumsum(0) - count)[self.local]
        index = start[self.local] + within
        self.j = rows.j[index]
        self.vectors = rows.vectors[index].detach().requires_grad_(True)
        numbers = rows.system.numbers
        kinds, kind = torch.unique(numbers[self.j], return_inverse=True)
        n = len(sites) + len(kinds)
        zero = rows.system.positions.new_zeros
        first = torch.cat([count.new_zeros(1), count.cumsum(0), count.sum().repeat(len(kinds))]).to(torch.int32)
        self.system = System(
            numbers=torch.cat([numbers[sites], kinds]), positions=zero((n, 3)), cell=rows.system.cell,
            pbc=rows.system.pbc, system_index=first.new_zeros(n).long(), first=(0, n), charge=rows.system.charge,
        )  # fmt: skip
        none = first.new_zeros(0)
        self.pairs = Pairs(
            i=self.local.to(torch.int32), j=(len(sites) + kind).to(torch.int32), shift_index=first.new_zeros(len(kind)),
            shifts=first.new_zeros((1, 3)), shift_system=first.new_zeros(1).long(), first=first, incoming=none,
            cutoff=float("inf"),
        )  # fmt: skip

    def gradient(self, model: TorchModel) -> torch.Tensor | None:
        """g (P, 3) with its graph; None where the energies do not depend on the vectors."""
        with torch.enable_grad():
            energies = model.site_energies(self.system, self.pairs, self.vectors)
            if not energies.requires_grad:
                return None
            if (w := self.rows.weights) is not None:
                energies = w[self.sites] * energies[: len(self.sites)]
            return torch.autograd.grad(energies.sum(), self.vectors, create_graph=True, allow_unused=True)[0]

    def passes(self) -> Iterator[tuple[torch.Tensor, list[tuple[float, torch.Tensor]]]]:
        """For each pass the marks w (P,) of the pairs that move, and for each site the rows that its G belongs to with
        their sign; the shorter of the two ways of the module docstring."""
        row_of, sites, local = self.rows.row_of, self.sites, self.local
        mine = row_of[sites][local] >= 0
        wanted = torch.nonzero(mine | (row_of[self.j] >= 0)).flatten()
        count = torch.bincount(local[wanted], minlength=len(sites))
        atoms = torch.unique(torch.cat([self.j[wanted], sites]))
        atoms = atoms[row_of[atoms] >= 0]
        if len(atoms) <= int(count.max()):
            for atom in atoms:
                w = (self.j == atom).double() - (sites[local] == atom).double()
                yield w, [(1.0, row_of[atom].expand(len(sites)))]
            return
        rank = torch.arange(len(wanted), device=sites.device) - (count.cumsum(0) - count)[local[wanted]]
        for k in range(int(count.max())):
            marked = wanted[rank == k]
            w = torch.zeros_like(self.vectors[:, 0], requires_grad=False)
            w[marked] = 1.0
            row_j, row_i = torch.full_like(sites, -1), torch.full_like(sites, -1)
            row_j[local[marked]] = row_of[self.j[marked]]
            row_i[local[marked]] = row_of[sites[local[marked]]]
            yield w, [(1.0, row_j), (-1.0, row_i)]
