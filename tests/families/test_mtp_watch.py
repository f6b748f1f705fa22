"""The extrapolation grade watched in dynamics: what is saved, when a run stops, and that nothing is lost."""

from __future__ import annotations

import numpy as np
import pytest
from ase.build import bulk
from ase.calculators.calculator import Calculator, all_changes
from ase.calculators.emt import EMT
from ase.io import read
from ase.md.bussi import Bussi
from ase.md.verlet import VelocityVerlet
from ase.optimize import BFGS
from ase.units import fs

from calczoo import CalczooError, ExtrapolationStop, get_calculator, grade_watch
from calczoo.core.errors import DataError, OptionError
from calczoo.watch import append_frame, grade_of, mend
from data import shared


class Graded(Calculator):
    """EMT with a grade of another package's kind: the n-th structure has the grade `grades[n]`."""

    implemented_properties = ["energy", "forces", "extrapolation_grade", "extrapolation_grades"]

    def __init__(self, grades):
        super().__init__()
        self.inner, self.grades, self.calls = EMT(), list(grades), 0

    def calculate(self, atoms=None, properties=("energy",), system_changes=all_changes):
        super().calculate(atoms, properties, system_changes)
        grade = self.grades[min(self.calls, len(self.grades) - 1)]
        self.calls += 1
        self.results = {
            "energy": self.inner.get_potential_energy(self.atoms),
            "forces": self.inner.get_forces(self.atoms),
            "extrapolation_grade": grade,
            "extrapolation_grades": np.minimum(grade, np.arange(len(self.atoms)) + 1.0),
        }


@pytest.fixture
def atoms():
    out = bulk("Cu", cubic=True).repeat(2)
    out.rattle(0.05, seed=1)
    out.calc = Graded([0.5, 1.0, 3.0, 1.5, 9.9, 2.0, 10.5, 4.0])
    return out


def test_saves_above_one_threshold_and_stops_above_the_other(atoms, tmp_path):
    file = tmp_path / "pre.extxyz"
    dyn = VelocityVerlet(atoms, 1.0 * fs)
    watch = grade_watch(atoms, dyn, save=2.0, stop=10.0, path=file)
    with pytest.raises(ExtrapolationStop, match="stopped at step 6: the extrapolation grade is 10.5, above 10") as stop:
        dyn.run(50)
    assert isinstance(stop.value, CalczooError)
    assert (stop.value.grade, stop.value.step, stop.value.saved, stop.value.path) == (10.5, 6, 3, file)
    assert (watch.saved, watch.largest, watch.largest_step, watch.calls) == (3, 10.5, 6, 7)
    frames = read(file, ":")
    assert [f.info["extrapolation_grade"] for f in frames] == [3.0, 9.9, 10.5]
    assert [f.info["step"] for f in frames] == [2, 4, 6]
    last = frames[-1]
    np.testing.assert_allclose(last.positions, atoms.positions, atol=1e-7)
    np.testing.assert_allclose(last.get_forces(), atoms.calc.results["forces"], atol=1e-7)
    np.testing.assert_allclose(last.get_momenta(), atoms.get_momenta(), atol=1e-6)
    assert last.get_potential_energy() == pytest.approx(atoms.get_potential_energy(), abs=1e-7)
    np.testing.assert_allclose(
        last.arrays["extrapolation_grades"], np.minimum(10.5, np.arange(len(atoms)) + 1.0), atol=1e-6
    )


def test_the_calculator_is_called_once_per_step(atoms, tmp_path):
    dyn = VelocityVerlet(atoms, 1.0 * fs)
    grade_watch(atoms, dyn, path=tmp_path / "pre.extxyz", stop=None)
    dyn.run(5)
    assert atoms.calc.calls == 6


def test_either_threshold_alone(atoms, tmp_path):
    dyn = VelocityVerlet(atoms, 1.0 * fs)
    grade_watch(atoms, dyn, save=None, stop=9.0, path=tmp_path / "a.extxyz")
    with pytest.raises(ExtrapolationStop):
        dyn.run(50)
    assert [f.info["step"] for f in read(tmp_path / "a.extxyz", ":")] == [4], "the frame that stops is kept"
    atoms.calc = Graded([11.0])
    dyn = VelocityVerlet(atoms, 1.0 * fs)
    watch = grade_watch(atoms, dyn, save=2.0, stop=None, path=tmp_path / "b.extxyz", interval=2)
    dyn.run(6)
    assert watch.saved == 4 == len(read(tmp_path / "b.extxyz", ":"))
    dyn = VelocityVerlet(atoms, 1.0 * fs)
    grade_watch(atoms, dyn, path=None)
    with pytest.raises(ExtrapolationStop, match="no frame was to be saved"):
        dyn.run(1)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_grade_that_is_no_number_stops(atoms, tmp_path, bad):
    atoms.calc = Graded([1.0, bad])
    dyn = VelocityVerlet(atoms, 1.0 * fs)
    grade_watch(atoms, dyn, path=tmp_path / "pre.extxyz")
    with pytest.raises(ExtrapolationStop):
        dyn.run(5)
    assert dyn.nsteps == 1


def test_other_dynamics_and_optimizers(atoms, tmp_path):
    for k, make in enumerate((lambda a: Bussi(a, 1.0 * fs, temperature_K=300, taut=100 * fs), BFGS)):
        atoms.calc = Graded([1.0, 3.0, 20.0])
        atoms.set_momenta(np.random.default_rng(0).normal(0.0, 1.0, (len(atoms), 3)))
        dyn = make(atoms)
        grade_watch(atoms, dyn, path=tmp_path / f"{k}.extxyz")
        with pytest.raises(ExtrapolationStop):
            dyn.run(steps=10)
        assert len(read(tmp_path / f"{k}.extxyz", ":")) == 2


