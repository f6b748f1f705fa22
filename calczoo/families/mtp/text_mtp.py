"""MLIP's text format `.mtp` 1.1.0 (also packed as .mtp.xz or .mtp.gz), which is the first part of an `.almtp` too.

    MTP
    version = 1.1.0
    scaling = s                          multiplies the radial functions; may come again inside the radial block
    species_count = C
    radial_basis_type = RBChebyshev
        min_dist = a   max_dist = b   radial_basis_size = R   radial_funcs_count = K
        radial_coeffs
            0-0                          C * C blocks, central species first; the second runs fastest
                {c_0, ..., c_R-1}        K rows
    alpha_moments_count, alpha_index_basic, alpha_index_times, alpha_moment_mapping    the contraction tree
    species_coeffs = {e_0, ..., e_C-1}
    moment_coeffs = {w_0, ..., w_S-1}

A file names no elements. MLIP-2 takes the radial blocks by their place; MLIP-3 takes the types from the labels, in the
order of their first appearance. A file that the two would read differently is refused.
Format: Novikov et al., Mach. Learn.: Sci. Technol. 2, 025002 (2021), doi:10.1088/2632-2153/abc9fe.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from ...core.elements import SYMBOLS, parse_elements
from ...core.errors import OptionError, PotentialFileError
from ...files.compressed import read_bytes, write_packed
from ...files.text import find_file
from .params import ActiveSet, Moments, MtpParams
from .scan import MAX_SPECIES, Fields, scan

_ATOMIC = 10
"""A label of at least this counts as an atomic number: types are counted from 0, and no file has so many."""
_EXAMPLES = ("Al", "Ni", "Co", "Cr", "Fe", "Mo", "Nb", "Ta", "W", "V")


@dataclass(frozen=True)
class Template:
    """What an untrained file says (a trained one says it too). radial_size R, radial_funcs K; distances in A."""

    moments: Moments
    species_count: int
    radial_size: int
    radial_funcs: int
    min_dist: float
    max_dist: float
    scaling: float
    basis: str
    facts: dict[str, Any] = field(default_factory=dict)


def read_mtp(path: str | Path, elements: str | Sequence[str] | None = None) -> MtpParams:
    """A trained `.mtp`. elements: symbols in the order of MTP's types 0, 1, ...; None only for a file whose labels are
    atomic numbers (MLIP-3).

    Raises PotentialFileError for a file that is damaged, untrained or of another format, OptionError where the
    elements are missing or do not fit.
    """
    path = find_file(path, "a .mtp file")
    raw, digest = read_bytes(path)
    for mark, suffix in ((b"#MVS", ".almtp"), (b"\n^", ".als")):
        if mark in raw:
            what = f"holds a binary active set after the text, as a file {suffix} does"
            raise PotentialFileError(path, raw[: raw.index(mark)].count(b"\n") + 1, what, "the text of a .mtp only")
    return parse_potential(path, decode(path, raw), elements, digest)


def read_template(path: str | Path) -> Template:
    """The contraction tree and the radial settings of a file, trained or not. Raises PotentialFileError."""
    path = find_file(path, "a .mtp file")
    raw, digest = read_bytes(path)
    fields = scan(path, decode(path, raw))
    facts = {"files": {path.name: digest}}
    return Template(
        fields.moments,
        fields.species_count,
        fields.radial_size,
        fields.radial_funcs,
        fields.min_dist,
        fields.max_dist,
        fields.scaling,
        fields.basis,
        facts,
    )


def decode(path: Path, raw: bytes) -> str:
    """Text of the bytes; latin-1 in a potential_tag is accepted, NUL bytes are not."""
    if b"\0" in raw:
        line = raw[: raw.index(b"\0")].count(b"\n") + 1
        raise PotentialFileError(path, line, "holds a NUL byte", "the text of a .mtp")
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError:
        return raw.decode("latin-1")


def parse_potential(
    path: Path,
    text: str,
    elements: str | Sequence[str] | None,
    digest: str,
    active: ActiveSet | None = None,
    by_label: bool = False,
) -> MtpParams:
    """Parameters from the text of a trained potential.

    by_label: the file is MLIP-3's, where labels 0 to C - 1 are types in any order; else they must stand in order.
    """
    fields = scan(path, text)
    fields.require_trained()
    order = _labels(fields, by_label)
    chosen, subset = choose_elements(path, order, elements)
    extra: dict[str, Any] = {}
    if fields.potential_name not in ("", "MTP1m"):
        extra["potential_name"] = fields.potential_name[:80]
    if order != list(range(len(order))):
        extra["type_labels"] = dict(zip(chosen, order, strict=True))
    facts = {"files": {path.name: digest}, **({"extra": extra} if extra else {})}
    c = len(chosen)
    try:
        params = MtpParams(
            elements=chosen,
            radial=np.reshape(fields.rows, (c, c, fields.radial_funcs, fields.radial_size)),
            moments=fields.moments,
            species=fields.species,
            weights=fields.weights,
            min_dist=fields.min_dist,
            max_dist=fields.max_dist,
            scaling=fields.scaling,
            basis=fields.basis,
            active=active,
            name=f"mtp:{path.name}",
            facts=facts,
        )
    except OptionError as error:
        raise PotentialFileError(path, None, str(error), "a consistent moment tensor potential") from error
    return params if subset is None else params.restricted(subset)


# -- elements ------------------------------------------------------------------------------------------------


def _labels(fields: Fields, by_label: bool) -> list[int]:
    """The types in the order of the radial blocks."""
    pairs = fields.labels
    order = list(dict.fromkeys(k for pair in pairs for k in pair))
    if pairs != [(a, b) for a in order for b in order]:
        shown = " ".join(f"{a}-{b}" for a, b in pairs[:9])
        expected = f"{fields.species_count**2} blocks: every first type with all second types, in one order"
        fields.fail("radial_coeffs", f"the radial blocks are labelled {shown}", expected)
    if not by_label and order != sorted(order) and sorted(order) == list(range(len(order))):
        what = f"the radial blocks are in the order of types {order}, which MLIP-2 and MLIP-3 read differently"
        fields.fail("radial_coeffs", what, "blocks in the order of types, or an .almtp of MLIP-3")
    return order


def choose_elements(
    path: Path, order: Sequence[int], elements: str | Sequence[str] | None
) -> tuple[tuple[str, ...], tuple[str, ...] | None]:
    """Elements of the file's species in the file's order, and those asked for where they are only some of them.

    order: the types as the radial blocks have them. Types 0 to C - 1 stand for the given elements of that index, types
    that are atomic numbers name the elements themselves. Raises OptionError.
    """
    c, given = len(order), parse_elements(elements)
    if max(order) >= _ATOMIC and 0 < min(order) and max(order) < len(SYMBOLS):
        named = tuple(SYMBOLS[k] for k in order)
        if given is None or set(given) == set(named):
            return named, None
        if set(given) < set(named):
            return named, given
        raise OptionError(
            f"{path.name} has the types {', '.join(map(str, order))}, atomic numbers of {', '.join(named)}; elements "
            f"are {', '.join(given)}: leave them out, or write types from 0 on into the labels of the file"
        )
    if given is None or len(given) != c:
        found = "none were given" if given is None else f"{len(given)} were given ({', '.join(given)})"
        raise OptionError(
            f"{path.name} has {c} species and names no elements, {found}; give {c} in the order of the potential's "
            f"types: {example_call(path.name, c)}, on the command line --elements"
        )
    if sorted(order) == list(range(c)):
        return tuple(given[k] for k in order), None
    return given, None


def example_call(name: str, count: int) -> str:
    """The call that names the elements of a file."""
    if count == 1:
        found = next((s for s in SYMBOLS[1:] if name.split(".")[0] == s), "Cu")
        return f'get_calculator("mtp", model="{name}", elements=["{found}"])'
    symbols = [*_EXAMPLES, *(s for s in SYMBOLS[1:] if s not in _EXAMPLES)][: min(count, MAX_SPECIES)]
    return f'get_calculator("mtp", model="{name}", elements=[{", ".join(f"{s!r}" for s in symbols)}])'.replace("'", '"')


# -- writing -------------------------------------------------------------------------------------------------


def number_text(x: float) -> str:
    """MLIP's 16 digits where they give the same number back, else 17, which always do."""
    short = f"{x:.15e}"
    return short if float(short) == x else f"{x:.16e}"


