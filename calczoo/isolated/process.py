"""A worker process as seen by the one that starts it: requests, answers, time limits, its end."""

from __future__ import annotations

import contextlib
import json
import mmap
import os
import select
import signal
import subprocess
import tempfile
import threading
import time
import weakref
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..core.errors import BackendUnavailable, OptionError, PropertyNotImplementedError, WorkerError
from .worker import Block

TIMEOUT = 600.0
"""Seconds that a worker may take for its start, or for one call: some packages compile on their first."""
_TAIL = 16384
_SCRIPT = Path(__file__).with_name("worker.py")
_DRIVER = Path(__file__).parents[1] / "foreign" / "driver.py"


def time_limit(given: float | None = None) -> float:
    """Seconds: what is given, else CALCZOO_WORKER_TIMEOUT, else 600; 0 is no limit."""
    text: Any = os.environ.get("CALCZOO_WORKER_TIMEOUT", TIMEOUT) if given is None else given
    try:
        value = float(text)
    except (TypeError, ValueError):
        value = -1.0
    if not value >= 0.0:
        raise OptionError(f"the time limit of a worker is {text!r}; expected seconds, or 0 for none")
    return value or float("inf")


class _Tail:
    """The last lines that a process writes to its stderr, read in a thread of their own so that it never blocks."""

    def __init__(self, stream: Any):
        self._text = bytearray()
        self._thread = threading.Thread(target=self._read, args=(stream,), daemon=True)
        self._thread.start()

    def _read(self, stream: Any) -> None:
        with stream:
            while chunk := os.read(stream.fileno(), 4096):
                self._text += chunk
                del self._text[:-_TAIL]

    def text(self, wait: float = 0.0) -> str:
        """What is there; waits for the end of the stream at most so many seconds."""
        if wait:
            self._thread.join(wait)
        return bytes(self._text).decode(errors="replace").strip()


