"""A storage behind the Haystack HTTP API, in any ASGI application (needs the extra `server`).

A router to mount, beside whatever else the application has:

    api = HaystackApi(store)
    app.mount("/haystack", api.router(authorize))          # Starlette or FastAPI

or, where the host's own dependencies say who may do what, one route of FastAPI:

    @app.api_route("/haystack/{op}", methods=["GET", "POST"])
    async def haystack(request: Request, op: str, user: User = Depends(current_user)) -> Response:
        return await api.respond(request, op, who=user.name)

Who may call what is for the host to say: there is no default. What failed is an error grid with
HTTP status 200, as the standard has it; another status says that the request never got to its op.
Source: docHaystack, HttpApi and Ops.
"""

from __future__ import annotations

import datetime as dt
import hmac
import logging
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Final, TypeAlias

from hsorm.errors import CodecError, HsormError, MissingExtraError
from hsorm.interop._formats import (
    Format,
    UnsupportedFormatError,
    choose,
    format_of,
    grid_of_query,
    read_grid,
    write_grid,
)
from hsorm.interop._ops import OPS, WRITING_OPS, Call, Server, error_grid, is_internal
from hsorm.kinds import Grid
from hsorm.storage.protocol import StorageAdapter

try:
    from starlette.applications import Starlette
    from starlette.concurrency import run_in_threadpool
    from starlette.exceptions import HTTPException
    from starlette.requests import ClientDisconnect, Request
    from starlette.responses import PlainTextResponse, Response
    from starlette.routing import Mount, Route, Router
except ModuleNotFoundError:
    raise MissingExtraError("hsorm.interop.server", "starlette", "server") from None

__all__ = ["WRITING_OPS", "Authorize", "HaystackApi", "bearer", "refuse_writing"]

Authorize: TypeAlias = Callable[[Request, str], Awaitable[str | Response | None]]
"""Asked before each call, with the request and the op's name, also of ops that there are not.

It returns who calls, for the priority arrays that are written (None where that is unknown), or a
response that takes the place of the op's, as logging in needs; or it raises an `HTTPException`.
Whatever else it returns, `False` say, is a TypeError, and lets nobody in.
"""

_LOG = logging.getLogger(__name__)

# What takes longer than a request may hold up the others goes to a thread.
_LARGE_BODY: Final = 2**16
_MANY_ROWS: Final = 500

# Zinc writes empty cells, too: the history of many points at instants of their own is mostly these.
_MOST_CELLS: Final = 50_000_000


class HaystackApi:
    """The ops about, ops, filetypes, close, read, nav, hisRead, hisWrite, pointWrite, watchSub,
    watchUnsub, watchPoll and invokeAction (which is refused), in Zinc and JSON.

    Requests may be in Trio and in JSON version 3, too.

    Args:
        store: The storage; the host opens and closes it.
        name: What the server calls itself in `about`.
        load: Whether there is the op `load` besides, which inserts or replaces the request's rows
            by id; not of the standard.
        max_rows: How many rows an answer has at the most; what would be more is an error, never a
            part of it. Of history of several points each has an equal share.
        max_body: How many bytes a request has at the most.
    """  # noqa: D205 - the ops do not fit on one line

    def __init__(
        self,
        store: StorageAdapter,
        *,
        name: str = "hsorm",
        load: bool = False,
        max_rows: int = 100_000,
        max_body: int = 16 * 2**20,
    ) -> None:
        ops = {op: found for op, found in OPS.items() if load or op != "load"}
        self._server = Server(store, name, dt.datetime.now(dt.UTC), max_rows, ops)
        self._max_body = max_body

    # ---- in an application ----------------------------------------------------------------------

    def router(self, authorize: Authorize | None) -> Router:
        """Return a router with the path `/{op}`, to be mounted.

        Args:
            authorize: Who may do what; None lets everybody do everything.
        """

        async def endpoint(request: Request) -> Response:
            op: str = request.path_params["op"]
            who = None if authorize is None else await authorize(request, op)
            if isinstance(who, Response):
                return who
            if not isinstance(who, str | None):  # False, say: that was not meant to let anybody in
                raise TypeError(
                    f"authorize returned {who!r}: a name, None or a Response is asked for"
                )
            return await self.respond(request, op, who=who or "")

        return Router([Route("/{op}", endpoint, methods=["GET", "POST"])])

    def app(self, authorize: Authorize | None, *, path: str = "/haystack") -> Starlette:
        """Return an application of its own, that opens the storage and closes it at its end."""

        @asynccontextmanager
        async def lifespan(app: Starlette) -> AsyncIterator[None]:
            async with self._server.store:
                yield

        return Starlette(routes=[Mount(path, self.router(authorize))], lifespan=lifespan)

    # ---- one call -------------------------------------------------------------------------------

    async def respond(self, request: Request, op: str, *, who: str = "") -> Response:
        """Answer a request that may be answered.

        Args:
            request: A GET or POST request.
            op: The op's name.
            who: Who calls, for people.

        Returns:
            A grid, an error grid where the op failed; or plain text, where the request is for no op
            (404), by another method than the op's (405), asks for or is in a format that is none of
            ours (406, 415), is too large (413), or cannot be read (400).
        """
        try:
            return await self._respond(request, op, who)
        except _RefusedError as exc:
            return PlainTextResponse(f"{exc}\n", exc.status, exc.headers)
        except ClientDisconnect:
            return Response(status_code=400)  # which nobody will read

    async def _respond(self, request: Request, op: str, who: str) -> Response:
        self._check_method(request, op)
        body = await self._body(request) if request.method == "POST" else b""
        format = _format_of(request) if body else None
        wanted = choose(", ".join(request.headers.getlist("accept")), format)
        if wanted is None:
            known = "text/zinc, application/json"
            raise _RefusedError(406, f"no answer can be in the formats of Accept; {known} can be")
        try:
            grid = await _read(body, format) if format else self._query(request, op)
        except CodecError as exc:
            raise _RefusedError(400, f"the request cannot be read: {exc}") from None
        answer = await self._run(Call(op, self._server, grid, who))
        return Response(
            await _written(answer, wanted),
            media_type=wanted.content_type,
            headers={"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"},
        )

    def _check_method(self, request: Request, op: str) -> None:
        found = self._server.ops.get(op)
        if found is None:
            raise _RefusedError(404, f"there is no op {op[:60]!r}; the op ops lists all")
        allowed = ("GET", "HEAD", "POST") if found.reads else ("POST",)
        if request.method not in allowed:
            raise _RefusedError(
                405, f"{op} is called by {' or '.join(allowed)}", {"Allow": ", ".join(allowed)}
            )

    def _query(self, request: Request, op: str) -> Grid:
        """Return the grid in a query; ops that change something take none from there.

        Any page in a browser can send a POST without a body, and with a query, to any server.
        """
        return grid_of_query(request.url.query) if self._server.ops[op].reads else Grid()

    async def _body(self, request: Request) -> bytes:
        too_large = _RefusedError(413, f"a request has at most {self._max_body:,} bytes")
        length = request.headers.get("content-length", "")
        if length.isdecimal() and int(length) > self._max_body:
            raise too_large
        body = bytearray()
        async for chunk in request.stream():
            body += chunk
            if len(body) > self._max_body:
                raise too_large
        return bytes(body)

    async def _run(self, call: Call) -> Grid:
        try:
            return await self._server.ops[call.op].run(call)
        except HsormError as exc:
            if is_internal(exc):
                _LOG.error("%s failed: %s", call.op, exc)
            return error_grid(exc)


