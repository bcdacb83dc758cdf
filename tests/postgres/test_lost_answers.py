"""Connections that break between a commit and its answer."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing, asynccontextmanager
from typing import TypeAlias

import pytest
from sqlalchemy import make_url

from hsorm.kinds import MARKER, Ref
from hsorm.storage.timescale import TimescaleAdapter

Opening: TypeAlias = Callable[[TimescaleAdapter], Awaitable[str]]


class _Proxy:
    """Stands between the adapter and the server, and loses the answer to one commit.

    Args:
        marker: What the transaction has sent before, to be recognized by.
    """

    def __init__(self, host: str, port: int, marker: bytes) -> None:
        self._server, self._marker = (host, port), marker
        self._recognized = False
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
                self._recognized |= self._marker in data
                if self._recognized and b"COMMIT" in data and not self.lost.is_set():
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


async def _on_ids(store: TimescaleAdapter) -> str:
    return (await store.watch_sub(None, ["stays", "goes"])).watch_id


async def _on_filter(store: TimescaleAdapter) -> str:
    return (await store.watch_filter("x")).watch_id


@pytest.mark.parametrize("opening", [_on_ids, _on_filter])
async def test_a_stream_tells_the_removal_of_a_poll_whose_answer_was_lost(
    fresh_postgres_url: str, opening: Opening
) -> None:
    """The poll is over, and what it noted of the removal: only who polled knows of it."""
    url = make_url(fresh_postgres_url)
    proxy = _Proxy(url.host or "127.0.0.1", url.port or 5432, b'["goes"]')
    async with (
        proxy.listening() as port,
        TimescaleAdapter(fresh_postgres_url) as store,
        TimescaleAdapter(url.set(port=port).render_as_string(hide_password=False)) as watching,
    ):
        await store.load_entities([{"id": Ref(id), "x": MARKER} for id in ("stays", "goes")])
        watch_id = await opening(watching)
        told_by = watching.watch_stream(watch_id)
        async with asyncio.timeout(30), aclosing(told_by) as stream:  # type: ignore[type-var]
            told = asyncio.ensure_future(anext(stream))
            await asyncio.sleep(0)
            await store.delete("goes")
            rows = await told

        assert proxy.lost.is_set()
        assert rows.removed == [Ref("goes")]
        assert [row["id"] for row in rows] == [Ref("stays")]  # all that is there is told again
        assert await store.watch_poll(watch_id) == []
