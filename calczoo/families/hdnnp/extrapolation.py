"""A warning when symmetry functions leave the range that they had in the training data; for all backends."""

from __future__ import annotations

import warnings
from bisect import bisect_right
from collections.abc import Sequence

import numpy as np
import torch

from .params import HdnnpParams
from .scaling import Scaling


class ExtrapolationWarning(UserWarning):
    """Symmetry functions outside the range of the training data, where the networks extrapolate."""


class ExtrapolationCheck:
    """Says, once per model, how many functions of how many atoms are outside and which one is furthest.

    enabled: False switches the check off. count, atoms: of the structures that gave the warning.
    """

    TOLERANCE = {torch.float64: 1e-9, torch.float32: 1e-4}
    """Of the range: values this close to its ends come from round-off, in the file or here."""

    def __init__(self, params: HdnnpParams, device: torch.device | str = "cpu", dtype: torch.dtype = torch.float64):
        self.name, self.elements = params.name, params.elements
        self.enabled, self.said, self.count, self.atoms = True, False, 0, 0
        scaling = Scaling.of(params)
        known = np.isfinite(scaling.low)
        low, high = np.where(known, scaling.low, 0.0), np.where(known, scaling.high, 0.0)
        middle, half = 0.5 * (low + high), np.where(known, 0.5 * (high - low), np.inf)
        self._middle, self._half = (torch.tensor(a, dtype=dtype, device=device) for a in (middle, half))
        self._limit = 1.0 + self.TOLERANCE.get(dtype, 1e-4)

    def check(
        self,
        functions: torch.Tensor,
        species: torch.Tensor,
        first: Sequence[int] = (0,),
        counted: torch.Tensor | None = None,
    ) -> None:
        """functions (N, width), scaled; species (N,): positions in params.elements; first: where structures begin;
        counted (N,): atoms that matter, None for all."""
        if not self.enabled or self.said or functions.numel() == 0:
            return
        functions = functions.detach()
        distance = (functions - self._middle[species]).abs() / self._half[species]
        if counted is not None:
            distance = torch.where(counted[:, None], distance, 0.0)
        if float(distance.max()) <= self._limit:
            return
        outside = distance > self._limit
        self.said, self.count, self.atoms = True, int(outside.sum()), int(outside.any(dim=1).sum())
        atom, column = divmod(int(distance.argmax()), distance.shape[1])
        where, span = float(distance[atom, column]), species[atom]
        scaled, s = float(functions[atom, column]), bisect_right(first, atom, hi=max(1, len(first) - 1)) - 1
        many = len(first) > 2
        place = f"atom {atom - first[s]} of structure {s}" if many else f"atom {atom}"
        low, high = (float(self._middle[span, column] + s * self._half[span, column]) for s in (-1, 1))
        warnings.warn(
            f"{self.name}: {self.count} symmetry functions of {self.atoms} atoms "
            f"{f'in {len(first) - 1} structures ' if many else ''}are outside the range of the training "
            f"data, where the networks extrapolate; the furthest is function {column + 1} of {place} "
            f"({self.elements[int(span)]}), scaled {scaled:.4g} with the range {low:.4g} to "
            f"{high:.4g} ({where:.3g} half widths from its middle; said once per calculator)",
            ExtrapolationWarning,
            stacklevel=2,
        )
