"""The command line with moment tensor potentials: convert, select, thresholds of the extrapolation grade in MD."""

from __future__ import annotations

import json
import re

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from ase.io import read, write

from calczoo import get_calculator
from calczoo.cli import execute
from calczoo.core.errors import DataError
from calczoo.exchange import read_frames, write_frames
from calczoo.families.mtp.load import read_file
from data import ROOT, shared

FOLDER = "data/mtp"
MO = f"{FOLDER}/maml/Mo/fitted.mtp"
QUATERNARY = f"{FOLDER}/maml/MoNbTaW/mtp.2021.08/quaternary.mtp"
CU8 = f"{FOLDER}/motep_tests/cubic/08/pot.mtp"
ALMTP = f"{FOLDER}/pyiron_mlip3_Cu/pot.almtp"
TRAIN = f"{FOLDER}/pyiron_mlip3_Cu/train.cfg"


@pytest.fixture
def cli(capfd):
    """cli(*arguments) -> (exit code, stdout, stderr)."""

    def run(*arguments):
        code = execute([str(a) for a in arguments])
        out, err = capfd.readouterr()
        return code, out, err

    return run


def as_json(answer) -> dict:
    code, out, err = answer
    assert out.count("\n") == 1, out + err
    return json.loads(out)


def crystal(symbol="Cu", scale=1.0, seed=1):
    atoms = bulk(symbol, cubic=True).repeat(2)
    atoms.rattle(0.05, seed=seed)
    atoms.set_cell(atoms.cell * scale, scale_atoms=True)
    return atoms


# -- convert -------------------------------------------------------------------------------------------------


def test_potential_there_and_back(cli, tmp_path):
    """.mtp -> .almtp -> .mtp: the same numbers, bit by bit, with or without the elements."""
    for k, given in enumerate(((), ("--elements", "Mo"))):
        there, back = tmp_path / f"{k}.almtp", tmp_path / f"{k}.mtp"
        code, out, _ = cli("convert", shared(MO), there, *given)
        assert code == 0 and f"written: {there}" in out and "no active set" in out and "--training" in out
        assert ("type 0 = Mo" in out) == bool(given)
        data = as_json(cli("convert", there, back, *given, "--json"))
        assert data["files"] == [str(back)]
        old, new = read_file(shared(MO), ["Mo"]), read_file(back, ["Mo"])
        np.testing.assert_array_equal(old.coefficients(), new.coefficients())
        assert old.scaling == new.scaling and old.min_dist == new.min_dist and old.elements == new.elements
        np.testing.assert_array_equal(old.moments.times, new.moments.times)


def test_an_active_set_is_kept_made_and_dropped(cli, tmp_path):
    atoms = crystal()
    copy = tmp_path / "copy.almtp"
    assert cli("convert", shared(ALMTP), copy)[0] == 0
    grades = []
    for path in (shared(ALMTP), copy):
        calc = get_calculator(path, elements="Cu", device="cpu", threads=1)
        calc.get_potential_energy(atoms)
        grades.append(calc.results["extrapolation_grade"])
    assert grades[0] == grades[1]
    code, out, _ = cli("convert", copy, tmp_path / "bare.mtp")
    assert code == 0 and "holds an active set, which a .mtp cannot" in out
    assert read_file(tmp_path / "bare.mtp", ["Cu"]).active is None
    for mode in ("neighbourhood", "configuration"):
        made = tmp_path / f"{mode}.almtp"
        code, out, err = cli("convert", shared(CU8), made, "--training", shared(TRAIN), "-o", f"grade={mode}")
        assert code == 0, err
        assert f"grade of a {mode}" in out
        here = get_calculator("mtp", shared(CU8), "Cu", "cpu", threads=1, training=str(shared(TRAIN)), grade=mode)
        there = get_calculator(made, elements="Cu", device="cpu", threads=1)
        a, b = (c.evaluate([atoms], ["extrapolation_grade"])[0]["extrapolation_grade"] for c in (here, there))
        assert a == pytest.approx(b, rel=1e-12)


