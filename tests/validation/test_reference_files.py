"""A user's own reference in every form, and the linter: what it finds and what it leaves alone."""

from __future__ import annotations

import json

import numpy as np
import pytest
from ase.build import bulk
from ase.calculators.emt import EMT
from ase.calculators.singlepoint import SinglePointCalculator
from ase.io import write
from ase.units import GPa

from calczoo_validation import Report, parse_proto, references, registry, validate
from calczoo_validation.html import render
from calczoo_validation.lint import (
    counts,
    declared_unit,
    lint_builtin,
    lint_frames,
    lint_values,
    stiffness,
    worst_severity,
)
from calczoo_validation.reference_files import OwnReference, load_reference, reference_schema
from calczoo_validation.strain import scaled, strain_matrix, strained
from data import mlearn, shared

CU = parse_proto("Cu:fcc")
GOOD = {
    "crystal": "Cu:fcc", "level_of_theory": "VASP PBE, 520 eV", "source": "our own work",
    "elastic.C11": {"value": 173, "unit": "GPa", "error": 2}, "elastic.C12": {"value": 133, "unit": "GPa"},
    "elastic.C44": {"value": 88, "unit": "GPa", "note": "0.5 % strain"}, "elastic.B": {"value": 146, "unit": "GPa"},
    "lattice.a0": {"value": 3.621, "unit": "A", "doi": "10.1021/acs.jpca.9b08723"},
}  # fmt: skip


def saved(tmp_path, data, name="own.json"):
    path = tmp_path / name
    path.write_text(data if isinstance(data, str) else json.dumps(data))
    return path


def computed(atoms, **more):
    """A frame with EMT's results."""
    work = atoms.copy()
    work.calc = EMT()
    results = {"energy": work.get_potential_energy(), "forces": work.get_forces(), "stress": work.get_stress(), **more}
    frame = atoms.copy()
    frame.calc = SinglePointCalculator(frame, **results)
    frame.info["level_of_theory"] = "EMT"
    return frame


@pytest.fixture(scope="module")
def emt_frames():
    """Volumes and strains of fcc Cu, with EMT as the level of theory."""
    cell = bulk("Cu", a=3.5898)
    volumes = [computed(scaled(cell, s)) for s in np.linspace(0.985, 1.015, 9)]
    strains = [computed(strained(cell, strain_matrix(j, h))) for j in range(6) for h in (-0.005, 0.005)]
    return volumes + strains


def texts(findings, severity=None):
    return [f.text for f in findings if severity in (None, f.severity)]


# -- JSON ------------------------------------------------------------------------------------------------------------


def test_values_come_first_and_are_named_as_the_users_own(tmp_path):
    own = load_reference(saved(tmp_path, GOOD), crystal=CU)
    entry = own.values["elastic"]["C11"][0]
    assert (entry["value"], entry["unit"], entry["kind"], entry["error"]) == (173.0, "GPa", "reference", 2)
    assert "our own work" in entry["source"] and "520 eV" in entry["source"]
    assert own.values["lattice"]["a0"][0]["doi"] == "10.1021/acs.jpca.9b08723" and not own.findings
    report = validate(EMT(), proto="Cu:fcc", properties=["elastic"], mode="smoke", progress=False)
    report.reference = own
    kinds = [r["kind"] for r in report.references("elastic")["C11"]]
    assert kinds[:2] == ["reference", "PBE"] and "experiment" in kinds
    again = Report.from_dict(report.to_dict())
    assert again.to_dict() == report.to_dict() and again.reference.to_dict() == own.to_dict()
    page = render(again)
    assert page == render(report) and "Your reference" in page and "VASP PBE, 520 eV" in page


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"elastic.C11": {"value": 1, "unit": "eV"}}, "unit 'eV'; elastic gives it in 'GPa'"),
        ({"elastic.C11": {"value": "1", "unit": "GPa"}}, "value is '1'"),
        ({"elastic.C11": {"value": True, "unit": "GPa"}}, "value is True"),
        ({"elastic.C11": {"unit": "GPa"}}, "value is None"), ({"elastic.C11": {"value": 1}}, "unit is None"),
        ({"elastic.C11": {"value": 1, "unit": "GPa", "eror": 2}}, "unknown key 'eror'; did you mean 'error'"),
        ({"elastic.C11": {"value": 1, "unit": "GPa", "error": -1}}, "error is -1"),
        ({"elastic.C11": 466}, "expected an object"), ({"elastik.C11": {}}, "unknown property; did you mean 'elastic'"),
        ({"vacancy.colour": {"value": 1, "unit": "eV"}}, "vacancy gives no such value"),
        ({"level_of_teory": "PBE"}, "unknown key 'level_of_teory'; did you mean 'level_of_theory'"),
        ({"source": 3}, "source is 3"), ({"crystal": "Mo:bcc"}, "the values are of Mo:bcc, this run is about Cu:fcc"),
    ],
)  # fmt: skip
def test_wrong_keys_values_and_units_are_refused(tmp_path, change, message):
    with pytest.raises(ValueError, match=message):
        load_reference(saved(tmp_path, {**GOOD, **change}), crystal=CU)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "no valid JSON"), ('{"lattice.a0": {"value": NaN, "unit": "A"}}', "NaN is no number"),
        ('{"source": "x"}', "no values"), ("[" * 100000, "no valid JSON"),
        ('{"lattice.a0": {"value": 1, "unit": "A"}, "lattice.a0": {"value": 2, "unit": "A"}}', "occurs twice"),
    ],
)  # fmt: skip
def test_broken_json_is_refused(tmp_path, text, message):
    with pytest.raises(ValueError, match=message):
        load_reference(saved(tmp_path, text), crystal=CU)
    with pytest.raises(ValueError, match="no such file"):
        load_reference(tmp_path / "absent.json")


