"""Campaigns: keys, the append-only store, resuming, shards, processes, Parsl, and what a kill leaves behind."""

from __future__ import annotations

import importlib.util
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from ase.calculators.emt import EMT

from calczoo_validation import PropertyResult, Status, validate
from calczoo_validation.campaign import Campaign, Settings
from calczoo_validation.config import make_run
from calczoo_validation.runner import Run, make_target
from calczoo_validation.sources import Source
from calczoo_validation.store import Store, code_fingerprint, content_key

EMT_ENTRY = {"ase": "ase.calculators.emt:EMT"}
SMALL = {"calculators": [EMT_ENTRY], "proto": ["Cu:fcc"], "properties": ["elastic", "eos"], "mode": "smoke"}


def run(out=None, **changes):
    return make_run({**SMALL, **({"out": str(out)} if out else {}), **changes})


def contents(folder: Path) -> dict[str, bytes]:
    """All reports of a run by name; the store and the timings are not part of them."""
    other = ("timings.json", "run.json")
    return {p.name: p.read_bytes() for p in folder.iterdir() if p.is_file() and p.name not in other}


def keys(**changes) -> dict[str, str]:
    return {item.prop.name: item.key for item in run(**changes).items}


# -- keys --------------------------------------------------------------------------------------------------------


def test_same_inputs_same_keys_in_another_process():
    code = (
        "import json,sys; from calczoo_validation.config import make_run; "
        "print(json.dumps({i.prop.name: i.key for i in make_run(json.loads(sys.argv[1])).items}))"
    )
    out = subprocess.run([sys.executable, "-c", code, json.dumps(SMALL)], capture_output=True, text=True, check=True)
    assert json.loads(out.stdout) == keys()


@pytest.mark.parametrize(
    ("changes", "changed"),
    [
        ({"settings": {"elastic": {"strain": 0.002}}}, {"elastic"}),
        ({"settings": {"lattice": {"points": 21}}}, {"lattice", "elastic", "eos"}),
        ({"proto": ["Cu:fcc:3.7"]}, {"lattice", "elastic", "eos"}),
        ({"calculators": [{**EMT_ENTRY, "kwargs": {"asap_cutoff": True}}]}, {"lattice", "elastic", "eos"}),
        ({"mode": "fast"}, {"lattice", "elastic", "eos"}),
        ({"calculators": [{**EMT_ENTRY, "label": "another name"}]}, set()),
    ],
)
def test_a_key_changes_with_what_the_numbers_depend_on(changes, changed):
    before, after = keys(), keys(**changes)
    assert {name for name in before if before[name] != after[name]} == changed


def test_other_weights_in_the_same_class_are_another_calculator(wrapped):
    """A foreign calculator of the same class and arguments, with other parameters inside, must not share results."""

    def harder(results, atoms):
        return {k: 1.01 * v for k, v in results.items()}

    target = make_target("Cu:fcc", None)
    made = [
        Campaign([Source("x", live=c)], [target], "lattice", Settings("smoke")).items[0].key
        for c in (wrapped(), wrapped(), wrapped(change=harder))
    ]
    assert made[0] == made[1] != made[2]


# -- store -------------------------------------------------------------------------------------------------------


def stored_result(value: float = 1.0) -> PropertyResult:
    result = PropertyResult("lattice", "Lattice constant")
    result.add("a0", "a0", value, "A")
    return result


def test_stored_results_come_back_the_same(tmp_path):
    store, key = Store(tmp_path), content_key({"a": 0.1})
    written = store.write(key, {"a": 0.1}, stored_result(0.1 + 0.2))
    assert Store(tmp_path).read(key).to_dict() == written.to_dict()
    assert Store(tmp_path).read(content_key({"a": 0.2})) is None


def test_nothing_stored_is_ever_changed(tmp_path):
    store, key = Store(tmp_path), content_key({})
    store.write(key, {}, stored_result(1.0))
    first = store.path(key).read_bytes()
    store.write(key, {}, stored_result(1.0))
    assert len(list(tmp_path.rglob("*.json"))) == 1
    store.write(key, {}, stored_result(2.0))
    assert store.path(key).read_bytes() == first
    assert store.read(key)["a0"].value == 2.0


