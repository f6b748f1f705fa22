"""Files from one format into another, and structures chosen from a trajectory: what `calczoo convert` and
`calczoo select` do. The formats and the choice belong to the families; this file finds the family."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .core.errors import DataError, OptionError, PotentialFileError
from .family import Converted, Family, ModelRequest, Selected
from .files.compressed import bare_name

if TYPE_CHECKING:
    from ase import Atoms

Progress = Callable[[str, float], None]
"""progress(what, fraction done)."""


def _inner(path: str | os.PathLike) -> str:
    """File name in small letters, without the suffix of a compressed file."""
    return bare_name(path).lower()


def _families() -> list[Family]:
    from .registry import BUILTIN, get_family

    return [get_family(name) for name in BUILTIN]


def data_family(path: str | os.PathLike, family: str | None = None) -> Family | None:
    """The family whose own files of structures end so, or begin so; None where ASE's formats are meant."""
    from .registry import get_family

    many = _families() if family is None else [get_family(family)]
    for one in many:
        if one.data_suffixes and _inner(path).endswith(one.data_suffixes):
            return one
    word = _first_word(Path(path).expanduser()) if any(f.data_begin for f in many) else ""
    return next((f for f in many if f.data_begin and f.data_begin == word), None)


def _first_word(file: Path) -> str:
    """The first word of a file of structures whose name does not tell its format, which ".data" is part of: many codes
    call their files so. Empty where there is no such file."""
    from .files.compressed import chunks

    if ".data" not in file.name.lower() or not file.is_file():
        return ""
    try:
        head = next(chunks(file), b"")[:200].split()
    except PotentialFileError:  # no readable file: whoever reads it as a whole says why
        return ""
    return head[0].decode("ascii", "replace").lower() if head else ""


def check_data_options(path: str | os.PathLike, options: Mapping[str, Any]) -> None:
    """Raise OptionError for options that reading or writing this file of structures does not have."""
    family = data_family(path)
    known = {} if family is None else family.data_options
    for key in options:
        if key not in known:
            has = f"its options: {', '.join(known)}" if known else "it has none"
            raise OptionError(f"{Path(path).name}: files of structures of this kind have no option '{key}' ({has})")


def read_frames(
    path: str | os.PathLike, elements: Sequence[str] | Mapping[int, str] | None = None, **options: Any
) -> list[Atoms]:
    """All structures of a file, with energies, forces and stress where it has them: a family's own format (.cfg of
    MLIP, input.data of RuNNer), or any that ASE reads. elements: the type map of files that name no elements, {type:
    symbol} where the types do not count from 0. options: of that format, such as length_unit and energy_unit.

    Raises DataError for a file that is not there, cannot be read, or holds no structure, OptionError.
    """
    from .registry import load_object

    file = Path(path).expanduser()
    if not file.is_file():
        raise DataError(f"{file} is {'a folder' if file.is_dir() else 'not there'}; expected a file of structures")
    check_data_options(file, options)
    if (family := data_family(file)) is not None:
        try:
            frames = load_object(family.read_frames)(file, _types(elements), **options)
        except PotentialFileError as error:  # nothing is wrong with a potential
            raise DataError(str(error)) from error
    else:
        import ase.io

        try:
            frames = ase.io.read(str(file), index=":")
        except Exception as error:  # ASE's readers raise whatever their parsers do
            raise DataError(f"{file} cannot be read as structures: {type(error).__name__}: {error}") from error
    if not frames:
        raise DataError(f"{file} holds no structure")
    return list(frames)


def own_frames(path: str | os.PathLike) -> list[Atoms] | None:
    """Structures of a file that its first word tells to be of a family's own format, which ASE would read in units that
    may be wrong; None for all other files. Raises what read_frames does."""
    family = data_family(path)
    return read_frames(path) if family is not None and family.data_begin else None


def check_target(path: str | os.PathLike) -> Path:
    """A file of structures that can be written; OptionError, so that it is found before the work."""
    file = Path(path).expanduser()
    own = sorted({s for f in _families() for s in f.data_suffixes})
    packed = _inner(file) != file.name.lower() and data_family(file) is None
    if not _inner(file).endswith((".extxyz", ".xyz", ".traj", *own)) or packed:
        raise OptionError(f"{file} cannot be written; name an .extxyz, .xyz, .traj or {', '.join(own)} file")
    if file.is_dir() or not file.absolute().parent.is_dir():
        raise OptionError(f"{file} cannot be written: name a file in a folder that exists")
    return file


def write_frames(
    frames: Sequence[Atoms],
    path: str | os.PathLike,
    elements: Sequence[str] | Mapping[int, str] | None = None,
    **options: Any,
) -> Path:
    """Write structures with their attached results; elements: order of the types in files that name no elements, or
    {type: symbol}; options: of the format. A file that exists is replaced once the new one is whole."""
    from .registry import load_object

    file = check_target(path)
    check_data_options(file, options)
    if (family := data_family(file)) is not None:
        order = elements_of(frames) if elements is None else _types(elements)
        load_object(family.write_frames)(list(frames), file, order, **options)
    else:
        import ase.io

        part = file.with_name(f".{file.name}.{os.getpid()}")
        try:
            ase.io.write(str(part), list(frames), format="traj" if file.suffix == ".traj" else "extxyz")
            os.replace(part, file)
        finally:
            part.unlink(missing_ok=True)
    return file


