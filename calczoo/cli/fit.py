"""`calczoo fit`: train a family on structures with energies and forces."""

from __future__ import annotations

from typing import Annotated

import typer

from .common import OK, Json


def command(family: Annotated[str, typer.Argument(help="Family to train.")], json: Json = False) -> int:
    return OK
