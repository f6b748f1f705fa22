"""Plug-ins that do wrong all that a package can do wrong, installed together: each stays an error of its own name."""

from __future__ import annotations

import re
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from calczoo import describe, discovery, get_calculator, list_calculators
from calczoo.core.errors import OptionError, PluginError
from calczoo.registry import BUILTIN
from core.plugin_site import announce, as_json, cli, environment, install, loaded

FAMILY = """
    from calczoo import Card, Family, hookimpl

    @hookimpl
    def calczoo_family(name):
        return Family(name="NAME", summary="a guest", read="MODULE:read", build="MODULE:build", elements=("Cu",))

    class Params:
        card = Card(name="NAME", family="NAME", elements=("Cu",), cutoff=3.0)

    def read(request):
        return Params()

    def build(params, request):
        return 7
"""
HOOK = "from calczoo import Family, hookimpl\n@hookimpl\ndef calczoo_family"
FIELDS = HOOK + "(name):\n    return Family('NAME', 'a guest', 'MODULE:read', 'MODULE:build', "

BROKEN = {  # name -> (source, what doctor says of it)
    "raises": ("raise RuntimeError('no library of mine')", "RuntimeError: no library of mine"),
    "misses": ("import a_package_that_nobody_has", "No module named 'a_package_that_nobody_has'"),
    "garbled": ("def (:", "SyntaxError"),
    "quits": ("import sys\nsys.exit(0)", "SystemExit: 0"),
    "quits_in_hook": (HOOK + "(name):\n    raise SystemExit('bye')", "SystemExit: bye"),
    "signature": (HOOK + "(label, colour):\n    return None", "wrong hook: "),
    "no_arguments": (HOOK + "(*, name=None, **rest):\n    return [1, 2, 3]", "returned [1, 2, 3]; it must"),
    "unmarked": ("def calczoo_family(name):\n    return None", "mark the function with @calczoo.hookimpl"),
    "no_function": ("from calczoo import hookimpl\ncalczoo_family = hookimpl(lambda name: 1 / 0)", "ZeroDivisionError"),
    "no_repr": (
        HOOK + "(name):\n    class Odd:\n        def __repr__(self): return 1 / 0\n    return Odd()",
        "returned an object of Odd",
    ),
    "other_name": (HOOK + "(name):\n    return Family('snap', '', 'm:f', 'm:f')", "whose name is 'other_name'"),
    "text_for_tuple": (FIELDS + "outputs='energy')", "outputs is 'energy'; expected a tuple[str, ...]"),
    "list_for_mapping": (FIELDS + "bundled=['Cu'])", "bundled is ['Cu']; expected a Mapping[str, str]"),
    "unknown_field": (FIELDS + "colour='red')", "unexpected keyword argument 'colour'"),
    "no_kind": (FIELDS + "kind='magic')", "kind is 'magic'; expected"),
    "no_colon": (HOOK + "(name):\n    return Family('NAME', '', 'm.f', 'm:f')", "read is 'm.f'; expected"),
    "number": (HOOK + "(name):\n    return Family('NAME', '', 3, 'm:f')", "read is 3; expected a str"),
    "quits_late": (HOOK + "(name):\n    return Family('NAME', '', 'plug_quitspack:read', 'm:f')", "SystemExit: 0"),
    "no_read": (FIELDS + ")", "has no attribute 'read'"),
    "read_is_data": ("read = build = 3\n" + FIELDS + ")", "MODULE:read is a int; expected a function"),
}
GOOD = {
    "sleeps": "import time\ntime.sleep(2.0)\n",
    "talks": "import sys\nprint('import is fun')\n",
    "warns": "import warnings\nwarnings.warn('an old friend', DeprecationWarning)\n",
}


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One folder with all of them."""
    folder = tmp_path_factory.mktemp("site")
    for name, (source, _) in BROKEN.items():
        install(folder, name, source)
    for name, head in GOOD.items():
        install(folder, name, head + textwrap.dedent(FAMILY))
    install(folder, "guest", FAMILY)
    install(folder, "snap", FAMILY, "bandit")
    install(folder, "twin", FAMILY, "firstpack")
    install(folder, "twin", FAMILY, "secondpack")
    announce(folder, "absentpack", "absent = plug_that_is_not_there")
    announce(folder, "nonsensepack", "nonsense = plug_guestpack:no such thing!")
    announce(folder, "guestpack", "guest = plug_of_yesterday", version="0.1")  # left behind by a failed update
    return folder


PLUGINS = {*BROKEN, *GOOD, "guest", "twin", "absent", "nonsense"}


@pytest.fixture(scope="module")
def report(site: Path) -> subprocess.CompletedProcess[str]:
    return cli([site], "doctor", "--json")


@pytest.fixture(scope="module")
def rows(report) -> dict[str, list[dict]]:
    found: dict[str, list[dict]] = {}
    for row in as_json(report)["families"]:
        found.setdefault(row["name"], []).append(row)
    return found


def test_list_names_all_and_imports_none(site):
    done = cli([site], "list", "--json")
    assert done.returncode == 0, done.stderr
    rows = {c["name"]: c["summary"] for c in as_json(done)["calculators"]}
    names = [c["name"] for c in as_json(done)["calculators"]]
    assert rows["raises"].startswith("of raisespack 1.0; loaded when used")
    assert rows["twin"].startswith("claimed by ") and "doctor" in rows["twin"]
    assert {n for n in names if n.partition(":")[0] not in BUILTIN} == PLUGINS
    assert set(BUILTIN) <= set(names) and len(names) == len(set(names))
    assert loaded(done) == []


def test_ase_plugins_are_named_without_import(site):
    code = (
        "import sys\nfrom calczoo.ase_plugin import ase_plugins\nnames = {p.name for p in ase_plugins()}\n"
        "print('calczoo.quits' in names, [m for m in sys.modules if m.startswith('plug_')])"
    )
    done = subprocess.run([sys.executable, "-c", code], env=environment([site]), capture_output=True, text=True)
    assert done.stdout.strip() == "True []", done.stderr


def test_a_filtered_list_holds_what_can_be_loaded(site):
    done = cli([site], "list", "--elements", "Cu", "--json")
    names = {c["name"] for c in as_json(done)["calculators"]}
    heavy = {"quits_late", "no_read", "read_is_data"}  # their records are right, and nothing else is looked at here
    assert done.returncode == 0 and names & PLUGINS == {*GOOD, "guest", *heavy} and "eam" in names


@pytest.mark.parametrize("name", BROKEN)
def test_doctor_says_what_is_broken(name, rows):
    (row,) = rows[name]
    message = BROKEN[name][1].replace("MODULE", f"plug_{name}pack")
    assert not row["ok"] and message in row["message"] and row["origin"] == f"{name}pack 1.0"
    if "Error: " in message or "Exit: " in message:
        assert "Traceback (most recent call last)" in row["message"]


def test_doctor_vouches_for_the_rest(report, rows):
    assert report.returncode == 2
    assert all(rows[name][0]["ok"] for name in (*BUILTIN, "guest", *GOOD))
    assert "took 2." in rows["sleeps"][0]["message"] and rows["sleeps"][0]["seconds"] > 2.0
    assert rows["guest"][0]["message"] == "" and rows["guest"][0]["origin"].startswith("guestpack")
    assert "import is fun" in report.stderr, "what a plug-in prints is no part of the answer, and is not lost either"
    bandit = rows["snap"][1]
    assert not bandit["ok"] and "bandit 1.0" in bandit["message"] and "plug_bandit" not in loaded(report)
    (twin,) = rows["twin"]
    assert "firstpack 1.0" in twin["message"] and "secondpack 1.0" in twin["message"] and not twin["ok"]
    assert not rows["absent"][0]["ok"] and not rows["nonsense"][0]["ok"]


def test_built_in_families_work_beside_them(site):
    done = cli([site], "run", "singlepoint", "zbl(2.0, 3.0)", "-e", "Cu", "--proto", "Cu:fcc:3.0", "--json")
    assert done.returncode == 0 and as_json(done)["energy_eV"] > 0.0, done.stderr
    assert loaded(done) == []
    code = (
        "import sys\nfrom calczoo.registry import BUILTIN, get_family, load_object\n"
        "for f in map(get_family, BUILTIN): load_object(f.read), load_object(f.build), print(f.name, f.origin)\n"
        "print([m for m in sys.modules if m.startswith('plug_')])"
    )
    done = subprocess.run([sys.executable, "-c", code], env=environment([site]), capture_output=True, text=True)
    assert done.stdout.splitlines() == [*(f"{name} calczoo" for name in BUILTIN), "[]"], done.stderr


@pytest.mark.parametrize("name", ["talks", "warns", "guest"])
def test_an_answer_about_a_guest_is_pure(site, name):
    done = cli([site], "info", name, "--json")
    assert done.returncode == 0 and as_json(done)["family"]["origin"].startswith(f"{name}pack "), done.stderr
    assert loaded(done) == [f"plug_{name}pack"]


@pytest.mark.parametrize("name", ["raises", "quits", "number"])
def test_using_a_broken_one_is_one_clear_error(site, name):
    message = BROKEN[name][1]
    done = cli([site], "run", "singlepoint", name, "--proto", "Cu:fcc")
    assert done.returncode == 3 and done.stdout == "" and message in done.stderr
    assert done.stderr.startswith(f"PluginError: plug-in '{name}' of {name}pack 1.0"), done.stderr


STEPS = {  # what read and build do wrong -> what the error says
    "read_fails": ("def read(request):\n    return {}['no key']", "'read' of plug-in 'NAME'.*KeyError: 'no key'"),
    "read_takes_nothing": ("def read():\n    return 1", "'read' of plug-in 'NAME'.*TypeError"),
    "read_quits": ("def read(request):\n    raise SystemExit(4)", "'read' of plug-in 'NAME'.*SystemExit: 4"),
    "no_card": ("def read(request):\n    return 'text'", "returned str, whose card is None; expected a calczoo.Card"),
    "build_fails": ("def build(params, request):\n    return 1 / 0", "'build' of plug-in 'NAME'.*ZeroDivisionError"),
    "no_model": ("def build(params, request):\n    return 7", "returned int, which lacks card, cutoff, numbers"),
}


@pytest.fixture
def here(tmp_path, monkeypatch):
    """here(name, source): a plug-in of the running process, unknown before and forgotten afterwards."""
    monkeypatch.syspath_prepend(str(tmp_path))
    discovery._load_family.cache_clear()
    yield lambda name, source: install(tmp_path, name, source)
    discovery._load_family.cache_clear()
    for module in [m for m in sys.modules if m.startswith("plug_")]:
        del sys.modules[module]


@pytest.mark.parametrize("name", STEPS)
def test_faults_of_read_and_build_name_the_plugin(here, name):
    source, message = STEPS[name]
    here(name, textwrap.dedent(FAMILY) + source)
    with pytest.raises(PluginError) as error:
        describe(f"{name}:x") if name == "no_card" else get_calculator(name)
    assert re.search(message.replace("NAME", name), str(error.value), re.DOTALL), str(error.value)


@pytest.mark.parametrize("raised, kind", [("OptionError('depth is -1')", OptionError), ("OSError('disk')", OSError)])
def test_what_a_plugin_says_to_its_user_is_passed_on(here, raised, kind):
    more = f"from calczoo.core.errors import OptionError\ndef read(request):\n    raise {raised}"
    here("polite", textwrap.dedent(FAMILY) + more)
    with pytest.raises(kind, match="depth is -1|disk"):
        get_calculator("polite")


def test_a_plugin_installed_meanwhile_is_found(here):
    assert "late_comer" not in list_calculators()
    here("late_comer", FAMILY)
    assert "late_comer" in list_calculators()


def test_metadata_that_cannot_be_read_are_reported_and_hide_nobody(tmp_path, here):
    here("guest", FAMILY)
    (announce(tmp_path, "linepack", "") / "entry_points.txt").write_text("[calczoo]\na line without a meaning\n")
    (announce(tmp_path, "bytespack", "") / "entry_points.txt").write_bytes(b"[calczoo]\nx = y\n\xff\xfe")
    (announce(tmp_path, "namelesspack", "nameless = plug_guestpack") / "METADATA").unlink()
    assert "guest" in list_calculators()
    rows = {row["origin"].split()[0].split("-")[0]: row for row in discovery.doctor() if row["name"] == "?"}
    assert set(rows) == {"linepack", "bytespack", "namelesspack"}
    assert all(not row["ok"] and "reinstall it" in row["message"] for row in rows.values())
