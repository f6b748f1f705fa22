"""MTP: moment tensor potentials, linear in contractions of the moments of the neighbour density."""

from __future__ import annotations

from pathlib import Path

from calczoo.registry import Family, hookimpl

OPTIONS = {
    "training": "structures (.cfg, .extxyz) whose active set is computed here, for extrapolation grades",
    "grade": "what training= makes grades for, neighbourhood (default) or configuration; off: none, faster",
}

_GRADES = ("extrapolation_grade", "extrapolation_grades")
_MODELS = Path(__file__).parent / "models"
_BUNDLED = tuple(e for e in ("Li", "Mo", "Cu", "Ni", "Si", "Ge") if (_MODELS / f"{e}.json").is_file())
"""Elements whose fits come with the package; a fit writes its card last."""

FAMILY = Family(
    name="mtp",
    summary="moment tensor potentials with extrapolation grades, files of MLIP-2 and MLIP-3",
    read="calczoo.families.mtp.load:read",
    build="calczoo.families.mtp.load:build",
    citation="A. V. Shapeev, Multiscale Model. Simul. 14, 1153 (2016)",
    doi="10.1137/15M1054183",
    suffixes=(".mtp", ".almtp", *(s + p for s in (".mtp", ".almtp") for p in (".xz", ".gz"))),
    formats=(
        ".mtp (MLIP-2, LAMMPS pair_style mlip)",
        ".almtp with or without an active set (MLIP-3)",
        ".cfg data of MLIP",
    ),
    fit="calczoo.families.mtp.fit:fit",
    convert="calczoo.families.mtp.convert:convert",
    select="calczoo.families.mtp.select:select",
    read_frames="calczoo.families.mtp.cfg:read_cfg",
    write_frames="calczoo.families.mtp.cfg:write_cfg",
    data_suffixes=(".cfg", ".cfgs"),
    options=OPTIONS,
    outputs=("energy", "energies", "forces", "stress", "descriptors", *_GRADES),
    bundled={e: f"{e}, PBE, data of Zuo et al. 2020" for e in _BUNDLED},
    bundled_elements={e: (e,) for e in _BUNDLED},
    example="'mtp:Cu.mtp' with elements=['Cu']",
)


@hookimpl
def calczoo_family(name: str) -> Family | None:
    return FAMILY if name == FAMILY.name else None
