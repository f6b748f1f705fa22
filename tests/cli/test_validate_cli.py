"""`calczoo validate` as somebody meets it for the first time: wrong input, Ctrl-C, narrow terminals."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from ase.build import bulk
from ase.calculators.emt import EMT
from ase.io import write
from rich.console import Console

from calczoo.cli import execute
from calczoo_validation import validate
from calczoo_validation.table import _folded

COPPER = ["--ase", "ase.calculators.emt:EMT", "--proto", "Cu:fcc", "--mode", "smoke"]
EMT_ONLY = ["--ase", "ase.calculators.emt:EMT", "--mode", "smoke"]


@pytest.fixture
def cli(capfd):
    def run(*arguments: str):
        code = execute(["validate", *arguments])
        out, err = capfd.readouterr()
        return code, out, err

    return run


@pytest.fixture
def frames(tmp_path):
    """An extxyz file of three cells of copper."""
    path = tmp_path / "cells.extxyz"
    write(path, [bulk("Cu", a=a) for a in (3.5, 3.6, 3.7)])
    return path


def test_garbage_structure_files_give_one_line(cli, tmp_path):
    for name in ("bad.cif", "POSCAR", "bad.extxyz"):
        (tmp_path / name).write_text("garbage\n")
        code, out, err = cli("lattice", *EMT_ONLY, "-s", str(tmp_path / name))
        assert code == 1 and out == "" and f"{name} cannot be read as a structure" in err and err.count("\n") == 1


@pytest.mark.parametrize(("index", "message"), [("0:2", "number of one structure"), ("9", "no structure number 9")])
def test_an_index_that_is_no_structure_of_the_file(cli, frames, index, message):
    code, _, err = cli("lattice", *EMT_ONLY, "-s", f"{frames}@{index}")
    assert code == 1 and message in err and err.count("\n") == 1


def test_a_structure_by_index_keeps_the_name_of_its_file(cli, frames):
    code, out, _ = cli("lattice", *EMT_ONLY, "-s", f"{frames}@1", "--json")
    assert code == 0 and json.loads(out)["structure"]["label"] == "cells.extxyz@1"


def test_zero_processes_are_not_taken_for_one(cli):
    code, _, err = cli("lattice", *COPPER, "-j", "0")
    assert code == 1 and "jobs is 0" in err


def test_out_that_is_a_file(cli, tmp_path):
    (tmp_path / "file").touch()
    code, _, err = cli("lattice", *COPPER, "--out", str(tmp_path / "file"))
    assert code == 1 and "is a file; name a folder" in err


def test_anchors_of_a_folder_that_does_not_exist(cli):
    code, _, err = cli("anchors", "--potentials", "nowhere")
    assert code == 1 and "nowhere does not exist" in err


# -- own references ------------------------------------------------------------------------------------------------


def reference(path, **values):
    head = {"crystal": "Cu:fcc", "level_of_theory": "PBE", "source": "own runs"}
    path.write_text(json.dumps({**head, **{k.replace("__", "."): v for k, v in values.items()}}))
    return str(path)


def test_a_bad_reference_is_known_before_anything_is_computed(cli, tmp_path):
    file = reference(tmp_path / "own.json", lattice__a0=3.6)
    code, _, err = cli("lattice", *COPPER, "--reference", file, "--out", str(tmp_path / "out"))
    assert code == 1 and '{"value": 466, "unit": "GPa"}' in err
    assert not (tmp_path / "out" / "store").exists()


def test_frames_of_another_element_are_no_reference(cli, tmp_path):
    gold = bulk("Au", a=4.05)
    gold.calc = EMT()
    gold.get_forces()
    write(tmp_path / "gold.extxyz", [gold])
    code, _, err = cli("lattice", *COPPER, "--reference", str(tmp_path / "gold.extxyz"))
    assert code == 1 and "the frames are of Au, this run is about Cu:fcc" in err


def test_a_reference_of_one_of_several_crystals_serves_that_one(cli, tmp_path):
    file = reference(tmp_path / "own.json", lattice__a0={"value": 3.6, "unit": "A"})
    code, out, err = cli("lattice", *COPPER, "--proto", "Cu:bcc", "--reference", file)
    assert code == 0 and "own runs" in out and "own.json is of another crystal than Cu:bcc" in err
    code, _, err = cli("lattice", *EMT_ONLY, "--proto", "Cu:bcc", "--reference", file)
    assert code == 1 and "the values are of Cu:fcc" in err


# -- Ctrl-C --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("jobs", [1, 2])
def test_ctrl_c_says_how_to_go_on_and_ends_at_once(tmp_path, jobs):
    command = [sys.executable, "-m", "calczoo", "validate", "static", "defects", "extended", *COPPER[:-1], "full",
               "-j", str(jobs), "--out", str(tmp_path / "out")]  # fmt: skip
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment, start_new_session=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # background jobs ignore it
    )  # fmt: skip
    until = time.monotonic() + 60
    while not list(tmp_path.glob("out/store/*/*.json")) and time.monotonic() < until:
        time.sleep(0.1)
    os.killpg(process.pid, signal.SIGINT)
    try:
        out, err = process.communicate(timeout=20)
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
    assert process.returncode == 130 and "Traceback" not in err and out == ""
    assert f"calczoo validate --out {tmp_path / 'out'} --resume" in err and "interrupted" in err


# -- the table on the screen ---------------------------------------------------------------------------------------


def printed(report, width: int) -> str:
    out = io.StringIO()
    Console(file=out, width=width).print(report.table())
    return out.getvalue()


@pytest.fixture(scope="module")
def four():
    labels = ["first", "second", "Cu_Zuo_JPCA2020.quadratic.snap", "x" * 40]
    return validate({k: EMT() for k in labels}, proto="Cu:fcc", properties=["elastic"], mode="smoke", progress=False)


@pytest.mark.parametrize("width", [100, 130, 180])
def test_several_calculators_stand_side_by_side_and_nothing_is_cut_off(four, width):
    text = printed(four, width)
    assert max(map(len, text.splitlines())) <= width and "…" not in text
    (row,) = [line for line in text.splitlines() if "C11, relaxed ions" in line]
    assert row.count("172.59") == 4
    assert ("< 0.01" in row) == (width >= 162)


@pytest.mark.parametrize(("width", "kinds"), [(100, 1), (180, 2)])
def test_one_calculator_on_a_narrow_terminal_keeps_its_labels_on_one_line(four, width, kinds):
    from calczoo_validation.report import Report

    report = Report.from_dict(four.to_dict())
    report.models = report.models[:1]
    text = printed(report, width)
    (row,) = [line for line in text.splitlines() if "Smallest linear compressibility" in line]
    (row,) = [line for line in text.splitlines() if "C11, relaxed ions" in line]
    assert row.count("%") == kinds


def test_a_long_reason_stands_below_the_table_and_does_not_widen_it(cli):
    code, out, _ = cli("elastic", *EMT_ONLY, "--proto", "Fe:bcc")
    assert code == 3 and "Lattice constant: unsupported: No EMT-potential for Fe" in out
    assert max(len(line) for line in out.splitlines() if "──" in line) < 60


def test_names_break_where_file_names_have_signs():
    assert _folded("Mo_Zuo_JPCA2020.quadratic.snap", 17) == "Mo_Zuo_JPCA2020.\nquadratic.snap"
    assert _folded("snap:Mo", 11) == "snap:Mo" and _folded("", 5) == ""


def test_a_reference_of_zero_within_its_error_gives_no_percentage():
    from calczoo_validation.references import deviation

    assert deviation(1e-6, {"value": -1e-7, "error": 1e-3}) is None and deviation(1.0, {"value": 0.0}) is None
    assert np.isclose(deviation(1.1, {"value": 1.0, "error": 0.5}), 0.1)
