"""What compositions make of their parts: models out of their range where nothing is counted, arguments, corrections."""

from __future__ import annotations

import warnings
from dataclasses import replace

import numpy as np
import pytest
import torch
from ase.build import bulk
from ase.calculators.singlepoint import SinglePointCalculator
from ase.io import write

from calczoo import Sphere, add, by_region, delta, describe, energy_shift, get_calculator, scale, switch
from calczoo.calculator import ZooCalculator
from calczoo.compose import Sum
from calczoo.compositions.deltas import RECORD, CorrectionAlone, other_base
from calczoo.core.errors import OptionError, SpecError
from calczoo.core.model import Local
from calczoo.families.hdnnp.extrapolation import ExtrapolationWarning
from calczoo.families.mtp.fit_search import normalised
from calczoo.families.mtp.levels import untrained
from calczoo.families.mtp.load import build
from calczoo.families.mtp.radial import ShortDistanceWarning
from calczoo.files.cards import read_card
from calczoo.registry import ModelRequest
from core.toy import Toy

CPU = {"device": "cpu", "threads": 1}


class Narrow(Toy):
    """Knows nothing of atoms with a neighbour nearer than 1.7 A: infinite there, with gradients that are no numbers."""

    def local(self, system, pairs, need):
        site = super().local(system, pairs, need)
        near = torch.nonzero(pairs.vectors(system).norm(dim=1) < 1.7).flatten()
        who = torch.zeros(system.n_atoms, dtype=torch.bool)
        who[pairs.i[near].long()] = True
        g = site.pair_gradients
        g = None if g is None else torch.where(who[pairs.i.long(), None], torch.nan, g)
        return Local(torch.where(who, torch.inf, site.energies), g)


def test_where_a_weight_is_zero_the_model_may_be_anything():
    atoms = bulk("Cu", cubic=True).repeat(2)
    atoms.positions[1] = atoms.positions[0] + [0.0, 1.13, 1.13]
    close = np.zeros(32, dtype=bool)
    close[:2] = True
    want = by_region(Toy(), Toy(), close).evaluate([atoms])[0]
    assert not (atoms.get_all_distances(mic=True)[2:] + 9 * np.eye(32)[2:] < 1.7).any()
    for calc in (by_region(Toy(), Narrow(), close), switch(Toy(), Narrow(), 1.65, 1.7)):
        got = calc.evaluate([atoms])[0]
        for key in ("energy", "forces", "stress"):
            np.testing.assert_allclose(got[key], want[key], rtol=0, atol=1e-12)


@pytest.mark.parametrize("backend", ["warp", "torch"])
@pytest.mark.parametrize("model", ["mtp:Mo", "hdnnp:Mo"])
def test_no_warning_of_atoms_that_do_not_count(model, backend):
    """Neither of those that the region leaves without neighbours, nor of those that belong to the other model."""
    atoms = bulk("Mo", cubic=True).repeat(6)
    atoms.rattle(0.02, seed=1)
    few = np.arange(len(atoms)) < 3
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        calc = by_region(model, "snap:Mo", few, backend=backend, **CPU)
        calc.evaluate([atoms])
    atoms.positions[400] = atoms.positions[401] + 0.3  # in the outer part
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        calc.evaluate([atoms])
    atoms.positions[0] = atoms.positions[1] + 0.3
    with pytest.warns((ExtrapolationWarning, ShortDistanceWarning)):
        calc.evaluate([atoms])


# -- arguments -----------------------------------------------------------------------------------------------


def test_arguments_without_a_part_that_takes_them():
    one = get_calculator("snap:Mo-linear", **CPU)
    makers = (
        lambda **more: add(one, one, allow={"nuclear repulsion"}, **more),
        lambda **more: scale(one, 2.0, **more),
        lambda **more: delta(one, one, force=True, **more),
        lambda **more: by_region(one, one, Sphere((0, 0, 0), 1.0), 1.0, **more),
        lambda **more: switch(one, one, 1.0, 2.0, **more),
        lambda **more: energy_shift(one, one, bulk("Mo"), **more),
    )
    for make in makers:
        make()
        with pytest.raises(OptionError, match="dtype: arguments of get_calculator.*calculators already"):
            make(dtype="float32")
    with pytest.raises(OptionError, match="at least one structure"):
        energy_shift(one, one, [])


