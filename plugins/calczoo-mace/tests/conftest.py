"""Where the tests find mace-torch: in this process, or in an environment of its own."""

from __future__ import annotations

import importlib.util
import os

import pytest


def interpreter() -> str | bool:
    """What the option `isolated` gets: CALCZOO_MACE_PYTHON, else False where mace is importable here, else the
    interpreter of `calczoo env create mace`."""
    from calczoo import get_family
    from calczoo.core.errors import BackendUnavailable
    from calczoo.isolated.environments import interpreter

    if given := os.environ.get("CALCZOO_MACE_PYTHON"):
        return given
    if importlib.util.find_spec("mace"):
        return False
    try:
        return interpreter(get_family("mace"))
    except BackendUnavailable as error:
        if os.environ.get("CALCZOO_REQUIRE_PLUGINS") == "1":
            pytest.fail(str(error))
        pytest.skip(f"mace-torch is not there: {error} (CALCZOO_MACE_PYTHON names an interpreter that has it)")


@pytest.fixture(scope="session")
def where() -> str | bool:
    return interpreter()


@pytest.fixture(scope="session")
def own(where):
    """Interpreter of an environment of its own; skips where mace is in this one."""
    if where is False:
        pytest.skip("mace is in this process")
    return where


@pytest.fixture(scope="session")
def double(where):
    from calczoo import get_calculator

    return get_calculator("mace:random", device="cpu", threads=1, isolated=where)


@pytest.fixture(scope="session")
def single(where):
    from calczoo import get_calculator

    return get_calculator("mace:random", device="cpu", dtype="float32", threads=1, isolated=where)


@pytest.fixture(scope="class")
def given_where(request, where):
    """For classes whose calculators are made outside fixtures."""
    request.cls.where = where
