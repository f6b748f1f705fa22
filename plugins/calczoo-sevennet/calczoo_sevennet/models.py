"""The published models that come inside sevenn's wheel. Standard library only: listing them must stay fast."""

from __future__ import annotations

import hashlib
import importlib.util
from dataclasses import dataclass
from pathlib import Path

CITATION = "Y. Park, J. Kim, S. Hwang, S. Han, J. Chem. Theory Comput. 20, 4857 (2024)"
DOI = "10.1021/acs.jctc.4c00190"
SEVENN = "0.13.0"
"""Version of the package whose wheel holds the files below."""

# of the Materials Project: hydrogen to plutonium without Po, At, Rn, Fr and Ra
ELEMENTS = tuple(
    "H He Li Be B C N O F Ne Na Mg Al Si P S Cl Ar K Ca Sc Ti V Cr Mn Fe Co Ni Cu Zn Ga Ge As Se Br Kr Rb Sr Y Zr "
    "Nb Mo Tc Ru Rh Pd Ag Cd In Sn Sb Te I Xe Cs Ba La Ce Pr Nd Pm Sm Eu Gd Tb Dy Ho Er Tm Yb Lu Hf Ta W Re Os Ir "
    "Pt Au Hg Tl Pb Bi Ac Th Pa U Np Pu".split()
)


@dataclass(frozen=True)
class Model:
    """One published model: where its file is in the package `sevenn`, and what it was trained on.

    levels: modality -> level of theory; the modality is "" for models that have none, and the first is the default.
    layers: message-passing layers, each of which reaches `cutoff` (A) further.
    """

    name: str
    summary: str
    date: str
    folder: str
    file: str
    sha256: str
    training_data: str
    levels: dict[str, str]
    citation: str = CITATION
    doi: str = DOI
    cutoff: float = 5.0
    layers: int = 5


_PBE = "DFT, PBE and PBE+U (Materials Project settings)"
_MPTRJ = "MPtrj: relaxation trajectories of the Materials Project; uncorrected DFT energies"
_TRAJ = "relaxation trajectories of the Materials Project"
_JUL = Model(
    name="7net-0",
    summary="SevenNet-0 (11Jul2024): lmax 2, 5 layers, MPtrj; the fastest",
    date="11Jul2024",
    folder="pretrained_potentials/SevenNet_0__11Jul2024",
    file="checkpoint_sevennet_0.pth",
    sha256="7052cb42b7b3be42b40b97fa0d21077a48c54b5548948fc4dcf346629f813c36",
    training_data=_MPTRJ,
    levels={"": _PBE},
)
BUNDLED = (
    _JUL,
    Model(
        name="7net-0_22May2024",
        summary="SevenNet-0 (22May2024): that of the paper, lmax 2, 5 layers, MPF.2021.2.8",
        date="22May2024",
        folder="pretrained_potentials/SevenNet_0__22May2024",
        file="checkpoint_sevennet_0.pth",
        sha256="5d389fafd512e6ae2830d74d0b66ffc49a55d3832653ff8e7bf7f1343013c1d1",
        training_data="MPF.2021.2.8, the data set of M3GNet (relaxations of the Materials Project)",
        levels={"": _PBE},
    ),
    Model(
        name="7net-l3i5",
        summary="SevenNet-l3i5 (12Dec2024): lmax 3, 5 layers, MPtrj; more accurate, about four times slower",
        date="12Dec2024",
        folder="pretrained_potentials/SevenNet_l3i5",
        file="checkpoint_l3i5.pth",
        sha256="a7ff190d41efe5b8317a03d20a468e4036a1a3e64e0b14fdbab64ac3f4bfc09d",
        training_data=_MPTRJ,
        levels={"": _PBE},
    ),
    Model(
        name="7net-mf-0",
        summary="SevenNet-MF-0: lmax 2, 5 layers, two levels of theory: modal=PBE (default) or modal=R2SCAN",
        date="2024",
        folder="pretrained_potentials/SevenNet_MF_0",
        file="checkpoint_sevennet_mf_0.pth",
        sha256="81791329b37d445f46b531578c182c41792d98c7814222c9e5dde276402225fd",
        training_data=f"PBE(+U) and r2SCAN {_TRAJ}",
        levels={"PBE": _PBE, "R2SCAN": "DFT, r2SCAN (Materials Project settings)"},
        citation=f"J. Kim et al., J. Am. Chem. Soc. 147, 1042 (2025); {CITATION}",
        doi="10.1021/jacs.4c14455",
    ),
)
ALIASES = {"7net-0_11jul2024": "7net-0"}


def find(name: str) -> Model | None:
    """The published model of that name, in any case; "SevenNet-0" is "7net-0" too."""
    low = name.lower().replace("sevennet-", "7net-")
    low = ALIASES.get(low, low)
    return next((m for m in BUNDLED if m.name.lower() == low), None)


def installed_file(model: Model) -> Path:
    """Its file in the installed package, which is not imported, checked against the published sha256.

    Raises ModuleNotFoundError, FileNotFoundError, ValueError; each says what to install.
    """
    cure = f"the weights are those in the wheel of sevenn {SEVENN}: pip install sevenn=={SEVENN}"
    spec = importlib.util.find_spec("sevenn")
    if spec is None or not spec.submodule_search_locations:
        raise ModuleNotFoundError(f"there is no package 'sevenn' here; {cure}")
    path = Path(next(iter(spec.submodule_search_locations))) / model.folder / model.file
    if not path.is_file():
        raise FileNotFoundError(f"there is no {path}; {cure}")
    found = hashlib.sha256(path.read_bytes()).hexdigest()
    if found != model.sha256:
        raise ValueError(f"{path} has sha256 {found}, published is {model.sha256}; {cure} --force-reinstall")
    return path
