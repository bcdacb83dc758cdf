"""Commands: coroutines that get a `Session`, and how their errors become one line and a code."""

from __future__ import annotations

import asyncio
import inspect
import os
import re
import sys
import threading
from collections.abc import Callable, Coroutine, Iterator, Sequence
from typing import Annotated, Any, TypeAlias, TypeVar

import typer
from rich.markup import escape
from typer.core import TyperCommand, TyperGroup

from hsorm.cli._session import CliError, Session
from hsorm.errors import (
    FilterSyntaxError,
    HsormError,
    InvalidRollupError,
    RangeSyntaxError,
    StorageUrlError,
)

__all__ = ["DebugOption", "Group", "UrlOption", "command", "exit_code_of", "make_group", "report"]

UrlOption: TypeAlias = Annotated[
    str | None,
    typer.Option(
        "--url",
        "-u",
        metavar="URL",
        help="The storage: sqlite:///file.db, postgresql://user@host/database, "
        "redis://host, memory://; "
        "else HSORM_URL, else sqlite:///hsorm.db.",
        show_default=False,
    ),
]
DebugOption: TypeAlias = Annotated[
    bool, typer.Option("--debug", help="Show the traceback of an error.", show_default=False)
]

_Body = TypeVar("_Body", bound=Callable[..., Coroutine[Any, Any, None]])

_USAGE = (FilterSyntaxError, InvalidRollupError, RangeSyntaxError, StorageUrlError)


def command(
    app: typer.Typer, name: str, *, examples: Sequence[str] = (), **options: Any
) -> Callable[[_Body], _Body]:
    """Make a command of a coroutine whose first parameter is the `Session`.

    The command also takes `--url` and `--debug`, which may stand before it as well.

    Args:
        app: Where it belongs.
        name: What to type.
        examples: Arguments to show in its help.
        options: Further arguments of `Typer.command`.
    """

    def register(body: _Body) -> _Body:
        own = inspect.signature(body, eval_str=True)
        _, *params = own.parameters.values()

        def wrapper(*, ctx: typer.Context, url: str | None, debug: bool, **values: Any) -> None:
            before = [above.params for above in _chain(ctx)]
            url = url or next((given["url"] for given in before if given.get("url")), None)
            debug = debug or any(given.get("debug") for given in before)
            session = Session(url, debug)
            _run(session, body(session, **values))

        params = [*params, *_COMMON]
        # typer reads both: the order and defaults here, the types there.
        wrapper.__signature__ = own.replace(  # type: ignore[attr-defined]  # as functools.wraps does
            parameters=params, return_annotation=None
        )
        wrapper.__annotations__ = {param.name: param.annotation for param in params}
        help = _paragraphs(inspect.getdoc(body) or "")
        epilog = "\n".join(("[bold]Examples[/bold]", *(f"  hsorm {escape(it)}" for it in examples)))
        app.command(name, cls=_Command, help=help, epilog=epilog if examples else None, **options)(
            wrapper
        )
        return body

    return register


def make_group(name: str, help: str) -> typer.Typer:
    """Return a group of commands that takes `--url` and `--debug` before them."""
    group = typer.Typer(name=name, cls=Group, help=help, no_args_is_help=True)

    def options(url: UrlOption = None, debug: DebugOption = False) -> None:
        """Leave them in the context, where the commands look for them."""

    group.callback()(options)
    return group


class _Command(TyperCommand):
    """A command whose help says of no flag that it is a `<bool>`: it takes no value."""

    def get_params(self, ctx: Any) -> list[Any]:
        """Return the options and arguments, with nothing in place of a flag's value."""
        return _without_values(super().get_params(ctx))


class Group(TyperGroup):
    """A group of commands, with the same of its own flags."""

    def get_params(self, ctx: Any) -> list[Any]:
        """Return the options, with nothing in place of a flag's value."""
        return _without_values(super().get_params(ctx))


def _without_values(params: list[Any]) -> list[Any]:
    for param in params:
        if getattr(param, "is_flag", False):
            param.metavar = ""
    return params


def _chain(ctx: typer.Context) -> Iterator[typer.Context]:
    """Yield the contexts above one, the nearest first."""
    above: Any = ctx.parent
    while above is not None:
        yield above
        above = above.parent


def _paragraphs(text: str) -> str:
    """Undo the line breaks of the source: the terminal has its own width."""
    return "\n\n".join(" ".join(part.split()) for part in text.split("\n\n"))


def _keyword(name: str, annotation: Any, default: Any = inspect.Parameter.empty) -> Any:
    kind = inspect.Parameter.KEYWORD_ONLY
    return inspect.Parameter(name, kind, default=default, annotation=annotation)


_COMMON = (
    _keyword("ctx", typer.Context),
    _keyword("url", UrlOption, None),
    _keyword("debug", DebugOption, False),
)


def _run(session: Session, body: Coroutine[Any, Any, None]) -> None:
    """Run a command; an error ends it with its exit code."""
    try:
        asyncio.run(_settled(body))
        sys.stdout.flush()
        code = session.exit_code
    except BrokenPipeError:
        _forget_stdout()
        code = 0
    except Exception as exc:
        if session.debug:
            raise
        report(exc)
        code = exit_code_of(exc)
    if code:
        raise typer.Exit(code)


async def _settled(body: Coroutine[Any, Any, None]) -> None:
    try:
        await body
    finally:
        # aiosqlite lets the thread of a file that it could not open end by itself, and that thread
        # still speaks to this event loop: it has to be there until then.
        for thread in threading.enumerate():
            if "_connection_worker_thread" in thread.name:
                thread.join(1)


def _forget_stdout() -> None:
    """Let nothing more be written to a pipe that its reader has closed (`| head`)."""
    devnull = os.open(os.devnull, os.O_WRONLY)
    os.dup2(devnull, sys.stdout.fileno())


def exit_code_of(exc: BaseException) -> int:
    """Return 2 for what was asked in a wrong way, 1 for what went wrong."""
    if isinstance(exc, CliError):
        return exc.code
    return 2 if isinstance(exc, _USAGE) else 1


_PASSWORD = re.compile(r"(://[^:/@\s]*):[^@\s]*@")
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")


def report(exc: BaseException | str) -> None:
    """Say on standard error what is wrong, without passwords and without a traceback."""
    text = _PASSWORD.sub(r"\1:***@", _text_of(exc))
    sys.stdout.flush()
    print(f"hsorm: {_CONTROL.sub('?', text)}", file=sys.stderr, flush=True)


def _text_of(exc: BaseException | str) -> str:
    if isinstance(exc, (str, CliError, HsormError)):
        return str(exc)
    if isinstance(exc, OSError):
        what = exc.strerror or str(exc) or type(exc).__name__
        return f"{exc.filename}: {what}" if exc.filename else what
    if isinstance(exc, MemoryError):
        return "out of memory"
    first = (str(exc).splitlines() or [""])[0]
    return f"unexpected {type(exc).__name__}: {first} (--debug shows where; please report it)"
