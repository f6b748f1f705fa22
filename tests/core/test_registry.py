"""Plug-ins of other packages: found from metadata, loaded alone, and never able to break what is not theirs."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from calczoo import discovery, registry
from calczoo.core.errors import OptionError, PluginError, SpecError, UnknownCalculator

GOOD = """
    from calczoo import Family, hookimpl

    @hookimpl
    def calczoo_family(name):
        if name == "{name}":
            return Family(name="{name}", summary="a guest", read="{module}:read", build="{module}:build",
                          bundled={{"one": "its only model"}}, bundled_elements={{"one": ("Cu", "Al")}},
                          elements=("Cu", "Al"))

    def read(request):
        request.check_options({{"depth": "eV"}})
        return request

    def build(params, request):
        from core.toy import Toy
        return Toy(depth=request.options.get("depth", 1.0))
"""

HOOK = "from calczoo import Family, hookimpl\n@hookimpl\ndef calczoo_family"


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """install(dist, name, source): a distribution with one entry point, as pip would leave it on the path."""
    monkeypatch.syspath_prepend(str(tmp_path))

    def add(dist: str, name: str, source: str | None) -> None:
        module = f"module_of_{dist}"
        info = tmp_path / f"{dist}-1.5.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {dist}\nVersion: 1.5\n")
        (info / "entry_points.txt").write_text(f"[calczoo]\n{name} = {module}\n")
        if source is not None:
            code = textwrap.dedent(source).replace("{name}", name).replace("{module}", module)
            (tmp_path / f"{module}.py").write_text(code.replace("{{", "{").replace("}}", "}"))

    discovery._load_family.cache_clear()
    yield add
    discovery._load_family.cache_clear()
    for module in [m for m in sys.modules if m.startswith("module_of_")]:
        del sys.modules[module]


def test_a_guest_is_as_good_as_a_built_in(install):
    install("guestpack", "guest", GOOD)
    assert "guest" in registry.family_names() and "guest" in registry.list_calculators()
    assert "module_of_guestpack" not in sys.modules, "listing must not import a plug-in"
    assert registry.get_family("guest").origin == "guestpack 1.5"
    assert registry.list_calculators("guest*", elements="Cu") == ["guest", "guest:one"]
    assert registry.list_calculators("guest*", elements="Cu,O") == []
    calc = registry.get_calculator("guest:one", depth=2.0)
    from ase.build import bulk

    atoms = bulk("Cu")
    atoms.calc = calc
    assert atoms.get_potential_energy() == 2.0 * registry.get_calculator("guest").get_potential_energy(atoms)


@pytest.mark.parametrize(
    "source, message",
    [
        ("import no_such_module_anywhere", "ModuleNotFoundError: No module named 'no_such_module_anywhere'"),
        ("raise SystemError('broken build')", "SystemError: broken build"),
        ("1 +", "SyntaxError"),
        (None, "ModuleNotFoundError"),
        (HOOK + "(name):\n    return 1 / 0", "ZeroDivisionError"),
        (HOOK + "(name):\n    return 'me'", "returned 'me'; it must"),
        ("x = 1", "returned None; it must return a calczoo.Family whose name is 'broken'"),
        (HOOK + "(name):\n    return Family('other', summary='', read='m:f', build='m:f')", "whose name is 'broken'"),
        (HOOK + "(nome):\n    return None", "nome"),
    ],
)  # fmt: skip
def test_a_broken_plugin_hurts_nobody_else(install, source, message):
    install("brokenpack", "broken", source)
    install("guestpack", "guest", GOOD)
    assert {"broken", "guest"} <= set(registry.list_calculators())
    with pytest.raises(PluginError, match="'broken' of brokenpack 1.5") as error:
        registry.get_family("broken")
    assert message in str(error.value)
    assert registry.get_family("guest").name == "guest"
    rows = {r["name"]: r for r in registry.doctor()}
    assert not rows["broken"]["ok"] and message in rows["broken"]["message"]
    assert rows["guest"]["ok"] and rows["broken"]["origin"] == "brokenpack 1.5"
    assert "broken" not in registry.list_calculators(elements="Cu"), "a filter leaves a broken plug-in out"


def test_a_plugin_that_is_slow_to_import_costs_the_listing_nothing(install):
    install("slowpack", "slow", "import time\ntime.sleep(3600)")
    assert "slow" in registry.list_calculators()
    assert registry.get_family("zbl").name == "zbl"


def test_a_name_claimed_twice_is_refused_and_both_are_named(install):
    install("firstpack", "twin", GOOD)
    install("secondpack", "twin", GOOD)
    with pytest.raises(PluginError, match="claimed by .*firstpack 1.5.*secondpack 1.5|secondpack 1.5.*firstpack 1.5"):
        registry.get_family("twin")
    assert not {r["name"]: r for r in registry.doctor()}["twin"]["ok"]


def test_a_plugin_cannot_shadow_a_built_in(install):
    install("bandit", "snap", GOOD)
    assert registry.get_family("snap").origin == "calczoo"
    assert "module_of_bandit" not in sys.modules
    rows = [r for r in registry.doctor() if r["name"] == "snap"]
    assert rows[0]["ok"] and not rows[1]["ok"] and "bandit 1.5" in rows[1]["message"]


def test_a_plugin_cannot_answer_for_another_name(install):
    install("guestpack", "guest", GOOD)
    greedy = GOOD.replace('if name == "{name}":', "if True:").replace('Family(name="{name}"', "Family(name=name")
    install("greedypack", "greedy", greedy)
    assert registry.get_family("greedy").origin == "greedypack 1.5"
    assert registry.get_family("guest").read == "module_of_guestpack:read"
    assert registry.get_family("snap").origin == "calczoo"


@pytest.mark.parametrize("spec, near", [("snp:Mo", "snap"), ("Tersof", "tersoff"), ("nonsense", "snap, eam")])
def test_unknown_names_get_a_hint(spec, near):
    with pytest.raises(UnknownCalculator, match=f"no family is called.*{near}"):
        registry.get_calculator(spec)


def test_an_unknown_name_does_not_cost_the_import_of_torch():
    code = "import calczoo, sys\ntry: calczoo.get_calculator('nosuch')\nexcept KeyError: print('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == "False"


@pytest.mark.parametrize(
    "arguments, kind, message",
    [
        (
            dict(name_or_spec="zbl(1,2)", elements=["Cu"], dtype="float16"),
            OptionError,
            "dtype.*'float64' and 'float32'",
        ),
        (dict(name_or_spec="zbl(1,2)", elements=["Cu"], backend="fortran"), OptionError, "no backend 'fortran'.*warp"),
        (dict(name_or_spec="zbl(1,2)", elements=["Cu"], device="tpu"), OptionError, "device is 'tpu'"),
        (dict(name_or_spec="zbl(1,2)", elements=["Xx"]), OptionError, "'Xx' is not a chemical element"),
        (dict(name_or_spec="zbl(1,2)", elements=["Cu", "Cu"]), OptionError, "twice"),
        (dict(name_or_spec="zbl(1,2)", elements=["Cu"], skin=-1.0), OptionError, "skin is -1.0"),
        (dict(name_or_spec="zbl(1,2)", elements=["Cu"], colour="red"), OptionError, "'colour'"),
        (dict(name_or_spec="zbl(1,2)", elements=["Cu"], threads=0), OptionError, "threads"),
        (dict(name_or_spec="eam:a", model="b"), SpecError, "two models given"),
        (dict(name_or_spec="zbl(1,2) + zbl(1,3)", model="b"), SpecError, "single family"),
        (dict(name_or_spec="zbl(1,2) +"), SpecError, "a term is missing"),
    ],
)
def test_wrong_options(arguments, kind, message, monkeypatch):
    monkeypatch.delenv("CALCZOO_NUM_THREADS", raising=False)
    with pytest.raises(kind, match=message):
        registry.get_calculator(**arguments)


def test_missing_device_says_what_to_do():
    from calczoo.core.errors import BackendUnavailable

    with pytest.raises(BackendUnavailable, match="use device='cpu' or install a CUDA build of torch"):
        registry.get_calculator("zbl(1,2)", elements=["Cu"], device="cuda:99")


@pytest.mark.parametrize("value", ["0", "many", "-2", "1.5"])
def test_thread_variable_is_checked(value, monkeypatch):
    from calczoo.core.threads import thread_count

    monkeypatch.setenv("CALCZOO_NUM_THREADS", value)
    with pytest.raises(OptionError, match=f"CALCZOO_NUM_THREADS is '{value}'"):
        thread_count(1)
    monkeypatch.setenv("CALCZOO_NUM_THREADS", "3")
    assert thread_count(1) == 3


def test_a_plugin_whose_heavy_code_is_broken_shows_up_in_doctor(install):
    source = HOOK + "(name):\n    return Family(name='late', summary='', read='no_such_module:read', build='x:y')"
    install("latepack", "late", source)
    row = next(r for r in registry.doctor() if r["name"] == "late")
    assert not row["ok"] and "No module named 'no_such_module'" in row["message"]
    with pytest.raises(PluginError, match="no_such_module"):
        registry.get_calculator("late")


@pytest.mark.parametrize("source", ["raise SystemExit(3)", "from calczoo import CalczooError\nraise CalczooError('x')"])
def test_a_plugin_that_ends_the_program_or_raises_our_own_error_breaks_nothing(install, source):
    install("rudepack", "rude", source)
    assert "rude" not in registry.list_calculators(elements="Cu")
    assert not next(r for r in registry.doctor() if r["name"] == "rude")["ok"]


def test_a_path_may_hold_any_character(tmp_path):
    folder = tmp_path / "a + b (c, d)"
    folder.mkdir()
    (term,) = registry.parse_spec(folder / "Ta06A.snap", registry.family_of_file)
    assert (term.family, term.model) == ("snap", str(folder / "Ta06A.snap"))
    with pytest.raises(SpecError, match="no family is known"):
        registry.get_calculator(folder / "model.unknown")
