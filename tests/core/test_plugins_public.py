"""The plug-ins of this repository use what the README calls public, and nothing else of calczoo."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from data import ROOT

PACKAGES = sorted((ROOT / "plugins").glob("calczoo-*/calczoo_*"))


def public() -> set[str]:
    """Modules, and names of modules, of the paragraph "Public"."""
    section = (ROOT / "README.md").read_text(encoding="utf-8").split("## Add a family")[1].split("\n## ")[0]
    paragraph = re.search(r"- \*\*Public\*\* are (.*?)\n\n", section, re.DOTALL)[1]
    names = re.findall(r"`([\w.]+)`", paragraph)
    return {name if name.startswith("calczoo") else f"calczoo.core.{name}" for name in names} - {"calczoo.core"}


def imported(file: Path) -> set[str]:
    """module.name of everything that a file imports from calczoo."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and not node.level:
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
        elif isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
    return {name for name in found if name.split(".")[0] == "calczoo"}


@pytest.mark.parametrize("package", PACKAGES, ids=lambda p: p.name)
def test_it_imports_public_names_only(package):
    allowed = public()
    for file in sorted(package.rglob("*.py")):
        for name in sorted(imported(file)):
            module = name.rpartition(".")[0]
            assert module in allowed or name in allowed, f"{file.relative_to(ROOT)} imports {name}, which is not public"


def test_there_are_plugins_and_public_modules():
    assert len(PACKAGES) >= 11 and {"calczoo", "calczoo.foreign", "calczoo.core.system"} <= public()


def test_copies_of_the_box_for_open_directions_stay_equal():
    """Worker modules import nothing of calczoo, so that adapters keep a copy each of what they need; one that was
    mended alone would leave the others wrong."""
    copies = [folder / "boxed.py" for folder in PACKAGES if folder.name[8:] in ("chgnet", "mace", "matgl", "sevennet")]
    assert len(copies) == 4 and len({copy.read_text(encoding="utf-8") for copy in copies}) == 1