def test_structures_there_and_back(cli, tmp_path):
    """.cfg -> .extxyz -> .cfg: positions, energies, forces, stresses."""
    xyz, cfg = tmp_path / "train.extxyz", tmp_path / "train.cfg"
    code, out, _ = cli("convert", shared(TRAIN), xyz, "--elements", "Cu")
    assert code == 0 and "10 structures" in out
    code, out, _ = cli("convert", xyz, cfg)
    assert code == 0 and "types: 0 = Cu (order of appearance; --elements sets it)" in out
    first, middle, last = read_frames(shared(TRAIN), ["Cu"]), read(xyz, ":"), read_frames(cfg, ["Cu"])
    assert len(first) == len(middle) == len(last) == 10
    for a, b, c in zip(first, middle, last, strict=True):
        for other in (b, c):
            np.testing.assert_allclose(other.positions, a.positions, atol=1e-7)
            np.testing.assert_allclose(other.cell.array, a.cell.array, atol=1e-7)
            assert other.get_potential_energy() == pytest.approx(a.get_potential_energy(), abs=1e-7)
            np.testing.assert_allclose(other.get_forces(), a.get_forces(), atol=1e-7)
            np.testing.assert_allclose(other.get_stress(), a.get_stress(), atol=1e-7)


def test_order_of_the_types(cli, tmp_path):
    salt = Atoms("ClNa", [[0, 0, 0], [0, 0, 2.8]], cell=[6, 6, 6], pbc=True)
    write(tmp_path / "a.extxyz", salt)
    code, out, _ = cli("convert", tmp_path / "a.extxyz", tmp_path / "a.cfg", "-e", "Na,Cl")
    assert code == 0 and "types: 0 = Na, 1 = Cl" in out and "order of appearance" not in out
    (back,) = read_frames(tmp_path / "a.cfg", ["Na", "Cl"])
    assert back.get_chemical_symbols() == ["Cl", "Na"]


def test_data_are_packed_by_their_name(cli, tmp_path):
    packed = tmp_path / "a.cfg.xz"
    assert cli("convert", shared(TRAIN), packed, "-e", "Cu")[0] == 0
    assert packed.read_bytes()[:4] == b"\xfd7zX" and len(read_frames(packed, ["Cu"])) == 10


@pytest.mark.parametrize("name", ["old.extxyz", "old.traj", "old.cfg"])
def test_a_file_survives_when_its_replacement_cannot_be_written(tmp_path, name):
    file, good = tmp_path / name, crystal()
    write_frames([good], file, ["Cu"])
    before = file.read_bytes()
    with pytest.raises((DataError, ValueError, AttributeError)):
        write_frames([good, "no structure"], file, ["Cu"])
    assert file.read_bytes() == before and [p.name for p in tmp_path.iterdir()] == [name]


def test_damaged_data_are_no_fault_of_the_model(cli, tmp_path):
    """Exit code 1 as for any other data, not 3."""
    (tmp_path / "cut.cfg").write_text(shared(TRAIN).read_text()[:3000])
    for words in (
        ["convert", tmp_path / "cut.cfg", tmp_path / "b.extxyz"],
        ["fit", "mtp", "--train", tmp_path / "cut.cfg"],
    ):
        code, _, err = cli(*words, "-e", "Cu")
        assert code == 1 and err.startswith("DataError: ") and "cut.cfg, line 56: configuration 3" in err


