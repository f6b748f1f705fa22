"""The command line: exit codes, pure JSON, one clear line for an error."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import numpy as np
import pytest
from ase.build import bulk
from ase.io import read, write

import calczoo
from calczoo.cli import execute
from calczoo.registry import BUILTIN
from data import lammps_potential

ZBL = ["zbl(2.0, 3.0)", "-e", "Cu"]
CRYSTAL = ["--proto", "Cu:fcc:3.0", "--supercell", "2"]


@pytest.fixture
def cli(capfd):
    """cli(*arguments) -> (exit code, stdout, stderr)."""

    def run(*arguments: str):
        code = execute(list(arguments))
        out, err = capfd.readouterr()
        return code, out, err

    return run


def as_json(answer) -> dict:
    code, out, err = answer
    assert out.count("\n") == 1, out
    return json.loads(out)


def test_list(cli):
    code, out, _ = cli("list")
    assert code == 0 and all(name in out for name in BUILTIN)
    names = [c["name"] for c in as_json(cli("list", "--json"))["calculators"]]
    assert names == calczoo.list_calculators()
    filtered = [c["name"] for c in as_json(cli("list", "z*", "--json", "--elements", "Cu"))["calculators"]]
    assert filtered == ["zbl"]
    code, out, _ = cli("list", "nothing-like-this")
    assert code == 0 and "nothing matches" in out


@pytest.mark.parametrize("family", BUILTIN)
def test_info_of_a_family(cli, family):
    code, out, _ = cli("info", family)
    assert code == 0 and "citation" in out and family in out
    assert as_json(cli("info", family, "--json"))["family"]["name"] == family


def test_info_of_a_model(cli):
    file = str(lammps_potential("Si.sw"))
    code, out, _ = cli("info", f"sw:{file}")
    assert code == 0 and "sha256" in out and "Si" in out
    card = as_json(cli("info", "sw", "--model", file, "--json"))["card"]
    assert card["elements"] == ["Si"] and card["family"] == "sw"


def test_doctor(cli):
    code, out, _ = cli("doctor")
    assert code == 0 and "torch" in out and "threads" in out and "BROKEN" not in out
    data = as_json(cli("doctor", "--json"))
    assert data["devices"]["ok"] and data["versions"]["numpy"] == np.__version__
    assert {f["name"] for f in data["families"]} >= set(BUILTIN)


def test_doctor_shows_the_traceback_of_a_broken_plugin(cli, tmp_path, monkeypatch):
    info = tmp_path / "brokenpack-2.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: brokenpack\nVersion: 2.0\n")
    (info / "entry_points.txt").write_text("[calczoo]\nbroken = module_that_is_broken\n")
    (tmp_path / "module_that_is_broken.py").write_text("raise SystemError('no such chip')\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    code, out, _ = cli("doctor")
    assert code == 2 and "SystemError: no such chip" in out and "brokenpack 2.0" in out and "Traceback" in out
    code, _, err = cli("info", "broken")
    assert code == 3 and err.startswith("PluginError: plug-in 'broken' of brokenpack 2.0")


def test_singlepoint_equals_python(cli, tmp_path):
    atoms = bulk("Cu", "fcc", a=3.0).repeat(2)
    atoms.rattle(0.1, seed=1)
    write(tmp_path / "in.extxyz", atoms)
    atoms.calc = calczoo.get_calculator("zbl(2.0, 3.0)", elements="Cu")
    out = tmp_path / "out.extxyz"
    data = as_json(cli("run", "singlepoint", *ZBL, str(tmp_path / "in.extxyz"), "--json", "--out", str(out)))
    assert data["energy_eV"] == pytest.approx(atoms.get_potential_energy(), abs=1e-7)
    np.testing.assert_allclose(data["forces_eV_per_A"], atoms.get_forces(), atol=1e-6)
    np.testing.assert_allclose(read(out).get_stress(), atoms.get_stress(), atol=1e-7)
    code, text, _ = cli("run", "singlepoint", *ZBL, str(tmp_path / "in.extxyz"))
    assert code == 0 and "energy_per_atom_eV" in text


def test_relax(cli, tmp_path):
    out = tmp_path / "relaxed.traj"
    data = as_json(cli("run", "relax", *ZBL, *CRYSTAL, "--cell", "--json", "--out", str(out)))
    assert data["converged"] and data["energy_change_eV"] < 0 and len(read(out, ":")) == 1
    code, text, _ = cli("run", "relax", *ZBL, "--proto", "Cu:fcc:2.2", "--cell", "--steps", "1", "--fmax", "1e-9")
    assert code == 2 and "converged  False" in text


@pytest.mark.parametrize("ensemble", ["nve", "nvt", "npt"])
def test_md(cli, tmp_path, ensemble):
    for name in ("run.traj", "run.extxyz"):
        out = tmp_path / name
        options = ["--steps", "20", "--timestep", "0.5", "--ensemble", ensemble, "--every", "10", "--out", str(out)]
        answer = cli("run", "md", *ZBL, *CRYSTAL, *options, "--json")
        data = as_json(answer)
        assert data["steps"] == 20 and data["time_ps"] == pytest.approx(0.01) and data["us_per_atom_step"] > 0
        frames = read(out, ":")
        assert len(frames) == 3 and frames[-1].get_forces().shape == (8, 3)
        if ensemble == "nve":
            assert abs(data["total_energy_change_eV_per_atom"]) < 1e-3


def test_check(cli):
    names = ["--only", "forces", "--only", "extensivity"]
    data = as_json(cli("check", *ZBL, *names, "--quick", "--json"))
    assert data["ok"] and {r["name"] for r in data["results"]} == {"forces", "extensivity"}
    code, out, _ = cli("check", *ZBL, *names, "--quick")
    assert code == 0 and "forces" in out
    foreign = ["check", "--ase", "ase.calculators.emt:EMT", "-e", "Cu", "--only", "dimer", "--quick"]
    code, out, _ = cli(*foreign)  # EMT's forces jump at its cutoff
    assert code == 3 and "jumps" in out
    code, out, _ = cli(*foreign, "--only", "extensivity", "--kwargs", '{"asap_cutoff": true}')
    assert code in (0, 2)


EMT = ["--ase", "ase.calculators.emt:EMT"]


def test_validate(cli, tmp_path):
    command = ["validate", "lattice", "--proto", "Cu:fcc", "--mode", "smoke", *EMT]
    code, out, _ = cli(*command, "--out", str(tmp_path / "report"))
    assert code == 0 and "report.html" in out and (tmp_path / "report" / "report.html").is_file()
    data = as_json(cli(*command, "--json"))
    assert data["status"] == "ok" and data["structure"]["label"] == "Cu:fcc"


def test_validate_resumes_from_the_folder_alone(cli, tmp_path):
    folder = str(tmp_path / "report")
    command = ["validate", "elastic", "--proto", "Cu:fcc", "--mode", "smoke", *EMT, "--set", "elastic.strain=2e-3"]
    assert cli(*command, "--out", folder)[0] == 0
    before = (tmp_path / "report" / "report.html").read_bytes()
    plan = as_json(cli(*command, "--out", folder, "--dry-run", "--json"))
    assert [(i["property"], i["stored"]) for i in plan["items"]] == [("lattice", True), ("elastic", True)]
    (tmp_path / "report" / "report.html").unlink()
    assert cli("validate", "--out", folder, "--resume")[0] == 0
    assert (tmp_path / "report" / "report.html").read_bytes() == before
    code, _, err = cli("validate", "--out", str(tmp_path / "nothing"), "--resume")
    assert code == 1 and "holds no run to resume" in err


def test_validate_takes_a_file_and_the_command_line_has_the_last_word(cli, tmp_path):
    (tmp_path / "val.yml").write_text(
        "calculators: [{ase: 'ase.calculators.emt:EMT', label: mine}]\nproto: Cu:fcc\nproperties: elastic\n"
        "mode: smoke\nsettings:\n  elastic: {strain: 1e-3}\n  general: {temperature: 600}\n"
    )
    config = ["validate", "--config", str(tmp_path / "val.yml"), "--json"]
    data = as_json(cli(*config))
    assert [r["property"] for r in data["models"][0]["results"]] == ["lattice", "elastic"]
    assert data["models"][0]["label"] == "mine"
    data = as_json(cli(*config, "--set", "elastic.strain=0.002", "--proto", "Al:fcc"))
    assert data["structure"]["label"] == "Al:fcc"
    assert data["models"][0]["results"][1]["settings"]["strains"] == [0.002, 0.004]


def test_fail_on_chooses_what_counts(cli):
    command = ["validate", "lattice", "--proto", "Mo:bcc", "--mode", "smoke", *EMT]  # EMT knows no Mo
    assert cli(*command)[0] == 3
    assert cli(*command, "--fail-on", "none")[0] == 0
    assert cli(*command, "--fail-on", "failed,unstable")[0] == 0
    assert cli(*command, "--fail-on", "unsupported")[0] == 2


def test_schema_is_json_with_every_property(cli):
    import json

    code, out, _ = cli("schema")
    assert code == 0
    assert {"general", "elastic", "phonons"} <= set(json.loads(out)["properties"]["settings"]["properties"])


@pytest.fixture
def copper_data(tmp_path):
    """Copper with energies, forces and stress of ASE's EMT: (training file, test file)."""
    from ase.calculators.emt import EMT
    from ase.calculators.singlepoint import SinglePointCalculator

    frames = []
    for seed in range(14):
        atoms = bulk("Cu", cubic=True).repeat((1, 1, 2))
        atoms.rattle(0.1, seed=seed)
        atoms.set_cell(atoms.cell * (1.0 + 0.01 * (seed % 5 - 2)), scale_atoms=True)
        atoms.calc = EMT()
        known = {"energy": atoms.get_potential_energy(), "forces": atoms.get_forces(), "stress": atoms.get_stress()}
        atoms.calc = SinglePointCalculator(atoms, **known)
        frames.append(atoms)
    write(tmp_path / "train.extxyz", frames[:10])
    write(tmp_path / "test.extxyz", frames[10:])
    return str(tmp_path / "train.extxyz"), str(tmp_path / "test.extxyz")


