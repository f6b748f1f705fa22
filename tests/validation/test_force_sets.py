"""Phonons from files and frames of others: phonopy's examples against phonopy itself, LO-TO, broken files."""

from __future__ import annotations

import shutil

import numpy as np
import phonopy
import pytest
from ase import Atoms
from ase.build import bulk
from ase.calculators.emt import EMT
from ase.calculators.singlepoint import SinglePointCalculator
from ase.units import GPa

from calczoo.core.errors import DataError
from calczoo_validation import Evaluator, PropertyFailure, PropertyResult, Status
from calczoo_validation.force_sets import from_force_sets, read_folder
from calczoo_validation.options import General, resolve
from calczoo_validation.phonon_tools import KJ_MOL, frequencies, quiet, thermal_table
from calczoo_validation.properties import grueneisen, phonons, qha
from calczoo_validation.registry import Context
from calczoo_validation.structures import Crystal
from data import shared

EXAMPLES = "data/reference_tables/phonopy_examples"
FOLDERS = (
    "Al2O3", "CaTiO3", "MgB2", "MgO", "NaCl", "NaCl-gruneisen/NaCl-0.995", "NaCl-gruneisen/NaCl-1.00",
    "NaCl-gruneisen/NaCl-1.005", "Si-gruneisen/minus", "Si-gruneisen/orig", "Si-gruneisen/plus", "SnO2", "TiO2-anatase",
    "ZnO",
)  # fmt: skip


AGAIN = ("NaCl-gruneisen/NaCl-0.995", "NaCl-gruneisen/NaCl-1.005", "Si-gruneisen/minus", "Si-gruneisen/plus")


def context(crystal=None, evaluator=None, **options) -> Context:
    settings = resolve(phonons.Options, "smoke", {"band_points": 2, "mesh": 9.0, **options})
    return Context(evaluator, crystal, options=settings, general=resolve(General, "smoke"), mode="smoke")


def report(folder, **options) -> PropertyResult:
    result = PropertyResult("phonons", "Phonons")
    from_force_sets(folder, context(**options), result)
    result.finish()
    return result


def plain(folder, charges: bool):
    """The folder as phonopy itself loads it."""
    disp = folder / "phonopy_disp.yaml"
    cell = {"phonopy_yaml": disp} if disp.exists() else {
        "unitcell_filename": folder / "POSCAR-unitcell", "supercell_matrix": [2, 2, 2],
    }  # fmt: skip
    born = folder / "BORN"
    more = {"born_filename": born} if charges and born.exists() else {}
    with quiet():
        own = phonopy.load(**cell, force_sets_filename=folder / "FORCE_SETS", is_nac=bool(more), log_level=0, **more)
    return own


def test_every_folder_with_forces_is_tested():
    root = shared(EXAMPLES)
    assert sorted(p.parent.relative_to(root).as_posix() for p in root.rglob("FORCE_SETS")) == sorted(FOLDERS)


@pytest.mark.filterwarnings("ignore::UserWarning")  # phonopy's own remark on primitive cells
@pytest.mark.parametrize("name", [pytest.param(n, marks=pytest.mark.slow) if n in AGAIN else n for n in FOLDERS])
def test_phonopy_examples_are_those_of_phonopy(name):
    folder = shared(f"{EXAMPLES}/{name}")
    result, own = report(folder), plain(folder, charges=True)
    points = result.data["special_points"]
    for label, point in points.items():
        assert point["frequencies"] == pytest.approx(frequencies(own, [point["q"]])[0], abs=1e-4), label
    assert (own.nac_params is not None) == (folder / "BORN").exists() == any("_LO" in v.name for v in result.values)
    temperatures = np.array([0.0, 300.0])
    ours = thermal_table(read_folder(folder).use(0), 9.0, temperatures)
    with quiet():
        own.run_mesh(9.0, is_gamma_center=True)
        own.run_thermal_properties(temperatures=temperatures, exclude_gamma_acoustic=True)
    theirs, n = own.thermal_properties, len(own.primitive)
    assert ours["free_energy"] * n / KJ_MOL == pytest.approx(theirs.free_energy, abs=1e-6)
    assert ours["heat_capacity"][1] * n / KJ_MOL * 1e3 == pytest.approx(theirs.heat_capacity[1], abs=1e-5)


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize(
    "name",
    ["NaCl", "ZnO", *(pytest.param(n, marks=pytest.mark.slow) for n in ("Al2O3", "MgO", "SnO2", "TiO2-anatase"))],
)
def test_phonopy_examples_without_charges(name):
    folder = shared(f"{EXAMPLES}/{name}")
    cell, own = read_folder(folder), plain(folder, charges=False)
    cell.phonon.nac_params = None
    q = np.random.default_rng(3).uniform(-0.5, 0.5, (4, 3)).tolist() + [[0.5, 0.0, 0.0], [0.5, 0.5, 0.0]]
    assert frequencies(cell.use(0), q) == pytest.approx(frequencies(own, q), abs=1e-4)