def test_schema_describes_every_key():
    schema = reference_schema()
    (entry,) = schema["patternProperties"].values()
    assert schema["additionalProperties"] is False and entry["additionalProperties"] is False
    assert set(GOOD["elastic.C11"]) <= set(entry["properties"]) and entry["required"] == ["value", "unit"]
    assert {k for k in GOOD if "." not in k} <= set(schema["properties"])


# -- frames ----------------------------------------------------------------------------------------------------------


def test_frames_go_through_the_same_protocol_as_the_calculator(tmp_path, emt_frames):
    path = tmp_path / "dft.extxyz"
    write(path, emt_frames)
    report = validate(EMT(), proto="Cu:fcc", properties=["eos", "elastic"], mode="smoke", progress=False)
    report.reference = load_reference(path, crystal=CU, properties=["lattice", "eos", "elastic"])
    own = report.reference
    for name, tolerance in (("eos.V0", 1e-3), ("eos.B0", 0.01), ("elastic.C11", 0.02), ("elastic.C44", 0.02)):
        prop, key = name.split(".")
        assert own.values[prop][key][0]["value"] == pytest.approx(report[name].value, rel=tolerance), name
    assert own.level_of_theory == "EMT" and "eos" in own.results
    assert "E0" in own.results["eos"] and "E0" not in own.values["eos"]  # its zero is a convention
    assert worst_severity(own.findings) in ("", "note")
    text = render(report)
    assert "Black: your reference." in text and text == render(Report.from_dict(report.to_dict()))


def test_frames_that_fit_nothing_leave_a_note(tmp_path):
    atoms = bulk("Cu", cubic=True)
    atoms.rattle(0.05, seed=1)
    path = tmp_path / "one.extxyz"
    write(path, [computed(atoms)])
    own = load_reference(path, crystal=CU, properties=["eos", "elastic"])
    assert not own.values and len(own.notes) == 3


def test_a_data_set_tells_what_it_spans(tmp_path, emt_frames):
    path = tmp_path / "dft.extxyz"
    write(path, emt_frames)
    own = load_reference(path, properties=["dataset"])
    assert own.values["dataset"]["structures"][0]["value"] == len(emt_frames) == len(own.frames)
    stress = np.array([f.calc.results["stress"] for f in emt_frames]) / GPa
    assert own.values["dataset"]["stress_spread"][0]["value"] == pytest.approx(np.sqrt((stress**2).mean()), rel=1e-5)


def test_a_phonopy_folder_gives_phonons():
    folder = shared("data/reference_tables/phonopy_examples/NaCl")
    own = load_reference(folder, crystal=parse_proto("NaCl:rocksalt"), mode="smoke")
    assert own.values["phonons"] and "bands" in own.results["phonons"].data
    assert any("level of theory" in f.text for f in own.findings)


def test_own_reference_survives_json():
    own = OwnReference("x", "PBE", notes=["n"], findings=lint_values({"eos": {"V0": [entry(1.0, "A^3")]}}))
    assert OwnReference.from_dict(json.loads(json.dumps(own.to_dict()))) == own


# -- linter: values --------------------------------------------------------------------------------------------------


