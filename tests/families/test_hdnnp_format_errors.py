"""Folders of RuNNer and n2p2 that are wrong: errors with file, line and way out, and mutants of every file."""

from __future__ import annotations

import shutil
import warnings
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from calczoo.core.errors import CalczooError, OptionError, PotentialFileError
from calczoo.families.hdnnp.formats import read_folder, write_folder
from calczoo.families.hdnnp.order import is_sorted
from calczoo.families.hdnnp.params import ElementModel, HdnnpParams
from calczoo.families.hdnnp.topology import Topology, fitting
from families.mutations import mutants
from families.test_hdnnp_formats import UNITS, edit, folder, refused, small

__all__ = ["folder"]
FEW = settings(
    max_examples=120,
    deadline=4000,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


# -- what is wrong, and where --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("old", "new", "match"),
    [
        ("number_of_elements 2", "number_of_elements 3", r"line \d+: number_of_elements 3; expected 2"),
        ("elements Na Cl", "elements Na Qx", "'Qx' is no chemical element"),
        ("elements Na Cl", "elements Na Na", "each element once"),
        ("elements Na Cl\n", "\n", "no keyword 'elements'|'elements'"),
        ("cutoff_type 1 0.0", "", "no keyword 'cutoff_type'"),
        ("cutoff_type 1 0.0", "cutoff_type 9", "from 0 to 8"),
        ("cutoff_type 1 0.0", "cutoff_type 1 1.0", "alpha"),
        ("cutoff_type 1 0.0", "cutoff_type 1\ncutoff_type 2", "second time"),
        ("cutoff_type 1 0.0", "cutofftype 1", "'cutoff_type'"),
        ("global_nodes_short 3 2", "global_nodes_short 3", "with 1 values"),
        ("global_nodes_short 3 2", "global_nodes_short 3 0", "from 1 to"),
        ("global_nodes_short 3 2", "global_nodes_short 2 3", r'weights.011.data: holds \d+ .*"3 2"'),
        ("global_hidden_layers_short 2", "global_hidden_layers_short 1000000000", "from 0 to 50"),
        ("global_activation_short t p l", "global_activation_short t x l", "activation 'x'"),
        ("global_activation_short t p l", "global_activation_short t p t", "RuNNer uses and n2p2 does not"),
        ("global_activation_short t p l", "global_activation_short t", "1 activations"),
        ("atom_energy Na -1.0", "atom_energy Na", "with 1 values"),
        ("atom_energy Na -1.0", "atom_energy Na -1.0\natom_energy Na 2", "second 'atom_energy'"),
        ("atom_energy Na -1.0", "atom_energy K -1.0", "'K'; expected one of Na, Cl"),
        ("atom_energy Na -1.0", "atom_energy Na nan", "'nan' is not a finite number"),
        ("symfunction_short Na 2 Na", "symfunction_short Na 7 Na", "type 7 is not known"),
        ("symfunction_short Na 2 Na", "symfunction_short Na 1 Na", "RuNNer's cutoff functions alone"),
        ("symfunction_short Na 2 Na", "symfunction_short Na 2 K", "'K'"),
        ("symfunction_short Na 2 Na", "symfunction_short Na 2 # ", "type 2 with 0 values; expected 1 neigh"),
        ("symfunction_short Na 2 Na", "symfunction_short Na 2 Na 1.0", "type 2 with 4 values; expected 3: eta rs rc"),
        ("symfunction_short Na 2 Na", "symfunction_shor Na 2 Na", "'symfunction_short'"),
        ("symfunction_short Na 2 Na", "symfunction_short", "element"),
        ("scale_min_short 0.0", "scale_min_short zero", "'zero' is not a finite number"),
        ("scale_min_short 0.0", "mean_energy 1.0", "'mean_energy' without 'conv_energy'"),
        ("scale_min_short 0.0", "mean_energy 1\nconv_energy 0\nconv_length 1", "conv_energy 0"),
        ("scale_min_short 0.0", "use_vdw", "dispersion of RuNNer"),
        ("scale_min_short 0.0", "nn_type_short 2", "1, networks of atoms"),
        ("scale_min_short 0.0", "nnp_type 1", "without electrostatics"),
        ("scale_min_short 0.0", "nnp_generation 5", "generation 2, 3 or 4"),
        ("scale_min_short 0.0", "use_electrostatics\nelectrostatic_type 3", "electrostatic_type 3"),
        ("scale_min_short 0.0", "123", "a keyword"),
        ("scale_min_short 0.0", "scale_min_short 0.0 \0", "NUL byte"),
    ],
)
def test_wrong_keywords(folder, old, new, match):
    edit(folder / "input.nn", old, new)
    text = refused(folder, match)
    assert "input.nn" in text and "expected" in text


def test_unknown_and_training_keywords(folder):
    """Those of training are passed over, with comments of both kinds; others are told of."""
    with open(folder / "input.nn", "a") as f:
        f.write("kalman_eta 0.01 # x\nepochs 10 ! y\n! z\n\tnumber_type 1\n")
    with pytest.warns(UserWarning, match=r"'number_type' \(line \d+\)"):
        read_folder(folder, **UNITS)


