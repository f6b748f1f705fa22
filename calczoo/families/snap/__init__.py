"""SNAP: linear or quadratic in the bispectrum components of the neighbour density."""

from __future__ import annotations

from calczoo.registry import Family, hookimpl

FAMILY = Family(
    name="snap",
    summary="spectral neighbour analysis potential: linear or quadratic in bispectrum components, also per element",
    read="calczoo.families.snap.load:read",
    build="calczoo.families.snap.load:build",
    citation="A. P. Thompson et al., J. Comput. Phys. 285, 316 (2015)",
    doi="10.1016/j.jcp.2014.12.018",
    formats=(
        ".snapcoeff + .snapparam (LAMMPS pair_style snap)",
        ".snap and .mliap include files, with zbl and table terms",
        ".mliap.model + .mliap.descriptor (linear and quadratic, sna)",
    ),
    fit="calczoo.families.snap.fit:fit",
    outputs=("energy", "energies", "forces", "stress", "descriptors"),
    example="'snap:W_2940_2017_2.snap'",
)


@hookimpl
def calczoo_family(name: str) -> Family | None:
    return FAMILY if name == FAMILY.name else None