@pytest.mark.parametrize("spec, message", [
    ("switch(zbl(2.0, 3.0), snap:Mo)", "two models and two distances"),
    ("switch(zbl(2.0, 3.0), snap:Mo, 1.2)", "two models and two distances"),
    ("switch(zbl(2.0, 3.0), snap:Mo, 1.2, 1.5, 1.8)", "two models and two distances"),
    ("switch(zbl(2.0, 3.0), snap:Mo, 1.2, r_on=1.5)", "two models and two distances"),
    ("switch(zbl(2.0, 3.0), 1.2, 1.5)", "two models and two distances"),
    ("switch:Mo", "two models and two distances"),
    ("switch(zbl(2.0, 3.0), snap:Mo, 1.8, 1.2)", "r_on is 1.8 and r_off 1.2"),
    ("switch(zbl(2.0, 3.0), snap:Mo, 1.2, far)", "r_off 'far'"),
    ("switch(zbl(2.0, 3.0), snap:Mo, 1.2, 1.8, width=1)", "no option 'width'"),
    ("switch(zbl(2.0, 3.0), snap:Mo, 1.2, 1.8, Mo=low)", "shift holds 'low'"),
    ("switch(ewald(Mo=1), snap:Mo, 1.2, 1.8)", "has no pair_gradients"),
    ("switch(zbl(2.0, 3.0) + zbl(1.0, 2.0), snap:Mo, 1.2, 1.8)", "both hold nuclear repulsion"),
])  # fmt: skip
def test_wrong_specs(spec, message):
    with pytest.raises((OptionError, SpecError), match=message):
        get_calculator(spec, **CPU)


def test_switch_as_a_spec():
    """The same as from Python, alone, in a sum and within a delta."""
    atoms = bulk("Mo", cubic=True).repeat(2)
    atoms.rattle(0.1, seed=1)
    same = switch("zbl(2.0, 3.0)", "snap:Mo-linear", 2.3, 2.9, shift={"Mo": -5.0}, **CPU)
    for text in ("2.3, 2.9, Mo=-5", "r_on=2.3, r_off=2.9, Mo=-5", "2.3, r_off=2.9, Mo=-5"):
        calc = get_calculator(f"switch(zbl(2.0, 3.0), snap:Mo-linear, {text})", **CPU)
        assert calc.get_potential_energy(atoms) == same.get_potential_energy(atoms) and calc.card == same.card
    spec = "switch(zbl(2.0, 3.0), snap:Mo-linear, 2.3, 2.9, Mo=-5)"
    assert describe(spec) == same.card and same.card.extra["counts"] == ["nuclear repulsion"]
    assert describe("switch(zbl(2.0, 3.0), zbl(2.0, 3.0), 5.0, 6.0)", elements="Mo").cutoff == 6.0
    both = get_calculator(f"0.5*{spec} + delta(mtp:Mo, 0.5*{spec})", **CPU)
    assert both.card.extra["counts"] == ["nuclear repulsion"]
    whole = same.get_potential_energy(atoms) + get_calculator("mtp:Mo", **CPU).get_potential_energy(atoms)
    assert both.get_potential_energy(atoms) == pytest.approx(whole, abs=1e-10)


# -- corrections: an MTP on the difference to a repulsion ------------------------------------------------------

BASE = "zbl(2.0, 3.5)"
QUICK = "level=6 cutoff=4.4 radial_basis_size=5 min_dist=1.8 starts=1 iterations=60 tolerance=1e-9 ridge=1e-14"


def labelled(count, seed, *models):
    """Structures of copper with the sum of the models' energies, forces and stresses."""
    rng = np.random.default_rng(seed)
    out = []
    for _ in range(count):
        atoms = bulk("Cu", cubic=True, a=3.6 * rng.uniform(0.93, 1.05)).repeat((1, 1, 2))
        atoms.set_cell(atoms.cell.array @ (np.eye(3) + rng.normal(scale=0.02, size=(3, 3))), scale_atoms=True)
        atoms.rattle(0.1, rng=rng)
        rows = [ZooCalculator(model).evaluate([atoms])[0] for model in models]
        sums = {key: sum(row[key] for row in rows) for key in ("energy", "forces", "stress")}
        atoms.calc = SinglePointCalculator(atoms, **sums)
        out.append(atoms)
    return out


def errors(calc, held):
    rows = calc.evaluate(held)
    energy = [abs(r["energy"] - a.calc.results["energy"]) / len(a) for r, a in zip(rows, held, strict=True)]
    forces = [np.abs(r["forces"] - a.calc.results["forces"]).max() for r, a in zip(rows, held, strict=True)]
    stress = [np.abs(r["stress"] - a.calc.results["stress"]).max() for r, a in zip(rows, held, strict=True)]
    return max(energy), max(forces), max(stress)