def test_wrong_scaling(folder):
    path = folder / "scaling.data"
    text, rows = path.read_text(), path.read_text().splitlines()
    for new, match in (
        ("\n".join(rows[:-1]), "the file ends with"),
        ("\n".join([*rows, rows[-1]]), "a row of scaling after the last function"),
        ("\n".join(r for r in rows if "    3" not in r[:30]), "a row of element"),
        (text.replace("E+00", "E+00x", 1), "is not a finite number"),
        (text.replace(rows[-1].split()[-1], ""), r"line \d+: "),
    ):
        path.write_text(new)
        if "line" in match:
            read_folder(folder, **UNITS)  # sigma is not needed for this kind of scaling
            both = "scale_symmetry_functions\ncenter_symmetry_functions"
            edit(folder / "input.nn", both, "scale_symmetry_functions_sigma")
        assert "scaling.data" in refused(folder, match)
    path.write_text(text)
    low = rows[-1].split()[2]
    edit(folder / "input.nn", "scale_symmetry_functions_sigma", "scale_symmetry_functions")
    path.write_text(text.replace(rows[-1], " ".join([*rows[-1].split()[:2], low, low, low, "1.0"])))
    refused(folder, "of Cl has a range of 0")
    path.write_text(text + "  -1.0 2.0\n")  # RuNNer's energies
    read_folder(folder, **UNITS)


