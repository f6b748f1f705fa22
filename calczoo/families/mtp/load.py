"""From a request to parameters (bundled fits, files), with an active set from a training set where one is asked for,
and from those to a model."""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...compose import device_of
from ...core.card import Card
from ...core.errors import DataError, OptionError, PotentialFileError, SpecError
from ...core.model import Model
from ...core.threads import thread_count
from ...files.cards import is_card, read_card
from ...files.compressed import bare_name
from ...files.text import find_file, sha256
from ...registry import ModelRequest
from . import FAMILY, OPTIONS
from .params import MODES, ActiveSet, MtpParams

if TYPE_CHECKING:
    from ase import Atoms

MODELS = Path(__file__).parent / "models"
_EXPECTED = "a bundled name, or a trained potential .mtp (MLIP-2) or .almtp (MLIP-3)"
_ACTIVE: dict[tuple, ActiveSet] = {}
"""Active sets made in this process, by the checksums of potential and training set; the last few."""


def read(request: ModelRequest) -> MtpParams:
    """Parameters of a bundled fit or of MLIP's files.

    Raises SpecError without a model, OptionError (elements, options), PotentialFileError, DataError (training set).
    """
    request.check_options(OPTIONS)
    if request.args:
        raise OptionError(f"mtp takes no arguments in parentheses, but got {request.args}")
    if request.model is None:
        has = f"a bundled name ({', '.join(FAMILY.bundled)}) or " if FAMILY.bundled else ""
        raise SpecError(f"mtp needs a model: {has}a file, as in get_calculator('mtp', model='Cu.mtp', elements=['Cu'])")
    if isinstance(request.model, tuple):
        names = ", ".join(Path(p).name for p in request.model)
        raise PotentialFileError(request.model[0], None, f"got the files {names}", "one .mtp or .almtp file")
    if str(request.model) in FAMILY.bundled:
        params = read_bundled(str(request.model), request.elements)
    else:
        params = read_file(request.model, request.elements)
    return graded(params, request.options)


def read_bundled(name: str, elements: Sequence[str] | None = None) -> MtpParams:
    """A fit of this project, with the facts of its card file."""
    own = FAMILY.bundled_elements[name]
    if elements is not None and (missing := [e for e in elements if e not in own]):
        raise OptionError(f"mtp:{name} has no {', '.join(missing)} (its elements: {', '.join(own)})")
    path = next(p for suffix in (".almtp", ".mtp") if (p := MODELS / f"{name}{suffix}").is_file())
    params = with_card(_reader(path)(path, own), MODELS / f"{name}.json", name)
    return params if elements is None else params.restricted(elements)


def read_file(model: str | Path, elements: Sequence[str] | None = None) -> MtpParams:
    """Parameters of one file; a card beside it, as a fit of this family writes one, adds its facts and the elements."""
    path = find_file(model, _EXPECTED)
    reader = _reader(path)
    card = path.with_name(bare_name(path).removesuffix(".mtp").removesuffix(".almtp") + ".json")
    if not is_card(card) or read_card(card).family != FAMILY.name:  # a fit of another family under the same name
        return reader(path, None if elements is None else tuple(elements))
    own = card_elements(card)
    if elements is not None and set(elements) <= set(own):
        return with_card(reader(path, own), card).restricted(tuple(elements))
    return with_card(reader(path, own if elements is None else tuple(elements)), card)


def _reader(path: Path) -> Callable[[Path, tuple[str, ...] | None], MtpParams]:
    """What reads a file of that name."""
    name = bare_name(path).lower()
    if name.endswith(".almtp"):
        from .almtp import read_almtp

        return read_almtp
    if name.endswith(".mtp"):
        from .text_mtp import read_mtp

        return read_mtp
    if name.endswith((".cfg", ".cfgs")):
        raise PotentialFileError(path, None, "is a file of structures", _EXPECTED)
    if name.endswith(".mmtp"):
        raise PotentialFileError(path, None, "is a magnetic potential, which is not supported", _EXPECTED)
    raise PotentialFileError(path, None, f"has the unknown suffix '{path.suffix}'", _EXPECTED)


# -- cards ---------------------------------------------------------------------------------------------------


def card_elements(path: Path) -> tuple[str, ...]:
    """The order of the elements that the card tells."""
    return tuple(read_card(path).elements)


