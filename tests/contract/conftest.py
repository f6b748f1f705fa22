"""Every contract test that takes `example` runs once per family and kind of file."""

from __future__ import annotations

import pytest

from contract.examples import EXAMPLES, Example


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "example" in metafunc.fixturenames:
        metafunc.parametrize("example", EXAMPLES, ids=str, scope="module")


@pytest.fixture(scope="module")
def calc(example: Example):
    """The example's calculator on the default backend, shared by the tests of one module."""
    return example.calculator()