def test_fit(cli, tmp_path, copper_data):
    """A small SNAP is fitted, written, read back and better than nothing."""
    train, test = copper_data
    command = ["fit", "snap", "--train", train, "--test", test, "-o", "twojmax=4"]
    data = as_json(cli(*command, "--out", str(tmp_path / "mine"), "--json"))
    assert data["family"] == "snap" and {"train", "test"} <= set(data["errors"])
    calc = calczoo.get_calculator("snap", str(tmp_path / "mine.snap"))
    frames = read(test, ":")
    got = calc.evaluate(frames, ("energy", "forces"))
    wrong = [np.abs(g["forces"] - a.get_forces()).mean() for g, a in zip(got, frames, strict=True)]
    assert np.mean(wrong) < 0.2 * np.mean([np.abs(a.get_forces()).mean() for a in frames])
    code, out, _ = cli(*command, "--out", str(tmp_path / "mine"))
    assert code == 0 and "mine.snapcoeff" in out and "forces" in out


WRONG = [
    (["fit", "snap"], 1, "--train"),
    (["fit", "zbl", "--train", "no_file.extxyz"], 1, "cannot be trained"),
    (["fit", "snap", "--train", "no_file.extxyz"], 1, "no_file.extxyz"),
    (["nonsense"], 1, "No such command"),
    (["list", "--colour"], 1, "--colour"),
    (["info", "snp:Mo"], 1, "did you mean 'snap'"),
    (["info", "snap:Mo + "], 1, "a term is missing"),
    (["run", "singlepoint", *ZBL], 1, "--proto"),
    (["run", "singlepoint", *ZBL, "no_file.xyz"], 1, "no_file.xyz does not exist"),
    (["run", "singlepoint", *ZBL, "--proto", "Cu"], 1, "Cu:"),
    (["run", "singlepoint", *ZBL, "--proto", "Cu:nolattice"], 1, "nolattice"),
    (["run", "singlepoint", *ZBL, "--proto", "Al:fcc"], 1, "UnsupportedElement: 'Al' (atom 0)"),
    (["run", "singlepoint", *ZBL, *CRYSTAL[:2], "--supercell", "0"], 1, "whole numbers"),
    (["run", "singlepoint", *ZBL, *CRYSTAL, "--device", "cuda:99"], 3, "BackendUnavailable"),
    (["run", "singlepoint", *ZBL, *CRYSTAL, "--dtype", "int8"], 1, "dtype"),
    (["run", "singlepoint", *ZBL, *CRYSTAL, "-o", "spam"], 1, "key=value"),
    (["run", "singlepoint", "eam:no_such.eam.alloy", *CRYSTAL], 3, "no_such.eam.alloy"),
    (["run", "md", *ZBL, *CRYSTAL, "--ensemble", "mvt"], 1, "nve, nvt and npt"),
    (["run", "md", *ZBL, *CRYSTAL, "--out", "x.bla"], 1, ".traj"),
    (["run", "md", *ZBL, *CRYSTAL, "--steps", "0"], 1, "--steps"),
    (["run", "relax", *ZBL, *CRYSTAL, "--fmax", "small"], 1, "--fmax"),
    (["check"], 1, "--ase"),
    (["check", "--ase", "ase.calculators.emt:EMT"], 1, "--elements"),
    (["check", "--ase", "no_module:X", "-e", "Cu"], 1, "no_module"),
    (["check", "--ase", "ase:Atoms", "-e", "Cu"], 1, "not an ASE calculator"),
    (["check", "--ase", "ase.calculators.emt:EMT", "-e", "Cu", "--kwargs", "{"], 1, "not JSON"),
    (["check", *ZBL, "--only", "beauty"], 1, "beauty"),
    (["validate", "--proto", "Cu:fcc"], 1, "no calculator given"),
    (["validate", "snap:Mo", "--proto", "Mo:bcc"], 1, "-c snap:Mo"),
    (["validate", *EMT], 1, "--proto"),
    (["validate", *EMT, "--proto", "Cu:fcc", "--mode", "quick"], 1, "quick"),
    (["validate", "colour", *EMT, "--proto", "Cu:fcc"], 1, "colour"),
    (["validate", "elastik", *EMT, "--proto", "Cu:fcc"], 1, "did you mean 'elastic'"),
    (["validate", *EMT, "--proto", "Cu:fcc", "--set", "elastic.strian=1e-3"], 1, "did you mean 'strain'"),
    (["validate", *EMT, "--proto", "Cu:fcc", "--engine", "slurm"], 1, "local, parsl"),
    (["validate", *EMT, "--proto", "Cu:fcc", "--fail-on", "fialed"], 1, "did you mean 'failed'"),
    (["validate", *EMT, "--proto", "Cu:fcc", "--resume"], 1, "--out"),
    (["validate", *EMT, "--structure", "nowhere.xyz"], 1, "nowhere.xyz does not exist"),
    (["validate", *EMT, "--proto", "Cu:fcc", "--config", "nowhere.yml"], 1, "nowhere.yml does not exist"),
    (["validate", *EMT, "--proto", "Cu:fcc", "--kwargs", "{"], 1, "not JSON"),
    (["validate", "--kwargs", "{}", "--proto", "Cu:fcc"], 1, "--kwargs without"),
]


