"""Which way the reciprocal-space part of a periodic structure is summed.

ewald      exact sums over waves (reciprocal.py)
mesh       particle mesh of torch-pme (mesh.py)
nvalchemi  particle mesh of nvalchemi-toolkit-ops (nvalchemi_mesh.py)
auto       by size, accuracy, device and what is installed
"""

from __future__ import annotations

from ..core.errors import BackendUnavailable, OptionError
from . import mesh, nvalchemi_mesh

METHODS = ("auto", "ewald", "mesh", "nvalchemi")

ATOMS, ROUGH = 30000, 1e-7
"""From this many atoms and this accuracy on, method="auto" takes the mesh where it is installed: exact sums, which are
products of matrices, are faster below (water, one core: energy and forces of 10125 atoms to 1e-6 in 0.9 s, on the mesh
in 1.9 s; of 24000 atoms in 3.6 and 6.0 s)."""

_PACKAGES = {
    "mesh": ("torch-pme", "longrange", mesh),
    "nvalchemi": ("nvalchemi-toolkit-ops", "nvalchemi", nvalchemi_mesh),
}
"""Method -> its package, the extra that installs it, the module here."""


def choose_method(method: str, n: int, accuracy: float, device: str = "cpu") -> str:
    """One of METHODS but "auto", for a periodic structure of n atoms. Raises OptionError, BackendUnavailable."""
    if method not in METHODS:
        raise OptionError(f"method of electrostatics is {method!r}; allowed are {', '.join(METHODS)}")
    if method == "auto":
        if n < ATOMS or accuracy < ROUGH:
            return "ewald"
        if device == "cuda" and accuracy >= nvalchemi_mesh.FINEST and nvalchemi_mesh.available():
            return "nvalchemi"
        return "mesh" if mesh.available() else "ewald"
    if method in _PACKAGES:
        package, extra, module = _PACKAGES[method]
        if accuracy < module.FINEST:
            raise OptionError(
                f"the particle mesh of {package} reaches an accuracy of {module.FINEST:g}, not {accuracy:g}; set "
                "accuracy=1e-6, say, or use method='ewald'"
            )
        if not module.available():
            raise BackendUnavailable(
                f"method='{method}' needs {package}, which is not installed: pip install 'calczoo[{extra}]' (or pip "
                f"install {package}), or use method='ewald'"
            )
    return method
