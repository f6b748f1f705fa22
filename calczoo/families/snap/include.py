"""LAMMPS include files (`.snap`, `.mliap`): the commands that name the files of a potential and the terms of its sum.

Read are `variable NAME equal|index|string VALUE`, `pair_style` and `pair_coeff` with the styles snap, mliap (descriptor
sna, model linear or quadratic), zbl and table, alone or in hybrid/overlay; `${NAME}`, quotes, comments and the
continuation sign `&` as in LAMMPS. Anything else that would change the potential is refused.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from ...core.card import Card
from ...core.elements import is_element
from ...core.errors import OptionError, PotentialFileError
from ...files.text import find_file, parse_float, parse_int, read_lines, sha256
from ...registry import Composite, ModelRequest, get_family, load_object
from .formats import header_facts, read_mliap, read_snap, with_ghosts
from .params import SnapParams

_HARMLESS = ("mass", "print", "neighbor", "neigh_modify", "comm_modify")
"""Commands that leave the potential as it is."""
_VARIABLE = re.compile(r"\$\{(\w+)\}|\$(\w)")
_STYLES = ("snap", "mliap", "zbl", "table")


@dataclass
class _Style:
    """One sub-style with its arguments, and the pair_coeff lines that belong to it: (words, line)."""

    name: str
    args: list[str]
    line: int
    coeffs: list[tuple[list[str], int]] = field(default_factory=list)


@dataclass
class _Script:
    """What the commands say: styles in the order of pair_style."""

    path: Path
    styles: list[_Style] = field(default_factory=list)
    hybrid: bool = False

    def fail(self, line: int | None, what: str, expected: str):
        raise PotentialFileError(self.path, line, what[:200], expected)


def read_include(path: Path, elements: Sequence[str] | None) -> SnapParams | Composite:
    """The potential of an include file: SnapParams, or a Composite with zbl and table terms.

    elements: the type map, needed where a type is NULL for SNAP, otherwise ignored. Raises PotentialFileError naming
    the file, among them companions that are not there, and OptionError.
    """
    script = _parse(path)
    mains = [s for s in script.styles if s.name in ("snap", "mliap")]
    if len(mains) != 1:
        script.fail(None, f"{len(mains)} terms of style snap or mliap", "exactly one")
    potential, names = _potential(script, mains[0])
    types = _type_map(script, names, elements)
    ghosts = [e for e in dict.fromkeys(types) if e not in potential.elements]
    if ghosts:
        try:
            potential = with_ghosts(potential, ghosts)
        except OptionError as error:
            script.fail(mains[0].line, str(error), "an element for every type")
    files = {path.name: sha256(path)}
    if len(script.styles) == 1:
        facts = {**potential.facts, "files": {**files, **potential.facts["files"]}}
        return replace(potential, name=f"snap:{path.name}", facts=_cited(facts, path))
    terms: list[tuple[str, Any]] = [("snap", potential)]
    terms += [("zbl", _zbl(script, s, types)) for s in script.styles if s.name == "zbl"]
    if tables := [s for s in script.styles if s.name == "table"]:
        terms += [("table", _tables(script, tables, types))]
    return Composite(tuple(terms), _card(path, files, potential, terms))


def _cited(facts: dict[str, Any], path: Path) -> dict[str, Any]:
    return facts if facts.get("citation") else {**facts, **header_facts(path)}


def _card(path: Path, files: dict[str, str], potential: SnapParams, terms: list[tuple[str, Any]]) -> Card:
    """The card of the whole: that of SNAP with the sum's cutoff and files."""
    cards = [params.card() for _, params in terms]
    for card in cards:
        files = {**files, **card.files}
    extra = {**cards[0].extra, "terms": " + ".join(card.name for card in cards)}
    return replace(
        cards[0],
        name=f"snap:{path.name}",
        cutoff=max(card.cutoff for card in cards),
        outputs=cards[0].outputs[:4],  # the added terms have no descriptors
        citation=_cited(potential.facts, path).get("citation", ""),
        files=files,
        extra=extra,
    )


# -- commands ------------------------------------------------------------------------------------------------


