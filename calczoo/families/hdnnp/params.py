"""HdnnpParams: everything a high-dimensional neural network potential holds, second to fourth generation.

    E = sum_i NN_z(G_i [, Q_i]) / conv_energy + N mean_energy + sum_i e[z_i] [+ E_electrostatic(Q)]

G_i are atom-centred symmetry functions, scaled; Q_i the charges of generations 3 (a network's output) and 4 (charge
equilibration with a network's electronegativities). All numbers are in the units of the files, in which they were
trained, so that a file written again holds the same digits; `length_unit` (A) and `energy_unit` (eV) are what one of
those units is, and models convert once, when they are built. Properties of this class are in A and eV.

Source: Behler and Parrinello, Phys. Rev. Lett. 98, 146401 (2007), doi:10.1103/PhysRevLett.98.146401; Behler, Chem. Rev.
121, 10037 (2021), doi:10.1021/acs.chemrev.0c00868; Ko et al., Nat. Commun. 12, 398 (2021),
doi:10.1038/s41467-020-20427-2.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from ...core.card import Card
from ...core.elements import number
from ...core.errors import OptionError

DOI = "10.1103/PhysRevLett.98.146401"
DOI_4G = "10.1038/s41467-020-20427-2"
MAX_CUTOFF = 50.0
MAX_ZETA = 1000.0
RADIAL = frozenset({2, 12, 20, 23})
ANGULAR = frozenset({3, 9, 13, 21, 22, 24, 25})
WEIGHTED = frozenset({12, 13, 23, 24, 25})
"""Kinds that sum over all elements with the neighbours' atomic numbers as weights."""
WITH_JK = frozenset({3, 13, 21, 24})
"""Angular kinds with terms of the distance between the two neighbours."""
COMPACT = frozenset({20, 21, 22, 23, 24, 25})
"""Kinds with a core of compact support in place of Gaussian and cutoff function."""
CORES = ("c", "p1", "p2", "p3", "p4", "e", "p1a", "p2a", "p3a", "p4a", "ea")
"""Names of cores; those with an a are asymmetric."""
CUTOFF_TYPES = range(9)
ACTIVATIONS = "tlpsrgcSeh"
SCALINGS = ("none", "scale", "center", "scale+center", "sigma")


@dataclass(frozen=True)
class SymmetryFunction:
    """One atom-centred symmetry function; see formats for the arguments of each kind.

    kind: 2, 3, 9, 12, 13, 20 to 25. neighbours: () for the weighted kinds, else one element (radial) or two (angular,
    the one of smaller atomic number first). eta in 1/length^2, rs, rc, rl in lengths of the file; lam, zeta; al, ar in
    degrees; core, the name of the compact core.
    """

    kind: int
    neighbours: tuple[str, ...] = ()
    eta: float = 0.0
    rs: float = 0.0
    rc: float = 0.0
    lam: float = 0.0
    zeta: float = 0.0
    rl: float = 0.0
    al: float = 0.0
    ar: float = 0.0
    core: str = ""

    def __post_init__(self) -> None:
        if self.kind not in RADIAL | ANGULAR:
            raise OptionError(f"symmetry functions of type {self.kind} are not known")
        wanted = 0 if self.kind in WEIGHTED else 1 if self.kind in RADIAL else 2
        if len(self.neighbours) != wanted:
            raise OptionError(f"a symmetry function of type {self.kind} has {wanted} neighbour elements")
        values = (self.eta, self.rs, self.rc, self.lam, self.zeta, self.rl, self.al, self.ar)
        if not np.isfinite(values).all():
            raise OptionError(f"a symmetry function of type {self.kind} holds a value that is not finite")
        if not 0 < self.rc <= MAX_CUTOFF:
            raise OptionError(f"a symmetry function has the cutoff {self.rc:g}; allowed is 0 to {MAX_CUTOFF:g}")
        if self.kind in COMPACT:
            if self.core not in CORES or not self.rl < self.rc:
                raise OptionError(f"a compact function has core {self.core!r}, from {self.rl:g} to {self.rc:g}")
            if self.kind in ANGULAR and not self.al < self.ar:
                raise OptionError(f"a compact angular function reaches from {self.al:g} to {self.ar:g} degrees")
        elif self.kind in ANGULAR and not 0 < abs(self.zeta) <= MAX_ZETA:  # published sets have some of -1 and -2
            raise OptionError(f"an angular function has zeta {self.zeta:g}; it must be within +-{MAX_ZETA:g}, not 0")


