"""ZBL: screened nuclear repulsion at short distances, made to be added to a potential."""

from __future__ import annotations

from calczoo.registry import Family, hookimpl

FAMILY = Family(
    name="zbl",
    summary="Ziegler-Biersack-Littmark screened nuclear repulsion with LAMMPS' switching",
    kind="addon",
    read="calczoo.addons.zbl.load:read",
    build="calczoo.addons.zbl.load:build",
    citation="J. F. Ziegler, J. P. Biersack, U. Littmark, The Stopping and Range of Ions in Matter (Pergamon, 1985)",
    doi="10.1007/978-1-4615-8103-1_3",
    formats=("LAMMPS commands: pair_style zbl, pair_coeff",),
    options={
        "inner": "A, where the switching begins (also the first argument)",
        "outer": "A, the cutoff (also the second argument)",
    },
    example="'eam:Ni.adp + zbl(1.0, 2.0)'",
)


@hookimpl
def calczoo_family(name: str) -> Family | None:
    return FAMILY if name == FAMILY.name else None
