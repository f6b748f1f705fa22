"""Units: eV, Angstrom, elementary charge, amu. Conversions to and from other conventions, in one place."""

from __future__ import annotations

from ase.units import GPa as _GPA

EV_PER_A3_TO_GPA = 1.0 / _GPA
"""Multiply eV/A^3 by this to get GPa (CODATA as in ase.units)."""

QQR2E = 14.399645
"""e^2 / (4 pi eps0) in eV A, the value LAMMPS uses in `units metal`."""

VOIGT = ((0, 0), (1, 1), (2, 2), (1, 2), (0, 2), (0, 1))
"""Order of the six stress components, ASE's: xx yy zz yz xz xy."""
