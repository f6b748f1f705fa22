"""The published potentials, and networks with random weights. Standard library only: listing them must stay fast."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

MATGL = "4.1.2"
"""Version of the package that this adapter is written for."""
PAGE = "https://huggingface.co/materialyze"
FILES = ("model.json", "model.pt", "state.pt")
"""A model of matgl is a folder of these: what it is, arguments of the network, weights."""

CITATION = "T. W. Ko, B. Deng, M. Nassar et al., npj Comput. Mater. 11, 253 (2025)"
DOI = "10.1038/s41524-025-01742-y"
MATPES = "A. D. Kaplan et al., arXiv:2503.04070 (2025)"
CITATIONS = {
    "M3GNet": ("C. Chen, S. P. Ong, Nat. Comput. Sci. 2, 718 (2022)", "10.1038/s43588-022-00349-3"),
    "TensorNet": ("G. Simeon, G. De Fabritiis, NeurIPS 36 (2023)", "10.48550/arXiv.2306.06482"),
    "CHGNet": ("B. Deng et al., Nat. Mach. Intell. 5, 1031 (2023)", "10.1038/s42256-023-00716-3"),
    "SO3Net": ("K. T. Schuett et al., J. Chem. Phys. 158, 144801 (2023)", "10.1063/5.0138367"),
    "QET": ("T. W. Ko et al., arXiv:2511.07249 (2025)", "10.48550/arXiv.2511.07249"),
}
"""Architecture -> (citation, doi)."""

# of the Materials Project: hydrogen to plutonium without Po, At, Rn, Fr and Ra
ELEMENTS = tuple(
    "H He Li Be B C N O F Ne Na Mg Al Si P S Cl Ar K Ca Sc Ti V Cr Mn Fe Co Ni Cu Zn Ga Ge As Se Br Kr Rb Sr Y Zr "
    "Nb Mo Tc Ru Rh Pd Ag Cd In Sn Sb Te I Xe Cs Ba La Ce Pr Nd Pm Sm Eu Gd Tb Dy Ho Er Tm Yb Lu Hf Ta W Re Os Ir "
    "Pt Au Hg Tl Pb Bi Ac Th Pa U Np Pu".split()
)


@dataclass(frozen=True)
class Published:
    """One published potential. errors: mean absolute ones on the test set, as the authors give them."""

    name: str
    architecture: str
    summary: str
    level: str
    training_data: str
    elements: tuple[str, ...] = ELEMENTS
    errors: dict[str, Any] = field(default_factory=dict)
    also: str = MATPES
    dispersion: bool | None = False
    licence: str = "BSD-3-Clause, that of matgl; the page of the model names none"

    @property
    def url(self) -> str:
        return f"{PAGE}/{self.name}"


@dataclass(frozen=True)
class Random:
    """A network with random weights: the arguments that differ from the package's own defaults. The energies are scaled
    (data_std) so that forces are of the order of 0.1 eV/A."""

    name: str
    architecture: str
    arguments: dict[str, Any]
    options: dict[str, Any] = field(default_factory=dict)
    elements: tuple[str, ...] = ELEMENTS

    @property
    def summary(self) -> str:
        return f"{self.architecture} with random weights, for trying things out: no physics"


def _errors(energy: float, force: float, stress: float, **more: float) -> dict[str, Any]:
    return {"test MAE": {"energy": f"{energy} eV/atom", "forces": f"{force} eV/A", "stress": f"{stress} GPa", **more}}


_LEVELS = {"PBE": "DFT, PBE (MatPES settings)", "r2SCAN": "DFT, r2SCAN (MatPES settings)"}


def _matpes(architecture: str, level: str, errors: dict[str, Any] | None = None, tail: str = "", what: str = ""):
    return Published(
        name=f"{architecture}-PES-MatPES-{level}-2025.2{tail}",
        architecture=architecture,
        summary=f"{architecture}{what}, MatPES 2025.2, {level}",
        level=_LEVELS[level],
        training_data=f"MatPES-{level}-2025.2: about 400000 static calculations of structures from dynamics at 300 K",
        errors=errors or {},
    )


def _chgnet(level: str, errors: dict[str, Any]) -> Published:
    return Published(
        name=f"CHGNet-PES-MatPES-{level}-2025.2.10",
        architecture="CHGNet",
        summary=f"CHGNet with magnetic moments, MatPES 2024.11, {level}",
        level=_LEVELS[level],
        training_data=f"MatPES-{level}-2024.11, with magnetic moments",
        errors=errors,
        licence="BSD-3-Clause",
    )


def _ani(architecture: str) -> Published:
    return Published(
        name=f"{architecture}-PES-ANI-1x-Subset",
        architecture=architecture,
        summary=f"{architecture}, molecules of H, C, N, O (subset of ANI-1x)",
        level="DFT, wB97x/6-31G(d)",
        training_data="a subset of ANI-1x: energies and forces of molecules, no stress",
        elements=("H", "C", "N", "O"),
        also="J. S. Smith et al., Sci. Data 7, 134 (2020)",
    )


PUBLISHED = (
    _matpes("TensorNet", "PBE"),
    _matpes("TensorNet", "r2SCAN"),
    _matpes("TensorNet", "PBE", _errors(0.037167, 0.125499, 0.592749), "-m", " (medium: 128 units, 3 blocks)"),
    _matpes("TensorNet", "r2SCAN", _errors(0.035895, 0.154268, 0.667323), "-m", " (medium: 128 units, 3 blocks)"),
    _matpes("M3GNet", "PBE"),
    _matpes("M3GNet", "r2SCAN"),
    _matpes("QET", "PBE", _errors(0.041846, 0.132441, 0.628318, charges="0.031398 e"), what=" with charges"),
    _matpes("QET", "r2SCAN", _errors(0.040936, 0.156839, 0.696752, charges="0.036108 e"), what=" with charges"),
    Published(
        name="QET-PES-MatQ",
        architecture="QET",
        summary="QET with charges, MatQ",
        level="DFT; see the paper",
        training_data="MatQ",
        also="",
        dispersion=None,
    ),
    _chgnet("PBE", _errors(0.03070, 0.1360, 0.642, magmoms="0.066 mu_B")),
    _chgnet("r2SCAN", _errors(0.03045, 0.1565, 0.735, magmoms="0.072 mu_B")),
    _ani("M3GNet"),
    _ani("TensorNet"),
    _ani("SO3Net"),
)
RETIRED = {
    "m3gnet-mp-2021.2.8-pes": "M3GNet-PES-MatPES-PBE-2025.2",
    "m3gnet-mp-2021.2.8-direct-pes": "M3GNet-PES-MatPES-PBE-2025.2",
    "m3gnet-matpes-pbe-v2025.1-pes": "M3GNet-PES-MatPES-PBE-2025.2",
    "m3gnet-matpes-r2scan-v2025.1-pes": "M3GNet-PES-MatPES-r2SCAN-2025.2",
    "tensornet-matpes-pbe-v2025.1-pes": "TensorNet-PES-MatPES-PBE-2025.2",
    "tensornet-matpes-r2scan-v2025.1-pes": "TensorNet-PES-MatPES-r2SCAN-2025.2",
    "tensornetdgl-matpes-pbe-v2025.1-pes": "TensorNet-PES-MatPES-PBE-2025.2",
    "tensornetdgl-matpes-r2scan-v2025.1-pes": "TensorNet-PES-MatPES-r2SCAN-2025.2",
}
"""Names of before matgl 3, in lower case -> what replaces them."""
ALIASES = {
    "chgnet-matpes-pbe-2025.2.10-2.7m-pes": "CHGNet-PES-MatPES-PBE-2025.2.10",
    "chgnet-matpes-r2scan-2025.2.10-2.7m-pes": "CHGNet-PES-MatPES-r2SCAN-2025.2.10",
}
"""Old names of the same weights."""

_EXTENSIVE = {"is_intensive": False}
_SMOOTH = {"rbf_type": "SphericalBessel", "use_smooth": True}
RANDOM = {
    m.name: m
    for m in (
        Random("m3gnet-random", "M3GNet", {**_EXTENSIVE, "use_smooth": True}, {"data_std": 1000.0}),
        Random("tensornet-random", "TensorNet", {**_EXTENSIVE, **_SMOOTH}, {"data_std": 200.0}),
        Random("chgnet-random", "CHGNet", {}, {"calc_magmom": True, "data_std": 50.0}),
        Random("so3net-random", "SO3Net", {**_EXTENSIVE, "lmax": 2}, {"data_std": 2000.0}),
        Random("qet-random", "QET", {**_SMOOTH}, {"calc_charge": True, "data_std": 100.0}),
    )
}


def find(name: str) -> Published | None:
    """The published potential of that name, in any case; "materialyze/NAME" is the same."""
    low = name.lower().removeprefix("materialyze/")
    low = ALIASES.get(low, name).lower().removeprefix("materialyze/")
    return next((m for m in PUBLISHED if m.name.lower() == low), None)
