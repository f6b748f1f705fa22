"""The KIM adapter: on stand-ins for kimpy and ASE's KIM module, and on real models where the KIM API is installed.

Real models need an interpreter with kimpy and the models of the package openkim-models: this one, or the one that the
environment variable CALCZOO_KIM_PYTHON names, in whose process they run.
"""

from __future__ import annotations

import importlib.util
import os
import sys
import types
from typing import NoReturn

import ase.calculators.kim as ase_kim
import numpy as np
import pytest
from ase.build import bulk
from ase.calculators.emt import EMT
from calczoo import describe, get_calculator
from calczoo.core.errors import (
    BackendUnavailable,
    ForeignError,
    OptionError,
    PropertyNotImplementedError,
    UnknownCalculator,
    UnsupportedElement,
)

from calczoo_kim import FAMILY, adapter, worker

NAME = "EMT_Standin_2026_CuAu__MO_123456789012_003"
REAL = "EAM_Dynamo_AcklandTichyVitek_1987_Cu__MO_179025990738_005"
PAIR = "SW_StillingerWeber_1985_Si__MO_405512056662_005"


class KIMModelNotFound(Exception):
    pass


def known(name: str) -> list[str]:
    if name != NAME:
        raise KIMModelNotFound(name)
    return ["Au", "Cu", "user01"]


class StandIn(EMT):
    """What ASE's KIM() returns, as far as the adapter uses it."""

    def __init__(self, model, simulator=None, options=None, debug=False):
        super().__init__()
        if model != NAME:
            raise KIMModelNotFound(model)
        self.asked = (simulator, options)
        part = types.SimpleNamespace(get_influence_distance=lambda: 6.5)
        self._kimmodeldata = types.SimpleNamespace(kim_model=types.SimpleNamespace(kim_model=part))


@pytest.fixture
def standin(monkeypatch):
    """A kimpy and a KIM module that know one model. Gives the log calls of kimpy."""
    calls: list = []
    log = types.SimpleNamespace(Log=types.SimpleNamespace(push_default_verbosity=calls.append))
    kimpy = types.ModuleType("kimpy")
    kimpy.__spec__ = importlib.util.spec_from_loader("kimpy", None)
    kimpy.log, kimpy.log_verbosity = log, types.SimpleNamespace(silent="silent")
    monkeypatch.setitem(sys.modules, "kimpy", kimpy)
    monkeypatch.setattr(ase_kim, "KIM", StandIn)
    monkeypatch.setattr(ase_kim, "get_model_supported_species", known)
    monkeypatch.setattr(worker, "_QUIET", [])
    return calls


def test_numbers_are_those_of_the_inner_calculator(standin):
    calc = get_calculator(f"kim:{NAME}", device="cpu")
    atoms = bulk("Cu").repeat(2)
    atoms.rattle(0.1, seed=1)
    want = atoms.copy()
    want.calc = EMT()
    assert calc.get_potential_energy(atoms) == pytest.approx(want.get_potential_energy(), abs=1e-12)
    np.testing.assert_allclose(calc.get_forces(atoms), want.get_forces(), atol=1e-12)
    np.testing.assert_allclose(calc.get_stress(atoms), want.get_stress(), atol=1e-12)
    assert standin == ["silent"]
    assert calc.model.calculator.facts == {"elements": ["Au", "Cu"], "cutoff": 6.5}
    assert calc.model.calculator.inner.asked == (None, {})


def test_options_reach_ase(standin):
    calc = get_calculator(f"kim:{NAME}", device="cpu", simulator="kimmodel", neigh_skin_ratio=0.3)
    calc.get_potential_energy(bulk("Au"))
    assert calc.model.calculator.inner.asked == ("kimmodel", {"neigh_skin_ratio": 0.3})


def test_card_and_elements(standin):
    card = describe(f"kim:{NAME}")
    assert card.elements == ("Au", "Cu") and "MO_123456789012_003" in card.citation
    assert card.outputs == ("energy", "forces", "stress")
    calc = get_calculator(f"kim:{NAME}", elements=["Cu"], device="cpu")
    with pytest.raises(UnsupportedElement, match="Au"):
        calc.get_potential_energy(bulk("Au"))
    with pytest.raises(PropertyNotImplementedError, match="energies"):
        calc.get_property("energies", bulk("Cu"))


