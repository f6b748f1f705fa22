"""Nudged elastic bands against a surface with published saddle points, ASE's own bands, and their own limits."""

from __future__ import annotations

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from ase.calculators.emt import EMT

from calczoo.core.errors import OptionError
from calczoo_validation.engine import Evaluator
from calczoo_validation.neb import Path, idpp_path, linear_path, neb
from calczoo_validation.relax import relax


class MullerBrown:
    """K. Mueller, L. D. Brown, Theor. Chim. Acta 53, 75 (1979), doi:10.1007/BF00547608; in 0.01 eV, A; z harmonic."""

    A, a = np.array([-200.0, -100.0, -170.0, 15.0]), np.array([-1.0, -1.0, -6.5, 0.7])
    b, c = np.array([0.0, 0.0, 11.0, 0.6]), np.array([-10.0, -10.0, -6.5, 0.7])
    x0, y0 = np.array([1.0, 0.0, -0.5, -1.0]), np.array([0.0, 0.5, 1.5, 1.0])

    def __init__(self, fail_at=None):
        self.calls, self.fail_at = 0, fail_at

    def evaluate(self, structures, properties=("energy", "forces")):
        self.calls += 1
        if self.fail_at is not None and self.calls >= self.fail_at:
            raise RuntimeError("out of range")
        return [self.one(a.positions[0]) for a in structures]

    def one(self, r):
        x, y = r[0] - self.x0, r[1] - self.y0
        e = self.A * np.exp(self.a * x * x + self.b * x * y + self.c * y * y)
        gradient = [(e * (2 * self.a * x + self.b * y)).sum(), (e * (self.b * x + 2 * self.c * y)).sum(), 100 * r[2]]
        return {"energy": 0.01 * (e.sum() + 50 * r[2] ** 2), "forces": -0.01 * np.array([gradient])}


def mueller_brown_ends():
    return [Atoms("H", [p]) for p in ((-0.5582236, 1.4417258, 0.0), (0.6234994, 0.0280378, 0.0))]


@pytest.mark.parametrize("images", [7, 12])
def test_mueller_brown_saddle_as_published(images):
    """Saddle -40.665 at (-0.822, 0.624), minima -146.700, -108.167 and -80.768 between them."""
    (path,) = neb(Evaluator(MullerBrown()), [linear_path(*mueller_brown_ends(), images)], fmax=1e-3)
    assert path.converged
    assert path.barrier == pytest.approx(1.46700 - 0.40665, abs=2e-5)
    assert path.reverse == pytest.approx(1.08167 - 0.40665, abs=2e-5)
    assert path.images[path.saddle].positions[0, :2] == pytest.approx((-0.822, 0.624), abs=1e-3)
    if images == 12:
        assert len(path.valleys()) == 1
        assert path.energies[path.valleys()[0]] == pytest.approx(1.46700 - 0.80768, abs=0.03)


def test_bands_converge_one_by_one_and_do_not_disturb_each_other():
    start, end = mueller_brown_ends()
    paths = [linear_path(start, end, 5), linear_path(end, start, 5), linear_path(start, end, 9)]
    together = neb(Evaluator(MullerBrown()), paths, fmax=1e-3)
    for path, one in zip(paths, together, strict=True):
        (alone,) = neb(Evaluator(MullerBrown()), [path], fmax=1e-3)
        assert alone.steps == one.steps
        assert (alone.energies == one.energies).all()
    assert together[0].barrier == pytest.approx(together[1].reverse, abs=1e-5)


def test_all_images_of_all_bands_go_into_one_call():
    model = MullerBrown()
    paths = neb(Evaluator(model), [linear_path(*mueller_brown_ends(), n) for n in (5, 7)], fmax=1e-3)
    assert model.calls <= 2 + max(p.steps for p in paths)


def test_without_climbing_the_highest_image_stays_below_the_saddle():
    (path,) = neb(Evaluator(MullerBrown()), [linear_path(*mueller_brown_ends(), 6)], fmax=1e-3, climb=False)
    assert path.converged
    assert path.barrier < 1.46700 - 0.40665 - 1e-3
    assert path.spline_maximum == pytest.approx(1.46700 - 0.40665, abs=0.02)


def test_a_calculator_that_fails_on_the_way_ends_its_band_with_the_reason():
    (path,) = neb(Evaluator(MullerBrown(fail_at=6)), [linear_path(*mueller_brown_ends(), 5)], fmax=1e-3)
    assert not path.converged
    assert "fails on the way" in path.reason and "out of range" in path.reason


