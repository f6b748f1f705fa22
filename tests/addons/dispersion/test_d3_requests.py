"""What may be asked of the d3 add-on, its card, and its errors."""

from __future__ import annotations

import copy
import pickle
import subprocess
import sys

import pytest
import torch
from ase import Atoms
from ase.build import molecule

from addons.dispersion.structures import package, salt
from calczoo import describe, get_calculator
from calczoo.core.errors import (
    AtomsOverlap,
    BackendUnavailable,
    OptionError,
    PropertyNotImplementedError,
    TooLarge,
    UnsupportedElement,
)
from calczoo.core.pairs import no_pairs
from calczoo.core.system import System

dftd3 = package("dftd3")


def test_own_parameters_are_those_of_the_functional():
    atoms = molecule("CH3CH2OH")
    by_name, own = (get_calculator(s) for s in ("d3(pbe)", "d3(s8=0.7875, a1=0.4289, a2=4.4407)"))
    assert own.get_potential_energy(atoms) == pytest.approx(by_name.get_potential_energy(atoms), rel=1e-12)
    assert get_calculator("d3", functional="PBE").get_potential_energy(atoms) == by_name.get_potential_energy(atoms)


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("d3(pbee)", r"bj damping has no .* the functional 'pbee'; did you mean 'pbe'.* It has: .*, b3lyp, .*tpss"),
        ("d3(b3lyp, damping=zeta)", "damping is 'zeta'; allowed are bj, zero, bjm, zerom, op"),
        ("d3(rpbe, damping=op)", "op damping has no parameters for the functional 'rpbe'"),
        ("d3:pbe", r"write 'd3\(pbe\)'"),
        ("d3()", r"name a functional, as in 'd3\(pbe\)', or give s8, a1, a2"),
        ("d3(pbe, tpss)", "takes one functional"),
        ("d3(3.0)", "the functional is 3.0"),
        ("d3(pbe, a1=0.5)", "either the functional or all parameters"),
        ("d3(pbe, s9=0.5)", "s9 belongs to own parameters"),
        ("d3(s8=1.0)", "bj damping needs a1, a2"),
        ("d3(s8=1.0, a1=0.4, a2=4.0, rs6=1.0)", "no parameter 'rs6'.*belongs to zero, zerom"),
        ("d3(s8=1.0, a1=0.4, a2=deep)", "a2 is 'deep'"),
        ("d3(s8=1.0, a1=0.4, a2=4.0, s9=-1)", "s9 is -1"),
        ("d3(pbe, atm=maybe)", "atm is 'maybe'; it must be true or false"),
        ("d3(pbe, disp2=0)", "disp2 is 0; it must be between 1 and 200 A"),
        ("d3(pbe, width2=40)", "width2 is larger than disp2"),
        ("d3(pbe, cutof=3)", "no option 'cutof'"),
        ("d3(pbe, engine=gpu)", "engine is 'gpu'; allowed are auto, dftd3, nvalchemi"),
        ("d3(pbe, engine=nvalchemi, damping=zero)", "engine=nvalchemi has bj damping only, not zero; use engine=dftd3"),
        ("d3(pbe, engine=nvalchemi, atm=true)", "engine=nvalchemi has no three-body term"),
        ("d3(pbe, engine=nvalchemi, cn=5)", "counts neighbours up to disp2"),
    ],
)  # fmt: skip
def test_wrong_requests(spec, message):
    with pytest.raises(OptionError, match=message):
        get_calculator(spec)


def test_elements():
    atoms = Atoms("CRf", [[0, 0, 0], [0, 0, 3]])
    with pytest.raises(UnsupportedElement, match="'Rf'"):
        get_calculator("d3(pbe)").get_potential_energy(atoms)
    with pytest.raises(UnsupportedElement, match="'Rf'"):
        get_calculator("d3(pbe)", elements=["C", "Rf"])
    assert get_calculator("d3(pbe)").get_potential_energy(Atoms("Lr2", [[0, 0, 0], [0, 0, 3.0]])) < 0.0
    with pytest.raises(UnsupportedElement, match="'O'"):
        get_calculator("d3(pbe)", elements=["C"]).get_potential_energy(molecule("CO"))


def test_bad_structures(monkeypatch):
    calc = get_calculator("d3(pbe)", device="cpu")
    with pytest.raises(AtomsOverlap):
        calc.get_potential_energy(Atoms("C2", [[0, 0, 0], [0, 0, 1e-5]]))
    with pytest.raises(PropertyNotImplementedError):
        calc.get_property("charges", molecule("H2O"))
    monkeypatch.setattr("calczoo.dispersion.model.available_memory_gib", lambda: 1e-7)
    with pytest.raises(TooLarge):
        calc.get_potential_energy(molecule("C60"))


def test_card():
    card = describe("d3(pbe, atm=true)")
    assert card.dispersion_included is True and card.extra["three-body term"] is True and len(card.elements) == 103
    assert card.name == "d3(pbe, bj, atm)" and "disp2=31.7506" in card.extra["real-space cutoffs"]
    assert "10.1002/jcc.21759" in card.doi and "LGPL" in card.licence
    own = describe("d3(damping=zero, s8=1.0, rs6=1.2)").name
    assert all(part in own for part in ("rs6=1.2", "s9=0", "alp=14", "zero"))


def test_single_precision_and_copies():
    atoms = salt()
    calc = get_calculator("d3(pbe)", device="cpu")
    want = calc.get_potential_energy(atoms)
    assert get_calculator("d3(pbe)", dtype="float32").get_potential_energy(atoms) == pytest.approx(want, rel=1e-5)
    assert (
        get_calculator("d3(pbe)", dtype="float32")
        .model.compute(
            System.from_atoms(atoms, dtype=torch.float32),
            no_pairs(System.from_atoms(atoms)),
            frozenset({"energy", "forces"}),
        )
        .forces.dtype
        == torch.float32
    )
    for twin in (copy.deepcopy(calc), pickle.loads(pickle.dumps(calc))):
        twin.reset()
        assert twin.get_potential_energy(atoms) == want


def test_without_the_package(monkeypatch):
    monkeypatch.setitem(sys.modules, "dftd3.interface", None)
    with pytest.raises(BackendUnavailable, match=r'pip install "calczoo\[dispersion\]"'):
        get_calculator("d3(pbe)")


def test_nothing_is_imported_before_it_is_asked_for():
    code = (
        "import sys, calczoo; calczoo.list_calculators(elements='Cu'); "
        "print([m for m in sys.modules if m.partition('.')[0] in ('dftd3', 'dftd4', 'nvalchemiops')])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
