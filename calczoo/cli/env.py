"""`calczoo env create | list | path | remove`: environments of calculators that run in processes of their own."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated, Any

import typer

from .common import NOT_OK, OK, Json, emit, say, table

app = typer.Typer(help="Environments of packages that cannot share one with others.", no_args_is_help=True)
Name = Annotated[str, typer.Argument(help="Name of the family, as in calczoo list.", show_default=False)]


@app.command("create")
def create(
    name: Name,
    python: str | None = typer.Option(None, help="Version or interpreter, as in 3.11 (a version needs uv)."),
    installer: str = typer.Option("auto", help="uv, pip, or auto: uv where it is there."),
    constraint: str | None = typer.Option(None, help="File of constraints, as for pip."),
    index_url: str | None = typer.Option(None, help="Package index to use instead of the default one."),
    extra_index_url: list[str] | None = typer.Option(None, help="Further package indexes."),  # noqa: B008
    find_links: list[str] | None = typer.Option(None, help="Folders with wheels, or pages that link to them."),  # noqa: B008
    torch: str = typer.Option("auto", help="cpu, cuda, or auto: cpu (smaller by gigabytes) without an NVIDIA driver."),
    use: str | None = typer.Option(None, help="Install nothing: use this interpreter, or environment folder."),
    force: bool = typer.Option(False, "--force", help="Replace an environment that is there."),
    json: Json = False,
) -> int:
    """Make the environment of a family from its plug-in's pinned requirements."""
    from calczoo.isolated import environments
    from calczoo.registry import get_family

    family = get_family(name)
    if use is not None:
        made = environments.adopt(family, use, force)
    else:
        given = {
            "--constraint": [constraint], "--index-url": [index_url], "--extra-index-url": extra_index_url or [],
            "--find-links": find_links or [],
        }  # fmt: skip
        arguments = [x for flag, values in given.items() for v in values if v is not None for x in (flag, v)]
        made = environments.create(
            family, python=python, installer=installer, torch=torch, arguments=arguments, force=force, progress=say
        )
    emit(asdict(made), json, lambda: print(made.python))
    return OK


@app.command("list")
def show(json: Json = False) -> int:
    """All environments, with what was asked for and whether the plug-in asks for something else by now."""
    from calczoo.isolated import environments

    rows: list[dict[str, Any]] = []
    for one in environments.environments():
        rows.append({**asdict(one), "state": _state(one)})
    emit(
        {"folder": str(environments.envs_folder()), "environments": rows},
        json,
        lambda: table(
            "", ("name", "state", "requirements", "python"),
            [(r["name"], r["state"], " ".join(r["requirements"]), r["python"]) for r in rows],
        ) if rows else print(f"no environments in {environments.envs_folder()}"),
    )  # fmt: skip
    return OK if all(r["state"] == "ready" for r in rows) else NOT_OK


@app.command("path")
def path(name: Name) -> int:
    """Print the interpreter of an environment."""
    from calczoo.isolated import environments
    from calczoo.registry import get_family

    print(environments.interpreter(get_family(name)))
    return OK


@app.command("remove")
def remove(name: Name) -> int:
    """Delete an environment."""
    from calczoo.isolated import environments

    say(f"removed {environments.remove(name)}")
    return OK


def _state(one: Any) -> str:
    from calczoo.core.errors import CalczooError
    from calczoo.registry import get_family

    if not one.usable:
        return "broken: its interpreter is gone"
    try:
        wanted = get_family(one.name).environment
    except CalczooError:
        return "unused: no such family is installed"
    return "ready" if wanted == one.requirements else "outdated: the plug-in asks for " + " ".join(wanted)
