"""Scaling of symmetry functions: one table for both backends.

    scale          Smin + (Smax - Smin) (G - min) / (max - min)         center    G - mean
    scale+center   Smin + (Smax - Smin) (G - mean) / (max - min)        none      G
    sigma          Smin + (Smax - Smin) (G - mean) / sigma

each is base + factor (G - offset).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ...core.errors import OptionError
from .params import HdnnpParams


@dataclass(frozen=True)
class Scaling:
    """Arrays (C, width), C elements, width the largest number of functions: scaled = base + factor (G - offset), zero
    beyond the functions of an element; low, high: scaled range of the training data, infinite where not known."""

    offset: np.ndarray
    factor: np.ndarray
    base: np.ndarray
    low: np.ndarray
    high: np.ndarray

    @classmethod
    def of(cls, params: HdnnpParams) -> Scaling:
        """Raises OptionError for a function whose range, which would divide, is not positive."""
        shape = (len(params.elements), max(params.n_functions))
        offset, factor, base = np.zeros(shape), np.zeros(shape), np.zeros(shape)
        low, high = np.full(shape, -np.inf), np.full(shape, np.inf)
        for c, m in enumerate(params.models):
            k = len(m.functions)
            smallest, largest, mean, sigma = m.scaling.T
            span = sigma if params.scaling == "sigma" else largest - smallest
            if params.scaling in ("none", "center"):
                factor[c, :k] = 1.0
            else:
                if not (span > 0).all():
                    bad = int(np.argmin(span > 0))
                    raise OptionError(
                        f"{params.name}: symmetry function {bad + 1} of {params.elements[c]} has "
                        f"{'sigma' if params.scaling == 'sigma' else 'max - min'} = {span[bad]:g} in the scaling data; "
                        "it divides and must be positive (a function that is constant in the data has to be removed)"
                    )
                base[c, :k] = params.smin
                factor[c, :k] = (params.smax - params.smin) / span
            if params.scaling != "none":
                offset[c, :k] = smallest if params.scaling == "scale" else mean
            known = np.flatnonzero(largest > smallest)
            for edge, value in ((low, smallest), (high, largest)):
                edge[c, known] = (base[c, :k] + factor[c, :k] * (value - offset[c, :k]))[known]
        return cls(offset, factor, base, np.minimum(low, high), np.maximum(low, high))
