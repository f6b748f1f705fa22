"""`calczoo new-plugin`: names, refusals, what is written, and that it works as it stands."""

from __future__ import annotations

import ast
import json
import os
import re
import subprocess
import sys
import tomllib
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import pytest
import yaml

import calczoo
from calczoo import scaffold
from calczoo.cli import execute
from calczoo.core.errors import OptionError
from calczoo.registry import BUILTIN
from core.plugin_site import announce, environment
from data import ROOT

NAME = "trial_pairs"
MODULE, DIST = f"calczoo_{NAME}", "calczoo-trial-pairs"


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("new")
    scaffold.write_package(NAME, folder, author="A. Person")
    return folder / DIST


# -- names ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name, message",
    [
        ("my-pairs", "write 'my_pairs'"),
        ("MyPairs", "write 'mypairs'"),
        ("calczoo-pairs", "write 'pairs'"),
        ("calczoo_pairs", "write 'pairs'"),
        ("two words", "write 'two_words'"),
        ("pairs_", "write 'pairs'"),
        ("a__b", "write 'a_b'"),
        ("3body", "cannot be the name of a family; expected a letter"),
        ("", "cannot be the name"),
        ("../../etc", "write 'etc'"),
        ("paires\u00e9", "write 'paires'"),
        ("x\ny", "write 'x_y'"),
        ("x" * 41, "has 41 characters"),
        ("class", "is a word of Python"),
        ("match", "is a word of Python"),
        ("snap", "is a built-in family"),
        ("committee", "is a name of calczoo's own"),
        ("families", "is a name of calczoo's own"),
        ("validation", "a module 'calczoo_validation' is installed already"),
    ],
)
def test_wrong_names_are_refused_before_anything_is_written(tmp_path, name, message):
    with pytest.raises(OptionError, match=message):
        scaffold.write_package(name, tmp_path)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", BUILTIN)
def test_no_built_in_can_be_replaced(name):
    with pytest.raises(OptionError):
        scaffold.check_name(name)


def test_names_of_installed_plugins_are_refused(tmp_path, monkeypatch):
    announce(tmp_path, "pairs-of-others", "lennard = somewhere", version="2.5")
    announce(tmp_path, "calczoo-born-mayer", "bm = elsewhere")
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(OptionError, match="'lennard' is a family of pairs-of-others 2.5; uninstall that or choose"):
        scaffold.check_name("lennard")
    with pytest.raises(OptionError, match=r"a package 'calczoo-born-mayer' \(1.0\) is installed already"):
        scaffold.check_name("born_mayer")
    scaffold.check_name("buckingham")


# -- what is written -----------------------------------------------------------------------------------------


def test_nothing_is_overwritten(tmp_path, package):
    (tmp_path / DIST).mkdir()
    with pytest.raises(OptionError, match="is there already, and nothing is overwritten"):
        scaffold.write_package(NAME, tmp_path)
    assert not list((tmp_path / DIST).iterdir())
    (tmp_path / DIST).rmdir()
    (tmp_path / DIST).symlink_to(tmp_path / "nowhere")
    with pytest.raises(OptionError, match="is there already"):
        scaffold.write_package(NAME, tmp_path)


def test_all_or_nothing(tmp_path, monkeypatch):
    monkeypatch.setitem(scaffold.FILES, "more.txt", "no such template")
    with pytest.raises(FileNotFoundError):
        scaffold.write_package(NAME, tmp_path)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "options, message",
    [
        (dict(licence="GPL"), "licence is 'GPL'; choose one of MIT, BSD-3-Clause"),
        (dict(author="a\nb"), "write one line"),
        (dict(author="  "), "write one line"),
        (dict(into=Path("no/such/folder")), "is no folder; make it first"),
    ],
)
def test_wrong_options_are_refused(tmp_path, options, message):
    with pytest.raises(OptionError, match=message):
        scaffold.write_package(NAME, **{"into": tmp_path, **options})
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("licence", scaffold.LICENCES)
def test_the_licence_is_chosen(tmp_path, licence):
    scaffold.write_package(NAME, tmp_path, licence, "A. Person")
    project = tomllib.loads((tmp_path / DIST / "pyproject.toml").read_text())["project"]
    if licence == "none":
        assert "license" not in project and "Private :: Do Not Upload" in project["classifiers"]
        assert not (tmp_path / DIST / "LICENSE").exists()
        return
    assert project["license"] == licence and project["license-files"] == ["LICENSE"]
    text = (tmp_path / DIST / "LICENSE").read_text()
    assert re.search(r"Copyright \(c\) 20\d\d,? A. Person", text) and licence.split("-")[0] in text