def _frozen(value: Any) -> np.ndarray:
    array = np.array(value, dtype=np.float64)
    array.setflags(write=False)
    return array


@dataclass(frozen=True, eq=False)
class Network:
    """A feed-forward network: y = f(W^T x + b) layer by layer. weights: (n_in, n_out) each; biases (n_out,) each;
    activations: one letter per layer; normalize_nodes: sums divided by the number of inputs."""

    weights: tuple[np.ndarray, ...]
    biases: tuple[np.ndarray, ...]
    activations: str
    normalize_nodes: bool = False

    def __post_init__(self) -> None:
        for name in ("weights", "biases"):
            object.__setattr__(self, name, tuple(_frozen(a) for a in getattr(self, name)))
        if not len(self.weights) == len(self.biases) == len(self.activations) > 0:
            raise OptionError("a network needs as many weights, biases and activations as layers")
        for k, (w, b) in enumerate(zip(self.weights, self.biases, strict=True)):
            if w.ndim != 2 or b.shape != w.shape[1:] or (k and self.weights[k - 1].shape[1] != len(w)):
                raise OptionError(f"layer {k + 1} of a network has shapes {w.shape} and {b.shape} that do not fit")
            if not (np.isfinite(w).all() and np.isfinite(b).all()):
                raise OptionError(f"layer {k + 1} of a network holds a value that is not finite")
        if unknown := set(self.activations) - set(ACTIVATIONS):
            raise OptionError(f"activation {sorted(unknown)[0]!r} is not known; there are {' '.join(ACTIVATIONS)}")

    @property
    def n_inputs(self) -> int:
        return len(self.weights[0])

    @property
    def nodes(self) -> tuple[int, ...]:
        """Nodes of each layer after the input."""
        return tuple(w.shape[1] for w in self.weights)

    def flat(self) -> np.ndarray:
        """All numbers in the order of a weights file: per layer the weights input by input, then the biases."""
        return np.concatenate([np.concatenate([w.ravel(), b]) for w, b in zip(self.weights, self.biases, strict=True)])

    @classmethod
    def from_flat(
        cls, values: np.ndarray, n_inputs: int, nodes: Sequence[int], activations: str, normalize_nodes: bool = False
    ) -> Network:
        """The inverse of `flat`. Raises OptionError for a count that does not fit the topology."""
        sizes = [n_inputs, *nodes]
        need = sum((a + 1) * b for a, b in zip(sizes, sizes[1:], strict=False))
        if len(values) != need:
            raise OptionError(f"{len(values)} numbers, but the topology {'-'.join(map(str, sizes))} has {need}")
        weights, biases, at = [], [], 0
        for a, b in zip(sizes, sizes[1:], strict=False):
            weights.append(np.reshape(values[at : at + a * b], (a, b)))
            biases.append(np.asarray(values[at + a * b : at + (a + 1) * b]))
            at += (a + 1) * b
        return cls(tuple(weights), tuple(biases), activations, normalize_nodes)


