"""Results on disk: one JSON file per model and property, written atomically as soon as it is finished."""

from __future__ import annotations

import datetime
import json
import math
import os
import platform
import re
import tempfile
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np

from .results import PropertyResult

SCHEMA = "calczoo-validation"
SCHEMA_VERSION = 1
PACKAGES = ("calczoo", "ase", "numpy", "scipy", "phonopy", "spglib", "seekpath", "torch", "warp-lang")


class Store:
    """A folder of results: `results/<model>/<property>.json`."""

    def __init__(self, folder: str | Path):
        self.folder = Path(folder)

    def path(self, label: str, property_name: str) -> Path:
        return self.folder / "results" / slug(label) / f"{slug(property_name)}.json"

    def write_result(self, label: str, result: PropertyResult) -> Path:
        path = self.path(label, result.property)
        head = {"schema": f"{SCHEMA}-result", "schema_version": SCHEMA_VERSION, "model": label}
        write_json(path, {**head, **result.to_dict()})
        return path

    def read_result(self, label: str, property_name: str) -> PropertyResult:
        return PropertyResult.from_dict(json.loads(self.path(label, property_name).read_text(encoding="utf-8")))


def slug(text: str) -> str:
    """A file name of letters, digits, dot, dash, underscore; never empty, never a path."""
    return re.sub(r"[^A-Za-z0-9._-]+", "_", text).strip("._")[:80] or "model"


def write_text(path: Path, text: str) -> None:
    """Write through a temporary file in the same folder and rename it: readers see the old or the new file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as f:
            f.write(text)
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
        "created": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
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