def test_too_few_steps_are_unconverged():
    (path,) = neb(Evaluator(MullerBrown()), [linear_path(*mueller_brown_ends(), 5)], fmax=1e-3, max_steps=3)
    assert not path.converged
    assert "3 steps" in path.reason


def vacancy_hop(element: str):
    """Both relaxed ends of the hop of a nearest neighbour into the vacancy of fcc, 31 atoms."""
    cell = bulk(element, "fcc", cubic=True).repeat(2)
    hop = np.array([0.5, 0.5, 0.0]) * cell.cell[0, 0] / 2
    jumper = int(np.linalg.norm(cell.positions - hop, axis=1).argmin())
    before, after = cell.copy(), cell.copy()
    after.positions[jumper] = after.positions[0]
    del before[0], after[0]
    return [r.atoms for r in relax(Evaluator(EMT()), [before, after], fmax=1e-3)]


@pytest.mark.parametrize("element", ["Cu", "Al", "Pd"])
def test_vacancy_hop_as_with_the_bands_of_ase(element):
    from ase.mep import NEB
    from ase.optimize import FIRE

    start, end = vacancy_hop(element)
    (path,) = neb(Evaluator(EMT()), [idpp_path(start, end, 5)], fmax=5e-3)
    images = linear_path(start, end, 3)
    for image in images:
        image.calc = EMT()
    band = NEB(images, climb=True, method="improvedtangent", k=1.0)
    FIRE(band, logfile=None).run(fmax=5e-3, steps=400)
    energies = [i.get_potential_energy() for i in images]
    assert path.converged
    assert path.barrier == pytest.approx(max(energies) - energies[0], abs=1e-3)
    assert path.energies == pytest.approx(path.energies[::-1], abs=1e-3)  # the hop is symmetric
    assert path.spline_maximum - path.barrier < 1e-3


def test_band_crosses_the_periodic_boundary():
    """Shifted so that the jump leads through a face of the cell: the same barrier."""
    start, end = vacancy_hop("Cu")
    barriers = []
    for shift in (0.0, 1.3):
        ends = [start.copy(), end.copy()]
        for atoms in ends:
            atoms.positions += shift
            atoms.wrap()
        (path,) = neb(Evaluator(EMT()), [idpp_path(*ends, 3)], fmax=5e-3)
        barriers.append(path.barrier)
    assert barriers[0] == pytest.approx(barriers[1], abs=1e-4)


def test_interpolated_distances_keep_atoms_apart():
    """Two atoms that trade places would meet halfway on straight lines."""
    start = Atoms("Ar3", [(0, 0, 0), (2, 0.05, 0), (1, 2.2, 0)])
    end = Atoms("Ar3", [(2, 0, 0), (0, 0.05, 0), (1, 2.2, 0)])
    straight, spread = linear_path(start, end, 5), idpp_path(start, end, 5)
    closest = lambda path: min(a.get_distance(0, 1) for a in path)  # noqa: E731
    assert closest(straight) < 0.2
    assert closest(spread) > 1.0
    assert (spread[0].positions == start.positions).all() and (spread[-1].positions == end.positions).all()


def test_spline_goes_through_energies_and_slopes():
    s = np.linspace(0, 2, 6)
    path = Path([], s, np.sin(s), np.cos(s), 0.0, 0, True)
    x, y = path.curve(50)
    assert y == pytest.approx(np.sin(x), abs=1e-4)
    assert path.spline_maximum == pytest.approx(1.0, abs=1e-4)


@pytest.mark.parametrize(
    ("ends", "images", "text"),
    [
        ((Atoms("Cu"), Atoms("Ni")), 3, "same atoms"),
        ((Atoms("Cu"), Atoms("Cu2", [(0, 0, 0), (2, 0, 0)])), 3, "same atoms"),
        ((Atoms("Cu"), Atoms("Cu")), 0, "at least one"),
    ],
)
def test_wrong_ends_are_refused(ends, images, text):
    with pytest.raises(OptionError, match=text):
        linear_path(*ends, images)


def test_a_path_without_images_is_refused():
    with pytest.raises(OptionError, match="two ends"):
        neb(Evaluator(MullerBrown()), [mueller_brown_ends()])
