"""The spec grammar: what it reads, what it refuses, and that nothing else happens."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from calczoo.core.errors import SpecError
from calczoo.spec import TermSpec, parse_spec


@pytest.mark.parametrize(
    "text, terms",
    [
        ("snap", [TermSpec("snap")]),
        ("snap:Mo", [TermSpec("snap", "Mo")]),
        (" snap : Mo ", [TermSpec("snap", "Mo")]),
        ("zbl(4.0, 4.8)", [TermSpec("zbl", None, (4.0, 4.8))]),
        ("zbl()", [TermSpec("zbl")]),
        ("d3(pbe, cutoff=20)", [TermSpec("d3", None, ("pbe",), {"cutoff": 20})]),
        ("snap:Ta06A.snap + zbl(4, 4.8)", [TermSpec("snap", "Ta06A.snap"), TermSpec("zbl", None, (4, 4.8))]),
        (
            "0.5*eam:a.alloy+0.5*eam:b.alloy",
            [TermSpec("eam", "a.alloy", factor=0.5), TermSpec("eam", "b.alloy", factor=0.5)],
        ),
        ("1e-3*x + 1e+3*y", [TermSpec("x", factor=1e-3), TermSpec("y", factor=1e3)]),
        ("x(1e+3)", [TermSpec("x", None, (1000.0,))]),
        ("-1*x", [TermSpec("x", factor=-1.0)]),
        ("eam:'my + file (1).alloy'", [TermSpec("eam", "my + file (1).alloy")]),
        ('eam:"a,b.alloy"', [TermSpec("eam", "a,b.alloy")]),
        ("x(a='b, c', d=true)", [TermSpec("x", None, (), {"a": "b, c", "d": True})]),
        ("eam:/data/set-1/Cu_mishin1.eam.alloy", [TermSpec("eam", "/data/set-1/Cu_mishin1.eam.alloy")]),
        ("snap:file.snap(elements=Ta)", [TermSpec("snap", "file.snap", (), {"elements": "Ta"})]),
    ],
)
def test_reads(text, terms):
    assert list(parse_spec(text)) == terms


@pytest.mark.parametrize(
    "text",
    ["", "   ", "+", "a +", "+ a", "a ++ b", "a:", "1", "2*", "*a", "a(", "a)", "a(1", "a)(", "a:'b", "a(x=1, x=2)",
     "a(x=1, 2)", "a(1,,2)", "a b", "a(1) b", "(a)", "a:b c)", None, 3],
)  # fmt: skip
def test_refuses_with_the_place_and_the_form(text):
    with pytest.raises(SpecError) as error:
        parse_spec(text)
    message = str(error.value)
    assert "write for example" in message or ("at character" in message and repr(text) in message)


@given(st.text(max_size=40))
def test_any_text_is_read_or_refused(text):
    try:
        terms = parse_spec(text)
    except SpecError:
        return
    assert terms and all(t.family for t in terms)


ALPHABET = st.sampled_from(list("snapzbl:+*(),.='\" 019e-") + ["\n", "\t", "é", "\0", "1e+3", "snap", "0.5*"])


@given(st.lists(ALPHABET, max_size=25).map("".join))
def test_any_mixture_of_its_own_signs_is_read_or_refused(text):
    try:
        terms = parse_spec(text)
    except SpecError:
        return
    assert terms and all(t.family for t in terms)


names = st.from_regex(r"[a-z][a-z0-9_]{0,8}", fullmatch=True).filter(lambda w: w not in ("true", "false", "inf", "nan"))
values = st.one_of(st.integers(-999, 999), st.floats(-1e6, 1e6).map(lambda x: float(repr(x))), st.booleans(), names)
names_of_files = st.one_of(st.none(), st.from_regex(r"[A-Za-z0-9_./]{1,12}", fullmatch=True))


@given(
    st.builds(
        TermSpec,
        family=names,
        model=st.none(),
        args=st.lists(values, max_size=3).map(tuple),
        options=st.dictionaries(names, values, max_size=3),
        factor=st.sampled_from([1.0, 0.5, -2.0, 1e-3]),
    )
)
def test_what_is_written_is_read_back(term):
    assert parse_spec(str(term)) == (term,)


@given(st.lists(st.builds(TermSpec, family=names, model=names_of_files), min_size=1, max_size=4))
def test_sums_are_read_back(terms):
    assert parse_spec(" + ".join(map(str, terms))) == tuple(terms)


def test_arguments_without_names_after_a_model_were_part_of_its_name():
    with pytest.raises(SpecError, match="arguments after a model have names"):
        parse_spec("hdnnp:H2O(Bohr, Ha)")


def test_a_file_needs_no_family_where_its_suffix_tells():
    def known(name: str) -> str | None:
        return "snap" if name.endswith(".snap") else None

    assert parse_spec("a/b c.snap", known) == (TermSpec("snap", "a/b c.snap"),)
    assert parse_spec("0.5*Ta06A.snap + zbl(4, 4.8)", known)[0] == TermSpec("snap", "Ta06A.snap", factor=0.5)
    assert parse_spec("'x+y.snap'(mode=1)", known) == (TermSpec("snap", "x+y.snap", (), {"mode": 1}),)
    with pytest.raises(SpecError, match=r"no family is known for a file called 'x\.xyz'.*'eam:x\.xyz'"):
        parse_spec("x.xyz", known)