@pytest.mark.parametrize("damage", [b"", b'{"schema_version": 2', b"\xff\xfe garbage"])
def test_a_damaged_file_counts_as_absent(tmp_path, damage):
    store, key = Store(tmp_path), content_key({})
    store.write(key, {}, stored_result())
    store.path(key).write_bytes(damage)
    assert store.read(key) is None
    store.write(key, {}, stored_result())
    assert store.read(key)["a0"].value == 1.0


def test_an_edited_number_is_not_believed(tmp_path):
    store, key = Store(tmp_path), content_key({})
    store.write(key, {}, stored_result(1.25))
    path = store.path(key)
    path.write_text(path.read_text().replace("1.25", "1.26"))
    assert store.read(key) is None


def test_the_code_fingerprint_covers_properties_but_not_the_report(monkeypatch, tmp_path):
    import calczoo_validation.store as module

    before = code_fingerprint()
    code_fingerprint.cache_clear()
    read = Path.read_bytes
    monkeypatch.setattr(Path, "read_bytes", lambda p: read(p) + (b"#" if p.name == "html.py" else b""))
    assert module.code_fingerprint() == before
    code_fingerprint.cache_clear()
    monkeypatch.setattr(Path, "read_bytes", lambda p: read(p) + (b"#" if p.name == "elastic.py" else b""))
    assert module.code_fingerprint() != before
    code_fingerprint.cache_clear()


# -- resuming ----------------------------------------------------------------------------------------------------


def counting(calls: list[str], monkeypatch):
    """Note every property that is really computed."""
    import calczoo_validation.executors as executors

    real = executors.compute

    def noted(job, *args, **more):
        calls.append(job["property"])
        return real(job, *args, **more)

    monkeypatch.setattr(executors, "compute", noted)


def test_resume_computes_only_what_is_missing_and_the_report_is_the_same(tmp_path, monkeypatch):
    run(tmp_path / "whole").go(progress=False)
    part = run(tmp_path / "part")
    part.items = part.items[:2]
    part.go(progress=False)
    calls: list[str] = []
    counting(calls, monkeypatch)
    run(tmp_path / "part", resume=True).go(progress=False)
    assert calls == ["elastic"]
    assert contents(tmp_path / "part") == contents(tmp_path / "whole")


def test_without_resume_everything_is_computed_again(tmp_path, monkeypatch):
    run(tmp_path).go(progress=False)
    calls: list[str] = []
    counting(calls, monkeypatch)
    run(tmp_path).go(progress=False)
    assert len(calls) == 3
    assert len(list(tmp_path.glob("store/*/*.json"))) == 3  # the same results are not stored twice


def test_a_failure_is_tried_again_on_resume(tmp_path, wrapped):
    def breaks(results, atoms):
        raise MemoryError("out of memory for a moment")

    report = validate(
        wrapped(change=lambda r, a: breaks(r, a) if len(a) > 4 else r), proto="Cu:fcc", mode="smoke",
        properties="vacancy", out=tmp_path, progress=False,
    )  # fmt: skip
    assert report["vacancy"].status is Status.FAILED
    report = validate(
        wrapped(), proto="Cu:fcc", mode="smoke", properties="vacancy", out=tmp_path, progress=False, resume=True
    )
    assert report["vacancy.E_vac"].status is Status.OK


@pytest.mark.parametrize("jobs", [1, 2])
def test_several_processes_give_the_same_report(tmp_path, jobs):
    run(tmp_path / "one").go(progress=False)
    run(tmp_path / "other", jobs=jobs).go(progress=False)
    assert contents(tmp_path / "one") == contents(tmp_path / "other")


def test_live_calculators_cannot_be_sent_to_processes(tmp_path):
    campaign = Campaign([Source("emt", live=EMT())], [make_target("Cu:fcc", None)], "lattice", Settings("smoke"))
    with pytest.raises(ValueError, match="given by spec or as module:Class"):
        Run(campaign, tmp_path, jobs=2).go(progress=False)


def test_shards_together_are_the_whole(tmp_path):
    whole = {item.key for item in run().items}
    parts = [run(tmp_path, shard=f"{i}/3") for i in (1, 2, 3)]
    assert set().union(*({item.key for item in p.items} for p in parts)) == whole
    for part in parts:
        have = {item.key for item in part.items}
        assert all(key in have for item in part.items for key in item.needs.values())
        part.go(progress=False)
    run(tmp_path, resume=True).go(progress=False)
    run(tmp_path / "alone").go(progress=False)
    assert contents(tmp_path) == contents(tmp_path / "alone")


