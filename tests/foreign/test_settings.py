"""What foreign code changes in the process stays inside its calls, and is there when it is called again."""

from __future__ import annotations

import logging
import os
import random
import warnings

import numpy as np
import pytest
import torch
from ase.build import bulk
from ase.calculators.calculator import Calculator, all_changes

from calczoo import Card
from calczoo.calculator import ZooCalculator
from calczoo.core.errors import ForeignError
from calczoo.foreign import AseModel, guarded


def state():
    return {
        "dtype": torch.get_default_dtype(),
        "device": torch.get_default_device(),
        "threads": torch.get_num_threads(),
        "matmul": torch.get_float32_matmul_precision(),
        "deterministic": torch.are_deterministic_algorithms_enabled(),
        "grad": torch.is_grad_enabled(),
        "errors": np.geterr(),
        "environ": dict(os.environ),
        "filters": list(warnings.filters),
        "random": random.getstate(),
        "numpy": [str(x) for x in np.random.get_state()],
        "torch": torch.get_rng_state().tolist(),
        "log": (logging.getLogger().level, list(logging.getLogger().handlers)),
        "select": torch.index_select,
    }


def vandal() -> None:
    """Everything that packages have been seen to do, and more."""
    torch.set_default_dtype(torch.float64 if torch.get_default_dtype() == torch.float32 else torch.float32)
    torch.set_default_device("meta")
    torch.set_num_threads(torch.get_num_threads() + 1)
    torch.set_float32_matmul_precision("high")
    torch.use_deterministic_algorithms(True)
    torch.set_grad_enabled(False)
    np.seterr(all="ignore")
    os.environ["CALCZOO_TEST_VANDAL"] = "1"
    os.environ.pop("CALCZOO_TEST_OWN", None)
    warnings.simplefilter("ignore")
    random.seed(1)
    np.random.seed(1)
    torch.manual_seed(1)
    logging.basicConfig(level=logging.DEBUG, force=True)
    torch.index_select = lambda *arguments: None  # torch_geometric


class Vandal(Calculator):
    implemented_properties = ("energy", "forces")

    def __init__(self, fails=False, again=False):
        super().__init__()
        self.fails, self.again, self.seen = fails, again, []
        vandal()

    def calculate(self, atoms=None, properties=("energy",), system_changes=all_changes):
        super().calculate(atoms, properties, system_changes)
        self.seen.append(
            (torch.get_default_dtype(), os.environ.get("CALCZOO_TEST_VANDAL"), os.environ.get("CALCZOO_TEST_OWN"),
             np.geterr()["over"], torch.get_num_threads())
        )  # fmt: skip
        print("chatter")
        if self.again:
            vandal()
        if self.fails:
            raise RuntimeError("out of luck")
        energy = float(np.random.rand() + torch.rand(1, device="cpu"))
        self.results = {"energy": energy, "forces": np.zeros((len(atoms), 3))}


def model_of(**how) -> ZooCalculator:
    return ZooCalculator(AseModel(Card("vandal", "t", ("Cu",), 1.0), None, lambda: Vandal(**how), ("energy", "forces")))


@pytest.mark.parametrize("how", [{}, {"again": True}, {"fails": True}, {"fails": True, "again": True}])
def test_nothing_leaks(how, monkeypatch, capsys):
    monkeypatch.setenv("CALCZOO_TEST_OWN", "mine")
    calc, before = model_of(**how), state()
    for _ in range(2):
        if "fails" in how:
            with pytest.raises(ForeignError, match="out of luck"):
                calc.evaluate(bulk("Cu"), ("energy", "forces"))
        else:
            calc.evaluate(bulk("Cu"), ("energy", "forces"))
        after = state()
        assert {k for k in before if before[k] != after[k]} == set()
    assert capsys.readouterr().out == "", "what foreign code prints must not mix with a command's JSON"


def test_what_the_construction_set_is_there_at_every_call(monkeypatch):
    monkeypatch.setenv("CALCZOO_TEST_OWN", "mine")
    calc = model_of(again=True)
    calc.model.threads = 3
    for strain in (1.0, 1.1, 1.2):
        calc.evaluate(bulk("Cu", a=3.6 * strain), ("energy", "forces"))
    other = torch.float64 if torch.get_default_dtype() == torch.float32 else torch.float32
    assert calc.model.calculator.seen == [(other, "1", None, "ignore", 3)] * 3


def test_a_warning_is_not_shown_again_at_every_call():
    class Warner(Vandal):
        def __init__(self):
            Calculator.__init__(self)

        def calculate(self, atoms=None, properties=("energy",), system_changes=all_changes):
            warnings.warn("old stuff", UserWarning, stacklevel=1)
            self.results = {"energy": 0.0, "forces": np.zeros((1, 3))}

    calc = ZooCalculator(AseModel(Card("w", "t", ("Cu",), 1.0), None, Warner, ("energy", "forces")))
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("default")
        for a in (3.5, 3.6, 3.7):
            calc.evaluate(bulk("Cu", a=a), ("energy", "forces"))
    assert len(seen) == 1


def test_guarded():
    before = state()
    with guarded():
        vandal()
    after = state()
    assert {k for k in before if before[k] != after[k]} == set()
    with pytest.raises(ZeroDivisionError), guarded():
        vandal()
        _ = 1 / 0
    assert state()["environ"] == before["environ"]
