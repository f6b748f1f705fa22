"""Words of specs for models made of two others: `delta(base, correction)` and `switch(short, long, r_on, r_off)`."""

from __future__ import annotations

from calczoo.registry import Family, hookimpl

FAMILIES = (
    Family(
        name="delta",
        summary="a base model and a correction that was trained on what the base leaves of the reference",
        kind="composition",
        read="calczoo.compositions.load:read_delta",
        build="calczoo.compositions.load:build_delta",
        citation="R. Ramakrishnan et al., J. Chem. Theory Comput. 11, 2087 (2015)",
        doi="10.1021/acs.jctc.5b00099",
        options={"force": "true: take both although the card tells of another base, or both hold the same physics"},
        example="'delta(eam:Cu_u3.eam, mtp:correction.mtp)'",
    ),
    Family(
        name="switch",
        summary="one local model for atoms with a near neighbour, another for the rest, with a smooth weight between",
        kind="composition",
        read="calczoo.compositions.load:read_switch",
        build="calczoo.compositions.load:build_switch",
        citation="N. Bernstein, J. R. Kermode, G. Csányi, Rep. Prog. Phys. 72, 026501 (2009)",
        doi="10.1088/0034-4885/72/2/026501",
        options={
            "r_on, r_off": "A (also the third and fourth argument): the first model below, the second beyond",
            "Mo=-4.6": "eV per atom of an element, added to the first model",
        },
        example="'switch(zbl(2.0, 3.0), snap:Mo, 1.2, 1.8)'",
    ),
)


@hookimpl
def calczoo_family(name: str) -> Family | None:
    return next((family for family in FAMILIES if family.name == name), None)
