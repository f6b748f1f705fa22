"""The command line with neural network potentials: folders, units, committees, files of structures of RuNNer."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
from ase.build import bulk
from ase.io import read, write

from calczoo import get_calculator
from calczoo.cli import execute
from data import mlearn, shared

FOLDER = "data/hdnnp"
MO = f"{FOLDER}/mlearn_nnp/Mo"
CHAIN = f"{FOLDER}/n2p2/nnp-predict_4G/Carbon_chain_4G"
RUNNER = ("-o", "length_unit=Bohr", "-o", "energy_unit=Ha")
KEYS = {"length_unit": "Bohr", "energy_unit": "Ha", "device": "cpu", "threads": 1}


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


@pytest.fixture
def many(tmp_path):
    """A committee of two whose second member differs by its output's bias."""
    for k in range(2):
        shutil.copytree(shared(MO), tmp_path / "many" / f"member_{k}")
    file = tmp_path / "many" / "member_1" / "weights.042.data"
    lines = file.read_text().splitlines()
    words = lines[3].split()
    lines[3] = " ".join([str(float(words[0]) + 0.05), *words[1:]])
    file.write_text("\n".join(lines) + "\n")
    return tmp_path / "many"


def test_family_and_card(cli, monkeypatch):
    code, out, _ = cli("info", "hdnnp")
    assert code == 0 and "length_unit" in out and "input.data" in out and "read_frames" not in out
    assert "hdnnp" in cli("list", "--can", "electronegativities")[1]
    card = as_json(cli("info", f"hdnnp:{shared(MO)}", *RUNNER, "--json"))["card"]
    assert card["elements"] == ["Mo"] and card["extra"]["energy_unit"] == "Hartree"
    monkeypatch.chdir(shared(MO).parent)
    for name in ("hdnnp:./Mo", "Mo/input.nn", "./Mo"):
        assert as_json(cli("info", name, *RUNNER, "--json"))["card"] == card
    assert as_json(cli("info", "hdnnp", "-m", "./Mo", *RUNNER, "--json"))["card"] == card


def test_a_folder_was_no_family(cli, monkeypatch, tmp_path):
    """A bare word is a family, though a folder is called so."""
    shutil.copytree(shared(MO), tmp_path / "mine")
    monkeypatch.chdir(tmp_path)
    code, _, err = cli("info", "mine", *RUNNER)
    assert code == 1 and "the folder of that name, of hdnnp, is './mine'" in err
    assert cli("info", "hdnnp:mine", *RUNNER)[0] == 0


def test_units_are_asked_for(cli):
    code, out, err = cli("info", f"hdnnp:{shared(MO)}")
    assert code == 1 and not out and "length_unit=" in err and "5.2 A if it is in Bohr" in err
    wrong = as_json(cli("info", f"hdnnp:{shared(MO)}", "-o", "length_unit=Bohr", "-o", "energy_unit=cal", "--json"))
    assert wrong["error"]["type"] == "OptionError" and "energy_unit is 'cal'" in wrong["error"]["message"]


def test_wrong_topology_and_its_way_out(cli):
    code, _, err = cli("info", f"hdnnp:{shared(CHAIN)}", *RUNNER)
    assert code == 3 and "weights.001.data: holds 381 numbers" in err and 'nodes="10 10"' in err
    for nodes in ("10-10", "10 10"):
        assert cli("info", f"hdnnp:{shared(CHAIN)}", *RUNNER, "-o", f"nodes={nodes}")[0] == 0


def test_singlepoint_with_charges(cli, tmp_path):
    """Charges, dipole and electronegativities are printed and written; the total charge comes with the file."""
    assert cli("convert", shared(f"{CHAIN}/input.data"), tmp_path / "chain.extxyz", *RUNNER)[0] == 0
    atoms = read(tmp_path / "chain.extxyz")
    atoms.info["charge"] = 1.0
    write(tmp_path / "ion.extxyz", atoms)
    options = (*RUNNER, "-o", "nodes=10-10", "--out", tmp_path / "out.extxyz", "--json")
    for name, total in (("chain", 0.0), ("ion", 1.0)):
        data = as_json(cli("run", "singlepoint", f"hdnnp:{shared(CHAIN)}", tmp_path / f"{name}.extxyz", *options))
        assert sum(data["charges_e"]) == pytest.approx(total, abs=1e-9)
        assert len(data["electronegativities_eV_per_e"]) == len(atoms)
        back = read(tmp_path / "out.extxyz")
        assert back.get_charges().sum() == pytest.approx(total, abs=1e-6)
        assert back.arrays["electronegativities"].shape == (len(atoms),)


def test_convert_units(cli, tmp_path):
    to = ("-o", "to_length_unit=A", "-o", "to_energy_unit=eV")
    code, out, _ = cli("convert", shared(MO), tmp_path / "Mo", *RUNNER, *to)
    assert code == 0 and "lengths in Angstrom, energies in eV" in out and "input.nn" in out
    atoms = bulk("Mo", cubic=True).repeat(2)
    atoms.rattle(0.05, seed=1)
    new = get_calculator("hdnnp", tmp_path / "Mo", device="cpu", threads=1).evaluate([atoms])[0]
    old = get_calculator("hdnnp", shared(MO), **KEYS).evaluate([atoms])[0]
    assert new["energy"] == pytest.approx(old["energy"], rel=1e-12)
    np.testing.assert_allclose(new["forces"], old["forces"], atol=1e-10)
    code, _, err = cli("convert", shared(MO), tmp_path / "Mo.extxyz", *RUNNER)
    assert code == 1 and "a neural network potential is a folder" in err


