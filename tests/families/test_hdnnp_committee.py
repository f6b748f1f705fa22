"""Committees of neural network potentials: folders of members, lists of folders, and their disagreement watched."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from ase.io import read

from calczoo import get_calculator
from calczoo.core.errors import OptionError
from calczoo.exchange import convert
from data import shared

MO = "data/hdnnp/mlearn_nnp/Mo"
CPU = {"device": "cpu", "threads": 1}
RUNNER = {"length_unit": "Bohr", "energy_unit": "Ha"}


def nnp(path, **more):
    return get_calculator("hdnnp", model=path, **CPU, **{**RUNNER, **more})


def crystal(symbol="Mo", seed=1, repeats=2) -> Atoms:
    atoms = bulk(symbol, cubic=True).repeat(repeats)
    atoms.rattle(0.05, seed=seed)
    return atoms


def _committee(tmp: Path, count: int = 3) -> Path:
    """Members that differ: copies whose last bias is moved, and one weight."""
    for k in range(count):
        folder = tmp / "many" / f"member_{k}"
        shutil.copytree(shared(MO), folder)
        lines = (folder / "weights.042.data").read_text().splitlines()
        first = lines[0].split()
        lines[0] = " ".join([f"{float(first[0]) + 0.02 * k:.17e}", *first[1:]])
        (folder / "weights.042.data").write_text("\n".join(lines) + "\n")
    return tmp / "many"


def test_a_folder_of_members_is_a_committee(tmp_path):
    folder = _committee(tmp_path)
    atoms = crystal()
    calc = nnp(folder)
    atoms.calc = calc
    members = [nnp(folder / f"member_{k}").evaluate([atoms])[0] for k in range(3)]
    assert atoms.get_potential_energy() == pytest.approx(np.mean([m["energy"] for m in members]), rel=1e-13)
    np.testing.assert_allclose(atoms.get_forces(), np.mean([m["forces"] for m in members], axis=0), atol=1e-11)
    assert calc.results["uncertainty"] == pytest.approx(np.std([m["energy"] for m in members]) / len(atoms), rel=1e-6)
    assert calc.results["uncertainties"].shape == (len(atoms),) and calc.results["uncertainties"].max() > 1e-4
    assert calc.card.name == "hdnnp:many" and calc.card.extra["members"] == [f"hdnnp:member_{k}" for k in range(3)]
    listed = nnp([folder / f"member_{k}" for k in range(3)])
    assert listed.evaluate([atoms])[0]["energy"] == atoms.get_potential_energy()
    assert get_calculator(folder, **CPU, **RUNNER).get_potential_energy(atoms) == atoms.get_potential_energy()
    done = convert(folder, tmp_path / "new", to_length_unit="A", to_energy_unit="eV", **RUNNER)
    assert len(done.files) == 12 and "committee of 3" in done.notes[-1]
    again = get_calculator("hdnnp", tmp_path / "new", **CPU)
    assert again.get_potential_energy(atoms) == pytest.approx(atoms.get_potential_energy(), rel=1e-12)


def test_a_converted_committee_was_hidden_by_the_potential_in_its_folder(tmp_path):
    """A folder with an input.nn of its own is one potential, whatever folders are in it."""
    convert(shared(MO), tmp_path / "new", **RUNNER)
    with pytest.raises(OptionError, match=r"new holds one potential, and .*many is a committee of 2; name another"):
        convert(_committee(tmp_path, 2), tmp_path / "new", **RUNNER)
    assert not (tmp_path / "new" / "member_0").exists()


def test_disagreement_is_watched(tmp_path):
    from ase.md.verlet import VelocityVerlet
    from ase.units import fs

    from calczoo import ExtrapolationStop, grade_watch

    atoms = crystal()
    atoms.calc = nnp(_committee(tmp_path))
    dyn = VelocityVerlet(atoms, 1.0 * fs)
    watch = grade_watch(atoms, dyn, save=1e-6, stop=1e3, path=tmp_path / "s.extxyz", quantity="uncertainties")
    dyn.run(2)
    assert watch.saved == 3 and watch.largest == pytest.approx(atoms.calc.results["uncertainties"].max(), rel=0.5)
    assert read(tmp_path / "s.extxyz", index=-1).arrays["uncertainties"].shape == (len(atoms),)
    stop = grade_watch(atoms, VelocityVerlet(atoms, fs), save=None, stop=1e-9, path=None, quantity="uncertainty")
    with pytest.raises(ExtrapolationStop, match=r"uncertainty of the energy \(eV/atom\) is .*above 1e-09"):
        stop()
    with pytest.raises(OptionError, match="uncertainty has no usual thresholds"):
        grade_watch(atoms, dyn, quantity="uncertainty", path=None)
    with pytest.raises(OptionError, match="quantity is 'spread'; allowed are"):
        grade_watch(atoms, dyn, quantity="spread", path=None)
    atoms.calc = nnp(shared(MO))
    with pytest.raises(OptionError, match="gives no uncertainty; committees do"):
        grade_watch(atoms, dyn, save=1.0, quantity="uncertainty", path=None)
