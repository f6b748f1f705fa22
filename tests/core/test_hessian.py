"""Hessians of every family: against differences of forces, sum rules, symmetry, supercells, rows, limits."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import bulk
from hypothesis import given
from hypothesis import strategies as st

from calczoo import CalczooError, get_calculator
from calczoo.calculator import ZooCalculator
from calczoo.compose import Scale, Sum
from calczoo.core.errors import OptionError, PropertyNotImplementedError, TooLarge, UnsupportedElement
from calczoo.core.model import TorchModel
from calczoo.hessian import difference_hessian
from contract.examples import EXAMPLES, Example, all_examples

ANALYTIC = [e for e in all_examples() if e.family != "table"]
KINKED = {"eam"}
"""Families of tables: their second derivative jumps at the knots, which a displaced pair may cross."""


LIGHT = [e for e in ANALYTIC if e in EXAMPLES and "InP" not in str(e)]


def tolerance(example: Example) -> float:
    return 1e-4 if example.family in KINKED else 1e-6


def numerical(calc, atoms: Atoms, step: float = 2e-5) -> np.ndarray:
    """Differences of forces, all in one batch; so small a step that next to no neighbour crosses the cutoff."""
    forces = lambda many: [r["forces"] for r in calc.evaluate(many, ("energy", "forces"))]  # noqa: E731
    return difference_hessian(forces, atoms, np.arange(len(atoms)), step)[0]


def largest(h: np.ndarray) -> float:
    return max(1.0, float(np.abs(h).max()))


@pytest.mark.parametrize("example", ANALYTIC, ids=str)
def test_hessian_of_a_crystal(example: Example):
    """A rattled mixed crystal whose cell is far smaller than the cutoff: the derivative of the fast backend's forces,
    symmetric, no force from a shift of all atoms, and rows that are those of the whole."""
    atoms, calc = example.structure((1, 1, 2), rattle=0.05), example.calculator()
    h, n = calc.get_hessian(atoms), len(atoms)
    assert h.shape == (3 * n, 3 * n) and h.dtype == np.float64
    assert calc.hessian_info["method"] == "analytic" and calc.hessian_info["asymmetry"] <= 1e-12 * largest(h)
    np.testing.assert_array_equal(h, h.T)
    np.testing.assert_allclose(h, numerical(calc, atoms), rtol=0, atol=tolerance(example) * largest(h))
    for axis in range(3):
        assert np.abs(h[:, axis::3].sum(axis=1)).max() <= 1e-12 * largest(h)
    some = [n - 1, 0, -n]
    rows = calc.get_hessian(atoms, indices=some)
    np.testing.assert_allclose(rows, h.reshape(n, 3, 3 * n)[some].reshape(9, -1), rtol=0, atol=1e-12 * largest(h))


@pytest.mark.parametrize("example", LIGHT, ids=str)
def test_supercell_folds_back_to_the_cell(example: Example):
    """Displacing an atom with all its images is the sum over its copies in the supercell; pairs in the larger cell are
    taken together another way."""
    atoms, calc = example.structure((1, 1, 2), rattle=0.05), example.calculator()
    small, n = calc.get_hessian(atoms), len(atoms)
    big = calc.get_hessian(atoms.repeat((1, 2, 1)))
    folded = big.reshape(2, n, 3, 2, n, 3).sum(axis=3)[0].reshape(3 * n, 3 * n)
    np.testing.assert_allclose(folded, small, rtol=0, atol=1e-11 * largest(small))


@pytest.mark.parametrize("example", LIGHT, ids=str)
@pytest.mark.parametrize("pbc", [False, (True, False, True)], ids=["cluster", "slab"])
def test_cluster_and_slab(example: Example, pbc):
    atoms, calc = example.structure((1, 2, 2), rattle=0.05, seed=3), example.calculator()
    atoms.pbc = pbc
    h = calc.get_hessian(atoms)
    np.testing.assert_allclose(h, numerical(calc, atoms), rtol=0, atol=tolerance(example) * largest(h))


# -- one family is enough ------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def mo():
    return get_calculator("snap:Mo", threads=1)


def crystal(n: int = 2) -> Atoms:
    atoms = bulk("Mo", "bcc", a=3.16, cubic=True).repeat((n, 1, 1))
    atoms.rattle(0.03, seed=2)
    return atoms


def test_stretching_a_dimer():
    """Stillinger-Weber dimer: the stretching force constant is the second derivative of the energy curve."""
    from data import lammps_potential

    calc = get_calculator("sw", model=lammps_potential("Si.sw"))
    r, d = 2.3, 1e-4

    def energy(x: float) -> float:
        return calc.evaluate([Atoms("Si2", [[0, 0, 0], [0, 0, x]])], ("energy",))[0]["energy"]

    curve = (energy(r + d) - 2 * energy(r) + energy(r - d)) / d**2
    h = calc.get_hessian(Atoms("Si2", [[0, 0, 0], [0, 0, r]]))
    assert h[2, 2] == pytest.approx(curve, rel=1e-5)
    assert h[2, 5] == pytest.approx(-curve, rel=1e-5)


def test_sum_with_a_factor_and_a_term_without_second_derivative(mo):
    from data import lammps_potential

    files = [lammps_potential(f) for f in ("W_2940_2017_2.snapcoeff", "W_He_JW2013.table")]
    snap = get_calculator("snap", model=files[0])
    table = get_calculator("table", model=files[1], elements=["W", "He"], pair="W-He", keyword="WHe")
    pair = get_calculator("zbl(2.0, 4.0)", elements=["W", "He"])
    both = ZooCalculator(Sum([Scale(table.model, 0.5), pair.model]))
    atoms = Atoms("WHe", [[0, 0, 0], [1.9, 0.3, 0.4]], cell=[4.1, 4.2, 4.3], pbc=True)
    h = both.get_hessian(atoms)
    assert both.hessian_info["method"].startswith(("analytic: zbl", "differences: table"))
    assert 0.0 < both.hessian_info["error"] < 0.05
    parts = 0.5 * table.get_hessian(atoms) + pair.get_hessian(atoms)
    np.testing.assert_allclose(h, parts, rtol=0, atol=1e-10 * largest(h))
    with pytest.raises(PropertyNotImplementedError, match="no analytic second derivatives"):
        both.get_hessian(atoms, method="analytic")
    assert snap.get_hessian(atoms[:1], method="analytic").shape == (3, 3)


def test_torch_warp_float32_and_copies_agree(mo):
    atoms = crystal()
    want = mo.get_hessian(atoms)
    for other in (
        get_calculator("snap:Mo", backend="torch"),
        get_calculator("snap:Mo", dtype="float32"),
        get_calculator("snap:Mo", backend="torch", dtype="float32"),
        copy.deepcopy(mo),
    ):
        np.testing.assert_allclose(other.get_hessian(atoms), want, rtol=0, atol=1e-10 * largest(want))


def test_differences_of_single_precision_forces_are_usable(mo):
    atoms = crystal(1)
    rough = get_calculator("snap:Mo", dtype="float32").get_hessian(atoms, method="differences")
    np.testing.assert_allclose(rough, mo.get_hessian(atoms), rtol=0, atol=0.03 * largest(rough))


def test_small_chunks_change_nothing(mo, monkeypatch):
    atoms = crystal()
    want = mo.get_hessian(atoms)
    monkeypatch.setattr("calczoo.hessian.GRAPH_BYTES", 1)
    monkeypatch.setattr("calczoo.hessian.BATCH_ATOMS", 1)
    np.testing.assert_allclose(mo.get_hessian(atoms), want, rtol=0, atol=1e-12 * largest(want))
    np.testing.assert_allclose(mo.get_hessian(atoms, method="differences"), want, rtol=0, atol=1e-5 * largest(want))


class _TwoShells(TorchModel):
    """Not local: the energy of a site depends on its neighbours' sums, as in message passing."""

    def __init__(self, inner):
        self.card, self.cutoff, self.numbers = inner.card, 4.5, inner.numbers

    def site_energies(self, system, pairs, vectors):
        r = vectors.norm(dim=1)
        fade = torch.where(r < self.cutoff, (1 - r / self.cutoff) ** 4, 0.0)
        rho = vectors.new_zeros(system.n_atoms).index_add(0, pairs.i.long(), fade)
        return rho.index_add(0, pairs.i.long(), fade * rho[pairs.j.long()] ** 2)


