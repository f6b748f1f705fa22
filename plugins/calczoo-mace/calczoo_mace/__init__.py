"""MACE (higher-order equivariant message passing) behind calczoo's door, in a process of its own:
get_calculator("mace:mp-0-small")."""

from __future__ import annotations

from calczoo import Family, hookimpl

from .models import ARCHITECTURE, ARCHITECTURE_DOI, ELEMENTS, PUBLISHED, SEED

FAMILY = Family(
    name="mace",
    summary="MACE: equivariant graph networks (MP-0, MPA-0, OFF23, own models), in an environment of their own",
    read="calczoo_mace.adapter:read",
    build="calczoo_mace.adapter:build",
    citation=ARCHITECTURE,
    doi=ARCHITECTURE_DOI,
    formats=("model file of mace-torch (.model)",),
    outputs=("energy", "energies", "forces", "stress"),
    backends=(),
    options={
        "head": "head of a model that has several (their names are in the error of a wrong one)",
        "batch_atoms": "structures of a batch are evaluated together up to this many atoms (default 256)",
        "seed": f"of the weights of the model 'random' (default {SEED})",
        "download": "true to fetch published weights that are not on this machine",
        "trust": "true to read an own model file, which is a pickle and may run code",
    },
    bundled={
        **{m.name: m.summary for m in PUBLISHED},
        "random": "an untrained network, for trying everything without weights: seed=N; its numbers mean nothing",
    },
    bundled_elements={**{m.name: m.elements for m in PUBLISHED}, "random": ELEMENTS},
    example="'mace:mp-0-small'",
    worker="calczoo_mace.worker",
    environment=(
        "mace-torch==0.3.16", "e3nn==0.4.4", "torch==2.13.0", "matscipy==1.3.1", "ase==3.29.0", "numpy==2.4.6",
    ),
    package="mace",
    isolated=True,
)  # fmt: skip


@hookimpl
def calczoo_family(name: str) -> Family | None:
    return FAMILY if name == FAMILY.name else None
