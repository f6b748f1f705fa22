"""The process of an isolated calculator, and the memory that it shares with the one that started it.

Run as a script by the Python of another environment, this file needs numpy and ase there, the file driver.py beside
it, and the module of the plug-in that makes the calculator; nothing of calczoo is imported.

Requests come as lines of JSON on stdin, answers leave as lines of JSON on what was stdout; whatever the foreign code
prints goes to stderr. Arrays lie in an anonymous file that both processes map, so nothing is left behind by a process
that is killed. The process ends when its stdin does, or when its parent is gone.

    {"id": 0, "op": "start", "worker": {...}, "model": ..., "device": ..., "dtype": ..., "options": {}, "threads": 1}
    {"id": 1, "op": "compute", "sizes": [8], "properties": ["energy", "forces"], "bytes": 65536, "charges": false}
    {"id": 1, "ok": true}    or    {"id": 1, "ok": false, "kind": ..., "message": ..., "traceback": ...}
"""

from __future__ import annotations

import faulthandler
import importlib
import importlib.util
import json
import mmap
import os
import signal
import sys
import threading
import time
import traceback
import types
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

PARENT_CHECK = 2.0
"""Seconds between looks at whether the parent still exists."""


class Block:
    """Arrays of S structures with N atoms in shared memory: what goes in, what comes out.

    numbers (N,), positions (N, 3), cell (S, 3, 3), pbc (S, 3), charge (S,), initial_charges (N,); results by ASE's
    names: energy (S,), energies, charges, magmoms, local_gap_variance (N,), forces (N, 3), stress (S, 3, 3),
    dipole (S, 3), uncertainty (S,).
    """

    def __init__(self, memory: mmap.mmap, n_atoms: int, n_structures: int):
        at = 0
        self.arrays: dict[str, np.ndarray] = {}
        for name, (kind, per, tail) in _LAYOUT.items():
            shape = (n_atoms if per == "atom" else n_structures, *tail)
            self.arrays[name] = np.ndarray(shape, kind, memory, at)
            at += self.arrays[name].nbytes

    def __getitem__(self, name: str) -> np.ndarray:
        return self.arrays[name]

    @staticmethod
    def size(n_atoms: int, n_structures: int) -> int:
        """Bytes."""
        return 8 * (n_atoms * _WORDS["atom"] + n_structures * _WORDS["structure"])


_LAYOUT: dict[str, tuple[type, str, tuple[int, ...]]] = {
    "numbers": (np.int64, "atom", ()),
    "positions": (np.float64, "atom", (3,)),
    "cell": (np.float64, "structure", (3, 3)),
    "pbc": (np.int64, "structure", (3,)),
    "charge": (np.float64, "structure", ()),
    "initial_charges": (np.float64, "atom", ()),
    "energy": (np.float64, "structure", ()),
    "energies": (np.float64, "atom", ()),
    "forces": (np.float64, "atom", (3,)),
    "stress": (np.float64, "structure", (3, 3)),
    "charges": (np.float64, "atom", ()),
    "dipole": (np.float64, "structure", (3,)),
    "magmoms": (np.float64, "atom", ()),
    "local_gap_variance": (np.float64, "atom", ()),
    "uncertainty": (np.float64, "structure", ()),
}

_WORDS = {
    which: sum(int(np.prod(tail)) for _, per, tail in _LAYOUT.values() if per == which)
    for which in ("atom", "structure")
}
"""Numbers of 8 bytes per atom and per structure."""


def load_module(name: str, path: str | Path) -> types.ModuleType:
    """A module by its file, under its own name; the packages above it are empty ones of the same folder, so that their
    code, which may need what is not here, does not run, and its neighbours can still be imported."""
    *above, _ = name.split(".")
    folder = Path(path).resolve().parent
    for level in range(len(above), 0, -1):
        package = ".".join(above[:level])
        if package not in sys.modules:
            sys.modules[package] = types.ModuleType(package)
            sys.modules[package].__path__ = [str(folder)]
        folder = folder.parent
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise ImportError(f"{path} is no module")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


