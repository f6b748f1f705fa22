"""Tabulated pair potentials as LAMMPS' `pair_style table` interpolates them."""

from __future__ import annotations

from calczoo.registry import Family, hookimpl

FAMILY = Family(
    name="table",
    summary="tabulated pair potentials (LAMMPS pair_style table: linear, lookup, spline)",
    kind="addon",
    read="calczoo.addons.table.load:read",
    build="calczoo.addons.table.load:build",
    citation="A. P. Thompson et al., Comput. Phys. Commun. 271, 108171 (2022)",
    doi="10.1016/j.cpc.2021.108171",
    suffixes=(".table",),
    formats=("LAMMPS .table",),
    options={
        "pair": "elements of each table: 'W-He', or 'He-He,W-He' for two files",
        "keyword": "section of each file: 'WHe', or 'HeHe,WHe'; may be left out where a file has one section",
        "style": "linear, lookup or spline (default)",
        "n": "points of the inner table, evenly spaced in r^2 (default 10000)",
        "cut": "A, cutoff of all tables (default: the end of each)",
    },
    example="'table:W_He_JW2013.table(pair=W-He)'",
)


@hookimpl
def calczoo_family(name: str) -> Family | None:
    return FAMILY if name == FAMILY.name else None