def _statements(path: Path) -> list[tuple[str, int]]:
    """Logical lines with the number of their first line: comments removed, `&` continued."""
    out: list[tuple[str, int]] = []
    pending, start = "", 0
    for k, line in enumerate(read_lines(path), start=1):
        body = pending + re.sub(r"#.*", "", line)  # no quoted '#' occurs in the commands that are read here
        start = start if pending else k
        if body.rstrip().endswith("&"):
            pending = body.rstrip()[:-1] + " "
            continue
        pending = ""
        if body.strip():
            out.append((body.strip(), start))
    if pending.strip():
        raise PotentialFileError(path, start, "the file ends after '&'", "the rest of the command")
    return out


def _parse(path: Path) -> _Script:
    script, variables = _Script(path), {}
    for text, line in _statements(path):
        words = _substitute(script, text, line, variables).split()
        command = words[0]
        if command == "variable":
            _define(script, words, line, variables)
        elif command == "units":
            if words[1:] != ["metal"]:
                script.fail(line, text, "units metal")
        elif command == "pair_style":
            if script.styles:
                script.fail(line, "a second pair_style", "one pair_style")
            _pair_style(script, words[1:], line)
        elif command == "pair_coeff":
            _pair_coeff(script, words[1:], line)
        elif command not in _HARMLESS:
            allowed = ("variable", "units", "pair_style", "pair_coeff", *_HARMLESS)
            script.fail(line, f"command '{command}'", f"one of {', '.join(allowed)}")
    if not script.styles:
        script.fail(None, "no pair_style", "'pair_style snap' or 'pair_style hybrid/overlay ...'")
    for style in script.styles:
        if not style.coeffs:
            script.fail(style.line, f"no pair_coeff for style {style.name}", f"a pair_coeff line for {style.name}")
    return script


def _substitute(script: _Script, text: str, line: int, variables: dict[str, str]) -> str:
    def value(match: re.Match) -> str:
        name = match[1] or match[2]
        if name not in variables:
            script.fail(line, f"variable {name} is not defined", f"a line 'variable {name} equal VALUE' above")
        return variables[name]

    text = _VARIABLE.sub(value, text)
    if "$" in text:
        script.fail(line, f"'{text}'", "variables as ${NAME}; formulas are not evaluated")
    return re.sub("[\"']", " ", text)


def _define(script: _Script, words: list[str], line: int, variables: dict[str, str]) -> None:
    if len(words) != 4 or words[2] not in ("equal", "index", "string"):
        script.fail(line, f"'{' '.join(words)}'", "'variable NAME equal|index|string VALUE' with a single value")
    if words[2] == "equal":
        parse_float(words[3], script.path, line, "a number; formulas are not evaluated")
    if words[2] == "index" and words[1] in variables:
        return  # as in LAMMPS, an index variable keeps its first value
    variables[words[1]] = words[3]


def _pair_style(script: _Script, words: list[str], line: int) -> None:
    if words and words[0] == "hybrid/overlay":
        script.hybrid, words = True, words[1:]
    if not words or words[0] not in _STYLES:
        found = words[0] if words else "nothing"
        script.fail(line, f"pair style '{found}'", f"{', '.join(_STYLES)} or hybrid/overlay of them")
    for word in words:
        # the words after mliap's `model` and `descriptor` are kinds and file names, never styles
        inside = script.styles and script.styles[-1].name == "mliap" and len(script.styles[-1].args) % 3
        if word in _STYLES and not inside and (script.hybrid or not script.styles):
            script.styles.append(_Style(word, [], line))
        else:
            script.styles[-1].args.append(word)
    for style in script.styles:
        _check_arguments(script, style)


def _check_arguments(script: _Script, style: _Style) -> None:
    text = " ".join([style.name, *style.args])
    if style.name == "snap" and style.args:
        script.fail(style.line, f"pair style '{text}'", f"'snap' without arguments, or one of {', '.join(_STYLES)}")
    if style.name == "zbl":
        if len(style.args) != 2:
            script.fail(style.line, f"pair style '{text}'", "'zbl INNER OUTER'")
        for word in style.args:
            parse_float(word, script.path, style.line, "a cutoff of zbl in A")
    if style.name == "table":
        if len(style.args) != 2:
            script.fail(style.line, f"pair style '{text}'", "'table linear|lookup|spline N'")
        parse_int(style.args[1], script.path, style.line, "the number of table points", 2, 10_000_000)
    if style.name == "mliap":
        _check_mliap(script, style, text)