def test_what_was_saved_stays(atoms, tmp_path):
    """A second run adds to the file; half a frame that a killed run has left is put aside."""
    file = tmp_path / "pre.extxyz"
    for _ in range(2):
        atoms.calc = Graded([1.0, 3.0, 20.0])
        dyn = VelocityVerlet(atoms, 1.0 * fs)
        grade_watch(atoms, dyn, path=file)
        with pytest.raises(ExtrapolationStop):
            dyn.run(10)
    assert len(read(file, ":")) == 4
    whole = file.read_bytes()
    for cut in (1, 100, len(whole) // 4 - 30):
        file.write_bytes(whole[:-cut])
        atoms.calc = Graded([20.0])
        dyn = VelocityVerlet(atoms, 1.0 * fs)
        with pytest.warns(UserWarning, match="half-written frame.*partial"):
            grade_watch(atoms, dyn, path=file)
        with pytest.raises(ExtrapolationStop):
            dyn.run(1)
        assert len(read(file, ":")) == 4, "three whole ones and the new one"
        assert file.read_bytes().startswith(whole[: len(whole) // 2])
    assert b"".join(whole.split(b"\n")[-3:-1])[:40] in (tmp_path / "pre.extxyz.partial").read_bytes()


def test_mend(atoms, tmp_path):
    file = tmp_path / "a.extxyz"
    assert mend(file) is None
    file.write_bytes(b"")
    assert mend(file) is None
    atoms.get_forces()
    append_frame(file, atoms)
    append_frame(file, atoms)
    before = file.read_bytes()
    assert mend(file) is None and file.read_bytes() == before
    file.write_bytes(before + b"32\nhalf")
    assert mend(file).name == "a.extxyz.partial" and file.read_bytes() == before
    other = tmp_path / "notes.xyz"
    other.write_text("my notes\nwhich are no structures\n")
    with pytest.raises(DataError, match="no extended XYZ file.*name another file"):
        mend(other)
    assert other.read_text().startswith("my notes")


def test_wrong_use_is_told(atoms, tmp_path):
    dyn = VelocityVerlet(atoms, 1.0 * fs)
    for thresholds in ({"save": 0}, {"stop": -1}, {"save": "2"}, {"save": True}, {"stop": np.nan}):
        with pytest.raises(OptionError, match="must be a positive grade, or None"):
            grade_watch(atoms, dyn, **thresholds, path=tmp_path / "a.extxyz")
    with pytest.raises(OptionError, match="save is 5 and stop 2; needed is save <= stop"):
        grade_watch(atoms, dyn, save=5.0, stop=2.0)
    for path in (tmp_path / "a.cfg", tmp_path / "absent" / "a.extxyz", tmp_path):
        with pytest.raises(OptionError, match=r"an \.extxyz or \.xyz file in a folder that exists"):
            grade_watch(atoms, dyn, path=path)
    for interval in (0, 1.5, True):
        with pytest.raises(OptionError, match="interval is"):
            grade_watch(atoms, dyn, path=None, interval=interval)
    with pytest.raises(OptionError, match=r"no attach\(\)"):
        grade_watch(atoms, object())
    atoms.calc = EMT()
    with pytest.raises(OptionError, match="EMT gives no extrapolation grade.*almtp.*training="):
        grade_watch(atoms, dyn, path=None)
    atoms.calc = None
    with pytest.raises(OptionError, match="no calculator"):
        grade_watch(atoms, dyn, path=None)


# -- with a potential of the zoo -----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def graded():
    return get_calculator(shared("data/mtp/pyiron_mlip3_Cu/pot.almtp"), elements=["Cu"], device="cpu", threads=1)


def test_a_moment_tensor_potential_in_dynamics(graded, tmp_path):
    atoms = bulk("Cu", cubic=True).repeat(2)
    atoms.calc = graded
    atoms.get_forces()
    assert graded.results["extrapolation_grade"] == pytest.approx(graded.results["extrapolation_grades"].max())
    assert grade_of(atoms) == graded.results["extrapolation_grade"]
    atoms.set_momenta(np.random.default_rng(0).normal(0.0, 3.0, (len(atoms), 3)))
    dyn = VelocityVerlet(atoms, 1.0 * fs)
    first = grade_of(atoms)
    watch = grade_watch(atoms, dyn, save=first * 1.01, stop=first * 2.0, path=tmp_path / "pre.extxyz")
    with pytest.raises(ExtrapolationStop) as stop:
        dyn.run(200)
    frames = read(tmp_path / "pre.extxyz", ":")
    assert len(frames) == watch.saved >= 1
    for frame in frames:
        told = frame.info["extrapolation_grade"]
        assert told > first * 1.01 and frame.arrays["extrapolation_grades"].max() == pytest.approx(told, rel=1e-6)
    assert frames[-1].info["extrapolation_grade"] == pytest.approx(stop.value.grade, rel=1e-7)


def test_a_potential_without_grades_is_refused():
    atoms = bulk("Mo", cubic=True)
    atoms.calc = get_calculator("snap:Mo", device="cpu", threads=1)
    with pytest.raises(OptionError, match="gives no extrapolation grade"):
        grade_watch(atoms, VelocityVerlet(atoms, 1.0 * fs))
