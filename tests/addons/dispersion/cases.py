"""The reference cases of s-dftd3: geometries, what their command lines say, and the results that belong to them."""

from __future__ import annotations

import json
import lzma
import tomllib
from dataclasses import dataclass, field

from ase import Atoms
from ase.io import read
from ase.units import Bohr

from data import shared

FOLDER = "data/d3/simple-dftd3_validation"
AA = 0.529177210903
"""A per bohr of CODATA 2018, by which s-dftd3 1.2.1 and later convert geometries and radii that are written in A."""
OLD_AA = 0.52917732679235
"""A per bohr of s-dftd3 0.4.2, which made most of the cases. It is 2.2e-7 larger than it should be, and found from the
cases: each of the sixteen alone tells the same to 3e-12."""


@dataclass(frozen=True)
class Case:
    """What a command line says: file of the geometry, damping, functional or own parameters, three-body term."""

    file: str
    damping: str
    functional: str = ""
    own: dict[str, float] = field(default_factory=dict, hash=False)
    s9: float = 0.0
    old: bool = True  # made by 0.4.2

    @property
    def spec(self) -> str:
        atm = ", atm=true" if self.s9 else ""
        return f"d3({self.functional}, damping={self.damping}{atm})"

    def parameters(self) -> dict[str, float]:
        """Of the damping, looked up in the table where the case names a functional."""
        if not self.functional:
            return {"s6": 1.0, **self.own, "s9": self.s9}
        table = tomllib.loads(shared("data/d3/s-dftd3_damping_parameters.toml").read_text())
        every, one = table["default"]["parameter"], table["parameter"][self.functional]
        entry = {**every["d3"][self.damping], **one["d3"][self.damping]}
        return {**{k: v for k, v in entry.items() if isinstance(v, float)}, "s9": self.s9}


CASES = {
    "01-energy-d3-bj": Case("01-tyr-xab.xyz", "bj", "pbe", s9=1.0),
    "02-energy-d3-zero": Case("02-ser-xad.gen", "zero", "b3lyp"),
    "03-energy-d3-bjm": Case("03-met-xag.coord", "bjm", "b97d"),
    "04-energy-d3-zerom": Case("04-val-xad.mol", "zerom", "bp"),
    "05-energy-d3-op": Case("05-cys-xag.sdf", "op", "tpss"),
    "06-gradient-d3-bj": Case("06-229.xyz", "bj", "olyp"),
    "07-gradient-d3-zero": Case("07-bih3-nh3.tmol", "zero", "m06l", s9=1.0),
    "08-gradient-d3-bjm": Case("08-teh2-hbr.mol", "bjm", "pbe0"),
    "09-gradient-d3-zerom": Case("09-0a.pdb", "zerom", "lcwpbe"),
    "10-gradient-d3-op": Case("10-but14diol.log", "op", "revpbe0"),
    "11-pairwise-d3-bj": Case("11-cf3br-benzene.xyz", "bj", own={"s8": 2.9491, "a1": 0.4466, "a2": 6.1742}),
    "12-pairwise-d3-zero": Case("12-butane.gen", "zero", own={"s8": 1.764, "rs6": 0.806}, s9=1.0),
    "13-pairwise-d3-bjm": Case("13-c60.coord", "bjm", own={"s8": 1.206988, "a1": 0.240184, "a2": 3.864426}, s9=2.0),
    "14-pairwise-d3-zerom": Case(
        "14-anthracene2.xyz", "zerom", own={"s8": 1.841686, "rs6": 1.279637, "bet": 0.014370}, s9=0.5
    ),
    "15-pairwise-d3-op": Case("15-pxylene.mol", "op", own={"s8": 0.27632, "a1": 0.700, "a2": 2.500, "bet": 8.0}),
    "16-db-d3-bj": Case("16-i10e.gen", "bj", "b1lyp", s9=1.0, old=False),
    "17-db-d3-zero": Case("17-li2-ch4.sdf", "zero", "pkzb"),
    "18-db-d3-bjm": Case("18-c1.pdb", "bjm", "blyp", s9=1.0, old=False),
    "19-db-d3-zerom": Case("19-g1.mol", "zerom", "b2plyp", s9=1.0, old=False),
    "20-db-d3-op": Case("20-i21p.tmol", "op", "ms2", s9=1.0, old=False),
}
"""Case -> what it is. Those of 1.2.1 with parameters from a table have the three-body term, that of 0.4.2 has not."""

COUNTERPOISE = {
    "22-gcp-b973c": ("22-benI-acetone.xyz", "d3(b973c)", ("b973c", None)),
    "24-gcp-hf-deftzvp": ("24-h2o_6.qchem", "d3(hf, damping=zero, atm=true)", ("hf", "deftzvp")),
}
"""Dispersion with a counterpoise correction, which is not offered here: dftd3's own is added to the energy."""

NOT_HERE = {"21-gcp-pbeh3c", "23-gcp-hf3c", "25-gcp-b3lyp-631gd"}
"""The counterpoise correction alone, which belongs to a basis set and not to a potential."""

_FORMATS = {
    "coord": "turbomole",
    "tmol": "turbomole",
    "gen": "gen",
    "mol": "mol",
    "sdf": "sdf",
    "pdb": "proteindatabank",
}


def geometry(file: str, bohr: float = AA) -> Atoms:
    """Structure of a file, with positions that divided by ase's bohr give those that s-dftd3 saw with its own."""
    path = shared(f"{FOLDER}/{file}")
    suffix = file.rpartition(".")[2]
    if suffix == "qchem":
        rows = [line.split() for line in path.read_text().splitlines()[2:] if len(line.split()) == 4]
        atoms = Atoms([r[0].capitalize() for r in rows], [[float(v) for v in r[1:]] for r in rows])
    else:
        atoms = read(path, format=_FORMATS.get(suffix, "xyz"))
    if _FORMATS.get(suffix) != "turbomole":
        atoms.positions *= Bohr / bohr
    atoms.pbc = False
    return atoms


def in_units(own: dict[str, float], k: float) -> dict[str, float]:
    """Parameters of the same interaction when all lengths are k times as many: energies per r^-6, r^-8 and r^-9, the
    a of rational damping times lengths and a length, the bet of modified zero damping per length."""
    powers = {"s6": 6, "s8": 8, "s9": 9}
    if "rs6" in own:
        powers |= {"bet": -1}
    else:
        powers |= {"a1": 1, "a2": 1}
    return {key: value * k ** powers.get(key, 0) for key, value in own.items()}


def expected(case: str) -> dict:
    """What belongs to a case, in hartree and bohr."""
    path = shared(f"{FOLDER}/{case}.json" + (".xz" if case.startswith("13") else ""))
    return json.loads(lzma.open(path, "rt").read() if path.suffix == ".xz" else path.read_text())
