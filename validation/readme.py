"""Insert into README.md what commands produce: the family table, the figures, the error messages.

    python validation/readme.py            rewrite the README
    python validation/readme.py --check    exit code 1 when it would change

Figures are the files validation/results/*.md, each made by the command named in FIGURES.
"""

from __future__ import annotations

import contextlib
import importlib
import io
import re
import sys
import tomllib
from pathlib import Path
from unittest import mock

ROOT = Path(__file__).resolve().parents[1]
README = ROOT / "README.md"
RESULTS = ROOT / "validation" / "results"

FIGURES = {
    "speed": ("Speed", "python validation/benchmarks/speed.py --write"),
    "speed_mtp": ("Speed of moment tensor potentials", "python validation/benchmarks/speed_mtp.py --write"),
    "speed_hdnnp": ("Speed of neural network potentials", "python validation/benchmarks/speed_hdnnp.py --write"),
    "speed_qeq": ("Speed of charge equilibration", "python validation/benchmarks/speed_qeq.py --write"),
    "verification": ("Verification", "python validation/benchmarks/verification.py"),
    "dispersion": ("Dispersion and long range", "python validation/benchmarks/dispersion.py --write"),
    "harness": ("Validation beside matcalc", "python validation/benchmarks/harness.py --write"),
    "anchors": ("Published numbers", "python validation/benchmarks/anchors.py --write"),
    "listing": ("Listing beside many plug-ins", "python validation/benchmarks/listing.py --write"),
    "isolation": ("Calculators in processes of their own", "python validation/benchmarks/isolation.py --write"),
    "torchsim_batch": ("Batched relaxation by TorchSim", "python validation/benchmarks/torchsim_batch.py --write"),
    "kills": ("Killed and resumed", "python validation/benchmarks/kills.py --write"),
    "zuo_nnp": ("Published neural network potentials", "python validation/benchmarks/zuo_nnp.py --write"),
    "fit_mlearn": ("Bundled fits", "python validation/benchmarks/fit_mlearn.py --bundled"),
}
"""Result file (without .md) -> its heading and the command that makes it."""

ERRORS = (
    ["info", "snp:Mo"],
    ["run", "singlepoint", "zbl(1.0, 2.0)", "-e", "Cu", "--proto", "Rn:fcc"],
    ["run", "singlepoint", "eam:Cu.eam.alloy", "--proto", "Cu:fcc"],
    ["info", "zbl(2.0, 1.0)", "-e", "Cu"],
)


def families() -> str:
    """One row per built-in family."""
    from calczoo.registry import BUILTIN, get_family

    rows = ["| family | what it is | files | bundled models | reference |", "| --- | --- | --- | --- | --- |"]
    for name in BUILTIN:
        family = get_family(name)
        kind = {"addon": " (add-on)", "composition": " (composition)"}.get(family.kind, "")
        reference = f"[{family.citation}](https://doi.org/{family.doi})" if family.doi else family.citation
        bundled = ", ".join(f"`{name}:{m}`" for m in family.bundled) or "-"
        rows.append(f"| `{name}`{kind} | {family.summary} | {'; '.join(family.formats)} | {bundled} | {reference} |")
    return "\n".join(rows)


def plugins() -> str:
    """One row per family of the folder plugins; nothing of the packages that they wrap is imported."""
    from calczoo import Family

    rows = ["| family | what it is | install | what it brings | reference |", "| --- | --- | --- | --- | --- |"]
    for folder in sorted((ROOT / "plugins").glob("calczoo-*")):
        project = tomllib.loads((folder / "pyproject.toml").read_text(encoding="utf-8"))["project"]
        sys.path.insert(0, str(folder))
        for name, module in project["entry-points"]["calczoo"].items():
            family: Family = importlib.import_module(module).calczoo_family(name=name)
            reference = f"[{family.citation}](https://doi.org/{family.doi})" if family.doi else family.citation
            needs = " ".join(r for r in family.environment if not r.startswith(("torch==", "vesin")))
            own = ", in an environment of its own" if family.isolated else ""
            rows.append(f"| `{name}` | {family.summary} | `plugins/{folder.name}` | {needs}{own} | {reference} |")
    return "\n".join(rows)


def properties() -> str:
    """One row per built-in property of the harness."""
    from calczoo_validation.registry import SUITES, built_in

    rows = ["| property | numbers | suites |", "| --- | --- | --- |"]
    for name, prop in built_in().items():
        numbers = "; ".join(f"{o.about} ({o.unit})" if o.unit else o.about for o in prop.outputs)
        suites = ", ".join(f"`{s}`" for s, members in SUITES.items() if members and name in members)
        rows.append(f"| `{name}` | {numbers} | {suites or '-'} |")
    return "\n".join(rows)


def figures() -> str:
    """The result files, with heading and command."""
    parts = []
    for path in sorted(RESULTS.glob("*.md"), key=lambda p: (p.stem != "speed", p.stem)):
        heading, command = FIGURES.get(path.stem, (path.stem.replace("_", " ").capitalize(), ""))
        made = f"`{command}`\n\n" if command else ""
        text = re.sub(r"\A# .*\n+", "", path.read_text(encoding="utf-8")).strip()  # the heading stands here already
        parts.append(f"### {heading}\n\n{made}{text}")
    return "\n\n".join(parts)


def errors() -> str:
    """What the command line answers to wrong input."""
    from calczoo import discovery
    from calczoo.cli import execute

    alone = mock.patch.object(discovery, "family_names", lambda: list(discovery.BUILTIN))  # whatever is installed here
    lines = []
    for arguments in ERRORS:
        out, err = io.StringIO(), io.StringIO()
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err), alone:
            code = execute(list(arguments))
        shown = " ".join(f"'{a}'" if " " in a else a for a in arguments)
        lines += [f"$ calczoo {shown}", err.getvalue().strip(), f"(exit code {code})", ""]
    return "```text\n" + "\n".join(lines).strip() + "\n```"


def generated(text: str) -> str:
    """The README with every marked part made anew."""
    parts = {
        "families": families, "plugins": plugins, "properties": properties, "figures": figures, "errors": errors,
    }  # fmt: skip
    for name, make in parts.items():
        pattern = rf"(<!-- begin: {name} -->\n).*?(<!-- end: {name} -->)"
        if not re.search(pattern, text, re.DOTALL):
            raise SystemExit(f"README.md has no markers for '{name}'")
        body = make()
        text = re.sub(pattern, lambda m, b=body: f"{m[1]}{b}\n{m[2]}" if b else m[1] + m[2], text, flags=re.DOTALL)
    return text


def main() -> int:
    old = README.read_text(encoding="utf-8")
    new = generated(old)
    if "--check" in sys.argv[1:]:
        if new != old:
            print("README.md is not up to date: run python validation/readme.py", file=sys.stderr)
        return int(new != old)
    README.write_text(new, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
