"""Wulff's construction: the shape of least surface energy at fixed volume (doi:10.1524/zkri.1901.34.1.449).

    W = {r : n_i . r <= gamma_i for all faces i}

as the intersection of half spaces (scipy, Qhull). Lengths are in units of the surface energy; areas relative to the
whole, the mean surface energy and the shape factor A / V^(2/3) do not depend on the size.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

SPHERE = (36 * np.pi) ** (1 / 3)  # A / V^(2/3) of a sphere


@dataclass
class Face:
    """A facet: its family, its normal and its corners in order (k, 3)."""

    family: int
    normal: np.ndarray
    corners: np.ndarray

    @property
    def area(self) -> float:
        around = self.corners - self.corners.mean(axis=0)
        cross = np.cross(around, np.roll(around, -1, axis=0)).sum(axis=0)
        return float(np.linalg.norm(cross) / 2)


@dataclass
class Shape:
    """faces: those with an area;  area, volume: in units of gamma^2, gamma^3;  fractions of the area by family."""

    faces: list[Face]
    area: float
    volume: float
    fractions: np.ndarray
    mean_energy: float

    @property
    def shape_factor(self) -> float:
        return self.area / self.volume ** (2 / 3)

    @property
    def anisotropy(self) -> float:
        """Standard deviation of the surface energy over the area, relative to its mean."""
        energies = np.array([float(f.normal @ f.corners[0]) for f in self.faces])
        weights = np.array([f.area for f in self.faces]) / self.area
        return float(np.sqrt(max(0.0, weights @ (energies - self.mean_energy) ** 2)) / self.mean_energy)


def orbit(rotations: np.ndarray, normal: np.ndarray) -> np.ndarray:
    """Distinct images of a unit normal under Cartesian rotations (g, 3, 3), and their opposites."""
    images = np.vstack([rotations @ normal, -(rotations @ normal)])
    # Rotations of a relaxed crystal are orthogonal to its relaxation tolerance only.
    images /= np.linalg.norm(images, axis=1, keepdims=True)
    kept: list[np.ndarray] = []
    for n in images:
        if all(n @ k < 1 - 1e-6 for k in kept):
            kept.append(n)
    return np.array(kept)


def wulff(normals: list[np.ndarray], energies: list[float]) -> Shape:
    """The shape for families of faces: normals[f] (n_f, 3) unit vectors, all with the energy energies[f] > 0.

    Errors: ValueError where an energy is not positive or the faces enclose no volume.
    """
    from scipy.spatial import ConvexHull, HalfspaceIntersection, QhullError

    energies = [float(e) for e in energies]
    if not energies or min(energies) <= 0:
        raise ValueError("Wulff's construction needs positive surface energies")
    family = np.concatenate([[f] * len(n) for f, n in enumerate(normals)]).astype(int)
    directions = np.vstack(normals)
    distances = np.array(energies)[family]
    if np.linalg.matrix_rank(directions, tol=1e-6) < 3:
        raise ValueError("the faces enclose no volume")
    scale = min(energies)
    try:
        half = HalfspaceIntersection(np.column_stack([directions, -distances / scale]), np.zeros(3))
        corners = _distinct(half.intersections[np.isfinite(half.intersections).all(axis=1)])
        volume = ConvexHull(corners).volume * scale**3
    except QhullError as error:
        raise ValueError(f"the faces enclose no volume: {str(error).splitlines()[0]}") from None
    faces = []
    for f, n, distance in zip(family, directions, distances / scale, strict=True):
        on = corners[np.abs(corners @ n - distance) < 1e-7 * max(1.0, distance)]
        if len(on) >= 3:
            face = Face(int(f), n, _ordered(on, n) * scale)
            if face.area > 1e-9 * scale**2:
                faces.append(face)
    areas = np.zeros(len(energies))
    for face in faces:
        areas[face.family] += face.area
    total = float(areas.sum())
    return Shape(faces, total, float(volume), areas / total, float(areas @ np.array(energies) / total))


def _distinct(points: np.ndarray) -> np.ndarray:
    kept: list[np.ndarray] = []
    for p in points:
        if all(np.abs(p - k).max() > 1e-7 for k in kept):
            kept.append(p)
    return np.array(kept)


def _ordered(points: np.ndarray, normal: np.ndarray) -> np.ndarray:
    """Corners of a convex facet, counterclockwise about its normal."""
    centre = points.mean(axis=0)
    x = points[0] - centre
    x = x / np.linalg.norm(x)
    y = np.cross(normal, x)
    around = points - centre
    return points[np.argsort(np.arctan2(around @ y, around @ x), kind="stable")]


def draw(ax, faces: list[dict], colours: dict[str, str], view=(1.0, 0.42, 0.5)) -> None:
    """Draw a shape on 2D axes: faces with "family" (label), "normal" and "corners"; seen from `view`, parallel rays."""
    from matplotlib.colors import to_rgb
    from matplotlib.patches import Polygon

    ahead = np.array(view) / np.linalg.norm(view)
    right = np.cross([0.0, 0.0, 1.0], ahead)
    right = right / np.linalg.norm(right)
    up = np.cross(ahead, right)
    light = ahead + 0.5 * up - 0.35 * right
    light = light / np.linalg.norm(light)
    reach = 0.0
    for face in faces:
        normal, corners = np.array(face["normal"]), np.array(face["corners"])
        if normal @ ahead < 1e-6:
            continue
        flat = np.column_stack([corners @ right, corners @ up])
        reach = max(reach, float(np.abs(flat).max()))
        shade = 0.55 + 0.45 * max(0.0, float(normal @ light))
        base = np.array(to_rgb(colours[face["family"]]))
        ax.add_patch(Polygon(flat, closed=True, facecolor=tuple(1 - shade * (1 - base) * 0.75 - (1 - shade) * 0.25),
                             edgecolor="#1a202c", lw=0.6, joinstyle="round"))  # fmt: skip
    ax.set_xlim(-1.05 * reach, 1.05 * reach)
    ax.set_ylim(-1.05 * reach, 1.05 * reach)
    ax.set_aspect("equal")
    ax.set_axis_off()
