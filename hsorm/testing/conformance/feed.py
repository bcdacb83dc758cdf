"""The change feed."""

from __future__ import annotations

import asyncio
import datetime as dt
from typing import Any, Final

import pytest

from hsorm.errors import CursorExpiredError, InvalidCursorError
from hsorm.kinds import MARKER, REMOVE, Number, Ref
from hsorm.ops.commits import Diff
from hsorm.storage.protocol import Changes, StorageAdapter
from hsorm.testing.conformance.examples import ALL, SITE, TEMP
from hsorm.testing.conformance.points import VALVE

__all__ = ["FeedTests"]

_NOON: Final = dt.datetime(2024, 3, 1, 12, tzinfo=dt.UTC)
_NOW: Final = dt.timedelta()


def _ids(changes: Changes) -> list[str]:
    return [change.id.val for change in changes]


class FeedTests:
    """`changes` and `prune`."""

    async def test_it_begins_with_all_that_there_is(self, store: StorageAdapter) -> None:
        """But for what is in the trash: nobody has heard of it."""
        await store.load_entities([*ALL, {"id": Ref("t"), "trash": MARKER}])

        changes = await store.changes()

        assert sorted(_ids(changes)) == ["ahu-1", "site-1", "temp-1"]
        by_id = {change.id.val: change.entity for change in changes}
        assert by_id == {id: await store.read_by_id(id) for id in by_id}
        assert not changes.more
        assert isinstance(changes.cursor, str)

    async def test_an_empty_storage(self, store: StorageAdapter) -> None:
        """There is a cursor to go on with."""
        start = await store.changes()
        await store.create(SITE)

        assert (list(start), start.more) == ([], False)
        assert _ids(await store.changes(start.cursor)) == ["site-1"]

    async def test_every_kind_of_change_is_told_once(self, store: StorageAdapter) -> None:
        """Entities, live tags, written values and history."""
        await store.load_entities([*ALL, VALVE])
        cursor = (await store.changes()).cursor
        # Made when they are called: memory loads at the call, awaited or not.
        calls: list[Any] = [
            lambda: store.create({"id": Ref("new")}),
            lambda: store.update({"id": Ref("new"), "x": MARKER}),
            lambda: store.update({"id": Ref("temp-1"), "curVal": 1}),
            lambda: store.set_live("temp-1", {"curVal": 2}),
            lambda: store.his_write("temp-1", [{"ts": _NOON, "val": 1}]),
            lambda: store.point_write("valve-1", 10, 5, "me"),
            lambda: store.commit(Diff.update("site-1", {}, force=True)),
            lambda: store.load_entities([SITE]),
            lambda: store.update({"id": Ref("new"), "trash": MARKER}),
            lambda: store.update({"id": Ref("new"), "trash": REMOVE}),
            lambda: store.delete("ahu-1"),
        ]
        told = []
        for call in calls:
            await call()
            changes = await store.changes(cursor)
            again = await store.changes(changes.cursor)
            told.append([(c.id.val, c.entity is not None, c.his) for c in changes])
            assert (list(again), again.more) == ([], False)
            cursor = again.cursor

        assert told == [
            [("new", True, False)],
            [("new", True, False)],
            [("temp-1", True, False)],
            [("temp-1", True, False)],
            [("temp-1", True, True)],
            [("valve-1", True, False)],
            [("site-1", True, False)],
            [("site-1", True, False)],
            [("new", False, False)],
            [("new", True, False)],
            [("ahu-1", False, False)],
        ]

    async def test_each_entity_comes_once_in_its_latest_state(self, store: StorageAdapter) -> None:
        """Where it has changed last."""
        await store.load_entities([{"id": Ref(id)} for id in "abc"])
        cursor = (await store.changes()).cursor

        for id, n in (("a", 1), ("b", 2), ("a", 3), ("c", 4), ("b", 5)):
            await store.update({"id": Ref(id), "n": Number(n)})
        changes = await store.changes(cursor)

        assert [(c.id.val, c.entity and c.entity["n"].val) for c in changes] == [
            ("a", 3), ("c", 4), ("b", 5),
        ]  # fmt: skip

    async def test_a_change_with_history_says_so(self, store: StorageAdapter) -> None:
        """Whatever came after it."""
        await store.load_entities([TEMP])
        cursor = (await store.changes()).cursor
        await store.his_write("temp-1", [{"ts": _NOON, "val": 1}])
        await store.update({"id": Ref("temp-1"), "x": MARKER})

        (change,) = await store.changes(cursor)

        assert change.his
        assert change.entity == await store.read_by_id("temp-1")

    async def test_it_can_be_read_in_parts(self, store: StorageAdapter) -> None:
        """None lost, none twice; changes in between come later."""
        await store.load_entities([{"id": Ref(f"e{i:02}")} for i in range(25)])
        seen: list[str] = []
        sizes = []
        changes = await store.changes(limit=10)
        while True:
            seen += _ids(changes)
            sizes.append(len(changes))
            if not changes.more:
                break
            if len(sizes) == 1:
                again = seen[3]
                await store.update({"id": Ref(again), "x": MARKER})
            changes = await store.changes(changes.cursor, limit=10)

        assert sizes == [10, 10, 6]
        assert seen[-1] == again
        assert sorted(seen) == sorted([f"e{i:02}" for i in range(25)] + [again])

    @pytest.mark.parametrize("limit", [0, -1])
    async def test_a_limit_below_one_is_an_error(self, store: StorageAdapter, limit: int) -> None:
        with pytest.raises(ValueError, match="at least one"):
            await store.changes(limit=limit)

    async def test_a_limit_may_be_beyond_all_numbers_of_a_database(
        self, store: StorageAdapter
    ) -> None:
        await store.load_entities(ALL)

        assert len(await store.changes(limit=10**30)) == len(ALL)

    async def test_a_cursor_may_be_used_again(self, store: StorageAdapter) -> None:
        """It is a place, not a reader."""
        await store.load_entities(ALL)
        first = await store.changes(limit=1)

        assert await store.changes(first.cursor) == await store.changes(first.cursor)
        assert len(await store.changes(first.cursor)) == 2

    @pytest.mark.parametrize("cursor", ["", "garbage", "0", "-1", "1;2", "\0", "a" * 5_000, "5:5:"])
    async def test_what_is_no_cursor(self, store: StorageAdapter, cursor: str) -> None:
        """It is no internal error."""
        await store.load_entities(ALL)

        with pytest.raises((InvalidCursorError, CursorExpiredError)):
            await store.changes(cursor)

    async def test_a_cursor_expires_with_what_it_would_miss(self, store: StorageAdapter) -> None:
        """A removal that was forgotten; a cursor from after it goes on."""
        after = await self._forget_one(store)
        for _ in range(200):
            # A transaction that was open all the while, be it in another database of the server,
            # could be what was forgotten, for all that PostgreSQL tells.
            if after is not None:
                break
            await asyncio.sleep(0.2)
            after = await self._forget_one(store)

        assert after is not None
        assert list(await store.changes(after)) == []
        assert sorted(_ids(await store.changes())) == ["ahu-1", "site-1"]

    async def _forget_one(self, store: StorageAdapter) -> str | None:
        """Return a cursor from after a removal that is forgotten; None where it expired, too."""
        await store.load_entities(ALL)
        before = (await store.changes()).cursor
        await store.delete("temp-1")
        try:
            after = (await store.changes(before)).cursor
        except CursorExpiredError:
            return None
        kept = await store.prune(dt.timedelta(days=1))
        still_there = _ids(await store.changes(before))
        forgotten = await store.prune(_NOW)

        assert (kept, still_there, forgotten) == (0, ["temp-1"], 1)
        with pytest.raises(CursorExpiredError) as caught:
            await store.changes(before)
        assert caught.value.cursor == before
        try:
            await store.changes(after)
        except CursorExpiredError:
            return None
        return after

    async def test_forgetting_leaves_what_exists(self, store: StorageAdapter) -> None:
        """Also what is in the trash, or was removed and made again."""
        await store.load_entities(ALL)
        await store.delete("ahu-1")
        await store.load_entities(ALL)
        await store.update({"id": Ref("site-1"), "trash": MARKER})

        await store.prune(_NOW)

        restored = await store.update({"id": Ref("site-1"), "trash": REMOVE})
        assert restored["geoCity"] == "Oslo"
        assert sorted(_ids(await store.changes())) == ["ahu-1", "site-1", "temp-1"]

    async def test_nothing_is_lost_among_writers(self, store: StorageAdapter) -> None:
        """Read while many write at a time, some of them more than once."""
        cursor = (await store.changes()).cursor
        told: dict[str, float] = {}
        writing = True

        async def write(n: int) -> None:
            for i in range(10):
                await store.load_entities([{"id": Ref(f"w{n}"), "n": Number(i)}])
                await store.create({"id": Ref(f"w{n}-{i}"), "n": Number(0)})

        async def follow(cursor: str) -> None:
            while True:
                last = not writing
                changes = await store.changes(cursor, limit=3)
                cursor = changes.cursor
                for change in changes:
                    assert change.entity is not None
                    told[change.id.val] = change.entity["n"].val
                if last and not changes.more and not changes:
                    return
                await asyncio.sleep(0)

        async with asyncio.TaskGroup() as group:
            group.create_task(follow(cursor))
            await asyncio.gather(*(write(n) for n in range(4)))
            writing = False

        assert told == {
            **{f"w{n}": 9.0 for n in range(4)},
            **{f"w{n}-{i}": 0.0 for n in range(4) for i in range(10)},
        }
