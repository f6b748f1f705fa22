"""A plug-in's worker module for the tests: calculators that work, and some that misbehave in every known way."""

from __future__ import annotations

import faulthandler
import os
import sys
import time

import numpy as np
from ase.calculators.calculator import Calculator, PropertyNotImplementedError, all_changes
from ase.calculators.emt import EMT


class Trivial(Calculator):
    """E = sum |r|^2: nothing to compute, for measuring what the transport costs."""

    implemented_properties = ("energy", "energies", "forces", "stress", "charges", "dipole", "magmoms")
    facts = {"elements": ["Cu", "H"], "cutoff": 4.5}

    def calculate(self, atoms=None, properties=("energy",), system_changes=all_changes):
        super().calculate(atoms, properties, system_changes)
        x = atoms.positions
        self.results = {
            "energy": float((x * x).sum()),
            "energies": (x * x).sum(axis=1),
            "forces": -2.0 * x,
            "stress": np.arange(6.0),
            "charges": atoms.get_initial_charges() + atoms.info["charge"],
            "dipole": np.arange(3.0),
            "magmoms": np.full(len(atoms), 0.5),
        }


class Batched(Trivial):
    """Counts its calls: `charges` is the number of structures of the batch."""

    def evaluate_many(self, structures, properties):
        rows = []
        for atoms in structures:
            self.calculate(atoms, properties)
            rows.append({**self.results, "charges": np.full(len(atoms), float(len(structures)))})
        return rows


class Misbehaving(Trivial):
    """What `how` says happens at the first call with more than one atom."""

    def __init__(self, how):
        super().__init__()
        self.how = how

    def calculate(self, atoms=None, properties=("energy",), system_changes=all_changes):
        super().calculate(atoms, properties, system_changes)
        if len(atoms) == 1:
            return
        print(f"about to {self.how}")  # where answers leave, if stdout were not kept from foreign code
        if self.how == "die":
            os._exit(7)
        if self.how == "crash":
            faulthandler._sigsegv()
        if self.how == "hang":
            _sleep_for_ever()
        if self.how == "nap":
            time.sleep(0.7)
        if self.how == "raise":
            raise RuntimeError("the network has no weights")
        if self.how == "lack":
            raise PropertyNotImplementedError("no forces today")
        if self.how == "shape":
            self.results["forces"] = np.zeros((1, 3))
        if self.how == "forget":
            del self.results["stress"]
        if self.how == "chatter":
            for _ in range(20000):
                print("loss 0.123456789", file=sys.stderr)


def _sleep_for_ever():
    while True:
        time.sleep(0.05)


def make(model, device, dtype, **options):
    """The calculator called `model`; options are shown by the calculator called "options"."""
    if model == "unimportable":
        import a_package_that_is_not_there  # noqa: F401
    if model == "exit":
        sys.exit(3)
    if model == "slow":
        _sleep_for_ever()
    if model == "emt":
        return EMT(**options)
    if model == "batched":
        return Batched()
    if model == "options":
        calculator = Trivial()
        calculator.facts = {"elements": ["Cu"], "device": device, "dtype": dtype, "options": options}
        calculator.facts["threads"] = os.environ["OMP_NUM_THREADS"]
        calculator.facts["modules"] = sorted(m for m in sys.modules if m.partition(".")[0] in ("calczoo", "torch"))
        return calculator
    return Trivial() if model == "trivial" else Misbehaving(model)
