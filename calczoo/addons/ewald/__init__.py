"""Coulomb interaction of fixed point charges, open or periodic, made to be added to a potential."""

from __future__ import annotations

from calczoo.registry import Family, hookimpl

FAMILY = Family(
    name="ewald",
    summary="Coulomb interaction of fixed point charges: of each element, or the atoms' initial charges",
    kind="addon",
    read="calczoo.addons.ewald.load:read",
    build="calczoo.addons.ewald.load:build",
    citation="P. P. Ewald, Ann. Phys. 369, 253 (1921)",
    doi="10.1002/andp.19213690304",
    outputs=("energy", "energies", "forces", "stress", "charges", "dipole"),
    options={
        "Na=1, Cl=-1": "e, charges of elements; without any, initial charges of the atoms are taken",
        "accuracy": "of potentials, in units of 14.4 eV/e (default 1e-12)",
        "method": "auto (default), ewald, or a particle mesh: mesh (pip install 'calczoo[longrange]'), or nvalchemi, "
        "meant for CUDA (pip install 'calczoo[nvalchemi]')",
    },
    example="'snap:MgO.snap + ewald(Mg=2, O=-2)'",
)


@hookimpl
def calczoo_family(name: str) -> Family | None:
    return FAMILY if name == FAMILY.name else None
