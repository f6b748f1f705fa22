"""What the fourth generation is for: charge that moves further than any cutoff, with published parameters and data.

Carbon chains C10H2 and C10H3+, and Au2 on MgO(001) with and without Al deep in the slab: Ko, Finkler, Goedecker and
Behler, Nat. Commun. 12, 398 (2021), doi:10.1038/s41467-020-20427-2.
"""

from __future__ import annotations

import re
from functools import cache

import numpy as np
import pytest
from ase import Atoms
from ase.constraints import FixAtoms
from ase.io import read
from ase.optimize import BFGS
from ase.units import Bohr, Hartree

from calczoo.calculator import ZooCalculator
from calczoo.core.pairs import find_pairs
from calczoo.core.system import System
from calczoo.families.hdnnp.charged import HdnnpCharged
from calczoo.families.hdnnp.formats import read_folder
from calczoo.families.hdnnp.input_data import read_input_data
from data import max_abs, shared

NEED = frozenset({"energy", "charges"})


@cache
def model(name: str, **overrides) -> HdnnpCharged:
    folder = shared(f"data/hdnnp/n2p2/nnp-predict_4G/{name}")
    made = HdnnpCharged(read_folder(folder, Bohr, Hartree, **overrides))
    made.extrapolation.enabled = False  # structures with an atom too few are made on purpose
    return made


def parts_of(model: HdnnpCharged, atoms: Atoms):
    system = System.from_atoms(atoms)
    return model.parts(system, find_pairs(system, model.cutoff))


# -- carbon chains -------------------------------------------------------------------------------------------


@cache
def chains() -> list[Atoms]:
    path = shared("data/hdnnp/n2p2/nnp-train_4G/Carbon_chain_4G/input.data")
    return read_input_data(path, length_unit="Bohr", energy_unit="Ha")


def along_chain(atoms: Atoms) -> tuple[list[int], list[int]]:
    """Carbons from one end to the other, and the hydrogen atoms in that order; a protonated end comes first."""
    carbon = [k for k, s in enumerate(atoms.symbols) if s == "C"]
    hydrogen = [k for k, s in enumerate(atoms.symbols) if s == "H"]
    x = atoms.positions - atoms.positions[carbon].mean(axis=0)
    axis = np.linalg.svd(x[carbon])[2][0]
    if (x[hydrogen] @ axis).sum() > 0:
        axis = -axis
    place = x @ axis
    return sorted(carbon, key=lambda k: place[k]), sorted(hydrogen, key=lambda k: place[k])


def test_charge_crosses_a_chain_when_its_far_end_is_protonated():
    """The end that keeps its hydrogen is 12 A away from the other one, the cutoff is 4.2 A. All that the networks see
    there stays what it was; the charges become those of DFT."""
    chain = model("Carbon_chain_4G", nodes="10 10")
    ions = [a for a in chains() if len(a) == 13]
    assert len(ions) == 62 and all(a.info["charge"] == 1.0 for a in ions)
    carbons, hydrogens = [], []
    for ion in ions:
        carbon, hydrogen = along_chain(ion)
        neutral = ion.copy()
        del neutral[hydrogen[0]]  # the same geometry without the proton
        neutral.info["charge"] = 0.0
        end, last = ([k - (k > hydrogen[0]) for k in pair] for pair in (carbon[-3:], hydrogen[-1:]))
        before, after = parts_of(chain, neutral), parts_of(chain, ion)
        assert ion.get_distance(hydrogen[0], carbon[-3]) > 2 * chain.cutoff
        assert max_abs(after.functions[carbon[-3:] + hydrogen[-1:]], before.functions[end + last]) < 1e-13
        assert max_abs(after.x[carbon[-3:]], before.x[end]) < 1e-12
        carbons.append(float(after.source.charges[carbon[-1]] - before.source.charges[end[-1]]))
        hydrogens.append(float(after.source.charges[hydrogen[-1]] - before.source.charges[last[0]]))
    # DFT (Hirshfeld): the last C is at -0.05 e in C10H2 and +0.08 e in C10H3+, its H at 0.10 and 0.14 e
    assert min(carbons) > 0.05 and min(hydrogens) > 0.02
    assert np.mean(carbons) == pytest.approx(_mean_end("C"), abs=0.03)
    assert np.mean(hydrogens) == pytest.approx(_mean_end("H"), abs=0.02)


