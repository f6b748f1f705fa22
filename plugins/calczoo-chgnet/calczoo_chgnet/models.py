"""The published models that come inside chgnet's wheel. Standard library only: listing them must stay fast."""

from __future__ import annotations

import hashlib
import importlib.util
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

CITATION = "B. Deng et al., Nat. Mach. Intell. 5, 1031 (2023)"
DOI = "10.1038/s42256-023-00716-3"
CHGNET = "0.4.2"
"""Version of the package whose wheel holds the files below."""

# of the training sets: hydrogen to plutonium without Po, At, Rn, Fr and Ra, for which the network has untrained rows
ELEMENTS = tuple(
    "H He Li Be B C N O F Ne Na Mg Al Si P S Cl Ar K Ca Sc Ti V Cr Mn Fe Co Ni Cu Zn Ga Ge As Se Br Kr Rb Sr Y Zr "
    "Nb Mo Tc Ru Rh Pd Ag Cd In Sn Sb Te I Xe Cs Ba La Ce Pr Nd Pm Sm Eu Gd Tb Dy Ho Er Tm Yb Lu Hf Ta W Re Os Ir "
    "Pt Au Hg Tl Pb Bi Ac Th Pa U Np Pu".split()
)


@dataclass(frozen=True)
class Model:
    """One published model: where its file is in the package `chgnet`, and what it was trained on.

    cutoff: A, of the graph of atoms; bond_cutoff: A, of bonds whose angles are looked at; layers: message-passing
    layers, each of which reaches `cutoff` further; arguments: what the network's constructor needs beside
    what the file says; errors: mean absolute errors of the test set, as published.
    """

    name: str
    summary: str
    date: str
    folder: str
    file: str
    sha256: str
    cutoff: float
    training_data: str
    level: str
    errors: dict[str, float]
    citation: str = CITATION
    doi: str = DOI
    bond_cutoff: float = 3.0
    layers: int = 4
    arguments: dict[str, Any] = field(default_factory=dict)


_PBE = "DFT, PBE and PBE+U (Materials Project settings)"
_MPTRJ = "MPtrj: relaxation trajectories of the Materials Project; energies with MP2020 corrections"


def _errors(energy: float, forces: float, stress: float, moments: float) -> dict[str, float]:
    return {
        "test MAE energy (meV/atom)": energy, "test MAE forces (meV/A)": forces, "test MAE stress (GPa)": stress,
        "test MAE magnetic moments (mu_B)": moments,
    }  # fmt: skip


BUNDLED = (
    Model(
        name="0.3.0",
        summary="CHGNet 0.3.0 (22Oct2023): graph cutoff 6 A, MPtrj; the package's default",
        date="22Oct2023",
        folder="pretrained/0.3.0",
        file="chgnet_0.3.0_e29f68s314m37.pth.tar",
        sha256="d14ab7c0f093efe64b60a7bcd540bca10e74fb7f46c86108a079af60524659d1",
        cutoff=6.0,
        training_data=_MPTRJ,
        level=_PBE,
        errors=_errors(29, 68, 0.314, 0.037),
        arguments={"mlp_out_bias": False, "version": "0.3.0"},
    ),
    Model(
        name="0.2.0",
        summary="CHGNet 0.2.0 (24Feb2023): that of the paper, graph cutoff 5 A, MPtrj; for comparison with old work",
        date="24Feb2023",
        folder="pretrained/0.2.0",
        file="chgnet_0.2.0_e30f77s348m32.pth.tar",
        sha256="ef624f78b6db9d315b4ef256f1bb3207449924191b91720dc17d3f60c5df980e",
        cutoff=5.0,
        training_data=_MPTRJ,
        level=_PBE,
        errors=_errors(30, 77, 0.348, 0.032),
        arguments={"mlp_out_bias": True, "version": "0.2.0"},
    ),
    Model(
        name="r2scan",
        summary="CHGNet r2SCAN (21Sep2025): 0.3.0 transferred to r2SCAN, MP-r2SCAN",
        date="21Sep2025",
        folder="pretrained/r2scan",
        file="chgnet_r2scan_transfer_learning_e15f36s161m23.pth.tar",
        sha256="8eba3db0f35a2788bb3ae22885ad340591e27996f213c6643af522a633b50dad",
        cutoff=6.0,
        training_data="MP-r2SCAN: relaxation trajectories of the Materials Project (10.6084/m9.figshare.28245650.v2)",
        level="DFT, r2SCAN (Materials Project settings)",
        errors=_errors(16.76, 38.46, 0.167, 0.023),
        citation=f"X. Huang et al., npj Comput. Mater. (2025); {CITATION}",
        doi="10.1038/s41524-025-01796-y",
        arguments={"mlp_out_bias": False, "version": "r2scan"},
    ),
)


def find(name: str) -> Model | None:
    """The published model of that name, in any case."""
    return next((m for m in BUNDLED if m.name == name.lower()), None)


def installed_file(model: Model) -> Path:
    """Its file in the installed package, which is not imported, checked against the published sha256.

    Raises ModuleNotFoundError, FileNotFoundError, ValueError; each says what to install.
    """
    cure = f"the weights are those in the wheel of chgnet {CHGNET}: pip install chgnet=={CHGNET}"
    spec = importlib.util.find_spec("chgnet")
    if spec is None or not spec.submodule_search_locations:
        raise ModuleNotFoundError(f"there is no package 'chgnet' here; {cure}")
    path = Path(next(iter(spec.submodule_search_locations))) / model.folder / model.file
    if not path.is_file():
        raise FileNotFoundError(f"there is no {path}; {cure}")
    found = hashlib.sha256(path.read_bytes()).hexdigest()
    if found != model.sha256:
        raise ValueError(f"{path} has sha256 {found}, published is {model.sha256}; {cure} --force-reinstall")
    return path
