"""Watches: what is told, once, and for how long (rules P1–P14)."""

from __future__ import annotations

import asyncio
import datetime as dt
import math
from collections.abc import AsyncIterator
from typing import Any, Final

import pytest

from hsorm.errors import (
    FilterSyntaxError,
    InvalidWatchError,
    UnknownWatchError,
)
from hsorm.kinds import MARKER, REMOVE, Number, Ref
from hsorm.ops.commits import Diff
from hsorm.storage.protocol import StorageAdapter, WatchRows
from hsorm.testing.conformance.examples import AHU, ALL, SITE, TEMP, ids
from hsorm.testing.conformance.points import VALVE

__all__ = ["WatchFilterTests", "WatchStreamTests", "WatchTests"]

_NOON: Final = dt.datetime(2024, 3, 1, 12, tzinfo=dt.UTC)
_SHORT: Final = 0.3
"""Seconds of a lease that these tests wait for the end of."""


async def told(store: StorageAdapter, watch_id: str) -> tuple[list[str], list[str]]:
    """Poll a watch: the ids of its rows, and those that are gone."""
    rows = await store.watch_poll(watch_id)
    return ids(rows), [id.val for id in rows.removed]


class WatchTests:
    """`watch_sub`, `watch_unsub`, `watch_poll`."""

    async def test_a_sub_answers_row_by_row(self, store: StorageAdapter) -> None:
        """P3: as asked for, repeats repeated, `{}` where there is nothing to show."""
        await store.load_entities([*ALL, {"id": Ref("t"), "trash": MARKER}])

        rows = await store.watch_sub(None, ["temp-1", Ref("gone"), "@site-1", "t", "temp-1"])

        temp, site = await store.read_by_id("temp-1"), await store.read_by_id("site-1")
        assert rows == [temp, {}, site, {}, temp]
        assert rows.watch_id
        assert rows.lease == dt.timedelta(minutes=1)
        assert rows.removed == []

    async def test_what_a_sub_told_is_not_told_again(self, store: StorageAdapter) -> None:
        """P5, OC 29: neither what came before, nor what was told."""
        await store.load_entities(ALL)
        watch = await store.watch_sub(None, ["site-1", "ahu-1"])
        seen = [await told(store, watch.watch_id)]

        await store.update({"id": Ref("ahu-1"), "x": MARKER})
        await store.update({"id": Ref("temp-1"), "x": MARKER})
        seen += [await told(store, watch.watch_id) for _ in range(2)]

        assert seen == [([], []), (["ahu-1"], []), ([], [])]

    @pytest.mark.parametrize("size", [100, 101])
    async def test_a_watch_of_any_size_tells_the_same(
        self, store: StorageAdapter, size: int
    ) -> None:
        """P5, P6: tags, live tags, history, removals, and what comes back; no other's change."""
        watched = [f"p{i:03}" for i in range(size)]
        point = {"point": MARKER, "his": MARKER, "kind": "Number", "tz": "UTC"}
        await store.load_entities({"id": Ref(id), **point} for id in (*watched, "other"))
        watch = await store.watch_sub(None, [*watched, "to-come"])
        last = watched[-1]

        await store.set_live_batch({id: {"curVal": 1} for id in ("p003", last, "other")})
        await store.update({"id": Ref("p001"), "x": MARKER})
        await store.his_write("p002", [{"ts": dt.datetime(2024, 3, 1, tzinfo=dt.UTC), "val": 1}])
        await store.delete("p004")
        await store.create({"id": Ref("to-come")})

        expected = (["p001", "p002", "p003", last, "to-come"], ["p004"])
        assert [await told(store, watch.watch_id) for _ in range(2)] == [expected, ([], [])]

    async def test_a_poll_has_each_entity_once_as_it_is(self, store: StorageAdapter) -> None:
        """P5: by id."""
        await store.load_entities(ALL)
        watch = await store.watch_sub(None, ["temp-1", "site-1", "ahu-1"])
        for i in range(3):
            for id in ("temp-1", "ahu-1"):
                await store.update({"id": Ref(id), "n": Number(i)})

        rows = await store.watch_poll(watch.watch_id)

        assert rows == [await store.read_by_id("ahu-1"), await store.read_by_id("temp-1")]
        assert rows.watch_id == watch.watch_id
        assert rows.lease == watch.lease

    async def test_every_kind_of_change_counts(self, store: StorageAdapter) -> None:
        """P6, H33."""
        await store.load_entities([TEMP, VALVE])
        watch = await store.watch_sub(None, ["temp-1", "valve-1"])
        # Made when they are called: memory loads at the call, awaited or not.
        calls: list[Any] = [
            lambda: store.update({"id": Ref("temp-1"), "x": MARKER}),
            lambda: store.update({"id": Ref("temp-1")}),
            lambda: store.update({"id": Ref("temp-1"), "curVal": 1}),
            lambda: store.set_live("temp-1", {"curVal": 1}),
            lambda: store.set_live_batch({"temp-1": {"curVal": REMOVE}}),
            lambda: store.commit(Diff.update("temp-1", {}, force=True)),
            lambda: store.commit(Diff.update("temp-1", {"curVal": 3}, force=True, transient=True)),
            lambda: store.his_write("temp-1", [{"ts": _NOON, "val": 1}]),
            lambda: store.his_write("temp-1", [{"ts": _NOON, "val": REMOVE}]),
            lambda: store.load_entities([TEMP]),
            lambda: store.point_write("valve-1", 10, 5, "me"),
            lambda: store.set_live("temp-1", {}),
            lambda: store.his_write("temp-1", []),
        ]
        seen = []
        for call in calls:
            await call()
            seen.append(ids(await store.watch_poll(watch.watch_id)))

        assert seen == [["temp-1"]] * 10 + [["valve-1"], [], []]

    async def test_a_change_that_failed_is_none(self, store: StorageAdapter) -> None:
        """C6."""
        await store.load_entities(ALL)
        watch = await store.watch_sub(None, ["temp-1"])

        answers = await asyncio.gather(
            store.commit(
                [Diff.update("temp-1", {}, force=True), Diff.update("gone", {}, force=True)]
            ),
            store.set_live_batch({"temp-1": {"curVal": 1}, "gone": {"curVal": 1}}),
            return_exceptions=True,
        )

        assert all(isinstance(answer, LookupError) for answer in answers)
        assert await told(store, watch.watch_id) == ([], [])

    async def test_a_removal_is_told_once(self, store: StorageAdapter) -> None:
        """P9: by its id, with no row."""
        await store.load_entities(ALL)
        watch = await store.watch_sub(None, ["temp-1", "ahu-1", "site-1"])

        await store.delete("temp-1")
        await store.update({"id": Ref("site-1"), "trash": MARKER})
        await store.update({"id": Ref("ahu-1"), "x": MARKER})
        seen = [await told(store, watch.watch_id) for _ in range(2)]

        assert seen == [(["ahu-1"], ["site-1", "temp-1"]), ([], [])]

    async def test_what_is_back_is_a_row(self, store: StorageAdapter) -> None:
        """P9: restored from the trash, or made again."""
        await store.load_entities(ALL)
        watch = await store.watch_sub(None, ["temp-1", "site-1"])
        await store.delete("temp-1")
        await store.update({"id": Ref("site-1"), "trash": MARKER})
        await store.watch_poll(watch.watch_id)

        await store.create(TEMP)
        await store.update({"id": Ref("site-1"), "trash": REMOVE})

        assert await told(store, watch.watch_id) == (["site-1", "temp-1"], [])

    async def test_between_two_polls_only_the_end_counts(self, store: StorageAdapter) -> None:
        """P5, P9: gone and back is a change; there and gone again is nothing at all."""
        await store.load_entities(ALL)
        watch = await store.watch_sub(None, ["temp-1", "ahu-1", "new"])

        await store.delete("temp-1")
        await store.create(TEMP)
        await store.update({"id": Ref("ahu-1"), "trash": MARKER})
        await store.delete("ahu-1")
        await store.create({"id": Ref("new")})
        await store.delete("new")

        assert await told(store, watch.watch_id) == (["temp-1"], ["ahu-1"])

    async def test_deleting_from_the_trash_is_nothing_new(self, store: StorageAdapter) -> None:
        """P9: it was told when it went there."""
        await store.load_entities([TEMP])
        watch = await store.watch_sub(None, ["temp-1"])
        await store.update({"id": Ref("temp-1"), "trash": MARKER})
        seen = [await told(store, watch.watch_id)]

        await store.update({"id": Ref("temp-1"), "x": MARKER})
        seen.append(await told(store, watch.watch_id))
        await store.delete("temp-1")
        seen.append(await told(store, watch.watch_id))

        assert seen == [([], ["temp-1"]), ([], []), ([], [])]

    async def test_an_unknown_id_is_told_once_it_exists(self, store: StorageAdapter) -> None:
        """P4, OC 23: what can never be an id never is."""
        watch = await store.watch_sub(None, ["later", "t", "no id", "a\0b"])
        seen = [await told(store, watch.watch_id)]
        await store.load_entities([{"id": Ref("t"), "trash": MARKER}])
        seen.append(await told(store, watch.watch_id))
        await store.load_entities([{"id": Ref("later")}, {"id": Ref("t")}])
        seen.append(await told(store, watch.watch_id))

        assert seen == [([], []), ([], []), (["later", "t"], [])]

    async def test_a_refresh_has_all_there_is(self, store: StorageAdapter) -> None:
        """P8: and moves the time of the poll."""
        await store.load_entities(ALL)
        watch = await store.watch_sub(None, ["temp-1", "gone", "site-1", "ahu-1"])
        await store.update({"id": Ref("ahu-1"), "x": MARKER})
        await store.delete("temp-1")

        rows = await store.watch_poll(watch.watch_id, refresh=True)

        assert rows == [await store.read_by_id("ahu-1"), await store.read_by_id("site-1")]
        assert rows.removed == [Ref("temp-1")]
        assert await told(store, watch.watch_id) == ([], [])

    async def test_ids_can_be_added(self, store: StorageAdapter) -> None:
        """P1, P3, P7: the new ones count from now on, the others as before."""
        await store.load_entities(ALL)
        watch = await store.watch_sub(None, ["site-1"])
        for id in ("site-1", "ahu-1"):
            await store.update({"id": Ref(id), "x": MARKER})

        rows = await store.watch_sub(watch.watch_id, ["ahu-1", "temp-1"])
        await store.update({"id": Ref("temp-1"), "x": MARKER})

        assert rows.watch_id == watch.watch_id
        assert ids(rows) == ["ahu-1", "temp-1"]
        assert await told(store, watch.watch_id) == (["site-1", "temp-1"], [])

    async def test_ids_are_not_added_twice(self, store: StorageAdapter) -> None:
        """P3."""
        await store.load_entities(ALL)
        watch = await store.watch_sub(None, ["site-1", "site-1"])

        again = await store.watch_sub(watch.watch_id, ["@site-1"])
        await store.update({"id": Ref("site-1"), "x": MARKER})

        assert ids(again) == ["site-1"]
        assert await told(store, watch.watch_id) == (["site-1"], [])

    async def test_what_only_a_sub_has_shown_is_told_when_it_goes(
        self, store: StorageAdapter
    ) -> None:
        """OC 33: the id was in the watch before there was an entity."""
        watch = await store.watch_sub(None, ["late"])
        await store.create({"id": Ref("late"), "x": MARKER})
        shown = await store.watch_sub(watch.watch_id, ["late"])
        await store.delete("late")

        assert ids(shown) == ["late"]
        assert await told(store, watch.watch_id) == ([], ["late"])
        assert await told(store, watch.watch_id) == ([], [])

    async def test_an_id_of_ones_own(self, store: StorageAdapter) -> None:
        """One that was never used opens a watch under this id."""
        await store.load_entities(ALL)

        rows = await store.watch_sub("mine é/'\"", ["site-1"], dis="My watch")

        assert rows.watch_id == "mine é/'\""
        assert await told(store, "mine é/'\"") == ([], [])

    async def test_watches_do_not_know_each_other(self, store: StorageAdapter) -> None:
        """Each is told by itself."""
        await store.load_entities(ALL)
        one = await store.watch_sub(None, ["site-1", "ahu-1"])
        two = await store.watch_sub(None, ["site-1"])
        await store.update({"id": Ref("site-1"), "x": MARKER})
        seen = [await told(store, one.watch_id)]
        await store.watch_unsub(one.watch_id, [], close=True)

        assert one.watch_id != two.watch_id
        assert seen == [(["site-1"], [])]
        assert await told(store, two.watch_id) == (["site-1"], [])

    async def test_ids_can_be_taken_out(self, store: StorageAdapter) -> None:
        """P10: what they had to tell as well; a watch without ids goes on."""
        await store.load_entities(ALL)
        watch = await store.watch_sub(None, ["site-1", "ahu-1", "temp-1"])
        await store.update({"id": Ref("site-1"), "x": MARKER})
        await store.delete("temp-1")

        await store.watch_unsub(watch.watch_id, ["site-1", "@temp-1", "never-in"])
        await store.update({"id": Ref("ahu-1"), "x": MARKER})
        seen = [await told(store, watch.watch_id)]
        await store.watch_unsub(watch.watch_id, ["ahu-1"])
        await store.update({"id": Ref("ahu-1"), "y": MARKER})
        seen.append(await told(store, watch.watch_id))

        assert seen == [(["ahu-1"], []), ([], [])]
        assert await store.watch_poll(watch.watch_id, refresh=True) == []

    async def test_an_id_that_was_taken_out_can_be_added_again(self, store: StorageAdapter) -> None:
        """P7: and counts from then on."""
        await store.load_entities(ALL)
        watch = await store.watch_sub(None, ["site-1"])
        await store.watch_unsub(watch.watch_id, ["site-1"])
        await store.update({"id": Ref("site-1"), "x": MARKER})

        await store.watch_sub(watch.watch_id, ["site-1"])
        seen = [await told(store, watch.watch_id)]
        await store.update({"id": Ref("site-1"), "y": MARKER})
        seen.append(await told(store, watch.watch_id))

        assert seen == [([], []), (["site-1"], [])]

    async def test_an_unsub_of_no_watch_is_nothing(self, store: StorageAdapter) -> None:
        """P10: nor does it open one."""
        await store.watch_unsub("none", ["site-1"])
        await store.watch_unsub("none", [], close=True)

        with pytest.raises(UnknownWatchError):
            await store.watch_poll("none")

    # ---- the life of a watch --------------------------------------------------------------------

    @pytest.mark.parametrize("watch_id", ["never", "", "a\0b", "x" * 5_000])
    async def test_an_unknown_watch(self, store: StorageAdapter, watch_id: str) -> None:
        """P11: a ValueError and a LookupError."""
        with pytest.raises(UnknownWatchError) as caught:
            await store.watch_poll(watch_id)

        assert (caught.value.watch_id, caught.value.state) == (watch_id, "unknown")
        assert isinstance(caught.value, ValueError)

    async def test_a_closed_watch_has_ended(self, store: StorageAdapter) -> None:
        """P1, P11, P14: its id opens no other; closing twice is harmless."""
        watch = await store.watch_sub("mine", ["site-1"])
        await store.watch_unsub(watch.watch_id, ["site-1"], close=True)
        await store.watch_unsub(watch.watch_id, [], close=True)

        for call in (
            store.watch_poll("mine"),
            store.watch_poll("mine", refresh=True),
            store.watch_sub("mine", ["site-1"]),
            store.watch_filter("site", "mine"),
        ):
            with pytest.raises(UnknownWatchError) as caught:
                await call
            assert (caught.value.watch_id, caught.value.state) == ("mine", "closed")

    async def test_a_lease_runs_out(self, store: StorageAdapter) -> None:
        """P12: nobody has asked for it."""
        watch = await store.watch_sub(None, ["site-1"], lease=_SHORT)
        assert watch.lease == dt.timedelta(seconds=_SHORT)

        await asyncio.sleep(_SHORT + 0.2)

        for call in (store.watch_poll(watch.watch_id), store.watch_sub(watch.watch_id, [])):
            with pytest.raises(UnknownWatchError) as caught:
                await call
            assert caught.value.state == "expired"
        await store.watch_unsub(watch.watch_id, ["site-1"])

    async def test_every_call_renews_the_lease(self, store: StorageAdapter) -> None:
        """P12: sub, unsub and poll, whatever they say."""
        watch = await store.watch_sub(None, ["site-1"], lease=1.5)
        await asyncio.sleep(0.8)
        await store.watch_poll(watch.watch_id)
        await asyncio.sleep(0.8)
        await store.watch_sub(watch.watch_id, [])
        await asyncio.sleep(0.8)
        await store.watch_unsub(watch.watch_id, [])
        await asyncio.sleep(0.8)

        assert (await store.watch_poll(watch.watch_id)).lease == dt.timedelta(seconds=1.5)

    @pytest.mark.parametrize(
        ("lease", "seconds"),
        [
            (Number(5, "min"), 300),
            (Number(500, "ms"), 0.5),
            (Number(2, "hr"), 3600),
            (Number(1, "day"), 3600),
            (dt.timedelta(seconds=90), 90),
            (10, 10),
        ],
    )
    async def test_leases(self, store: StorageAdapter, lease: Any, seconds: float) -> None:
        """P2: an hour at most; a later call may change it, and keeps it otherwise."""
        watch = await store.watch_sub(None, [])
        longer = await store.watch_sub(watch.watch_id, [], lease=lease)
        kept = await store.watch_sub(watch.watch_id, [])

        assert longer.lease == kept.lease == dt.timedelta(seconds=seconds)

    @pytest.mark.parametrize("lease", [0, -1, math.nan, "1min", Number(1, "kW"), Number(1), True])
    async def test_what_is_no_lease(self, store: StorageAdapter, lease: Any) -> None:
        """P2: opens nothing."""
        with pytest.raises(InvalidWatchError):
            await store.watch_sub("mine", [], lease=lease)
        with pytest.raises(InvalidWatchError):
            await store.watch_filter("site", "mine", lease=lease)
        with pytest.raises(UnknownWatchError):
            await store.watch_poll("mine")

    async def test_what_was_not_opened_has_no_id(self, store: StorageAdapter) -> None:
        """P2: the error names no watch that nobody has ever heard of."""
        for call in (
            store.watch_sub(None, [], lease=-1),
            store.watch_sub(None, [], dis="a\0b"),
            store.watch_filter("site", lease=-1),
            store.watch_filter("site", dis="a\0b"),
        ):
            with pytest.raises(InvalidWatchError) as caught:
                await call
            assert caught.value.watch_id is None

    @pytest.mark.parametrize("watch_id", ["", "a\0b", "x" * 1_001, "\ud800"])
    async def test_what_is_no_id(self, store: StorageAdapter, watch_id: str) -> None:
        """On every backend alike."""
        with pytest.raises(InvalidWatchError):
            await store.watch_sub(watch_id, ["site-1"])
        with pytest.raises(InvalidWatchError):
            await store.watch_filter("site", watch_id)

    @pytest.mark.parametrize(
        "watch_id", ["never", "", "a\0b", pytest.param("x" * 1_001, id="long")]
    )
    async def test_a_watch_to_add_to_is_not_opened(
        self, store: StorageAdapter, watch_id: str
    ) -> None:
        """P1: never a silent new watch where the caller wants none."""
        await store.load_entities(ALL)

        for call in (
            store.watch_sub(watch_id, ["site-1"], create=False),
            store.watch_poll(watch_id),
            store.watch_sub(watch_id, [], create=False),
        ):
            with pytest.raises(UnknownWatchError) as caught:
                await call
            assert (caught.value.watch_id, caught.value.state) == (watch_id, "unknown")

    @pytest.mark.parametrize("watch_id", [5, None, b"5", []], ids=repr)
    async def test_what_is_no_text_is_no_open_watch(
        self, store: StorageAdapter, watch_id: Any
    ) -> None:
        """P1, P10: whatever looks alike in a database."""
        await store.watch_sub("5", [])

        with pytest.raises(UnknownWatchError) as caught:
            await store.watch_poll(watch_id)
        with pytest.raises(UnknownWatchError):
            await anext(aiter(store.watch_stream(watch_id)))
        for close in (False, True):
            await store.watch_unsub(watch_id, [], close=close)

        assert caught.value.watch_id == watch_id
        assert await store.watch_poll("5") == []

    async def test_an_id_that_was_not_opened_is_free(self, store: StorageAdapter) -> None:
        """P1: having been asked for leaves no trace of it."""
        with pytest.raises(UnknownWatchError):
            await store.watch_sub("mine", ["site-1"], create=False)

        assert (await store.watch_sub("mine", ["site-1"])).watch_id == "mine"

    async def test_a_watch_to_add_to(self, store: StorageAdapter) -> None:
        """P1: as any other call; one that has ended is told from one that never was."""
        await store.load_entities(ALL)
        watch = await store.watch_sub("mine", ["site-1"])
        rows = await store.watch_sub("mine", ["ahu-1"], create=False, lease=120)
        await store.update({"id": Ref("ahu-1"), "x": MARKER})
        seen = await told(store, "mine")
        await store.watch_unsub(watch.watch_id, [], close=True)
        with pytest.raises(UnknownWatchError) as caught:
            await store.watch_sub("mine", ["site-1"], create=False)

        assert (ids(rows), rows.lease) == (["ahu-1"], dt.timedelta(minutes=2))
        assert seen == (["ahu-1"], [])
        assert caught.value.state == "closed"

    async def test_a_watch_that_is_neither_named_nor_opened(self, store: StorageAdapter) -> None:
        """There is nothing to add to."""
        with pytest.raises(InvalidWatchError):
            await store.watch_sub(None, ["site-1"], create=False)

    @pytest.mark.parametrize(
        "dis", ["a\0b", "\ud800", 5, None, pytest.param("x" * 32_768, id="long")]
    )
    async def test_what_a_watch_cannot_be_for(self, store: StorageAdapter, dis: Any) -> None:
        """K20: a text as other texts; nothing is opened."""
        for call in (
            store.watch_sub("mine", ["site-1"], dis=dis),
            store.watch_filter("site", "mine", dis=dis),
        ):
            with pytest.raises(InvalidWatchError, match="dis") as caught:
                await call
            assert caught.value.watch_id == "mine"
        with pytest.raises(UnknownWatchError):
            await store.watch_poll("mine")

    async def test_ended_watches_are_forgotten(self, store: StorageAdapter) -> None:
        """By `prune`; living ones go on."""
        await store.watch_sub("closed", [])
        await store.watch_unsub("closed", [], close=True)
        await store.watch_sub("expired", [], lease=0.05)
        await store.watch_sub("living", [])
        await asyncio.sleep(0.2)

        kept = await store.prune(dt.timedelta(hours=12))
        forgotten = await store.prune(dt.timedelta())

        assert (kept, forgotten) == (0, 2)
        await store.watch_poll("living")
        for watch_id in ("closed", "expired"):
            await store.watch_sub(watch_id, [])

    async def test_a_watch_misses_nothing_that_is_forgotten(self, store: StorageAdapter) -> None:
        """`prune` forgets removals, not what watches have to tell."""
        await store.load_entities(ALL)
        watch = await store.watch_sub(None, ["site-1", "ahu-1", "temp-1"])
        every = await store.watch_filter("id")
        await store.delete("temp-1")
        await store.update({"id": Ref("ahu-1"), "x": MARKER})

        await store.prune(dt.timedelta())

        assert await told(store, watch.watch_id) == (["ahu-1"], ["temp-1"])
        assert await told(store, every.watch_id) == (["ahu-1"], ["temp-1"])

    # ---- at a time ------------------------------------------------------------------------------

    async def test_nothing_is_lost_or_told_twice(self, store: StorageAdapter) -> None:
        """P5: polled by two while four write."""
        await store.load_entities([{"id": Ref(f"e{i}"), "n": Number(0)} for i in range(8)])
        watch = await store.watch_sub(None, [f"e{i}" for i in range(8)])
        polled: list[tuple[str, float]] = []
        writing = True

        async def write(n: int) -> None:
            for i in range(1, 16):
                await store.update({"id": Ref(f"e{n}"), "n": Number(i)})
                await store.set_live(f"e{n + 4}", {"curVal": Number(i)})

        async def poll() -> None:
            while True:
                last = not writing
                rows = await store.watch_poll(watch.watch_id)
                polled.extend((row["id"].val, (row.get("curVal") or row["n"]).val) for row in rows)
                if last:
                    return
                await asyncio.sleep(0.002)

        async with asyncio.TaskGroup() as group:
            group.create_task(poll())
            group.create_task(poll())
            await asyncio.gather(*(write(n) for n in range(4)))
            writing = False

        assert {id for id, n in polled if n == 15} == {f"e{i}" for i in range(8)}
        assert len(set(polled)) == len(polled)

    async def test_the_rows_may_be_changed(self, store: StorageAdapter) -> None:
        """They are the caller's own."""
        await store.load_entities([{"id": Ref("a"), "list": [Number(1)]}])
        rows = await store.watch_sub(None, ["a", "a"])
        rows[0]["list"].clear()

        (polled,) = await store.watch_poll(rows.watch_id, refresh=True)
        polled["list"].append(Number(2))

        assert rows[1]["list"] == [Number(1)]
        assert (await store.read_by_id("a"))["list"] == [Number(1)]


