"""SevenNet (scalable E(3)-equivariant graph network) behind calczoo's door: get_calculator("sevennet:7net-0")."""

from __future__ import annotations

from calczoo import Family, hookimpl

from .models import BUNDLED, CITATION, DOI, ELEMENTS

FAMILY = Family(
    name="sevennet",
    summary="SevenNet: E(3)-equivariant graph networks pretrained on Materials Project data, and own checkpoints",
    read="calczoo_sevennet.adapter:read",
    build="calczoo_sevennet.adapter:build",
    citation=CITATION,
    doi=DOI,
    formats=("checkpoint of sevenn (.pth)",),
    outputs=("energy", "energies", "forces", "stress"),
    backends=(),
    options={
        "modal": "level of theory of a multi-fidelity model: PBE (default of 7net-mf-0) or R2SCAN",
        "batch_atoms": "structures of a batch are evaluated together up to this many atoms (default 256)",
        "trust": "true to read an own checkpoint, which is a pickle and may run code",
    },
    bundled={m.name: m.summary for m in BUNDLED},
    bundled_elements={m.name: ELEMENTS for m in BUNDLED},
    example="'sevennet:7net-0'",
    worker="calczoo_sevennet.worker",
    environment=("sevenn==0.13.0", "e3nn==0.6.0", "vesin==0.6.2", "torch==2.13.0"),
    package="sevenn",
)


@hookimpl
def calczoo_family(name: str) -> Family | None:
    return FAMILY if name == FAMILY.name else None
