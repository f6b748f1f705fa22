"""Settings of the whole process that the package changes.

`nequip.utils.global_state.set_global_state` must have run before a model is built or loaded, does most of its work
only the first time in a process, and leaves behind: torch's default dtype, e3nn's optimisation defaults, two flags of
torch._dynamo, TorchScript's fusion strategy, the sharing strategy of torch.multiprocessing and, with CUDA, the
precision of float32 products. Here it runs in full for every model, and what was there before is put back.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

import torch


@dataclass
class State:
    """What is changed, at one moment."""

    dtype: torch.dtype
    fusion: list[tuple[str, int]]
    sharing: str
    dynamo: dict[str, Any]
    e3nn: dict[str, Any]
    products: list[tuple[Any, str, Any]] = field(default_factory=list)

    @classmethod
    def now(cls) -> State:
        import e3nn
        import torch._dynamo

        fusion = torch.jit.set_fusion_strategy([("DYNAMIC", 10)])  # there is no other way to read it
        torch.jit.set_fusion_strategy(fusion)
        return cls(
            torch.get_default_dtype(),
            fusion,
            torch.multiprocessing.get_sharing_strategy(),
            {n: getattr(torch._dynamo.config, n) for n in _DYNAMO},
            dict(e3nn.get_optimization_defaults()),
            list(_products()),
        )

    def restore(self) -> None:
        import e3nn
        import torch._dynamo

        torch.set_default_dtype(self.dtype)
        torch.jit.set_fusion_strategy(self.fusion)
        if torch.multiprocessing.get_sharing_strategy() != self.sharing:
            torch.multiprocessing.set_sharing_strategy(self.sharing)
        for name, value in self.dynamo.items():
            if getattr(torch._dynamo.config, name) != value:
                setattr(torch._dynamo.config, name, value)
        if e3nn.get_optimization_defaults() != self.e3nn:
            e3nn.set_optimization_defaults(**self.e3nn)
        for owner, name, value in self.products:
            setattr(owner, name, value)


_DYNAMO = ("capture_dynamic_output_shape_ops", "capture_scalar_outputs")


def _products() -> Iterator[tuple[Any, str, Any]]:
    """Precision of float32 products, which the package sets where there is CUDA only."""
    if not torch.cuda.is_available():
        return
    backends = torch.backends
    for owner in (backends, backends.cuda.matmul, backends.cudnn, backends.cudnn.conv, backends.cudnn.rnn):
        with suppress(AttributeError, RuntimeError):  # not every version of torch has all of them
            yield owner, "fp32_precision", owner.fp32_precision


class Settings:
    """What one model wants: remembered from its construction, put in place for its calls."""

    def __init__(self) -> None:
        self.wanted: State | None = None

    @contextmanager
    def construction(self) -> Iterator[None]:
        import nequip.utils.global_state as package

        before = State.now()
        package._GLOBAL_STATE_INITIALIZED = False  # otherwise the second model of a process would not get them
        try:
            package.set_global_state()
            yield
            self.wanted = State.now()
        finally:
            before.restore()

    @contextmanager
    def call(self) -> Iterator[None]:
        before = State.now()
        try:
            if self.wanted is not None:
                self.wanted.restore()
            yield
        finally:
            before.restore()