def _short(x: float) -> str:
    """As `number_text`, but a length of few digits as such: 5 or 1.11973."""
    text = f"{x:g}"
    return text if float(text) == x else number_text(x)


def _table(rows: np.ndarray) -> str:
    return "{" + ", ".join([f"{{{i}, {j}, {k}, {m}}}" for i, j, k, m in rows.tolist()]) + "}"


def _list(values: np.ndarray) -> str:
    return "{" + ", ".join([number_text(x) for x in values.tolist()]) + "}"


def format_template(template: Template | MtpParams, species_count: int, size: int, funcs: int, blocks: str = "") -> str:
    """Everything up to alpha_moment_mapping, which is all that an untrained file has."""
    m = template.moments
    length = number_text if blocks else _short
    extra = template.facts.get("extra", {})
    scaling = f"scaling = {number_text(template.scaling)}\n" if blocks or template.scaling != 1 else ""
    return (
        f"MTP\nversion = 1.1.0\npotential_name = {extra.get('potential_name', 'MTP1m')}\n{scaling}"
        f"species_count = {species_count}\npotential_tag = \nradial_basis_type = {template.basis}\n"
        f"\tmin_dist = {length(template.min_dist)}\n\tmax_dist = {length(template.max_dist)}\n"
        f"\tradial_basis_size = {size}\n\tradial_funcs_count = {funcs}\n{blocks}"
        f"alpha_moments_count = {m.count}\nalpha_index_basic_count = {len(m.basic)}\n"
        f"alpha_index_basic = {_table(m.basic)}\nalpha_index_times_count = {len(m.times)}\n"
        f"alpha_index_times = {_table(m.times)}\nalpha_scalar_moments = {len(m.scalars)}\n"
        f"alpha_moment_mapping = {{{', '.join(map(str, m.scalars.tolist()))}}}\n"
    )


