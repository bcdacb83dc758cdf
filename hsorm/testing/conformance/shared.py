"""Two adapters over one storage, and a storage that is opened again."""

from __future__ import annotations

import asyncio
import datetime as dt
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import ClassVar, Final, TypeAlias

import pytest

from hsorm.errors import ConflictError, EntityExistsError, UnknownWatchError
from hsorm.kinds import MARKER, REMOVE, Number, Ref
from hsorm.ops.commits import Diff
from hsorm.storage.protocol import StorageAdapter, WatchRows
from hsorm.testing.conformance.capabilities import Capability, Requiring
from hsorm.testing.conformance.examples import AHU, ALL, SITE, TEMP, ids, without_stamp
from hsorm.testing.conformance.points import VALVE

__all__ = ["DurableLiveTests", "DurableTests", "SharedLiveTests", "SharedTests"]

_Another: TypeAlias = Callable[[], Awaitable[StorageAdapter]]
_AnotherLive: TypeAlias = Callable[[], Awaitable[StorageAdapter]]

_NOON: Final = dt.datetime(2024, 3, 1, 12, tzinfo=dt.UTC)


class SharedTests(Requiring):
    """Two adapters, as in two processes: nothing is kept where the other cannot see it."""

    requires: ClassVar = Capability.SHARED

    async def test_changes_are_seen_at_once(
        self, store: StorageAdapter, another_store: _Another
    ) -> None:
        """Every kind of change, in both directions."""
        other = await another_store()
        await store.load_entities(ALL)
        seen = [ids(await other.read("siteRef->site"))]

        await other.update({"id": Ref("ahu-1"), "trash": MARKER})
        seen.append(ids(await store.read("siteRef->site")))
        await store.delete("temp-1")
        seen.append(ids(await other.read("siteRef->site")))
        await other.create({**TEMP, "id": Ref("temp-2")})
        seen.append(ids(await store.read("siteRef->site")))

        assert seen == [["ahu-1", "temp-1"], ["temp-1"], [], ["temp-2"]]

    async def test_history_is_seen_at_once(
        self, store: StorageAdapter, another_store: _Another
    ) -> None:
        """H16: and a changed unit holds for both."""
        other = await another_store()
        await store.load_entities([TEMP])

        await store.his_write("temp-1", [{"ts": _NOON, "val": 1}])
        await other.update({"id": Ref("temp-1"), "unit": "K"})

        (item,) = await other.his_read("temp-1", "2024-03-01")
        assert item["val"] == Number(1, "K")
        assert await store.his_read("temp-1", "2024-03-01") == [item]

    async def test_a_taken_id_is_taken_for_both(
        self, store: StorageAdapter, another_store: _Another
    ) -> None:
        """C2."""
        other = await another_store()
        await store.create(SITE)

        with pytest.raises(EntityExistsError):
            await other.create(SITE)

    async def test_of_two_changes_on_one_mod_one_wins(
        self, store: StorageAdapter, another_store: _Another
    ) -> None:
        """C4: across adapters as within one."""
        other = await another_store()
        await store.load_entities([SITE])
        base = await store.read_by_id("site-1")

        answers = await asyncio.gather(
            *(
                adapter.update({**base, "n": Number(i)})
                for i, adapter in enumerate([store, other] * 3)
            ),
            return_exceptions=True,
        )

        assert sum(isinstance(answer, dict) for answer in answers) == 1
        assert sum(isinstance(answer, ConflictError) for answer in answers) == 5

    async def test_merges_from_two_sides(
        self, store: StorageAdapter, another_store: _Another
    ) -> None:
        """C5, C6: no tag is lost, no `mod` is given twice."""
        other = await another_store()
        await store.create(AHU)

        answers = await asyncio.gather(
            *(
                adapter.update({"id": Ref("ahu-1"), f"t{i}": MARKER})
                for i, adapter in enumerate([store, other] * 4)
            )
        )

        found = await store.read_by_id("ahu-1")
        assert {f"t{i}" for i in range(8)} <= found.keys()
        assert len({answer["mod"] for answer in answers}) == 8


