"""OpenKIM behind calczoo's door: any model that is installed for the KIM API, by its name."""

from __future__ import annotations

from calczoo import Family, hookimpl

FAMILY = Family(
    name="kim",
    summary="models of the Knowledgebase of Interatomic Models (OpenKIM) that are installed for the KIM API",
    read="calczoo_kim.adapter:read",
    build="calczoo_kim.adapter:build",
    citation="E. B. Tadmor et al., JOM 63, 17 (2011)",
    doi="10.1007/s11837-011-0102-6",
    formats=("name of an installed KIM model, short or with its KIM ID",),
    outputs=("energy", "forces", "stress"),
    backends=(),
    options={
        "simulator": "what runs the model: kimmodel (default for portable models), lammpslib, lammpsrun or asap",
        "neigh_skin_ratio": "portable models: skin of the neighbour list as a fraction of the cutoff (default 0.2)",
    },
    example="'kim:LJ_ElliottAkerson_2015_Universal__MO_959249795837_003'",
    worker="calczoo_kim.worker",
    environment=("kimpy==2.1.4",),
    package="kimpy",
)


@hookimpl
def calczoo_family(name: str) -> Family | None:
    return FAMILY if name == FAMILY.name else None
