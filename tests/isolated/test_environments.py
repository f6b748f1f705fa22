"""Environments: made from a plug-in's pins, found, tried, removed; and the families that use them."""

from __future__ import annotations

import json
import os
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest
from ase.build import bulk
from ase.calculators.emt import EMT

from calczoo import Family, discovery, get_calculator, get_family
from calczoo.cli import execute
from calczoo.core.errors import BackendUnavailable, CalczooError, OptionError, PluginError
from calczoo.foreign import AseModel
from calczoo.isolated import environments, isolation_of
from calczoo.isolated.model import IsolatedModel

PLUGIN = """
    raise_in_worker = True  # this file needs calczoo, so the worker must not run it
    from calczoo import Card, Family, hookimpl
    from calczoo.foreign import AseModel, Make

    @hookimpl
    def calczoo_family(name):
        return Family(
            "guest", "a guest", "{module}:read", "{module}:build", backends=(), worker="{module}.worker",
            environment=("ase>=3.22",), package="{package}", isolated={isolated},
        )

    class Params:
        def __init__(self, request):
            request.check_options(["asap_cutoff"])
            self.card = Card("guest", "guest", ("Cu", "Ni"), 5.0)

    def read(request):
        return Params(request)

    def build(params, request):
        make = Make("{module}.worker", "emt", request.device, request.dtype, request.options)
        make = make if request.elements is None else make.__call__
        return AseModel(params.card, None, make, ("energy", "forces", "stress"), request.dtype)
"""
WORKER = """
    from .helper import EMT

    def make(model, device, dtype, **options):
        return EMT(**options)
"""


@pytest.fixture
def plugin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """plugin(isolated, package): installs a package with a family `guest` around ASE's EMT; no environment is there."""
    monkeypatch.setenv("CALCZOO_ENVS", str(tmp_path / "envs"))
    site = tmp_path / "site"
    monkeypatch.syspath_prepend(str(site))
    module = f"module_of_guest_{os.getpid()}_{abs(hash(tmp_path)) % 10**8}"

    def install(isolated: bool = True, package: str = "package_of_another_environment") -> Family:
        info = site / "guestpack-1.5.dist-info"
        info.mkdir(parents=True)
        (info / "METADATA").write_text("Metadata-Version: 2.1\nName: guestpack\nVersion: 1.5\n")
        (info / "entry_points.txt").write_text(f"[calczoo]\nguest = {module}\n")
        (site / module).mkdir()
        text = PLUGIN.format(module=module, isolated=isolated, package=package)
        (site / module / "__init__.py").write_text(textwrap.dedent(text))
        (site / module / "worker.py").write_text(textwrap.dedent(WORKER))
        (site / module / "helper.py").write_text("from ase.calculators.emt import EMT\n")
        return get_family("guest")

    discovery._load_family.cache_clear()
    yield install
    discovery._load_family.cache_clear()
    for name in [m for m in sys.modules if m.startswith("module_of_guest")]:
        del sys.modules[name]


@pytest.fixture
def cli(capfd):
    def run(*arguments: str):
        code = execute(list(arguments))
        out, err = capfd.readouterr()
        return code, out, err

    return run


def test_default_and_choice(plugin):
    family = plugin()
    assert isolation_of(family, None) is True and isolation_of(family, False) is False
    assert isolation_of(family, "/a/python") == "/a/python"
    zbl = get_family("zbl")
    assert isolation_of(zbl, None) is False
    with pytest.raises(OptionError, match="runs in this process only"):
        get_calculator("zbl(1, 2)", elements=["Cu"], isolated=True)
    with pytest.raises(OptionError, match="isolated is 3"):
        get_calculator("guest", isolated=3)


def test_a_family_runs_in_this_process_or_in_its_own(plugin):
    plugin()
    atoms = bulk("Cu", cubic=True).repeat(2)
    atoms.rattle(0.05)
    inside = get_calculator("guest", isolated=False)
    apart = get_calculator("guest", isolated=sys.executable)
    spec = get_calculator(f"guest(isolated='{sys.executable}', asap_cutoff=true)")
    assert isinstance(inside.model, AseModel) and isinstance(apart.model, IsolatedModel)
    assert apart.model.threads == inside.model.threads and spec.model.make.options == {"asap_cutoff": True}
    one, other = inside.evaluate(atoms)[0], apart.evaluate(atoms)[0]
    assert one["energy"] == other["energy"] == EMT().get_potential_energy(atoms)
    assert np.array_equal(one["forces"], other["forces"]) and np.array_equal(one["stress"], other["stress"])
    total = get_calculator(f"guest(isolated='{sys.executable}') + zbl(1.0, 2.0)")
    assert total.evaluate(atoms)[0]["energy"] == pytest.approx(one["energy"])


