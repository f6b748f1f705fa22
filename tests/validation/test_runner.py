"""validate(): batching, failures that stay alone, structures, registry, reports on disk."""

from __future__ import annotations

import io
import json
from types import SimpleNamespace

import numpy as np
import pytest
from ase.build import bulk
from ase.io import write
from rich.console import Console

from calczoo_validation import Property, Report, Status, parse_proto, registry, validate
from calczoo_validation.store import Store, plain, slug, write_json

QUICK = ["lattice", "eos", "elastic"]


def quick(calculator, proto="Cu:fcc", properties=QUICK, **more):
    return validate(calculator, proto=proto, mode="smoke", properties=properties, progress=False, **more)


def test_batched_calculator_gives_the_same_numbers_in_few_calls(emt, batched):
    many = batched()
    one, other = quick(emt), quick(many)
    for name in ("lattice.a0", "eos.B0", "elastic.C44", "elastic.C11_clamped"):
        assert other[name].value == pytest.approx(one[name].value, rel=1e-9)
    assert many.calls < one.models[0].evaluations["structures"] / 2
    assert other["elastic"].evaluations["calls"] == 1
    assert other["elastic"].evaluations["structures"] == 25  # 24 strained cells and the crystal
    assert other.models[0].batched and not one.models[0].batched


def test_batches_are_bounded(batched):
    many = batched()
    quick(many, properties="elastic", max_batch_atoms=5)
    assert many.calls >= 24 / 5


def test_one_property_fails_with_its_reason_and_the_others_go_on(wrapped):
    def no_big_cells(results, atoms):
        if len(atoms) > 8:
            raise RuntimeError("out of memory, said the card")
        return results

    report = quick(wrapped(change=no_big_cells), properties=None)
    status = {k: v.status for k, v in report.models[0].results.items()}
    assert {k for k, v in status.items() if v is Status.OK} == {"lattice", "eos", "elastic"}
    assert {k for k, v in status.items() if v is Status.FAILED} == {"phonons", "vacancy"}
    assert "out of memory, said the card" in report["phonons"].reason
    assert report.status is Status.FAILED
    assert "phonons failed" in report.summary()


def test_unsupported_element_says_so_everywhere(emt):
    report = quick(emt, proto="Mo:bcc")
    assert report.status is Status.UNSUPPORTED
    assert "Mo" in report["lattice"].reason and "Mo" in report["elastic"].reason


def test_a_calculator_that_failed_once_fails_with_the_same_words_again(emt):
    """EMT keeps a half-made neighbour list after an element it does not know, and then raises AttributeError."""
    for _ in range(2):
        report = quick(emt, proto="Mo:bcc", properties="lattice")
        assert report["lattice"].reason == "No EMT-potential for Mo"
    assert quick(emt, properties="lattice")["lattice"].status is Status.OK


def test_a_batched_calculator_that_raises_names_the_structure(batched):
    def breaks(results, atoms):
        if np.ptp(atoms.cell.lengths()) > 1e-6:
            raise ArithmeticError("the descriptor overflows")
        return results

    report = quick(batched(change=breaks))
    assert report["lattice"].status is Status.OK
    assert report["eos"].status is Status.OK
    assert report["elastic"].status is Status.FAILED
    assert "structure 0 (Cu, 1 atoms): ArithmeticError: the descriptor overflows" in report["elastic"].reason


def test_calculator_without_stress_gets_it_from_energies(emt, no_stress):
    report = quick(no_stress(), properties=["elastic"])
    assert report["elastic.C44"].value == pytest.approx(quick(emt, properties="elastic")["elastic.C44"].value, rel=1e-3)
    assert "no stress" in report["lattice"].notes[0]


def test_several_calculators_and_labels(emt, batched):
    report = quick([emt, batched()], properties="lattice", label=["one", "two"])
    assert [m.label for m in report.models] == ["one", "two"]
    assert [m.label for m in quick([emt, emt], properties="lattice").models] == ["emt", "emt (2)"]
    with pytest.raises(ValueError, match="2 labels for 1"):
        quick(emt, label=["a", "b"])