class Server:
    """State of the process: the calculator and the shared memory."""

    def __init__(self, memory_fd: int, driver_file: Path):
        self.fd, self.memory = memory_fd, None
        self.driver_module = load_module("calczoo_driver", driver_file)
        self.driver: Any = None

    def start(self, request: dict[str, Any]) -> dict[str, Any]:
        """Import the plug-in's module and make the calculator."""
        module = load_module(request["worker"]["name"], request["worker"]["file"])
        calculator = module.make(request["model"], _device(request["device"]), request["dtype"], **request["options"])
        if "torch" in sys.modules:
            sys.modules["torch"].set_num_threads(int(request["threads"]))
        self.driver = self.driver_module.Driver(calculator)
        return {"facts": dict(getattr(calculator, "facts", None) or {}), "python": sys.executable}

    def compute(self, request: dict[str, Any]) -> dict[str, Any]:
        """Evaluate the structures that lie in the shared memory."""
        from ase import Atoms

        if self.memory is None or len(self.memory) != request["bytes"]:
            self.memory = mmap.mmap(self.fd, request["bytes"])
        sizes = request["sizes"]
        block = Block(self.memory, sum(sizes), len(sizes))
        many, a = [], 0
        for s, n in enumerate(sizes):
            part = slice(a, a + n)
            atoms = Atoms(
                numbers=block["numbers"][part], positions=block["positions"][part], cell=block["cell"][s],
                pbc=block["pbc"][s].astype(bool),
            )  # fmt: skip
            total = float(block["charge"][s])
            atoms.info["charge"] = int(total) if total.is_integer() else total
            if request["charges"]:
                atoms.set_initial_charges(block["initial_charges"][part])
            many.append(atoms)
            a += n
        self._store(block, self.driver.evaluate(many, request["properties"]), sizes)
        return {}

    @staticmethod
    def _store(block: Block, rows: Sequence[dict[str, Any]], sizes: Sequence[int]) -> None:
        a = 0
        for s, (row, n) in enumerate(zip(rows, sizes, strict=True)):
            for name, value in row.items():
                block[name][slice(a, a + n) if _LAYOUT[name][1] == "atom" else s] = value
            a += n

    def answer(self, request: dict[str, Any]) -> dict[str, Any]:
        """What to send back; a failure of foreign code is an answer too."""
        try:
            done = self.start(request) if request["op"] == "start" else self.compute(request)
            return {"id": request["id"], "ok": True, **done}
        except Exception as error:  # whatever foreign code raises
            from ase.calculators.calculator import PropertyNotImplementedError

            kind = next(
                (k for c, k in ((PropertyNotImplementedError, "property"), (ImportError, "import"))
                 if isinstance(error, c)), "other",
            )  # fmt: skip
            message = f"{type(error).__name__}: {error}"
            trace = traceback.format_exc()
            return {"id": request["id"], "ok": False, "kind": kind, "message": message, "traceback": trace}


def _device(name: str) -> str:
    """ "auto" is CUDA where this environment's torch has it."""
    if name != "auto":
        return name
    if importlib.util.find_spec("torch") is None:
        return "cpu"
    return "cuda" if importlib.import_module("torch").cuda.is_available() else "cpu"


def _watch(parent: int) -> None:
    """End the process when its parent is gone, even in the middle of foreign code."""
    while os.getppid() == parent:
        time.sleep(PARENT_CHECK)
    os._exit(1)


def main(memory_fd: int, driver_file: Path) -> None:
    """Answer requests until there are no more."""
    faulthandler.enable()
    faulthandler.register(signal.SIGUSR1, all_threads=True)
    requests, answers = os.fdopen(os.dup(0), "rb"), os.dup(1)
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.dup2(2, 1)
    sys.stdout = sys.stderr
    threading.Thread(target=_watch, args=(os.getppid(),), daemon=True).start()
    server = Server(memory_fd, driver_file)
    for line in requests:
        text = memoryview(json.dumps(server.answer(json.loads(line))).encode() + b"\n")
        while len(text):
            text = text[os.write(answers, text) :]


if __name__ == "__main__":
    main(int(sys.argv[1]), Path(sys.argv[2]))
