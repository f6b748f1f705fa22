"""`calczoo doctor`: what is installed here, and what is broken."""

from __future__ import annotations

import os
import platform
import sys
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from .common import NOT_OK, OK, Json, emit, table

PACKAGES = (
    "calczoo", "ase", "numpy", "scipy", "torch", "warp-lang", "vesin", "pluggy", "phonopy", "spglib", "seekpath",
    "typer", "rich", "jinja2", "matplotlib",
)  # fmt: skip


def command(json: Json = False) -> int:
    """Check families, plug-ins (with the traceback of a broken one), devices, threads and versions."""
    from calczoo import registry

    data: dict[str, Any] = {
        "families": registry.doctor(),
        "python": platform.python_version(),
        "executable": sys.executable,
        "machine": f"{platform.system()} {platform.machine()}",
        "versions": {name: _version(name) for name in PACKAGES},
        "devices": _devices(),
        "threads": _threads(),
    }
    emit(data, json, lambda: _print(data))
    return OK if all(row["ok"] for row in data["families"]) and data["devices"]["ok"] else NOT_OK


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "not installed"


def _threads() -> dict[str, Any]:
    from calczoo.core.threads import thread_count

    keys = ("CALCZOO_NUM_THREADS", "OMP_NUM_THREADS")
    return {"used": thread_count(None), "environment": {k: os.environ[k] for k in keys if k in os.environ}}


def _devices() -> dict[str, Any]:
    """torch's and Warp's devices, and whether Warp starts."""
    try:
        import torch
        import warp as wp

        from calczoo.core.warp_model import init_warp

        init_warp()
        cuda = [torch.cuda.get_device_name(k) for k in range(torch.cuda.device_count())]
        return {"ok": True, "warp": [str(d) for d in wp.get_devices()], "cuda": cuda, "message": ""}
    except (ImportError, OSError, RuntimeError) as error:  # a broken installation is what this command looks for
        return {"ok": False, "warp": [], "cuda": [], "message": f"{type(error).__name__}: {error}"}


def _print(data: dict[str, Any]) -> None:
    rows = [(f["name"], "ok" if f["ok"] else "BROKEN", f["origin"]) for f in data["families"]]
    table("families", ("name", "state", "origin"), rows)
    for row in data["families"]:
        if row["message"]:
            print(f"\n{row['message'].rstrip()}")
    print()
    table("versions", ("package", "version"), [("python", data["python"]), *data["versions"].items()])
    devices, threads = data["devices"], data["threads"]
    print(f"\ndevices  {', '.join(devices['warp'])}; CUDA: {', '.join(devices['cuda']) or 'none'} {devices['message']}")
    print(f"threads  {threads['used']} {threads['environment'] or ''}")
