"""A proxy between an adapter and its server, which loses an answer; and watches to be lost."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import TypeAlias

from hsorm.storage.protocol import StorageAdapter

Opening: TypeAlias = Callable[[StorageAdapter], Awaitable[str]]
"""Opens a watch on @stays and @goes, which have the tag `x`, and returns its id."""


async def on_ids(store: StorageAdapter) -> str:
    return (await store.watch_sub(None, ["stays", "goes"])).watch_id


async def on_filter(store: StorageAdapter) -> str:
    return (await store.watch_filter("x")).watch_id


class LosingProxy:
    """Passes everything on, but for one answer: it ends the connection on which that was to come.

    Args:
        host: The server's.
        port: The server's.
        loses: Tells of what a client sends whether the answer to that is the one.
    """

    def __init__(self, host: str, port: int, loses: Callable[[bytes], bool]) -> None:
        self._server, self._loses = (host, port), loses
        self.lost = asyncio.Event()

    @asynccontextmanager
    async def listening(self) -> AsyncIterator[int]:
        async with await asyncio.start_server(self._serve, "127.0.0.1", 0) as server:
            yield server.sockets[0].getsockname()[1]

    async def _serve(self, client: asyncio.StreamReader, back: asyncio.StreamWriter) -> None:
        answers, server = await asyncio.open_connection(*self._server)
        answering = asyncio.create_task(_pass_on(answers, back))
        try:
            while data := await client.read(65_536):
                if not self.lost.is_set() and self._loses(data):
                    await self._lose(answering, server, data)
                    back.transport.abort()
                    return
                server.write(data)
        except ConnectionError:
            pass
        finally:
            answering.cancel()
            server.close()
            back.close()

    async def _lose(
        self, answering: asyncio.Task[None], server: asyncio.StreamWriter, data: bytes
    ) -> None:
        answering.cancel()
        server.write(data)
        await server.drain()
        self.lost.set()


async def _pass_on(answers: asyncio.StreamReader, back: asyncio.StreamWriter) -> None:
    try:
        while data := await answers.read(65_536):
            back.write(data)
    except ConnectionError:
        pass
    finally:
        back.close()
