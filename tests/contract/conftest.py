"""Every contract test that takes `example` runs once per family and kind of file."""

from __future__ import annotations

from pathlib import Path

import pytest

from contract.examples import EXAMPLES, Example


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "example" in metafunc.fixturenames:
        files_only = metafunc.module.__name__.endswith("test_files")
        chosen = [e for e in EXAMPLES if e.files or not files_only]
        metafunc.parametrize("example", chosen, ids=str, scope="module")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Structures of these tests may be closer than what a potential was fitted to, which some warn of."""
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.filterwarnings("ignore:.*below the potential's min_dist"))


@pytest.fixture(scope="module")
def calc(example: Example):
    """The example's calculator on the default backend, shared by the tests of one module."""
    return example.calculator()