class DurableTests(Requiring):
    """What was written is there when the storage is opened again."""

    requires: ClassVar = Capability.DURABLE

    async def test_entities_and_history_are_still_there(
        self, store: StorageAdapter, another_store: _Another
    ) -> None:
        """Closed once by whoever wrote, opened by another."""
        writer = await another_store()
        await writer.load_entities(ALL)
        await writer.update({"id": Ref("site-1"), "geoCity": "Bergen"})
        await writer.his_write("temp-1", [{"ts": _NOON, "val": 1}])
        written = await writer.read("id")
        await writer.close()

        reader = await another_store()

        assert await reader.read("id") == written
        assert without_stamp(written[1]) == {**SITE, "geoCity": "Bergen"}
        assert len(await reader.his_read("temp-1", "2024-03-01")) == 1

    async def test_closing_twice_is_harmless_and_a_call_opens_again(
        self, store: StorageAdapter, another_store: _Another
    ) -> None:
        """A closed adapter connects by itself, as a new one does."""
        adapter = await another_store()
        await adapter.load_entities([SITE])
        await adapter.close()
        await adapter.close()

        assert ids(await adapter.read("site")) == ["site-1"]


class SharedLiveTests(Requiring):
    """Live data of two adapters: no watch, no array lives in one of them."""

    requires: ClassVar = Capability.SHARED

    async def test_live_tags_are_seen_at_once(
        self, store: StorageAdapter, another_store: _AnotherLive
    ) -> None:
        """C8: in both directions, by filters as well."""
        other = await another_store()
        await store.load_entities([TEMP])

        await store.set_live("temp-1", {"curVal": 1})
        seen = [await other.read_count("curVal == 1")]
        await other.set_live("temp-1", {"curVal": 2, "curStatus": "ok"})
        seen.append(await store.read_count('curVal == 2 and curStatus == "ok"'))

        assert seen == [1, 1]

    async def test_of_two_commits_on_one_mod_one_wins(
        self, store: StorageAdapter, another_store: _AnotherLive
    ) -> None:
        """C4, C6: and the other one leaves nothing."""
        other = await another_store()
        await store.load_entities([SITE])
        site = await store.read_by_id("site-1")

        answers = await asyncio.gather(
            *(
                adapter.commit([Diff.add({}, f"new{i}"), Diff.update(site, {"n": Number(i)})])
                for i, adapter in enumerate([store, other] * 3)
            ),
            return_exceptions=True,
        )

        assert sum(isinstance(answer, list) for answer in answers) == 1
        assert sum(isinstance(answer, ConflictError) for answer in answers) == 5
        assert await store.read_count("id") == 2
        assert await other.read("id") == await store.read("id")

    async def test_a_watch_is_seen_by_both(
        self, store: StorageAdapter, another_store: _AnotherLive
    ) -> None:
        """P1, P5: opened here, extended and polled there; told once, whoever polls."""
        other = await another_store()
        await store.load_entities(ALL)
        watch = await store.watch_sub(None, ["site-1"])

        assert ids(await other.watch_sub(watch.watch_id, ["ahu-1"])) == ["ahu-1"]
        await store.update({"id": Ref("site-1"), "x": MARKER})
        await other.delete("ahu-1")
        there = await other.watch_poll(watch.watch_id)
        here = await store.watch_poll(watch.watch_id)

        assert (ids(there), there.removed) == (["site-1"], [Ref("ahu-1")])
        assert (here, here.removed) == ([], [])

    async def test_a_watch_on_a_filter_is_seen_by_both(
        self, store: StorageAdapter, another_store: _AnotherLive
    ) -> None:
        """Its members as well."""
        other = await another_store()
        await store.load_entities(ALL)
        watch = await store.watch_filter("siteRef", "mine")

        await other.update({"id": Ref("ahu-1"), "siteRef": REMOVE})
        rows = await other.watch_poll("mine")

        assert ids(watch) == ["ahu-1", "temp-1"]
        assert (rows, rows.removed) == ([], [Ref("ahu-1")])
        assert (await store.watch_poll("mine")).removed == []

    async def test_a_watch_ends_for_both(
        self, store: StorageAdapter, another_store: _AnotherLive
    ) -> None:
        """P11, P14."""
        other = await another_store()
        await store.watch_sub("mine", [])
        await other.watch_unsub("mine", [], close=True)

        for adapter in (store, other):
            with pytest.raises(UnknownWatchError) as caught:
                await adapter.watch_poll("mine")
            assert caught.value.state == "closed"

    async def test_nothing_is_lost_or_told_twice_between_two(
        self, store: StorageAdapter, another_store: _AnotherLive
    ) -> None:
        """P5: both poll one watch while both write."""
        other = await another_store()
        await store.load_entities([{"id": Ref(f"e{i}"), "n": Number(0)} for i in range(4)])
        watch = await store.watch_sub(None, [f"e{i}" for i in range(4)])
        polled: list[tuple[str, float]] = []
        writing = True

        async def write(adapter: StorageAdapter, n: int) -> None:
            for i in range(1, 16):
                await adapter.update({"id": Ref(f"e{n}"), "n": Number(i)})

        async def poll(adapter: StorageAdapter) -> None:
            while True:
                last = not writing
                rows = await adapter.watch_poll(watch.watch_id)
                polled.extend((row["id"].val, row["n"].val) for row in rows)
                if last:
                    return
                await asyncio.sleep(0.002)

        async with asyncio.TaskGroup() as group:
            group.create_task(poll(store))
            group.create_task(poll(other))
            await asyncio.gather(*(write([store, other][n % 2], n) for n in range(4)))
            writing = False

        assert {id for id, n in polled if n == 15} == {f"e{i}" for i in range(4)}
        assert len(set(polled)) == len(polled)

    async def test_a_stream_wakes_by_a_commit_elsewhere(
        self, store: StorageAdapter, another_store: _AnotherLive
    ) -> None:
        """Within a second; and ends when the watch is closed elsewhere."""
        other = await another_store()
        await store.load_entities([SITE])
        watch = await store.watch_sub(None, ["site-1"])
        stream = store.watch_stream(watch.watch_id)
        for i in range(3):
            coming = asyncio.ensure_future(_next(stream))
            await asyncio.sleep(0.2)

            await other.commit(Diff.update("site-1", {"n": Number(i)}, force=True))

            assert [row["n"] for row in await asyncio.wait_for(coming, 1) or []] == [Number(i)]
        coming = asyncio.ensure_future(_next(stream))
        await asyncio.sleep(0.1)
        await other.watch_unsub(watch.watch_id, [], close=True)

        assert await asyncio.wait_for(coming, 3) is None

    async def test_an_array_is_seen_by_both(
        self, store: StorageAdapter, another_store: _AnotherLive
    ) -> None:
        """W2, W4: and none undoes the other's level."""
        other = await another_store()
        await store.load_entities([VALVE])

        await asyncio.gather(
            *(
                adapter.point_write("valve-1", level, level, "me")
                for level, adapter in enumerate([store, other] * 8, 2)
            )
        )

        rows = await store.point_array("valve-1")
        assert rows == await other.point_array("valve-1")
        assert [row.get("val") for row in rows[1:]] == [Number(n, "%") for n in range(2, 18)]
        assert (await other.read_by_id("valve-1"))["writeVal"] == Number(2, "%")

    async def test_an_override_ends_for_both(
        self, store: StorageAdapter, another_store: _AnotherLive
    ) -> None:
        """W7: and is counted once."""
        other = await another_store()
        await store.load_entities([VALVE])
        await store.point_write("valve-1", 8, 5, "me", 0.6)
        assert (await other.point_array("valve-1"))[7]["val"] == Number(5, "%")

        await asyncio.sleep(0.7)
        released = await asyncio.gather(store.point_sweep(), other.point_sweep())

        assert sum(released) == 1
        assert "val" not in (await store.point_array("valve-1"))[7]

    async def test_the_feed_is_the_same_for_both(
        self, store: StorageAdapter, another_store: _AnotherLive
    ) -> None:
        """A cursor of one goes on in the other."""
        other = await another_store()
        await store.load_entities(ALL)
        start = await store.changes()

        await other.set_live("temp-1", {"curVal": 1})
        await store.delete("ahu-1")

        there = await other.changes(start.cursor)
        assert [(change.id, change.entity is None) for change in there] == [
            (Ref("temp-1"), False), (Ref("ahu-1"), True),
        ]  # fmt: skip
        assert await store.changes(start.cursor) == there
        assert list(await store.changes(there.cursor)) == []


async def _next(stream: AsyncIterator[WatchRows]) -> WatchRows | None:
    return await anext(stream, None)


class DurableLiveTests(Requiring):
    """Live data is there when the storage is opened again."""

    requires: ClassVar = Capability.DURABLE

    async def test_it_is_still_there(
        self, store: StorageAdapter, another_store: _AnotherLive
    ) -> None:
        """Live tags, arrays, watches, cursors; against C7 and W10, see the decisions."""
        writer = await another_store()
        await writer.load_entities([VALVE, TEMP])
        await writer.set_live("temp-1", {"curVal": 1})
        await writer.point_write("valve-1", 10, 5, "me")
        await writer.watch_sub("mine", ["temp-1"])
        cursor = (await writer.changes()).cursor
        await writer.set_live("temp-1", {"curVal": 2})
        rows, found = await writer.point_array("valve-1"), await writer.read("id")
        await writer.close()

        reader = await another_store()

        assert await reader.read("id") == found
        assert await reader.point_array("valve-1") == rows
        assert [change.id for change in await reader.changes(cursor)] == [Ref("temp-1")]
        assert (await reader.watch_poll("mine"))[0]["curVal"] == Number(2)
