"""Connections that break between a commit and its answer."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import aclosing

import pytest
from sqlalchemy import make_url

from hsorm.kinds import MARKER, Ref
from hsorm.storage.timescale import TimescaleAdapter
from tests.proxy import LosingProxy, Opening, on_filter, on_ids


def _commit_after(marker: bytes) -> Callable[[bytes], bool]:
    """Tell which is the commit of the transaction that has sent this."""
    recognized = False

    def loses(data: bytes) -> bool:
        nonlocal recognized
        recognized |= marker in data
        return recognized and b"COMMIT" in data

    return loses


@pytest.mark.parametrize("opening", [on_ids, on_filter])
async def test_a_stream_tells_the_removal_of_a_poll_whose_answer_was_lost(
    fresh_postgres_url: str, opening: Opening
) -> None:
    """The poll is over, and what it noted of the removal: only who polled knows of it."""
    url = make_url(fresh_postgres_url)
    loses = _commit_after(b'["goes"]')
    proxy = LosingProxy(url.host or "127.0.0.1", url.port or 5432, loses)
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
