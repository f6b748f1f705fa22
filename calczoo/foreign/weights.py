"""Published weights: what they are, where they come from, and the file of them on this machine.

Nothing is fetched unless it is asked for. A file is looked for in this order: the one given; the folder that
CALCZOO_WEIGHTS names; the cache of this user (~/.cache/calczoo/weights); the installed package that ships it. Wherever
it is found, its sha256 must be the published one.
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
import sys
import tempfile
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from ..core.errors import OptionError, PotentialFileError, WeightsMissing

_CHUNK = 1 << 20


@dataclass(frozen=True)
class Weights:
    """One published set of weights.

    url: where the file can be fetched; sha256: of the file, "" where it is not known (such a file is found but never
    fetched); size: bytes, 0 where not known; file: its name, by default the last part of the url.
    """

    name: str
    version: str = ""
    url: str = ""
    sha256: str = ""
    size: int = 0
    licence: str = "unknown"
    citation: str = ""
    doi: str = ""
    file: str = ""

    def __post_init__(self) -> None:
        if not self.file:
            object.__setattr__(self, "file", urllib.parse.unquote(urllib.parse.urlsplit(self.url).path.split("/")[-1]))
        if not self.file or "/" in self.file or self.file in (".", ".."):
            raise OptionError(f"weights {self.name!r} need the name of a file, not {self.file!r}")
        if self.sha256 and (len(self.sha256) != 64 or set(self.sha256) - set("0123456789abcdef")):
            raise OptionError(f"weights {self.name!r}: sha256 is {self.sha256!r}; expected 64 hexadecimal digits")

    def facts(self) -> dict[str, Any]:
        """For `Card.extra["weights"]`."""
        return {k: v for k, v in asdict(self).items() if v}


def weights_folders() -> list[Path]:
    """Folders that are searched: that of CALCZOO_WEIGHTS where it is set, and the user's cache."""
    own = os.environ.get("CALCZOO_WEIGHTS")
    return [*([Path(own).expanduser()] if own else []), cache_folder()]


def cache_folder() -> Path:
    """Where fetched weights are kept."""
    if base := os.environ.get("XDG_CACHE_HOME"):
        return Path(base) / "calczoo" / "weights"
    home = Path.home() / ("Library/Caches" if sys.platform == "darwin" else ".cache")
    return home / "calczoo" / "weights"


def locate(
    weights: Weights, given: str | Path | None = None, package: str | None = None, download: bool = False
) -> Path:
    """The file of these weights.

    given: a file, or a folder that holds it; package: an installed package that ships it ("name", or "name/folder"
    inside it; it is not imported); download: fetch it into the cache where it is nowhere else.
    Raises WeightsMissing, which says what to fetch and where to put it, and PotentialFileError for a file with another
    checksum than the published one.
    """
    if given is not None:
        path = Path(given).expanduser()
        path = path / weights.file if path.is_dir() else path
        if not path.is_file():
            raise WeightsMissing(f"there is no file {path}; {_help(weights)}")
        return _checked(path, weights)
    for path in _candidates(weights, package):
        return _checked(path, weights)
    if download:
        return _fetch(weights)
    raise WeightsMissing(f"the weights {_label(weights)} are not on this machine; {_help(weights)}")


def sha256_of(path: str | Path) -> str:
    """sha256 of a file; remembered while the file does not change."""
    state = os.stat(path)
    return _digest(str(path), state.st_size, state.st_mtime_ns)


@lru_cache(maxsize=256)
def _digest(path: str, size: int, changed: int) -> str:
    with open(path, "rb") as f:
        return hashlib.file_digest(f, "sha256").hexdigest()


def _candidates(weights: Weights, package: str | None) -> Iterator[Path]:
    for folder in weights_folders():
        if (path := folder / weights.file).is_file():
            yield path
    if package:
        name, _, inside = package.partition("/")
        spec = importlib.util.find_spec(name) if name not in sys.modules else sys.modules[name].__spec__
        for root in (spec.submodule_search_locations or []) if spec else []:
            folder = Path(root) / inside
            if (path := folder / weights.file).is_file():
                yield path
            else:
                yield from sorted(p for p in folder.rglob(weights.file) if p.is_file())


def _checked(path: Path, weights: Weights) -> Path:
    if weights.sha256 and (found := sha256_of(path)) != weights.sha256:
        other = f"the file is damaged or another one: remove it; {_help(weights)}"
        raise PotentialFileError(
            path,
            None,
            f"sha256 {found}",
            f"{weights.sha256}, that of {_label(weights)} ({other})",
        )
    return path


def _label(weights: Weights) -> str:
    return f"{weights.name} {weights.version}".strip()


def _help(weights: Weights) -> str:
    """What to fetch, how to know that it is right, and where to put it."""
    size = f", {weights.size / 1e6:.1f} MB" if weights.size else ""
    digest = f" (sha256 {weights.sha256}{size})" if weights.sha256 else f" (no checksum is known{size})"
    source = f"fetch {weights.url}{digest}" if weights.url else f"get {weights.file}{digest} from its authors"
    return (
        f"{source} and put it as {weights.file} into {weights_folders()[0]}, or into a folder named by the environment "
        "variable CALCZOO_WEIGHTS, or give the file itself as model="
    )


def _fetch(weights: Weights) -> Path:
    """Into the cache, by way of a temporary file, so that there is never half a file of that name."""
    if not weights.url or not weights.sha256:
        raise WeightsMissing(f"{_label(weights)} cannot be fetched without a url and a checksum; {_help(weights)}")
    if urllib.parse.urlsplit(weights.url).scheme not in ("https", "file"):
        raise WeightsMissing(f"{_label(weights)} is fetched by https only, not from {weights.url}; {_help(weights)}")
    folder = cache_folder()
    folder.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=weights.file + ".", suffix=".part", dir=folder)
    part, digest = Path(name), hashlib.sha256()
    try:
        with os.fdopen(handle, "wb") as out, urllib.request.urlopen(weights.url, timeout=60) as source:
            while chunk := source.read(_CHUNK):
                digest.update(chunk)
                out.write(chunk)
        if digest.hexdigest() != weights.sha256:
            raise PotentialFileError(weights.url, None, f"sha256 {digest.hexdigest()}", f"{weights.sha256}; not kept")
        os.replace(part, folder / weights.file)
    except (urllib.error.URLError, TimeoutError, ConnectionError) as error:
        raise WeightsMissing(f"{_label(weights)} could not be fetched ({error}); {_help(weights)}") from error
    finally:
        part.unlink(missing_ok=True)
    return folder / weights.file
