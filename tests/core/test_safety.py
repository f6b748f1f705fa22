"""What the source may not contain, what importing it may not load, and who may import whom."""

from __future__ import annotations

import ast
import json
import os
import subprocess
import sys
import tomllib
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

from data import ROOT

SOURCES = sorted(p for folder in ("calczoo", "validation/calczoo_validation") for p in (ROOT / folder).rglob("*.py"))
FORBIDDEN_CALLS = {"eval", "exec", "compile", "__import__"}
FORBIDDEN_FUNCTIONS = {
    "torch.load",
    "torch.jit.load",
    "torch.package.PackageImporter",
    "yaml.load",
    "yaml.unsafe_load",
    "os.system",
}
FORBIDDEN_MODULES = {"pickle", "cPickle", "_pickle", "marshal", "shelve", "dill", "cloudpickle", "joblib"}


def violations(path: Path) -> list[str]:
    """Lines that could run code from a file: eval, exec, pickle, marshal, torch.load, numpy's pickles, unsafe YAML."""
    found = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [a.name for a in node.names if a.name.split(".")[0] in FORBIDDEN_MODULES]
        elif isinstance(node, ast.ImportFrom) and node.module:
            names = [node.module] if node.module.split(".")[0] in FORBIDDEN_MODULES else []
        elif isinstance(node, ast.Call):
            names = _forbidden_call(node)
        found += [f"{path.name}:{node.lineno} {name}" for name in names]
    return found


def _forbidden_call(node: ast.Call) -> list[str]:
    if isinstance(node.func, ast.Name):
        return [node.func.id] if node.func.id in FORBIDDEN_CALLS else []
    text = ast.unparse(node.func)
    if text in FORBIDDEN_FUNCTIONS:
        return [text]
    unsafe = {"allow_pickle", "shell"}
    return [f"{text}({k.arg}=...)" for k in node.keywords if k.arg in unsafe and not _is_false(k.value)]


def _is_false(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and node.value is False


@pytest.mark.parametrize("path", SOURCES, ids=lambda p: str(p.relative_to(ROOT)))
def test_source_runs_no_code_from_files(path):
    assert violations(path) == []


@pytest.mark.parametrize(
    "text",
    ["eval('1')", "exec(x)", "import pickle", "from pickle import load", "torch.load(f)",
     "np.load(f, allow_pickle=True)", "marshal = 1\nimport marshal", "yaml.load(f)", "subprocess.run(x, shell=True)"],
)  # fmt: skip
def test_the_search_itself_finds(text, tmp_path):
    (tmp_path / "bad.py").write_text(text)
    assert violations(tmp_path / "bad.py")


def run(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    return done.stdout


HEAVY = ("torch", "warp", "scipy", "matplotlib", "phonopy", "spglib", "rich", "typer", "ase.io", "calczoo_validation")


@pytest.mark.parametrize(
    "action",
    [
        "import calczoo",
        "import calczoo; calczoo.list_calculators()",
        "import calczoo; calczoo.list_calculators(elements='Mo', can='fit')",
        "import calczoo.ase_plugin; calczoo.ase_plugin.__ase_plugins__",
    ],
)
def test_importing_and_listing_stay_light(action):
    loaded = set(
        json.loads(run(f"{action}; import sys, json; print(json.dumps(sorted(sys.modules)))").splitlines()[-1])
    )
    allowed = {"scipy"} if "ase_plugin" in action else set()  # ASE's own plug-in classes read what they want
    heavy = {m for m in loaded if m in HEAVY or m.split(".")[0] in ("torch", "warp", "matplotlib")} - allowed
    if "ase_plugin" in action:
        heavy &= {"torch", "warp", "matplotlib"}
    assert not heavy


def test_listing_on_the_command_line_stays_light():
    code = "import sys, calczoo.cli as c; c.execute(['list', '--json']); print({'torch', 'warp'} & set(sys.modules))"
    assert run(code).splitlines()[-1] == "set()"


def test_importing_changes_no_environment():
    code = "import os; before = dict(os.environ); import calczoo; calczoo.get_calculator('zbl(1, 2)', elements='Cu'); "
    assert run(code + "print(dict(os.environ) == before)").strip() == "True"


def test_layers():
    """The contracts of import-linter in pyproject.toml."""
    env = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "validation")])}
    code = "import sys; from importlinter.cli import lint_imports; sys.exit(lint_imports(no_cache=True))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr


def test_style():
    done = subprocess.run(
        [sys.executable, "-m", "ruff", "check", "--no-cache", "."], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout


def test_files_stay_short():
    long = {str(p.relative_to(ROOT)): n for p in SOURCES if (n := len(p.read_text().splitlines())) > 400}
    assert not long


def imported(paths) -> set[str]:
    """Top-level names of all packages that the files import, lazily or not; imports that may fail do not count."""
    names = set()
    for path in paths:
        tree = ast.parse(path.read_text(encoding="utf-8"))
        for block in [n for n in ast.walk(tree) if isinstance(n, ast.Try)]:
            if any(h.type is not None and "ImportError" in ast.unparse(h.type) for h in block.handlers):
                block.body = [ast.Pass()]
        for node in ast.walk(tree):
            if isinstance(node, ast.Import):
                names |= {a.name.split(".")[0] for a in node.names}
            elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
                names.add(node.module.split(".")[0])
    return names - set(sys.stdlib_module_names) - {"calczoo", "calczoo_validation"}


def test_dependencies_are_those_that_are_imported():
    """Each declared dependency earns its place, and nothing undeclared is imported."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    declared = {d.split(">")[0].strip().lower() for d in project["dependencies"]}
    distributions = packages_distributions()
    extras = {k: v for k, v in project["optional-dependencies"].items() if k != "test"}
    optional = {d.split(">")[0].strip().lower() for packages in extras.values() for d in packages}
    names = [n for n in imported(SOURCES) if n in distributions or n not in optional]
    used = {distributions[name][0].lower() for name in names}
    assert optional & set(distributions) <= used, "an extra that nothing imports"
    # pytest is for calczoo.testing, which its users import from their tests
    assert used - optional - {"pytest"} == declared


def test_constraints_pin_everything_declared():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted = [*project["dependencies"], *project["optional-dependencies"]["test"]]
    names = {w.split(">")[0].split("=")[0].split("[")[0].strip().lower() for w in wanted}
    pinned = dict(
        line.split("#")[0].strip().lower().split("==")
        for line in (ROOT / "constraints.txt").read_text().splitlines()
        if line.split("#")[0].strip()
    )
    assert names <= set(pinned)