def _check_mliap(script: _Script, style: _Style, text: str) -> None:
    """`mliap model linear|quadratic FILE descriptor sna FILE`, in either order."""
    groups = {style.args[k]: style.args[k + 1 : k + 3] for k in range(0, len(style.args), 3)}
    if len(style.args) != 6 or set(groups) != {"model", "descriptor"}:
        script.fail(style.line, f"pair style '{text}'", "'mliap model KIND FILE descriptor sna FILE'")
    if groups["model"][0] not in ("linear", "quadratic"):
        expected = "model linear or quadratic; neural networks are not part of this family"
        script.fail(style.line, f"mliap model '{groups['model'][0]}'", expected)
    if groups["descriptor"][0] != "sna":
        script.fail(style.line, f"mliap descriptor '{groups['descriptor'][0]}'", "descriptor sna")


def _pair_coeff(script: _Script, words: list[str], line: int) -> None:
    """Give the line to its style; `table 2` names the second table style."""
    if not script.styles:
        script.fail(line, "pair_coeff before pair_style", "pair_style first")
    if len(words) < 3:
        script.fail(line, f"'pair_coeff {' '.join(words)}'", "'pair_coeff I J ...'")
    if not script.hybrid:
        script.styles[0].coeffs.append((words, line))
        return
    same = [s for s in script.styles if s.name == words[2]]
    if not same:
        names = ", ".join(dict.fromkeys(s.name for s in script.styles))
        script.fail(line, f"pair_coeff for style '{words[2]}'", f"one of the styles of pair_style: {names}")
    skip = 3
    if len(same) > 1:
        which = parse_int(words[3] if len(words) > 3 else "", script.path, line, "which of the styles", 1, len(same))
        same, skip = [same[which - 1]], 4
    same[0].coeffs.append(([*words[:2], *words[skip:]], line))


# -- terms ---------------------------------------------------------------------------------------------------


def _potential(script: _Script, style: _Style) -> tuple[SnapParams, list[str]]:
    """Parameters of the snap or mliap term and the names of its pair_coeff line, one per type (NULL: takes no part)."""
    if len(style.coeffs) != 1:
        script.fail(style.coeffs[1][1], f"a second pair_coeff for {style.name}", "one 'pair_coeff * * ...' for it")
    words, line = style.coeffs[0]
    n_files = 2 if style.name == "snap" else 0
    if words[:2] != ["*", "*"] or len(words) <= 2 + n_files:
        form = "* * COEFF PARAM ELEMENT ..." if n_files else "* * ELEMENT ..."
        script.fail(line, f"'pair_coeff {' '.join(words)}' of {style.name}", f"'pair_coeff {form}'")
    names = words[2 + n_files :]
    for name in names:
        if name != "NULL" and not is_element(name):
            script.fail(line, f"'{name}' as name of a type", "the symbol of an element, or NULL")
    order = list(dict.fromkeys(n for n in names if n != "NULL"))
    if not order:
        script.fail(line, "no element takes part", "at least one type that is not NULL")
    if style.name == "snap":
        coeff, param = (find_file(w, f"a file named by {script.path.name}", beside=script.path) for w in words[2:4])
        return read_snap(coeff, param, order), names
    groups = {style.args[k]: style.args[k + 1 : k + 3] for k in (0, 3)}
    model, descriptor = (
        find_file(groups[g][1], f"a file named by {script.path.name}", beside=script.path)
        for g in ("model", "descriptor")
    )
    params = read_mliap(model, descriptor, groups["model"][0] == "quadratic")
    if unknown := [e for e in order if e not in params.elements]:
        known = ", ".join(params.elements)
        script.fail(line, f"element {', '.join(unknown)}", f"elements of {descriptor.name}: {known}")
    return params, names