def with_card(params: MtpParams, path: Path, name: str = "") -> MtpParams:
    """The facts of a card file take the place of those read from the parameter file; elements, cutoff, outputs and
    checksums stay those of the file."""
    card, own = read_card(path), params.card()
    drop = ("name", "family", "elements", "cutoff", "outputs", "files", "extra")
    facts: dict[str, Any] = {k: getattr(card, k) for k in Card.__dataclass_fields__ if k not in drop}
    facts["files"] = own.files
    kept = params.facts.get("extra", {})  # what writing the file again needs
    facts["extra"] = {**{k: v for k, v in card.extra.items() if k not in own.extra}, **kept}
    return replace(params, name=f"mtp:{name}" if name else params.name, facts=facts)


# -- active sets ---------------------------------------------------------------------------------------------


def graded(params: MtpParams, options: Any) -> MtpParams:
    """The potential with the active set that the options ask for."""
    mode, training = options.get("grade"), options.get("training")
    off = mode in (False, "off")
    if not off and mode not in (None, *MODES):
        raise OptionError(f"grade is {mode!r}; allowed are {', '.join(MODES)} and off")
    if off and training is not None:
        raise OptionError("training= is there for grades, and grade is off; leave one of them out")
    if off:
        return replace(params, active=None)
    if training is not None:
        return with_active_set(params, training, mode or MODES[0])
    if mode is not None and params.active is None:
        raise OptionError(f"{params.name} has no active set; give the training set: training='train.cfg'")
    if mode is not None and params.active is not None and mode != params.active.mode:
        raise OptionError(
            f"the active set of {params.name} is one for the grade of a {params.active.mode}, not of a {mode}; "
            "give the training set to make another: training='train.cfg'"
        )
    return params


def with_active_set(
    params: MtpParams,
    training: str | Path | Sequence[Atoms],
    mode: str = MODES[0],
    progress: Callable[[str, float], None] | None = None,
) -> MtpParams:
    """The potential with an active set that MaxVol chooses from a training set, a file or structures.

    Made once per process for the same coefficients and file; `calczoo convert` keeps one in an .almtp file.
    Raises DataError for a training set with other elements.
    """
    from .cfg import format_cfg
    from .maxvol import build_active_set

    key = None
    if isinstance(training, (str, Path)):
        path = Path(training).expanduser()
        frames = _training(path, params)
        key = (_digest(params), sha256(path), mode)
        if key in _ACTIVE:
            return replace(params, active=_ACTIVE[key])
    else:
        frames = list(training)
    check_frames(frames, params, "training set")
    active = build_active_set(
        params, frames, mode=mode, text=lambda used: format_cfg(used, types_of(params)), progress=progress or _on_screen
    )
    if key is not None:
        while len(_ACTIVE) >= 4:
            _ACTIVE.pop(next(iter(_ACTIVE)))
        _ACTIVE[key] = active
    return replace(params, active=active)


def _digest(params: MtpParams) -> str:
    """Checksum of all that rows of structures, and their text, depend on."""
    from .text_mtp import format_potential

    return hashlib.sha256(repr((params.elements, format_potential(params))).encode()).hexdigest()


def _training(path: Path, params: MtpParams) -> list[Atoms]:
    from ...exchange import read_frames

    return read_frames(path, types_of(params))


def types_of(params: MtpParams) -> dict[int, str]:
    """{type: symbol}: the types as files of structures have them, which are the labels of the potential's species."""
    from .text_mtp import labels_of

    return dict(zip(labels_of(params), params.elements, strict=True))


def check_frames(frames: Sequence[Atoms], params: MtpParams, what: str) -> None:
    """DataError for no structure, and for elements that the potential does not know."""
    if not frames:
        raise DataError(f"the {what} holds no structure")
    for k, atoms in enumerate(frames):
        if unknown := sorted(set(atoms.get_chemical_symbols()) - set(params.elements)):
            raise DataError(
                f"structure {k} of the {what} holds {', '.join(unknown)}, which {params.name} does not know (has: "
                f"{', '.join(params.elements)})"
            )


def _on_screen(what: str, done: float) -> None:
    """A line that is written over, on a terminal only."""
    if sys.stderr.isatty():
        print(f"\r{what} {100 * done:3.0f} %", end="\n" if done >= 1.0 else "", file=sys.stderr, flush=True)


def build(params: MtpParams, request: ModelRequest) -> Model:
    """Model of the asked backend ("auto" is warp), device and dtype."""
    import torch

    device, dtype = device_of(request.device), getattr(torch, request.dtype)
    model: Any
    if request.backend == "torch":
        from .model import MtpTorch

        model = MtpTorch(params, device, dtype)
    else:
        from .kernels import MtpWarp

        model = MtpWarp(params, device, dtype, thread_count(request.threads))
    if params.active is not None and params.active.known:  # others are refused when asked for
        model.always = model.outputs & {"extrapolation_grade", "extrapolation_grades"}
    return model
