"""Kill a validation run at random moments, resume it, and compare the reports byte by byte with an uninterrupted one.

    python validation/benchmarks/kills.py [--kills 20] [--write]

Prints one line per kill: when, how many results were stored by then, and whether the resumed report is the same.
"""

from __future__ import annotations

import argparse
import hashlib
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

RESULTS = Path(__file__).parents[1] / "results" / "kills.md"
REPORTS = ("report.html", "results.json", "results.csv", "report.md", "junit.xml")
RUN = "validate basic -c snap:Mo -c snap:Mo-linear --proto Mo:bcc --fail-on none".split()


def command(folder: Path, *more: str) -> list[str]:
    return [sys.executable, "-m", "calczoo", *RUN, "--out", str(folder), *more]


def digest(folder: Path) -> str:
    """Hash of all reports of a run; the ones that this version does not write are left out everywhere."""
    text = b"".join(name.encode() + (folder / name).read_bytes() for name in REPORTS if (folder / name).exists())
    return hashlib.sha256(text).hexdigest()


def stored(folder: Path) -> int:
    return len(list(folder.glob("store/*/*.json")))


def kill(folder: Path, results: int, delay: float) -> tuple[bool, int, float]:
    """Start a run and kill -9 it some seconds after so many results were stored.

    Returns: whether it was killed before its end, the results stored by then, the seconds since its start.
    """
    start = time.perf_counter()
    process = subprocess.Popen(command(folder), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while process.poll() is None and stored(folder) < results:
        time.sleep(0.002)
    time.sleep(delay)
    killed = process.poll() is None
    process.send_signal(signal.SIGKILL)
    process.wait()
    return killed, stored(folder), time.perf_counter() - start


def run(kills: int, seed: int = 1) -> list[dict]:
    """One row per kill. The moment is drawn from the time of computing: most of the rest is starting Python."""
    rng, rows = random.Random(seed), []
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    with tempfile.TemporaryDirectory() as scratch:
        whole = Path(scratch) / "whole"
        subprocess.run(command(whole), check=True, **quiet)
        expected, items = digest(whole), stored(whole)
        tries = 0
        while len(rows) < kills:
            folder = Path(scratch) / f"killed-{tries}"
            tries += 1
            killed, kept, after = kill(folder, rng.randrange(items), rng.expovariate(1 / 0.2))
            if not killed:  # it was finished by then
                continue
            subprocess.run(command(folder, "--resume"), check=True, **quiet)
            same = digest(folder) == expected
            rows.append({"after": after, "stored": kept, "items": items, "same": same})
            print(f"killed after {after:5.2f} s, {kept:2d} of {items} results stored, same report: {same}", flush=True)
    return rows


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--write", action="store_true", help=f"write {RESULTS.name} into validation/results")
    args = parser.parse_args()
    rows = run(args.kills, args.seed)
    same = sum(r["same"] for r in rows)
    line = f"{same} of {len(rows)} resumed runs gave reports that are byte-identical to the uninterrupted run."
    print(line)
    if args.write:
        from calczoo_validation.store import machine, write_text

        table = ["| killed after (s) | results stored by then | report after resuming |", "|---|---|---|"]
        for r in rows:
            what = "same" if r["same"] else "DIFFERENT"
            table.append(f"| {r['after']:.2f} | {r['stored']} of {r['items']} | {what} |")
        head = "# Killed and resumed\n\n"
        write_text(RESULTS, f"{head}{line}\n\n" + "\n".join(table) + f"\n\nMachine: {machine()}.\n")
    return 0 if same == len(rows) else 1


if __name__ == "__main__":
    sys.exit(main())