class WatchFilterTests:
    """`watch_filter`."""

    async def test_it_begins_with_what_matches(self, store: StorageAdapter) -> None:
        """By id; and tells nothing of that again."""
        await store.load_entities(ALL)

        rows = await store.watch_filter("siteRef", lease=Number(5, "min"), dis="All")

        assert rows == await store.read("siteRef")
        assert rows.lease == dt.timedelta(minutes=5)
        assert rows.removed == []
        assert await told(store, rows.watch_id) == ([], [])

    async def test_what_comes_changes_and_goes(self, store: StorageAdapter) -> None:
        """Entering and changed ones are rows, leaving ones are gone; others are not its concern."""
        await store.load_entities([{"id": Ref(id), "x": MARKER} for id in "abcd"])
        watch = await store.watch_filter("x")

        await store.update({"id": Ref("a"), "x": REMOVE})
        await store.update({"id": Ref("b"), "n": Number(1)})
        await store.delete("c")
        await store.create({"id": Ref("new"), "x": MARKER})
        await store.create({"id": Ref("other")})
        seen = [await told(store, watch.watch_id)]
        await store.update({"id": Ref("a"), "x": MARKER})
        await store.update({"id": Ref("d"), "trash": MARKER})
        await store.set_live("b", {"curVal": 1})
        await store.delete("other")
        seen += [await told(store, watch.watch_id) for _ in range(2)]

        assert seen == [(["b", "new"], ["a", "c"]), (["a", "b"], ["d"]), ([], [])]

    async def test_live_tags_decide_as_others_do(self, store: StorageAdapter) -> None:
        """C8: `curVal > 75`."""
        await store.load_entities([TEMP])
        watch = await store.watch_filter("curVal > 75")
        seen = []
        for val in (70, 80, 90, 60, 50):
            await store.set_live("temp-1", {"curVal": val})
            seen.append(await told(store, watch.watch_id))

        assert seen == [
            ([], []), (["temp-1"], []), (["temp-1"], []), ([], ["temp-1"]), ([], []),
        ]  # fmt: skip

    async def test_a_change_elsewhere_can_decide(self, store: StorageAdapter) -> None:
        """F51: at the end of a path."""
        await store.load_entities(ALL)
        watch = await store.watch_filter('siteRef->geoCity == "Oslo"')

        await store.update({"id": Ref("site-1"), "geoCity": "Bergen"})
        seen = [await told(store, watch.watch_id)]
        await store.update({"id": Ref("site-1"), "geoCity": "Oslo"})
        seen.append(await told(store, watch.watch_id))

        assert watch.removed == []
        assert seen == [([], ["ahu-1", "temp-1"]), (["ahu-1", "temp-1"], [])]

    async def test_gone_and_back_is_a_change(self, store: StorageAdapter) -> None:
        """Between two polls."""
        await store.load_entities(ALL)
        watch = await store.watch_filter("site")

        await store.delete("site-1")
        await store.create(SITE)

        assert await told(store, watch.watch_id) == (["site-1"], [])

    async def test_a_refresh_has_all_that_match(self, store: StorageAdapter) -> None:
        """P8."""
        await store.load_entities(ALL)
        watch = await store.watch_filter("siteRef")
        await store.delete("temp-1")
        await store.load_entities([{**AHU, "id": Ref("ahu-2")}])

        rows = await store.watch_poll(watch.watch_id, refresh=True)

        assert ids(rows) == ["ahu-1", "ahu-2"]
        assert rows.removed == [Ref("temp-1")]
        assert await told(store, watch.watch_id) == ([], [])

    async def test_ids_are_not_for_it(self, store: StorageAdapter) -> None:
        """Nor is its id for another; it goes on as it was."""
        await store.load_entities(ALL)
        await store.watch_filter("site", "mine")

        for call in (
            store.watch_sub("mine", ["ahu-1"]),
            store.watch_unsub("mine", ["site-1"]),
            store.watch_filter("equip", "mine"),
        ):
            with pytest.raises(InvalidWatchError) as caught:
                await call
            assert caught.value.watch_id == "mine"

        await store.load_entities(ALL)
        assert await told(store, "mine") == (["site-1"], [])

    async def test_it_can_be_closed_and_expires(self, store: StorageAdapter) -> None:
        """P10, P12."""
        await store.watch_filter("site", "closed")
        await store.watch_unsub("closed", [], close=True)
        await store.watch_filter("site", "expired", lease=_SHORT)
        await asyncio.sleep(_SHORT + 0.2)

        for watch_id in ("closed", "expired"):
            with pytest.raises(UnknownWatchError) as caught:
                await store.watch_poll(watch_id)
            assert caught.value.state == watch_id

    async def test_what_is_no_filter_opens_nothing(self, store: StorageAdapter) -> None:
        """The error shows where."""
        with pytest.raises(FilterSyntaxError):
            await store.watch_filter("site and", "mine")
        with pytest.raises(UnknownWatchError):
            await store.watch_poll("mine")


