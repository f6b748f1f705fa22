"""CHGNet (crystal Hamiltonian graph network) behind calczoo's door: get_calculator("chgnet:0.3.0")."""

from __future__ import annotations

from calczoo import Family, hookimpl

from .models import BUNDLED, CITATION, DOI, ELEMENTS

FAMILY = Family(
    name="chgnet",
    summary="CHGNet: pretrained charge-informed graph network with magnetic moments, and own models",
    read="calczoo_chgnet.adapter:read",
    build="calczoo_chgnet.adapter:build",
    citation=CITATION,
    doi=DOI,
    formats=("model of chgnet (.pth.tar)",),
    outputs=("energy", "energies", "forces", "stress", "magmoms"),
    backends=(),
    options={"batch_atoms": "structures of a batch are evaluated together up to this many atoms (default 256)"},
    bundled={m.name: m.summary for m in BUNDLED},
    bundled_elements={m.name: ELEMENTS for m in BUNDLED},
    example="'chgnet:0.3.0'",
    worker="calczoo_chgnet.worker",
    environment=("chgnet==0.4.2", "torch==2.13.0"),
    package="chgnet",
)


@hookimpl
def calczoo_family(name: str) -> Family | None:
    return FAMILY if name == FAMILY.name else None