def test_structure_from_a_file_finds_its_references(emt, tmp_path):
    path = tmp_path / "copper.xyz"
    write(path, bulk("Cu", a=3.6, cubic=True), format="extxyz")
    report = validate(emt, structure=path, mode="smoke", properties="lattice", progress=False)
    assert report["lattice.a0"].value == pytest.approx(3.5898, abs=2e-4)
    assert report.structure["reference_key"] == "Cu:fcc"
    assert report.references("elastic")["C44"]


@pytest.mark.parametrize(
    ("proto", "message"),
    [
        ("Mo", "no prototype"), ("Mo:bc", "unknown prototype"), ("NaCl:bcc", "needs 1 element"),
        ("Xx:fcc", "needs 1 element"), ("Cu:fcc:a", "is no number"), ("Cu:fcc:99", "outside"),
    ],
)  # fmt: skip
def test_bad_prototypes_are_explained(proto, message):
    with pytest.raises(ValueError, match=message):
        parse_proto(proto)


@pytest.mark.parametrize(
    "proto", ["NaCl:rocksalt", "NaCl:B1", "CsCl:cscl", "GaAs:zincblende", "ZnO:wurtzite", "CaF2:fluorite"]
)
def test_compound_prototypes(proto):
    crystal = parse_proto(proto)
    cell = crystal.conventional_cell()
    assert len(cell) % len(crystal.atoms) == 0
    nearest = cell.repeat(2).get_all_distances(mic=True)
    assert 1.5 < nearest[nearest > 0].min() < 4.0


def test_bad_requests(emt):
    with pytest.raises(ValueError, match="unknown mode"):
        validate(emt, proto="Cu:fcc", mode="quick")
    with pytest.raises(ValueError, match="unknown property 'colour'"):
        validate(emt, proto="Cu:fcc", properties=["colour"])
    with pytest.raises(ValueError, match="either proto"):
        validate(emt)
    with pytest.raises(ValueError, match="periodic in three directions"):
        validate(emt, structure=_slab())


def _slab():
    atoms = bulk("Cu")
    atoms.pbc = (True, True, False)
    return atoms


# -- registry ------------------------------------------------------------------------------------------------


def entry(name, loaded):
    def load():
        if isinstance(loaded, Exception):
            raise loaded
        return loaded

    return SimpleNamespace(name=name, value=f"package:{name}", load=load)


def test_plug_in_properties_are_found_and_broken_ones_do_no_harm(emt, monkeypatch):
    def answer(context, result):
        result.add("answer", "Answer", 42.0, "", error=0.0, error_source="exact")

    good = Property("answer", "The answer", answer, "for the test")
    found = [entry("answer", good), entry("bad", ImportError("no such module")), entry("odd", 3), entry("eos", good)]
    monkeypatch.setattr(registry, "entry_points", lambda group: found)
    known, problems = registry.all_properties()
    assert "answer" in known and len(problems) == 3
    assert any("no such module" in p for p in problems)
    assert quick(emt, properties=["answer"])["answer.answer"].value == 42.0


def test_every_built_in_property_is_complete():
    for name, prop in registry.built_in().items():
        assert prop.name == name and prop.title and prop.about and prop.plots
    names = list(registry.built_in())
    basic = ["lattice", "eos", "elastic", "phonons", "vacancy", "dataset"]
    assert [n for n in names if n in basic] == basic  # in the order of the report


# -- report --------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    from ase.calculators.emt import EMT

    folder = tmp_path_factory.mktemp("report")
    label = "<script>alert('x')</script>"
    report = validate(
        {label: EMT(), "plain": EMT()}, proto="Cu:fcc", mode="smoke", properties=["elastic", "phonons", "eos"],
        out=folder, progress=False,
    )  # fmt: skip
    return folder, report


