"""Search for jumps in a curve of one variable that can be evaluated anywhere.

A uniform grid is scanned for places where the curve departs from the interpolation of its neighbours far more than it
does nearby. Each such place is enlarged again and again around its largest fourth difference: the fourth difference of
a smooth curve falls by 3^4 per enlargement, that of a jump not at all. At the end straight lines on either side, each
with its own scatter (rounding), meet at the suspected place; their distance is the jump.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

Curves = Callable[[np.ndarray], np.ndarray]
"""x (n,) -> values (n, channels)."""

_POINTS = 13
"""Points of one enlargement; the next interval is four of these twelve wide."""
_WIDTH = 2e-8
"""Enlarge down to this interval (A): still 1e7 spacings of float64 numbers of a few A."""
_SIDE = 3e-7
"""Spacing (A) of the points of the straight lines; eight of them reach 2.4e-6 A."""


@dataclass(frozen=True)
class Jump:
    """Distance of a channel's two one-sided limits at x, and the rounding it was seen through."""

    x: float
    channel: int
    size: float
    noise: float

    def exceeds(self, tolerance: float) -> bool:
        return self.size > max(tolerance, 8.0 * self.noise)


def find_jumps(curves: Curves, low: float, high: float, points: int, suspects: int) -> list[Jump]:
    """The measured jumps of each channel at the most suspicious places of that channel between low and high."""
    x = np.linspace(low, high, points)
    y = curves(x)
    h = x[1] - x[0]
    jumps = []
    for channel in range(y.shape[1]):
        places = np.array([x[k] for k in _suspicious(y[:, channel], suspects)])
        # every channel is enlarged on its own: a broken slope of dE/dr is found in E to 1e-7 A only, and a place that
        # is off by that much would turn the change of slope into a jump
        jumps += [_measure(curves, channel, c) for c in _zoom(curves, channel, places, 2 * h, _WIDTH)]
    return jumps


def _suspicious(y: np.ndarray, count: int) -> list[int]:
    """Grid points whose fourth difference stands out most from those around it, and the largest ones."""
    d = np.abs(np.diff(y, 4))
    if not len(d):
        return []
    window = 12
    padded = np.pad(d, window, mode="edge")
    around = np.median(np.lib.stride_tricks.sliding_window_view(padded, 2 * window + 1), axis=1)
    floor = 1e-13 * max(1.0, float(np.median(np.abs(y))))
    ratio = d / (around + floor)
    chosen: list[int] = []
    for order in (np.argsort(-ratio), np.argsort(-d)[: max(count // 4, 1)]):
        taken = 0
        for k in order:
            # one feature shows in up to five neighbouring fourth differences
            if taken < count and all(abs(k - other) > 4 for other in chosen):
                chosen.append(int(k))
                taken += 1
    return [k + 2 for k in chosen]


def _zoom(curves: Curves, channel: int, centres: np.ndarray, half: float, width: float) -> np.ndarray:
    """Enlarge every place at once around its largest fourth difference until the interval is `width` wide."""
    offsets = np.linspace(-1, 1, _POINTS)
    while 2 * half > width and len(centres):
        x = centres[:, None] + half * offsets
        y = curves(x.ravel())[:, channel].reshape(x.shape)
        k = np.argmax(np.abs(np.diff(y, 4, axis=1)), axis=1) + 2
        centres = x[np.arange(len(x)), k]
        half *= 4 / (_POINTS - 1)
    return centres


def _measure(curves: Curves, channel: int, centre: float) -> Jump:
    side = 0.5 * _WIDTH + _SIDE * np.arange(1, 9)
    y = curves(np.concatenate([centre - side, centre + side]))[:, channel]
    limits, slopes, scatter = [], [], []
    for values, x in ((y[:8], -side), (y[8:], side)):
        fit = np.polynomial.polynomial.polyfit(x, values, 1)
        limits.append(fit[0])
        slopes.append(fit[1])
        residual = np.polynomial.polynomial.polyval(x, fit) - values
        scatter.append(np.sqrt(np.sum(residual**2) / 6))  # eight points less two parameters
    noise = max(scatter) + 4 * np.finfo(float).eps * float(np.abs(y).max())
    noise += abs(slopes[1] - slopes[0]) * 0.1 * _WIDTH  # how well the place is known
    return Jump(float(centre), channel, float(abs(limits[1] - limits[0])), float(noise))


def derivative_jumps(curves: Curves, channel: int, low: float, high: float, points: int, suspects: int) -> list[dict]:
    """One-sided first and second derivatives of a channel at its most suspicious places.

    Each entry has x, the jump of the first and of the second derivative, and their own sizes there.
    """
    x = np.linspace(low, high, points)
    h = x[1] - x[0]
    y = curves(x)[:, channel]
    centres = _zoom(curves, channel, np.array([x[k] for k in _suspicious(y, suspects)]), 2 * h, 1e-4)
    out = []
    for c in centres:
        side = 1e-4 + 1e-3 * np.arange(1, 11)
        values = curves(np.concatenate([c - side, c + side]))[:, channel]
        left = np.polynomial.polynomial.polyfit(-side, values[:10], 4)
        right = np.polynomial.polynomial.polyfit(side, values[10:], 4)
        out.append(
            {
                "x": float(c),
                "first": float(abs(right[1] - left[1])),
                "second": float(2 * abs(right[2] - left[2])),
                "size_first": float(max(abs(left[1]), abs(right[1]))),
                "size_second": float(2 * max(abs(left[2]), abs(right[2]))),
            }
        )
    return out