@dataclass(frozen=True, eq=False)
class ElementModel:
    """One element: functions (K) in the order of the network's inputs; scaling (K, 4): min, max, mean, sigma of each;
    short: the short-range network with K inputs (K + 1, the charge being the last, in generation 4); charge: the
    network of generation 3 (atomic charges) or 4 (electronegativities); hardness and Gaussian width of generation 4;
    energy: of the free atom, added per atom."""

    functions: tuple[SymmetryFunction, ...]
    scaling: np.ndarray
    short: Network
    charge: Network | None = None
    hardness: float = 0.0
    width: float = 0.0
    energy: float = 0.0

    def __post_init__(self) -> None:
        object.__setattr__(self, "functions", tuple(self.functions))
        object.__setattr__(self, "scaling", _frozen(self.scaling))
        k = len(self.functions)
        if k == 0 or self.scaling.shape != (k, 4):
            raise OptionError(f"{k} symmetry functions with scaling of shape {self.scaling.shape}")
        if not np.isfinite([*self.scaling.ravel(), self.hardness, self.width, self.energy]).all():
            raise OptionError("scaling, hardness, width or energy of an element is not finite")


@dataclass(frozen=True)
class Electrostatics:
    """coulomb: k of E = k q q / r, in energy times length of the file (1 in Hartree and Bohr, 14.3996 in eV and A);
    screening of the interaction between r_inner and r_outer (0, 0: none) with a core; keywords: what the file says of
    Ewald sums, kept for writing (accuracy is an option here, not a parameter)."""

    coulomb: float = 1.0
    r_inner: float = 0.0
    r_outer: float = 0.0
    core: str = "c"
    keywords: tuple[tuple[str, str], ...] = ()

    def __post_init__(self) -> None:
        if not np.isfinite([self.coulomb, self.r_inner, self.r_outer]).all() or self.coulomb <= 0:
            raise OptionError("electrostatics hold a value that is not finite, or no positive Coulomb constant")
        if not (0.0 <= self.r_inner < self.r_outer or self.r_inner == self.r_outer == 0.0):
            raise OptionError(f"screening reaches from {self.r_inner:g} to {self.r_outer:g}; the second must be larger")
        if self.core not in CORES[:6]:
            raise OptionError(f"the core of the screening function is {self.core!r}; known are {', '.join(CORES[:6])}")


