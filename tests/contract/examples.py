"""Which model stands for which family in the contract tests. A family without an entry fails `test_table.py`.

Bundled models need no entry: they are taken from the registry, and `test_bundled.py` holds each to the same promises.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms
from ase.build import bulk

from calczoo import get_calculator, list_calculators
from calczoo.registry import BUILTIN, describe, get_family
from data import lammps_potential, shared


@dataclass(frozen=True)
class Example:
    """One model: what get_calculator needs, and a crystal it is at home in.

    files: the main parameter file first, then those it cannot do without, names within LAMMPS' potentials folder or,
    where it is given, within the folder `where` of the reference data.
    crystal: formula, lattice and lattice constant (A) as in ase.build.bulk; the elements are spread over its sites at
    random unless `ordered`. gradient: largest error (relative to the largest force) of forces and stress against the
    derivative of the energy; 1e-7 unless the format itself interpolates energy and force apart from each other.
    """

    family: str
    spec: str
    crystal: tuple[str, str, float]
    files: tuple[str, ...] = ()
    where: str = ""
    elements: tuple[str, ...] | None = None
    options: dict[str, Any] = field(default_factory=dict, hash=False)
    ordered: bool = False
    gradient: float = 1e-7

    def __str__(self) -> str:
        folder = f"{Path(self.where).name}/" if self.where else ""
        return folder + self.files[0] if self.files else self.spec

    def paths(self) -> list[Path]:
        return [shared(f"{self.where}/{name}") if self.where else lammps_potential(name) for name in self.files]

    def arguments(self, folder: Path | None = None) -> dict[str, Any]:
        """Keyword arguments of get_calculator and describe; `folder` holds copies of the files."""
        main = self.paths()[0] if self.files and folder is None else folder / self.files[0] if self.files else None
        return {"name_or_spec": self.spec, "model": main, "elements": self.elements, **self.options}

    def calculator(self, folder: Path | None = None, **more: Any):
        return get_calculator(**self.arguments(folder), **{"device": "cpu", "threads": 1, **more})

    @property
    def known(self) -> tuple[str, ...]:
        """Elements of the model; cards of add-ons that know every element are cut to those asked for."""
        return self.elements or _elements(self)

    def structure(self, repeats: int | tuple[int, int, int] = 2, rattle: float = 0.08, seed: int = 1) -> Atoms:
        """A rattled, slightly sheared crystal with all elements."""
        name, lattice, a = self.crystal
        atoms = bulk(name, lattice, a=a).repeat(repeats)
        rng = np.random.default_rng(seed)
        if not self.ordered:
            symbols = [self.known[k % len(self.known)] for k in range(len(atoms))]
            atoms.set_chemical_symbols(list(rng.permutation(symbols)))
        atoms.set_cell(atoms.cell @ (np.eye(3) + rng.uniform(-0.02, 0.02, (3, 3))), scale_atoms=True)
        atoms.positions += rng.normal(0.0, rattle, atoms.positions.shape)
        return atoms


@cache
def _elements(example: Example) -> tuple[str, ...]:
    """Elements of an example's file, which is read once."""
    return describe(**example.arguments()).elements


_SNAP = ".snapcoeff", ".snapparam"
_RUNNER = {"length_unit": "Bohr", "energy_unit": "Ha", "extrapolation": "ignore"}


def _folder(*numbers: str) -> tuple[str, ...]:
    """Files of a neural network potential of these elements."""
    return ("input.nn", "scaling.data", *(f"weights.{z}.data" for z in numbers))