def test_convert_structures(cli, tmp_path):
    source, target = shared(f"{CHAIN}/input.data"), tmp_path / "input.data"
    code, _, err = cli("convert", source, tmp_path / "a.extxyz")
    assert code == 1 and "carry no units" in err and "--option length_unit=Bohr" in err
    assert cli("convert", source, target, *RUNNER, "-o", "to_length_unit=A", "-o", "to_energy_unit=eV")[0] == 0
    assert target.read_text().splitlines()[1] == "comment calczoo: units Angstrom eV"
    code, out, _ = cli("convert", target, tmp_path / "a.extxyz")
    assert code == 0 and "1 structures" in out
    code, out, _ = cli("convert", tmp_path / "a.extxyz", tmp_path / "b_input.data")
    assert code == 0 and "types" not in out
    assert "comment calczoo: units Bohr Hartree" in (tmp_path / "b_input.data").read_text()
    code, _, err = cli("convert", target, tmp_path / "water.data")
    assert code == 1 and "input.data file" in err


def test_committee(cli, many, tmp_path):
    """Its mean, its spread, and a run that is watched."""
    card = as_json(cli("info", f"hdnnp:{many}", *RUNNER, "--json"))["card"]
    assert card["extra"]["members"] == ["hdnnp:member_0", "hdnnp:member_1"] and "uncertainty" in card["outputs"]
    common = ("--proto", "Mo:bcc", "--supercell", "2", *RUNNER, "--json")
    one = as_json(cli("run", "singlepoint", f"hdnnp:{many}", *common))
    two = as_json(cli("run", "singlepoint", "hdnnp", "-m", many / "member_0", "-m", many / "member_1", *common))
    assert one["energy_eV"] == two["energy_eV"] and one["uncertainty_eV_per_atom"] > 1e-6
    watched = ("--steps", "3", "--grade-by", "uncertainties", "--grade-out", tmp_path / "s.extxyz")
    data = as_json(cli("run", "md", f"hdnnp:{many}", *common, *watched, "--grade-save", "1e-9", "--grade-stop", "1e3"))
    assert data["frames_saved"] >= 3 and not data["stopped"] and data["largest_grade"] > 0
    frames = read(tmp_path / "s.extxyz", index=":")
    assert "uncertainty" in frames[-1].info and "uncertainties" in frames[-1].arrays
    code, _, err = cli("run", "md", f"hdnnp:{shared(MO)}", *common[:-1], *watched, "--grade-stop", "1")
    assert code == 1 and "gives no uncertainties; committees do" in err


def test_check(cli):
    arguments = (f"hdnnp:{shared(MO)}", *RUNNER, "-o", "extrapolation=ignore", "--only", "forces", "--only", "stress")
    report = as_json(cli("check", *arguments, "--quick", "--json"))
    assert {c["name"]: c["grade"] for c in report["results"]} == {"forces": "A", "stress": "A"}


def test_fit_options_are_passed_on(cli, monkeypatch, tmp_path):
    """--generation and the units of the training set: the first goes to the fit, the others to the reader."""
    import calczoo.fitting

    seen = {}

    def stop(*arguments, **options):
        seen.update(options)
        raise OSError("far enough")

    monkeypatch.setattr(calczoo.fitting, "run_fit", stop)
    cli("fit", "hdnnp", "--train", shared(f"{CHAIN}/input.data"), *RUNNER, "--generation", "4", "--out", tmp_path / "m")
    assert seen["options"] == {"length_unit": "Bohr", "energy_unit": "Ha", "generation": 4}
    code, _, err = cli("fit", "hdnnp", "--train", "x", "--generation", "4", "-o", "generation=2")
    assert code == 1 and "generation is given twice" in err


def test_fit_a_committee_and_use_it(cli, tmp_path):
    """input.data in other units -> a folder of members, which needs no options any more."""
    frames = [a for a in mlearn("Mo", "train") if len(a) < 30][:6]
    write(tmp_path / "train.extxyz", frames)
    assert cli("convert", tmp_path / "train.extxyz", tmp_path / "input.data")[0] == 0
    small = ("functions=6", "nodes=4", "epochs=1", "committee=2", "cutoff=4.5")
    options = [x for pair in small for x in ("-o", pair)]
    data = as_json(cli("fit", "hdnnp", "--train", tmp_path / "input.data", *options, "--generation", "2",
                       "--out", tmp_path / "mine", "--json"))  # fmt: skip
    assert len(data["files"]) == 8 and (tmp_path / "mine" / "member_1" / "input.nn").is_file()
    one = as_json(cli("run", "singlepoint", tmp_path / "mine", tmp_path / "train.extxyz", "--json"))
    assert one["uncertainty_eV_per_atom"] >= 0.0
    card = as_json(cli("info", f"hdnnp:{tmp_path / 'mine'}", "--json"))["card"]
    assert len(card["extra"]["members"]) == 2 and "input.data: 6 structures" in card["training_data"]
    code, _, err = cli("fit", "hdnnp", "--train", tmp_path / "input.data", "--generation", "5", "--out", tmp_path / "x")
    assert code == 1 and "generation is 5; allowed are 2, 3 and 4" in err
