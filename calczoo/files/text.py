"""A bounded reader for text parameter files. Nothing here trusts a header: sizes come from the file itself."""

from __future__ import annotations

import hashlib
import math
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

from ..core.errors import PotentialFileError

MAX_BYTES = 1 << 30
"""Files above 1 GiB are refused."""
MAX_LINE = 1 << 20
"""Lines above 1 MiB are refused."""


def find_file(name: str | os.PathLike, expected: str, beside: str | os.PathLike | None = None) -> Path:
    """Path of an existing regular file; `beside`: a file whose folder is searched for relative names.

    Raises PotentialFileError naming the missing file.
    """
    try:
        path = Path(name).expanduser()
        if beside is not None and not path.is_absolute():
            path = Path(beside).parent / path
        if path.is_file():
            return path
    except (OSError, ValueError, RuntimeError, TypeError) as error:  # RuntimeError: `~nobody`; TypeError: no name
        raise PotentialFileError(str(name)[:200], None, f"not a usable file name ({error})", expected) from error
    what = "is a folder" if path.is_dir() else "does not exist"
    raise PotentialFileError(path, None, what, expected)


def sha256(path: Path) -> str:
    """Hex digest of a file."""
    with open(path, "rb") as f:
        return hashlib.file_digest(f, "sha256").hexdigest()


def read_lines(path: Path, max_bytes: int = MAX_BYTES) -> list[str]:
    """All lines without their ends. Undecodable bytes raise PotentialFileError (they are kept in no comment either,
    because a binary file read as text would otherwise fail far from its cause); latin-1 author names are accepted."""
    try:
        size = path.stat().st_size
        if size > max_bytes:
            raise PotentialFileError(path, None, f"is {size} bytes long", f"at most {max_bytes} bytes")
        raw = path.read_bytes()
    except OSError as error:
        raise PotentialFileError(path, None, f"cannot be read ({error.strerror})", "a readable text file") from error
    if b"\0" in raw:
        line = raw[: raw.index(b"\0")].count(b"\n") + 1
        raise PotentialFileError(path, line, "holds a NUL byte", "a text file")
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError:
        text = raw.decode("latin-1")
    lines = text.replace("\r\n", "\n").replace("\r", "\n").split("\n")
    for k, line in enumerate(lines):
        if len(line) > MAX_LINE:
            raise PotentialFileError(path, k + 1, f"is {len(line)} characters long", f"lines of at most {MAX_LINE}")
    if lines and not lines[-1]:
        lines.pop()
    return lines


class Tokens:
    """Whitespace-separated tokens of a file with their line numbers; `comment` starts a comment in any line.

    Every `next_*` raises PotentialFileError naming line, what was found and what was expected.
    """

    def __init__(self, path: Path, lines: list[str], start: int = 0, comment: str = "#"):
        self.path, self.lines = path, lines
        self._items: list[tuple[str, int]] = []
        for k in range(start, len(lines)):
            body = lines[k].split(comment, 1)[0] if comment else lines[k]
            self._items += [(t, k + 1) for t in body.split()]
        self._at = 0

    def __len__(self) -> int:
        """Tokens left."""
        return len(self._items) - self._at

    def __iter__(self) -> Iterator[tuple[str, int]]:
        """(token, line) of the tokens left; does not consume them."""
        return iter(self._items[self._at :])

    @property
    def line(self) -> int:
        """Line of the next token, or of the end of the file."""
        return self._items[self._at][1] if len(self) else len(self.lines)

    def fail(self, what: str, expected: str, line: int | None = None):
        raise PotentialFileError(self.path, line or self.line, what, expected)

    def next(self, expected: str) -> str:
        if not len(self):
            self.fail("the file ends", expected)
        token = self._items[self._at][0]
        self._at += 1
        return token

    def next_float(self, expected: str) -> float:
        line, token = self.line, self.next(expected)
        return parse_float(token, self.path, line, expected)

    def next_int(self, expected: str, low: int = 0, high: int = 10**9) -> int:
        line, token = self.line, self.next(expected)
        return parse_int(token, self.path, line, expected, low, high)

    def next_floats(self, count: int, expected: str) -> list[float]:
        """`count` finite numbers; the count is compared with what is left before anything is allocated."""
        if count > len(self):
            self.fail(f"only {len(self)} values are left", f"{count} values: {expected}", len(self.lines))
        path = self.path
        items = self._items[self._at : self._at + count]
        self._at += count
        try:
            values = [float(t) for t, _ in items]
        except ValueError:
            values = [parse_float(t, path, line, expected) for t, line in items]
        if not all(map(math.isfinite, values)) or any("_" in t or not t.isascii() for t, _ in items):
            values = [parse_float(t, path, line, expected) for t, line in items]
        return values


def parse_float(token: str, path: Path, line: int | None, expected: str) -> float:
    """A finite decimal number (Fortran's D exponent accepted)."""
    text = token.replace("D", "E").replace("d", "e")
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if "_" in token or not math.isfinite(value) or not token.isascii():
        raise PotentialFileError(path, line, f"'{token[:60]}' is not a finite number", expected)
    return value


def parse_int(token: str, path: Path, line: int | None, expected: str, low: int = 0, high: int = 10**9) -> int:
    """A whole number within [low, high]."""
    try:
        value = int(token)
    except ValueError:
        value = None
    if value is None or "_" in token or not token.isascii() or not low <= value <= high:
        raise PotentialFileError(path, line, f"'{token[:60]}' is not a whole number from {low} to {high}", expected)
    return value


def write_atomic(path: str | os.PathLike, text: str | bytes) -> Path:
    """Write a file so that no reader ever sees half of it: temporary file beside it, then rename."""
    target = Path(path)
    raw = text.encode("utf-8") if isinstance(text, str) else text
    handle, temporary = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.")
    try:
        with os.fdopen(handle, "wb") as f:
            f.write(raw)
            f.flush()
            os.fsync(f.fileno())
        os.chmod(temporary, 0o644)
        os.replace(temporary, target)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
    return target