EXAMPLES = (
    Example("snap", "snap", ("W", "bcc", 3.18), tuple(f"W_2940_2017_2{s}" for s in (".snap", *_SNAP))),
    Example("snap", "snap", ("Ni", "fcc", 3.52), tuple(f"Ni_Zuo_JPCA2020.quadratic{s}" for s in _SNAP)),
    Example("snap", "snap", ("InP", "zincblende", 5.83), tuple(f"InP_JCPA2020{s}" for s in (".snap", *_SNAP)),
            ordered=True),
    Example("eam", "eam", ("Cu", "fcc", 3.62), ("Cu_mishin1.eam.alloy",)),
    Example("eam", "eam", ("Cu", "fcc", 3.62), ("Cu_u3.eam",)),
    Example("eam", "eam", ("Ni", "fcc", 3.57), ("CuNi.eam.alloy",)),
    Example("eam", "eam", ("Fe", "bcc", 2.86), ("Fe_mm.eam.fs",)),
    Example("eam", "eam", ("Al", "fcc", 3.9), ("AlCu.adp",)),
    Example("sw", "sw", ("Si", "diamond", 5.43), ("Si.sw",)),
    Example("sw", "sw", ("CdTe", "zincblende", 6.48), ("CdTe.sw",), ordered=True),
    Example("tersoff", "tersoff", ("Si", "diamond", 5.43), ("Si.tersoff",)),
    Example("tersoff", "tersoff", ("SiC", "zincblende", 4.36), ("SiC.tersoff",), ordered=True),
    Example("mtp", "mtp", ("Mo", "bcc", 3.16), ("fitted.mtp",), "data/mtp/maml/Mo", ("Mo",)),
    Example("mtp", "mtp", ("Ta", "bcc", 3.25), ("quaternary.mtp",), "data/mtp/maml/MoNbTaW/mtp.2021.08",
            ("Mo", "Nb", "Ta", "W")),
    Example("mtp", "mtp", ("Cu", "fcc", 3.62), ("pot.almtp",), "data/mtp/pyiron_mlip3_Cu", ("Cu",)),
    Example("hdnnp", "hdnnp", ("Mo", "bcc", 3.16), _folder("042"), "data/hdnnp/mlearn_nnp/Mo", options=_RUNNER),
    Example("hdnnp", "hdnnp", ("Cu", "fcc", 4.1), _folder("016", "029"), "data/hdnnp/n2p2/potentials/Cu2S_PBE",
            options={"length_unit": "A", "energy_unit": "eV", "extrapolation": "ignore"}),
    Example("delta", "delta(mtp:Mo, 0.1*zbl(2.0, 3.0))", ("Mo", "bcc", 3.16)),
    Example("switch", "switch(zbl(2.0, 3.0), snap:Mo-linear, 2.2, 2.8, Mo=-10.9)", ("Mo", "bcc", 3.16)),
    Example("zbl", "zbl(2.0, 3.0)", ("W", "bcc", 2.6), elements=("W", "Be")),
    Example("table", "table", ("W", "bcc", 3.2), ("W_He_JW2013.table",), elements=("W", "He"),
            options={"pair": "W-He", "keyword": "WHe"}, gradient=1e-4),
)  # fmt: skip
"""At least one per family of local models; several where a family reads several kinds of files."""

LONG_RANGE = (
    Example("ewald", "ewald(Na=1, Cl=-1)", ("NaCl", "rocksalt", 5.64), ordered=True),
)  # fmt: skip
"""Models whose energy no cutoff bounds: `test_long_range.py` holds them to what makes sense for them."""

WRAPPED = (
    Example("d3", "d3(pbe, atm=true, disp2=15, disp3=8, cn=12, width2=3, width3=2)", ("Cu", "fcc", 3.62),
            elements=("Cu", "O")),
    Example("d4", "d4(pbe, disp2=12, disp3=7, cn=12, width2=3, width3=2)", ("Cu", "fcc", 3.62), elements=("Cu", "O")),
)  # fmt: skip
"""Families around packages of others, without kernels of ours: `test_wrapped.py` holds them to what makes sense for
them, `tests/addons` to what those packages do. Short cutoffs with smooth ends keep it quick."""

_LATTICES = {
    "Mo": ("bcc", 3.16), "W": ("bcc", 3.18), "Ta": ("bcc", 3.32), "Nb": ("bcc", 3.31), "Li": ("bcc", 3.44),
    "Ni": ("fcc", 3.52), "Cu": ("fcc", 3.62), "Si": ("diamond", 5.46), "Ge": ("diamond", 5.77),
}  # fmt: skip


def bundled_names() -> list[str]:
    """Every model that comes with the package."""
    return [name for name in list_calculators("*:*") if name.partition(":")[0] in BUILTIN]


@cache
def bundled() -> tuple[Example, ...]:
    """Those that are at home in a crystal; models with charges that feel each other at any distance are not, and have
    tests of their own."""
    out = []
    for name in bundled_names():
        family, _, model = name.partition(":")
        if "charges" not in describe(name).outputs:
            first = get_family(family).bundled_elements[model][0]
            out.append(Example(family, name, (first, *_LATTICES[first])))
    return tuple(out)


@cache
def all_examples() -> tuple[Example, ...]:
    """The table and the bundled models."""
    return (*EXAMPLES, *bundled())
