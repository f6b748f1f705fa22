"""The command line: `calczoo list | info | doctor | run | check | compare | fit | convert | select | validate |
schema | new-plugin`.

Every command is a function that returns its exit code: 0 ok, 1 wrong usage or input, 2 some results are not ok,
3 the model cannot be used. `--json` puts one JSON object, and nothing else, on stdout.
"""

from __future__ import annotations

import json
import os
import sys
import traceback
import warnings
from collections.abc import Sequence

import typer

from . import check, compare, convert, doctor, env, fit, info, listing, new_plugin, run, select, validate
from .common import OK, UNUSABLE, USAGE, say

INTERRUPTED = 130  # Ctrl-C: what shells give, and what typer makes of it
_UsageError = typer.BadParameter.__mro__[1]  # click's, wherever the installed typer keeps click
_ClickError = typer.BadParameter.__mro__[2]

app = typer.Typer(
    name="calczoo",
    help="A zoo of interatomic potentials: list, describe, run, check, fit and validate them.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command("list")(listing.command)
app.command("info")(info.command)
app.command("doctor")(doctor.command)
app.add_typer(run.app, name="run")
app.command("check")(check.command)
app.command("compare")(compare.command)
app.command("fit")(fit.command)
app.command("convert")(convert.command)
app.command("select")(select.command)
app.command("validate")(validate.command)
app.command("schema")(validate.schema_command)
app.add_typer(env.app, name="env")
app.command("new-plugin")(new_plugin.command)


@app.callback(invoke_without_command=True)
def root(
    context: typer.Context,
    version: bool = typer.Option(False, "--version", help="Print the version."),
    debug: bool = typer.Option(False, "--debug", help="Show the traceback of an error."),
) -> None:
    """Options of calczoo itself."""
    if version:
        from calczoo import __version__

        print(__version__)
        raise typer.Exit(OK)


def main(arguments: Sequence[str] | None = None) -> None:
    """Entry point of the `calczoo` script."""
    warnings.formatwarning = lambda message, kind, *where: f"{kind.__name__}: {message}\n"  # no line of our code
    sys.exit(execute(sys.argv[1:] if arguments is None else list(arguments)))


def execute(arguments: list[str]) -> int:
    """Run one command line and return its exit code."""
    from calczoo.core.errors import CalczooError

    # accepted anywhere on the line, because it is added after something has gone wrong
    debug = "--debug" in arguments
    arguments = [*(["--debug"] if debug else []), *(a for a in arguments if a != "--debug")]
    try:
        code = app(args=arguments, prog_name="calczoo", standalone_mode=False) or OK
        sys.stdout.flush()
        return _fail(arguments, "KeyboardInterrupt", "interrupted", code) if code == INTERRUPTED else code
    except _UsageError as error:
        if type(error).__name__ == "NoArgsIsHelpError":  # the help text is on the screen already
            return USAGE
        where = error.ctx.command_path if getattr(error, "ctx", None) else "calczoo"
        return _fail(arguments, "UsageError", f"{error.format_message()} (see '{where} --help')", USAGE)
    except (_ClickError, typer.Abort) as error:
        return _fail(arguments, type(error).__name__, str(error) or "interrupted", USAGE)
    except (BrokenPipeError, SystemExit) as error:
        if isinstance(error, SystemExit) and not isinstance(error.__context__, BrokenPipeError):
            raise
        # `calczoo list | head`, which typer and rich turn into exit code 1: nobody reads the rest, and the flush when
        # the program ends must not fail either
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return OK
    except (CalczooError, OSError) as error:
        if debug:
            traceback.print_exc()
        return _fail(arguments, type(error).__name__, str(error), exit_code(error))
    except KeyboardInterrupt:
        return _fail(arguments, "KeyboardInterrupt", "interrupted", INTERRUPTED)


def exit_code(error: BaseException) -> int:
    """3 when the model is at fault, 1 when the input is."""
    from calczoo.core import errors

    model = (
        errors.PotentialFileError, errors.PluginError, errors.BackendUnavailable, errors.NonFiniteResult,
        errors.ForeignError, errors.WeightsMissing,
    )  # fmt: skip
    return UNUSABLE if isinstance(error, model) else USAGE


def _fail(arguments: list[str], kind: str, message: str, code: int) -> int:
    if "--json" in arguments:
        print(json.dumps({"error": {"type": kind, "message": message, "exit_code": code}}))
    say(f"{kind}: {message}")
    return code
