"""The published packages of the NequIP framework. Standard library only: listing them must stay fast."""

from __future__ import annotations

from dataclasses import dataclass

NEQUIP_CITATION = "S. Batzner et al., Nat. Commun. 13, 2453 (2022)"
NEQUIP_DOI = "10.1038/s41467-022-29939-5"
ALLEGRO_CITATION = "A. Musaelian et al., Nat. Commun. 14, 579 (2023)"
ALLEGRO_DOI = "10.1038/s41467-023-36329-y"
FOUNDATION_CITATION = (
    "S. R. Kavanagh et al., Fast and Accurate Foundation Models for Equivariant Machine-Learned Interatomic "
    "Potentials, arXiv:2607.28461 (2026)"
)
FOUNDATION_DOI = "10.48550/arXiv.2607.28461"
RECORD = "https://zenodo.org/records/18775904"
"""NequIP & Allegro Foundation Potentials, doi 10.5281/zenodo.18775904."""
LICENCE = "CC-BY-4.0 (weights); MIT (nequip)"

# hydrogen to plutonium without Po, At, Rn, Fr and Ra: the types of the published networks
ELEMENTS = tuple(
    "H He Li Be B C N O F Ne Na Mg Al Si P S Cl Ar K Ca Sc Ti V Cr Mn Fe Co Ni Cu Zn Ga Ge As Se Br Kr Rb Sr Y Zr "
    "Nb Mo Tc Ru Rh Pd Ag Cd In Sn Sb Te I Xe Cs Ba La Ce Pr Nd Pm Sm Eu Gd Tb Dy Ho Er Tm Yb Lu Hf Ta W Re Os Ir "
    "Pt Au Hg Tl Pb Bi Ac Th Pa U Np Pu".split()
)


@dataclass(frozen=True)
class Model:
    """One published package. sha256 and size stand here where two independent records of them agree, "" and 0 where
    not; cutoff (A) and layers are 0 where they are known from the file only."""

    name: str
    family: str
    summary: str
    training_data: str
    sha256: str = ""
    size: int = 0
    cutoff: float = 0.0
    layers: int = 0
    version: str = "0.1"

    @property
    def file(self) -> str:
        return f"{self.name}-{self.version}.nequip.zip"

    @property
    def url(self) -> str:
        return f"{RECORD}/files/{self.file}?download=1"


_OAM = "OMat24, then sAlex and MPtrj"
_MP = "MPtrj: relaxation trajectories of the Materials Project"
PUBLISHED = (
    Model("NequIP-OAM-S", "nequip", "small NequIP foundation potential", _OAM, layers=2),
    Model("NequIP-OAM-M", "nequip", "medium NequIP foundation potential", _OAM, layers=4),
    Model(
        "NequIP-OAM-L", "nequip", "large NequIP foundation potential, lmax 3, ZBL core", _OAM,
        "5d01a4fab228abb3cdb6ace0033f93993729956bca6a42234a2a8816825b9a0f", 78464590, 6.0, 6,
    ),
    Model(
        "NequIP-OAM-XL", "nequip", "largest NequIP foundation potential, lmax 4", _OAM,
        "99c3799b28026f1ecf66c413292038a27a0749d4d4d7cd0b3a642f2e68df9e9c", 259627903, layers=6,
    ),
    Model("NequIP-MP-L", "nequip", "large NequIP trained on MPtrj only, for benchmarks", _MP),
    Model(
        "Allegro-OAM-L", "allegro", "large Allegro foundation potential, lmax 3", _OAM,
        "3f0d3ca7bb136d4c2ee76278170fcbe756436f037e16c673a86e2c57d271c64e", 80738705, 7.0, 4,
    ),
    Model("Allegro-MP-L", "allegro", "large Allegro trained on MPtrj only, for benchmarks", _MP),
)  # fmt: skip


def find(name: str, family: str) -> Model | None:
    """The published package of that name, in any case, with or without its version ("NequIP-OAM-L-0.1",
    "nequip.net:mir-group/NequIP-OAM-L:0.1")."""
    low = name.lower().removeprefix("nequip.net:").removeprefix("mir-group/").replace(":", "-")
    return next((m for m in PUBLISHED if m.family == family and low in (m.name.lower(), m.file.lower()[:-11])), None)
