"""SNAP: linear or quadratic in the bispectrum components of the neighbour density."""

from __future__ import annotations

from calczoo.registry import Family, hookimpl

DEFAULTS = {e: f"{e}-quadratic" for e in ("Li", "Mo", "Cu", "Ni", "Si", "Ge")}
"""What a bare element name stands for: the form with the smaller cross-validation errors."""

_FORMS = {"linear": "linear SNAP with ZBL, PBE, data of Zuo et al. 2020", "quadratic": "the same, quadratic"}
_BUNDLED = {f"{e}-{form}": (e, text) for e in DEFAULTS for form, text in _FORMS.items()}

FAMILY = Family(
    name="snap",
    summary="spectral neighbour analysis potential: linear or quadratic in bispectrum components, also per element",
    read="calczoo.families.snap.load:read",
    build="calczoo.families.snap.load:build",
    citation="A. P. Thompson et al., J. Comput. Phys. 285, 316 (2015)",
    doi="10.1016/j.jcp.2014.12.018",
    suffixes=(".snap", ".snapcoeff", ".snapparam", ".mliap", ".mliap.model", ".mliap.descriptor"),
    formats=(
        ".snapcoeff + .snapparam (LAMMPS pair_style snap)",
        ".snap and .mliap include files, with zbl and table terms",
        ".mliap.model + .mliap.descriptor (linear and quadratic, sna)",
    ),
    fit="calczoo.families.snap.fit:fit",
    outputs=("energy", "energies", "forces", "stress", "descriptors"),
    bundled={
        **{e: f"the better of {e}-linear and {e}-quadratic: {name}" for e, name in DEFAULTS.items()},
        **{name: text for name, (_, text) in _BUNDLED.items()},
    },
    bundled_elements={**{e: (e,) for e in DEFAULTS}, **{name: (e,) for name, (e, _) in _BUNDLED.items()}},
    example="'snap:W_2940_2017_2.snap'",
)


@hookimpl
def calczoo_family(name: str) -> Family | None:
    return FAMILY if name == FAMILY.name else None
