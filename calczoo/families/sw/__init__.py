"""Stillinger-Weber: pairs and angles with exponential cutoffs."""

from __future__ import annotations

from calczoo.registry import Family, hookimpl

FAMILY = Family(
    name="sw",
    summary="Stillinger-Weber potentials for covalent solids",
    read="calczoo.families.sw.load:read",
    build="calczoo.families.sw.load:build",
    citation="F. H. Stillinger, T. A. Weber, Phys. Rev. B 31, 5262 (1985)",
    doi="10.1103/PhysRevB.31.5262",
    suffixes=(".sw",),
    formats=("LAMMPS .sw",),
    options={"labels": "names that the file has for the elements, where they are no symbols: 'C Si(D)'"},
    example="'sw:Si.sw'",
)


@hookimpl
def calczoo_family(name: str) -> Family | None:
    return FAMILY if name == FAMILY.name else None
