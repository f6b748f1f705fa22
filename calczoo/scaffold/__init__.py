"""`calczoo new-plugin`: a package with a family of its own, complete with tests and continuous integration.

What it writes is a working Morse potential, kept as text in `templates`; @WORDS@ in it are replaced.
"""

from __future__ import annotations

import datetime
import importlib.util
import keyword
import os
import re
import shutil
import tempfile
from collections.abc import Mapping
from importlib import metadata
from importlib.resources import files
from pathlib import Path

from ..core.errors import OptionError
from ..discovery import BUILTIN, family_names, owners

LICENCES = ("MIT", "BSD-3-Clause", "none")
MAX_NAME = 40

BOUNDS = {"NUMPY": "2.4", "TORCH": "2.13", "PYTEST": "9.2"}
"""Lower bounds of the new package: those of this one."""

FILES = {
    "pyproject.toml": "pyproject.toml",
    "README.md": "README.md",
    ".gitignore": "gitignore",
    ".github/workflows/test.yml": "workflow.yml",
    "ci.sh": "ci.sh",
    "@MODULE@/__init__.py": "init.py",
    "@MODULE@/params.py": "params.py",
    "@MODULE@/model.py": "model.py",
    "@MODULE@/load.py": "load.py",
    "@MODULE@/models/Cu.txt": "Cu.txt",
    "tests/test_conformance.py": "test_conformance.py",
    "tests/test_values.py": "test_values.py",
    "tests/CuAg.txt": "CuAg.txt",
}
"""File of the new package -> its template, without `.tmpl`."""


def check_name(name: str) -> None:
    """Raise OptionError for a name that a new family cannot have, with what to write instead."""
    plain = re.sub(r"[^a-z0-9]+", "_", re.sub(r"^calczoo[-_]", "", name.lower())).strip("_")
    if not re.fullmatch(r"[a-z][a-z0-9_]*[a-z0-9]|[a-z]", name) or "__" in name or name.startswith("calczoo_"):
        hint = f"; write '{plain}'" if re.fullmatch(r"[a-z][a-z0-9_]*", plain) else ""
        raise OptionError(
            f"'{name}' cannot be the name of a family; expected a letter from a to z, then letters, digits and single "
            f"'_', without 'calczoo' before it{hint}"
        )
    if len(name) > MAX_NAME:
        raise OptionError(f"'{name}' has {len(name)} characters; a name of a family has at most {MAX_NAME}")
    if keyword.iskeyword(name) or keyword.issoftkeyword(name):
        raise OptionError(f"'{name}' is a word of Python; choose another name")
    if name in BUILTIN:
        raise OptionError(f"'{name}' is a built-in family, which a plug-in cannot replace; choose another name")
    if name in family_names():
        raise OptionError(f"'{name}' is a family of {', '.join(owners(name))}; uninstall that or choose another name")
    import calczoo

    if name in calczoo.__all__ or name == "calczoo" or importlib.util.find_spec(f"calczoo.{name}") is not None:
        raise OptionError(f"'{name}' is a name of calczoo's own; choose another one")
    module, dist = f"calczoo_{name}", f"calczoo-{name.replace('_', '-')}"
    if importlib.util.find_spec(module) is not None:
        raise OptionError(f"a module '{module}' is installed already; uninstall it or choose another name")
    try:
        raise OptionError(f"a package '{dist}' ({metadata.version(dist)}) is installed already; choose another name")
    except metadata.PackageNotFoundError:
        return


def write_package(name: str, into: Path = Path("."), licence: str = "MIT", author: str | None = None) -> list[Path]:
    """Write the folder calczoo-NAME inside `into`, all of it or nothing; its files.

    licence: one of LICENCES; author: whom LICENSE names. Raises OptionError; nothing is ever overwritten.
    """
    check_name(name)
    if licence not in LICENCES:
        raise OptionError(f"licence is '{licence}'; choose one of {', '.join(LICENCES)}, or 'none' and add your own")
    if author is not None and (not author.strip() or not author.isprintable()):
        raise OptionError(f"author is {author!r}; write one line, as in 'A. Person'")
    words = _words(name, licence, author)
    if not into.is_dir():
        raise OptionError(f"'{into}' is no folder; make it first or name another one with --into")
    target = into / words["DIST"]
    if os.path.lexists(target):
        raise OptionError(f"'{target}' is there already, and nothing is overwritten; move it away or choose --into")
    sources = dict(FILES) if licence == "none" else {**FILES, "LICENSE": licence}
    templates = files(__package__) / "templates"
    scratch = Path(tempfile.mkdtemp(dir=into, prefix=f".{words['DIST']}."))
    try:
        for path, template in sources.items():
            file = scratch / _fill(path, words)
            file.parent.mkdir(parents=True, exist_ok=True)
            text = (templates / f"{template}.tmpl").read_text(encoding="utf-8")
            file.write_text(_fill(text, words), encoding="utf-8")
        (scratch / "ci.sh").chmod(0o755)
        scratch.chmod(0o755)
        os.rename(scratch, target)  # nobody sees half of it
    except BaseException:
        shutil.rmtree(scratch, ignore_errors=True)
        raise
    return [target / _fill(path, words) for path in sources]


def _words(name: str, licence: str, author: str | None) -> dict[str, str]:
    from calczoo import __version__

    dist = f"calczoo-{name.replace('_', '-')}"
    fields = f'license = "{licence}"\nlicense-files = ["LICENSE"]'
    note = f"\nLicence: {licence}; see LICENSE."
    if licence == "none":
        fields = 'classifiers = ["Private :: Do Not Upload"]   # until there is a licence'
        note = "\nNo licence yet: before publishing, add a file LICENSE and `license = ...` in `pyproject.toml`."
    return {
        "NAME": name,
        "MODULE": f"calczoo_{name}",
        "DIST": dist,
        "CALCZOO": __version__,
        "LICENCE_FIELDS": fields,
        "LICENCE_NOTE": note,
        "YEAR": str(datetime.date.today().year),
        "AUTHOR": author.strip() if author else f"the authors of {dist}",
        **BOUNDS,
    }


def _fill(text: str, words: Mapping[str, str]) -> str:
    """Replace every @WORD@ of the table."""
    return re.sub(r"@([A-Z_]+)@", lambda match: words[match[1]], text)