@pytest.mark.parametrize(
    "arguments, expected, message", WRONG, ids=lambda x: " ".join(x) if isinstance(x, list) else ""
)
def test_wrong_use(cli, arguments, expected, message):
    code, out, err = cli(*arguments)
    assert code == expected and out == "" and message in err and "Traceback" not in err
    assert err.count("\n") == 1, "one clear line"
    answer = cli(*arguments, "--json")
    error = as_json(answer)["error"]
    assert (
        error["exit_code"] == answer[0] == expected and message in error["message"] or message.startswith(error["type"])
    )


def test_garbage_structure_file(cli, tmp_path):
    (tmp_path / "bad.cif").write_text("not a cif")
    code, out, err = cli("run", "singlepoint", *ZBL, str(tmp_path / "bad.cif"))
    assert code == 1 and "bad.cif cannot be read as a structure" in err and err.count("\n") == 1


def test_info_of_a_file_whose_suffix_tells_its_family(cli):
    file = str(lammps_potential("Si.sw"))
    assert as_json(cli("info", file, "--json"))["card"]["elements"] == ["Si"]


@pytest.mark.parametrize("arguments", [["list"], ["info", "snap"], ["list", "--json"]])
def test_a_closed_pipe_is_no_error(arguments):
    """`calczoo list | head`"""
    read_end, write_end = os.pipe()
    os.close(read_end)
    command = [sys.executable, "-m", "calczoo", *arguments]
    done = subprocess.run(command, stdout=write_end, stderr=subprocess.PIPE, text=True, env=environment())
    os.close(write_end)
    assert (done.returncode, done.stderr) == (0, "")


