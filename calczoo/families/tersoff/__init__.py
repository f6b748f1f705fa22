"""Tersoff: pair terms weakened by a bond order."""

from __future__ import annotations

from calczoo.registry import Family, hookimpl

FAMILY = Family(
    name="tersoff",
    summary="Tersoff bond-order potentials for covalent solids and compounds",
    read="calczoo.families.tersoff.load:read",
    build="calczoo.families.tersoff.load:build",
    citation="J. Tersoff, Phys. Rev. B 39, 5566 (1989)",
    doi="10.1103/PhysRevB.39.5566",
    suffixes=(".tersoff",),
    formats=("LAMMPS .tersoff",),
    options={"labels": "names that the file has for the elements, where they are no symbols: 'C Si(D)'"},
    example="'tersoff:Si.tersoff'",
)


@hookimpl
def calczoo_family(name: str) -> Family | None:
    return FAMILY if name == FAMILY.name else None
