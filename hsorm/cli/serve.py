"""`hsorm serve`: a storage over the Haystack HTTP API."""

from __future__ import annotations

import asyncio
import ipaddress
import logging
import signal
import socket
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from importlib.util import find_spec
from typing import TYPE_CHECKING, Annotated, Final

import typer

from hsorm.cli._command import command
from hsorm.cli._session import Session, UsageError

if TYPE_CHECKING:
    from starlette.applications import Starlette
    from starlette.requests import Request

    from hsorm.interop.server import Authorize

__all__ = ["add_to", "listen"]

_PATH: Final = "/haystack"

_GRACE: Final = 3
"""Seconds that calls have to end in when the server does: one client that stalls would hold it."""


async def serve(
    session: Session,
    host: Annotated[str, typer.Option("--host", help="The address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option("--port", min=0, max=65535, help="The port.")] = 8080,
    token: Annotated[
        str | None,
        typer.Option(
            "--token",
            envvar="HSORM_TOKEN",
            help="What clients have to send as Authorization: Bearer TOKEN.",
            show_default=False,
        ),
    ] = None,
    read_only: Annotated[
        bool, typer.Option("--read-only", help="Refuse hisWrite, pointWrite and load.")
    ] = False,
    load: Annotated[
        bool,
        typer.Option("--load", help="Have the op load; make the storage where there is none."),
    ] = False,
) -> None:
    """Serve a storage over the Haystack HTTP API, in Zinc and JSON, until Ctrl-C.

    Without a token everybody on this machine may do everything, and no other machine can be served.
    """
    if not token and not _is_this_machine(host):
        raise UsageError(
            f"--host {host} is open to other machines: give a --token (or HSORM_TOKEN)"
        )
    from hsorm.interop.server import HaystackApi

    _need_uvicorn()
    authorize = _with(token, read_only) if token else _local(host, read_only)
    # Outermost, as what a signal does is for after the storage is closed.
    with ExitStack() as ended:
        async with session.storage(make=load) as store:
            app = HaystackApi(store, load=load).app(authorize, path=_PATH)
            # Not uvicorn's to open: where that fails it ends the process, without a word of ours.
            with listen(host, port) as listening:
                name = f"[{host}]" if ":" in host else host
                uri = f"http://{name}:{listening.getsockname()[1]}{_PATH}/"
                session.say(f"{session.shown_url} at {uri} (about, ops, read…), Ctrl-C ends")
                sys.stdout.flush()
                ended.enter_context(_signals_held())
                await _serve(app, listening)


def _need_uvicorn() -> None:
    from hsorm.errors import MissingExtraError

    if find_spec("uvicorn") is None:
        raise MissingExtraError("hsorm serve", "uvicorn", "server")


async def _serve(app: Starlette, listening: socket.socket) -> None:
    import uvicorn

    # The storage is open already, and the session closes it: not the application's to do.
    config = uvicorn.Config(
        app, lifespan="off", log_level="warning", timeout_graceful_shutdown=_GRACE
    )
    logging.getLogger("uvicorn.error").addFilter(_is_no_end_of_ours)
    await uvicorn.Server(config).serve([listening])


@contextmanager
def _signals_held() -> Iterator[None]:
    """Let the first signal to end do what it does after the block; a second one does so at once.

    uvicorn ends by a signal and then gives it back: a task that is cancelled closes nothing.
    """
    held: list[int] = []

    def hold(number: int, frame: object) -> None:
        held.append(number)
        if len(held) > 1:
            give_back()

    def give_back() -> None:
        for number, handler in before.items():
            signal.signal(number, handler)
        if held:
            signal.raise_signal(held.pop())

    before = {number: signal.signal(number, hold) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        give_back()


def listen(host: str, port: int) -> socket.socket:
    """Return a socket that listens at an address, for a server of asyncio."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # With TCP by name: else asyncio leaves Nagle's algorithm on, and each answer takes 40 ms.
    found = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        found.bind((host, port))
        found.listen(2048)  # from here on clients wait, whenever the server begins
    except OSError:
        found.close()
        raise
    return found


def _is_no_end_of_ours(record: logging.LogRecord) -> bool:
    """Keep out of the log where a call was when the server ended: that it did has a line."""
    return not (record.exc_info and isinstance(record.exc_info[1], asyncio.CancelledError))


def _is_this_machine(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _with(token: str, read_only: bool) -> Authorize:
    from hsorm.interop.server import bearer

    try:
        return bearer(token, read_only=read_only)
    except ValueError as exc:
        raise UsageError(f"--token (or HSORM_TOKEN): {exc}") from None


def _local(host: str, read_only: bool) -> Authorize:
    """Return the rule where there is no token: whoever means this machine by its name."""
    from starlette.exceptions import HTTPException

    from hsorm.interop.server import refuse_writing

    async def authorize(request: Request, op: str) -> None:
        # A page in the browser of this machine can have a name of its own lead here.
        if request.url.hostname not in (host, "localhost"):
            raise HTTPException(403, f"without a token only http://{host} is served")
        if read_only:
            refuse_writing(op)

    return authorize


def add_to(app: typer.Typer) -> None:
    """Add the command to an application."""
    command(
        app,
        "serve",
        rich_help_panel="Live data",
        examples=(
            "-u sqlite:///demo.db serve",
            "serve --host 0.0.0.0 --read-only  # with HSORM_TOKEN in the environment",
        ),
    )(serve)
