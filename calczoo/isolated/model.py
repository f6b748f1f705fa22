"""IsolatedModel: a foreign calculator in a process of its own, of another environment, as a Model of the zoo."""

from __future__ import annotations

import importlib.util
import json
import os
import threading
import weakref
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ..core.card import Card
from ..core.errors import OptionError, PluginError
from ..core.system import System
from ..core.threads import thread_count
from ..foreign.model import ForeignModel, Make
from .process import Worker, time_limit

_workers: weakref.WeakValueDictionary[str, Worker] = weakref.WeakValueDictionary()
_lock = threading.RLock()


def _after_fork() -> None:
    """Workers serve the parent; a lock may be held by a thread that is not there."""
    global _lock, _workers
    _lock, _workers = threading.RLock(), weakref.WeakValueDictionary()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


class IsolatedModel(ForeignModel):
    """Model whose calculator is made by `make` in a worker process that `python` runs.

    python: interpreter of an environment that has numpy, ase and the foreign package. timeout: seconds for the start
    and for each call (None: CALCZOO_WORKER_TIMEOUT, or 600; 0: no limit). The process is started at first use; models
    that are made alike share it, and copies, pickled ones too, are such. After an error the next call starts a new one.
    Usable as a context, which ends with `close`. The other arguments are those of ForeignModel.
    """

    def __init__(
        self,
        card: Card,
        numbers: Iterable[int] | None,
        make: Make,
        python: str | Path,
        outputs: Iterable[str] = ("energy", "forces", "virial"),
        dtype: str | torch.dtype = "float64",
        device: str | torch.device = "cpu",
        timeout: float | None = None,
    ):
        super().__init__(card, numbers, outputs, dtype, device)
        self.make, self.python, self.timeout = make, str(python), timeout
        time_limit(timeout)
        self._worker: Worker | None = None

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_worker": None}

    def __deepcopy__(self, memo: dict) -> IsolatedModel:
        other = object.__new__(type(self))
        memo[id(self)] = other
        other.__dict__.update(self.__getstate__())
        return other

    def __enter__(self) -> IsolatedModel:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the process, which ends with the last model that uses it."""
        self._worker = None

    @property
    def worker(self) -> Worker:
        """The running process, started where there is none."""
        worker = self._worker
        if worker is None or not worker.alive:
            start = self._start_request()
            key = json.dumps([self.python, start, _state_of(self.make.model)])
            with _lock:
                worker = _workers.get(key)
                if worker is None or not worker.alive:
                    worker = Worker(self.python, self._card.name, start, time_limit(self.timeout))
                    _workers[key] = worker
                self._worker = worker
        return worker

    def facts(self) -> Mapping[str, Any]:
        return self.worker.hello["facts"]

    def rows(self, system: System, properties: Sequence[str]) -> list[dict[str, Any]]:
        limit = time_limit(self.timeout)
        while True:
            worker = self.worker
            with worker.lock:
                if worker.alive:  # it may have ended while another thread held the lock
                    return self._asked(worker, system, properties, limit)

    def _asked(
        self, worker: Worker, system: System, properties: Sequence[str], limit: float
    ) -> list[dict[str, Any]]:
        """Put the structures into the shared memory, ask, and copy the results out of it."""
        worker.settle(limit)
        sizes = np.diff(system.first).tolist()
        block = worker.block(system.n_atoms, system.n_systems)
        for name in ("numbers", "positions", "cell", "pbc"):
            block[name][...] = getattr(system, name).detach().cpu().numpy()
        block["charge"][...] = 0.0 if system.charge is None else system.charge.cpu().numpy()
        charged = system.initial_charges is not None
        if system.initial_charges is not None:
            block["initial_charges"][...] = system.initial_charges.cpu().numpy()
        request = {"op": "compute", "sizes": sizes, "properties": list(properties), "bytes": worker.n_bytes}
        worker.request({**request, "charges": charged}, limit)
        return _rows({name: block[name].copy() for name in properties}, system)

    def _start_request(self) -> dict[str, Any]:
        make = self.make
        request = {
            "worker": {"name": make.worker, "file": worker_file(make.worker)},
            "model": make.model,
            "device": make.device,
            "dtype": make.dtype,
            "options": dict(make.options),
            "threads": self.threads or thread_count(None),
        }
        try:
            return json.loads(json.dumps(request, default=_as_text))
        except TypeError as error:
            raise OptionError(f"{self._card.name}: model and options cannot be sent to a process: {error}") from error


def _rows(held: dict[str, np.ndarray], system: System) -> list[dict[str, Any]]:
    """Cut the arrays of all structures into one row each; what a structure does not have is left out."""
    pbc = system.pbc.cpu().numpy()
    rows = []
    for s, (a, b) in enumerate(zip(system.first[:-1], system.first[1:], strict=True)):
        row: dict[str, Any] = {}
        for name, array in held.items():
            if name in ("energy", "stress", "dipole", "uncertainty"):
                if not (name == "stress" and not pbc[s].all() or name == "dipole" and pbc[s].any()):
                    row[name] = array[s]
            else:
                row[name] = array[a:b]
        rows.append(row)
    return rows


def _state_of(model: Any) -> list[int] | None:
    """Of a model that is a file: tells whether it has been written anew since a process read it."""
    try:
        state = os.stat(model) if isinstance(model, (str, Path)) else None
    except (OSError, ValueError):  # a name, not a file
        return None
    return state and [state.st_size, state.st_mtime_ns, state.st_ino]


def _as_text(value: Any) -> str:
    if isinstance(value, Path):
        return str(value)
    raise TypeError(f"{type(value).__name__} is neither text nor a number")


def worker_file(module: str) -> str:
    """File of a plug-in's worker module; packages above it are imported, the module is not."""
    try:
        spec = importlib.util.find_spec(module)
    except ImportError as error:
        raise PluginError(f"the worker module {module} cannot be found: {error}") from error
    if spec is None or not spec.origin or not Path(spec.origin).is_file():
        raise PluginError(f"the worker module {module} has no file")
    return spec.origin
