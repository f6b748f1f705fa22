"""Models in the metatomic format, PET among them, behind calczoo's door: get_calculator("metatomic:model.pt")."""

from __future__ import annotations

from calczoo import Family, hookimpl

CITATION = "F. Bigi et al., Metatensor and Metatomic, arXiv:2508.15704 (2025)"
DOI = "10.48550/arXiv.2508.15704"

FAMILY = Family(
    name="metatomic",
    summary="Models in the metatomic format: PET and whatever else metatrain and others export",
    read="calczoo_metatomic.adapter:read",
    build="calczoo_metatomic.adapter:build",
    citation=CITATION,
    doi=DOI,
    formats=("model of metatomic (.pt)",),
    outputs=("energy", "energies", "forces", "stress", "charges", "uncertainty"),
    backends=(),
    options={
        "extensions": "folder of the compiled extensions that the model needs",
        "variant": "which of several energies: 'pbe' for the output 'energy/pbe'",
        "non_conservative": "true, 'forces' or 'stress': predicted directly instead of as derivatives of the energy",
        "spin_multiplicity": "2S+1 of every structure, for models that ask for it (default 1)",
        "check_consistency": "true for metatomic's own checks of inputs and outputs in every call (slow)",
        "batch_atoms": "structures of a batch are evaluated together up to this many atoms (default 256)",
    },
    example="'metatomic:model.pt'",
    worker="calczoo_metatomic.worker",
    environment=("metatomic-torch==0.1.19", "vesin==0.6.2", "torch==2.13.0"),
    package="metatomic",
)


@hookimpl
def calczoo_family(name: str) -> Family | None:
    return FAMILY if name == FAMILY.name else None
