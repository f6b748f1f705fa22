"""Reports: the same bytes for the same results, other formats, coverage, what is shown where."""

from __future__ import annotations

import csv
import io
import json
import xml.etree.ElementTree as ET

import numpy as np
import pytest
from ase.calculators.emt import EMT
from matplotlib.container import ErrorbarContainer

from calczoo_validation import Property, PropertyResult, Report, Status, plots, registry, validate
from calczoo_validation.exports import CSV_FIELDS, csv_table, junit, markdown
from calczoo_validation.html import render, soft
from calczoo_validation.numbers import show, show_error, show_unit, times
from calczoo_validation.report import FORMATS, ModelReport

from .conftest import NoStress, Wrapped, cubic_only

ALL = tuple(FORMATS)


@pytest.fixture(scope="module")
def report():
    calculators = {"EMT": EMT(), "no stress": NoStress(), "cubic only": Wrapped(change=cubic_only), '<b>&"x"': EMT()}
    return validate(calculators, proto="Cu:fcc", properties=["eos", "elastic"], mode="smoke", progress=False)


def test_files_are_the_same_bytes_whatever_the_wall_time(report, tmp_path):
    report.save(tmp_path / "a", ALL)
    again = Report.load(tmp_path / "a")
    for k, m in enumerate(again.models):
        m.seconds = 1000.0 + k
        for r in m.results.values():
            r.seconds = 77.7
    again.save(tmp_path / "b", ALL)
    for name in FORMATS.values():
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes(), name
    timings = json.loads((tmp_path / "b" / "timings.json").read_text())
    assert timings["EMT"]["properties"]["lattice"] == 77.7
    text = (tmp_path / "a" / "results.json").read_text()
    assert '"seconds"' not in text and '"created"' not in text


def test_a_saved_report_comes_back_with_its_timings(report, tmp_path):
    report.save(tmp_path)
    again = Report.load(tmp_path)
    assert again["lattice"].seconds == report["lattice"].seconds
    assert render(again) == render(report)
    (tmp_path / "timings.json").unlink()
    assert Report.load(tmp_path)["lattice"].seconds == 0.0


def test_reports_of_the_first_schema_are_still_read(report):
    data = json.loads(json.dumps(report.to_dict()))
    data["schema_version"] = 1
    for key in ("left_out", "reference", "findings", "comparison"):
        data.pop(key)
    assert Report.from_dict(data)["lattice.a0"].value == report["lattice.a0"].value
    with pytest.raises(ValueError, match="expected 'calczoo-validation' 1"):
        Report.from_dict({**data, "schema_version": 99})


def test_page_has_every_section_and_loads_nothing(report):
    text = render(report)
    for anchor in ("summary", "comparison", "coverage", "lattice", "eos", "elastic", "lint", "sources"):
        assert f'id="{anchor}"' in text and f'href="#{anchor}"' in text, anchor
    assert "could not be drawn" not in text
    for forbidden in ("<script", 'src="http', "@import", "<link", "url(http", "<iframe", "<img", '<b>&"x'):
        assert forbidden not in text, forbidden
    ids = [part.split('"')[0] for part in text.split(' id="')[1:]]
    assert len(ids) == len(set(ids))
    assert "sheared cell" in text and "Not computed" in text
    assert len(text) < 5_000_000


def test_properties_that_make_no_sense_are_listed_with_the_reason(report):
    known = Report.from_dict(report.to_dict())
    known.left_out = [("Phases of carbon", "the crystal holds no carbon")]
    text = render(known)
    assert "Phases of carbon" in text and "the crystal holds no carbon" in text and "not applicable" in text


def test_a_figure_that_cannot_be_drawn_does_not_take_the_page_with_it(monkeypatch):
    def fails(models):
        raise ZeroDivisionError("nothing to divide by")

    prop = Property("odd", "Odd", lambda c, r: None, "for the test", plots=fails)
    monkeypatch.setattr("calczoo_validation.html.all_properties", lambda: ({"odd": prop}, []))
    result = PropertyResult("odd", "Odd")
    result.add("x", "X", 1.0, "", error=0.0, error_source="exact")
    text = render(Report({"label": "Cu:fcc"}, "fast", models=[ModelReport("m", results={"odd": result})]))
    assert "could not be drawn (ZeroDivisionError: nothing to divide by)" in text


def test_a_calculator_keeps_its_colour_where_another_one_is_missing():
    with plots.palette(["#111111", "#333333"]):
        assert plots.COLOURS[1] == "#333333" and len(plots.COLOURS) == 2
    assert plots.COLOURS[1] == plots.BASE[1] and plots.COLOURS[:2] == plots.BASE[:2]


