"""Time `calczoo list` beside many plug-ins, broken and slow ones among them: it reads metadata and imports none.

    python validation/benchmarks/listing.py [--plugins 100] [--runs 7] [--write]

Seconds of a new process, the best of the runs, which take turns: with what is installed here, and with the made
plug-ins beside it. Processor seconds are what a machine with nothing else to do takes.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from importlib.metadata import distributions
from pathlib import Path

from calczoo_validation.store import machine, write_text

RESULTS = Path(__file__).parents[1] / "results" / "listing.md"

SOURCES = (
    "import time\ntime.sleep(2)\n",
    "raise RuntimeError('broken')\n",
    "import torch\nfrom calczoo import Family, hookimpl\n",
    "raise SystemExit(1)\n",
)


def install(site: Path, count: int) -> None:
    """Write `count` distributions with one entry point each."""
    for k in range(count):
        info = site / f"plugin{k}-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: plugin{k}\nVersion: 1.0\n")
        (info / "entry_points.txt").write_text(f"[calczoo]\nfamily{k} = module_of_plugin{k}\n")
        (site / f"module_of_plugin{k}.py").write_text(SOURCES[k % len(SOURCES)])


@dataclass
class Row:
    """One way to list: what is on the path, where Python keeps compiled modules, which installers make and the first
    run makes here; its best times (s), and what was printed."""

    label: str
    path: str
    compiled: str
    wall: float = float("inf")
    processor: float = float("inf")
    names: int = 0
    plugins: int = 0

    def measure(self) -> None:
        before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
        command = [sys.executable, "-m", "calczoo", "list", "--json"]
        env = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
        env |= {"PYTHONPATH": self.path, "PYTHONPYCACHEPREFIX": self.compiled}
        done = subprocess.run(command, env=env, capture_output=True, text=True, check=True)
        self.wall = min(self.wall, time.perf_counter() - start)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        spent = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        self.processor = min(self.processor, spent)
        listed = json.loads(done.stdout)["calculators"]
        self.names, self.plugins = len(listed), sum(c["kind"] == "plug-in" for c in listed)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--plugins", type=int, default=100)
    parser.add_argument("--runs", type=int, default=7)
    parser.add_argument("--write", action="store_true", help=f"write {RESULTS.name} into validation/results")
    arguments = parser.parse_args()
    given, load = os.environ.get("PYTHONPATH", ""), os.getloadavg()[0]
    with tempfile.TemporaryDirectory() as folder:
        install(Path(folder), arguments.plugins)
        added = f"and {arguments.plugins} that are slow, broken or import torch"
        compiled = str(Path(folder) / "compiled")
        rows = [Row("installed here", given, compiled), Row(added, os.pathsep.join([folder, given]), compiled)]
        for _ in range(arguments.runs):
            for row in rows:
                row.measure()
    lines = ["| plug-ins | listed | names | processor (s) | wall (s) |", "|---|---|---|---|---|"]
    lines += [f"| {r.label} | {r.plugins} | {r.names} | {r.processor:.2f} | {r.wall:.2f} |" for r in rows]
    out = (
        f"# Listing beside many plug-ins\n\n`calczoo list` in a new process, the best of {arguments.runs}, in an "
        f"environment of {sum(1 for _ in distributions())} packages. Nothing of a plug-in is imported.\nProcessor: "
        "seconds that the process itself used; wall: with what else the machine had to do.\n\n"
        + "\n".join(lines)
        + f"\n\nMachine: {machine()}; load {load:.1f} at the start.\n"
    )
    print(out)
    if arguments.write:
        write_text(RESULTS, out)


if __name__ == "__main__":
    main()