def _type_map(script: _Script, names: list[str], elements: Sequence[str] | None) -> list[str]:
    """Element of each type; NULL types get theirs from `elements`."""
    if "NULL" not in names:
        return names
    if elements is None or len(elements) != len(names):
        have = "none were given" if elements is None else f"given are {', '.join(elements)}"
        raise OptionError(
            f"{script.path.name} has {len(names)} types, some of them unnamed ({' '.join(names)}): pass elements= with "
            f"one symbol per type ({have})"
        )
    for name, element in zip(names, elements, strict=True):
        if name not in ("NULL", element):
            raise OptionError(f"{script.path.name}: type map {' '.join(elements)} does not fit {' '.join(names)}")
    return list(elements)


def _pairs(script: _Script, words: list[str], line: int, types: list[str]) -> list[tuple[str, str]]:
    """Element pairs of the first two words of a pair_coeff: numbers or ranges such as `*`, `2*`, `*3`, `1*2`."""
    ranges = []
    for word in words[:2]:
        low, star, high = word.partition("*")
        expected = f"a type from 1 to {len(types)} or a range of types"
        a = parse_int(low, script.path, line, expected, 1, len(types)) if low or not star else 1
        b = parse_int(high, script.path, line, expected, 1, len(types)) if high else len(types) if star else a
        ranges.append(range(a, b + 1))
    out = [(types[a - 1], types[b - 1]) for a, b in itertools.product(*ranges) if a <= b]
    if not out:
        script.fail(line, f"types '{words[0]} {words[1]}'", "the first type not above the second")
    return out


def _zbl(script: _Script, style: _Style, types: list[str]) -> Any:
    """ZBL of the pairs that its pair_coeff lines name; the last line of a pair counts."""
    pairs: dict[tuple[str, str], tuple[float, float]] = {}
    for words, line in style.coeffs:
        if len(words) != 4:
            script.fail(line, f"'pair_coeff {' '.join(words)}' of zbl", "'pair_coeff I J zbl Z_I Z_J'")
        charges = tuple(parse_float(w, script.path, line, "a nuclear charge") for w in words[2:])
        for a, b in _pairs(script, words, line, types):
            if a == b and charges[0] != charges[1]:
                script.fail(line, f"charges {charges[0]:g} and {charges[1]:g} for {a}-{a}", "two equal charges")
            pairs.pop((b, a), None)
            pairs[a, b] = charges  # type: ignore[assignment]
    inner, outer = (float(w) for w in style.args)
    try:
        term = load_object(get_family("zbl").read)(ModelRequest("zbl", args=(inner, outer)))
        return replace(term, pairs=pairs, elements=tuple(dict.fromkeys(types)))
    except OptionError as error:
        raise PotentialFileError(script.path, style.line, str(error), "a valid zbl term") from error


def _tables(script: _Script, styles: list[_Style], types: list[str]) -> Any:
    """All table terms together; they must share interpolation and number of points."""
    entries: dict[tuple[str, str], Any] = {}
    term = None
    for style in styles:
        if style.args != styles[0].args:
            script.fail(style.line, "table styles with different interpolation", "one interpolation for all tables")
        for words, line in style.coeffs:
            if len(words) not in (3, 4, 5):
                form = "'pair_coeff I J table FILE KEYWORD [CUTOFF]'"
                script.fail(line, f"'pair_coeff {' '.join(words)}' of table", form)
            for pair in _pairs(script, words, line, types):
                term = _table(script, style, words[2:], line, pair)
                entries |= term.entries
    return replace(term, entries=entries, elements=tuple(dict.fromkeys(types)))


def _table(script: _Script, style: _Style, words: list[str], line: int, pair: tuple[str, str]) -> Any:
    path = find_file(words[0], f"a file named by {script.path.name}", beside=script.path)
    options: dict[str, Any] = {"pair": "-".join(pair), "style": style.args[0], "n": int(style.args[1])}
    if len(words) > 1:
        options["keyword"] = words[1]
    if len(words) > 2:
        options["cut"] = parse_float(words[2], script.path, line, "a cutoff in A")
    try:
        return load_object(get_family("table").read)(ModelRequest("table", model=str(path), options=options))
    except OptionError as error:
        raise PotentialFileError(script.path, line, str(error), "a valid table term") from error