WRONG = {
    "no such source": (["absent.mtp", "b.almtp"], 3, "absent.mtp.*does not exist"),
    "no such data": (["absent.cfg", "b.extxyz"], 1, "absent.cfg is not there"),
    "potential into data": ([MO, "b.extxyz"], 1, r"b\.extxyz is no name for a moment tensor potential.*\.almtp"),
    "data into a potential": ([TRAIN, "b.mtp", "-e", "Cu"], 1, r"b\.mtp cannot be written; name an \.extxyz.*\.cfg"),
    "data without elements": ([TRAIN, "b.extxyz"], 1, "elements"),
    "active set into .mtp": ([CU8, "b.mtp", "--training", TRAIN], 1, "cannot hold an active set.*write an .almtp"),
    "training of data": ([TRAIN, "b.extxyz", "-e", "Cu", "--training", TRAIN], 1, "--training belongs to the conv"),
    "mode without training": ([CU8, "b.almtp", "-o", "grade=configuration"], 1, "give --training"),
    "unknown mode": ([CU8, "b.almtp", "--training", TRAIN, "-o", "grade=both"], 1, "grade is 'both'; allowed are"),
    "unknown option": ([CU8, "b.almtp", "-o", "level=8"], 1, "no option 'level'.*grade"),
    "onto itself": (["a.mtp", "a.mtp"], 1, "same file"),
    "a folder that is not there": ([MO, "no/b.almtp"], 1, "in a folder that exists"),
    "family that cannot": (["x.snap", "y.snap"], 1, "'snap' cannot be converted; families whose files can: mtp"),
    "untrained": ([f"{FOLDER}/untrained_mlip2/08.mtp", "b.almtp"], 3, "calczoo fit mtp"),
    "wrong count": ([QUATERNARY, "b.almtp", "-e", "Mo,Nb"], 1, "4 species"),
}  # fmt: skip


@pytest.mark.parametrize("case", WRONG)
def test_wrong_conversions_are_told(cli, tmp_path, monkeypatch, case):
    arguments, code, message = WRONG[case]
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.mtp").write_text("MTP\n")
    got, _, err = cli("convert", *(shared(a) if a.startswith(FOLDER) else a for a in arguments))
    assert got == code and re.search(message, err), err
    assert not (tmp_path / "b.almtp").exists() and not (tmp_path / "b.mtp").exists()


# -- select --------------------------------------------------------------------------------------------------


@pytest.fixture
def trajectory(tmp_path):
    """Structures near those of the training set, and strained ones further and further away."""
    frames = [a.copy() for a in read_frames(shared(TRAIN), ["Cu"])]
    frames += [crystal(scale=s, seed=k) for k, s in enumerate((1.0, 0.97, 0.94, 0.9, 0.86))]
    write(tmp_path / "traj.extxyz", frames)
    return tmp_path / "traj.extxyz"


@pytest.mark.parametrize("suffix", ["cfg", "extxyz"])
def test_select_from_a_trajectory(cli, tmp_path, trajectory, suffix):
    """What is chosen covers the rest: with it in the training set no other structure exceeds the threshold."""
    out = tmp_path / f"selected.{suffix}"
    command = ["select", f"mtp:{shared(CU8)}", "-e", "Cu", "--from", trajectory, "--training", shared(TRAIN)]
    data = as_json(cli(*command, "--threshold", "2", "--out", out, "--json"))
    frames, chosen = read(trajectory, ":"), data["selected"]
    assert data["candidates"] == len(frames) == len(data["grades"]) and 0 < len(chosen) < 6
    assert min(chosen) >= 10, "nothing of the training set itself"
    assert all(data["grades"][k] > 2 for k in chosen) and data["covered"] <= 2.0
    written = read_frames(out, ["Cu"])
    assert len(written) == len(chosen)
    for atoms, k in zip(written, chosen, strict=True):
        np.testing.assert_allclose(atoms.positions, frames[k].positions, atol=1e-6)
    both = [*read_frames(shared(TRAIN), ["Cu"]), *written]
    calc = get_calculator("mtp", shared(CU8), "Cu", "cpu", threads=1, training=both)
    grades = [r["extrapolation_grade"] for r in calc.evaluate(frames, ["extrapolation_grade"])]
    assert max(grades) < 2.5


def test_select_with_the_active_set_of_the_file(cli, tmp_path, trajectory):
    out = tmp_path / "selected.extxyz"
    command = ["select", f"mtp:{shared(ALMTP)}", "-e", "Cu", "--from", trajectory, "--from", trajectory, "--out", out]
    code, text, err = cli(*command)
    assert code == 0, err
    assert "30 candidates" in text and f"written: {out}" in text and "largest grade of the others" in text
    calc = get_calculator(shared(ALMTP), elements="Cu", device="cpu", threads=1)
    data = as_json(cli(*command, "--json"))
    want = [r["extrapolation_grade"] for r in calc.evaluate(read(trajectory, ":"), ["extrapolation_grade"])]
    np.testing.assert_allclose(data["grades"][:15], want, rtol=1e-6)
    limited = as_json(cli(*command, "--limit", "1", "--json"))
    assert len(limited["selected"]) == 1 and limited["covered"] >= data["covered"] and "limit is 1" in str(limited)
    assert len(read(out, ":")) == 1