def test_an_mtp_as_a_correction(tmp_path):
    """The reference is a repulsion and an MTP; trained on the difference to the repulsion, an MTP gives it back."""
    from calczoo.cli import execute

    rng = np.random.default_rng(8)
    shape = untrained(6, ("Cu",), 1.8, 4.4, 5)
    true = replace(shape, radial=normalised(rng.normal(size=shape.radial.shape)), species=np.array([-3.0]),
                   weights=rng.normal(size=shape.n_basis))  # fmt: skip
    base = get_calculator(BASE, elements="Cu", **CPU)
    reference = base.model, build(true, ModelRequest("mtp", device="cpu", threads=1))
    write(tmp_path / "train.extxyz", labelled(24, 3, *reference))
    out = tmp_path / "correction"
    options = [x for pair in QUICK.split() for x in ("-o", pair)]
    command = ["fit", "mtp", "--train", str(tmp_path / "train.extxyz"), "--base", BASE, "--out", str(out), *options]
    assert execute(command) == 0
    file = out.with_suffix(".mtp")
    record = read_card(out.with_suffix(".json")).extra[RECORD]
    assert record["spec"] == BASE and record["elements"] == ["Cu"]
    held = labelled(6, 11, *reference)
    with warnings.catch_warnings():
        warnings.simplefilter("error", CorrectionAlone)
        whole = delta(BASE, file, elements="Cu", **CPU)
        same = get_calculator(f"delta({BASE}, {file})", elements="Cu", **CPU)
        added = add(BASE, file, elements="Cu", **CPU)
    for calc in (whole, same, added):
        energy, forces, stress = errors(calc, held)
        assert energy < 1e-3 and forces < 1e-2 and stress < 1e-3
    assert errors(base, held)[1] > 100 * forces
    with pytest.warns(CorrectionAlone, match=r"use 'delta\(zbl\(2.0, 3.5\), "):
        by_region(file, BASE, [True] * 8, elements="Cu", **CPU)
    with pytest.warns(CorrectionAlone):
        add("ewald(Cu=0.1)", file, **CPU)
    with pytest.warns(CorrectionAlone, match="0.5 of it corrects in part"):
        get_calculator(f"{BASE} + 0.5*{file}", elements="Cu", **CPU)


def test_a_base_whose_file_names_no_elements(tmp_path):
    """The elements of the fit are the type map of the base."""
    from calczoo.families.mtp.text_mtp import write_mtp
    from calczoo.fitting import run_fit

    base = write_mtp(untrained(2, ("Cu",), 1.8, 4.4, 5), tmp_path / "base.mtp")
    write(tmp_path / "train.extxyz", labelled(8, 3, Toy()))
    options = {"rcut": 4.0, "twojmax": 2}
    common = {"out": tmp_path / "c", "options": options, "delta_base": f"mtp:{base}"}
    report = run_fit("snap", tmp_path / "train.extxyz", elements="Cu", **common)
    assert report.result.card.extra[RECORD]["spec"] == f"mtp:{base}"


def test_a_base_in_single_precision_inside_is_known_again():
    """Codes of others may give other last digits on another machine."""
    from calczoo import Card
    from calczoo.foreign import AseModel

    def emt(factor):
        from ase.calculators.emt import EMT

        class Rough(EMT):
            def calculate(self, *arguments):
                super().calculate(*arguments)
                self.results |= {name: factor * self.results[name] for name in ("energy", "free_energy")}

        return Rough()

    first, second, third = (
        AseModel(Card("rough", "foreign", ("Cu",), 5.0), None, lambda f=f: emt(f)) for f in (1.0, 1.0 + 3e-5, 1.01)
    )
    from calczoo.compositions.deltas import base_record

    record = base_record(ZooCalculator(first), "rough", ["Cu"])
    assert other_base(record, second) == "" and "energies of clusters differ" in other_base(record, third)


def test_a_factor_that_is_no_finite_number_is_refused():
    with pytest.raises(OptionError, match="must be a finite number"):
        get_calculator("1e400*zbl(1.0, 2.0)", elements="Cu")


def test_numbers_of_numpy_are_numbers():
    assert scale("zbl(1.0, 2.0)", np.int64(2), elements="Cu").card.name == "2*zbl(1, 2)"
    assert Sphere((0.5, 0.5, 0.5), np.float32(2.0)).radius == 2.0


def test_a_scaled_correction_alone_gives_the_warning_too():
    alone = Toy()
    alone.card = replace(alone.card, extra={RECORD: {"name": "zbl(1, 2)", "spec": "zbl(1.0, 2.0)"}})
    with pytest.warns(CorrectionAlone, match="alone it is no potential"):
        scale(ZooCalculator(alone), 0.5)


def test_an_output_of_one_term_is_not_missing_because_another_says_why_it_has_none():
    told, having = Toy(), Toy()
    told.missing, having.outputs = {"charges": "there are no charges here"}, having.outputs | {"charges"}
    assert "charges" in Sum([told, having]).outputs
    assert Sum([told, told]).missing["charges"] == "there are no charges here"
