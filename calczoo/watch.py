"""Watching the extrapolation grade in molecular dynamics or a relaxation.

    watch = calczoo.grade_watch(atoms, dyn, save=2.0, stop=10.0, path="preselected.extxyz")
    dyn.run(100000)                     # raises ExtrapolationStop where the grade exceeds `stop`

It works with every calculator that gives an `extrapolation_grade`, and with everything of ASE that has `attach`
(dynamics, optimizers). Thresholds as in Podryabinkin and Shapeev, Comput. Mater. Sci. 140, 171 (2017),
doi:10.1016/j.commatsci.2017.08.031: below 2 a potential interpolates or nearly so, above 10 it is guessing. The
disagreement of a committee is watched in the same way, with thresholds of its own in eV/A:

    watch = calczoo.grade_watch(atoms, dyn, save=0.2, stop=1.0, quantity="uncertainties")
"""

from __future__ import annotations

import os
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .core.errors import CalczooError, DataError, OptionError

if TYPE_CHECKING:
    from ase import Atoms

GRADE, GRADES = "extrapolation_grade", "extrapolation_grades"
NAMES = {
    GRADE: "extrapolation grade", GRADES: "extrapolation grade", "uncertainty": "uncertainty of the energy (eV/atom)",
    "uncertainties": "largest uncertainty of a force (eV/A)",
}  # fmt: skip
"""What may be watched, in words."""
SAVE, STOP = 2.0, 10.0
"""Usual thresholds."""


class ExtrapolationStop(CalczooError, RuntimeError):
    """The grade exceeds the threshold that stops a run.

    Attributes: grade, threshold, step, saved (frames written), path, quantity (what the grade is).
    """

    def __init__(
        self, grade: float, threshold: float, step: int, saved: int, path: Path | None, quantity: str = GRADE
    ):
        self.grade, self.threshold, self.step, self.saved, self.path = grade, threshold, step, saved, path
        self.quantity = quantity
        kept = f"{saved} frames are in {path}" if path is not None else "no frame was to be saved"
        super().__init__(
            f"stopped at step {step}: the {NAMES[quantity]} is {grade:.4g}, above {threshold:g}; {kept}. Compute "
            "them with the reference method, add them to the training set and fit again, or raise the threshold"
        )


class GradeWatch:
    """An observer for `attach`: called after a step, it looks at the grade of `atoms`, saves and stops.

    largest: highest grade seen, at step largest_step; saved: frames written by this watch; calls: structures looked at.
    """

    def __init__(
        self,
        atoms: Atoms,
        save: float | None = SAVE,
        stop: float | None = STOP,
        path: str | os.PathLike | None = "preselected.extxyz",
        dynamics: Any = None,
        quantity: str = GRADE,
    ):
        self.quantity = _quantity(quantity, save, stop)
        self.save, self.stop = _thresholds(save, stop)
        self.atoms, self.dynamics = atoms, dynamics
        idle = self.save is None and self.stop is None
        self.path = None if path is None or idle else Path(path).expanduser()
        if self.path is not None:
            _check_path(self.path)
            if (aside := mend(self.path)) is not None:
                warnings.warn(
                    f"{self.path} ended in a half-written frame, which is now in {aside}; new frames follow the last "
                    "whole one",
                    stacklevel=3,
                )
        _check_calculator(atoms, quantity)
        self.largest, self.largest_step, self.saved, self.calls = 0.0, 0, 0, 0

    @property
    def step(self) -> int:
        """Steps of the dynamics so far, or calls where it does not count them."""
        return int(getattr(self.dynamics, "nsteps", self.calls))

    def __call__(self) -> float:
        """The grade now; raises ExtrapolationStop above `stop`, after the frame has been written."""
        grade = grade_of(self.atoms, self.quantity)
        step = self.step
        self.calls += 1
        if grade > self.largest:
            self.largest, self.largest_step = grade, step
        stops = self.stop is not None and not grade <= self.stop  # also for a grade that is no number
        if self.path is not None and (stops or (self.save is not None and grade > self.save)):
            append_frame(self.path, self.atoms, {"step": step})
            self.saved += 1
        if stops:
            raise ExtrapolationStop(grade, float(self.stop or 0.0), step, self.saved, self.path, self.quantity)
        return grade


def grade_watch(
    atoms: Atoms,
    dyn: Any,
    save: float | None = SAVE,
    stop: float | None = STOP,
    path: str | os.PathLike | None = "preselected.extxyz",
    interval: int = 1,
    quantity: str = GRADE,
) -> GradeWatch:
    """Attach a watch to any of ASE's dynamics or optimizers: every `interval` steps, frames whose extrapolation grade
    exceeds `save` are appended to the extended XYZ file `path`, and ExtrapolationStop is raised above `stop`, after
    that frame has been appended too. None switches either off. quantity: "extrapolation_grade", or of a committee
    "uncertainty" (eV/atom) or "uncertainties" (eV/A, the largest of an atom), which have no usual thresholds.

    Every frame is on the disk before the next step begins, with energy, forces, momenta, grades and step; a file that
    exists is added to. Raises OptionError for a calculator without grades, and for thresholds that make no sense.
    """
    if not hasattr(dyn, "attach"):
        raise OptionError(f"{type(dyn).__name__} has no attach(); give one of ASE's dynamics or optimizers")
    if isinstance(interval, bool) or not isinstance(interval, int) or interval < 1:
        raise OptionError(f"interval is {interval!r}; it must be a positive number of steps")
    watch = GradeWatch(atoms, save, stop, path, dyn, quantity)
    dyn.attach(watch, interval=interval)
    return watch