@pytest.mark.parametrize("text", ["0/3", "4/3", "1", "a/b", "1/0", "-1/2"])
def test_bad_shards_are_explained(text):
    with pytest.raises(ValueError, match="i/n"):
        run(shard=text)


@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec("parsl") is None, reason="parsl is not installed (pip install parsl)")
@pytest.mark.skipif(os.name != "posix", reason="Parsl runs on POSIX systems")
def test_parsl_workers_give_the_same_report(tmp_path):
    run(tmp_path / "one").go(progress=False)
    code = "import json, sys; from calczoo_validation.config import make_run as m; m(json.loads(sys.argv[1])).go(False)"
    config = {**SMALL, "out": str(tmp_path / "other"), "engine": {"name": "parsl", "workers": 2}}
    subprocess.run([sys.executable, "-c", code, json.dumps(config)], check=True, timeout=300, capture_output=True)
    assert contents(tmp_path / "one") == contents(tmp_path / "other")


@pytest.mark.slow
def test_a_killed_run_loses_the_item_in_flight_only(tmp_path):
    """kill -9 while the second item is computed: the first one is there, and the resumed report is the same."""
    command = [sys.executable, "-c", "import json,sys; from calczoo_validation.config import make_run; "
               "make_run(json.loads(sys.argv[1])).go(False)"]  # fmt: skip
    config = {**SMALL, "properties": ["elastic", "vacancy"], "out": str(tmp_path / "killed")}
    process = subprocess.Popen([*command, json.dumps(config)])
    while not list(tmp_path.glob("killed/store/*/*.json")):
        assert process.poll() is None
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    kept = len(list(tmp_path.glob("killed/store/*/*.json")))
    assert 1 <= kept <= 3
    assert not (tmp_path / "killed" / "report.html").exists() or kept == 3
    make_run({**config, "resume": True}).go(progress=False)
    make_run({**config, "out": str(tmp_path / "whole")}).go(progress=False)
    assert contents(tmp_path / "killed") == contents(tmp_path / "whole")


# -- what a campaign consists of -----------------------------------------------------------------------------------


def test_a_property_that_does_not_apply_is_left_out_of_a_suite_but_answered_by_name(monkeypatch):
    from calczoo_validation import Property, registry

    strange = Property("strange", "Strange", lambda ctx, result: None, "-", applies=lambda c: "needs a quasicrystal")
    known = {**registry.built_in(), "strange": strange}
    monkeypatch.setattr("calczoo_validation.campaign.all_properties", lambda: (known, []))
    monkeypatch.setattr("calczoo_validation.jobs.all_properties", lambda: (known, []))
    monkeypatch.setitem(registry.SUITES, "odd", ("lattice", "strange"))
    suite = run(properties=["odd"])
    assert [i.prop.name for i in suite.items] == ["lattice"]
    assert suite.campaign.left_out == [[("Strange", "needs a quasicrystal")]]
    (report,) = run(properties=["strange"]).go(progress=False)
    assert report["strange"].status is Status.UNSUPPORTED
    assert "quasicrystal" in report["strange"].reason


def test_several_structures_get_a_report_each_and_an_index(tmp_path):
    reports = run(tmp_path, proto=["Cu:fcc", "Al:fcc"], properties=["lattice"]).go(progress=False)
    assert [r.structure["label"] for r in reports] == ["Cu:fcc", "Al:fcc"]
    page = (tmp_path / "index.html").read_text()
    for name in ("Cu_fcc", "Al_fcc"):
        assert (tmp_path / name / "report.html").is_file()
        assert f'href="{name}/report.html"' in page


def test_a_missing_optional_package_is_unsupported_with_the_way_out(monkeypatch):
    from calczoo_validation import Property, registry

    wants = Property("wants", "Wants", lambda ctx, result: None, "-", requires=(("no_such_package", "pip install it"),))
    known = {**registry.built_in(), "wants": wants}
    monkeypatch.setattr("calczoo_validation.campaign.all_properties", lambda: (known, []))
    monkeypatch.setattr("calczoo_validation.jobs.all_properties", lambda: (known, []))
    (report,) = run(properties=["wants"]).go(progress=False)
    assert report["wants"].status is Status.UNSUPPORTED
    assert report["wants"].reason == "needs the package no_such_package: pip install it"
