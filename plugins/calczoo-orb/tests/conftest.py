"""Without the package orb_models its tests are skipped; with CALCZOO_REQUIRE_PLUGINS=1 that is an error."""

from __future__ import annotations

import pytest
from calczoo.testing import skip_without


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    skip_without(items, "orb_models")
