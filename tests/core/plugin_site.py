"""A folder of plug-ins as an installer leaves it, and Python processes that have it on their path."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap
from collections.abc import Iterable
from pathlib import Path

from data import ROOT


def announce(site: Path, dist: str, points: str, version: str = "1.0") -> Path:
    """Write the metadata of one distribution: `points` are lines of the entry point group."""
    info = site / f"{dist.replace('-', '_')}-{version}.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {dist}\nVersion: {version}\n")
    (info / "entry_points.txt").write_text(f"[calczoo]\n{points}\n")
    return info


def install(site: Path, name: str, source: str, dist: str = "") -> None:
    """A distribution `<name>pack` whose module `plug_<dist>` announces the family `name`."""
    dist = dist or f"{name}pack"
    module = f"plug_{dist}"
    announce(site, dist, f"{name} = {module}")
    (site / f"{module}.py").write_text(textwrap.dedent(source).replace("NAME", name).replace("MODULE", module))


def environment(folders: Iterable[Path]) -> dict[str, str]:
    """Variables of a child process that finds these folders, and this project, before anything else."""
    path = [*map(str, folders), str(ROOT), str(ROOT / "validation")]
    kept = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "PYTEST_ADDOPTS")}
    return {**kept, "PYTHONPATH": os.pathsep.join(path), "OMP_NUM_THREADS": "1", "CALCZOO_NUM_THREADS": "1"}


_CHILD = """
import sys
from calczoo.cli import execute
code = execute(sys.argv[2:])
sys.stdout.flush()
print("loaded:", *sorted(m for m in sys.modules if m.startswith(sys.argv[1])), file=sys.stderr)
sys.exit(code)
"""


def cli(folders: Iterable[Path], *arguments: str, prefix: str = "plug_") -> subprocess.CompletedProcess[str]:
    """Run one command line in a process of its own; the last line of its stderr names the modules it had loaded."""
    command = [sys.executable, "-c", _CHILD, prefix, *arguments]
    return subprocess.run(command, env=environment(folders), capture_output=True, text=True, timeout=300)


def loaded(done: subprocess.CompletedProcess[str]) -> list[str]:
    return done.stderr.splitlines()[-1].removeprefix("loaded:").split()


def as_json(done: subprocess.CompletedProcess[str]) -> dict:
    assert done.stdout.count("\n") == 1, done.stdout + done.stderr
    return json.loads(done.stdout)