def _mean_end(symbol: str) -> float:
    """What DFT says: mean charge of the end in C10H3+ minus that in C10H2."""
    means = {}
    for n in (12, 13):
        ends = [(a, along_chain(a)[symbol == "H"][-1]) for a in chains() if len(a) == n]
        means[n] = np.mean([a.calc.results["charges"][k] for a, k in ends])
    return means[13] - means[12]


def test_charges_of_chains_are_those_of_the_reference():
    """Within 0.009 e (root mean square) over all 128 structures, neutral and charged."""
    chain = model("Carbon_chain_4G", nodes="10 10")
    results = ZooCalculator(chain).evaluate(chains(), ("energy", "charges"))
    off = np.concatenate([r["charges"] - a.calc.results["charges"] for r, a in zip(results, chains(), strict=True)])
    assert np.sqrt((off**2).mean()) < 0.009
    for r, a in zip(results, chains(), strict=True):
        assert r["charges"].sum() == pytest.approx(a.info["charge"], abs=1e-12)


# -- Au2 on MgO ----------------------------------------------------------------------------------------------


@cache
def slab(which: str) -> tuple[Atoms, float]:
    """"1" (upright: non-wetting) or "3" (flat: wetting), -doped or -undoped, and its DFT energy (eV)."""
    path = shared(f"data/long_range/Au2-MgO-Al_opt/{which}.xyz")
    energy = re.search(r"energy=(\S+)", path.read_text().splitlines()[1])
    return read(path), float(energy.group(1))


def gold(atoms: Atoms) -> list[int]:
    return [k for k, s in enumerate(atoms.symbols) if s == "Au"]


def test_dopant_far_below_changes_the_geometry_of_gold_on_the_surface():
    """E(flat) - E(upright), Au2 relaxed on the frozen slab: DFT +935 meV on MgO and -67 meV with three Al in the fifth
    layer, 11 A away from Au2, where the cutoff of all functions is 4.2 A.

    The upright geometry is preferred by nearly 1 eV on MgO, the flat one by a little with the dopant.
    """
    surface = model("AlAuMgO_4G")
    difference, charges = {}, {}
    for kind in ("doped", "undoped"):
        energies = {}
        for geometry in ("1", "3"):
            atoms = slab(f"{geometry}-{kind}")[0].copy()
            start = atoms.positions.copy()
            atoms.set_constraint(FixAtoms([k for k in range(len(atoms)) if k not in gold(atoms)]))
            atoms.calc = ZooCalculator(surface)
            assert BFGS(atoms, logfile=None).run(fmax=0.01, steps=40)
            assert max_abs(atoms.positions, start) < 0.1  # still the geometry that DFT found
            energies[geometry] = atoms.get_potential_energy()
            charges[geometry, kind] = parts_of(surface, atoms).source.charges[gold(atoms)].sum()
        difference[kind] = energies["3"] - energies["1"]
        dft = slab(f"3-{kind}")[1] - slab(f"1-{kind}")[1]
        assert dft == pytest.approx({"doped": -0.0669, "undoped": 0.9348}[kind], abs=1e-4)
        assert difference[kind] == pytest.approx(dft, abs=0.1)
    assert difference["undoped"] == pytest.approx(0.9496, abs=0.001)
    assert difference["doped"] == pytest.approx(-0.0175, abs=0.001)
    for geometry in ("1", "3"):  # the dopant's electrons go to the gold
        assert charges[geometry, "doped"] < charges[geometry, "undoped"] - 0.2


def test_gold_sees_nothing_of_the_dopant_but_its_charge():
    """Al in place of Mg at one geometry: symmetry functions and electronegativities at the surface stay as they are."""
    surface = model("AlAuMgO_4G")
    doped = slab("1-doped")[0]
    plain = doped.copy()
    plain.symbols[[k for k, s in enumerate(doped.symbols) if s == "Al"]] = "Mg"
    aluminium = doped.positions[[k for k, s in enumerate(doped.symbols) if s == "Al"]]
    assert np.abs(doped.positions[gold(doped), 2, None] - aluminium[:, 2]).min() > 2.5 * surface.cutoff
    a, b = parts_of(surface, doped), parts_of(surface, plain)
    au = gold(doped)
    assert max_abs(a.functions[au], b.functions[au]) < 1e-13 and max_abs(a.x[au], b.x[au]) < 1e-12
    assert float((a.source.charges[au] - b.source.charges[au]).sum()) < -0.2
