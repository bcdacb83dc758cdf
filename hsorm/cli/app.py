"""The application: its groups of commands, what stands before them, and how it ends."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import Annotated, Any

import typer

from hsorm.cli import changing, db, demo, entities, his, load, serve, watch
from hsorm.cli._command import DebugOption, Group, UrlOption, report

__all__ = ["app", "run"]

_EPILOG = """[bold]Examples[/bold]
  hsorm demo                                        [dim]try it out[/dim]
  hsorm load plant.json floor2.zinc                 [dim]files into hsorm.db[/dim]
  hsorm read 'ahu and siteRef->geoCity == "Oslo"'   [dim]query them[/dim]
  hsorm his plot demo.elec-main.power yesterday     [dim]plot history[/dim]
  hsorm -u postgresql://me@host/db load plant.json  [dim]use a server[/dim]"""

app = typer.Typer(
    name="hsorm",
    cls=Group,
    rich_markup_mode="rich",
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["--help", "-h"]},
)


def _version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        print(f"hsorm {version('hsorm')}")
        raise typer.Exit


@app.callback(invoke_without_command=True, epilog=_EPILOG)
def root(
    ctx: typer.Context,
    url: UrlOption = None,
    debug: DebugOption = False,
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    """Project Haystack data in a database: load it, query it, read and plot its history."""
    if ctx.invoked_subcommand is None:
        print(ctx.get_help())


demo.add_to(app)
load.add_to(app)
entities.add_to(app)
changing.add_to(app)
watch.add_to(app)
serve.add_to(app)
app.add_typer(his.group, name="his", rich_help_panel="History")
app.add_typer(db.group, name="db", rich_help_panel="Database")


def run(args: Sequence[str]) -> int:
    """Run a command line and return its exit code.

    Args:
        args: The arguments, without the program's name.
    """
    _prepare_streams()
    try:
        code = _invoke(args)
        sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    return code


def _invoke(args: Sequence[str]) -> int:
    try:
        result: Any = app(list(args), prog_name="hsorm", standalone_mode=False)
    except (KeyboardInterrupt, typer.Abort):
        return 130
    except _WRONG_USAGE as exc:
        return _wrong_usage(exc)
    return result if isinstance(result, int) else 0


# What is raised for a wrong command line; typer has its own copy of click, or click's.
_WRONG_USAGE: type[Exception] = typer.BadParameter.__mro__[2]


def _wrong_usage(exc: Any) -> int:
    ctx = getattr(exc, "ctx", None)
    path = ctx.command_path if ctx is not None else "hsorm"
    message = " ".join(exc.format_message().replace("Value error, ", "").split())
    hint = "what has blanks in it goes into quotes; " if "extra argument" in message else ""
    report(f"{message.rstrip('.')}; {hint}see {path} --help")
    return int(exc.exit_code)


def _prepare_streams() -> None:
    """Speak UTF-8 to files and pipes, and never fail on a character that a terminal cannot show."""
    for stream in (sys.stdout, sys.stderr):
        reconfigure = getattr(stream, "reconfigure", None)
        if reconfigure is not None:
            reconfigure(encoding=None if stream.isatty() else "utf-8", errors="replace")
