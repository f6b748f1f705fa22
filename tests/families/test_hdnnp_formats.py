"""Folders of RuNNer and n2p2: published potentials, writing and reading again, units, cards."""

from __future__ import annotations

import gzip
import json
import lzma
import re
import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from calczoo.core.card import Card
from calczoo.core.errors import OptionError, PotentialFileError
from calczoo.families.hdnnp import units
from calczoo.families.hdnnp.formats import read_folder, write_folder
from calczoo.families.hdnnp.function_lines import format_function
from calczoo.families.hdnnp.order import is_sorted, sort_functions
from calczoo.families.hdnnp.params import Electrostatics, HdnnpParams, SymmetryFunction
from calczoo.files.cards import write_card
from data import data_folder, shared
from families.hdnnp_cases import random_network, toy

UNITS = {"length_unit": "Bohr", "energy_unit": "Ha"}
ATOMIC = {"length_unit": units.length("Bohr"), "energy_unit": units.energy("Ha")}
FIELDS = (
    "elements", "generation", "cutoff_type", "cutoff_alpha", "scaling", "smin", "smax", "mean_energy", "conv_energy",
    "conv_length", "conv_charge", "electrostatics", "length_unit", "energy_unit",
)  # fmt: skip


def same(a: HdnnpParams, b: HdnnpParams) -> bool:
    """All numbers equal, bit by bit."""
    networks = [(m.short, n.short) for m, n in zip(a.models, b.models, strict=True)]
    networks += [(m.charge, n.charge) for m, n in zip(a.models, b.models, strict=True) if m.charge or n.charge]
    return (
        all(getattr(a, f) == getattr(b, f) for f in FIELDS)
        and all(x.functions == y.functions for x, y in zip(a.models, b.models, strict=True))
        and all(np.array_equal(x.scaling, y.scaling) for x, y in zip(a.models, b.models, strict=True))
        and all(
            (x.hardness, x.width, x.energy) == (y.hardness, y.width, y.energy)
            for x, y in zip(a.models, b.models, strict=True)
        )
        and all(
            np.array_equal(x.flat(), y.flat())
            and (x.nodes, x.activations, x.normalize_nodes) == (y.nodes, y.activations, y.normalize_nodes)
            for x, y in networks
        )
    )


def small(generation: int = 2, **fields) -> HdnnpParams:
    """Two elements, three functions for every neighbour, in the units of a file."""
    known = {"electrostatics": Electrostatics(1.0, 2.0, 5.0, "p2"), **ATOMIC} if generation > 2 else {}
    return toy(kinds=(2, 3), nodes=(3, 2), generation=generation, **{**known, **fields})


@pytest.fixture
def folder(tmp_path) -> Path:
    """A potential without a card, so that it does not tell its units."""
    write_folder(small(), tmp_path / "pot")
    (tmp_path / "pot" / "card.json").unlink()
    return tmp_path / "pot"


def edit(path: Path, old: str, new: str, count: int = 1) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, count))


def refused(folder: Path, match: str, kind=PotentialFileError, **options) -> str:
    with pytest.raises(kind, match=match) as caught:
        read_folder(folder, **{**UNITS, **options})
    return str(caught.value)


# -- published potentials ------------------------------------------------------------------------------------

INCOMPLETE = {
    "n2p2/nnp-predict_4G/Carbon_chain_4G": r"holds 381 numbers.* 25-15-15-1, has 646.*\"10 10\"",
    "n2p2/nnp-train_4G/AlAuMgO_4G": "weights.008.data: does not exist",
    "n2p2/nnp-train_4G/Carbon_chain_4G": "weights.001.data: does not exist",
    "n2p2/nnp-train_4G/H2O_RPBE-D3_4G": "weights.001.data: does not exist.*training has not come to its end",
    "n2p2/nnp-train_QM9": "scaling.data: does not exist",
}
"""Folders that are no whole potential, and the reason."""


def published() -> list[str]:
    root = data_folder() / "data" / "hdnnp"
    return sorted(p.parent.relative_to(root).as_posix() for p in root.rglob("input.nn"))