def _types(elements: Sequence[str] | Mapping[int, str] | None) -> tuple[str, ...] | Mapping[int, str] | None:
    return elements if elements is None or isinstance(elements, Mapping) else tuple(elements)


def elements_of(frames: Sequence[Atoms]) -> tuple[str, ...]:
    """Symbols in the order in which they first appear."""
    return tuple(dict.fromkeys(s for atoms in frames for s in atoms.get_chemical_symbols()))


def types_of(request: ModelRequest) -> dict[int, str]:
    """{type: symbol}: how files that name no elements number the atoms of a potential. Raises what reading it does."""
    from .registry import card_of, read_params

    card = card_of(read_params(replace(request, options={})))  # no option changes the types
    labels = card.extra.get("type_labels", {})
    return {int(labels.get(symbol, k)): symbol for k, symbol in enumerate(card.elements)}


def convert(
    source: str | os.PathLike,
    target: str | os.PathLike,
    elements: Sequence[str] | None = None,
    training: str | os.PathLike | None = None,
    family: str | None = None,
    progress: Progress | None = None,
    **options: Any,
) -> Converted:
    """A potential into another of its family's formats, or structures with reference values into another format.

    elements: type map of files that name no elements. training: structures that the new potential's active set is made
    of, where its format holds one. Raises OptionError where no family can, PotentialFileError, DataError.
    """
    from .registry import family_of_file, get_family, load_object

    source, target = Path(source).expanduser(), Path(target).expanduser()
    one = family or family_of_file(str(source))
    folders = one is not None and bool(get_family(one).folder)
    if not target.absolute().parent.is_dir() or (target.is_dir() and not folders):
        raise OptionError(f"{target} cannot be written: name a file in a folder that exists")
    if target.exists() and source.exists() and target.samefile(source):
        raise OptionError(f"source and target are the same file, {target}; name another target")
    if one is not None:
        found = get_family(one)
        if not found.convert:
            can = ", ".join(f.name for f in _families() if f.convert)
            raise OptionError(f"files of '{one}' cannot be converted; families whose files can: {can}")
        return load_object(found.convert)(
            source, target, None if elements is None else tuple(elements), training, progress, **options
        )
    if training is not None:
        raise OptionError(f"--training belongs to the conversion of a potential, and {source.name} holds structures")
    return _convert_frames(source, target, elements, options)


def _convert_frames(
    source: Path, target: Path, elements: Sequence[str] | None, options: Mapping[str, Any]
) -> Converted:
    """Structures into another format. An option that both formats have is for the source, and for the target where its
    name begins with to_."""
    if not source.is_file():
        what = "is a folder without a potential in it" if source.is_dir() else "is not there"
        raise DataError(f"{source} {what}; expected a potential or a file of structures")
    check_target(target)
    given = {k: v for k, v in options.items() if not k.startswith("to_")}
    asked = {k.removeprefix("to_"): v for k, v in options.items() if k.startswith("to_")}
    if data_family(source) is None and not asked:
        given, asked = {}, given  # only the target has options
    check_data_options(target, asked)
    frames = read_frames(source, elements, **given)
    order = tuple(elements) if elements is not None else elements_of(frames)
    write_frames(frames, target, order, **asked)
    notes = [f"{len(frames)} structures"]
    family = data_family(target)
    if family is not None and not family.data_begin:  # a format that tells elements by number
        types = ", ".join(f"{k} = {e}" for k, e in enumerate(order))
        notes.append(f"types: {types}" + ("" if elements is not None else " (order of appearance; --elements sets it)"))
    return Converted((target,), tuple(notes))


def select(
    request: ModelRequest,
    candidates: Sequence[Atoms],
    training: Sequence[Atoms] | None = None,
    threshold: float = 2.0,
    limit: int | None = None,
    progress: Progress | None = None,
) -> Selected:
    """The candidates that a potential needs for its training set: each extrapolates from the training set and from
    those chosen before it by more than `threshold`. training: where the potential's file holds no active set, instead
    of an option of that name.

    Raises OptionError for a family without extrapolation grades.
    """
    from .registry import get_family, load_object

    family = get_family(request.family)
    if not family.select:
        can = ", ".join(f.name for f in _families() if f.select) or "none"
        raise OptionError(f"'{family.name}' has no extrapolation grade to select by; families that have: {can}")
    if not candidates:
        raise DataError("there are no candidates to select from")
    if isinstance(threshold, bool) or not isinstance(threshold, (int, float)) or not threshold >= 1.0:
        raise OptionError(
            f"threshold is {threshold!r}; it must be a grade of at least 1, at which all is interpolation"
        )
    if limit is not None and (isinstance(limit, bool) or not isinstance(limit, int) or limit < 1):
        raise OptionError(f"limit is {limit!r}; it must be a positive number of structures")
    if training is not None and "training" in request.options:
        raise OptionError("the training set is given twice, as training and as an option of the model; leave one out")
    return load_object(family.select)(request, list(candidates), training, float(threshold), limit, progress)
