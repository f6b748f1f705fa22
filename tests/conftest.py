"""Settings shared by all tests: one thread per worker, hypothesis profiles, the cuda marker."""

from __future__ import annotations

import os

for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "CALCZOO_NUM_THREADS"):
    os.environ.setdefault(_name, "1")

import pytest  # noqa: E402
from hypothesis import HealthCheck, settings  # noqa: E402

# deadlines would fail on a busy machine; derandomize: the same examples on every machine
settings.register_profile(
    "calczoo", deadline=None, derandomize=True, max_examples=60, suppress_health_check=list(HealthCheck)
)
settings.register_profile("thorough", parent=settings.get_profile("calczoo"), derandomize=False, max_examples=2000)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "calczoo"))


def pytest_runtest_setup(item: pytest.Item) -> None:
    if item.get_closest_marker("cuda") is not None:
        import torch

        if not torch.cuda.is_available():
            pytest.skip("torch sees no CUDA device")
