"""QUIP behind calczoo's door: Gaussian approximation potentials (GAP) by the authors' own code."""

from __future__ import annotations

from calczoo import Family, hookimpl

FAMILY = Family(
    name="quippy",
    summary="QUIP's own code: Gaussian approximation potentials (GAP), with their variances, as a reference",
    read="calczoo_quippy.adapter:read",
    build="calczoo_quippy.adapter:build",
    citation="A. P. Bartok, M. C. Payne, R. Kondor, G. Csanyi, Phys. Rev. Lett. 104, 136403 (2010); "
    "S. Klawohn et al., J. Chem. Phys. 159, 174108 (2023)",
    doi="10.1103/PhysRevLett.104.136403",
    formats=("GAP .xml with its sparseX files, and other parameter files of QUIP",),
    outputs=("energy", "energies", "forces", "stress", "local_gap_variance"),
    backends=(),
    options={
        "init_args": "which potential of the file, as in 'IP GAP label=...' (default: what the file says)",
        "calc_args": "arguments of every calculation, in QUIP's own form",
        "variance": "regularisation of local_gap_variance (QUIP's gap_variance_regularisation, 0.001)",
    },
    example="'quippy:gap.xml'",
    worker="calczoo_quippy.worker",
    environment=("quippy-ase==0.10.3",),
    package="quippy",
)


@hookimpl
def calczoo_family(name: str) -> Family | None:
    return FAMILY if name == FAMILY.name else None
