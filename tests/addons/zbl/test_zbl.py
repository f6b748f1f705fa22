"""ZBL against LAMMPS, its switching, its commands."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import bulk
from hypothesis import given
from hypothesis import strategies as st

from calczoo import get_calculator
from calczoo.addons.zbl.formats import format_commands, read_commands, write_commands
from calczoo.addons.zbl.load import build
from calczoo.addons.zbl.params import ZblParams
from calczoo.calculator import ZooCalculator
from calczoo.core.errors import OptionError, PotentialFileError, UnsupportedElement
from calczoo.registry import ModelRequest
from data import lammps_potential, reference
from families.lammps_cases import cases, check_derivatives, check_longer_list, compare
from families.mutations import mutants

BACKENDS = ("torch", "warp")
CASES = cases("addons/zbl")
COMMANDS = """# core repulsion
pair_style zbl 2.0 3.1
pair_coeff 1 1 49 49
pair_coeff 1 2 50.5 15
pair_coeff 2 2 15 15
"""


def calculator(params: ZblParams, backend: str) -> ZooCalculator:
    return ZooCalculator(build(params, ModelRequest("zbl", device="cpu", backend=backend, threads=1)))


@pytest.mark.parametrize("backend", BACKENDS)
def test_tungsten_beryllium_equals_lammps(backend):
    compare(get_calculator("zbl(3.0, 4.0)", backend=backend), reference("zbl_WBe")["structures"])


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("name", ["pairs", "mixed"])
def test_own_charges_equal_lammps(name, backend, tmp_path):
    path = tmp_path / "zbl.in"
    path.write_text("\n".join(CASES[name]["commands"]))
    compare(get_calculator("zbl", path, elements=["In", "P"], backend=backend), CASES[name]["structures"])


@pytest.mark.parametrize("backend", BACKENDS)
def test_some_pairs_only(backend):
    params = ZblParams(2.0, 3.1, {("P", "In"): (15, 49)}, ("In", "P"))
    assert params.pairs == {("In", "P"): (49.0, 15.0)} and params.charges("P", "In") == (15.0, 49.0)
    compare(calculator(params, backend), CASES["some"]["structures"])


@pytest.mark.parametrize("backend", BACKENDS)
def test_energy_and_two_derivatives_vanish_at_the_cutoff(backend):
    calc = get_calculator("zbl(2.0, 3.0)", backend=backend)

    def energy(r: float) -> float:
        return calc.evaluate([Atoms("WBe", positions=[[0, 0, 0], [r, 0, 0]])], ("energy",))[0]["energy"]

    assert energy(3.0) == energy(3.4) == 0.0
    # the third order term is left: E(3 - h) is proportional to h^3
    assert energy(2.98) / energy(2.99) == pytest.approx(8.0, rel=0.05)


@pytest.mark.parametrize("backend", BACKENDS)
def test_forces_are_derivatives(backend):
    atoms = bulk("W", "bcc", a=2.9, cubic=True).repeat(2)
    atoms.symbols[::3] = "Be"
    atoms.rattle(0.2, seed=1)
    check_derivatives(get_calculator("zbl(2.0, 3.0)", backend=backend), atoms, 1e-8)


@pytest.mark.parametrize("backend", BACKENDS)
def test_longer_lists_and_threads_change_nothing(backend):
    atoms = bulk("W", "bcc", a=2.9, cubic=True).repeat(2)
    atoms.symbols[::3] = "Be"
    atoms.rattle(0.2, seed=1)
    check_longer_list(get_calculator("zbl(2.0, 3.0)", backend=backend), atoms)


def test_float32_stays_close():
    atoms = bulk("W", "bcc", a=2.9, cubic=True)
    atoms.rattle(0.1, seed=1)
    exact = get_calculator("zbl(2.0, 3.0)").evaluate([atoms])[0]
    for backend in BACKENDS:
        single = get_calculator("zbl(2.0, 3.0)", backend=backend, dtype="float32").evaluate([atoms])[0]
        np.testing.assert_allclose(single["forces"], exact["forces"], atol=1e-5 * np.abs(exact["forces"]).max())


def test_torch_backend_is_differentiable():
    from calczoo.core.pairs import find_pairs
    from calczoo.core.system import System

    model = get_calculator("zbl(2.0, 3.0)", backend="torch").model
    system = System.from_atoms(Atoms("WBeW", positions=[[0, 0, 0], [1.8, 0, 0], [0, 2.4, 0.3]]))
    pairs = find_pairs(system, 3.0)

    def energies(vectors: torch.Tensor) -> torch.Tensor:
        return model.site_energies(system, pairs, vectors)

    vectors = pairs.vectors(system).requires_grad_(True)
    assert torch.autograd.gradcheck(energies, vectors) and torch.autograd.gradgradcheck(energies, vectors)


def test_added_to_eam():
    atoms = bulk("Cu", "fcc", a=3.0, cubic=True)
    atoms.rattle(0.1, seed=2)
    path = lammps_potential("Cu_mishin1.eam.alloy")
    total = get_calculator(f"eam:'{path}' + 0.5*zbl(1,2.5)").evaluate([atoms])[0]
    base, core = (get_calculator(*s).evaluate([atoms])[0] for s in (("eam", path), ("zbl(1,2.5)",)))
    assert core["energy"] > 1.0
    for key in ("energy", "forces", "stress"):
        np.testing.assert_allclose(total[key], base[key] + 0.5 * core[key], atol=1e-10)


# -- arguments and commands --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("zbl", "inner and outer missing"),
        ("zbl(4.0)", "outer missing"),
        ("zbl(4.8, 4.0)", "0 < inner < outer"),
        ("zbl(0, 4.0)", "0 < inner < outer"),
        ("zbl(-1, 4.0)", "0 < inner < outer"),
        ("zbl(1, 1e9)", "0 < inner < outer <= 100"),
        ("zbl(a, 4.0)", "inner is 'a'"),
        ("zbl(1, nan)", "outer is nan"),
        ("zbl(1, 2, 3)", "once each"),
        ("zbl(1, 2, outer=3)", "once each"),
        ("zbl(1, 2, z=3)", "no option 'z'"),
    ],
)
def test_bad_arguments(spec, message):
    with pytest.raises(OptionError, match=message):
        get_calculator(spec)


def test_elements_and_named_arguments():
    calc = get_calculator("zbl(inner=1, outer=2)", elements="W, Be")
    assert calc.card.elements == ("W", "Be") and calc.card.cutoff == 2.0
    with pytest.raises(UnsupportedElement, match="'Cu'"):
        calc.get_potential_energy(Atoms("Cu"))
    assert len(get_calculator("zbl(1, 2)").model.numbers) == 118


def test_params_refuse_nonsense():
    for pairs in ({}, {("W", "W"): (0, 1)}, {("W", "W"): (np.nan, 1)}, {("W", "He"): (74, 2)}):
        with pytest.raises(OptionError):
            ZblParams(1.0, 2.0, pairs, ("W",))
    with pytest.raises(OptionError, match="given twice"):
        ZblParams(1.0, 2.0, {("W", "He"): (74, 2), ("He", "W"): (3, 74)})


def test_commands_round_trip(tmp_path):
    path = tmp_path / "zbl.in"
    path.write_text(COMMANDS)
    params = read_commands(path, ("In", "P"))
    assert params.pairs == {("In", "In"): (49, 49), ("In", "P"): (50.5, 15), ("P", "P"): (15, 15)}
    again = read_commands(write_commands(tmp_path / "again.in", params, ("P", "In")), ("P", "In"))
    assert again.pairs == params.pairs and again.inner == 2.0 and again.outer == 3.1
    with pytest.raises(OptionError, match="has no ZBL term"):
        format_commands(ZblParams(1.0, 2.0, {("W", "W"): (74, 74)}), ("W", "He"))


def test_ranges_of_types(tmp_path):
    path = tmp_path / "zbl.in"
    path.write_text("pair_style zbl 1 2\npair_coeff * * 8 8\npair_coeff 2* 3 9 9\n")
    params = read_commands(path, ("H", "He", "Li"))
    assert params.charges("He", "Li") == (9, 9) and params.charges("H", "Li") == (8, 8)


@pytest.mark.parametrize(
    ("old", "new", "line", "message"),
    [
        ("2.0 3.1", "3.1 2.0", 2, "cutoffs 3.1 and 2.0"),
        ("2.0 3.1", "2.0", 2, "'pair_style zbl 2.0'"),
        ("zbl", "snap", 2, "'pair_style snap 2.0 3.1'"),
        ("1 2 50.5 15", "1 3 50.5 15", 4, "'3' is not a whole number from 1 to 2"),
        ("1 1 49 49", "1 1 49 48", 3, "for type 1"),
        ("1 1 49 49", "1 1 nan 48", 3, "'nan' is not a finite number"),
        ("1 1 49 49", "1 1 0 0", 3, "nuclear charges between 0 and 200"),
        ("1 2 50.5 15", "2 1 50.5 15", 4, "expected I <= J"),
        ("pair_coeff 2 2 15 15\n", "mass 1 1\n", 5, "command 'mass'"),
        ("pair_coeff 2 2 15 15\n", "", None, "no pair_coeff for types 2 and 2"),
        ("pair_style zbl 2.0 3.1\n", "", None, "no pair_style"),
        ("pair_style zbl 2.0 3.1\n", "pair_style zbl 2.0 3.1\n" * 2, 3, "a second pair_style"),
    ],
)
def test_errors_name_what_is_wrong(old, new, line, message, tmp_path):
    path = tmp_path / "zbl.in"
    path.write_text(COMMANDS.replace(old, new))
    with pytest.raises(PotentialFileError, match=message) as error:
        read_commands(path, ("In", "P"))
    assert error.value.line == line


def test_a_file_needs_a_type_map(tmp_path):
    path = tmp_path / "zbl.in"
    path.write_text(COMMANDS)
    with pytest.raises(OptionError, match="elements="):
        get_calculator("zbl", path)


@given(data=st.data())
def test_mutants_load_or_are_refused(data, tmp_path_factory):
    path = tmp_path_factory.getbasetemp() / "mutant.in"
    path.write_bytes(data.draw(mutants(COMMANDS.encode())))
    try:
        params = read_commands(path, ("In", "P"))
    except PotentialFileError:
        return
    path.write_text(format_commands(params, ("In", "P")))
    assert read_commands(path, ("In", "P")).pairs == params.pairs
    energy = calculator(params, "torch").evaluate([Atoms("InP", positions=1.5 * np.eye(2, 3))], ("energy",))[0]
    assert np.isfinite(energy["energy"])