@pytest.mark.parametrize(
    ("spec", "options", "error", "text"),
    [
        ("kim:Nothing__MO_000000000000_000", {}, UnknownCalculator, "kim-api-collections-management install"),
        ("kim", {}, OptionError, "name of an installed KIM model"),
        (f"kim:{NAME}", {"elements": ["Ni"]}, OptionError, "has no Ni"),
        (f"kim:{NAME}", {"simulator": "gulp"}, OptionError, "kimmodel, lammpslib"),
        (f"kim:{NAME}", {"neigh_skin_ratio": -1.0}, OptionError, "at least 0"),
        (f"kim:{NAME}", {"simulator": "asap", "neigh_skin_ratio": 0.1}, OptionError, "kimmodel only"),
        (f"kim:{NAME}", {"skin_ratio": 0.1}, OptionError, "neigh_skin_ratio"),
    ],
)
def test_wrong_requests(standin, spec, options, error, text):
    with pytest.raises(error, match=text):
        get_calculator(spec, device="cpu", **options)


def test_a_broken_model_is_told(standin, monkeypatch):
    def broken(name):
        raise RuntimeError("cannot open the library of the model")

    monkeypatch.setattr(ase_kim, "get_model_supported_species", broken)
    with pytest.raises(ForeignError, match="cannot open the library"):
        get_calculator(f"kim:{NAME}", device="cpu")


def test_without_kimpy_the_way_out_is_told(monkeypatch):
    find = importlib.util.find_spec
    monkeypatch.setattr(adapter.importlib.util, "find_spec", lambda n, *a: None if n == "kimpy" else find(n, *a))
    with pytest.raises(BackendUnavailable, match="conda install -c conda-forge kim-api kimpy"):
        get_calculator(f"kim:{NAME}", device="cpu")
    assert FAMILY.package == "kimpy" and FAMILY.outputs == ("energy", "forces", "stress")


# -- real models ------------------------------------------------------------------------------------------------


def missing(message: str) -> NoReturn:
    """Skip, or fail where CALCZOO_REQUIRE_PLUGINS=1."""
    if os.environ.get("CALCZOO_REQUIRE_PLUGINS") == "1":
        pytest.fail(message)
    pytest.skip(message)


def place() -> dict[str, str]:
    """Options that say where real models run."""
    python = os.environ.get("CALCZOO_KIM_PYTHON")
    return {"device": "cpu", "isolated": python} if python else {"device": "cpu"}


def real(name: str, **options):
    """A calculator of an installed model, here or in a process of the interpreter of CALCZOO_KIM_PYTHON."""
    if not os.environ.get("CALCZOO_KIM_PYTHON") and importlib.util.find_spec("kimpy") is None:
        missing("kimpy and the KIM API are not installed, and CALCZOO_KIM_PYTHON names no interpreter that has them")
    try:
        return get_calculator(f"kim:{name}", **place(), **options)
    except UnknownCalculator as error:
        missing(str(error))


@pytest.mark.parametrize(("name", "symbol", "a"), [(REAL, "Cu", 3.6), (PAIR, "Si", 4.2)])
def test_a_real_model(name, symbol, a, tmp_path, monkeypatch):
    """Forces and stress are derivatives of the energy to 1e-6; one calculator serves structures of several sizes."""
    monkeypatch.chdir(tmp_path)
    calc, h = real(name), 1e-4
    atoms = bulk(symbol, "fcc", a).repeat((2, 1, 1))
    atoms.rattle(0.1, seed=1)
    moved = []
    for sign in (1, -1):
        moved.append(atoms.copy())
        moved[-1].positions[0, 1] += sign * h
    for sign in (1, -1):
        strain = np.zeros((3, 3))
        strain[0, 1] = strain[1, 0] = sign * h / 2
        moved.append(atoms.copy())
        moved[-1].set_cell(atoms.cell.array @ (np.eye(3) + strain), scale_atoms=True)
    up, down, sheared, back = (calc.get_potential_energy(m) for m in moved)
    assert calc.get_forces(atoms)[0, 1] == pytest.approx(-(up - down) / (2 * h), abs=1e-6)
    assert calc.get_stress(atoms)[5] == pytest.approx((sheared - back) / (2 * h) / atoms.get_volume(), abs=1e-6)
    larger = atoms.repeat((1, 2, 1))
    assert calc.get_potential_energy(larger) == pytest.approx(2 * calc.get_potential_energy(atoms), abs=1e-9)
    assert symbol in calc.card.elements and not list(tmp_path.iterdir())


def test_a_real_model_that_is_not_there():
    real(REAL)
    with pytest.raises((UnknownCalculator, ForeignError), match="Could not find|no KIM model"):
        get_calculator("kim:Nothing__MO_000000000000_000", **place()).get_potential_energy(bulk("Cu"))