def test_wrong_weights_and_missing_files(folder, tmp_path):
    path = folder / "weights.017.data"
    text = path.read_text()
    for new, match in (
        (text.replace("E-01 a", "E-01x a", 1), r"line \d+: '.*x' is not a finite number"),
        (text[: len(text) // 2], "holds .* numbers, but the network of Cl"),
        ("", "holds 0 numbers"),
        (text.replace("E-01", "E+400", 1), "is not a finite number"),
    ):
        path.write_text(new)
        assert "weights.017.data" in refused(folder, match)
    for name in ("weights.017.data", "scaling.data", "input.nn"):
        (folder / name).unlink()
        assert name in refused(folder, f"{name}: does not exist")
    refused(folder / "nowhere", "does not exist")
    refused(tmp_path / "a\0b", "folder")
    refused(tmp_path, "input.nn: does not exist")
    (tmp_path / "file").write_text("x")
    refused(tmp_path / "file", "is a file")


def test_fourth_generation(tmp_path):
    write_folder(small(4), tmp_path)
    path = tmp_path / "hardness.011.data"
    for text, match in (("", "holds 0 lines"), ("1.0\n2.0\n", "holds 2 lines"), ("x\n", "'x' is not a finite number")):
        path.write_text(text)
        with pytest.raises(PotentialFileError, match=match):
            read_folder(tmp_path)
    path.unlink()
    with pytest.raises(PotentialFileError, match="hardness.011.data: does not exist; expected the atomic hard"):
        read_folder(tmp_path)
    path.write_text("# hardness\n2.5\n")
    assert read_folder(tmp_path).models[0].hardness == 2.5
    text = (tmp_path / "input.nn").read_text()
    for old, new, match in (
        ("fixed_gausswidth Na 0.9", "", "has the width 0"),
        ("screen_electrostatics 2.0 5.0 p2", "screen_electrostatics 5.0 2.0", "screening"),
        ("screen_electrostatics 2.0 5.0 p2", "screen_electrostatics 5.0", "with 1 values"),
        ("screen_electrostatics 2.0 5.0 p2", "screen_electrostatics 2.0 5.0 p9", "'p9'"),
        ("elements Na Cl", "elements Na Cl\nfour_pi_epsilon 0", "four_pi_epsilon 0"),
        ("nnp_generation 4", "", r"weights.011.data.*; hidden layers|weights.011.data: holds"),
    ):
        assert old in text
        (tmp_path / "input.nn").write_text(text.replace(old, new, 1))
        with pytest.raises(PotentialFileError, match=match):
            read_folder(tmp_path)
    (tmp_path / "input.nn").write_text(text)
    with pytest.raises(PotentialFileError, match="holds"):
        read_folder(tmp_path, nodes_charge="4 4")


def test_short_weights_without_the_charge_are_told(tmp_path):
    write_folder(small(4), tmp_path)
    flat = small(2).models[0].short.flat()
    (tmp_path / "weights.011.data").write_text("".join(f"{x}\n" for x in flat))
    with pytest.raises(PotentialFileError, match="a network of generation 2"):
        read_folder(tmp_path)


@pytest.mark.parametrize(("length", "energy"), [(1.0, 1.0), (10.0, 27.211386)])
def test_coulomb_constant_that_is_none_of_nature(length, energy, tmp_path):
    """eV and A without four_pi_epsilon: n2p2 would take 1 eV A; nm and Hartree: 272 eV A."""
    write_folder(small(4, length_unit=length, energy_unit=energy), tmp_path)
    with pytest.warns(UserWarning, match="no four_pi_epsilon"):
        read_folder(tmp_path)


def test_third_generation_of_runner(tmp_path):
    """Charges of their own functions are refused unless they are the same as those of the short range."""
    write_folder(small(3), tmp_path)
    text = (tmp_path / "input.nn").read_text()
    shared_lines = text.replace("symfunction_short", "symfunction_electrostatic")
    lines = "\n".join(x for x in shared_lines.splitlines() if x.startswith("symfunction_elec"))
    for old in ("nnp_gen 3", "use_electrostatics"):
        (tmp_path / "input.nn").write_text(text.replace(f"{old}\n", "") + lines + "\n")
        assert read_folder(tmp_path).generation == 3
    (tmp_path / "input.nn").write_text(text + lines.split("\n")[0] + "\n")
    with pytest.raises(PotentialFileError, match="differ from those of the short range"):
        read_folder(tmp_path)
    (tmp_path / "input.nn").write_text(text)
    scaling = (tmp_path / "scaling.data").read_text()
    (tmp_path / "scalinge.data").write_text(scaling)
    read_folder(tmp_path)
    words = scaling.splitlines()[-1].split()
    (tmp_path / "scalinge.data").write_text(scaling.replace(words[3], f"{float(words[3]) + 1:.16E}"))
    with pytest.raises(PotentialFileError, match="scalinge.data: the ranges differ"):
        read_folder(tmp_path)


@pytest.mark.parametrize(
    "options",
    [{"nodes": "a"}, {"nodes": ""}, {"nodes": "0"}, {"nodes": 1.5}, {"nodes": True}, {"generation": 7}, {"depth": 3}],
)
def test_wrong_overrides(folder, options):
    refused(folder, "nodes|generation|unknown option", OptionError, **options)


def test_layers_that_would_fit():
    counts = [(k, Topology((10, 7), "ttl").count(k)) for k in (24, 36)]
    assert (10, 7) in fitting(counts, 2)
    assert fitting([(25, 381)], 2)[0] == (10, 10)
    assert fitting([(3, 2)], 2) == [] and fitting([], 2) == [] and fitting([(5, 0)], 1) == []


def test_element_energies_are_file_units(folder):
    params = read_folder(folder, **UNITS)
    assert [m.energy for m in params.models] == [-1.0, -2.0] and isinstance(params.models[0], ElementModel)


# -- mutants -------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def originals(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("originals")
    write_folder(small(4), path)
    return path


def check(params: HdnnpParams) -> None:
    """What a loaded potential must be: finite numbers, ordered functions, networks that fit them."""
    assert 0 < params.cutoff <= 50 and params.generation in (2, 3, 4)
    for m in params.models:
        assert is_sorted(m.functions, params.elements) and m.scaling.shape == (len(m.functions), 4)
        assert np.isfinite(m.short.flat()).all()


def mutant_of(originals: Path, place: Path, name: str, data: bytes) -> None:
    if not place.exists():
        shutil.copytree(originals, place)
    (place / name).write_bytes(data)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)
            check(read_folder(place, **UNITS))
    except PotentialFileError as error:
        assert error.file.startswith(str(place)) and error.what and error.expected
    except OptionError as error:
        assert "units" in str(error)
    finally:
        shutil.copy(originals / name, place / name)


NAMES = ("input.nn", "scaling.data", "weights.011.data", "weightse.017.data", "hardness.011.data", "card.json")


@FEW
@given(data=st.data())
@pytest.mark.parametrize("name", NAMES)
def test_mutants(originals, tmp_path_factory, name, data):
    place = originals.parent / f"mutant-{name}"
    mutant_of(originals, place, name, data.draw(mutants((originals / name).read_bytes())))


@FEW
@given(
    key=st.sampled_from(
        ["elements", "cutoff_type", "global_nodes_short", "global_hidden_layers_short", "element_nodes_short",
         "element_activation_short", "element_hidden_layers_short", "symfunction_short", "global_symfunction_short",
         "element_symfunction_short", "screen_electrostatics", "four_pi_epsilon", "nnp_type", "conv_charge", ""]
    ),
    words=st.lists(st.sampled_from(["Na", "Cl", "2", "3", "13", "0.5", "-1", "1e9", "nan", "p2", "t", "l", "6.0", "é"]),
                   max_size=8),
)  # fmt: skip
def test_made_up_lines(originals, key, words):
    text = (originals / "input.nn").read_text() + " ".join([key, *words]) + "\n"
    mutant_of(originals, originals.parent / "made-up", "input.nn", text.encode())


@pytest.mark.parametrize(
    "line",
    [
        "symfunction_short " + "Na " * 100_000,
        "x" * (1 << 21),
        "a\n" * 200_000 + "elements",
        "\n".join(f"word{k}" for k in range(100_000)),
        "global_symfunction_short 3 1 1 1 6\n" * 30_000,
    ],
    ids=["words", "line", "one keyword", "keywords", "functions"],
)
def test_large_garbage_ends_soon(originals, tmp_path, line):
    shutil.copytree(originals, tmp_path / "pot")
    with open(tmp_path / "pot" / "input.nn", "a") as f:
        f.write(line + "\n")
    with warnings.catch_warnings(), pytest.raises(CalczooError):
        warnings.simplefilter("ignore", UserWarning)
        read_folder(tmp_path / "pot", nodes="4 4")
