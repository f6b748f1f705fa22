"""Published potentials through the whole chain: numbers of papers, parameter files and other codes derived anew."""

from __future__ import annotations

import re
import shutil
from fnmatch import fnmatch
from io import StringIO

import pytest
from rich.console import Console

from calczoo.core.errors import OptionError
from calczoo_validation import Status
from calczoo_validation.anchors import KINDS, _data, anchors, folders, make_table, run_anchors, summary
from calczoo_validation.registry import all_properties
from data import data_folder, lammps_potential, potentials_folder, shared

NAMES = [entry["name"] for entry in anchors()]
SUSPICIOUS = {("zuo-mtp-Ge", "lattice.a0")}
"""Numbers that are met, of potentials that the harness rightly warns of."""
KEYS = set("name title kind source files spec elements options proto mode settings values note".split())


def places():
    return [p for p in (potentials_folder(), data_folder() / "data") if p is not None]


@pytest.mark.parametrize("name", NAMES)
def test_anchor(name):
    (entry,) = anchors(name)
    if name.startswith(("nimo", "zuo-mtp")):
        shared(f"data/{entry['files'][-1 if name.startswith('nimo') else 0]}")  # skips where it is not
    else:
        lammps_potential(entry["files"][0])
    rows = run_anchors(name, places())
    assert len(rows) == len(entry["values"])
    for row in rows:
        assert row.within, f"{row.quantity}: {row.paper} there, {row.ours} here; {row.reason}"
        assert row.status is (Status.SUSPICIOUS if (name, row.quantity) in SUSPICIOUS else Status.OK)


def test_the_table_of_2018_is_met_to_its_last_digit():
    """Printed with the file: Ni 269.48/149.62/135.36 and Mo 475.14/162.58/111.45 GPa."""
    shared("data/snap_mvl/Ni-Mo/snap.2018.01/Ni_Mo.snapcoeff")
    for row in run_anchors("nimo-*", places()):
        assert row.ours == pytest.approx(row.paper, abs=0.006)


def test_every_entry_is_complete():
    data = _data()
    assert len(NAMES) == len(set(NAMES)) and {e["source"] for e in data["anchors"]} == set(data["sources"])
    for source in data["sources"].values():
        assert re.match(r"10\.\d{4,}/", source.get("doi", "")) or "no paper" in source["citation"]
    outputs = {p.name: p.outputs for p in all_properties()[0].values()}
    for entry in data["anchors"]:
        assert set(entry) <= KEYS
        assert entry["kind"] in KINDS and entry["values"] and entry["files"]
        for value in entry["values"]:
            prop, _, name = value["name"].partition(".")
            units = {o.unit for o in outputs[prop] if fnmatch(name, o.name)}
            assert value["unit"] in units and 0 < value["tolerance"] < 0.05 * abs(value["value"])


def test_a_file_that_is_not_there_is_reported_not_left_out(tmp_path, monkeypatch):
    for name in ("CALCZOO_LAMMPS_POTENTIALS", "CALCZOO_DATA"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("calczoo_validation.anchors.folders", lambda given=None: [tmp_path])
    rows = run_anchors("zuo-snap-Mo")
    assert len(rows) == 5 and all(r.within is None and r.status is Status.UNSUPPORTED for r in rows)
    assert "Mo_Zuo_JPCA2020.snapcoeff" in rows[0].reason and str(tmp_path) in rows[0].reason
    assert summary(rows) == "0 of 0 numbers agree within the tolerance given with them; 5 could not be computed"


def test_another_potential_under_the_name_does_not_agree(tmp_path):
    shutil.copy(lammps_potential("Cu_zhou.eam.alloy"), tmp_path / "Cu_mishin1.eam.alloy")
    shutil.copy(lammps_potential("Ni_u3.eam"), tmp_path / "Cu_u3.eam")
    (tmp_path / "Ag_u3.eam").write_text("no potential\n")
    other, foreign, broken = run_anchors(["eam-cu-mishin1", "eam-cu-u3", "eam-ag-u3"], tmp_path)[0:3]
    by = {r.anchor: r for r in (other, foreign, broken)}
    assert by["eam-cu-mishin1"].within is False and by["eam-cu-mishin1"].ours == pytest.approx(3.6148, abs=1e-4)
    assert by["eam-cu-u3"].within is None and "Cu" in by["eam-cu-u3"].reason
    assert by["eam-ag-u3"].within is None and by["eam-ag-u3"].status is Status.FAILED
    console = Console(record=True, width=160, file=StringIO())
    console.print(make_table(list(by.values())))
    text = console.export_text()
    assert "0 of 1 numbers agree" in text and "not computed" in text and "no" in text


def test_table_names_source_and_numbers():
    lammps_potential("Cu_u3.eam")
    rows = run_anchors("eam-cu-u3", places())
    console = Console(record=True, width=160, file=StringIO())
    console.print(make_table(rows))
    text = console.export_text()
    assert "Cu_u3.eam, Cu:fcc [1] header" in text and "doi:10.1103/PhysRevB.33.7983" in text
    assert re.search(r"lattice.a0 .* 3.615000 .* 3.615000 .* yes", text)
    assert rows[0].to_dict()["within"] is True and rows[0].to_dict()["status"] == "ok"


def test_folders_given_come_first(tmp_path, monkeypatch):
    monkeypatch.setenv("CALCZOO_LAMMPS_POTENTIALS", str(tmp_path))
    given = tmp_path / "mine"
    given.mkdir()
    assert folders(given)[:2] == [given, tmp_path]
    assert folders(tmp_path / "absent")[0] == tmp_path


def test_unknown_names_are_refused():
    with pytest.raises(OptionError, match="no anchor is called 'zuo-snap-Xe'; did you mean"):
        run_anchors("zuo-snap-Xe")
