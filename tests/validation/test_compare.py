"""Statistics and the comparison of several calculators: ties, omissions, intervals against known truths."""

from __future__ import annotations

import numpy as np
import pytest

from calczoo_validation import PropertyResult, Status
from calczoo_validation.compare import compare, coverage, coverage_text, deviation_summary
from calczoo_validation.report import ModelReport, Report
from calczoo_validation.statistics import (
    bootstrap_sums,
    interval,
    mean_estimate,
    paired_difference,
    paired_ratio_difference,
    shared_ranks,
    wilson,
)

TRUTH = {"lattice.a0": 3.168, "elastic.C11": 472.0, "elastic.C12": 158.0, "elastic.C44": 106.0, "elastic.B": 263.0,
         "eos.B0": 263.0, "vacancy.E_vac": 2.70}  # fmt: skip  # Mo:bcc of references.json, PBE


def model(label: str, factors: dict[str, float] | float, drop=(), status=None) -> ModelReport:
    """A calculator whose values are the references times a factor each."""
    out = ModelReport(label)
    for name, truth in TRUTH.items():
        prop, key = name.split(".")
        result = out.results.setdefault(prop, PropertyResult(prop, prop.title()))
        if name not in drop:
            factor = factors if isinstance(factors, float) else factors[name]
            result.add(key, key, truth * factor, "GPa", error=0.1, status=(status or {}).get(name, Status.OK))
    for result in out.results.values():
        result.finish()
    return out


def report(*models: ModelReport) -> Report:
    return Report({"label": "Mo:bcc", "reference_key": "Mo:bcc"}, "fast", models=list(models))


def test_bootstrap_agrees_with_the_standard_error_of_a_mean(rng):
    x = rng.normal(2.0, 3.0, 400)
    drawn = bootstrap_sums(x)[:, 0] / len(x)
    assert drawn.std() == pytest.approx(x.std() / 20, rel=0.08)
    low, high = interval(drawn)
    assert high - low == pytest.approx(2 * 1.96 * x.std() / 20, rel=0.08)
    np.testing.assert_array_equal(drawn, bootstrap_sums(x)[:, 0] / len(x))  # the same numbers every time


def test_bootstrap_interval_covers_the_true_mean_about_as_often_as_it_says(rng):
    inside = 0
    for _ in range(120):
        e = mean_estimate(rng.exponential(1.0, 40))
        inside += e.low <= 1.0 <= e.high
    assert 0.85 <= inside / 120 <= 0.99


def test_chunks_of_the_resampling_do_not_show(monkeypatch, rng):
    from calczoo_validation import statistics

    x = rng.normal(size=(30, 2))
    whole = bootstrap_sums(x, samples=100)
    monkeypatch.setattr(statistics, "_CHUNK", 300)
    np.testing.assert_allclose(bootstrap_sums(x, samples=100), whole, atol=1e-12)


@pytest.mark.parametrize(
    ("successes", "n", "low", "high"),
    [(0, 10, 0.0, 0.2775), (5, 10, 0.2366, 0.7634), (10, 10, 0.7225, 1.0), (81, 263, 0.2553, 0.3662), (0, 0, 0, 1)],
)  # the fourth: R. G. Newcombe, Stat. Med. 17, 857 (1998), table I,
# doi:10.1002/(SICI)1097-0258(19980430)17:8<857::AID-SIM777>3.0.CO;2-E
def test_wilson_interval(successes, n, low, high):
    assert wilson(successes, n) == pytest.approx((low, high), abs=5e-5)


def test_paired_difference_sees_what_single_intervals_do_not(rng):
    hard = rng.exponential(1.0, 40)
    first, second = hard + 0.05, hard
    e = paired_difference(first, second + 0.01 * rng.normal(size=40))
    assert e.excludes_zero and e.mean == pytest.approx(0.05, abs=0.01)
    a, b = mean_estimate(first), mean_estimate(second)
    assert a.low < b.high  # unpaired, they overlap


def test_ratio_difference_weighs_structures_by_their_size():
    e = paired_ratio_difference(np.array([10.0, 1.0]), np.array([0.0, 0.0]), np.array([100, 1]))
    assert e.mean == pytest.approx(11 / 101) and e.low is None


def test_too_few_quantities_claim_nothing():
    assert mean_estimate(np.array([1.0, 2.0])).low is None
    assert not paired_difference(np.ones(4), np.zeros(4)).excludes_zero


