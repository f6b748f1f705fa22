"""Young's modulus, shear modulus, Poisson's ratio and linear compressibility of a crystal in every direction.

With the compliance tensor S (the inverse of the stiffness), a pull along n and unit vectors m across it:

    1/E(n) = S_ijkl n_i n_j n_k n_l      beta(n) = S_ijkk n_i n_j
    nu(n, m) = -E(n) S_ijkl n_i n_j m_k m_l      1/G(n, m) = 4 S_ijkl n_i m_j n_k m_l

J. F. Nye, Physical Properties of Crystals, Oxford (1957). For a given n the last two are quadratic forms in m, so their
extremes are eigenvalues in the plane across n; only n is searched, on a grid of the sphere that is then
refined around the best point.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from ..strain import VOIGT

STEP = 3.0  # degrees of the grid on the sphere
_PATCH = np.array(np.meshgrid(*2 * [np.linspace(-1, 1, 7)])).reshape(2, -1).T  # its centre is a point of it
CUTS = {"(100)": ((0, 1, 0), (0, 0, 1)), "(110)": ((1, -1, 0), (0, 0, 1)), "(111)": ((1, -1, 0), (1, 1, -2))}


def compliance(c: np.ndarray) -> np.ndarray:
    """(3, 3, 3, 3) compliance in 1/GPa of a (6, 6) stiffness in GPa. LinAlgError where the stiffness is singular."""
    s = np.linalg.inv(c)
    full = np.zeros((3, 3, 3, 3))
    for i, p in enumerate(VOIGT):
        for j, q in enumerate(VOIGT):
            value = s[i, j] / ((1 if i < 3 else 2) * (1 if j < 3 else 2))
            for a, b in (p, p[::-1]):
                for d, e in (q, q[::-1]):
                    full[a, b, d, e] = value
    return full


def unit(theta: np.ndarray, phi: np.ndarray) -> np.ndarray:
    """Unit vectors (..., 3) of polar angle and azimuth."""
    return np.stack([np.sin(theta) * np.cos(phi), np.sin(theta) * np.sin(phi), np.cos(theta) + 0 * phi], axis=-1)


def _across(n: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Two unit vectors across each n."""
    axis = np.eye(3)[np.abs(n).argmin(axis=-1)]
    first = np.cross(n, axis)
    first /= np.linalg.norm(first, axis=-1, keepdims=True)
    return first, np.cross(n, first)


def _twice(n: np.ndarray) -> np.ndarray:
    """n_i n_j as vectors (..., 9)."""
    return (n[..., :, None] * n[..., None, :]).reshape(*n.shape[:-1], 9)


def young(s: np.ndarray, n: np.ndarray) -> np.ndarray:
    """E(n) in GPa for unit vectors n (..., 3)."""
    nn = _twice(n)
    return 1 / (nn @ s.reshape(9, 9) * nn).sum(axis=-1)


def compressibility(s: np.ndarray, n: np.ndarray) -> np.ndarray:
    """Linear compressibility in 1/GPa along n."""
    return np.einsum("ijkk,...i,...j->...", s, n, n)