def test_garbage_potential_file(cli, tmp_path):
    (tmp_path / "bad.sw").write_text("Si Si Si 2.1 nonsense\n")
    code, out, err = cli("run", "singlepoint", f"sw:{tmp_path / 'bad.sw'}", "--proto", "Si:diamond")
    assert code == 3 and err.startswith("PotentialFileError: ") and "line 1" in err and "expected" in err


def test_debug_shows_the_traceback(cli):
    code, _, err = cli("--debug", "info", "snp")
    assert code == 1 and "Traceback" in err and "UnknownCalculator" in err
    assert "Traceback" in cli("info", "snp", "--debug")[2]


def test_version_and_help(cli):
    assert cli("--version")[1].strip() == calczoo.__version__
    for command in ([], ["run"], ["run", "md"], ["list"], ["info"], ["doctor"], ["check"], ["fit"], ["validate"],
                    ["schema"]):  # fmt: skip
        code, out, _ = cli(*command, "--help")
        assert code == 0 and "Usage" in out
    assert cli()[0] == 1, "no command at all is wrong usage"


def test_as_a_program(tmp_path):
    """Through `python -m calczoo`, as a shell sees it, from a folder that is not the checkout."""
    command = [sys.executable, "-m", "calczoo", "run", "singlepoint", *ZBL, *CRYSTAL, "--json"]
    settings = {"capture_output": True, "text": True, "cwd": tmp_path, "env": environment()}
    done = subprocess.run(command, **settings)
    assert done.returncode == 0 and done.stderr == "" and json.loads(done.stdout)["atoms"] == 8
    wrong = subprocess.run(
        [*command[:3], "info", "snp"], capture_output=True, text=True, cwd=tmp_path, env=environment()
    )
    assert wrong.returncode == 1 and wrong.stdout == "" and wrong.stderr.startswith("UnknownCalculator: ")


def environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}


def test_ase_lists_every_family():
    from ase._4.plugins import plugins

    import calczoo.ase_plugin as module

    made = {p.name: p for p in module.__ase_plugins__}
    assert set(made) == {f"calczoo.{name}" for name in BUILTIN}
    cls = made["calczoo.sw"].implementation
    calc = cls(str(lammps_potential("Si.sw")), device="cpu")
    atoms = bulk("Si")
    atoms.calc = calc
    same = calczoo.get_calculator("sw", str(lammps_potential("Si.sw")))
    assert atoms.get_potential_energy() == same.get_potential_energy(bulk("Si")) and cls.__name__ == "CalczooSw"
    if any(
        p.name.startswith("calczoo.") for p in plugins.calculators
    ):  # when calczoo is installed, not only on the path
        assert {p.name for p in plugins.calculators} >= set(made)