def entry(value, unit, short="me", kind="reference", error=None):
    return {"value": value, "unit": unit, "kind": kind, "short": short, "source": short, "doi": "", "url": "",
            "note": "", "error": error}  # fmt: skip


def values(short="me", kind="reference", **numbers):
    out: dict = {}
    units = {"lattice.a0": "A", "lattice.volume": "A^3", "eos.V0": "A^3", "vacancy.E_vac": "eV"}
    for name, value in numbers.items():
        prop, key = name.split("__")
        unit = units.get(f"{prop}.{key}", "GPa")
        out.setdefault(prop, {}).setdefault(key, []).append(entry(value, unit, short, kind))
    return out


CUBIC = {"elastic__C11": 173, "elastic__C12": 133, "elastic__C44": 88}


@pytest.mark.parametrize(
    ("numbers", "severity", "word"),
    [
        ({**CUBIC, "elastic__B": 146}, "", ""), ({**CUBIC, "elastic__B": 160}, "warning", "Reuss"),
        ({**CUBIC, "elastic__B": 220}, "error", "B = 220"), ({**CUBIC, "eos__B0": 190}, "error", "B0 = 190"),
        ({"elastic__B": 146, "eos__B0": 142}, "", ""),
        ({"elastic__B": 146, "eos__B0": 130}, "warning", "equation of state"),
        ({**CUBIC, "elastic__C12": 180}, "error", "unstable"), ({**CUBIC, "elastic__G": 47}, "", ""),
        ({**CUBIC, "elastic__G": 80}, "error", "G = 80"), ({"lattice__a0": 3.62, "eos__V0": 11.86}, "", ""),
        ({"lattice__a0": 3.62, "eos__V0": 12.1}, "warning", "volume per atom"),
        ({"lattice__a0": 3.62, "lattice__volume": 47.4}, "error", "volume per atom"),
        ({"vacancy__E_vac": 103.0}, "error", "another unit"), ({"vacancy__E_vac": 1.1}, "", ""),
        ({"elastic__C11": 1.08, "elastic__C12": 0.83, "elastic__C44": 0.55, "elastic__B": 146}, "error", "B = 146"),
    ],
)  # fmt: skip
def test_linter_on_values(numbers, severity, word):
    found = lint_values(values(**numbers), "Cu:fcc")
    assert worst_severity(found) == severity, texts(found)
    assert any(word in t for t in texts(found)) or not word


def test_linter_knows_hexagonal_tensors_and_leaves_lower_symmetries_alone():
    hexagonal = {f"elastic.{k}": v for k, v in {"C11": 162, "C12": 92, "C13": 69, "C33": 181, "C44": 47}.items()}
    c = stiffness(hexagonal)
    assert c[5, 5] == 35 and np.linalg.eigvalsh(c).min() > 0
    assert stiffness({**hexagonal, "elastic.C14": 5.0}) is None and stiffness({"elastic.C11": 1.0}) is None


def test_linter_sees_a_wrong_unit_and_sources_that_contradict_each_other():
    wrong = {"elastic": {"C11": [entry(1.73, "Mbar")]}}
    assert any("unit 'Mbar'" in t for t in texts(lint_values(wrong), "error"))
    two = {"elastic": {"C11": [entry(173, "GPa", "a", "PBE"), entry(240, "GPa", "b", "PBE")]}}
    found = lint_values(two, "Cu:fcc")
    assert any("differ by 28 %" in t for t in texts(found, "warning"))
    assert any("no source" in t for t in texts(found, "warning"))
    close = {"elastic": {"C11": [entry(173, "GPa", "a", "PBE"), entry(178, "GPa", "b", "PBE")]}}
    assert not any("differ" in t for t in texts(lint_values(close, "Cu:fcc")))


def test_built_in_references_contradict_nothing():
    """The only finding above a note: two PBE sources whose C44 of copper differ by 17 %, as their papers print it."""
    found = lint_builtin()
    assert not texts(found, "error"), found
    assert {f.where for f in found if f.severity == "warning"} <= {"Cu:fcc elastic.C44"}
    assert counts(found) != "no findings" and counts([]) == "no findings"


def test_built_in_references_are_named_and_measured_as_the_properties_do():
    known = registry.built_in()
    for row in references.table()["values"]:
        prop, _, name = row["name"].partition(".")
        assert prop in known, row
        assert declared_unit(known[prop], name) == row["unit"], row
        assert row["kind"] in references.KINDS and row["source"] in references.table()["sources"], row


# -- linter: frames --------------------------------------------------------------------------------------------------


