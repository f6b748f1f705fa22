"""Without the package metatomic its tests are skipped; with CALCZOO_REQUIRE_PLUGINS=1 that is an error. The models
of the tests are made by hand and exported once."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from pathlib import Path

import pytest
from calczoo.testing import skip_without


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    skip_without(items, "metatomic")


@pytest.fixture(scope="session")
def export(tmp_path_factory) -> Callable[..., Path]:
    """(**what write of pair_models.py takes) -> file of the model; the same one for the same arguments."""
    folder = tmp_path_factory.mktemp("metatomic")
    spec = importlib.util.spec_from_file_location("pair_models", Path(__file__).with_name("pair_models.py"))
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    made: dict[str, Path] = {}

    def write(**options) -> Path:
        key = repr(sorted(options.items()))
        if key not in made:
            made[key] = module.write(folder / f"pairs{len(made)}.pt", **options)
        return made[key]

    return write


@pytest.fixture(scope="class")
def exported(request, export) -> None:
    """For classes whose calculators are made outside fixtures."""
    request.cls.export = staticmethod(export)