def _plane(form: np.ndarray, n: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Smallest and largest value of m . form . m over the unit vectors m across n."""
    u, v = _across(n)
    uu, vv, uv = ((a[..., None, :] @ form @ b[..., :, None])[..., 0, 0] for a, b in ((u, u), (v, v), (u, v)))
    mean, radius = (uu + vv) / 2, np.hypot((uu - vv) / 2, uv)
    return mean - radius, mean + radius


def poisson(s: np.ndarray, n: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Smallest and largest Poisson's ratio for a pull along n."""
    nn = _twice(n)
    form = nn @ s.reshape(9, 9)
    form = -(form / (form * nn).sum(axis=-1)[..., None]).reshape(*n.shape[:-1], 3, 3)
    return _plane(form, n)


def shear(s: np.ndarray, n: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Smallest and largest shear modulus in GPa of the plane with normal n."""
    form = 4 * (_twice(n) @ s.transpose(0, 2, 1, 3).reshape(9, 9)).reshape(*n.shape[:-1], 3, 3)
    low, high = _plane(form, n)
    return 1 / high, 1 / low


QUANTITIES: dict[str, tuple[Callable[[np.ndarray, np.ndarray], np.ndarray], float]] = {
    "E_min": (young, 1.0),
    "E_max": (young, -1.0),
    "G_min": (lambda s, n: shear(s, n)[0], 1.0),
    "G_max": (lambda s, n: shear(s, n)[1], -1.0),
    "nu_min": (lambda s, n: poisson(s, n)[0], 1.0),
    "nu_max": (lambda s, n: poisson(s, n)[1], -1.0),
    "beta_min": (compressibility, 1.0),
    "beta_max": (compressibility, -1.0),
}


def extremes(c: np.ndarray) -> dict[str, tuple[float, list[float]]]:
    """Smallest and largest of each quantity with the direction n, for a stiffness (6, 6) in GPa."""
    s = compliance(c)
    found = {
        key: _search(lambda n, f=function, k=sign: k * f(s, n), sign)
        for key, (function, sign) in QUANTITIES.items() if not key.startswith("beta")
    }  # fmt: skip
    values, vectors = np.linalg.eigh(np.einsum("ijkk->ij", s))
    found["beta_min"] = float(values[0]), _tidy(vectors[:, 0])
    found["beta_max"] = float(values[2]), _tidy(vectors[:, 2])
    return found


def values_along(c: np.ndarray, directions: dict[str, list[float]]) -> dict[str, float]:
    """The quantities of another stiffness along given directions: in first order what its extremes are."""
    s = compliance(c)
    return {key: float(QUANTITIES[key][0](s, np.array(n) / np.linalg.norm(n))) for key, n in directions.items()}


def _search(function: Callable[[np.ndarray], np.ndarray], sign: float = 1.0) -> tuple[float, list[float]]:
    """Minimum of `function(n)` over half a sphere: the best of a grid, refined; times `sign`."""
    theta = np.deg2rad(np.arange(0.0, 90.0 + STEP / 2, STEP))
    phi = np.deg2rad(np.arange(0.0, 360.0, STEP))
    angles = np.array(np.meshgrid(theta, phi, indexing="ij")).reshape(2, -1).T
    values = function(unit(angles[:, 0], angles[:, 1]))
    n = unit(*angles[int(np.argmin(np.round(values, 9)))])  # the first of equal ones
    width = np.deg2rad(STEP)
    while width > 1e-7:  # smooth, so the error of the minimum is the square of this
        u, v = _across(n)
        around = n + width * (_PATCH[:, :1] * u + _PATCH[:, 1:] * v)
        around /= np.linalg.norm(around, axis=1)[:, None]
        n = around[int(np.argmin(function(around)))]
        width /= 3
    return sign * float(function(n)), _tidy(n)


def _tidy(n: np.ndarray) -> list[float]:
    """The direction with its first component that is not zero positive, rounded."""
    n = np.round(n / np.linalg.norm(n), 4) + 0.0
    first = next((x for x in n if abs(x) > 1e-3), 1.0)
    return [float(x) for x in (n if first > 0 else -n) + 0.0]


def cuts(c: np.ndarray, points: int = 73) -> dict[str, list[float]]:
    """E(n) in GPa around the planes (100), (110), (111) of the Cartesian axes, every 360/(points - 1) degrees."""
    s, angle = compliance(c), np.linspace(0, 2 * np.pi, points)
    out = {}
    for plane, (a, b) in CUTS.items():
        a, b = (np.array(x) / np.linalg.norm(x) for x in (a, b))
        n = np.cos(angle)[:, None] * a + np.sin(angle)[:, None] * b
        out[plane] = [round(float(x), 4) for x in young(s, n)]
    return out


def words(n: list[float]) -> str:
    """A direction in words: small integers where it has them."""
    v = np.array(n) / np.abs(n).max()
    for k in (1, 2, 3, 4):
        if np.abs(k * v - np.round(k * v)).max() < 5e-3 * k:
            whole = np.round(k * v).astype(int)
            return "[" + " ".join(str(x) for x in whole) + "]"
    return "[" + " ".join(f"{x:.3f}" for x in n) + "]"
