"""The plug-in of the README, section "Add a family": copied into a package as it is printed, it works."""

from __future__ import annotations

import re
import subprocess
import sys

import pytest

from core.plugin_site import announce, cli, environment, loaded
from data import ROOT

SECTION = (ROOT / "README.md").read_text(encoding="utf-8").split("## Add a family")[1].split("\n## ")[0]


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """The package of the example, with the entry point that the text names."""
    folder = tmp_path_factory.mktemp("argon")
    blocks = {code.split("\n")[0]: code for code in re.findall(r"```python\n(.*?)```", SECTION, re.DOTALL)}
    names = [re.match(r"# ([\w/]+\.py)", head)[1] for head in blocks]
    assert names == ["argon/__init__.py", "argon/zoo.py", "tests/test_conformance.py"]
    for name, code in zip(names, blocks.values(), strict=True):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(code)
    (point,) = re.findall(r"entry-points\.calczoo\]` with the line `([^`]+)`", SECTION)
    announce(folder, "argon-of-the-readme", point.replace('"', ""))
    return folder


def test_it_passes_its_conformance_tests(site):
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--rootdir", str(site), "tests"]
    done = subprocess.run(command, cwd=site, env=environment([site]), capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]
    assert re.search(r"\d\d passed", done.stdout)


def test_it_is_listed_unseen_and_imports_no_torch(site):
    done = cli([site], "list", prefix="argon")
    assert "argon" in done.stdout and loaded(done) == []
    done = cli([site], "info", "argon", prefix="torch")
    assert done.returncode == 0 and "Lennard-Jones argon" in done.stdout and loaded(done) == []


def test_sums_and_errors_are_as_the_text_says(site):
    (spec, elements) = re.search(r'get_calculator\("(argon[^"]+)", elements="(\w+)"\)', SECTION).groups()
    run = ("run", "singlepoint", "--proto", "Ar:fcc:5.3", "-e", elements)
    done = cli([site], *run, spec)
    assert done.returncode == 0 and "energy_eV" in done.stdout, done.stderr
    done = cli([site], *run, "argon(cutoff=3)")
    assert done.returncode == 1 and done.stderr.startswith("OptionError: argon: cutoff is 3; expected 5 to 20 A")
    done = cli([site], *run, "argon(cutof=9)")
    assert done.returncode == 1 and "did you mean 'cutoff'" in done.stderr
