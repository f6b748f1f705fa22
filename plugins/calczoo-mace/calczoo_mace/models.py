"""The published models: where they are, what they were trained on, under which licence. Standard library only: listing
them must stay fast, and the worker process reads this file too.

Addresses are those of mace-torch 0.3.16. The authors publish no checksums; the sha256 are those on which the public
records of several independent users of the same files agree.
"""

from __future__ import annotations

from dataclasses import dataclass

MACE = "0.3.16"
"""Version of mace-torch that this plug-in pins."""
ARCHITECTURE = "I. Batatia, D. P. Kovacs, G. N. C. Simm, C. Ortner, G. Csanyi, NeurIPS 35 (2022), arXiv:2206.07697"
ARCHITECTURE_DOI = "10.48550/arXiv.2206.07697"

# of the Materials Project: hydrogen to plutonium without Po, At, Rn, Fr and Ra
ELEMENTS = tuple(
    "H He Li Be B C N O F Ne Na Mg Al Si P S Cl Ar K Ca Sc Ti V Cr Mn Fe Co Ni Cu Zn Ga Ge As Se Br Kr Rb Sr Y Zr "
    "Nb Mo Tc Ru Rh Pd Ag Cd In Sn Sb Te I Xe Cs Ba La Ce Pr Nd Pm Sm Eu Gd Tb Dy Ho Er Tm Yb Lu Hf Ta W Re Os Ir "
    "Pt Au Hg Tl Pb Bi Ac Th Pa U Np Pu".split()
)
ORGANIC = tuple("H C N O F P S Cl Br I".split())
SEED = 8
"""Of the model "random" where none is given: one with which silicon, copper and rock salt are bound crystals."""
LAYERS = 2
"""Message-passing layers of all of them: information travels twice the cutoff."""


@dataclass(frozen=True)
class Model:
    """One published model. size: bytes, 0 where not known; cutoff: A, of one layer."""

    name: str
    summary: str
    version: str
    url: str
    sha256: str
    size: int
    elements: tuple[str, ...]
    cutoff: float
    training_data: str
    level_of_theory: str
    dispersion: bool
    licence: str
    citation: str
    doi: str


_MP = "https://github.com/ACEsuit/mace-mp/releases/download"
_OFF = "https://raw.githubusercontent.com/ACEsuit/mace-off/main/mace_off23"


def _materials(name: str, summary: str, version: str, file: str, sha256: str, size: int, data: str) -> Model:
    return Model(
        name, summary, version, f"{_MP}/{file}", sha256, size, ELEMENTS, 6.0, data,
        "DFT, PBE and PBE+U (Materials Project settings)", False, "MIT",
        "I. Batatia et al., A foundation model for atomistic materials chemistry, arXiv:2401.00096",
        "10.48550/arXiv.2401.00096",
    )  # fmt: skip


def _organic(name: str, summary: str, file: str, sha256: str, size: int, cutoff: float) -> Model:
    return Model(
        name, summary, "2023", f"{_OFF}/{file}", sha256, size, ORGANIC, cutoff,
        "SPICE and further organic molecules, neutral", "DFT, wB97M-D3(BJ)/def2-TZVPPD", True,
        "ASL (Academic Software License: no commercial use), https://github.com/gabor1/ASL",
        "D. P. Kovacs, J. H. Moore et al., MACE-OFF, arXiv:2312.15211", "10.48550/arXiv.2312.15211",
    )  # fmt: skip


_MPTRJ = "MPtrj: relaxation trajectories of the Materials Project (2022.9)"
PUBLISHED = (
    _materials(
        "mp-0-small", "MACE-MP-0 (0a) small: 128 channels, L=0, MPtrj; the fastest of the three", "2023-12-10",
        "mace_mp_0/2023-12-10-mace-128-L0_energy_epoch-249.model",
        "2ddb079cee0e131eaaf6912ba581b394551ead283e95c99cfe78c605d10b5736", 32581838, _MPTRJ,
    ),
    _materials(
        "mp-0-medium", "MACE-MP-0 (0a) medium: 128 channels, L=1, MPtrj", "2023-12-03",
        "mace_mp_0/2023-12-03-mace-128-L1_epoch-199.model",
        "01bfe22100139f424713cf921144e5509cbe353d67aa9fa1be9c6e1e0ed35845", 44422970, _MPTRJ,
    ),
    _materials(
        "mp-0-large", "MACE-MP-0 (0a) large: L=2, MPtrj; 'large' of mace-torch", "2022.9",
        "mace_mp_0/MACE_MPtrj_2022.9.model",
        "f80e992b65ab8f88fdf26964511357c022e92704e4d9bcd086652635a8495b32", 133803220, _MPTRJ,
    ),
    _materials(
        "mpa-0-medium", "MACE-MPA-0 medium: MPtrj and sAlex; the default of mace-torch", "2024-12",
        "mace_mpa_0/mace-mpa-0-medium.model",
        "75428afe3a1d7d8062e19bcaabd5c433623cabf308242ec9fb493e38604fb638", 79462305,
        "MPtrj and sAlex (subsampled Alexandria)",
    ),
    _organic(
        "off23-small", "MACE-OFF23 small: organic molecules, ten elements; academic use only", "MACE-OFF23_small.model",
        "165cce4cfec5a34b9c64d4ebf95de15d71106bb584b7291c8470f0749977c46f", 7347350, 4.5,
    ),
    _organic(
        "off23-medium", "MACE-OFF23 medium: organic molecules, ten elements; academic use only",
        "MACE-OFF23_medium.model", "4842c52ad210d6e1f84d6cf1ffa70fae25a7e0d755ed55cf223f43913f587db7", 18350596, 5.0,
    ),
    _organic(
        "off23-large", "MACE-OFF23 large: organic molecules, ten elements; academic use only", "MACE-OFF23_large.model",
        "a29e397dbf3e7a24ac50a9b0dfc919bd5a62efa346f5895a6237b0950c1d76f4", 0, 5.0,
    ),
)  # fmt: skip
_ALIASES = {"mpa-0": "mpa-0-medium", "mp-0a-small": "mp-0-small", "mp-0a-medium": "mp-0-medium"}


def find(name: str) -> Model | None:
    """The published model of that name, in any case; "MACE-MP-0-small" and "mace_off23_small" are understood too."""
    low = name.lower().replace("_", "-").removeprefix("mace-")
    low = _ALIASES.get(low, low)
    return next((m for m in PUBLISHED if m.name == low), None)
