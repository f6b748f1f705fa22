"""Electrostatics shared by families and add-ons: Ewald sums of point charges and Gaussians, charge equilibration."""

from __future__ import annotations

from .geometry import COULOMB, Geometry
from .qeq import Equilibrium, equilibrate

__all__ = ["COULOMB", "Equilibrium", "Geometry", "equilibrate"]