def test_where_the_package_is_importable_it_stays_here(plugin):
    plugin(package="ase")
    assert isinstance(get_calculator("guest").model, AseModel)


def test_a_family_whose_build_cannot_be_moved(plugin):
    plugin()
    with pytest.raises(PluginError, match="must return an AseModel whose make_calculator is a calczoo.foreign.Make"):
        get_calculator("guest", elements=["Cu"], isolated=sys.executable)


def test_without_its_environment_it_says_how_to_make_it(plugin, tmp_path):
    plugin()
    with pytest.raises(BackendUnavailable, match="calczoo env create guest"):
        get_calculator("guest")
    with pytest.raises(BackendUnavailable, match="is no interpreter"):
        get_calculator("guest", isolated=str(tmp_path))


def test_a_family_without_an_environment_is_not_told_to_make_one(cli):
    code, out, err = cli("env", "path", "zbl")
    assert code == 1 and not out and "'zbl' declares no environment; it runs in this process" in err
    assert "env create" not in err


def test_adopting_what_lies_where_the_record_goes_does_not_delete_it(plugin, cli, tmp_path):
    plugin(package="ase")
    own = tmp_path / "envs" / "guest" / "bin" / "python"
    own.parent.mkdir(parents=True)
    own.write_text(f'#!/bin/sh\nexec {sys.executable} "$@"\n')
    own.chmod(0o755)
    code, out, err = cli("env", "create", "guest", "--use", str(own.parents[1]))
    assert code == 0 and out.strip() == str(own) and own.exists(), err


def test_an_environment_made_by_other_means(plugin, cli, tmp_path):
    plugin(package="ase")
    code, out, err = cli("env", "create", "guest", "--use", sys.executable)
    assert code == 0 and out.strip() == sys.executable, err
    assert cli("env", "path", "guest")[1].strip() == sys.executable
    copper = bulk("Cu")
    energy = get_calculator("guest", isolated=True).evaluate(copper)[0]["energy"]
    assert energy == pytest.approx(EMT().get_potential_energy(copper))
    code, _, err = cli("env", "create", "guest", "--use", sys.executable)
    assert code == 1 and "--force replaces it" in err
    data = json.loads(cli("env", "list", "--json")[1])
    (row,) = data["environments"]
    assert row["state"] == "ready" and row["made_by"] == "given" and "numpy" in row["versions"]
    code, out, _ = cli("env", "list")
    assert code == 0 and "guest" in out and "ready" in out
    assert cli("env", "remove", "guest")[0] == 0 and Path(sys.executable).exists()
    assert not (tmp_path / "envs" / "guest").exists()
    assert "no environments in" in cli("env", "list")[1]
    code, _, err = cli("env", "remove", "../site")
    assert code == 1 and "there is no environment '../site'" in err


def test_states_of_environments(plugin, cli, tmp_path):
    family = plugin(package="ase")
    environments.adopt(family, sys.executable)
    record = tmp_path / "envs" / "guest" / "calczoo.json"
    data = json.loads(record.read_text())
    record.write_text(json.dumps({**data, "requirements": ["ase==3.22"]}))
    code, out, _ = cli("env", "list")
    assert code == 2 and "outdated: the plug-in asks for ase>=3.22" in out
    record.write_text(json.dumps({**data, "python": "/nowhere/python"}))
    assert "broken: its interpreter is gone" in cli("env", "list")[1]
    with pytest.raises(BackendUnavailable, match="has lost its interpreter /nowhere/python.*--force"):
        get_calculator("guest", isolated=True)
    record.write_text("{")
    with pytest.raises(CalczooError, match="is damaged"):
        get_calculator("guest", isolated=True)


@pytest.fixture
def no_index(tmp_path, monkeypatch):
    """Stand-ins of the installer's commands, which note what they are asked: nothing is fetched in tests."""
    asked = []

    def run(command, progress):
        asked.append([str(c) for c in command])
        progress("$ " + " ".join(map(str, command)))
        if "venv" in command:
            folder = Path(command[-1]) / "bin"
            folder.mkdir(parents=True)
            (folder / "python").symlink_to(sys.executable)
        if "a-package-that-is-not-there==1" in command:
            raise CalczooError("no such package")
        return json.dumps({"ase": "3"}) if command[-1] == environments._VERSIONS else ""

    monkeypatch.setattr(environments, "_run", run)
    return asked


