"""The README is what the commands say, and its commands are what the tests and the continuous integration run."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from functools import partial

import pytest

from data import ROOT

README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_generated_parts_are_up_to_date():
    env = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "validation")])}
    command = [sys.executable, str(ROOT / "validation" / "readme.py"), "--check"]
    done = subprocess.run(command, env=env, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("name", ["validate", "test"])
def test_commands_are_marked_once(name):
    assert len(re.findall(rf"<!-- command: {name} -->\n```bash\n[^\n]+\n```", README)) == 1


def test_no_path_of_one_machine():
    assert not re.search(r"/(home|root|tmp|opt|work|Users)/", README)


def test_python_examples_are_python():
    import ast

    for code in re.findall(r"```python\n(.*?)```", README, re.DOTALL):
        ast.parse(code if not code.startswith("def ") else code + "    ...")


def test_the_examples_of_compositions_run(tmp_path):
    """The command that trains a correction, made short, and the code that uses what it wrote."""
    from ase.build import bulk
    from ase.calculators.singlepoint import SinglePointCalculator
    from ase.io import write

    from calczoo import get_calculator

    many = [bulk("Mo", a=a, cubic=True) for a in (3.0, 3.1, 3.2, 3.3)]
    for k, atoms in enumerate(many):
        atoms.rattle(0.05, seed=k)
    for atoms, found in zip(many, get_calculator("snap:Mo", device="cpu").evaluate(many), strict=True):
        atoms.calc = SinglePointCalculator(atoms, **{k: found[k] for k in ("energy", "forces", "stress")})
    write(tmp_path / "train.extxyz", many)
    ((command,), (code,)) = (
        re.findall(rf"<!-- {mark} -->\n```\w+\n(.*?)```", README, re.DOTALL)
        for mark in ("command: correction", "example: compositions")
    )
    env = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "validation")])}
    run = partial(subprocess.run, env=env, cwd=tmp_path, capture_output=True, text=True)
    quick = ["-o", "level=2", "-o", "starts=1", "-o", "iterations=2"]
    done = run([sys.executable, "-m", *shlex.split(command), *quick])
    assert done.returncode == 0, done.stderr
    names = "salt.get_potential_energy(), core.card.family, abs(atoms.get_forces()).max() < 1e-6, whole.card.family"
    done = run([sys.executable, "-W", "error::UserWarning", "-c", f"{code}print({names})"])
    assert done.returncode == 0, done.stderr
    energy, *rest = done.stdout.split()
    assert float(energy) < -8.0 and rest == ["switch", "False", "delta"]


def test_command_line_examples_name_real_commands_and_options():
    """Every `calczoo ...` line: the command exists and knows the options."""
    from typer.main import get_command

    from calczoo.cli import app

    root = get_command(app)
    lines = [x for block in re.findall(r"```bash\n(.*?)```", README, re.DOTALL) for x in block.splitlines()]
    for line in lines:
        for command in re.findall(r"(?:^|/)calczoo ([^#&]*)", line):
            words = command.split()
            node = root.commands[words[0]]
            if words[0] == "run":
                node = node.commands[words[1]]
            known = {o for p in node.params for o in (*p.opts, *getattr(p, "secondary_opts", ()))}
            assert {w for w in words if re.match(r"--?[a-z]", w)} <= known, line
