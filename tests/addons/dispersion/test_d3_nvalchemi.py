"""d3 by nvalchemi-toolkit-ops, in single precision, against dftd3; on the CPU, and on CUDA where there is one.

Energies agree to 1e-6, forces and stress to 2e-5 of the largest entry.
"""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import fcc111, molecule

from addons.dispersion.structures import close, package, salt
from calczoo import describe, get_calculator
from calczoo.addons.d3 import nvalchemi, tables
from calczoo.core.errors import (
    AtomsOverlap,
    BackendUnavailable,
    OptionError,
    PotentialFileError,
    TooLarge,
    UnsupportedElement,
    WeightsMissing,
)
from data import shared

package("dftd3")
needs_package = pytest.mark.skipif(
    not nvalchemi.available(), reason="nvalchemi-toolkit-ops is not installed (extra 'nvalchemi')"
)
FILE = "data/d3/torch_dftd_dftd3_params.npz"
CUTS = "disp2=15, cn=15"


@pytest.fixture
def published(monkeypatch):
    """The published tables, named as a user names them."""
    monkeypatch.setenv(tables.VARIABLE, str(shared(FILE)))


def structures() -> list[Atoms]:
    slab = fcc111("Cu", (1, 1, 2), a=3.6)
    slab.rattle(0.1, seed=1)
    far = molecule("CH3CH2OH")
    far.positions += 1000.0
    return [far, salt(), slab, Atoms("Ar"), Atoms(), salt(2, seed=4)]


@needs_package
@pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=pytest.mark.cuda)])
@pytest.mark.parametrize("more", ["", ", width2=3"])
def test_as_dftd3(published, device, more):
    """One by one, and all in one call."""
    ours = get_calculator(f"d3(pbe, {CUTS}{more}, engine=nvalchemi)", device=device, threads=1)
    exact = get_calculator(f"d3(pbe, {CUTS}{more}, engine=dftd3)", device="cpu", threads=1)
    many = structures()
    together = ours.evaluate(many, ("energy", "forces"))
    for atoms, one in zip(many, together, strict=True):
        names = ("energy", "forces", "stress") if atoms.pbc.all() else ("energy", "forces")
        want, got = (calc.evaluate([atoms], names)[0] for calc in (exact, ours))
        assert got["energy"] == pytest.approx(want["energy"], rel=1e-6)
        assert one["energy"] == pytest.approx(want["energy"], rel=1e-6)
        if len(atoms) > 1:
            close(got["forces"], want["forces"], 2e-5)
            close(one["forces"], want["forces"], 2e-5)
        if "stress" in want:
            close(got["stress"], want["stress"], 2e-5)


@needs_package
def test_room_for_neighbours_grows(published):
    """A dense cluster in a large cell has more neighbours than the mean density lets expect."""
    atoms = salt(3)
    atoms.set_cell(atoms.cell.array * 4.0)
    calcs = (get_calculator(f"d3(pbe, disp2=12, cn=12, engine={e})", device="cpu") for e in ("dftd3", "nvalchemi"))
    want, got = (calc.get_potential_energy(atoms) for calc in calcs)
    assert got == pytest.approx(want, rel=1e-6)


@needs_package
def test_parameters_need_no_functional(published, monkeypatch):
    atoms = salt()
    named = get_calculator(f"d3(pbe, {CUTS}, engine=nvalchemi)", device="cpu").get_potential_energy(atoms)
    monkeypatch.setitem(sys.modules, "dftd3.interface", None)
    own = f"d3(s8=0.7875, a1=0.4289, a2=4.4407, {CUTS}, engine=nvalchemi)"
    assert get_calculator(own, device="cpu").get_potential_energy(atoms) == pytest.approx(named, rel=1e-6)


@needs_package
def test_in_a_sum(published):
    atoms = salt()
    both = get_calculator(f"zbl(1.0, 2.0) + d3(pbe, {CUTS}, engine=nvalchemi)", elements=["Na", "Cl"], device="cpu")
    alone = [get_calculator(s, device="cpu") for s in ("zbl(1.0, 2.0)", f"d3(pbe, {CUTS}, engine=nvalchemi)")]
    names = ("energy", "forces", "stress")
    got, *parts = (calc.evaluate([atoms], names)[0] for calc in (both, *alone))
    for name in names:
        np.testing.assert_allclose(got[name], sum(p[name] for p in parts), rtol=1e-6, atol=1e-9)
    assert "energies" not in both.model.outputs and "engine=dftd3" in both.model.missing["energies"]


@needs_package
def test_bad_structures(published, monkeypatch):
    calc = get_calculator(f"d3(pbe, {CUTS}, engine=nvalchemi)", device="cpu")
    with pytest.raises(AtomsOverlap):
        calc.get_potential_energy(Atoms("C2", [[0, 0, 0], [0, 0, 1e-5]]))
    with pytest.raises(UnsupportedElement, match="'Am'"):
        calc.get_potential_energy(Atoms("CAm", [[0, 0, 0], [0, 0, 3]]))
    monkeypatch.setattr(nvalchemi, "available_memory_gib", lambda: 1e-9)
    with pytest.raises(TooLarge):
        calc.get_potential_energy(molecule("C60"))


def test_card():
    card = describe("d3(pbe, engine=nvalchemi)")
    assert "single precision" in card.extra["engine"] and "Apache" in card.licence and card.elements[-1] == "Pu"
    assert "energies" not in card.outputs and "cn=31.7506" in card.extra["real-space cutoffs"]
    assert "dftd3" in describe("d3(pbe)").extra["engine"]