def test_json_has_everything_and_round_trips(saved):
    folder, report = saved
    data = json.loads((folder / "results.json").read_text())
    assert (data["schema"], data["schema_version"]) == ("calczoo-validation", 2)
    assert data["environment"]["packages"]["ase"] and data["environment"]["processor"]
    for model in data["models"]:
        for result in model["results"]:
            for value in result["values"]:
                assert {"value", "unit", "error", "error_source", "status", "reason", "references"} <= set(value)
                assert value["status"] in set(Status)
    c44 = next(v for r in data["models"][0]["results"] for v in r["values"] if v["name"] == "C44")
    assert {"PBE", "experiment"} <= {r["kind"] for r in c44["references"]}
    assert all(r["source"] and (r["doi"] or r["url"]) for r in c44["references"])
    again = Report.load(folder)
    assert again.to_dict() == report.to_dict() == data
    with pytest.raises(ValueError, match="schema"):
        Report.from_dict({"schema": "other"})


def test_each_result_is_stored_on_its_own(saved):
    folder, report = saved
    stored = [json.loads(p.read_text()) for p in folder.glob("store/*/*.json")]
    assert len(stored) == 4  # the two calculators are the same one
    assert all(Store(folder).read(row["key"]) is not None for row in stored)
    assert {row["inputs"]["property"] for row in stored} == {"lattice", "elastic", "phonons", "eos"}
    assert any(
        v["name"] == "C44" and v["value"] == report.models[1]["elastic.C44"].value
        for row in stored
        for v in row["result"]["values"]
    )
    assert not [p for p in folder.rglob("*") if ".." in str(p.relative_to(folder)) or p.name.startswith(".")]


def test_html_is_one_small_file_that_loads_nothing_and_escapes(saved):
    folder, _ = saved
    text = (folder / "report.html").read_text()
    assert len(text) < 5_000_000
    assert "<script" not in text and "&lt;script&gt;" in text
    for forbidden in ('src="http', "@import", "<link", "url(http", "<iframe", "<img"):
        assert forbidden not in text
    assert text.count("<svg") >= 5
    ids = [part.split('"')[0] for part in text.split(' id="')[1:]]
    assert len(ids) == len(set(ids))
    for word in ("How to read this", "Comparison", "Elastic tensor", "Zuo", "doi.org"):
        assert word in text


def test_terminal_table_shows_value_status_reference_and_source(saved):
    _, report = saved
    out = io.StringIO()
    Console(file=out, width=200).print(report.table())
    text = out.getvalue()
    for word in ("C44, relaxed ions", "GPa", "ok", "PBE", "experiment", "10.1021/acs.jpca.9b08723"):
        assert word in text


def test_references_are_complete():
    from calczoo_validation.references import lookup, table

    data = table()
    for source in data["sources"].values():
        assert source["citation"] and source["short"] and (source.get("doi") or source.get("url"))
    for row in data["values"]:
        assert row["source"] in data["sources"] and np.isfinite(row["value"]) and row["unit"] is not None
    for crystal in ("Li:bcc", "Mo:bcc", "Cu:fcc", "Ni:fcc", "Si:diamond", "Ge:diamond"):
        for name in ("lattice.a0", "elastic.C11", "elastic.C12", "elastic.C44", "elastic.B", "vacancy.E_vac"):
            prop, key = name.split(".")
            assert any(r["kind"] == "PBE" for r in lookup(crystal, prop)[key]), (crystal, name)
        for key in ("C11", "C12", "C44"):
            assert any(r["kind"] == "experiment" for r in lookup(crystal, "elastic")[key]), (crystal, key)
        c11, c12 = (lookup(crystal, "elastic")[k][0]["value"] for k in ("C11", "C12"))
        assert c11 > c12


def test_atomic_write_leaves_the_old_file_when_it_fails(tmp_path):
    path = tmp_path / "a.json"
    write_json(path, {"x": np.float64(np.nan), "y": np.arange(2)})
    assert json.loads(path.read_text()) == {"x": None, "y": [0, 1]}
    with pytest.raises(ValueError):
        Report.from_dict(json.loads(path.read_text()))
    assert [p.name for p in tmp_path.iterdir()] == ["a.json"]
    assert slug("../../etc/passwd") == "etc_passwd" and slug("///") == "model"
    assert plain((np.True_, None, np.int64(3))) == [True, None, 3]
