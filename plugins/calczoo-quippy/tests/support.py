"""What the tests share: GAP files and reference values, and the skip where they or quippy are not there."""

from __future__ import annotations

import importlib.util
import json
import os
from functools import cache
from pathlib import Path

import pytest
from ase import Atoms

DATA = Path(os.environ.get("CALCZOO_DATA", Path(__file__).resolve().parents[4] / "shared"))


def need_quippy() -> None:
    """Skip, or fail where CALCZOO_REQUIRE_PLUGINS=1, without quippy."""
    if importlib.util.find_spec("quippy") is None:
        message = "the package quippy is not installed"
        if os.environ.get("CALCZOO_REQUIRE_PLUGINS") == "1":
            pytest.fail(message)
        pytest.skip(message)


def gap(name: str) -> Path:
    """A GAP file of the reference data."""
    need_quippy()
    path = DATA / "reference" / "gap" / "potentials" / name
    if not path.is_file():
        if os.environ.get("CALCZOO_REQUIRE_DATA") == "1":
            pytest.fail(f"reference data {path} is not there")
        pytest.skip(f"reference data {path.name} is not on this machine (CALCZOO_DATA names the folder)")
    return path


@cache
def cases() -> list[dict]:
    """Reference values, [] where there are none."""
    path = DATA / "reference" / "gap" / "gap_golden.json"
    if not path.is_file() and os.environ.get("CALCZOO_REQUIRE_DATA") == "1":
        raise pytest.UsageError(f"{path} is not there although CALCZOO_REQUIRE_DATA=1")
    return json.loads(path.read_text())["cases"] if path.is_file() else []


def atoms_of(case: dict) -> Atoms:
    return Atoms(case["symbols"], positions=case["positions"], cell=case["cell"], pbc=case["pbc"])
