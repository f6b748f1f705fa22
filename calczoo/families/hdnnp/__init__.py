"""HDNNP: high-dimensional neural network potentials of Behler's second, third and fourth generation."""

from __future__ import annotations

from pathlib import Path

from calczoo.registry import Family, hookimpl

DATA_OPTIONS = {
    "length_unit": "of files of structures: Bohr, A or a number in A",
    "energy_unit": "of files of structures: Ha, eV or a number in eV",
}
OPTIONS = {
    "length_unit": "of the files: Bohr, A or a number in A; needed where no card beside them tells",
    "energy_unit": "of the files: Ha, eV or a number in eV; needed where no card beside them tells",
    "nodes": "nodes per hidden layer of the short-range networks, as in '10-10', where input.nn is wrong",
    "nodes_charge": "the same for the networks of charges or electronegativities",
    "generation": "2, 3 or 4, where input.nn does not tell it or is wrong",
    "accuracy": "generations 3 and 4: relative accuracy of Ewald sums, 1e-11",
    "qeq": "generation 4: how charges are equilibrated, auto (default), direct or cg",
    "total_charge": "generation 3: charges as the networks give them (free), or scaled to the total charge (scaled)",
    "extrapolation": "beyond the range of the training set: warn (default) or ignore",
}

_MODELS = Path(__file__).parent / "models"
_ELEMENTS = {e: (e,) for e in ("Li", "Mo", "Cu", "Ni", "Si", "Ge")} | {"carbon-chains": ("H", "C")}
_BUNDLED = tuple(name for name in _ELEMENTS if (_MODELS / name / "card.json").is_file())
"""Fits that come with the package; a fit writes its card last."""
_ABOUT = {"carbon-chains": "fourth generation, a teaching model on a small excerpt of the data of Ko et al. 2021"}

FAMILY = Family(
    name="hdnnp",
    summary="high-dimensional neural network potentials of generations 2 to 4, files of RuNNer and n2p2",
    read="calczoo.families.hdnnp.load:read",
    build="calczoo.families.hdnnp.load:build",
    citation="J. Behler, Chem. Rev. 121, 10037 (2021)",
    doi="10.1021/acs.chemrev.0c00868",
    suffixes=("input.nn",),
    folder="input.nn",
    formats=(
        "a folder with input.nn, scaling.data, weights.*.data, weightse.*.data, hardness.*.data (RuNNer, n2p2)",
        "input.data of RuNNer",
    ),
    fit="calczoo.families.hdnnp.fit:fit",
    convert="calczoo.families.hdnnp.convert:convert",
    read_frames="calczoo.families.hdnnp.convert:read_frames",
    write_frames="calczoo.families.hdnnp.convert:write_frames",
    data_suffixes=("input.data",),
    data_begin="begin",
    data_options=DATA_OPTIONS,
    options=OPTIONS,
    outputs=("energy", "energies", "forces", "stress", "descriptors", "charges", "dipole", "electronegativities"),
    bundled={n: _ABOUT.get(n, f"{n}, second generation, PBE, data of Zuo et al. 2020") for n in _BUNDLED},
    bundled_elements={n: _ELEMENTS[n] for n in _BUNDLED},
    example="'hdnnp:folder' with length_unit='Bohr', energy_unit='Ha'",
)


@hookimpl
def calczoo_family(name: str) -> Family | None:
    return FAMILY if name == FAMILY.name else None