def test_site_energies_that_are_not_local_are_noticed(mo):
    calc = ZooCalculator(_TwoShells(mo.model))
    atoms = crystal()
    h = calc.get_hessian(atoms)
    assert calc.hessian_info["method"] == "differences"
    want = numerical(calc, atoms)
    np.testing.assert_allclose(h, want, rtol=0, atol=1e-5 * largest(h))


def test_no_atoms_and_one_atom(mo):
    assert mo.get_hessian(Atoms()).shape == (0, 0)
    assert mo.get_hessian(crystal(), indices=[]).shape == (0, 12)
    assert not mo.get_hessian(Atoms("Mo")).any()
    assert np.abs(mo.get_hessian(bulk("Mo"))).max() < 1e-12  # an atom and all its images move together


def test_attached_atoms_state_is_not_touched(mo):
    atoms = crystal()
    atoms.calc = mo
    before = atoms.get_forces()
    mo.get_hessian()
    np.testing.assert_array_equal(mo.results["forces"], before)


@pytest.mark.parametrize(
    "indices, match",
    [([4], "atom 4 does not exist"), ([-5], "atom -5"), ([0.5], "list of atoms"), ([[0, 1]], "list of atoms"),
     ([True, False], "mask of atoms has shape")],
)  # fmt: skip
def test_wrong_indices(mo, indices, match):
    with pytest.raises(OptionError, match=match):
        mo.get_hessian(crystal(), indices=indices)


def test_wrong_input_is_refused(mo):
    with pytest.raises(OptionError, match="method is 'exact'"):
        mo.get_hessian(crystal(), method="exact")
    with pytest.raises(UnsupportedElement, match=r"'Cu' \(atom 0\)"):
        mo.get_hessian(bulk("Cu"))
    with pytest.raises(CalczooError, match="no structure given"):
        get_calculator("snap:Mo").get_hessian()
    limited = get_calculator("snap:Mo", max_memory_gib=0.01)
    with pytest.raises(TooLarge, match="limit is 0.0 GiB"):
        limited.get_hessian(crystal())


@given(st.lists(st.booleans(), min_size=4, max_size=4))
def test_a_mask_picks_rows(mo, mask):
    atoms, calc = crystal(), get_calculator("zbl(2.0, 3.5)", elements=["Mo"])
    whole = calc.get_hessian(atoms).reshape(4, 3, 12)
    np.testing.assert_allclose(calc.get_hessian(atoms, indices=mask), whole[mask].reshape(-1, 12), rtol=0, atol=1e-11)


def test_every_family_is_in_this_file():
    assert {e.family for e in ANALYTIC} == {e.family for e in EXAMPLES} - {"table"}