def test_ties_share_a_rank_and_a_clear_loser_does_not():
    alternating = {name: 1.02 if k % 2 else 1.03 for k, name in enumerate(TRUTH)}
    other = {name: 1.03 if k % 2 else 1.02 for k, name in enumerate(TRUTH)}
    found = compare(report(model("a", alternating), model("b", other), model("far", 1.3)))
    places = {s.label: (s.place, s.rank) for s in found.standings}
    assert places == {"a": (1, 1), "b": (1, 1), "far": (3, 3)}
    pair = next(p for p in found.pairs if (p.first, p.second) == ("a", "far"))
    assert not pair.tie and pair.difference < 0 and pair.high < 0 and pair.wins == pair.n == len(TRUTH)
    assert next(p for p in found.pairs if p.second == "b").tie
    assert shared_ranks(np.array([[False, True], [False, False]])) == [1, 2]


def test_nobody_wins_by_leaving_out_the_hard_numbers():
    """A calculator that only gives what it is good at is compared on that, and placed after the complete one."""
    factors = {n: 1.30 if n.startswith("elastic.C") else 1.001 for n in TRUTH}
    honest = {n: 1.05 for n in TRUTH}
    found = compare(report(model("picks", factors, drop=("elastic.C11", "elastic.C12", "elastic.C44")),
                           model("complete", honest)))  # fmt: skip
    places = {s.label: s for s in found.standings}
    assert places["complete"].place == 1 and places["picks"].place == 2
    assert (places["picks"].usable, places["picks"].total) == (4, 7)
    assert places["picks"].missing == ["elastic.C11", "elastic.C12", "elastic.C44"]
    assert set(found.common) == {"lattice.a0", "elastic.B", "eos.B0", "vacancy.E_vac"}
    assert places["picks"].mean < places["complete"].mean  # shown beside, over the common set only
    assert any("4 of 7" in n for n in found.notes)


def test_unsound_numbers_do_not_count_as_available():
    bad = {"elastic.C44": Status.UNCONVERGED, "vacancy.E_vac": Status.FAILED, "lattice.a0": Status.SUSPICIOUS}
    found = compare(report(model("shaky", 1.01, status=bad), model("sound", 1.01)))
    assert found.standings[0].missing == ["elastic.C44", "vacancy.E_vac"]
    assert "elastic.C44" not in found.common and "lattice.a0" in found.common


def test_a_calculator_with_next_to_nothing_does_not_empty_the_common_set():
    almost = model("almost nothing", 1.0, drop=[n for n in TRUTH if n != "lattice.a0"])
    found = compare(report(model("a", 1.02), almost, model("b", 1.03)))
    assert found.compared == ["a", "b"] and len(found.common) == 7
    last = found.standings[1]
    assert last.rank is None and last.mean is None and last.place == 3
    assert any("almost nothing has 1 of the 7" in n for n in found.notes)


def test_coverage_is_stated_with_every_mean():
    m = model("m", 1.02, drop=("elastic.C44",), status={"elastic.C11": Status.UNSTABLE})
    counts = coverage(m)["elastic"]
    assert coverage_text(counts) == "2 of 3 numbers sound; 1 unstable"
    mean, median, n, of = deviation_summary(report(m))["m"]
    assert mean == pytest.approx(0.02) and (n, of) == (5, 6)
    empty = PropertyResult("phonons", "Phonons", status=Status.UNSUPPORTED)
    m.results["phonons"] = empty
    assert coverage_text(coverage(m)["phonons"], "unsupported") == "no numbers (unsupported)"


def test_one_calculator_is_not_compared():
    assert compare(report(model("alone", 1.0))) is None


def test_data_set_errors_are_paired_over_structures(rng):
    def with_errors(label, errors, index):
        out = ModelReport(label)
        r = PropertyResult("dataset", "Errors on a data set")
        n = len(index)
        r.data["per_structure"] = {
            "index": list(index), "energy_sum": list(errors), "energy_terms": [1] * n, "force_sum": [None] * n,
            "force_terms": [0] * n, "stress_sum": [None] * n, "stress_terms": [0] * n,
        }  # fmt: skip
        out.results["dataset"] = r
        return out

    base = rng.exponential(1.0, 30)
    first = with_errors("first", base, range(30))
    second = with_errors("second", base[:-5] + 0.1, range(25))
    found = compare(Report({"label": "data"}, "fast", models=[first, second]))
    (energy,) = found.dataset
    assert energy.n == 25 and energy.means[1] - energy.means[0] == pytest.approx(0.1)
    assert energy.ranks == [1, 2] and not energy.pairs[0].tie
