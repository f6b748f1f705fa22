"""What may happen to a parameter file, as a hypothesis strategy: bytes of a valid file -> bytes of a mutant."""

from __future__ import annotations

import re

from hypothesis import strategies as st

TOKENS = ("nan", "inf", "-1", "0", "1e9", "1e308", "9" * 400, "µ", "Xx", "", "0x10", "1_0", "1d3")


@st.composite
def mutants(draw: st.DrawFn, original: bytes) -> bytes:
    """One to three mutations: truncate, drop or double a line, swap a token, flip a byte."""
    data = original
    for _ in range(draw(st.integers(1, 3))):
        kind = draw(st.sampled_from(("truncate", "drop", "double", "swap", "swap", "flip")))
        if not data:
            break
        if kind == "truncate":
            data = data[: draw(st.integers(0, len(data) - 1))]
        elif kind == "flip":
            at = draw(st.integers(0, len(data) - 1))
            data = data[:at] + bytes([draw(st.integers(0, 255))]) + data[at + 1 :]
        elif kind == "swap":
            spots = list(re.finditer(rb"\S+", data))
            if spots:
                spot = spots[draw(st.integers(0, len(spots) - 1))]
                data = data[: spot.start()] + draw(st.sampled_from(TOKENS)).encode() + data[spot.end() :]
        else:
            lines = data.split(b"\n")
            at = draw(st.integers(0, len(lines) - 1))
            lines[at : at + 1] = [] if kind == "drop" else [lines[at]] * 2
            data = b"\n".join(lines)
    return data
