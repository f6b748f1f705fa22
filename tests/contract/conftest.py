"""Every contract test that takes `example` runs once per family, file format and bundled model."""

from __future__ import annotations

import pytest

from contract.examples import Example, all_examples


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "example" in metafunc.fixturenames:
        metafunc.parametrize("example", all_examples(), ids=str, scope="module")


@pytest.fixture(scope="module")
def calc(example: Example):
    """The example's calculator on the default backend, shared by the tests of one module."""
    return example.calculator()