def test_svg_is_deterministic_and_its_ids_are_its_own():
    def make(key):
        fig, ax = plots.figure(3, 2)
        ax.plot(np.arange(50), np.sin(np.arange(50)))
        ax.pcolormesh(np.ones((4, 4)), rasterized=True)
        return plots.to_svg(fig, key)

    assert make("a") == make("a")
    ids = {key: {p.split('"')[0] for p in make(key).split(' id="')[1:]} for key in "ab"}
    assert ids["a"] and not ids["a"] & ids["b"]
    assert "<dc:date" not in make("a")


def test_long_tables_fold_away_only_what_is_sound_and_without_reference():
    from calczoo_validation.html_tables import FOLD, single_table

    result = PropertyResult("p", "P")
    for k in range(60):
        result.add(f"x{k}", f"X {k}", float(k) + 0.5, "", status=Status.FAILED if k == 55 else Status.OK)
    texts = dict.fromkeys(("unit", "short", "source", "doi", "url", "note"), "")
    refs = {"x58": [{"kind": "PBE", "value": 1.0, "error": None, **texts}]}
    rows = single_table([("m", result)], refs, ["PBE"])
    assert len(rows["shown"]) == FOLD and len(rows["folded"]) == 60 - FOLD
    assert {"X 55", "X 58"} <= {r["label"] for r in rows["shown"]}


# -- other formats -------------------------------------------------------------------------------------------------


def test_junit_has_one_case_per_number_and_parses(report):
    root = ET.fromstring(junit(report))
    cases = root.findall(".//testcase")
    expected = sum(max(1, len(r.values)) for m in report.models for r in m.results.values())
    assert len(cases) == expected
    by_suite = {s.get("name"): s for s in root.findall("testsuite")}
    assert by_suite["EMT"].get("failures") == "0"
    broken = by_suite["cubic only"]
    assert int(broken.get("failures")) == len(broken.findall(".//failure")) >= 1
    assert "sheared cell" in broken.find(".//failure").get("message")
    assert "time" not in cases[0].attrib


@pytest.mark.parametrize(
    ("status", "fail_on", "tag"),
    [
        ("ok", "failed", "system-out"), ("failed", "failed", "failure"), ("suspicious", "failed", "system-out"),
        ("suspicious", "failed,suspicious", "failure"), ("unsupported", "failed", "skipped"),
        ("unsupported", "unsupported", "failure"), ("unstable", ("unstable",), "failure"),
    ],
)  # fmt: skip
def test_what_fails_a_build(status, fail_on, tag):
    result = PropertyResult("p", "P")
    result.add("x", "X \x00 ]]> <&>", 1.0, "eV", status=status, reason="because \x1b of this")
    text = junit(Report({"label": "Cu"}, "fast", models=[ModelReport("m", results={"p": result})]), fail_on)
    (case,) = ET.fromstring(text).findall(".//testcase")
    assert case.find(tag) is not None and case.get("name").startswith("X ?")


def test_unknown_status_and_format_are_refused(report, tmp_path):
    with pytest.raises(ValueError, match="unknown status 'bad'"):
        junit(report, "bad")
    with pytest.raises(ValueError, match="unknown report format 'pdf'"):
        report.save(tmp_path, ("pdf",))


def test_csv_has_full_precision_and_no_formulas(report):
    rows = list(csv.DictReader(io.StringIO(csv_table(report))))
    assert tuple(rows[0]) == CSV_FIELDS
    a0 = next(r for r in rows if r["calculator"] == "EMT" and r["name"] == "a0")
    assert float(a0["value"]) == report["lattice.a0"].value and a0["reference_kind"] == "PBE"
    assert float(a0["relative_deviation"]) == pytest.approx(float(a0["value"]) / float(a0["reference"]) - 1)
    assert {"cubic only"} <= {r["calculator"] for r in rows if r["status"] == "failed"}
    result = PropertyResult("p", "=cmd()")
    result.flag(Status.FAILED, "-1 is negative")
    text = csv_table(Report({"label": "@x"}, "fast", models=[ModelReport("+m", results={"p": result})]))
    row = next(csv.DictReader(io.StringIO(text)))
    got = [row[k] for k in ("label", "structure", "calculator", "reason")]
    assert got == ["'=cmd()", "'@x", "'+m", "'-1 is negative"]


