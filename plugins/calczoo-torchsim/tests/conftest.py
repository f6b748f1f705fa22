"""Without the package torch-sim-atomistic its tests are skipped; with CALCZOO_REQUIRE_PLUGINS=1 that is an error."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from calczoo.testing import skip_without

sys.path.append(str(Path(__file__).parent))  # for torchsim_structures


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    skip_without(items, "torch_sim")