class WatchStreamTests:
    """`watch_stream`."""

    async def test_it_tells_what_happens(self, store: StorageAdapter) -> None:
        """Of each change on its own when the caller keeps up, and nothing when nothing happens."""
        await store.load_entities(ALL)
        watch = await store.watch_sub(None, ["site-1", "temp-1"])
        stream = store.watch_stream(watch.watch_id)

        coming = asyncio.ensure_future(_next(stream))
        await asyncio.sleep(0.15)
        waiting = not coming.done()
        await store.update({"id": Ref("site-1"), "n": Number(1)})
        first = await asyncio.wait_for(coming, 1)
        coming = asyncio.ensure_future(_next(stream))
        await store.delete("temp-1")
        second = await asyncio.wait_for(coming, 1)

        assert waiting
        assert (first, first.removed) == ([await store.read_by_id("site-1")], [])
        assert (second, second.removed) == ([], [Ref("temp-1")])
        await _end(stream)

    async def test_it_begins_with_what_was_not_polled(self, store: StorageAdapter) -> None:
        """P5: a slow caller gets one answer for many changes."""
        await store.load_entities(ALL)
        watch = await store.watch_sub(None, ["site-1", "ahu-1"])
        stream = store.watch_stream(watch.watch_id)
        for i in range(5):
            await store.update({"id": Ref("site-1"), "n": Number(i)})
        await store.update({"id": Ref("ahu-1"), "x": MARKER})

        rows = await asyncio.wait_for(_next(stream), 1)

        assert ids(rows) == ["ahu-1", "site-1"]
        assert rows[1]["n"] == Number(4)
        assert await told(store, watch.watch_id) == ([], [])
        await _end(stream)

    async def test_closing_the_watch_ends_it(self, store: StorageAdapter) -> None:
        """Without an error."""
        watch = await store.watch_sub(None, ["site-1"])
        everything = asyncio.ensure_future(_all(store.watch_stream(watch.watch_id)))
        await asyncio.sleep(0.1)

        await store.watch_unsub(watch.watch_id, [], close=True)

        assert await asyncio.wait_for(everything, 2) == []

    @pytest.mark.parametrize("is_opened_again", [False, True])
    async def test_closing_the_storage_ends_it(
        self, store: StorageAdapter, is_opened_again: bool
    ) -> None:
        """Without an error, whatever it is at."""
        for seconds in (0, 0.001, 0.003, 0.005, 0.01, 0.1):
            watch = await store.watch_sub(None, ["site-1"])
            streams = [store.watch_stream(watch.watch_id) for _ in range(2)]
            everything = [asyncio.ensure_future(_all(stream)) for stream in streams]
            await asyncio.sleep(seconds)

            await store.close()
            if is_opened_again:
                await store.connect()

            found = await asyncio.wait_for(asyncio.gather(*everything), 2)
            assert found == [[], []], seconds

    async def test_it_renews_the_lease_while_it_waits(self, store: StorageAdapter) -> None:
        """P12."""
        await store.load_entities([SITE])
        watch = await store.watch_sub(None, ["site-1"], lease=0.6)
        stream = store.watch_stream(watch.watch_id)
        coming = asyncio.ensure_future(_next(stream))

        await asyncio.sleep(1.8)
        await store.update({"id": Ref("site-1"), "x": MARKER})

        assert ids(await asyncio.wait_for(coming, 1)) == ["site-1"]
        await _end(stream)

    async def test_a_watch_that_is_none(self, store: StorageAdapter) -> None:
        """P11: unknown, or closed before it began."""
        await store.watch_sub("closed", [])
        await store.watch_unsub("closed", [], close=True)

        for watch_id in ("never", "closed"):
            with pytest.raises(UnknownWatchError):
                await _next(store.watch_stream(watch_id))

    async def test_a_caller_that_is_away_too_long(self, store: StorageAdapter) -> None:
        """P12: busy with the rows beyond the lease."""
        await store.load_entities([SITE])
        watch = await store.watch_sub(None, ["site-1"], lease=_SHORT)
        await store.update({"id": Ref("site-1"), "x": MARKER})
        stream = store.watch_stream(watch.watch_id)
        await _next(stream)

        await asyncio.sleep(_SHORT + 0.2)

        with pytest.raises(UnknownWatchError) as caught:
            await _next(stream)
        assert caught.value.state == "expired"

    async def test_nothing_piles_up_behind_a_slow_caller(self, store: StorageAdapter) -> None:
        """As much as the watch has entities, however often these change meanwhile."""
        await store.load_entities({"id": Ref(f"e{i}")} for i in range(3))
        watch = await store.watch_sub(None, [f"e{i}" for i in range(3)])
        stream = store.watch_stream(watch.watch_id)
        await store.update({"id": Ref("e0"), "n": Number(0)})
        first = await asyncio.wait_for(_next(stream), 5)

        for n in range(1, 101):
            await store.set_live("e0", {"curVal": n})
            await store.update({"id": Ref("e1"), "n": Number(n)})
        await store.delete("e2")
        second = await asyncio.wait_for(_next(stream), 5)
        third = asyncio.ensure_future(_next(stream))
        done, _ = await asyncio.wait([third], timeout=0.3)
        third.cancel()
        await asyncio.wait([third])

        assert ids(first) == ["e0"]
        assert [row.get("curVal", row.get("n")) for row in second] == [Number(100)] * 2
        assert [id.val for id in second.removed] == ["e2"]
        assert not done

    async def test_an_override_that_ends_is_told(self, store: StorageAdapter) -> None:
        """W7: without anybody's call."""
        await store.load_entities([VALVE])
        watch = await store.watch_sub(None, ["valve-1"])
        await store.point_write("valve-1", 8, 5, "me", 0.8)
        stream = store.watch_stream(watch.watch_id)

        held = await asyncio.wait_for(_next(stream), 1)
        released = await asyncio.wait_for(_next(stream), 3)

        assert held[0]["writeVal"] == Number(5, "%")
        assert "writeVal" not in released[0]
        await _end(stream)

    async def test_it_tells_of_a_filter(self, store: StorageAdapter) -> None:
        """What comes, and what goes."""
        watch = await store.watch_filter("site")
        stream = store.watch_stream(watch.watch_id)
        await store.create(SITE)
        first = await asyncio.wait_for(_next(stream), 1)
        await store.delete("site-1")
        second = await asyncio.wait_for(_next(stream), 1)

        assert ids(first) == ["site-1"]
        assert second.removed == [Ref("site-1")]
        await _end(stream)

    async def test_nothing_is_lost(self, store: StorageAdapter) -> None:
        """P5: while several write."""
        await store.load_entities([{"id": Ref(f"e{i}"), "n": Number(0)} for i in range(4)])
        watch = await store.watch_sub(None, [f"e{i}" for i in range(4)])
        last: dict[str, float] = {}

        async def write(n: int) -> None:
            for i in range(1, 26):
                await store.update({"id": Ref(f"e{n}"), "n": Number(i)})

        async def follow() -> None:
            stream = store.watch_stream(watch.watch_id)
            async for rows in stream:
                last.update({row["id"].val: row["n"].val for row in rows})
                if list(last.values()) == [25.0] * 4:
                    break
            await _end(stream)

        await asyncio.wait_for(asyncio.gather(follow(), *(write(n) for n in range(4))), 30)

        assert last == {f"e{i}": 25.0 for i in range(4)}


async def _next(stream: AsyncIterator[WatchRows]) -> WatchRows:
    return await anext(stream)


async def _all(stream: AsyncIterator[WatchRows]) -> list[WatchRows]:
    return [rows async for rows in stream]


async def _end(stream: AsyncIterator[WatchRows]) -> None:
    await stream.aclose()  # type: ignore[attr-defined]  # it is a generator