def test_nothing_to_select(cli, tmp_path):
    write_frames(read_frames(shared(TRAIN), ["Cu"]), tmp_path / "same.cfg", ["Cu"])
    command = ["select", f"mtp:{shared(CU8)}", "-e", "Cu", "--from", tmp_path / "same.cfg", "--training", shared(TRAIN)]
    code, text, err = cli(*command, "--out", tmp_path / "none.cfg")
    assert code == 0 and "0 selected" in text and "nothing written" in text, err
    assert not (tmp_path / "none.cfg").exists()


@pytest.mark.parametrize("flag", ["--from", "--training"])
def test_select_does_not_write_over_what_it_reads(cli, tmp_path, trajectory, flag):
    known = tmp_path / "known.extxyz"
    write_frames(read_frames(shared(TRAIN), ["Cu"]), known)
    files = {"--from": trajectory, "--training": known}
    before = files[flag].read_bytes()
    words = [str(w) for pair in files.items() for w in pair]
    code, _, err = cli("select", f"mtp:{shared(CU8)}", "-e", "Cu", *words, "--out", files[flag])
    assert code == 1 and f"{files[flag]} is a file that is read, and would be lost" in err
    assert files[flag].read_bytes() == before


def test_a_training_set_among_the_options_is_used(cli, tmp_path, trajectory):
    """Not the active set of the file, and not nothing."""
    command = ["select", f"mtp:{shared(CU8)}", "-e", "Cu", "--from", trajectory, "--out", tmp_path / "s.cfg", "--json"]
    one = as_json(cli(*command, "--training", shared(TRAIN)))
    other = as_json(cli(*command, "-o", f"training={shared(TRAIN)}"))
    assert one["selected"] == other["selected"] and one["grades"] == other["grades"]
    code, _, err = cli(*command, "--training", shared(TRAIN), "-o", f"training={shared(TRAIN)}")
    assert code == 1 and "given twice" in err


@pytest.mark.parametrize("given", [(), ("-e", "Ni,Al,Co")])
def test_selected_structures_have_the_types_of_the_potential(cli, tmp_path, given):
    """The card beside a potential names the order of its types, whatever order elements have elsewhere."""
    from calczoo.files.cards import write_card

    (tmp_path / "m.mtp").write_bytes(shared(f"{FOLDER}/motep_tests/multi/10/pot.mtp").read_bytes())
    frames = read_frames(shared(f"{FOLDER}/motep_tests/multi/training.cfg.xz"), ["Al", "Ni", "Co"])
    params = read_file(tmp_path / "m.mtp", ["Al", "Ni", "Co"])
    write_card(params.card(), tmp_path / "m.json")
    order = [a[::-1] for a in frames[40:44]]  # cobalt comes first in these
    assert order[0].get_chemical_symbols()[0] == "Co"
    write_frames(order, tmp_path / "cand.extxyz")
    write_frames(order, tmp_path / "cand.cfg", ["Al", "Ni", "Co"])
    write_frames(frames[:20], tmp_path / "known.cfg", ["Al", "Ni", "Co"])
    command = ["select", f"mtp:{tmp_path / 'm.mtp'}", *given, "--training", tmp_path / "known.cfg"]
    for name in ("cand.extxyz", "cand.cfg"):
        data = as_json(cli(*command, "--from", tmp_path / name, "--out", tmp_path / "sel.cfg", "--json"))
        assert data["selected"]
        for k, atoms in zip(data["selected"], read_frames(tmp_path / "sel.cfg", ["Al", "Ni", "Co"]), strict=True):
            assert atoms.get_chemical_symbols() == order[k].get_chemical_symbols()


