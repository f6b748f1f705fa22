"""Small smooth potentials of every style, and a short funcfl set, made from formulas."""

from __future__ import annotations

import numpy as np

from calczoo.families.eam.params import EamParams, Funcfl, Header, combine_funcfl

CUTOFF, NR, NRHO = 4.5, 46, 31
NUMBER = {"Cu": 29, "Ni": 28, "H": 1}


def fade(r: np.ndarray, cutoff: float = CUTOFF) -> np.ndarray:
    return np.where(r < cutoff, (1.0 - np.minimum(r / cutoff, 1.0) ** 2) ** 3, 0.0)


def toy(style: str = "alloy", elements: tuple[str, ...] = ("Cu", "Ni"), nr: int = NR, nrho: int = NRHO) -> EamParams:
    """Exponential densities, Morse-like pairs and -sqrt embedding, all different for every pair of species."""
    if style == "funcfl":
        sources = tuple(toy_funcfl(e, 1.0 + 0.1 * k) for k, e in enumerate(elements))
        return combine_funcfl(sources, "toy.eam", {})
    s = len(elements)
    dr = CUTOFF / (nr - 1)
    r, rho = dr * np.arange(nr), np.arange(nrho)
    rho_min = -4.0 if style == "he" else 0.0
    strength = 1.0 + 0.2 * np.arange(s)
    by_host = 1.0 + 0.3 * np.arange(s) if style in ("fs", "he") else np.ones(s)
    density = strength[:, None, None] * by_host[None, :, None] * (np.exp(-r) * fade(r))
    pair = np.add.outer(strength, strength)[:, :, None]
    drho = 0.9 * (30.0 / (nrho - 1)) * 0.1
    f = -np.sqrt(0.5 + (rho * drho) * strength[:, None]) + 0.02 * (rho * drho) ** 2
    angular = {}
    if style == "adp":
        angular = {"dipole": 0.04 * pair * np.sin(r) * fade(r), "quadrupole": 0.03 * pair * np.cos(r) * fade(r)}
    return EamParams(
        name=f"toy.{style}",
        style=style,
        elements=elements,
        headers=tuple(Header(NUMBER[e], 10.0 + k, 3.6, "fcc") for k, e in enumerate(elements)),
        drho=drho,
        dr=dr,
        cutoff=CUTOFF - 0.02,
        embedding=f,
        density=density,
        r_phi=pair * r * (np.exp(-2.0 * (r - 2.3)) - 1.5 * np.exp(-(r - 2.3))) * fade(r) * 0.1,
        rho_min=rho_min,
        comments=("a toy", "", "# of the tests"),
        **angular,
    )


def toy_funcfl(element: str, scale: float = 1.0) -> Funcfl:
    """One element; `scale` changes the grids."""
    dr, drho = 0.1 * scale, 0.1 * scale
    r, rho = dr * np.arange(46), drho * np.arange(40)
    return Funcfl(
        element=element,
        header=Header(NUMBER[element], 60.0, 3.6, "fcc"),
        drho=drho,
        dr=dr,
        cutoff=4.4 * scale,
        embedding=-np.sqrt(rho + 0.1) * scale,
        charge=3.0 * np.exp(-r) * fade(r, 4.5 * scale),
        density=np.exp(-r) * fade(r, 4.5 * scale) * scale,
        comment=f"{element}, a toy",
    )
