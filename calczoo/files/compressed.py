"""Files that may be compressed by xz or gzip, told by their first bytes; sizes are bounded on both sides."""

from __future__ import annotations

import gzip
import hashlib
import lzma
import os
import zlib
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path

from ..core.errors import PotentialFileError
from .text import MAX_BYTES, write_atomic

XZ_MEMORY = 256 << 20
"""Bytes that unpacking may use beside its output; `xz -9` needs 65 MiB."""
CHUNK = 1 << 20
SUFFIXES = (".xz", ".gz")


def read_bytes(path: Path, max_bytes: int = MAX_BYTES) -> tuple[bytes, str]:
    """Unpacked content of a file and the sha256 of the file as it lies there; the file is read once.

    Raises PotentialFileError for an unreadable, damaged or oversized file.
    """
    try:
        size = path.stat().st_size
        if size > max_bytes:
            raise PotentialFileError(path, None, f"is {size} bytes long", f"at most {max_bytes} bytes")
        raw = path.read_bytes()
    except OSError as error:
        raise PotentialFileError(path, None, f"cannot be read ({error.strerror})", "a readable file") from error
    return unpack(path, raw, max_bytes), hashlib.sha256(raw).hexdigest()


def unpack(path: Path, raw: bytes, max_bytes: int = MAX_BYTES) -> bytes:
    """Content of `raw`, which may be xz, gzip or plain; `path` is for messages."""
    if not _kind(raw):
        return raw
    out = b"".join(_bounded(path, BytesIO(raw), max_bytes))
    return out


def chunks(path: Path, max_bytes: int = 64 * MAX_BYTES) -> Iterator[bytes]:
    """The unpacked content of a file in pieces of at most 1 MiB, for files that are not held as a whole."""
    try:
        with open(path, "rb") as f:
            yield from _bounded(path, f, max_bytes)
    except OSError as error:
        raise PotentialFileError(path, None, f"cannot be read ({error.strerror})", "a readable file") from error


def pack(name: str | os.PathLike, data: bytes) -> bytes:
    """`data` as a file of that name holds it: xz or gzip by the suffix, else unchanged. Equal data give equal bytes."""
    suffix = Path(name).suffix.lower()
    if suffix == ".xz":
        return lzma.compress(data)
    return gzip.compress(data, mtime=0) if suffix == ".gz" else data


def write_packed(path: str | os.PathLike, text: str | bytes) -> Path:
    """`write_atomic`, packed as the name says."""
    return write_atomic(path, pack(path, text.encode("utf-8") if isinstance(text, str) else text))


def bare_name(path: str | os.PathLike) -> str:
    """File name without .xz or .gz."""
    name = Path(path).name
    return name[: -len(Path(name).suffix)] if Path(name).suffix.lower() in SUFFIXES else name


def _kind(head: bytes) -> str:
    return "xz" if head[:6] == b"\xfd7zXZ\0" else "gzip" if head[:2] == b"\x1f\x8b" else ""


def _bounded(path: Path, stream, max_bytes: int) -> Iterator[bytes]:
    """Pieces of the unpacked stream; errors of the packed format become PotentialFileError."""
    head = stream.read(6)
    stream.seek(0)
    kind, total = _kind(head), 0
    pieces = {"": _plain, "gzip": _gunzip, "xz": _unxz}[kind](stream)
    try:
        for piece in pieces:
            total += len(piece)
            if total > max_bytes:
                raise PotentialFileError(path, None, f"holds more than {max_bytes} bytes", f"at most {max_bytes} bytes")
            yield piece
    except (lzma.LZMAError, EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise PotentialFileError(path, None, f"is damaged ({error})", f"a complete {kind} file") from error


def _plain(stream) -> Iterator[bytes]:
    while piece := stream.read(CHUNK):
        yield piece


def _gunzip(stream) -> Iterator[bytes]:
    with gzip.GzipFile(fileobj=stream) as f:
        yield from _plain(f)


def _unxz(stream) -> Iterator[bytes]:
    """xz streams one after another; zero bytes between and after them are the padding that the format allows."""
    raw = stream.read(CHUNK)
    while raw:
        unpacker = lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=XZ_MEMORY)
        while not unpacker.eof:
            if unpacker.needs_input and not raw:
                raw = stream.read(CHUNK)
                if not raw:
                    raise EOFError("the file ends early")
            yield unpacker.decompress(raw, CHUNK)
            raw = b""
        raw = (unpacker.unused_data or stream.read(CHUNK)).lstrip(b"\0")
        raw = raw or stream.read(CHUNK).lstrip(b"\0")