@dataclass(frozen=True, eq=False)
class HdnnpParams:
    """One potential. elements in the order of atomic numbers; models, one per element.

    cutoff_type 0 to 8 and cutoff_alpha, of functions that are not compact; scaling, one of SCALINGS, to [smin, smax].
    mean_energy, conv_energy, conv_length, conv_charge: the normalisation, network units per unit of the file.
    length_unit in A, energy_unit in eV: one unit of the files. only: elements that are allowed, None for all.
    """

    elements: tuple[str, ...]
    models: tuple[ElementModel, ...]
    generation: int = 2
    cutoff_type: int = 1
    cutoff_alpha: float = 0.0
    scaling: str = "scale+center"
    smin: float = 0.0
    smax: float = 1.0
    mean_energy: float = 0.0
    conv_energy: float = 1.0
    conv_length: float = 1.0
    conv_charge: float = 1.0
    electrostatics: Electrostatics | None = None
    length_unit: float = 1.0
    energy_unit: float = 1.0
    only: tuple[str, ...] | None = None
    name: str = "hdnnp"
    facts: dict[str, Any] = field(default_factory=dict)
    """Card fields besides those that follow from the numbers: citation, doi, licence, files, errors, extra..."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "elements", tuple(self.elements))
        object.__setattr__(self, "models", tuple(self.models))
        self._check_elements()
        self._check_networks()

    def _check_elements(self) -> None:
        numbers = [number(e) for e in self.elements]
        if not numbers or numbers != sorted(set(numbers)):
            raise OptionError(f"elements are {self.elements}; needed is each once, in the order of atomic numbers")
        if len(self.models) != len(self.elements):
            raise OptionError(f"{len(self.models)} models for {len(self.elements)} elements")
        if self.generation not in (2, 3, 4):
            raise OptionError(f"generation {self.generation} is not known; there are 2, 3 and 4")
        if self.cutoff_type not in CUTOFF_TYPES or not 0 <= self.cutoff_alpha < 1:
            raise OptionError(f"cutoff_type {self.cutoff_type} {self.cutoff_alpha:g}: 0 to 8 and 0 <= alpha < 1")
        if self.scaling not in SCALINGS:
            raise OptionError(f"scaling {self.scaling!r} is not known; there are {', '.join(SCALINGS)}")
        values = (self.smin, self.smax, self.mean_energy)
        units = (self.conv_energy, self.conv_length, self.conv_charge, self.length_unit, self.energy_unit)
        if not np.isfinite(values).all() or not np.isfinite(units).all() or min(units) <= 0:
            raise OptionError("scaling limits, mean energy and units must be finite, and units positive")

    def _check_networks(self) -> None:
        charged = self.generation > 2
        for symbol, m in zip(self.elements, self.models, strict=True):
            wanted = len(m.functions) + (self.generation == 4)
            if m.short.n_inputs != wanted or m.short.nodes[-1] != 1:
                raise OptionError(f"the network of {symbol} has {m.short.n_inputs} inputs, not {wanted}, or no output")
            if charged != (m.charge is not None) or (m.charge and m.charge.n_inputs != len(m.functions)):
                raise OptionError(f"generation {self.generation} and the charge network of {symbol} do not fit")
            if self.generation == 4 and m.width <= 0:
                raise OptionError(f"the charge of {symbol} has the width {m.width:g} A; it must be positive")
            for f in m.functions:
                if missing := [e for e in f.neighbours if e not in self.elements]:
                    raise OptionError(f"a symmetry function of {symbol} names {missing[0]}, which has no network")
        if charged and self.electrostatics is None:
            raise OptionError(f"generation {self.generation} needs electrostatics")

    # -- what follows from the numbers -----------------------------------------------------------------------

    @property
    def numbers(self) -> tuple[int, ...]:
        """Atomic numbers that may be evaluated."""
        return tuple(number(e) for e in (self.only or self.elements))

    @property
    def cutoff(self) -> float:
        """A: the largest of all symmetry functions."""
        return self.length_unit * max(f.rc for m in self.models for f in m.functions)

    @property
    def n_functions(self) -> tuple[int, ...]:
        """Symmetry functions of each element."""
        return tuple(len(m.functions) for m in self.models)

    @property
    def outputs(self) -> tuple[str, ...]:
        plain = ("energy", "energies", "forces", "stress", "descriptors")
        charged = ("charges", "dipole") if self.generation > 2 else ()
        return (*plain, *charged, *(("electronegativities",) if self.generation == 4 else ()))

    def restricted(self, elements: Sequence[str]) -> HdnnpParams:
        """Only these elements may be evaluated; the functions of the others stay as inputs, whose sums are empty."""
        if missing := [e for e in elements if e not in self.elements]:
            raise OptionError(f"{self.name} has no {', '.join(missing)} (its elements: {', '.join(self.elements)})")
        return replace(self, only=tuple(e for e in self.elements if e in elements))

    def card(self) -> Card:
        """Facts about this potential."""
        facts = dict(self.facts)
        counts = dict(zip(self.elements, self.n_functions, strict=True))
        extra = {"generation": self.generation, "symmetry_functions": counts, **facts.pop("extra", {})}
        if self.generation > 2:
            extra["counts"] = ["electrostatics"]
        standard = f"high-dimensional neural network potential, generation {self.generation}"
        summary = facts.pop("summary", "") or standard
        if not facts.get("citation"):
            facts.setdefault("doi", DOI if self.generation < 4 else DOI_4G)
        return Card(
            name=self.name,
            family="hdnnp",
            elements=self.only or self.elements,
            cutoff=self.cutoff,
            outputs=self.outputs,
            summary=summary,
            extra=extra,
            **facts,
        )
