"""Stage one of training generations 3 and 4: residuals of atomic charges and their derivatives.

theta holds the charge networks of all elements, one after the other, and in generation 4 then a number h per element,
whose square is the hardness, so that it cannot become negative. Generation 4 has

    (A + J) Q + mu 1 = -chi,   sum Q = Q_total;     with M its matrix,    dQ = -M^-1 (dchi + dJ Q)   (sum dQ = 0)

so that a loss L(Q) has the gradients dL/dchi = -lambda and dL/dJ_i = -lambda_i Q_i with M lambda = dL/dQ: one more
solve for each structure. A does not change while networks do and is made once. In generation 3 the charges are the
networks'.

Atoms are in the order of elements here, so that charges of a structure are the outputs of its networks joined.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch

from .fit_network import Forward, Topology

BATCH = 256
"""Structures whose networks are evaluated together."""
_AT_ONCE = 1 << 22
"""Numbers in matrices that are solved together."""


@dataclass
class ChargeFrame:
    """One structure with atoms in the order of elements. inputs: per element (n_e, K), scaled; charges (n,) e, the
    reference; total: e; weight: of the residuals; order (n,): places of these atoms in the structure; matrix (n, n): A
    in eV/e^2, where it is kept; make: makes it; neither in generation 3."""

    inputs: list[torch.Tensor]
    charges: torch.Tensor
    total: float
    weight: float
    order: torch.Tensor
    matrix: torch.Tensor | None = None
    make: Callable[[], torch.Tensor] | None = field(default=None, repr=False)
    group: str = "all"
    counts: list[int] = field(init=False)

    def __post_init__(self) -> None:
        self.counts = [len(x) for x in self.inputs]

    @property
    def n_atoms(self) -> int:
        return len(self.charges)

    def coulomb(self) -> torch.Tensor:
        """(n, n) A"""
        if self.matrix is not None:
            return self.matrix
        assert self.make is not None
        return self.make()


class ChargeProblem:
    """frames: structures; topologies: of the charge networks of each element; hardness: whether there is one
    (generation 4); unit: eV/e, or e in generation 3, per unit of network output."""

    def __init__(
        self, frames: Sequence[ChargeFrame], topologies: Sequence[Topology], hardness: bool, unit: float = 1.0
    ):
        self.frames, self.topologies = list(frames), list(topologies)
        self.hardness, self.unit = hardness, float(unit)
        sizes = [t.n_parameters for t in topologies]
        self.edges = np.concatenate([[0], np.cumsum(sizes)]).astype(int).tolist()
        self.n_parameters = self.edges[-1] + (len(sizes) if hardness else 0)
        self.device, self.dtype = frames[0].charges.device, torch.float64

    # -- charges ---------------------------------------------------------------------------------------------

    def networks(self, theta: torch.Tensor, some: Sequence[ChargeFrame]) -> list[Forward]:
        flat = theta.to(self.device, self.dtype)
        return [
            Forward(t, flat[self.edges[e] : self.edges[e + 1]], torch.cat([f.inputs[e] for f in some]))
            for e, t in enumerate(self.topologies)
        ]

    def hardness_of(self, theta: torch.Tensor) -> torch.Tensor:
        """(C,) eV/e^2"""
        return theta[self.edges[-1] :].to(self.device, self.dtype) ** 2

    def _outputs(self, nets: list[Forward], some: Sequence[ChargeFrame]) -> list[torch.Tensor]:
        """x (n,) of each structure."""
        parts = [n.y.split([f.counts[e] for f in some]) for e, n in enumerate(nets)]
        return [self.unit * torch.cat([p[k] for p in parts]) for k in range(len(some))]

    def _solved(self, theta: torch.Tensor, some: Sequence[ChargeFrame], x: list[torch.Tensor]) -> Iterator[_Solved]:
        """Charges, structures of the same size together."""
        by_size: dict[int, list[int]] = {}
        for k, f in enumerate(some):
            by_size.setdefault(f.n_atoms, []).append(k)
        for which in _parts(by_size):
            outputs = torch.stack([x[k] for k in which])
            if not self.hardness:
                yield _Solved(which, outputs, None, None)
                continue
            counts = torch.tensor([some[k].counts for k in which], device=self.device)
            h = self.hardness_of(theta)
            own = torch.stack([torch.repeat_interleave(h, c) for c in counts])
            matrices = torch.stack([some[k].coulomb() for k in which])
            totals = torch.tensor([some[k].total for k in which], dtype=self.dtype, device=self.device)
            yield _Solved.equilibrated(which, matrices, own, outputs, totals)

    def charges(self, theta: torch.Tensor, which: Sequence[int]) -> list[torch.Tensor]:
        """(n,) e of each structure, atoms in the order of its elements."""
        out: list[torch.Tensor] = []
        for some in self._batches(which):
            x = self._outputs(self.networks(theta, some), some)
            found: dict[int, torch.Tensor] = {}
            for s in self._solved(theta, some, x):
                found.update(zip(s.which, s.charges, strict=True))
            out += [found[k] for k in range(len(some))]
        return out

    def _batches(self, which: Sequence[int]) -> Iterator[list[ChargeFrame]]:
        for start in range(0, len(which), BATCH):
            yield [self.frames[k] for k in which[start : start + BATCH]]

    # -- loss and rows ---------------------------------------------------------------------------------------

    def loss(
        self, theta: torch.Tensor, which: Sequence[int], gradient: bool = True
    ) -> tuple[float, torch.Tensor | None]:
        """Sum of squares of weighted residuals, and its gradient (P,)."""
        total = 0.0
        out = torch.zeros(self.n_parameters, dtype=self.dtype, device=self.device) if gradient else None
        for some in self._batches(which):
            nets = self.networks(theta, some)
            pushes: dict[int, torch.Tensor] = {}
            for s in self._solved(theta, some, self._outputs(nets, some)):
                weights = torch.tensor([some[k].weight for k in s.which], dtype=self.dtype, device=self.device)
                misses = weights[:, None] * (s.charges - torch.stack([some[k].charges for k in s.which]))
                total += float((misses**2).sum())
                if out is None:
                    continue
                back = s.back(2.0 * weights[:, None] * misses)
                pushes.update(zip(s.which, back, strict=True))
                if self.hardness:
                    self._add_hardness(out, theta, some, s, back)
            if out is not None:
                self._add_networks(out, nets, some, pushes)
        return total, out

    def _add_hardness(
        self, out: torch.Tensor, theta: torch.Tensor, some: Sequence[ChargeFrame], s: _Solved, back: torch.Tensor
    ) -> None:
        slopes = 2.0 * theta[self.edges[-1] :].to(self.device, self.dtype)
        for k, row in zip(s.which, back * s.charges, strict=True):
            for e, part in enumerate(row.split(some[k].counts)):
                out[self.edges[-1] + e] += slopes[e] * part.sum()

    def _add_networks(
        self, out: torch.Tensor, nets: list[Forward], some: Sequence[ChargeFrame], pushes: dict[int, torch.Tensor]
    ) -> None:
        parts = [pushes[k].split(some[k].counts) for k in range(len(some))]
        for e, net in enumerate(nets):
            alpha = self.unit * torch.cat([p[e] for p in parts])
            if len(alpha):
                out[self.edges[e] : self.edges[e + 1]] += net.gradient(alpha)

    def rows(
        self, theta: torch.Tensor, which: Sequence[int], atoms: Sequence[torch.Tensor | None] | None = None
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Jacobian (m, P) and residuals (m,), weighted; atoms: per structure those that count (None: all), as places
        in the order of elements."""
        some = [self.frames[k] for k in which]
        nets = self.networks(theta, some)
        own = [_each(net) for net in nets]
        starts = [np.cumsum([0, *(f.counts[e] for f in some)]).tolist() for e in range(len(nets))]
        jacobians: dict[int, torch.Tensor] = {}
        misses: dict[int, torch.Tensor] = {}
        for s in self._solved(theta, some, self._outputs(nets, some)):
            for at, k in enumerate(s.which):
                f, response = some[k], s.response(at)
                parts, place = [], 0
                for e, n in enumerate(f.counts):
                    rows = own[e][starts[e][k] : starts[e][k] + n]
                    parts.append(self.unit * (response[:, place : place + n] @ rows))
                    place += n
                if self.hardness:
                    slopes = 2.0 * theta[self.edges[-1] :].to(self.device, self.dtype)
                    by_own = (response * s.charges[at]).split(f.counts, dim=1)
                    parts.append(torch.stack([p.sum(dim=1) for p in by_own], dim=1) * slopes)
                pick = slice(None) if atoms is None or atoms[k] is None else atoms[k]
                jacobians[k] = f.weight * torch.cat(parts, dim=1)[pick]
                misses[k] = f.weight * (s.charges[at] - f.charges)[pick]
        order = range(len(some))
        return torch.cat([jacobians[k] for k in order]), torch.cat([misses[k] for k in order])

    def errors(self, theta: torch.Tensor, which: Sequence[int]) -> dict[str, float]:
        """RMS of the errors of charges, e."""
        pairs = zip(which, self.charges(theta, which), strict=True)
        misses = [q - self.frames[k].charges for k, q in pairs if self.frames[k].weight > 0]
        return {"charges": float(torch.cat(misses).square().mean().sqrt())} if misses else {}