@pytest.mark.parametrize("name", published() or ["nothing"])
def test_published(name, tmp_path):
    """Every complete set is read, and written and read again; the others are refused with their reason."""
    path = shared(f"data/hdnnp/{name}")
    if name in INCOMPLETE:
        refused(path, INCOMPLETE[name])
        return
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        params = read_folder(path, **UNITS)
    assert params.generation == (4 if "4G" in name else 2)
    assert all(is_sorted(m.functions, params.elements) for m in params.models)
    assert sum(params.n_functions) == number_of_functions(path / "input.nn")
    write_folder(params, tmp_path / "again")
    assert same(params, read_folder(tmp_path / "again"))


def number_of_functions(path: Path) -> int:
    return len(re.findall(r"^\s*symfunction", path.read_text(), re.M))


def test_all_published_are_there():
    shared("data/hdnnp")
    assert len(published()) == 27 and set(INCOMPLETE) <= set(published())


def test_carbon_chains_with_the_topology_of_their_weights():
    path = shared("data/hdnnp/n2p2/nnp-predict_4G/Carbon_chain_4G")
    text = refused(path, "weights.001.data")
    assert 'nodes="10 10"' in text and "input.nn" in text
    for nodes in ("10 10", "10-10", (10, 10), [10, 10]):
        assert read_folder(path, **UNITS, nodes=nodes).models[0].short.nodes == (10, 10, 1)
    refused(path, "holds 381 numbers", nodes="9 9")


def logs() -> list[str]:
    root = data_folder() / "data" / "hdnnp"
    return sorted(p.parent.relative_to(root).as_posix() for p in root.rglob("nnp-train.log.0000"))


@pytest.mark.parametrize("name", logs() or ["nothing"])
def test_order_is_that_of_n2p2(name):
    """Its logs list the functions of each element in the order of the inputs, in normalised units with four digits."""
    path = shared(f"data/hdnnp/{name}")
    params = read_folder(path, **UNITS)
    length, listed = params.conv_length, []
    text = (path / "nnp-train.log.0000").read_text()
    for row in re.findall(r"^ +\d+ +([A-Z][a-z]? +[239] .*)$", text.split("SYMMETRY FUNCTION GROUPS")[0], re.M):
        words = row.split()
        kind = int(words[1])
        neighbours, rest = words[2 : 3 + (kind != 2)], words[3 + (kind != 2) :]
        listed.append((words[0], kind, *neighbours, float(rest[0]), float(rest[1])))
    ours = [
        (e, f.kind, *f.neighbours, float(f"{f.eta / length**2:.3e}"), float(f"{f.rs * length:.3e}"))
        for e, m in zip(params.elements, params.models, strict=True)
        for f in m.functions
    ]
    count = len(ours)
    assert listed[:count] == ours


# -- round trips ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "params",
    [
        toy(),
        toy(elements=("H", "O", "Au"), kinds=(2, 9), n=2),
        small(3),
        small(4),
        small(4, conv_energy=3.7, conv_length=1.9, mean_energy=-0.1, conv_charge=1.1),
        small(length_unit=0.3, energy_unit=units.energy("kcal/mol")),
        small(length_unit=units.length("Bohr"), energy_unit=units.energy("Ha"), cutoff_type=6, cutoff_alpha=0.25),
        *(small(scaling=s, smin=-0.25, smax=0.75) for s in ("none", "scale", "center", "sigma")),
    ],
    ids=lambda p: f"{p.generation}G-{p.scaling}-{len(p.elements)}",
)
def test_written_folder_gives_the_same_bits(params, tmp_path):
    files = write_folder(params, tmp_path / "a" / "pot")
    assert {p.name for p in files} >= {"input.nn", "scaling.data", "card.json"} and all(p.is_file() for p in files)
    again = read_folder(tmp_path / "a" / "pot")
    assert same(params, again)
    write_folder(again, tmp_path / "b")
    for path in files:
        if path.name not in ("card.json", "input.nn"):
            assert path.read_bytes() == (tmp_path / "b" / path.name).read_bytes()


def test_elements_with_networks_of_their_own(tmp_path):
    """Other depths, nodes and activations of one element, in RuNNer's keywords."""
    base = small()
    rng = np.random.default_rng(1)
    first, second = base.models
    k = len(second.functions)
    for nodes, letters in (((3,), "pl"), ((2, 2), "ttl"), ((3, 2), "gpl"), ((), "l")):
        model = replace(second, short=random_network(rng, k, nodes, letters, False))
        params = replace(base, models=(first, model))
        write_folder(params, tmp_path / "pot")
        assert same(params, read_folder(tmp_path / "pot"))