class Worker:
    """One process, for one calculator; one request at a time (callers hold `lock`).

    python: interpreter of its environment; name: for messages; start: the request that makes the calculator.
    Raises WorkerError with what the process wrote when it dies or does not answer in time.
    """

    def __init__(self, python: str | Path, name: str, start: Mapping[str, Any], timeout: float):
        if os.name != "posix":
            raise BackendUnavailable("isolated calculators need a POSIX system")
        self.name, self.python, self.lock, self.pid = name, str(python), threading.RLock(), os.getpid()
        self._file = _shared_file()
        self._memory: mmap.mmap | None = None
        self._id, self._open, self._rest = 0, 0, b""
        threads = str(start.get("threads", 1))
        try:
            self._process = subprocess.Popen(
                [self.python, "-I", str(_SCRIPT), str(self._file.fileno()), str(_DRIVER)],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                pass_fds=(self._file.fileno(),), env=_environment(threads), bufsize=0,
                start_new_session=True,  # Ctrl-C is for this process; the worker ends when its stdin does
            )  # fmt: skip
        except OSError as error:
            self._file.close()
            raise WorkerError(f"{name}: {self.python} cannot be started: {error}; {self._way_out()}") from error
        assert self._process.stdin is not None
        os.set_blocking(self._process.stdin.fileno(), False)
        self._tail = _Tail(self._process.stderr)
        self._finalizer = weakref.finalize(self, _end, self._process, self._file, self.pid)
        try:
            self.hello = self.request({"op": "start", **start}, timeout)
        except BaseException:
            self.close()
            raise

    @property
    def alive(self) -> bool:
        """False in a forked child, whose parent the worker serves."""
        return self.pid == os.getpid() and self._process.poll() is None and self._finalizer.alive

    def block(self, n_atoms: int, n_structures: int) -> Block:
        """Arrays in the shared memory, which grows where needed."""
        needed = Block.size(n_atoms, n_structures)
        if self._memory is None or len(self._memory) < needed:
            size = max(1 << 16, 1 << (needed - 1).bit_length())
            os.ftruncate(self._file.fileno(), size)
            self._memory = mmap.mmap(self._file.fileno(), size)
        return Block(self._memory, n_atoms, n_structures)

    @property
    def n_bytes(self) -> int:
        return 0 if self._memory is None else len(self._memory)

    def settle(self, timeout: float) -> None:
        """Wait for the answer of a request that was interrupted, so that the memory is free."""
        if self._open:
            self._answer(timeout)

    def request(self, request: dict[str, Any], timeout: float) -> dict[str, Any]:
        """Send and wait. The foreign code's own exceptions come as WorkerError with their traceback, or, where the
        package is missing or lacks a property, as BackendUnavailable and PropertyNotImplementedError."""
        self.settle(timeout)
        self._id += 1
        self._open = self._id
        try:
            self._send(json.dumps({"id": self._id, **request}).encode() + b"\n", timeout)
        except BaseException:  # interrupted in the middle of a line, perhaps
            self.close()
            raise
        answer = self._answer(timeout)
        if answer["ok"]:
            return answer
        text = f"{self.name} failed in its own process: {answer['message']}\n\nthere:\n{answer['traceback'].strip()}"
        if answer["kind"] == "property":
            raise PropertyNotImplementedError(text)
        if answer["kind"] == "import":
            raise BackendUnavailable(f"{text}\n\n{self._way_out()}")
        raise WorkerError(text)

    def _send(self, line: bytes, timeout: float) -> None:
        """Write a request; a process that does not read it hangs as one that does not answer."""
        assert self._process.stdin is not None
        fd, end, rest = self._process.stdin.fileno(), time.monotonic() + timeout, memoryview(line)
        try:
            while len(rest):
                try:
                    rest = rest[os.write(fd, rest) :]
                except BlockingIOError:  # the pipe is full
                    if not _ready(fd, select.POLLOUT, end):
                        self._hangs(timeout)
        except (BrokenPipeError, ValueError) as error:
            self._died(error)

    def _answer(self, timeout: float) -> dict[str, Any]:
        """The answer of the open request; answers of older ones are dropped."""
        assert self._process.stdout is not None
        fd, end = self._process.stdout.fileno(), time.monotonic() + timeout
        while True:
            while b"\n" not in self._rest:
                if not _ready(fd, select.POLLIN, end):
                    self._hangs(timeout)
                if not (chunk := os.read(fd, 65536)):
                    self._died(None)
                self._rest += chunk
            line, self._rest = self._rest.split(b"\n", 1)
            answer = json.loads(line)
            if answer["id"] == self._open:
                self._open = 0
                return answer

    def _died(self, cause: BaseException | None) -> None:
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(5.0)
        code = self._process.poll()
        how = "closed its answers" if code is None else f"ended with exit code {code}"
        if code is not None and code < 0:
            how = f"was ended by signal {signal.Signals(-code).name}" if -code in _SIGNALS else f"got signal {-code}"
            how += " (perhaps for want of memory)" if -code == signal.SIGKILL else ""
        written = self._tail.text(wait=1.0) or "nothing"
        self.close()
        raise WorkerError(
            f"the worker process of {self.name} {how}; the next call starts a new one; {self._way_out()}\n\n"
            f"it wrote:\n{written}"
        ) from cause

    def _hangs(self, timeout: float) -> None:
        """Where it hangs stands in the stack that it prints at a signal."""
        with contextlib.suppress(ProcessLookupError):
            self._process.send_signal(signal.SIGUSR1)
        time.sleep(0.3)
        self._process.kill()
        written = self._tail.text(wait=1.0) or "nothing"
        self.close()
        raise WorkerError(
            f"the worker process of {self.name} has not answered for {timeout:g} s and was ended; allow more with the "
            f"environment variable CALCZOO_WORKER_TIMEOUT (seconds, 0 for no limit)\n\nit wrote:\n{written}"
        )

    def _way_out(self) -> str:
        return f"check its environment with: {self.python} -c 'import ase, numpy' (calczoo env list shows all)"

    def close(self) -> None:
        """End the process, if it has not ended; may be called again."""
        if self._open:  # it is busy and would not listen
            self._process.kill()
        self._finalizer()


_SIGNALS = {s.value for s in signal.Signals}


def _ready(fd: int, event: int, end: float) -> bool:
    """Wait until a pipe can be used or is closed; False at time `end`. It is looked at once more after that: this
    process itself may have been stopped for a while."""
    poll = select.poll()
    poll.register(fd, event)
    while True:
        left = end - time.monotonic()
        if poll.poll(max(0.0, min(left, 1e6)) * 1e3):
            return True
        if left <= 0.0:
            return False


def _end(process: subprocess.Popen, file: Any, pid: int) -> None:
    """Close the pipes, and see that nothing is left of the process; a forked child only lets go of its copies."""
    for stream in (process.stdin, process.stdout):
        with contextlib.suppress(OSError):
            stream.close()
    file.close()
    if os.getpid() != pid:
        process.returncode = 0
        return
    for action, seconds in ((lambda: None, 2.0), (process.terminate, 2.0), (process.kill, None)):
        action()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(seconds)
            return


def _shared_file() -> Any:
    """A file without a name: nothing to clean up, whatever happens to the processes."""
    if hasattr(os, "memfd_create"):
        return os.fdopen(os.memfd_create("calczoo"), "r+b", buffering=0)
    return tempfile.TemporaryFile(buffering=0)


def _environment(threads: str) -> dict[str, str]:
    """Environment variables of the worker: those of this process, without what would lead it to this one's packages."""
    strange = ("PYTHON", "VIRTUAL_ENV", "CONDA_")
    kept = {k: v for k, v in os.environ.items() if not k.startswith(strange)}
    limits = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
    return {**kept, **dict.fromkeys(limits, threads)}
