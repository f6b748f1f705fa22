"""Progress bars that appear only when the work takes longer than two seconds."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

PATIENCE = 2.0  # seconds


class Progress:
    """At most two bars on stderr: the properties, and the structures or steps within one."""

    def __init__(self, enabled: bool = True):
        self.enabled = enabled
        self._started = time.monotonic()
        self._bar = None
        self._outer = self._inner = None
        self._counted = False
        self._state = {"outer": ["validating", 0, None], "inner": ["", 0, None]}

    def __enter__(self) -> Progress:
        self._started = time.monotonic()
        return self

    def __exit__(self, *_) -> None:
        if self._bar is not None:
            self._bar.stop()
            self._bar = None

    def outer(self, description: str, done: int, total: int) -> None:
        self._state["outer"] = [description, done, total]
        self._state["inner"] = ["", 0, None]
        self._draw()

    @contextmanager
    def step(self, description: str, total: int | None = None) -> Iterator[None]:
        """Name the work inside a property; `update` moves its bar."""
        self._state["inner"] = [description, 0, total]
        self._counted = False
        self._draw()
        yield
        self._state["inner"] = ["", 0, None]
        self._draw()

    def advance(self, amount: int) -> None:
        """Count evaluated structures; ignored in a step that reports its own progress by `update`."""
        if not self._counted:
            self._state["inner"][1] += amount
            _, done, total = self._state["inner"]
            if total is not None and done > total:  # the step announced something else than structures
                self._state["inner"][2] = None
        self._draw()

    def update(self, done: int, total: int) -> None:
        self._counted = True
        self._state["inner"][1:] = [done, total]
        self._draw()

    def _draw(self) -> None:
        if not self.enabled:
            return
        if self._bar is None:
            if time.monotonic() - self._started < PATIENCE:
                return
            self._start()
        for task, key in ((self._outer, "outer"), (self._inner, "inner")):
            description, done, total = self._state[key]
            self._bar.update(task, description=description, completed=done, total=total, visible=bool(description))

    def _start(self) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn
        from rich.progress import Progress as RichProgress

        self._bar = RichProgress(
            TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(),
            console=Console(stderr=True), transient=True,
        )  # fmt: skip
        self._outer = self._bar.add_task("validating", total=None)
        self._inner = self._bar.add_task("", total=None, visible=False)
        self._bar.start()