def labels_of(params: MtpParams) -> list[int]:
    """Types of the species as the radial blocks name them: those of the file it came from, else 0, 1, ..."""
    known = params.facts.get("extra", {}).get("type_labels", {})
    order = [known.get(e) for e in params.elements]
    return order if None not in order and len(set(order)) == len(order) else list(range(params.n_elements))


def format_potential(params: MtpParams) -> str:
    """Text of a trained potential, without a line end after the last list, as MLIP writes it."""
    order, blocks = labels_of(params), ["\tradial_coeffs\n"]
    for a, rows in zip(order, params.radial, strict=True):
        for b, block in zip(order, rows, strict=True):
            blocks.append(f"\t\t{a}-{b}\n")
            blocks += [f"\t\t\t{_list(row)}\n" for row in block]
    c, _, k, r = params.radial.shape
    head = format_template(params, c, r, k, "".join(blocks))
    return f"{head}species_coeffs = {_list(params.species)}\nmoment_coeffs = {_list(params.weights)}"


def write_mtp(params: MtpParams, path: str | Path) -> Path:
    """Write a `.mtp` (or .mtp.xz, .mtp.gz) that MLIP-2, MLIP-3 and LAMMPS read; it gives the same bits back.

    Types are the places of params.elements, or the labels of the file that it was read from. An active set is not part
    of this format.
    """
    return write_packed(path, format_potential(params) + "\n")


def write_template(template: Template, path: str | Path) -> Path:
    """Write an untrained file."""
    counts = (template.species_count, template.radial_size, template.radial_funcs)
    return write_packed(path, format_template(template, *counts))