@dataclass
class _Solved:
    """Charges (s, n) of some structures of one size, `which`; lower: Cholesky factors of A + J, ones: its inverse
    times a vector of ones. Without factors (generation 3) charges are the outputs themselves."""

    which: list[int]
    charges: torch.Tensor
    lower: torch.Tensor | None
    ones: torch.Tensor | None

    @classmethod
    def equilibrated(
        cls, which: list[int], matrices: torch.Tensor, own: torch.Tensor, chi: torch.Tensor, totals: torch.Tensor
    ) -> _Solved:
        """The multiple of the matrix of ones that is added makes matrices of periodic structures, which are positive
        definite for charges of sum zero only, positive definite; it changes no charges."""
        size = matrices.diagonal(dim1=1, dim2=2).mean(dim=1)
        lower = torch.linalg.cholesky(matrices + torch.diag_embed(own) + size[:, None, None])
        ones = torch.cholesky_solve(torch.ones_like(chi)[:, :, None], lower)[:, :, 0]
        free = torch.cholesky_solve(-chi[:, :, None], lower)[:, :, 0]
        charges = free + ((totals - free.sum(dim=1)) / ones.sum(dim=1))[:, None] * ones
        return cls(which, charges, lower, ones)

    def back(self, p: torch.Tensor) -> torch.Tensor:
        """dL/dx (s, n) from dL/dQ."""
        return p if self.lower is None else -self._projected(p)

    def _projected(self, p: torch.Tensor) -> torch.Tensor:
        assert self.lower is not None and self.ones is not None
        free = torch.cholesky_solve(p[:, :, None], self.lower)[:, :, 0]
        return free - (free.sum(dim=1) / self.ones.sum(dim=1))[:, None] * self.ones

    def response(self, at: int) -> torch.Tensor:
        """(n, n): dQ/dx of one structure."""
        n = self.charges.shape[1]
        if self.lower is None or self.ones is None:
            return torch.eye(n, dtype=self.charges.dtype, device=self.charges.device)
        ones = self.ones[at]
        return torch.outer(ones, ones) / ones.sum() - torch.cholesky_inverse(self.lower[at])


def _parts(by_size: dict[int, list[int]]) -> Iterator[list[int]]:
    """Structures of one size, as many at a time as leave their matrices small."""
    for size, which in by_size.items():
        step = max(1, _AT_ONCE // size**2)
        for start in range(0, len(which), step):
            yield which[start : start + step]


def _each(net: Forward) -> torch.Tensor:
    """(n, n_parameters): gradient of every atom's output."""
    big = net.first[-1]
    parts: list[torch.Tensor] = []
    for k in reversed(range(len(net.layers))):
        if k < len(net.layers) - 1:
            big = (big @ net.layers[k + 1][0].T) * net.first[k]
        parts = [torch.einsum("ia,ib->iab", net.x[k], big).flatten(1), big, *parts]
    return torch.cat(parts, dim=1)
