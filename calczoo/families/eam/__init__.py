"""Embedded atom method: EAM alloy, Finnis-Sinclair, funcfl and angular-dependent (ADP) tables."""

from __future__ import annotations

from calczoo.registry import Family, hookimpl

FAMILY = Family(
    name="eam",
    summary="embedded atom method for metals and alloys, with Finnis-Sinclair and angular-dependent (ADP) forms",
    read="calczoo.families.eam.load:read",
    build="calczoo.families.eam.load:build",
    citation="M. S. Daw, M. I. Baskes, Phys. Rev. B 29, 6443 (1984)",
    doi="10.1103/PhysRevB.29.6443",
    suffixes=(".eam", ".eam.alloy", ".eam.fs", ".eam.he", ".alloy", ".adp", ".setfl", ".funcfl"),
    formats=(
        "setfl .eam.alloy, .eam.fs, .eam.he (LAMMPS pair_style eam/alloy, eam/fs, eam/he)",
        "funcfl .eam, one file per element (LAMMPS pair_style eam)",
        "setfl .adp (LAMMPS pair_style adp)",
    ),
    options={"style": "alloy, fs, he, adp or funcfl: how to read the file, instead of telling it from its content"},
    example="'eam:Cu_mishin1.eam.alloy'",
)


@hookimpl
def calczoo_family(name: str) -> Family | None:
    return FAMILY if name == FAMILY.name else None