def changed(frames, change):
    out = []
    for k, f in enumerate(frames):
        g = f.copy()
        results = {n: np.array(v) if np.ndim(v) else v for n, v in f.calc.results.items()}
        results = change(g, results, k) or results
        g.calc = SinglePointCalculator(g, **results)
        out.append(g)
    return out


@pytest.fixture(scope="module")
def moved():
    """One cell with small displacements, EMT."""
    rng = np.random.default_rng(3)
    cell = bulk("Cu", cubic=True, a=3.59).repeat((2, 1, 1))
    frames = []
    for _ in range(12):
        atoms = cell.copy()
        atoms.positions += rng.normal(scale=0.02, size=atoms.positions.shape)
        frames.append(computed(atoms))
    return frames


def test_sound_frames_have_no_finding(emt_frames, moved):
    assert texts(lint_frames(emt_frames)) == [] or set(f.severity for f in lint_frames(emt_frames)) == {"note"}
    assert lint_frames(moved) == []


@pytest.mark.parametrize(
    ("change", "severity", "word"),
    [
        (lambda a, r, k: {**r, "stress": -r["stress"]}, "error", "sign of the stress"),
        (lambda a, r, k: {**r, "stress": r["stress"] / GPa}, "error", "stresses are in another unit"),
        (lambda a, r, k: {**r, "energy": r["energy"] + 0.5 * (k % 2)}, "warning", "belong together"),
        (lambda a, r, k: {n: v for n, v in r.items() if n != "energy"}, "error", "no energy"),
        (lambda a, r, k: a.info.pop("level_of_theory") and None, "warning", "no level of theory"),
        (lambda a, r, k: a.info.update(level_of_theory=f"PBE {500 + 20 * (k % 2)} eV"), "error", "mixed levels"),
        (lambda a, r, k: {**r, "energy": np.nan} if k == 3 else None, "error", "not finite in frame 3"),
    ],
)  # fmt: skip
def test_linter_on_strained_frames(emt_frames, change, severity, word):
    found = lint_frames(changed(emt_frames, change))
    assert any(word in t for t in texts(found, severity)), found


@pytest.mark.parametrize(
    ("change", "severity", "word"),
    [
        (lambda a, r, k: {**r, "forces": -r["forces"]}, "error", "sign of the forces"),
        (lambda a, r, k: {**r, "forces": 51.4 * r["forces"]}, "error", "forces are in another unit"),
        (lambda a, r, k: {**r, "forces": r["forces"] + 0.1} if k == 2 else None, "warning", "zero in frame 2"),
        (lambda a, r, k: {**r, "energy": r["energy"] + 9} if k == 4 else None, "warning", "energies: frame 4"),
        (lambda a, r, k: {**r, "forces": 3000 * r["forces"]}, "warning", "forces above 50"),
    ],
)  # fmt: skip
def test_linter_on_displaced_frames(moved, change, severity, word):
    found = lint_frames(changed(moved, change))
    assert any(word in t for t in texts(found, severity)), found


def test_copies_of_one_structure_must_have_one_energy(moved):
    assert any("copies of earlier" in t for t in texts(lint_frames([*moved, moved[0]]), "note"))
    other = changed([moved[0]], lambda a, r, k: {**r, "energy": r["energy"] + 0.1})
    (text,) = [t for t in texts(lint_frames([*moved, *other]), "error") if "same structure" in t]
    assert "frames 0 and 12 differ by 12.5 meV/atom" in text


def test_atoms_on_top_of_each_other_are_seen(moved):
    def collide(atoms, results, k):
        atoms.positions[1] = atoms.positions[0] + [0.3, 0, 0]

    assert any("closer than half" in t for t in texts(lint_frames(changed(moved, collide)), "warning"))


def test_published_training_data_has_no_error():
    for element in ("Mo", "Si", "Ge"):  # Si and Ge: strained cells that symmetry makes equal are no evidence
        assert not texts(lint_frames(mlearn(element, "test")), "error")


def test_the_pattern_with_most_letters_declares_a_value():
    """sound_K_1 fits the frequencies' *_[0-9]* as well."""
    phonons = registry.built_in()["phonons"]
    assert phonons.output("sound_K_1").unit == "km/s" and phonons.output("K_1").unit == "THz"
    assert phonons.output("nothing") is None


def test_phonons_of_rock_salt_are_no_reference_for_silicon():
    folder = shared("data/reference_tables/phonopy_examples/NaCl")
    with pytest.raises(ValueError, match="forces are of ClNa, this run is about Si:diamond"):
        load_reference(folder, crystal=parse_proto("Si:diamond"), mode="smoke")
