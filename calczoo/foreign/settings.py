"""Settings of the whole process that foreign packages change: kept inside their calls.

Packages set torch's default dtype, environment variables, warning filters and seeds when they are imported or when a
calculator is made, and some need them so at every call. `Settings` remembers what the construction left behind, puts
it in place for each call and puts the user's own back afterwards, whatever happens. One lock for the process: two
foreign calculators of different threads take turns, because the settings have no other owner.
"""

from __future__ import annotations

import logging
import os
import random
import sys
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

_lock = threading.RLock()


def _renew_lock() -> None:
    """A thread that held the lock does not exist in a forked child."""
    global _lock
    _lock = threading.RLock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_renew_lock)


@dataclass
class _Torch:
    """torch's own: default dtype and device, threads, precision of float32 products, determinism, gradients."""

    dtype: torch.dtype
    device: torch.device
    threads: int
    matmul: str
    deterministic: bool
    warn_only: bool
    grad: bool
    cudnn: tuple[bool, bool, bool]

    @classmethod
    def now(cls) -> _Torch:
        return cls(
            torch.get_default_dtype(),
            torch.get_default_device(),
            torch.get_num_threads(),
            torch.get_float32_matmul_precision(),
            torch.are_deterministic_algorithms_enabled(),
            torch.is_deterministic_algorithms_warn_only_enabled(),
            torch.is_grad_enabled(),
            (torch.backends.cudnn.benchmark, torch.backends.cudnn.deterministic, torch.backends.cudnn.enabled),
        )

    def restore(self, now: _Torch) -> None:
        """Set what differs from `now`."""
        if now.dtype != self.dtype:
            torch.set_default_dtype(self.dtype)
        if now.device != self.device:
            torch.set_default_device(None if self.device.type == "cpu" else self.device)
        if now.threads != self.threads:
            torch.set_num_threads(self.threads)
        if now.matmul != self.matmul:
            torch.set_float32_matmul_precision(self.matmul)
        if (now.deterministic, now.warn_only) != (self.deterministic, self.warn_only):
            torch.use_deterministic_algorithms(self.deterministic, warn_only=self.warn_only)
        if now.grad != self.grad:
            torch.set_grad_enabled(self.grad)
        if now.cudnn != self.cudnn:
            cudnn = torch.backends.cudnn
            cudnn.benchmark, cudnn.deterministic, cudnn.enabled = self.cudnn


@dataclass
class _State:
    """Everything that is kept; random states apart, because they are put back but never put in place."""

    torch: _Torch
    errors: dict[str, Any]
    environ: dict[str, str]
    filters: list[Any]
    loggers: tuple[int, tuple[logging.Handler, ...]]
    select: Any
    """torch.index_select: torch_geometric puts a function of Python there, and what others give to TorchScript then no
    longer compiles ("Arguments for call are not valid")."""

    @classmethod
    def now(cls) -> _State:
        root = logging.getLogger()
        return cls(
            _Torch.now(), np.geterr(), dict(os.environ), list(warnings.filters), (root.level, tuple(root.handlers)),
            torch.index_select,
        )  # fmt: skip

    def restore(self) -> None:
        self.torch.restore(_Torch.now())
        if np.geterr() != self.errors:
            np.seterr(**self.errors)
        _set_environ(self.environ)
        _set_filters(self.filters)
        if torch.index_select is not self.select:
            torch.index_select = self.select
        root = logging.getLogger()
        if (root.level, tuple(root.handlers)) != self.loggers:
            root.setLevel(self.loggers[0])
            root.handlers[:] = self.loggers[1]


def _set_environ(wanted: dict[str, str]) -> None:
    if os.environ == wanted:
        return
    for name in set(os.environ) - set(wanted):
        del os.environ[name]
    os.environ.update(wanted)


def _set_filters(wanted: list[Any]) -> None:
    """In place, and only where something changed: every change makes Python show old warnings again."""
    if warnings.filters != wanted:
        with warnings.catch_warnings():  # its exit tells the C code that filters have changed
            pass
        warnings.filters[:] = wanted


def _random_states(cuda: bool) -> list[Any]:
    states: list[Any] = [random.getstate(), np.random.get_state(), torch.get_rng_state()]
    if cuda and torch.cuda.is_available() and torch.cuda.is_initialized():
        states.append(torch.cuda.get_rng_state_all())
    return states


def _set_random_states(states: list[Any]) -> None:
    random.setstate(states[0])
    np.random.set_state(states[1])
    torch.set_rng_state(states[2])
    if len(states) > 3:
        torch.cuda.set_rng_state_all(states[3])


@dataclass
class Settings:
    """What one foreign calculator wants: remembered from its construction, put in place for its calls."""

    torch: dict[str, Any] = field(default_factory=dict)
    environ: dict[str, str | None] = field(default_factory=dict)
    errors: dict[str, Any] | None = None
    filters: list[Any] | None = None

    @contextmanager
    def construction(self) -> Iterator[None]:
        """Around import and construction: afterwards the process is as before, and this object knows the difference."""
        with _lock:
            before, states = _State.now(), _random_states(cuda=True)
            try:
                with redirect_stdout(sys.stderr):  # stdout may be a command's JSON
                    yield
            finally:
                self._learn(before, _State.now())
                before.restore()
                _set_random_states(states)

    @contextmanager
    def call(self, threads: int | None = None) -> Iterator[None]:
        """Around a call: the calculator's settings, `threads` threads of torch, and the user's settings afterwards."""
        with _lock:
            before, states = _State.now(), _random_states(cuda=False)
            try:
                self._apply(before)
                if threads is not None and threads != torch.get_num_threads():
                    torch.set_num_threads(threads)
                with redirect_stdout(sys.stderr):
                    yield
            finally:
                before.restore()
                _set_random_states(states)

    def _learn(self, before: _State, after: _State) -> None:
        for name in ("dtype", "device", "matmul", "deterministic", "warn_only", "cudnn"):
            if (value := getattr(after.torch, name)) != getattr(before.torch, name):
                self.torch[name] = value
        for key in set(before.environ) | set(after.environ):
            if before.environ.get(key) != after.environ.get(key):
                self.environ[key] = after.environ.get(key)
        if after.errors != before.errors:
            self.errors = after.errors
        if after.filters != before.filters:
            self.filters = after.filters

    def _apply(self, now: _State) -> None:
        if self.torch:
            wanted = _Torch(**{**now.torch.__dict__, **self.torch})
            wanted.restore(now.torch)
        for key, value in self.environ.items():
            if value is None:
                os.environ.pop(key, None)
            else:
                os.environ[key] = value
        if self.errors is not None:
            np.seterr(**self.errors)
        if self.filters is not None:
            _set_filters(self.filters)


@contextmanager
def guarded() -> Iterator[None]:
    """The process's settings are the same after the block as before it. For code of foreign packages outside AseModel,
    such as reading a file of weights."""
    with Settings().construction():
        yield