@pytest.mark.parametrize("name", ["NaCl", "MgO"])
def test_splitting_of_a_diatomic_cubic_crystal_is_the_analytic_one(name):
    """w_LO^2 - w_TO^2 = 4 pi e^2 Z^2 / (mu V eps): Lyddane, Sachs, Teller, doi:10.1103/PhysRev.59.673."""
    folder = shared(f"{EXAMPLES}/{name}")
    result, cell = report(folder), read_folder(folder)
    charges = cell.phonon.nac_params
    masses, volume = cell.phonon.primitive.masses, cell.phonon.primitive.volume
    mu = masses[0] * masses[1] / masses.sum() * 1.66053906660e-27
    z2 = np.trace(charges["born"][0]) ** 2 / 9
    coulomb = 1.602176634e-19**2 / 8.8541878128e-12 / (volume * 1e-30)
    gap = coulomb * z2 / (mu * charges["dielectric"][0, 0]) / (2 * np.pi * 1e12) ** 2
    transverse, longitudinal = result["G_4"].value, result["G_LO_6"].value
    assert longitudinal**2 - transverse**2 == pytest.approx(gap, rel=1e-3)
    assert result.data["special_points"]["G"]["frequencies"][5] == pytest.approx(transverse, abs=1e-3)


@pytest.mark.parametrize(("name", "first", "number"), [("Si-QHA", -5, 11), ("Cu-QHA", 0, 11)])
def test_expansion_of_phonopy_examples_is_that_of_phonopy(name, first, number):
    """Energies and thermal properties of the examples through both codes, same equation of state."""
    import yaml
    from phonopy.qha.core import QHA

    folder = shared(f"data/reference_tables/phonopy_examples/{name}")
    volume, energy = np.loadtxt(folder / "e-v.dat").T
    tag = [f"{first + k:02d}" if first == 0 else f"{first + k}" for k in range(number)]
    tables, keep = [], []
    for k, t in enumerate(tag):
        file = folder / f"thermal_properties.yaml-{t}"
        if file.exists():
            data = yaml.load(file.read_text(), Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
            tables.append(data["thermal_properties"])
            keep.append(k)
    grid = np.array([row["temperature"] for row in tables[0]])
    get = {k: np.array([[row[k] for row in t] for t in tables]).T for k in ("free_energy", "entropy", "heat_capacity")}
    units = {"free_energy": 1.0, "entropy": 1e-3, "heat_capacity": 1e-3}
    kj_mol = 0.010364269574711572
    ours = qha.quasi_harmonic(volume[keep], energy[keep], grid, {k: v * units[k] * kj_mol for k, v in get.items()})
    with quiet():
        own = QHA(volume[keep], energy[keep], grid, get["heat_capacity"], get["entropy"], get["free_energy"],
                  eos="birch_murnaghan")  # fmt: skip
        own.run()
    at = int(np.abs(grid - 300).argmin())
    assert ours["volume"][at] == pytest.approx(own.volume_temperature[at], rel=1e-5)
    assert ours["bulk"][at] / GPa == pytest.approx(own.bulk_modulus_temperature[at], rel=1e-3)
    assert 3 * ours["alpha"][at] == pytest.approx(own.thermal_expansion[at], rel=0.02)


@pytest.mark.parametrize("name", ["Si-gruneisen", pytest.param("NaCl-gruneisen", marks=pytest.mark.slow)])
def test_grueneisen_examples_of_phonopy_are_those_of_phonopy(name):
    from phonopy import PhonopyGruneisen

    names = {"Si-gruneisen": ("orig", "plus", "minus"), "NaCl-gruneisen": ("NaCl-1.00", "NaCl-1.005", "NaCl-0.995")}
    root = shared(f"data/reference_tables/phonopy_examples/{name}")
    cells = [read_folder(root / n) for n in names[name]]
    for cell in cells:
        cell.phonon.nac_params = None
    p0, plus, minus = (c.use(0) for c in cells)
    with quiet():
        own = PhonopyGruneisen(p0, plus, minus)
        own.set_mesh([5, 5, 5], is_gamma_center=True)
        q, weights, f, _, theirs = own.get_mesh()
    q, weights, f, theirs = q[1:], weights[1:], f[1:], theirs[1:]  # the first is Gamma
    h = (plus.primitive.volume - minus.primitive.volume) / 2 / p0.primitive.volume
    ours = grueneisen.mode_parameters([p0, plus, minus, plus, minus], q, weights / weights.sum(), h)
    assert np.abs(q).max(axis=1).min() > 0.1
    assert ours["f"] == pytest.approx(f, abs=1e-5)
    assert np.sort(ours["near"], axis=1) == pytest.approx(np.sort(theirs, axis=1), abs=2e-4)


def test_anisotropic_crystal_names_the_direction_of_its_longitudinal_modes():
    result = report(shared(f"{EXAMPLES}/SnO2"))
    names = [v.name for v in result.values if "_LO" in v.name]
    assert any(n.startswith("G_LO_Z") for n in names) and any(not n.startswith("G_LO_Z") for n in names)
    highest = result.data["special_points"]["G"]["frequencies"][-1]
    assert result["G_LO_17"].value < highest + 1.0


def test_cubic_perovskite_is_unstable_where_its_octahedra_turn():
    result = report(shared(f"{EXAMPLES}/CaTiO3"))
    worst = result.data["imaginary"][0]
    assert result.status is Status.UNSTABLE
    assert worst["label"] == "R" and worst["elements"]["O"] > 0.9
    assert result["imaginary_modes"].value == sum(m["modes"] for m in result.data["imaginary"])
    assert result["heat_capacity"].status is Status.UNSTABLE
    assert "leave these modes out" in result.reason


def test_all_atoms_displaced_and_force_constants_of_the_same_crystal_agree(tmp_path):
    """FORCE_SETS with one atom displaced, with all atoms displaced, and FORCE_CONSTANTS, full and compact."""
    folder, q = shared(f"{EXAMPLES}/Si-gruneisen/orig"), [[0.5, 0.5, 0.0], [0.1, 0.2, 0.3]]
    phonon = read_folder(folder).use(0)
    wanted, atoms = frequencies(phonon, q), len(phonon.supercell)
    constants = phonon.force_constants
    rng, rows = np.random.default_rng(5), []
    for _ in range(3):
        moves = rng.normal(scale=0.01, size=(atoms, 3))
        forces = -np.einsum("ijab,jb->ia", constants, moves)
        rows += [" ".join(f"{x:.12f}" for x in (*u, *f)) for u, f in zip(moves, forces, strict=True)]
    shutil.copy(folder / "POSCAR-unitcell", tmp_path)
    (tmp_path / "phonopy_disp.yaml").write_text("supercell_matrix: [[2, 0, 0], [0, 2, 0], [0, 0, 2]]\n")
    (tmp_path / "FORCE_SETS").write_text("\n".join(rows))
    assert frequencies(read_folder(tmp_path).use(0), q) == pytest.approx(wanted, abs=2e-3)
    (tmp_path / "FORCE_SETS").unlink()
    for rows, first in ((constants, range(atoms)), (constants[phonon.primitive.p2s_map], phonon.primitive.p2s_map)):
        lines = [f"{len(rows)} {atoms}"]
        for i, row in zip(first, rows, strict=True):
            for j, block in enumerate(row):
                lines += [f"{i + 1} {j + 1}", *(" ".join(f"{x:.15f}" for x in line) for line in block)]
        (tmp_path / "FORCE_CONSTANTS").write_text("\n".join(lines))
        assert frequencies(read_folder(tmp_path).use(0), q) == pytest.approx(wanted, abs=1e-4)


def _edit(old: str, new: str, count: int = 1):
    return lambda text: text.replace(old, new, count)


@pytest.mark.parametrize(
    ("file", "change", "message"),
    [
        ("FORCE_SETS", lambda t: t[: len(t) // 2], "truncated"),
        ("FORCE_SETS", _edit("64", "32"), "the supercell has 64"),
        ("FORCE_SETS", _edit("0.0000000000\n", "nan\n", 1), "not finite"),
        ("FORCE_SETS", _edit("0.0", "x.0", 1), "no numbers"),
        ("FORCE_SETS", lambda t: "", "expected the number of atoms"),
        ("FORCE_SETS", lambda t: t.replace("\n33\n", "\n99\n"), "moves atom 99"),
        ("FORCE_SETS", lambda t: "\0" + t, "NUL"),
        ("BORN", lambda t: "\n".join(t.splitlines()[:2]), "charge of each distinct atom"),
        ("BORN", _edit("2.43533967", "", 1), "8 numbers instead of 9"),
        ("phonopy_disp.yaml", _edit("supercell_matrix:", "bad: !!python/object/apply:os.abort []\nx:"), "no YAML"),
        ("phonopy_disp.yaml", lambda t: "- 1\n- 2\n", "expected keys"),
        ("phonopy_disp.yaml", _edit("- [   2,", "- [   2.5,"), "whole numbers"),
        ("phonopy_disp.yaml", _edit("- [   2,   0,   0 ]", "- [   900,   0,   0 ]"), "allowed are"),
        ("phonopy_disp.yaml", lambda t: t.replace("symbol: Na", "symbol: Qx"), "unknown element"),
    ],
)  # fmt: skip
def test_a_broken_file_is_named_with_what_is_wrong(tmp_path, file, change, message):
    source = shared(f"{EXAMPLES}/NaCl")
    for name in ("FORCE_SETS", "BORN", "phonopy_disp.yaml"):
        shutil.copy(source / name, tmp_path)
    path = tmp_path / file
    path.write_text(change(path.read_text()))
    with pytest.raises(DataError, match=message) as caught:
        read_folder(tmp_path)
    assert file in str(caught.value)


def test_a_folder_without_a_cell_or_with_too_few_displacements(tmp_path):
    with pytest.raises(DataError, match="no unit cell"):
        read_folder(tmp_path)
    source = shared(f"{EXAMPLES}/NaCl")
    shutil.copy(source / "phonopy_disp.yaml", tmp_path)
    with pytest.raises(DataError, match="has no forces"):
        read_folder(tmp_path)
    lines = (source / "FORCE_SETS").read_text().split("\n")
    (tmp_path / "FORCE_SETS").write_text("\n".join(["64", "1", *lines[2 : 2 + 67]]))
    with pytest.raises(DataError, match="Cl atom 33 is displaced in 0 of 3"):
        read_folder(tmp_path)


def frames_of(moves, atoms: Atoms) -> list[Atoms]:
    out = []
    for move in [np.zeros((len(atoms), 3)), *moves]:
        frame = atoms.copy()
        frame.positions += move
        frame.calc = EMT()
        got = {"energy": frame.get_potential_energy(), "forces": frame.get_forces()}
        frame.calc = SinglePointCalculator(frame, **got)
        out.append(frame)
    return out


@pytest.fixture(scope="module")
def copper_frames():
    atoms = bulk("Cu", "fcc", a=3.59, cubic=True).repeat(2)
    one = np.zeros((32, 3))
    one[7, 2] = 0.01
    everything = np.random.default_rng(2).normal(scale=0.005, size=(4, 32, 3))
    return {"one": frames_of([one], atoms), "all": frames_of(everything, atoms), "crystal": bulk("Cu", "fcc", a=3.59)}


@pytest.mark.parametrize(("kind", "tolerance"), [("one", 1e-6), ("all", 0.03)])
def test_frames_of_displaced_supercells_give_the_phonons_of_the_model(copper_frames, kind, tolerance):
    crystal = Crystal(copper_frames["crystal"], "Cu:fcc", "fcc", np.array([[-1, 1, 1], [1, -1, 1], [1, 1, -1]]))
    frames = [*frames_of([], bulk("Cu", "bcc", a=2.9)), *copper_frames[kind][::-1]]
    ours, model = PropertyResult("phonons", "Phonons"), PropertyResult("phonons", "Phonons")
    phonons.PROPERTY.from_frames(frames, context(crystal), ours)
    phonons.PROPERTY.run(context(crystal, Evaluator(EMT()), lengths=(7.0,)), model)
    assert ours.settings["frames_used"] == len(frames) - 1
    shared_names = [v.name for v in model.values if v.unit == "THz"]
    assert {"X_1", "L_1", "highest"} < set(shared_names)
    for name in shared_names:
        assert ours[name].value == pytest.approx(model[name].value, abs=max(tolerance, 1e-5)), name


def test_frames_that_hold_no_phonons_say_what_is_missing(copper_frames):
    crystal = Crystal(copper_frames["crystal"], "Cu:fcc")
    with pytest.raises(PropertyFailure, match="no frame with forces") as caught:
        phonons.PROPERTY.from_frames(copper_frames["one"][:1], context(crystal), PropertyResult("phonons", ""))
    assert caught.value.status is Status.UNSUPPORTED
