"""NequIP and Allegro networks as calculators of calczoo. Light: nothing of torch or nequip is imported here."""

from __future__ import annotations

from calczoo import Family, hookimpl

from .models import ALLEGRO_CITATION, ALLEGRO_DOI, ELEMENTS, NEQUIP_CITATION, NEQUIP_DOI, PUBLISHED

_FILES = {
    "trust": "true to read a file that holds code: .ckpt and .nequip.zip (pickles), .nequip.pt2 (machine code)",
    "species": "mapping of chemical symbols to the type names of a file whose types are not called like elements",
    "batch_atoms": "structures of a batch are evaluated together up to this many atoms (default 256)",
}
_RANDOM = {
    "seed": "of random weights (default 0)",
    "cutoff": "of random weights, A (default 5)",
    "layers": "of random weights: layers of messages, or of Allegro's tensor products (default 2)",
    "l_max": "of random weights: highest degree of the spherical harmonics (default 1)",
    "features": "of random weights: width of the network (default 16)",
}


def _family(name: str, summary: str, citation: str, doi: str, package: str) -> Family:
    mine = [m for m in PUBLISHED if m.family == name]
    return Family(
        name=name,
        summary=summary,
        read="calczoo_nequip.adapter:read",
        build="calczoo_nequip.adapter:build",
        citation=citation,
        doi=doi,
        formats=(
            "package of nequip-package (.nequip.zip)", "compiled model of nequip-compile (.nequip.pt2, .nequip.pth)",
            "checkpoint of nequip-train (.ckpt)",
        ),
        outputs=("energy", "energies", "forces", "stress"),
        backends=(),
        options={**_FILES, **_RANDOM},
        bundled={"random": "random weights, to try everything without any file", **{m.name: m.summary for m in mine}},
        bundled_elements={"random": ELEMENTS, **{m.name: ELEMENTS for m in mine}},
        example=f"'{name}:random' with elements=['Cu']",
        worker="calczoo_nequip.worker",
        environment=("nequip==0.19.1", "nequip-allegro==0.8.3", "e3nn==0.6.0", "torch==2.13.0"),
        package=package,
    )  # fmt: skip


NEQUIP = _family(
    "nequip", "NequIP: E(3)-equivariant graph networks; own files, published packages, random weights",
    NEQUIP_CITATION, NEQUIP_DOI, "nequip",
)  # fmt: skip
ALLEGRO = _family(
    "allegro", "Allegro: strictly local E(3)-equivariant networks; own files, published packages, random weights",
    ALLEGRO_CITATION, ALLEGRO_DOI, "allegro",
)  # fmt: skip
FAMILIES = {f.name: f for f in (NEQUIP, ALLEGRO)}


@hookimpl
def calczoo_family(name: str) -> Family | None:
    return FAMILIES.get(name)
