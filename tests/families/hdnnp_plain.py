"""Symmetry functions by plain loops over the published formulas: the oracle of the tests."""

from __future__ import annotations

import math

import numpy as np
from ase import Atoms

from calczoo.core.pairs import brute_force_pairs
from calczoo.families.hdnnp.params import ANGULAR, COMPACT, WEIGHTED, WITH_JK, SymmetryFunction


def plain_core(name: str, x: float) -> float:
    """The published polynomials."""
    if x >= 1:
        return 0.0
    return {
        "c": lambda: 0.5 * (math.cos(math.pi * x) + 1),
        "p1": lambda: (2 * x - 3) * x**2 + 1,
        "p2": lambda: ((15 - 6 * x) * x - 10) * x**3 + 1,
        "p3": lambda: (x * (x * (20 * x - 70) + 84) - 35) * x**4 + 1,
        "p4": lambda: (x * (x * ((315 - 70 * x) * x - 540) + 420) - 126) * x**5 + 1,
        "e": lambda: math.exp(1 + 1 / (x * x - 1)),
    }[name]()


def plain_cutoff(kind: int, alpha: float, r: float, rc: float) -> float:
    if r >= rc:
        return 0.0
    if kind == 0:
        return 1.0
    if kind in (2, 3):
        return math.tanh(1 - r / rc) ** 3 / (1.0 if kind == 2 else math.tanh(1.0) ** 3)
    inner = alpha * rc
    name = {1: "c", 4: "e", 5: "p1", 6: "p2", 7: "p3", 8: "p4"}[kind]
    return 1.0 if r < inner else plain_core(name, (r - inner) / (rc - inner))


def plain_compact(name: str, x: float, low: float, high: float) -> float:
    u = abs(x - 0.5 * (low + high)) / (0.5 * (high - low))
    if u >= 1:
        return 0.0
    return plain_core(name[:-1], (2 - u) * u) if name.endswith("a") else plain_core(name, u)


def plain_radial(p, f: SymmetryFunction, r: float) -> float:
    if f.kind in COMPACT:
        return plain_compact(f.core, r, f.rl, f.rc)
    return math.exp(-f.eta * (r - f.rs) ** 2) * plain_cutoff(p.cutoff_type, p.cutoff_alpha, r, f.rc)


def plain_value(p, f: SymmetryFunction, near: list) -> float:
    """near: (vector in the file's length, symbol, atomic number) of every neighbour."""
    total = 0.0
    for a, (v, e, z) in enumerate(near):
        r = np.linalg.norm(v)
        if f.kind not in ANGULAR:
            if not f.neighbours or f.neighbours[0] == e:
                total += plain_radial(p, f, r) * (z if f.kind in WEIGHTED else 1)
            continue
        for v2, e2, z2 in near[:a]:
            if f.neighbours and sorted(f.neighbours) != sorted((e, e2)):
                continue
            r2, r3 = np.linalg.norm(v2), np.linalg.norm(v2 - v)
            cos = float(np.clip(v @ v2 / (r * r2), -1, 1))
            term = plain_radial(p, f, r) * plain_radial(p, f, r2) * (z * z2 if f.kind in WEIGHTED else 1)
            if f.kind in WITH_JK:
                term *= plain_radial(p, f, r3)
            if f.kind in COMPACT:
                term *= plain_compact(f.core.removesuffix("a"), math.degrees(math.acos(cos)), f.al, f.ar)
            else:
                term *= 2 ** (1 - f.zeta) * max(0.0, 1 + f.lam * cos) ** f.zeta
            total += term
    return total


def plain_scaled(p, g: np.ndarray, table: np.ndarray) -> np.ndarray:
    low, high, mean, sigma = table.T
    span = p.smax - p.smin
    return {
        "none": g,
        "center": g - mean,
        "scale": p.smin + span * (g - low) / (high - low),
        "scale+center": p.smin + span * (g - mean) / (high - low),
        "sigma": p.smin + span * (g - mean) / sigma,
    }[p.scaling]


def plain_functions(p, atoms: Atoms) -> np.ndarray:
    out = np.zeros((len(atoms), max(p.n_functions)))
    found = brute_force_pairs(atoms.positions, atoms.cell.array, atoms.pbc, p.cutoff)
    for i, symbol in enumerate(atoms.symbols):
        near = [
            ((atoms.positions[j] + np.array(s) @ atoms.cell.array - atoms.positions[i]) / p.length_unit, *kind)
            for k, j, s in found
            if k == i
            for kind in [(atoms.symbols[j], atoms.numbers[j])]
        ]
        m = p.models[p.elements.index(symbol)]
        g = np.array([plain_value(p, f, near) for f in m.functions])
        out[i, : len(g)] = plain_scaled(p, g, m.scaling)
    return out