def grade_of(atoms: Atoms, quantity: str = GRADE) -> float:
    """The structure's grade; the largest one where the calculator gives one per atom. OptionError when it has none."""
    calc = atoms.calc
    value: Any = None
    for name in _outputs(quantity):
        fresh = name in getattr(calc, "results", {}) and not calc.check_state(atoms)
        if fresh:
            value = calc.results[name]
        elif name in getattr(calc, "implemented_properties", ()):
            value = calc.get_property(name, atoms)
        if value is not None:
            break
    if value is None:
        raise OptionError(_without(calc, quantity))
    return float(value.max(initial=0.0)) if hasattr(value, "max") else float(value)


def _outputs(quantity: str) -> tuple[str, ...]:
    """Properties of a calculator that tell the quantity."""
    return (GRADE, GRADES) if quantity in (GRADE, GRADES) else (quantity,)


def _quantity(quantity: str, save: Any, stop: Any) -> str:
    if quantity not in NAMES:
        raise OptionError(f"quantity is {quantity!r}; allowed are {', '.join(NAMES)}")
    if quantity not in (GRADE, GRADES) and (save, stop) == (SAVE, STOP):
        raise OptionError(f"an {quantity} has no usual thresholds; give save= and stop=, None to switch one off")
    return quantity


def _check_calculator(atoms: Atoms, quantity: str) -> None:
    calc = atoms.calc
    if calc is None:
        raise OptionError("the atoms have no calculator; set atoms.calc first")
    known = {*getattr(calc, "implemented_properties", ()), *getattr(calc, "results", {})}
    if not known & set(_outputs(quantity)):
        raise OptionError(_without(calc, quantity))


def _without(calc: Any, quantity: str) -> str:
    card = getattr(calc, "card", None)
    name = card.name if card is not None else type(calc).__name__
    if quantity not in (GRADE, GRADES):
        return f"{name} gives no {quantity}; committees do: calczoo.committee([...]) of several potentials"
    return (
        f"{name} gives no extrapolation grade; for a moment tensor potential use an .almtp file with an active set, or "
        'get_calculator("mtp", ..., training="train.cfg"), on the command line --option training=train.cfg'
    )


def _thresholds(save: Any, stop: Any) -> tuple[float | None, float | None]:
    """Both as numbers; OptionError for anything else, and where frames would not be saved before the run stops."""
    for name, value in (("save", save), ("stop", stop)):
        if value is not None and (isinstance(value, bool) or not isinstance(value, (int, float)) or not value > 0):
            raise OptionError(f"{name} is {value!r}; it must be a positive grade, or None to switch it off")
    if save is not None and stop is not None and save > stop:
        raise OptionError(f"save is {save:g} and stop {stop:g}; needed is save <= stop")
    return None if save is None else float(save), None if stop is None else float(stop)


def _check_path(path: Path) -> None:
    if path.suffix not in (".extxyz", ".xyz") or not path.absolute().parent.is_dir() or path.is_dir():
        raise OptionError(f"{path}: frames are saved to an .extxyz or .xyz file in a folder that exists")


# -- the file ------------------------------------------------------------------------------------------------


def append_frame(path: Path, atoms: Atoms, info: dict[str, Any] | None = None) -> None:
    """Append one frame to an extended XYZ file in one piece, and see it onto the disk."""
    from io import StringIO

    from ase.io import write

    text = StringIO()
    write(text, _frozen(atoms, info or {}), format="extxyz")
    data = text.getvalue().encode()
    handle = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    try:
        while data:  # a full disk writes a part; the next start puts it aside (see mend)
            data = data[os.write(handle, data) :]
        os.fsync(handle)
    finally:
        os.close(handle)


def _frozen(atoms: Atoms, info: dict[str, Any]) -> Atoms:
    """A copy with the present results: energy, forces and stress of the potential, grades as info and array."""
    from ase.calculators.singlepoint import SinglePointCalculator

    results = atoms.calc.results
    copy = atoms.copy()
    copy.info = {k: v for k, v in copy.info.items() if isinstance(v, (str, int, float))} | info
    for name in (GRADE, "uncertainty"):
        if name in results:
            copy.info[name] = float(results[name])
    for name in (GRADES, "uncertainties"):
        if name in results:
            copy.arrays[name] = results[name].copy()
    known = {k: results[k] for k in ("energy", "forces", "stress") if k in results}
    copy.calc = SinglePointCalculator(copy, **known)
    return copy


def mend(path: Path) -> Path | None:
    """Put what a killed run left of a half-written last frame into `path`.partial, so that the file can be added to.

    Returns that file, or None where there was nothing to mend. Raises DataError for a file that is no extended XYZ.
    """
    if not path.is_file():
        return None
    lines = path.read_bytes().split(b"\n")
    good = _whole(lines)
    rest = b"\n".join(lines[good:])
    if not rest.strip():
        return None
    if good == 0 and len(lines) > 1 and not lines[0].strip().isdigit():
        raise DataError(f"{path} is no extended XYZ file (line 1: {lines[0][:40]!r}); name another file to save to")
    aside = path.with_name(path.name + ".partial")
    with open(aside, "ab") as f:
        f.write(rest + b"\n")
        f.flush()
        os.fsync(f.fileno())
    with open(path, "r+b") as f:
        f.truncate(path.stat().st_size - len(rest))
    return aside


def _whole(lines: list[bytes]) -> int:
    """How many of the lines belong to whole frames: number of atoms, comment, one line per atom. The last item is what
    follows the last line end, and so belongs to none."""
    at = 0
    while at < len(lines) and len(lines[at]) < 12 and lines[at].strip().isdigit():
        end = at + 2 + int(lines[at])
        if end >= len(lines):
            break
        at = end
    return at
