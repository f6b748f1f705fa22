"""The published models of orb-models 0.5.5. Standard library only: listing them must stay fast."""

from __future__ import annotations

from dataclasses import dataclass

V3 = ("B. Rhodes et al., Orb-v3: atomistic simulation at scale, arXiv:2504.06231 (2025)", "10.48550/arXiv.2504.06231")
V2 = (
    "M. Neumann et al., Orb: A Fast, Scalable Neural Network Potential, arXiv:2410.22570 (2024)",
    "10.48550/arXiv.2410.22570",
)
ORB_MODELS = "0.5.5"
LICENCE = "Apache-2.0"
BASE = "https://orbitalmaterials-public-models.s3.us-west-1.amazonaws.com/forcefields/"
CUTOFF = 6.0
"""A; of all Orb models."""

_ALL = (
    "H He Li Be B C N O F Ne Na Mg Al Si P S Cl Ar K Ca Sc Ti V Cr Mn Fe Co Ni Cu Zn Ga Ge As Se Br Kr Rb Sr Y Zr Nb "
    "Mo Tc Ru Rh Pd Ag Cd In Sn Sb Te I Xe Cs Ba La Ce Pr Nd Pm Sm Eu Gd Tb Dy Ho Er Tm Yb Lu Hf Ta W Re Os Ir Pt Au "
    "Hg Tl Pb Bi Po At Rn Fr Ra Ac Th Pa U Np Pu Am Cm Bk Cf Es Fm Md No Lr Rf Db Sg Bh Hs Mt Ds Rg Cn Nh Fl Mc Lv Ts"
).split()
EMBEDDED = tuple(_ALL)
"""What the package can compute with at all: it has an embedding for atomic numbers up to 117, trained or not."""
INORGANIC = tuple(e for e in _ALL[:94] if e not in ("Po", "At", "Rn", "Fr", "Ra"))
"""The 89 elements of the Materials Project, Alexandria and OMat24 data."""
MOLECULAR = tuple(_ALL[:83])
"""The 83 elements of OMol25: hydrogen to bismuth."""


@dataclass(frozen=True)
class Model:
    """One published model, or an architecture with random weights.

    file: below BASE; neighbours: an atom sends messages to at most so many others; layers: of messages; sha256 and size
    (bytes) stand here where two independent records of them agree.
    """

    name: str
    summary: str
    file: str
    data: str
    conservative: bool
    neighbours: int
    dispersion: bool = False
    layers: int = 5
    molecular: bool = False
    paper: tuple[str, str] = V3
    sha256: str = ""
    size: int = 0

    @property
    def elements(self) -> tuple[str, ...]:
        return MOLECULAR if self.molecular else INORGANIC

    @property
    def url(self) -> str:
        return BASE + self.file

    @property
    def version(self) -> str:
        return self.file.removesuffix(".ckpt").rsplit("-", 1)[-1]


_OMAT = "OMat24: PBE and PBE+U, near and far from equilibrium"
_MPA = "MPtrj and Alexandria: PBE and PBE+U relaxations"
_MPTRJ = "MPtrj: relaxation trajectories of the Materials Project"
_OMOL = "OMol25: molecules, complexes and electrolytes"


def _v3() -> list[Model]:
    out = []
    for data, text in (("omat", _OMAT), ("mpa", _MPA)):
        for kind in ("conservative", "direct"):
            for neighbours in ("inf", "20"):
                name = f"orb-v3-{kind}-{neighbours}-{data}"
                most = 120 if neighbours == "inf" else 20
                how = "forces by gradient" if kind == "conservative" else "forces predicted, not a gradient"
                out.append(Model(
                    name, f"Orb-v3, {how}, at most {most} neighbours, {'OMat24' if data == 'omat' else 'MPtrj + Alex'}",
                    f"orb-v3/{name}-20250404.ckpt", text, kind == "conservative", most, **_KNOWN.get(name, {}),
                ))  # fmt: skip
    return out


_KNOWN = {
    "orb-v3-conservative-inf-omat": {
        "sha256": "0a41ef1132ad9c41ee0c7b9d855fccabfefb97abe04625c97ec0d07930b6c0f0", "size": 102097517,
    },
}  # fmt: skip


def _omol() -> list[Model]:
    return [
        Model(
            f"orb-v3-{kind}-omol", f"Orb-v3 for molecules, {how}, total charge and spin",
            f"orb-v3-{kind}-omol-20250820.ckpt", _OMOL, kind == "conservative", 120, dispersion=True, molecular=True,
        )
        for kind, how in (("conservative", "forces by gradient"), ("direct", "forces predicted, not a gradient"))
    ]  # fmt: skip


def _v2() -> list[Model]:
    rows = (
        ("orb-v2", "Orb-v2", "orb-v2-20241011", _MPA, False, 15),
        ("orb-d3-v2", "Orb-v2 with D3 in its training data", "orb-d3-v2-20241011", _MPA, True, 15),
        ("orb-d3-sm-v2", "Orb-v2 with D3, 10 layers", "orb-d3-sm-v2-20241011", _MPA, True, 10),
        ("orb-d3-xs-v2", "Orb-v2 with D3, 5 layers", "orb-d3-xs-v2-20241011", _MPA, True, 5),
        ("orb-mptraj-only-v2", "Orb-v2, MPtrj only, for benchmarks", "orb-mptraj-only-v2-20241014", _MPTRJ, False, 15),
    )
    return [
        Model(name, f"{text}; forces predicted, not a gradient", f"{file}.ckpt", data, False, 20, d3, layers, paper=V2)
        for name, text, file, data, d3, layers in rows
    ]


PUBLISHED = (*_v3(), *_omol(), *_v2())
RANDOM = {
    "random": Model("random", "random weights of a small Orb-v3, forces by gradient", "", "none", True, 120, layers=3),
    "random-direct": Model(
        "random-direct", "random weights of a small Orb-v3, forces predicted, not a gradient", "", "none", False, 120,
        layers=3,
    ),
}  # fmt: skip


def find(name: str) -> Model | None:
    """The model of that name, in any case; "_" is "-", and the version may be there ("orb-v2-20241011")."""
    low = name.lower().replace("_", "-")
    if low in RANDOM:
        return RANDOM[low]
    return next((m for m in PUBLISHED if low in (m.name, f"{m.name}-{m.version}")), None)