class _RefusedError(Exception):
    """A request that does not get to its op: an HTTP status and a text."""

    def __init__(self, status: int, text: str, headers: dict[str, str] | None = None) -> None:
        super().__init__(text)
        self.status, self.headers = status, headers


def _format_of(request: Request) -> Format:
    coding = request.headers.get("content-encoding", "identity")
    if coding.lower() != "identity":
        reason = f"Content-Encoding: {coding!r} is not understood; send the body as it is"
        raise _RefusedError(415, reason, {"Accept-Encoding": "identity"})
    try:
        return format_of(request.headers.get("content-type", ""))
    except UnsupportedFormatError as exc:
        raise _RefusedError(415, str(exc)) from None


async def _read(body: bytes, format: Format) -> Grid:
    if len(body) < _LARGE_BODY:
        return read_grid(body, format)
    return await run_in_threadpool(read_grid, body, format)


async def _written(grid: Grid, format: Format) -> bytes:
    try:
        if format.name == "zinc":
            _check_cells(len(grid.rows) * len(grid.cols))
        if len(grid.rows) < _MANY_ROWS:
            return write_grid(grid, format)
        return await run_in_threadpool(write_grid, grid, format)
    except CodecError as exc:  # a unit with a space, say, which Zinc has no form for
        hint = CodecError(f"{exc}; ask for JSON (Accept: application/json)")
        return write_grid(error_grid(hint), format)


def _check_cells(count: int) -> None:
    if count > _MOST_CELLS:
        raise CodecError(f"{count:,} cells are too many for Zinc, where empty ones count")


# ---- tokens -------------------------------------------------------------------------------------

_BEARER: Final = re.compile(r"bearer +(?:authToken *= *)?(\S+) *", re.IGNORECASE)
_TOKEN: Final = re.compile(r"[!#-+\--~]+")


def bearer(token: str, *, read_only: bool = False) -> Authorize:
    """Return an `authorize` that lets in who knows a token: for scripts, and behind a proxy.

    Clients send `Authorization: Bearer TOKEN`, or as Haystack has it `BEARER authToken=TOKEN`.

    Args:
        token: The token.
        read_only: Whether the ops of `WRITING_OPS` are refused.

    Raises:
        ValueError: The token is empty, or none that the header has a place for.
    """
    if not token:
        raise ValueError("an empty token lets everybody in: give one, or None for authorize")
    if not _TOKEN.fullmatch(token):
        raise ValueError(
            "a token is of ASCII letters, digits and signs, but no blank, comma or quote"
        )

    async def authorize(request: Request, op: str) -> None:
        found = _BEARER.fullmatch(request.headers.get("authorization", ""))
        given = found[1].strip('",') if found else ""
        if not hmac.compare_digest(given.encode(), token.encode()):
            headers = {"WWW-Authenticate": "Bearer"}
            raise HTTPException(401, "send the header Authorization: Bearer TOKEN", headers)
        if read_only:
            refuse_writing(op)

    return authorize


def refuse_writing(op: str) -> None:
    """Refuse the ops that may change what is stored, with status 403."""
    if op in WRITING_OPS:
        raise HTTPException(403, f"this server is for reading, {op} is not")
