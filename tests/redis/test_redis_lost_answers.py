"""Connections that break between a command and its answer."""

from __future__ import annotations

import asyncio
from contextlib import aclosing

import pytest
from sqlalchemy import make_url

from hsorm.kinds import MARKER, Ref
from hsorm.storage.redis import RedisAdapter
from tests.proxy import LosingProxy, Opening, on_filter, on_ids


class _Nth:
    """Tells which is the n-th request from when it was armed."""

    def __init__(self) -> None:
        self.left = 0

    def __call__(self, data: bytes) -> bool:
        self.left -= 1
        return self.left == 0


@pytest.mark.parametrize("opening", [on_ids, on_filter])
async def test_a_stream_tells_each_removal_once_whichever_answer_is_lost(
    redis_url: str, opening: Opening
) -> None:
    """Of the commands of a poll each in turn is done, but its answer never comes."""
    url = make_url(redis_url)
    nth = _Nth()
    proxy = LosingProxy(url.host or "127.0.0.1", url.port or 6379, nth)
    async with proxy.listening() as port, RedisAdapter(redis_url) as store:
        through = url.set(host="127.0.0.1", port=port).render_as_string(hide_password=False)
        n = 0
        while n == 0 or proxy.lost.is_set():
            n += 1
            proxy.lost.clear()
            nth.left = 0
            await store.load_entities([{"id": Ref(id), "x": MARKER} for id in ("stays", "goes")])
            async with RedisAdapter(through) as watching:
                watch_id = await opening(watching)
                told_by = watching.watch_stream(watch_id)
                async with asyncio.timeout(20), aclosing(told_by) as stream:  # type: ignore[type-var]
                    coming = asyncio.ensure_future(anext(stream))
                    await asyncio.sleep(0.02)
                    nth.left = n
                    await store.delete("goes")
                    rows = await coming

                assert rows.removed == [Ref("goes")], n
                # All that is there is told again, where an answer was lost that may have told it.
                assert [row["id"] for row in rows] in ([], [Ref("stays")]), n
                nth.left = 0
                rest = await store.watch_poll(watch_id)
                assert (rest, rest.removed) == ([], []), n
    assert n > 2


async def test_who_leaves_a_watch_while_it_is_polled_stays_out(redis_url: str) -> None:
    """A stream looks, then notes what it tells: who looked before has to look again."""
    async with RedisAdapter(redis_url) as store, RedisAdapter(redis_url) as other:
        await store.load_entities([{"id": Ref(id)} for id in ("a", "b")])
        watch_id = (await store.watch_sub(None, ["a", "b"])).watch_id
        await other.load_entities([{"id": Ref(id), "x": MARKER} for id in ("a", "b")])
        settle = store._settle
        settled: list[bool] = []

        async def settling(*args: object) -> bool:
            if not settled:
                await other.watch_unsub(watch_id, ["b"])
            settled.append(await settle(*args))  # type: ignore[arg-type]
            return settled[-1]

        store._settle = settling  # type: ignore[assignment, method-assign]
        rows = await store._poll_once(watch_id, False, set())
        await other.load_entities([{"id": Ref("b"), "y": MARKER}])

        assert settled == [False, True]
        assert [row["id"] for row in rows] == [Ref("a")]
        assert await other.watch_poll(watch_id) == []
