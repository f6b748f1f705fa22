"""Results on disk: an append-only folder of immutable files, each named by the hash of what it was computed from.

    OUT/store/<first two digits>/<key>.json

A file appears under its name only when it is complete (temporary file, fsync, rename), so a process that is killed at
any moment leaves nothing half-written behind, and several processes or machines may write into one folder. A file that
was damaged afterwards does not match its own checksum and counts as absent. A second, different result for the same key
gets a file of its own beside the first (<key>-2.json); the newest is read.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import platform
import re
import tempfile
from functools import lru_cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np

from .results import PropertyResult

SCHEMA = "calczoo-validation"
SCHEMA_VERSION = 2
PACKAGES = ("calczoo", "ase", "numpy", "scipy", "phonopy", "spglib", "seekpath", "torch", "warp-lang")
# What only shows results: changing it does not make stored numbers stale.
PRESENTATION = {
    "compare", "exports", "html", "html_tables", "index", "numbers", "plots", "plots_compare", "progress",
    "reference_files", "references", "report", "table",
}  # fmt: skip


class Store:
    """A folder of results."""

    def __init__(self, folder: str | Path):
        self.folder = Path(folder)

    def path(self, key: str, number: int = 1) -> Path:
        return self.folder / "store" / key[:2] / (f"{key}.json" if number == 1 else f"{key}-{number}.json")

    def _newest(self, key: str) -> int:
        number = 0
        while self.path(key, number + 1).exists():
            number += 1
        return number

    def read(self, key: str) -> PropertyResult | None:
        """The stored result, or None where there is none that is intact."""
        for number in range(self._newest(key), 0, -1):
            try:
                data = json.loads(self.path(key, number).read_text(encoding="utf-8"))
                if data["schema_version"] == SCHEMA_VERSION and data["sha256"] == checksum(data["result"]):
                    return PropertyResult.from_dict(data["result"])
            except (ValueError, KeyError, TypeError):  # cut off or edited: as if it were not there
                continue
        return None

    def __contains__(self, key: str) -> bool:
        return self.read(key) is not None

    def write(self, key: str, inputs: dict[str, Any], result: PropertyResult) -> PropertyResult:
        """Add a result and return it as `read` will: an identical one is not written again."""
        data = plain(result.to_dict())
        earlier = self.read(key)
        if earlier is None or _timeless(plain(earlier.to_dict())) != _timeless(data):
            head = {"schema": f"{SCHEMA}-result", "schema_version": SCHEMA_VERSION, "key": key, "inputs": plain(inputs)}
            body = {**head, "environment": environment(), "result": data, "sha256": checksum(data)}
            write_json(self.path(key, self._newest(key) + 1), body)
        return PropertyResult.from_dict(data)


def _timeless(data: dict[str, Any]) -> dict[str, Any]:
    return {k: v for k, v in data.items() if k != "seconds"}


def checksum(data: Any) -> str:
    """sha256 of plain data in canonical form."""
    text = json.dumps(data, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


def content_key(inputs: dict[str, Any]) -> str:
    """The name under which the result of these inputs is kept."""
    return checksum(plain(inputs))


@lru_cache
def code_fingerprint() -> str:
    """Hash of all code that numbers come from: results of other code are never taken for those of this one."""
    import calczoo

    roots = (Path(calczoo.__file__).parent, Path(__file__).parent)
    digest = hashlib.sha256()
    for root in roots:
        for path in sorted(root.rglob("*.py")):
            inside = path.relative_to(root)
            if inside.parts[0] == "cli" or (root == roots[1] and inside.stem in PRESENTATION):
                continue
            digest.update(f"{root.name}/{inside}\0".encode() + path.read_bytes())
    return digest.hexdigest()[:16]


def slug(text: str) -> str:
    """A file name of letters, digits, dot, dash, underscore; never empty, never a path."""
    return re.sub(r"[^A-Za-z0-9._-]+", "_", text).strip("._")[:80] or "model"


def write_text(path: Path, text: str) -> None:
    """Write through a temporary file in the same folder and rename it: readers see the old or the new file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name[:40]}.", suffix=".part")
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as f:
            f.write(text)
            f.flush()
            os.fsync(f.fileno())
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def write_json(path: Path, data: Any) -> None:
    write_text(path, json.dumps(plain(data), indent=1, ensure_ascii=False, allow_nan=False) + "\n")


def plain(data: Any) -> Any:
    """Plain JSON data: numpy to Python, tuples to lists, numbers that are not finite to null."""
    if isinstance(data, dict):
        return {str(k): plain(v) for k, v in data.items()}
    if isinstance(data, list | tuple):
        return [plain(v) for v in data]
    if isinstance(data, np.ndarray):
        return plain(data.tolist())
    if isinstance(data, bool | np.bool_):
        return bool(data)
    if isinstance(data, int | np.integer):
        return int(data)
    if isinstance(data, float | np.floating):
        return float(data) if math.isfinite(data) else None
    return data if data is None or isinstance(data, str) else str(data)


def environment() -> dict[str, Any]:
    """Machine and package versions that a reader needs to judge or repeat a result; nothing that names the owner."""
    packages = {}
    for name in PACKAGES:
        try:
            packages[name] = version(name)
        except PackageNotFoundError:
            continue
    return {
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
        "processor": _processor(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "packages": packages,
    }


def machine() -> str:
    """Processor, cores and versions in one line, for the tables of benchmarks."""
    facts = environment()
    names = ("torch", "warp-lang", "ase", "numpy")
    versions = ", ".join(f"{n} {facts['packages'][n]}" for n in names if n in facts["packages"])
    return f"{facts['processor']}, {facts['cores']} cores; Python {facts['python']}, {versions}"


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    if info.exists():
        found = re.search(r"^model name\s*:\s*(.+)$", info.read_text(errors="replace"), re.M)
        if found:
            return found[1].strip()
    return platform.processor() or "unknown"
