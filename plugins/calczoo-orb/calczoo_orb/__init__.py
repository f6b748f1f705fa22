"""Orb networks as calculators of calczoo. Light: nothing of torch or orb_models is imported here."""

from __future__ import annotations

from calczoo import Family, hookimpl

from .models import EMBEDDED, PUBLISHED, RANDOM, V3

FAMILY = Family(
    name="orb",
    summary="Orb: fast graph networks, conservative and direct; v3 and v2 weights from files, random weights",
    read="calczoo_orb.adapter:read",
    build="calczoo_orb.adapter:build",
    citation=V3[0],
    doi=V3[1],
    formats=("weights of orb-models (.ckpt)",),
    outputs=("energy", "forces", "stress"),
    backends=(),
    options={
        "precision": "float32-high (default of dtype float32), float32-highest, or float64 (that of dtype float64)",
        "neighbours": "largest number of neighbours per atom (default: that of the model, 120 or 20)",
        "batch_atoms": "structures of a batch are evaluated together up to this many atoms (default 256)",
        "compile": "true to let torch compile the network: minutes at first use, faster afterwards (default false)",
        "repulsion": "of conservative models: sum (default) over atoms, or mean, a slip of orb-models 0.5.5",
        "spin": "spin multiplicity 2S+1 for the omol models (default 1); their charge is the structure's",
        "architecture": "published model that an own file (fine-tuned) has the architecture of",
        "seed": "of random weights (default 0)",
    },
    bundled={**{n: m.summary for n, m in RANDOM.items()}, **{m.name: m.summary for m in PUBLISHED}},
    bundled_elements={**dict.fromkeys(RANDOM, EMBEDDED), **{m.name: m.elements for m in PUBLISHED}},
    example="'orb:random', 'orb:orb-v3-conservative-inf-omat'",
    worker="calczoo_orb.worker",
    environment=("orb-models==0.5.5", "torch==2.13.0"),
    package="orb_models",
)


@hookimpl
def calczoo_family(name: str) -> Family | None:
    return FAMILY if name == FAMILY.name else None
