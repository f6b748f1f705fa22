"""MatGL's graph networks behind calczoo's door: get_calculator("matgl:TensorNet-PES-MatPES-PBE-2025.2")."""

from __future__ import annotations

from calczoo import Family, hookimpl

from .models import CITATION, DOI, MATGL, PUBLISHED, RANDOM

FAMILY = Family(
    name="matgl",
    summary="MatGL: M3GNet, TensorNet, CHGNet, SO3Net and QET; published weights, own models, random weights",
    read="calczoo_matgl.adapter:read",
    build="calczoo_matgl.adapter:build",
    citation=CITATION,
    doi=DOI,
    formats=("model folder of matgl (model.json, model.pt, state.pt)",),
    outputs=("energy", "energies", "forces", "stress", "magmoms", "charges"),
    backends=(),
    options={
        "batch_atoms": "structures of a batch are evaluated together up to this many atoms (default 256)",
        "warp": "true for matgl's Warp kernels (TensorNet and QET; for GPUs); default false",
        "seed": "of random weights (default 0)",
        "cutoff": "A, of a network with random weights (default 5)",
    },
    bundled={m.name: m.summary for m in PUBLISHED} | {name: m.summary for name, m in RANDOM.items()},
    bundled_elements={m.name: m.elements for m in (*PUBLISHED, *RANDOM.values())},
    example="'matgl:TensorNet-PES-MatPES-PBE-2025.2'",
    worker="calczoo_matgl.worker",
    environment=(f"matgl=={MATGL}", "vesin==0.6.2", "torch==2.13.0"),
    package="matgl",
)


@hookimpl
def calczoo_family(name: str) -> Family | None:
    return FAMILY if name == FAMILY.name else None