WRONG_SELECTIONS = {
    "grades off": ([f"mtp:{ALMTP}", "-e", "Cu", "-o", "grade=off"], 1, "grade is off, but structures are selected by"),
    "no active set": (
        [f"mtp:{CU8}", "-e", "Cu"],
        1,
        "no active set to select by.*--training train.cfg.*calczoo convert",
    ),
    "no grades in the family": (["snap:Mo"], 1, "'snap' has no extrapolation grade to select by; .*mtp"),
    "a sum": ([f"mtp:{ALMTP} + zbl(1,2)", "-e", "Cu"], 1, "is a sum; grades belong to a single potential"),
    "threshold": ([f"mtp:{ALMTP}", "-e", "Cu", "--threshold", "0.5"], 1, "threshold is 0.5; it must be a grade of at"),
    "limit": ([f"mtp:{ALMTP}", "-e", "Cu", "--limit", "0"], 1, "limit is 0"),
    "target": ([f"mtp:{ALMTP}", "-e", "Cu", "--out", "a.cif"], 1, r"a\.cif cannot be written; name an \.extxyz"),
    "elements": ([f"mtp:{QUATERNARY}", "-e", "Mo,Nb,Ta,W", "--training", TRAIN], 1, "holds Cu, which mtp:.*know"),
}


@pytest.mark.parametrize("case", WRONG_SELECTIONS)
def test_wrong_selections_are_told(cli, tmp_path, monkeypatch, case):
    arguments, code, message = WRONG_SELECTIONS[case]
    monkeypatch.chdir(tmp_path)
    write("traj.extxyz", crystal())
    words = []
    for a in arguments:
        prefix, _, rest = a.partition(":")
        spot = rest.split(" ")[0]
        words.append(f"{prefix}:{shared(spot)}{rest[len(spot) :]}" if spot.startswith(FOLDER) else a)
    words = [shared(w) if w.startswith(FOLDER) else w for w in words]
    got, _, err = cli("select", *words, "--from", "traj.extxyz")
    assert got == code and re.search(message, err), err
    got, _, err = cli("select", f"mtp:{shared(ALMTP)}", "-e", "Cu", "--from", "absent.extxyz")
    assert got == 1 and "absent.extxyz is not there" in err


# -- thresholds in molecular dynamics ------------------------------------------------------------------------


def run_md(cli, tmp_path, *more):
    write(tmp_path / "start.extxyz", crystal())
    file = tmp_path / "pre.extxyz"
    command = ["run", "md", f"mtp:{shared(ALMTP)}", tmp_path / "start.extxyz", "-e", "Cu", "--steps", "60"]
    return cli(*command, "--temperature", "3000", "--grade-out", file, "--threads", "1", *more), file


def test_md_saves_and_stops(cli, tmp_path):
    answer, file = run_md(cli, tmp_path, "--json")
    data = as_json(answer)
    assert answer[0] == 0 and "largest_grade" not in data and not file.exists()
    start = data["extrapolation_grade"]
    answer, file = run_md(cli, tmp_path, "--grade-save", "1e-3", "--json")
    data = as_json(answer)
    assert answer[0] == 0 and data["frames_saved"] == 61 == len(read(file, ":")) and not data["stopped"]
    assert data["saved_to"] == str(file) and data["largest_grade"] >= start
    first = read(file, ":")[0].info["extrapolation_grade"]
    largest = data["largest_grade"]
    file.unlink()
    stop = first + 0.5 * (largest - first)
    out = tmp_path / "run.traj"
    more = ["--grade-save", str(first), "--grade-stop", str(stop), "--out", out, "--every", "1"]
    answer, file = run_md(cli, tmp_path, *more, "--json")
    data = as_json(answer)
    assert answer[0] == 2 and data["stopped"] and data["steps"] < 60 and "stopped at step" in answer[2]
    saved = read(file, ":")
    assert len(saved) == data["frames_saved"] and saved[-1].info["extrapolation_grade"] > stop
    assert len(read(out, ":")) == data["steps"] + 1, "the trajectory holds the step that stopped the run"
    code, text, _ = run_md(cli, tmp_path, "--grade-stop", str(stop))[0]
    assert code == 2 and "largest_grade" in text and "stopped  True" in text


