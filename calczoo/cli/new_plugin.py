"""`calczoo new-plugin`: a package of your own, with a family that works and its tests."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from .common import OK, Json, emit

Name = Annotated[str, typer.Argument(help="Name of the new family, as in get_calculator(NAME).", show_default=False)]
Into = Annotated[Path, typer.Option("--into", help="Folder to make the package in.")]
Licence = Annotated[str, typer.Option("--licence", help="MIT, BSD-3-Clause, or none to add your own.")]
Author = Annotated[str | None, typer.Option("--author", help="Whom the licence names.")]


def command(
    name: Name, into: Into = Path("."), licence: Licence = "MIT", author: Author = None, json: Json = False
) -> int:
    """Write the folder calczoo-NAME: a plug-in with an example potential, conformance tests and CI."""
    from calczoo.scaffold import write_package

    written = write_package(name, into, licence, author)
    folder = into / f"calczoo-{name.replace('_', '-')}"
    steps = [
        (f"cd {folder}", ""),
        ('python -m pip install -e ".[test]"', "calczoo list shows it from now on"),
        ("python -m pytest", "its tests pass as it stands"),
        (f"calczoo validate -c {name}:Cu --proto Cu:fcc", "what the example makes of copper"),
    ]
    files = [str(p.relative_to(folder)) for p in written]
    data = {"folder": str(folder), "files": files, "next": [step for step, _ in steps]}

    def text() -> None:
        print(f"{folder}: {len(written)} files")
        for file in files:
            print(f"  {file}")
        print("next:")
        for step, why in steps:
            print(f"  {step:52}{'# ' + why if why else ''}".rstrip())
        print(f"then put your potential into calczoo_{name}/model.py and params.py; README.md says what is where")

    emit(data, json, text)
    return OK