def test_every_template_is_used_and_filled(package):
    templates = {p.name for p in (Path(scaffold.__file__).parent / "templates").iterdir()}
    assert templates == {f"{t}.tmpl" for t in (*scaffold.FILES.values(), "MIT", "BSD-3-Clause")}
    files = [p for p in package.rglob("*") if p.is_file()]
    assert len(files) == len(scaffold.FILES) + 1
    for path in files:
        text = path.read_text()
        assert not re.search(r"@[A-Z_]+@", text), path
        assert text.endswith("\n") and not re.search(r"[ \t]\n", text), path
        if path.suffix == ".py":
            ast.parse(text)
    assert os.access(package / "ci.sh", os.X_OK)


def test_the_source_is_clean(package):
    command = "ruff check --isolated --no-cache --line-length=120 --select=E,F,I,UP,B .".split()
    done = subprocess.run([sys.executable, "-m", *command], cwd=package, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_requirements_are_those_of_this_project(package):
    ours = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    project = tomllib.loads((package / "pyproject.toml").read_text())["project"]
    wanted = {*ours["dependencies"], *ours["optional-dependencies"]["test"], f"calczoo>={calczoo.__version__}"}
    assert {*project["dependencies"], *project["optional-dependencies"]["test"]} <= wanted
    assert project["requires-python"] == ours["requires-python"]
    assert project["entry-points"] == {"calczoo": {NAME: MODULE}}


def test_the_workflow_runs_the_script(package):
    steps = yaml.safe_load((package / ".github/workflows/test.yml").read_text())["jobs"]["test"]["steps"]
    assert [s["run"] for s in steps if "run" in s] == ["bash ci.sh"]
    assert subprocess.run(["bash", "-n", "ci.sh"], cwd=package).returncode == 0


def test_the_command_says_what_to_do_next(tmp_path, capfd):
    assert execute(["new-plugin", NAME, "--into", str(tmp_path)]) == 0
    out = capfd.readouterr().out
    assert f"cd {tmp_path / DIST}" in out and "pip install -e" in out and f"{MODULE}/model.py" in out
    assert execute(["new-plugin", NAME, "--into", str(tmp_path)]) == 1
    assert "nothing is overwritten" in capfd.readouterr().err
    assert execute(["new-plugin", "other_pairs", "--into", str(tmp_path), "--licence", "BSD-3-Clause", "--json"]) == 0
    data = json.loads(capfd.readouterr().out)
    assert all((tmp_path / "calczoo-other-pairs" / name).is_file() for name in data["files"]) and data["next"]


# -- that it works -------------------------------------------------------------------------------------------


def test_the_package_passes_its_own_tests(package, tmp_path):
    announce(tmp_path, DIST, f"{NAME} = {MODULE}", version="0.1.0")
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"]
    done = subprocess.run(command, cwd=package, env=environment([tmp_path, package]), capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-5000:] + done.stderr[-2000:]
    assert re.search(r"\d{3} passed, \d skipped", done.stdout), done.stdout[-500:]


@pytest.mark.slow
def test_the_package_passes_in_a_fresh_environment(package, tmp_path):
    """Its own script: a new environment, a built wheel, the tests against what was installed. The packages below
    (torch and so on) are borrowed from the running environment."""
    borrowed = [p for p in sys.path if p.endswith("site-packages")]
    try:
        version("calczoo")
    except PackageNotFoundError:  # tests from a checkout that is not installed
        announce(tmp_path, "calczoo", "", version=calczoo.__version__)
        (tmp_path / f"calczoo-{calczoo.__version__}.dist-info" / "entry_points.txt").unlink()
        borrowed += [str(tmp_path), str(ROOT), str(ROOT / "validation")]
    env = {**environment([]), "PYTHON": sys.executable, "BORROW": ":".join(borrowed)}
    del env["PYTHONPATH"]
    done = subprocess.run(["bash", "ci.sh"], cwd=package, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-5000:] + done.stderr[-5000:]
    assert " passed" in done.stdout and "energy_eV" in done.stdout
    assert not (package / "build").exists() and not list(package.glob("*.egg-info"))