def test_choice_of_the_engine(monkeypatch):
    """nvalchemi for what it can do, in single precision on CUDA, if it and the tables are there."""
    from calczoo.addons.d3 import load
    from calczoo.registry import ModelRequest

    made = []
    monkeypatch.setattr(load, "device_of", torch.device)
    monkeypatch.setattr(nvalchemi, "D3Nvalchemi", lambda params, *rest: made.append(params) or params.engine)
    monkeypatch.setattr(nvalchemi, "available", lambda: True)
    monkeypatch.setattr(tables, "available", lambda named=None: True)

    def engine(text: str, device: str, dtype: str, **more) -> str:
        options = dict(part.split("=") for part in text.split(",")) if text else {}
        options = {k: {"true": True}.get(v, v) for k, v in options.items()}
        request = ModelRequest("d3", args=("pbe",), options=options, device=device, dtype=dtype, **more)
        model = load.build(load.read(request), request)
        return model if isinstance(model, str) else "dftd3"

    assert engine("", "cuda", "float32") == "nvalchemi"
    assert made[0].cutoffs.cn == made[0].cutoffs.disp2  # how it counts
    for text, device, dtype, more in (
        ("", "cuda", "float64", {}),
        ("", "cpu", "float32", {}),
        ("damping=zero", "cuda", "float32", {}),
        ("atm=true", "cuda", "float32", {}),
        ("engine=dftd3", "cuda", "float32", {}),
        ("", "cuda", "float32", {"elements": ("Cu", "Am")}),
    ):
        assert engine(text, device, dtype, **more) == "dftd3"
    for module in (nvalchemi, tables):
        with monkeypatch.context() as patch:
            patch.setattr(module, "available", lambda named=None: False)
            assert engine("", "cuda", "float32") == "dftd3"
    assert engine("engine=nvalchemi", "cpu", "float64") == "nvalchemi"


# -- tables -------------------------------------------------------------------------------------------------------


def test_published_tables(published):
    arrays = tables.read_tables(tables.find_tables())
    assert arrays["c6ab"].shape == (95, 95, 5, 5, 3)
    assert arrays["c6ab"][1, 1, 0, 0, 0] == pytest.approx(3.0267, abs=1e-4)  # H-H, of the paper's table


def test_tables_of_an_installed_package(tmp_path, monkeypatch):
    """Found where torch-dftd has them, without importing it."""
    folder = tmp_path / "torch_dftd" / "nn" / "params"
    folder.mkdir(parents=True)
    (tmp_path / "torch_dftd" / "__init__.py").write_text("raise SystemExit('imported')")
    (folder / "dftd3_params.npz").write_bytes(b"")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delenv(tables.VARIABLE, raising=False)
    monkeypatch.delitem(sys.modules, "torch_dftd", raising=False)
    assert tables.find_tables() == folder / "dftd3_params.npz"


def test_no_tables(tmp_path, monkeypatch):
    monkeypatch.delenv(tables.VARIABLE, raising=False)
    monkeypatch.setattr(tables, "find_spec", lambda name: None)
    assert not tables.available()
    with pytest.raises(WeightsMissing, match=r"pip install --no-deps torch-dftd.*tables='FILE' or CALCZOO_D3_TABLES"):
        tables.find_tables()
    with pytest.raises(WeightsMissing, match="tables names the file .*gone.npz"):
        tables.find_tables(str(tmp_path / "gone.npz"))
    monkeypatch.setenv(tables.VARIABLE, str(tmp_path / "gone.npz"))
    with pytest.raises(WeightsMissing, match="CALCZOO_D3_TABLES names the file"):
        tables.find_tables()


def test_other_files_are_no_tables(tmp_path):
    good = {name: np.ones(shape) for name, shape in tables.SHAPES.items()}
    lopsided = np.ones(tables.SHAPES["c6ab"])
    lopsided[1, 2] = 3.0
    for k, (content, message) in enumerate(
        (
            ({}, "no tables of D3"),
            ({**good, "rcov": np.ones(3)}, r"rcov has the shape \(3,\)"),
            ({**good, "r2r4": np.full(95, np.nan)}, "r2r4 holds numbers that are not finite"),
            ({**good, "c6ab": lopsided}, "differ from a to b"),
        )
    ):
        np.savez(tmp_path / f"{k}.npz", **content)
        with pytest.raises(PotentialFileError, match=message):
            tables.read_tables(tmp_path / f"{k}.npz")
    (tmp_path / "text.npz").write_text("nothing")
    with pytest.raises(PotentialFileError, match="no tables of D3"):
        tables.read_tables(tmp_path / "text.npz")


def test_without_the_package(monkeypatch):
    monkeypatch.setattr(nvalchemi, "available", lambda: False)
    with pytest.raises(BackendUnavailable, match=r"pip install 'calczoo\[nvalchemi\]'"):
        get_calculator("d3(pbe, engine=nvalchemi)", device="cpu")


def test_alias_that_the_table_does_not_list():
    with pytest.raises(OptionError, match="does not list 'b-lyp' with bj damping.*give s8, a1, a2"):
        get_calculator("d3(b-lyp, engine=nvalchemi)", device="cpu")


def test_imported_late():
    code = "import sys, calczoo.addons.d3.load, calczoo.addons.d3.nvalchemi; print('nvalchemiops' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