def test_md_thresholds_need_grades(cli, tmp_path):
    code, _, err = cli("run", "md", "snap:Mo", "--proto", "Mo:bcc", "--steps", "2", "--grade-stop", "10")
    assert code == 1 and "gives no extrapolation grade" in err and ".almtp" in err
    answer, _ = run_md(cli, tmp_path, "--grade-save", "5", "--grade-stop", "2")
    assert answer[0] == 1 and "save is 5 and stop 2" in answer[2]
    answer, _ = run_md(cli, tmp_path, "--grade-save", "-1")
    assert answer[0] == 1 and "positive grade" in answer[2]


def test_singlepoint_tells_the_grade(cli, tmp_path):
    write(tmp_path / "a.extxyz", crystal())
    out = tmp_path / "b.extxyz"
    data = as_json(cli("run", "singlepoint", shared(ALMTP), tmp_path / "a.extxyz", "-e", "Cu", "--out", out, "--json"))
    assert data["extrapolation_grade"] > 0
    assert read(out).info["extrapolation_grade"] == pytest.approx(data["extrapolation_grade"], rel=1e-6)


# -- the README ----------------------------------------------------------------------------------------------


def test_the_readme_does_what_it_says(cli, tmp_path, monkeypatch):
    """The section on moment tensor potentials, run as it stands, with a small potential and training set."""
    section = (ROOT / "README.md").read_text(encoding="utf-8").partition("## Moment tensor potentials")[2]
    section = section.partition("\n## ")[0]
    monkeypatch.chdir(tmp_path)
    (tmp_path / "Cu.mtp").write_bytes(shared(CU8).read_bytes())
    (tmp_path / "train.cfg").write_bytes(shared(TRAIN).read_bytes())
    write("start.extxyz", crystal(scale=0.97))
    (python,) = re.findall(r"```python\n(.*?)```", section, re.DOTALL)
    exec(compile(python.replace("dyn.run(100)", "dyn.run(5)"), "README.md", "exec"), {})
    lines = [x.partition("#")[0].split() for x in re.findall(r"```bash\n(.*?)```", section, re.DOTALL)[0].splitlines()]
    convert_first = sorted(lines, key=lambda words: "--training" not in words)
    for words in convert_first:
        assert words[0] == "calczoo"
        code, out, err = cli(*words[1:])
        assert code in (0, 2), err
    assert (tmp_path / "train.extxyz").exists() and (tmp_path / "run.traj").exists()
    assert get_calculator("Cu.almtp", elements="Cu").card.extra["grade"] == "neighbourhood"


# -- training ------------------------------------------------------------------------------------------------


def test_fit_from_cfg_to_a_graded_potential(cli, tmp_path):
    """From .cfg data to a file for LAMMPS; the card beside it names the elements, so that nobody else need."""
    stem = tmp_path / "mine"
    quick = ["-o", "starts=1", "-o", "iterations=2", "-o", "cutoff=5"]
    command = ["fit", "mtp", "--level", "4", "--train", shared(TRAIN), "-e", "Cu", "--out", f"{stem}.mtp", *quick]
    data = as_json(cli(*command, "--json"))
    assert data["settings"]["level"] == 4 and f"{stem}.mtp" in data["files"]
    assert "mtp-filename  mine.mtp" in (tmp_path / "mine.lammps.txt").read_text()
    code, out, err = cli("run", "singlepoint", f"{stem}.mtp", "--proto", "Cu:fcc")
    assert code == 0 and "energy_eV" in out, err
    code, out, err = cli("convert", f"{stem}.mtp", f"{stem}.almtp", "--training", shared(TRAIN))
    assert code == 0 and "type 0 = Cu" in out, err
    code, _, err = cli(*command, "-o", "level=6")
    assert code == 1 and "level is given twice" in err
    code, _, err = cli("fit", "mtp", "--train", shared(TRAIN), "--out", f"{stem}2")
    assert code == 1 and "elements" in err
    code, _, err = cli("fit", "snap", "--level", "4", "--train", shared(TRAIN), "-e", "Cu", "--out", f"{stem}2")
    assert code == 1 and "level" in err
