"""Every contract test that takes `example` runs once per family and kind of file."""

from __future__ import annotations

import pytest

from contract.examples import EXAMPLES, LONG_RANGE, WRAPPED, Example


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "example" in metafunc.fixturenames:
        name = metafunc.module.__name__
        chosen = [e for e in EXAMPLES if e.files or not name.endswith("test_files")]
        if name.endswith("test_long_range"):
            chosen = list(LONG_RANGE)
        if name.endswith("test_wrapped"):
            chosen = list(WRAPPED)
        metafunc.parametrize("example", chosen, ids=str, scope="module")


@pytest.fixture(scope="module")
def calc(example: Example):
    """The example's calculator on the default backend, shared by the tests of one module."""
    return example.calculator()
