"""Every contract test that takes `example` runs once per family and kind of file."""

from __future__ import annotations

import pytest

from contract.examples import EXAMPLES, Example


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "example" in metafunc.fixturenames:
        files_only = metafunc.module.__name__.endswith("test_files")
        chosen = [e for e in EXAMPLES if e.files or not files_only]
        metafunc.parametrize("example", chosen, ids=str, scope="module")


@pytest.fixture(scope="module")
def calc(example: Example):
    """The example's calculator on the default backend, shared by the tests of one module."""
    return example.calculator()