def test_normalize_nodes_is_one_for_all(tmp_path):
    base = small()
    rng = np.random.default_rng(1)
    models = [replace(m, short=random_network(rng, len(m.functions), (4,), "tl", True)) for m in base.models]
    params = replace(base, models=tuple(models))
    write_folder(params, tmp_path / "pot")
    assert same(params, read_folder(tmp_path / "pot"))
    with pytest.raises(OptionError, match="normalize_nodes"):
        write_folder(replace(base, models=(base.models[0], models[1])), tmp_path / "x")


def test_coulomb_constant_of_a_file_comes_back(tmp_path):
    for text in ("0.0694461", "1.0", "0.3"):
        kept = (("ewald_prec", "1.e-5 0.4"), ("four_pi_epsilon", text))
        params = small(4, electrostatics=Electrostatics(1 / float(text), keywords=kept))
        write_folder(params, tmp_path / text)
        assert f"four_pi_epsilon {text}" in (tmp_path / text / "input.nn").read_text()
        assert same(params, read_folder(tmp_path / text))
    params = small(4, electrostatics=Electrostatics(14.399645))
    write_folder(params, tmp_path / "fit")
    assert read_folder(tmp_path / "fit").electrostatics.coulomb == pytest.approx(14.399645, rel=3e-16)


def test_writing_over_a_packed_potential(tmp_path):
    write_folder(small(), tmp_path)
    weights = tmp_path / "weights.011.data"
    (tmp_path / "weights.011.data.xz").write_bytes(lzma.compress(weights.read_bytes()))
    new = small(seed=5)
    write_folder(new, tmp_path)
    assert not (tmp_path / "weights.011.data.xz").exists() and same(new, read_folder(tmp_path))


def test_nothing_is_written_for_what_the_format_does_not_hold(tmp_path):
    params = small()
    first = params.models[0]
    swapped = replace(first, functions=first.functions[::-1])
    with pytest.raises(OptionError, match="order"):
        write_folder(replace(params, models=(swapped, params.models[1])), tmp_path / "pot")
    odd = replace(first, short=random_network(np.random.default_rng(0), len(first.functions), (2,), "tt"))
    with pytest.raises(OptionError, match="linear output"):
        write_folder(replace(params, models=(odd, params.models[1])), tmp_path / "pot")
    assert not (tmp_path / "pot").exists()
    (tmp_path / "file").write_text("")
    with pytest.raises(OptionError, match="is a file"):
        write_folder(params, tmp_path / "file")


def test_functions_in_lines():
    """Every kind in its line, in the order of n2p2's arguments."""
    lines = {
        "symfunction_short O 2 H 0.1 0.5 6.0": SymmetryFunction(2, ("H",), eta=0.1, rs=0.5, rc=6.0),
        "symfunction_short O 3 H O 0.1 -1.0 2.0 6.0": SymmetryFunction(3, ("H", "O"), 0.1, 0.0, 6.0, -1.0, 2.0),
        "symfunction_short O 9 H O 0.1 -1.0 2.0 6.0 0.5": SymmetryFunction(9, ("H", "O"), 0.1, 0.5, 6.0, -1.0, 2.0),
        "symfunction_short O 12 0.1 0.5 6.0": SymmetryFunction(12, (), eta=0.1, rs=0.5, rc=6.0),
        "symfunction_short O 13 0.1 0.5 -1.0 2.0 6.0": SymmetryFunction(13, (), 0.1, 0.5, 6.0, -1.0, 2.0),
        "symfunction_short O 20 H -6.0 6.0 p2": SymmetryFunction(20, ("H",), rl=-6.0, rc=6.0, core="p2"),
        "symfunction_short O 24 0.5 6.0 20.0 160.0 ea": SymmetryFunction(
            24, (), rl=0.5, rc=6.0, al=20.0, ar=160.0, core="ea"
        ),
    }
    for line, function in lines.items():
        assert format_function("O", function) == line