@pytest.mark.parametrize("installer", ["pip", "uv"])
def test_create(plugin, cli, tmp_path, no_index, monkeypatch, installer):
    plugin()
    monkeypatch.setattr(environments, "_uv", lambda: ["uv"])
    code, out, err = cli(
        "env", "create", "guest", "--installer", installer, "--constraint", "c.txt", "--extra-index-url", "https://a"
    )
    own = str(tmp_path / "envs" / "guest" / "bin" / "python")
    assert code == 0 and out.strip() == own and "$ " in err
    install = no_index[1]
    assert "ase>=3.22" in install and "numpy>=1.24" in install and install[install.index("--constraint") + 1] == "c.txt"
    assert (no_index[0][0] == "uv") == (install[0] == "uv") == (installer == "uv")
    assert environments.find("guest").made_by == installer
    code, _, err = cli("env", "create", "guest")
    assert code == 1 and "--force makes it anew" in err
    assert cli("env", "create", "guest", "--force")[0] == 0


@pytest.mark.parametrize("arguments", [[], ["--index-url", "https://a"]])
def test_without_torch_for_the_cpu_the_way_out_is_told_for_an_own_index_too(plugin, no_index, monkeypatch, arguments):
    plugin()
    monkeypatch.setattr(sys, "platform", "linux")
    bad = Family("guest", "", "a:b", "a:b", environment=("torch==2.13.0", "a-package-that-is-not-there==1"))
    with pytest.raises(CalczooError, match="no such package[^$]*--torch cuda"):
        environments.create(bad, installer="pip", torch="cpu", arguments=arguments)


def test_create_that_fails_leaves_nothing(plugin, cli, tmp_path, no_index):
    family = plugin()
    bad = Family("guest", "", "a:b", "a:b", environment=("a-package-that-is-not-there==1",))
    with pytest.raises(CalczooError, match="no such package"):
        environments.create(bad, installer="pip")
    assert not (tmp_path / "envs" / "guest").exists() and environments.environments() == []
    code, _, err = cli("env", "create", "zbl")
    assert code == 1 and "declares no environment" in err
    with pytest.raises(OptionError, match="installer 'conda'"):
        environments.create(family, installer="conda")
    with pytest.raises(OptionError, match="no interpreter 'python9.9'"):
        environments.create(family, installer="pip", python="python9.9")


@pytest.mark.parametrize(
    ("torch", "arguments", "pin", "index"),
    [
        ("cpu", [], "torch==2.13.0+cpu", True),
        ("cpu", ["--find-links=wheels"], "torch==2.13.0+cpu", False),
        ("cpu", ["--index-url", "https://a"], "torch==2.13.0+cpu", False),
        ("cpu", ["--constraint", "c.txt"], "torch==2.13.0+cpu", True),
        ("cuda", [], "torch==2.13.0", False),
    ],
)
def test_the_build_of_torch(monkeypatch, torch, arguments, pin, index):
    monkeypatch.setattr(sys, "platform", "linux")
    for name in environments._INDEX_VARIABLES["UV"]:
        monkeypatch.delenv(name, raising=False)
    wanted, more = environments._torch_build(["torch==2.13.0", "torch-ema", "ase>=3"], torch, arguments, "UV")
    assert wanted == [pin, "torch-ema", "ase>=3"] and bool(more) is index
    monkeypatch.setenv("UV_FIND_LINKS", "wheels")
    assert environments._torch_build(["torch==2.13.0"], torch, arguments, "UV") == ([pin], [])
    assert environments._torch_build(["torch>=2.0"], torch, [], "UV") == (["torch>=2.0"], [])
    with pytest.raises(OptionError, match="torch is 'gpu'"):
        environments._torch_build([], "gpu", [], "UV")


def test_one_process_at_a_time_makes_an_environment(plugin, tmp_path):
    family = plugin(package="ase")
    with environments._alone("guest"), pytest.raises(CalczooError, match="another process is making"):
        environments.create(family, installer="pip")
    with environments._alone("guest"), pytest.raises(CalczooError, match="another process is making"):
        environments.adopt(family, sys.executable)
    assert environments.environments() == []


def test_an_environment_without_the_package_is_refused(plugin, cli, tmp_path):
    plugin(package="a_package_that_is_not_there")
    code, _, err = cli("env", "create", "guest", "--use", sys.executable)
    assert code == 1 and "cannot run 'guest'" in err and "it has no package a_package_that_is_not_there" in err
    assert environments.environments() == []


def test_commands_are_run_and_their_failure_told():
    lines = []
    assert environments._run([sys.executable, "-c", "print('hello')"], lines.append) == "hello\n"
    assert lines[1] == "hello"
    with pytest.raises(CalczooError, match="(?s)exit code 3:\nalas"):
        environments._run([sys.executable, "-c", "print('alas'); raise SystemExit(3)"], lines.append)
    with pytest.raises(CalczooError, match="cannot be run"):
        environments._run(["/no/such/command"], lines.append)


def test_where_environments_are(monkeypatch, tmp_path):
    monkeypatch.delenv("CALCZOO_ENVS", raising=False)
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    assert environments.envs_folder() == tmp_path / "calczoo" / "envs" and environments.environments() == []