def test_markdown_tables_survive_pipes_and_markup(report):
    text = markdown(report)
    assert "## Coverage" in text and "## Comparison" in text and "| EMT |" in text
    for line in text.splitlines():
        if line.startswith("|"):
            assert line.replace("\\|", "").count("|") >= 4
    assert "&lt;b>" in text and "<b>" not in text


# -- numbers -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "error", "unit", "text"),
    [
        (3.16789, 0.012, "A", "3.168"), (-0.00001, None, "GPa", "0.00"), (0.00123, None, "GPa", "1.2e−03"),
        (31.0, None, "", "31"), (0.5, None, "", "0.5000"), (1e-12, None, "%", "0.000"), (None, None, "", "–"),
        (-2.5, 0.1, "eV", "−2.50"),
    ],
)  # fmt: skip
def test_numbers_are_printed_with_the_digits_they_have(value, error, unit, text):
    assert show(value, error, unit) == text


def test_units_and_errors_read_well():
    assert show_unit("eV/A^3") == "eV/Å³" and show_unit("A") == "Å" and show_unit("GPa") == "GPa"
    assert show_unit("THz") == "THz" and show_unit("A^2/ps") == "Å²/ps"
    assert show_error(0.0, "") == "exact" and show_error(1e-9, "GPa") == "< 0.01" and show_error(None) == ""
    assert times(1, "frame") == "1 frame" and times(2, "frame") == "2 frames"


def test_registry_names_every_property_of_the_report(report):
    assert set(report.models[0].results) <= set(registry.built_in())


# -- figures of several calculators --------------------------------------------------------------------------------

LONG = ["snap:Mo", "snap:Mo-linear", "Mo_Zuo_JPCA2020.snap", "Mo_Zuo_JPCA2020.quadratic.snap"]


@pytest.mark.parametrize("where", ["axes", "figure"])
def test_legends_of_four_long_names_neither_cover_curves_nor_are_cut_off(where):
    fig, ax = plots.figure(4.0, 3.0)
    for k, name in enumerate(LONG):
        ax.plot([0, 1], [0, k], label=name)
    if where == "axes":
        ax.legend()
    else:
        fig.legend(ncols=4, loc="outside upper left")
    plots.place_legends(fig)
    fig.draw_without_rendering()
    (legend,) = fig.legends
    box = legend.get_window_extent()
    assert ax.get_legend() is None and [t.get_text() for t in legend.get_texts()] == LONG
    assert 0 <= box.x0 and box.x1 <= fig.bbox.width and box.y0 >= ax.get_window_extent().y1
    assert ax.get_window_extent().height > 0.6 * 3.0 * fig.dpi


def test_a_short_legend_stays_where_it_is():
    fig, ax = plots.figure(4.0, 3.0)
    ax.plot([0, 1], label="EMT")
    legend = ax.legend()
    plots.place_legends(fig)
    assert ax.get_legend() is legend and not fig.legends


def test_no_error_bar_is_drawn_where_no_error_is_known():
    fig = plots.bars(["a", "b"], [("m", [1.0, 2.0], [0.1, None])], {}, "eV")
    _, caps, (lines,) = next(c for c in fig.axes[0].containers if isinstance(c, ErrorbarContainer)).lines
    assert [len(segment) for segment in lines.get_segments()] == [2, 0]
    assert all(np.isfinite(cap.get_ydata().astype(float)).tolist() == [True, False] for cap in caps)


def test_of_several_references_of_a_kind_the_figure_marks_the_one_in_the_table():
    from calczoo_validation.properties.elastic import plots as elastic_plots

    results = validate({"a": EMT(), "b": EMT()}, proto="Cu:fcc", properties="elastic", mode="smoke", progress=False)
    references = results.references("elastic")
    assert len([r for r in references["C44"] if r["kind"] == "PBE"]) > 1
    figure = elastic_plots([(m.label, m.results["elastic"], references) for m in results.models])[0][3]
    marks = next(c for c in figure.axes[0].collections if c.get_label() == "PBE").get_offsets()
    assert marks[2][1] == next(r["value"] for r in references["C44"] if r["kind"] == "PBE")


def test_names_of_calculators_may_break_at_their_signs_and_stay_escaped():
    assert str(soft("a_b.snap<i>")) == "a_<wbr>b.<wbr>snap&lt;i&gt;" and str(soft("EMT.")) == "EMT."


def test_the_rank_is_shown_only_where_the_place_does_not_say_it_all(report):
    equal = validate({"a": EMT(), "b": EMT()}, proto="Cu:fcc", properties="elastic", mode="smoke", progress=False)
    assert "Rank by deviation" not in render(equal) and "Rank by deviation" in render(report)
