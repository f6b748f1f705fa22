"""Without the package sevenn its tests are skipped; with CALCZOO_REQUIRE_PLUGINS=1 that is an error.

The longest checks of the conformance kit are marked slow.
"""

from __future__ import annotations

import pytest
from calczoo.testing import skip_without

LONG = ("forces", "stress", "threads", "memory", "nve", "reuse")
"""Checks of the kit that take most of its time with a large network."""


@pytest.hookimpl(tryfirst=True)  # before tests are chosen by their marks
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if getattr(item, "callspec", None) is not None and item.callspec.params.get("check") in LONG:
            item.add_marker(pytest.mark.slow)
    skip_without(items, "sevenn")
