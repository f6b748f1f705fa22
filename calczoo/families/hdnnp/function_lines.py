"""Lines of symmetry functions in input.nn, and the values of each kind.

    symfunction_short element kind ...
     2  e1 eta rs rc                            3, 9   e1 e2 eta lambda zeta rc [rs]
     12 eta rs rc                               13     eta rs lambda zeta rc
     20 e1 rl rc core                           21, 22 e1 e2 rl rc al ar core
     23 rl rc core                              24, 25 rl rc al ar core
    element_symfunction_short element kind ...
    global_symfunction_short kind ...

The last two leave out e1 and e2: they stand for all neighbours, and the last for all elements.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import combinations_with_replacement

from ...core.elements import number
from ...core.errors import OptionError
from ...files.text import parse_float, parse_int
from .input_nn import Entry, Settings
from .order import sort_functions
from .params import ANGULAR, COMPACT, CORES, RADIAL, WEIGHTED, SymmetryFunction

MAX_FUNCTIONS = 20_000
"""Of one element; an input of this size would have a network of millions of weights."""
_RUNNER = {1: "cutoff functions alone", 4: "cosines of distances", 5: "coordinates", 6: "bond lengths", 8: "angles"}
_VALUES = {
    2: ("eta", "rs", "rc"),
    12: ("eta", "rs", "rc"),
    3: ("eta", "lam", "zeta", "rc", "rs"),
    9: ("eta", "lam", "zeta", "rc", "rs"),
    13: ("eta", "rs", "lam", "zeta", "rc"),
    20: ("rl", "rc", "core"),
    23: ("rl", "rc", "core"),
    21: ("rl", "rc", "al", "ar", "core"),
    22: ("rl", "rc", "al", "ar", "core"),
    24: ("rl", "rc", "al", "ar", "core"),
    25: ("rl", "rc", "al", "ar", "core"),
}


def read_functions(settings: Settings, net: str = "short") -> dict[str, tuple[SymmetryFunction, ...]]:
    """The functions of each element in the order of its network's inputs. net: short or electrostatic.

    Raises PotentialFileError for a malformed line, an unknown kind, or an element without functions.
    """
    found: dict[str, list[SymmetryFunction]] = {e: [] for e in settings.elements}
    for key in (f"symfunction_{net}", f"element_symfunction_{net}", f"global_symfunction_{net}"):
        for entry in settings.all(key):
            for symbol, function in _functions(settings, entry):
                found[symbol].append(function)
                if len(found[symbol]) > MAX_FUNCTIONS:
                    settings.fail(entry, f"{symbol} has more than {MAX_FUNCTIONS} functions", "fewer")
    return {e: sort_functions(functions, settings.elements) for e, functions in found.items()}


def _functions(s: Settings, entry: Entry) -> Iterator[tuple[str, SymmetryFunction]]:
    """The functions of one line, with the elements whose they are."""
    scope = entry.key.split("_", 1)[0]
    at = 0 if scope == "global" else 1
    if len(entry.args) <= at:
        s.fail(entry, f"'{entry.word}' with {len(entry.args)} values", "an element, a kind and its values")
    centres = s.elements if scope == "global" else (s.element(entry),)
    kind = parse_int(entry.args[at], s.path, entry.line, "the type of a symmetry function", 0, 10**6)
    if kind not in RADIAL | ANGULAR:
        reason = f", RuNNer's {_RUNNER[kind]}, is not part of this family" if kind in _RUNNER else " is not known"
        s.fail(entry, f"the symmetry function type {kind}{reason}", f"one of {', '.join(map(str, _VALUES))}")
    many = 0 if kind in WEIGHTED else 1 if kind in RADIAL else 2
    if scope == "symfunction":
        if len(entry.args) < at + 1 + many:
            s.fail(
                entry,
                f"type {kind} with {len(entry.args) - at - 1} values",
                f"{many} neighbour{'s' * (many > 1)} and {' '.join(_VALUES[kind])}",
            )
        named = sorted((s.element(entry, at + 1 + k) for k in range(many)), key=number)
        neighbours = [tuple(named)]
        at += many
    else:
        neighbours = list(combinations_with_replacement(s.elements, many))
    values = _values(s, entry, kind, at + 1)
    for centre in centres:
        for pair in neighbours:
            try:
                yield centre, SymmetryFunction(kind=kind, neighbours=pair, **values)
            except OptionError as error:
                s.fail(entry, str(error), "a symmetry function")


def _values(s: Settings, entry: Entry, kind: int, start: int) -> dict:
    names, words = _VALUES[kind], entry.args[start:]
    optional = names[-1] == "rs" and kind in (3, 9)
    if not len(names) - optional <= len(words) <= len(names):
        form = " ".join(n if not (optional and n == "rs") else "[rs]" for n in names)
        s.fail(entry, f"type {kind} with {len(words)} values", f"{len(names)}: {form}")
    out: dict = {}
    for name, word in zip(names, words, strict=False):
        if name == "core":
            if word not in CORES:
                s.fail(entry, f"the core '{word[:20]}'", f"one of {', '.join(CORES)}")
            out[name] = word
        else:
            out[name] = parse_float(word, s.path, entry.line, f"{name} of type {kind}")
    return out


def format_function(symbol: str, f: SymmetryFunction) -> str:
    """The line of one function."""
    names = _VALUES[f.kind]
    if f.kind in (3, 9) and f.rs == 0.0:
        names = names[:-1]
    values = [v if isinstance(v := getattr(f, n), str) else repr(float(v)) for n in names]
    return " ".join(["symfunction_short", symbol, str(f.kind), *f.neighbours, *values])


def compact(functions: tuple[SymmetryFunction, ...]) -> bool:
    """True where no function has a cutoff function."""
    return all(f.kind in COMPACT for f in functions)
