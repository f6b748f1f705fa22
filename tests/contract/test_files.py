"""Parameter files that are missing, cut, edited or garbage: a valid model, or PotentialFileError."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from calczoo import get_calculator
from calczoo.core.errors import PotentialFileError
from contract.examples import EXAMPLES, Example
from data import ROOT

MEMORY = 3 << 30
"""Bytes of address space the child may use; a header that is believed takes more."""


def copies(example: Example, folder: Path) -> Path:
    """Copies of the example's files, companions included."""
    for path in example.paths():
        (folder / path.name).write_bytes(path.read_bytes())
    return folder


def test_copy_is_the_same_model(example: Example, tmp_path):
    atoms = example.structure()
    copy = example.calculator(copies(example, tmp_path))
    assert copy.get_potential_energy(atoms) == example.calculator().get_potential_energy(atoms)


def test_missing_files_are_named(example: Example, tmp_path):
    """The main file, and each of its companions."""
    copies(example, tmp_path)
    for name in example.files:
        kept = (tmp_path / name).read_bytes()
        (tmp_path / name).unlink()
        with pytest.raises(PotentialFileError, match=name.replace(".", r"\.")):
            example.calculator(tmp_path)
        (tmp_path / name).write_bytes(kept)


def test_a_folder_or_a_strange_name_is_no_file(example: Example, tmp_path):
    from calczoo import get_calculator

    (tmp_path / "empty").mkdir()
    for name in (tmp_path / "empty", tmp_path / "no\0name", tmp_path / ("x" * 300), "no_such_model_or_file"):
        with pytest.raises(PotentialFileError):
            get_calculator(**{**example.arguments(), "model": name})


def mutants(text: str, seed: int) -> Iterator[bytes]:
    """Cuts, lines dropped and doubled, tokens swapped, bytes flipped, and files of quite another kind."""
    rng = np.random.default_rng(seed)
    raw, lines = text.encode(), text.split("\n")
    yield from (b"", b"\n", b"\0" * 100, b"\xff\xfe" + raw[:200], bytes(rng.integers(0, 256, 4000, dtype=np.uint8)))
    yield from (b"1 " * 1000, b"<xml/>", b"{}", b"#" * 1000, raw + b"\n1 2 3 garbage\n", raw * 2)
    for fraction in (0.01, 0.1, 0.3, 0.5, 0.9, 0.99):
        yield raw[: int(len(raw) * fraction)]
    big = len(raw) > 200_000  # tables of many thousand numbers, one as good as the other
    values = ("nan", "-1", "1e9", "x") if big else ("nan", "inf", "-1", "0", "1e9", "9" * 20, "x", "²", "1_0")
    # the first lines hold the counts: every one of their tokens is tried
    for k in [*range(min(8 if big else 12, len(lines))), *rng.integers(0, len(lines), 4)]:
        yield "\n".join(lines[:k] + lines[k + 1 :]).encode()
        yield "\n".join(lines[: k + 1] + lines[k:]).encode()
        tokens = lines[k].split()
        for t in range(min(len(tokens), 6)):
            for new in values:
                changed = [*tokens[:t], new, *tokens[t + 1 :]]
                yield "\n".join([*lines[:k], " ".join(changed), *lines[k + 1 :]]).encode()
    for _ in range(8 if big else 30):
        flipped = bytearray(raw)
        flipped[rng.integers(len(raw))] ^= 1 << int(rng.integers(8))
        yield bytes(flipped)


def read_mutants(example: Example, folder: Path) -> dict[str, list]:
    """In the child: how many mutants were read and refused, and those that gave an error of another kind."""
    from calczoo import describe

    counts, wrong = {"read": 0, "refused": 0}, []
    for name in example.files:
        original = (folder / name).read_bytes()
        for k, mutant in enumerate(mutants(original.decode("latin-1"), len(name))):
            (folder / name).write_bytes(mutant)
            try:
                describe(**example.arguments(folder))
                counts["read"] += 1
            except PotentialFileError as error:
                counts["refused"] += 1
                if not (error.file and error.what and error.expected):
                    wrong.append([name, k, f"a message without file, finding or expectation: {error}"])
            except Exception as error:  # whatever else comes is the failure that this test looks for
                wrong.append([name, k, f"{type(error).__name__}: {error}"[:300]])
        (folder / name).write_bytes(original)
    return {"wrong": wrong, **counts}


CHILD = """
import json, resource, sys
from pathlib import Path
resource.setrlimit(resource.RLIMIT_CPU, (200, 200))
from contract.examples import EXAMPLES
from contract.test_files import MEMORY, read_mutants
example = EXAMPLES[int(sys.argv[1])]
import numpy
resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
print(json.dumps(read_mutants(example, Path(sys.argv[2]))))
"""


def test_mutated_files(example: Example, tmp_path):
    """A few hundred mutants of each file, in a process with limited memory and time."""
    copies(example, tmp_path)
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path)), "OPENBLAS_NUM_THREADS": "1"}
    number = str(EXAMPLES.index(example))
    command = [sys.executable, "-c", CHILD, number, str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True)
    assert done.returncode == 0, f"the reader was killed: {done.stderr[-2000:]}"
    found = json.loads(done.stdout.splitlines()[-1])
    assert not found["wrong"], f"{len(found['wrong'])} mutants: {found['wrong'][:5]}"
    assert found["refused"] > 50


# an example with options (a table and its pairs) needs more than a path
@pytest.mark.parametrize("case", [e for e in EXAMPLES if e.files and not e.options], ids=str)
def test_a_path_alone_is_enough_where_its_suffix_tells(case):
    """get_calculator("folder/Ta06A.snap"), as text or as a Path, with no family named."""
    path = case.paths()[0]
    atoms = case.structure()
    energies = []
    for name in (str(path), path):
        calc = get_calculator(name, elements=case.elements, device="cpu", threads=1)
        energies.append(calc.evaluate([atoms])[0]["energy"])
    assert energies[0] == energies[1] == case.calculator().evaluate([atoms])[0]["energy"]
