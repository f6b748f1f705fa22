"""D-optimal selection: the candidates that extend the active set of a potential, and so belong into its training set.

A candidate enters where one of its rows replaces a row of the active set, which its extrapolation grade above the
threshold makes possible; afterwards no candidate left out has a larger grade. Source: Podryabinkin and Shapeev, Comput.
Mater. Sci. 140, 171 (2017), doi:10.1016/j.commatsci.2017.08.031.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from ...compose import device_of
from ...core.errors import OptionError
from ...family import ModelRequest, Selected
from .load import check_frames, read, with_active_set
from .maxvol import select as enter
from .params import MODES, MtpParams

if TYPE_CHECKING:
    import torch
    from ase import Atoms

Progress = Callable[[str, float], None]
NEVER = 1.0e300
"""A threshold that no row exceeds: grades are computed, and nothing enters."""


def select(
    request: ModelRequest,
    candidates: Sequence[Atoms],
    training: Sequence[Atoms] | None,
    threshold: float,
    limit: int | None = None,
    progress: Progress | None = None,
) -> Selected:
    """Which candidates to learn. training: makes the active set where it is given, in place of the file's own.

    limit: at most so many, chosen one after the other by the largest grade that those before it have left.
    Raises OptionError for a potential with neither an active set nor a training set and for grade=off, DataError.
    """
    options = dict(request.options)
    if options.get("grade") in (False, "off"):
        raise OptionError("grade is off, but structures are selected by their grades; leave it out")
    mode = options.pop("grade", None) if training is not None else None
    params = read(replace(request, options=options))
    if training is not None:
        params = with_active_set(params, training, mode or MODES[0], progress)
    if params.active is None:
        raise OptionError(
            f"{params.name} has no active set to select by; name the training set (--training train.cfg), or put one "
            "into an .almtp file: calczoo convert pot.mtp pot.almtp --training train.cfg"
        )
    check_frames(candidates, params, "list of candidates")
    device = device_of(request.device)
    threshold = max(threshold, 1.001)  # at 1 exchanges of equal rows would never end
    found = enter(params, candidates, threshold, params.active, progress=progress, device=device)
    chosen, active = list(found.frames), found.active
    notes = [f"grade of a {params.active.mode}; {found.swaps} rows of the active set exchanged"]
    if limit is not None and len(chosen) > limit:
        notes.append(f"{len(chosen)} would be needed to keep all grades at {threshold:g}; the limit is {limit}")
        chosen, active = _first(params, candidates, chosen, limit, threshold, device)
    rest = [atoms for k, atoms in enumerate(candidates) if k not in set(chosen)]
    covered = float(_grades(replace(params, active=active), rest, device).max()) if rest else None
    return Selected(tuple(sorted(chosen)), tuple(float(g) for g in found.grades), covered, tuple(notes))


def _grades(params: MtpParams, frames: Sequence[Atoms], device: torch.device):
    return enter(params, frames, NEVER, params.active, device=device).grades


def _first(
    params: MtpParams,
    candidates: Sequence[Atoms],
    chosen: Sequence[int],
    limit: int,
    threshold: float,
    device: torch.device,
):
    """The first `limit` of the chosen ones in the order of what they add, and the active set with them."""
    left, taken = list(chosen), []
    while len(taken) < limit and left:
        grades = _grades(params, [candidates[k] for k in left], device)
        best = int(grades.argmax())
        if not grades[best] > threshold:
            break
        taken.append(left.pop(best))
        active = enter(params, [candidates[taken[-1]]], threshold, params.active, device=device).active
        params = replace(params, active=active)
    return taken, params.active
