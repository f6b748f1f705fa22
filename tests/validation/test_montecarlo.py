"""Monte-Carlo swaps against exact enumeration, and the order parameters of alloys."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from ase.calculators.emt import EMT
from ase.units import kB

from calczoo_validation.dynamics_analysis import neighbours
from calczoo_validation.engine import Evaluator
from calczoo_validation.montecarlo import Chain, Shells, SwapMonteCarlo, shuffled, warren_cowley
from calczoo_validation.options import resolve
from calczoo_validation.properties.short_range_order import PROPERTY, Options
from calczoo_validation.registry import Context
from calczoo_validation.results import PropertyFailure, PropertyResult, Status
from calczoo_validation.structures import Crystal, parse_proto

J = 0.03  # eV per unlike nearest-neighbour bond


class Bonds:
    """E = J x number of unlike nearest-neighbour bonds; counts its calls, fails where `fail(numbers)` says so."""

    def __init__(self, j=J, fail=None):
        self.j, self.fail, self.calls = j, fail, 0
        self.bonds = {}  # the lattice of a size never changes

    def evaluate(self, structures, properties=("energy",)):
        self.calls += 1
        out = []
        for atoms in structures:
            if self.fail and self.fail(atoms.numbers):
                raise RuntimeError("no parameters for this arrangement")
            if len(atoms) not in self.bonds:
                self.bonds[len(atoms)] = neighbours(atoms.positions, atoms.cell.array, 2.9, "ij")
            i, j = self.bonds[len(atoms)]
            out.append({"energy": self.j * float((atoms.numbers[i] != atoms.numbers[j]).sum()) / 2})
        return out


def alloy(cells=(2, 2, 1), formula=("Cu", "Au")) -> Atoms:
    atoms = bulk("Cu", "fcc", a=3.8, cubic=True).repeat(cells)
    atoms.symbols[:] = [formula[k % 2] for k in range(len(atoms))]
    return atoms


def exact(atoms: Atoms, temperature: float, shells: Shells, j=J):
    """<E> and <alpha> over all arrangements of the cell."""
    n, kinds = len(atoms), sorted(set(atoms.numbers.tolist()))
    calc, structures, alphas = Bonds(j), [], []
    for chosen in itertools.combinations(range(n), int((atoms.numbers == kinds[0]).sum())):
        one = atoms.copy()
        one.numbers[:] = kinds[1]
        one.numbers[list(chosen)] = kinds[0]
        structures.append(one)
        alphas.append(warren_cowley(one.numbers, shells, [(kinds[0], kinds[1])])[0])
    e = np.array([r["energy"] for r in calc.evaluate(structures)])
    w = np.exp(-(e - e.min()) / (kB * temperature))
    return float((w * e).sum() / w.sum()), (w[:, None] * np.array(alphas)).sum(axis=0) / w.sum()


@pytest.mark.parametrize("exchange", [0, 3])
@pytest.mark.parametrize("composition", [8, 5])
def test_averages_are_those_of_exact_enumeration(exchange, composition):
    atoms = alloy((2, 2, 1))
    atoms.symbols[:] = ["Cu"] * composition + ["Au"] * (16 - composition)
    shells = Shells.of(atoms, 2)
    temperatures = (500.0, 900.0)
    chains = [Chain(atoms.copy(), t, ladder=k) for t in temperatures for k in range(4)]
    run = SwapMonteCarlo(Evaluator(Bonds()), chains, seed=3)
    run.run(60, exchange_every=exchange)
    run.clear()
    run.run(800, 4, lambda numbers: warren_cowley(numbers, shells, [(29, 79)])[0], exchange)
    for t in temperatures:
        own = [c for c in chains if c.temperature == t]
        energy, alpha = exact(atoms, t, shells)
        spread = np.std([np.mean(c.energies) for c in own], ddof=1) / 2
        assert np.mean([c.energies for c in own]) == pytest.approx(energy, abs=max(5 * spread, 0.004))
        assert np.mean([c.samples for c in own], axis=(0, 1)) == pytest.approx(alpha, abs=0.025)
    assert alpha[0] > 0.02, "unlike bonds cost energy: like atoms gather"


def test_one_call_moves_all_chains():
    calc = Bonds()
    run = SwapMonteCarlo(Evaluator(calc), [Chain(alloy(), 500.0) for _ in range(6)], seed=1)
    run.run(20)
    assert calc.calls == 21


def test_without_interaction_there_is_no_order():
    atoms = alloy()
    shells = Shells.of(atoms, 2)
    mean = exact(atoms, 300.0, shells, j=0.0)[1]
    assert mean == pytest.approx(0.0, abs=1e-12)
    one = warren_cowley(atoms.numbers, shells, [(29, 79), (29, 29)])
    n = np.array(shells.counts)
    assert n == pytest.approx([12, 4]), "without the atom's own images above and below"
    # shares of the two kinds of neighbours of one kind of atom add up to one: sum_b c_b alpha_ab = 0
    assert 8 * one[0] + 7 * one[1] == pytest.approx(0.0, abs=1e-12)


@pytest.mark.parametrize(
    ("proto", "elements", "expected"),
    # perfect order: all first neighbours of the B2 structure are unlike, all second ones alike
    [("CuZn:cesiumchloride", (29, 30), (-1.0, 1.0))],
)
def test_order_parameters_of_an_ordered_crystal(proto, elements, expected):
    atoms = parse_proto(proto).atoms.repeat(3)
    n = len(atoms)
    alpha = warren_cowley(atoms.numbers, Shells.of(atoms, 2), [elements])[0]
    scale = (n - 1) / (n / 2)  # shares are relative to those of the other n - 1 sites
    assert alpha == pytest.approx([1 - scale, 1.0])
    assert alpha == pytest.approx(expected, abs=0.05)


def test_an_arrangement_that_fails_ends_its_chain_only():
    bad = lambda numbers: numbers[0] == 79 and numbers[1] == 79  # noqa: E731
    chains = [Chain(alloy(), 5000.0), Chain(alloy(), 5000.0)]
    run = SwapMonteCarlo(Evaluator(Bonds(fail=bad)), chains, seed=2)
    run.run(200, every=1)
    assert any("no parameters for this arrangement" in c.reason for c in chains)
    ended = next(c for c in chains if c.reason)
    assert 0 < len(ended.energies) < 200 and np.isfinite(ended.energies).all()


def context(calc, crystal, **settings) -> Context:
    return Context(Evaluator(calc), crystal, options=resolve(Options, "smoke", settings))


def crystal_of(atoms: Atoms) -> Crystal:
    return Crystal(atoms, "test")


def test_an_elemental_crystal_says_why_not():
    assert "only Cu" in PROPERTY.applies(parse_proto("Cu:fcc"))
    assert PROPERTY.applies(parse_proto("NaCl:rocksalt")) == ""
    with pytest.raises(PropertyFailure, match="at least two"):
        PROPERTY.run(context(EMT(), parse_proto("Cu:fcc")), PropertyResult("x", "x"))


def gold_copper() -> Crystal:
    """L1_0 CuAu at the lattice constant of EMT, about."""
    return crystal_of(Atoms("CuAu", scaled_positions=[(0, 0, 0), (0.5, 0.5, 0.5)], cell=[2.7, 2.7, 3.8], pbc=True))


def test_property_on_an_ising_alloy_and_its_repeat():
    results = []
    for _ in range(2):
        result = PropertyResult("short_range_order", "x")
        ctx = context(Bonds(), crystal_of(alloy((1, 1, 1))), temperatures=(600.0, 1200.0), sweeps=30)
        PROPERTY.run(ctx, result)
        result.finish()
        results.append(result)
    first, second = results
    assert first.to_dict() == second.to_dict()
    cold, hot = first["alpha_AuCu_1_600K"], first["alpha_AuCu_1_1200K"]
    assert cold.value > hot.value > 0 and cold.error > 0
    assert first["energy_600K"].value < first["energy_1200K"].value < 0
    (figure,) = PROPERTY.plots([("a", first, {}), ("b", second, {})])
    assert figure[0] == "short_range_order"


def test_frozen_chains_are_not_converged():
    """At 20 K no swap out of the ordered crystal is accepted while random chains cannot order: said, not averaged."""
    result = PropertyResult("short_range_order", "x")
    crystal = crystal_of(alloy((1, 1, 1)))
    PROPERTY.run(context(Bonds(j=-0.3), crystal, temperatures=(20.0,), sweeps=4, atoms=64), result)
    assert result["alpha_AuCu_1_20K"].status is Status.UNCONVERGED


def test_emt_gold_copper_orders():
    result = PropertyResult("short_range_order", "x")
    PROPERTY.run(context(EMT(), gold_copper(), atoms=16, sweeps=4, chains=2), result)
    assert result["energy_random"].value > 0
    assert result["alpha_AuCu_1_1000K"].value < 0


def test_too_expensive_is_refused_in_plain_words():
    with pytest.raises(PropertyFailure, match="max_atom_steps") as info:
        PROPERTY.run(context(EMT(), gold_copper(), max_atom_steps=1000.0), PropertyResult("x", "x"))
    assert info.value.status is Status.UNSUPPORTED


def test_shuffling_keeps_the_composition():
    atoms = alloy()
    again = shuffled(atoms, np.random.default_rng(1))
    assert sorted(again.numbers) == sorted(atoms.numbers) and not np.array_equal(again.numbers, atoms.numbers)