def test_global_and_element_functions_stand_for_all_neighbours(folder):
    params = read_folder(folder, **UNITS)
    text = (folder / "input.nn").read_text().split("symfunction_short")[0]
    text += "global_symfunction_short 2 0.1 0.0 6.0\nelement_symfunction_short Cl 3 0.1 1.0 2.0 6.0\n"
    (folder / "input.nn").write_text(text)
    message = refused(folder, "a row of element 1, function 3")  # scaling.data is that of more functions
    assert "scaling.data, line" in message and "element 2, function 1" in message
    model = [f for f in params.models[0].functions if f.kind == 2][:2]
    assert [f.neighbours for f in sort_functions([replace(f, eta=0.1) for f in model], params.elements)]


# -- units, card ---------------------------------------------------------------------------------------------


def test_units_must_be_told(folder):
    text = refused(folder, "does not tell its units", OptionError, length_unit=None, energy_unit=None)
    assert 'get_calculator("hdnnp", model=' in text and 'length_unit="Bohr"' in text and "cutoff, 5," in text
    assert "command line: -o length_unit=Bohr -o energy_unit=Ha" in text
    refused(folder, "does not tell its units", OptionError, energy_unit=None)
    params = read_folder(folder, "bohr", "HARTREE")
    assert params.length_unit == units.length("a0") == pytest.approx(0.529177, abs=1e-6)
    assert params.energy_unit == units.energy("Ha") == pytest.approx(27.2114, abs=1e-4)
    assert params.cutoff == pytest.approx(5 * params.length_unit)
    assert read_folder(folder, 1.0, "eV").length_unit == read_folder(folder, "A", 1).energy_unit == 1.0


@pytest.mark.parametrize("unit", ["parsec", "", -1.0, 0, float("nan"), float("inf"), True, [1], "1e400"])
def test_unknown_units(folder, unit):
    assert "allowed" in refused(folder, "length_unit is", OptionError, length_unit=unit)
    refused(folder, "energy_unit is", OptionError, energy_unit=unit)


def test_card_tells_units_and_facts(tmp_path):
    facts = {"citation": "someone 2020", "doi": "10.1/x", "extra": {"seed": 7}}
    params = small(length_unit=units.length("Bohr"), facts=facts)
    write_folder(params, tmp_path)
    told = json.loads((tmp_path / "card.json").read_text())["extra"]
    assert told["length_unit"] == "Bohr" and told["energy_unit"] == "eV" and told["seed"] == 7
    again = read_folder(tmp_path)
    card = again.card()
    assert (card.citation, card.doi, card.extra["seed"]) == ("someone 2020", "10.1/x", 7)
    assert set(card.files) == {p.name for p in tmp_path.iterdir()} - {"card.json"}
    with pytest.warns(UserWarning, match=r"length_unit is 'A' as asked, though its card.json says 'Bohr'"):
        assert read_folder(tmp_path, length_unit="A").length_unit == 1.0  # an option outdoes the card, and that is said
    assert read_folder(tmp_path, length_unit=0.5291772, energy_unit="eV").length_unit == 0.5291772  # no contradiction
    edit(tmp_path / "card.json", '"Bohr"', '"Bahr"')
    with pytest.raises(PotentialFileError, match=r"card.json.*length_unit is 'Bahr'"):
        read_folder(tmp_path)
    write_card(replace(Card("x", "mtp", ("Cu",), 5.0), extra={"length_unit": "A"}), tmp_path / "card.json")
    with pytest.raises(OptionError, match="does not tell its units"):
        read_folder(tmp_path)  # a card of another family is none of ours


def test_elements_that_may_be_evaluated(folder):
    assert read_folder(folder, **UNITS, elements="Na").only == ("Na",)
    refused(folder, "has no Xe", OptionError, elements=["Xe"])


def test_packed_files_and_the_path_of_input_nn(folder):
    plain = read_folder(folder, **UNITS)
    kinds = 2 * ((lzma.compress, ".xz"), (gzip.compress, ".gz"))
    for path, (pack, suffix) in zip(sorted(folder.iterdir()), kinds, strict=True):
        path.with_name(path.name + suffix).write_bytes(pack(path.read_bytes()))
        path.unlink()
    assert same(plain, read_folder(folder, **UNITS))
    assert same(plain, read_folder(next(folder.glob("input.nn*")), **UNITS))
