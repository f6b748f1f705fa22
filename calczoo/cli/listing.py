"""`calczoo list`: families and bundled models."""

from __future__ import annotations

from typing import Annotated

import typer

from ..discovery import owners
from .common import OK, Elements, Json, emit, table


def command(
    pattern: Annotated[str, typer.Argument(help="Wildcard pattern, as in 'snap:*'.")] = "*",
    elements: Elements = None,
    can: Annotated[list[str] | None, typer.Option("--can", help="Keep what can do this: fit, stress, warp ...")] = None,
    json: Json = False,
) -> int:
    """List families and bundled models. Plug-ins are named without being loaded."""
    from calczoo import registry

    names = registry.list_calculators(pattern, elements=elements, can=can)
    rows = [_row(name) for name in names]
    emit({"calculators": rows}, json, lambda: _print(rows))
    return OK


def _row(name: str) -> dict[str, str]:
    from calczoo import registry

    family, _, model = name.partition(":")
    if family not in registry.BUILTIN:
        return {"name": name, "kind": "plug-in", "summary": _plugin(family)}
    entry = registry.get_family(family)
    return {"name": name, "kind": "model" if model else entry.kind, "summary": entry.bundled.get(model, entry.summary)}


def _plugin(family: str) -> str:
    """What its metadata tell; the plug-in itself is not asked."""
    packages = owners(family)
    if len(packages) > 1:
        return f"claimed by {' and '.join(packages)}, and so unusable; see calczoo doctor"
    return f"of {packages[0]}; loaded when used, see calczoo info {family}"


def _print(rows: list[dict[str, str]]) -> None:
    if not rows:
        print("nothing matches; calczoo list shows everything")
        return
    table("", ("name", "kind", "what it is"), ([r["name"], r["kind"], r["summary"]] for r in rows))
