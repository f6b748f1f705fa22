"""The spec grammar.

    spec    = term { "+" term }
    term    = [ number "*" ] ( family [ ":" model ] | file ) [ "(" arguments ")" ]
    arguments = value | key "=" value, separated by commas; value = number | true | false | word | 'quoted' | "quoted"

Examples: `snap:Mo`, `eam:Ni.adp + zbl(1.0, 2.0)`, `0.5*eam:Cu.eam.alloy + 0.5*eam:"my file.eam.alloy"`.
A file is told by its suffix, as in `Ta06A.snap`. After a model, parentheses hold named
arguments only: `table:W_He.table(pair=W-He)`. A model name that holds spaces, "+", "(" or "," is written in quotes.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from .core.errors import SpecError

Value = float | int | bool | str

_FAMILY = re.compile(r"[A-Za-z][\w-]*")
_NAMED = re.compile(r"[A-Za-z][\w-]*\s*(?:[:(]|$)")
_FACTOR = re.compile(r"([+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)\s*\*\s*")


@dataclass(frozen=True)
class TermSpec:
    """One term: factor * family:model(*args, **options)."""

    family: str
    model: str | None = None
    args: tuple[Value, ...] = ()
    options: dict[str, Value] = field(default_factory=dict)
    factor: float = 1.0

    def __str__(self) -> str:
        text = "" if self.factor == 1.0 else f"{self.factor:g}*"
        text += self.family + (f":{self.model}" if self.model else "")
        parts = [str(a) for a in self.args] + [f"{k}={v}" for k, v in self.options.items()]
        return text + (f"({', '.join(parts)})" if parts else "")


def parse_spec(text: str | Path, family_of: Callable[[str], str | None] = lambda file: None) -> tuple[TermSpec, ...]:
    """Parse a spec; SpecError names the position of what is wrong. family_of: file name -> family, None if unknown.

    A Path is one file, whatever characters its name holds.
    """
    if isinstance(text, Path):
        if (family := family_of(str(text))) is None:
            raise SpecError(f"no family is known for a file called '{text}'; write get_calculator(family, model=...)")
        bare = str(text) == text.name  # could be a bundled name, which a Path never is
        return (TermSpec(family, f"./{text}" if bare else str(text)),)
    if not isinstance(text, str) or not text.strip():
        raise SpecError(f"empty calculator spec {text!r}; write for example 'snap:Mo' or 'eam:Ni.adp + zbl(1, 2)'")
    terms = []
    for chunk, start in _split(text, "+"):
        terms.append(_parse_term(chunk, start, text, family_of))
    return tuple(terms)


def _fail(text: str, at: int, why: str):
    raise SpecError(f"{why} at character {at + 1} of the spec {text!r}; the form is 'family:model + 0.5*family(args)'")


def _split(text: str, separator: str) -> list[tuple[str, int]]:
    """Split at separators outside quotes and parentheses; exponent signs (1e+3) are not separators."""
    parts, depth, quote, start = [], 0, "", 0
    for k, c in enumerate(text):
        if quote:
            quote = "" if c == quote else quote
        elif c in "'\"":
            quote = c
        elif c == "(":
            depth += 1
        elif c == ")":
            depth -= 1
            if depth < 0:
                _fail(text, k, "unmatched ')'")
        elif c == separator and depth == 0 and not _is_exponent(text, k):
            parts.append((text[start:k], start))
            start = k + 1
    if quote or depth:
        _fail(text, len(text), "unclosed quote" if quote else "unclosed '('")
    return [*parts, (text[start:], start)]


def _is_exponent(text: str, k: int) -> bool:
    """The sign in 1e+3 does not separate terms."""
    return re.search(r"(?:^|[\s+*(,=])\d+\.?\d*[eE]$", text[:k]) is not None


def _parse_term(chunk: str, start: int, text: str, family_of: Callable[[str], str | None]) -> TermSpec:
    body = chunk.strip()
    at = start + len(chunk) - len(chunk.lstrip())
    if not body:
        _fail(text, at, "a term is missing")
    factor = 1.0
    if m := _FACTOR.match(body):
        factor, body, at = float(m[1]), body[m.end() :], at + m.end()
    family, model, rest = _parse_name(body, at, text, family_of)
    args: list[Value] = []
    options: dict[str, Value] = {}
    if rest.startswith("(") and rest.endswith(")"):
        for part, _ in _split(rest[1:-1], ","):
            _parse_argument(part.strip(), args, options, at, text)
    elif rest:
        _fail(text, at, f"cannot read {rest!r}")
    return TermSpec(family, model, tuple(args), options, factor)


def _parse_name(
    body: str, at: int, text: str, family_of: Callable[[str], str | None]
) -> tuple[str, str | None, str]:
    """Family, model or None, and what follows."""
    if body and not _NAMED.match(body) and ("." in body or "/" in body or body[0] in "'\""):
        file, rest = _parse_model(body, at, text)
        if family := family_of(file):
            return family, file, rest
        if not any(c.isspace() for c in file):
            _fail(text, at, f"no family is known for a file called '{file}'; put its family before it, 'eam:{file}',")
    m = _FAMILY.match(body)
    if not m:
        _fail(text, at, "a family name is missing")
    rest = body[m.end() :].strip()
    if rest.startswith(":"):
        return m[0], *_parse_model(rest[1:].strip(), at + m.end(), text)
    return m[0], None, rest


def _parse_model(rest: str, at: int, text: str) -> tuple[str, str]:
    if rest[:1] in ("'", '"'):
        end = rest.find(rest[0], 1)
        return rest[1:end], rest[end + 1 :].strip()
    m = re.match(r"(.*?)\s*(\([^()]*=[^()]*\))?$", rest, re.DOTALL)
    model = m[1].strip() if m else ""
    if not model:
        _fail(text, at, "a model name is missing after ':'")
    if not m[2] and model.endswith(")") and "=" not in model and "," in model:  # type: ignore[index]
        _fail(text, at, f"arguments after a model have names, as in 'name=value': {model!r}")
    return model, (m[2] or "") if m else ""


def _parse_argument(part: str, args: list[Value], options: dict[str, Value], at: int, text: str) -> None:
    if not part:
        if not args and not options:
            return
        _fail(text, at, "an argument is missing")
    key, equals, value = part.partition("=")
    if equals and re.fullmatch(r"\s*[A-Za-z_]\w*\s*", key):
        if key.strip() in options:
            _fail(text, at, f"argument '{key.strip()}' is given twice")
        options[key.strip()] = _value(value.strip())
    elif options:
        _fail(text, at, f"positional argument {part!r} after a named one")
    else:
        args.append(_value(part))


def _value(text: str) -> Value:
    if text[:1] in ("'", '"') and text[-1:] == text[:1] and len(text) > 1:
        return text[1:-1]
    if text.lower() in ("true", "false"):
        return text.lower() == "true"
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text
