"""Priority arrays (rules W1–W14)."""

from __future__ import annotations

import asyncio
import datetime as dt
import math
from collections.abc import Awaitable, Callable
from decimal import Decimal
from typing import Any, Final

import pytest

from hsorm.errors import PointWriteError, UnknownEntityError
from hsorm.kinds import MARKER, NA, REMOVE, Entity, Number, Ref
from hsorm.ops.commits import Diff
from hsorm.storage.protocol import StorageAdapter
from hsorm.testing.conformance.examples import SITE, foreign

__all__ = ["PointTests"]

VALVE: Final[Entity] = {
    "id": Ref("valve-1"),
    "dis": "Valve 1",
    "point": MARKER,
    "writable": MARKER,
    "kind": "Number",
    "unit": "%",
}

_SOON: Final = 0.2
"""Seconds that an override lasts in these tests."""


async def eventually(holds: Callable[[], Awaitable[bool]]) -> None:
    """Wait until something holds, for as long as a storage may take to see that a time is over."""
    deadline = asyncio.get_running_loop().time() + 3
    while not await holds():
        assert asyncio.get_running_loop().time() < deadline, "it never came to hold"
        await asyncio.sleep(0.05)


def _held(rows: list[Entity]) -> dict[int, Any]:
    """Return what an array holds, by level."""
    return {int(row["level"].val): row["val"] for row in rows if "val" in row}


def _written(entity: Entity) -> tuple[Any, Any]:
    return entity.get("writeVal"), entity.get("writeLevel")


class PointTests:
    """`point_write`, `point_array`, `point_sweep`."""

    async def test_an_array_that_nobody_has_written(self, store: StorageAdapter) -> None:
        """W1, W12: 17 rows with their names, and nothing in them."""
        await store.load_entities([VALVE])

        rows = await store.point_array("valve-1")

        assert [row["level"] for row in rows] == [Number(n) for n in range(1, 18)]
        names = ["1 (emergency)", *"234567", "8 (manual)", "9", *map(str, range(10, 17)), "def"]
        assert [row["levelDis"] for row in rows] == names
        assert all(row.keys() == {"level", "levelDis"} for row in rows)
        assert _written(await store.read_by_id("valve-1")) == (None, None)

    async def test_the_lowest_level_wins(self, store: StorageAdapter) -> None:
        """W2, W3, W4: levels are independent; the effective value is in the live tags."""
        await store.load_entities([VALVE])
        before = await store.read_by_id("valve-1")
        seen = []
        for level, val in ((17, 5), (10, 50), (16, 60), (10, None), (16, None), (17, None)):
            await store.point_write("valve-1", level, val, "me")
            seen.append(_written(await store.read_by_id("valve-1")))

        assert seen == [
            (Number(5, "%"), Number(17)),
            (Number(50, "%"), Number(10)),
            (Number(50, "%"), Number(10)),
            (Number(60, "%"), Number(16)),
            (Number(5, "%"), Number(17)),
            (None, Number(17)),
        ]
        assert (await store.read_by_id("valve-1"))["mod"] == before["mod"]

    async def test_filters_see_what_was_written(self, store: StorageAdapter) -> None:
        """W4."""
        await store.load_entities([VALVE, {**VALVE, "id": Ref("valve-2")}])
        await store.point_write("valve-1", 10, 50, "me")

        assert await store.read_count("writeVal > 40% and writeLevel == 10") == 1

    async def test_the_answer_is_the_array(self, store: StorageAdapter) -> None:
        """W12: value, text and who; a release has who, too (W11)."""
        await store.load_entities([VALVE])
        await store.point_write("valve-1", 10, 50, "ann")
        await store.point_write(Ref("valve-1"), 12, 1, "bob")

        rows = await store.point_write("@valve-1", 12, None, "cy")

        assert rows == await store.point_array("valve-1")
        assert rows[9] == {
            "level": Number(10),
            "levelDis": "10",
            "val": Number(50, "%"),
            "valDis": "50%",
            "who": "ann",
        }
        assert rows[11] == {"level": Number(12), "levelDis": "12", "who": "cy"}
        assert _held(rows) == {10: Number(50, "%")}

    @pytest.mark.parametrize(
        ("tags", "val", "text"),
        [
            ({"kind": "Bool"}, True, "true"),
            ({"kind": "Bool", "enum": "off,on"}, False, "off"),
            ({"kind": "Bool", "enum": "off,slow,fast"}, True, "true"),
            ({"kind": "Str"}, "auto", "auto"),
            ({}, Number(math.inf), "INF"),
            ({}, Number(12.5), "12.5%"),
        ],
    )
    async def test_values_of_each_kind(
        self, store: StorageAdapter, tags: dict[str, Any], val: Any, text: str
    ) -> None:
        """W5, W12: and what they are as text."""
        await store.load_entities([{**VALVE, **tags}])

        rows = await store.point_write("valve-1", 16, val, "me")

        stored = Number(val.val, "%") if isinstance(val, Number) else val
        assert rows == await store.point_array("valve-1")
        assert (rows[15]["val"], rows[15]["valDis"]) == (stored, text)
        assert (await store.read_by_id("valve-1"))["writeVal"] == stored

    async def test_false_and_nought_are_values(self, store: StorageAdapter) -> None:
        """W3."""
        await store.load_entities([{**VALVE, "kind": "Bool"}])
        await store.point_write("valve-1", 17, True, "me")
        await store.point_write("valve-1", 10, False, "me")

        assert _written(await store.read_by_id("valve-1")) == (False, Number(10))

    @pytest.mark.parametrize("make", [Decimal, "int64", "float32"])
    async def test_numbers_of_other_libraries_are_taken(
        self, store: StorageAdapter, make: Any
    ) -> None:
        """W5–W7: as level, as value, as seconds."""
        await store.load_entities([VALVE])
        eight, fifty = foreign(make, 8), foreign(make, 50)

        rows = await store.point_write("valve-1", eight, fifty, "me", foreign(make, 60))

        assert _held(rows) == {8: Number(50, "%")}
        assert 0 < rows[7]["expires"].val <= 60

    @pytest.mark.parametrize(
        ("level", "expected"), [(Number(8.9), 8), (8.9, 8), (1, 1), (17.5, 17), (Number(16), 16)]
    )
    async def test_levels_are_cut(self, store: StorageAdapter, level: Any, expected: int) -> None:
        """W6."""
        await store.load_entities([VALVE])

        assert _held(await store.point_write("valve-1", level, 5, "me")).keys() == {expected}

    @pytest.mark.parametrize(
        "arguments",
        [
            (0, 5, "me"),
            (0.9, 5, "me"),
            (18, 5, "me"),
            (-1, 5, "me"),
            (math.nan, 5, "me"),
            ("8", 5, "me"),
            (True, 5, "me"),
            (10, 5, ""),
            (10, 5, None),
            (10, 5, "a\0b"),
            (10, True, "me"),
            (10, "5", "me"),
            (10, NA, "me"),
            (10, REMOVE, "me"),
            (10, object(), "me"),
            (10, Number(5, "kW"), "me"),
            (8, 5, "me", "soon"),
            (8, 5, "me", 0),
            (8, 5, "me", -1),
            (8, 5, "me", math.nan),
            (8, 5, "me", Number(5, "kW")),
            (8, 5, "me", Number(5)),
            (8, 5, "me", dt.timedelta(seconds=-1)),
        ],
    )
    async def test_what_does_not_fit_changes_nothing(
        self, store: StorageAdapter, arguments: tuple[Any, ...]
    ) -> None:
        """W5, W6, W7."""
        await store.load_entities([VALVE])
        await store.point_write("valve-1", 9, 1, "before")
        before = await store.point_array("valve-1"), await store.read_by_id("valve-1")

        with pytest.raises(PointWriteError) as caught:
            await store.point_write("valve-1", *arguments)

        assert caught.value.id == "valve-1"
        assert (await store.point_array("valve-1"), await store.read_by_id("valve-1")) == before

    @pytest.mark.parametrize(
        "tags",
        [
            {"point": REMOVE},
            {"writable": REMOVE},
            {"kind": REMOVE},
            {"kind": MARKER},
            {"kind": "Coord"},
            {"unit": REMOVE, "x": Number(5, "%")},
        ],
    )
    async def test_points_that_cannot_be_written(
        self, store: StorageAdapter, tags: dict[str, Any]
    ) -> None:
        """W5."""
        await store.load_entities([{**VALVE, **tags}])

        with pytest.raises(PointWriteError):
            await store.point_write("valve-1", 10, Number(5, "%"), "me")

        assert "writeLevel" not in await store.read_by_id("valve-1")

    async def test_an_unknown_point_is_an_error(self, store: StorageAdapter) -> None:
        """W12, R10: also one in the trash."""
        await store.load_entities([{**VALVE, "trash": MARKER}, SITE])

        for id in ("valve-1", "gone", "no id"):
            with pytest.raises(UnknownEntityError):
                await store.point_write(id, 10, 5, "me")
            with pytest.raises(UnknownEntityError):
                await store.point_array(id)
        with pytest.raises(PointWriteError):
            await store.point_array("site-1")

    async def test_the_current_value_can_track_it(self, store: StorageAdapter) -> None:
        """W4: `curTracksWrite`."""
        await store.load_entities([{**VALVE, "curTracksWrite": MARKER}])
        await store.point_write("valve-1", 10, 50, "me")
        held = await store.read_by_id("valve-1")
        await store.point_write("valve-1", 10, None, "me")
        released = await store.read_by_id("valve-1")

        assert (held["curVal"], held["curStatus"]) == (Number(50, "%"), "ok")
        assert released["curStatus"] == "ok"
        assert "curVal" not in released

    # ---- events ---------------------------------------------------------------------------------

    async def test_only_what_changes_the_value_is_an_event(self, store: StorageAdapter) -> None:
        """W9: the same again is none, nor is another who, nor a level that does not win."""
        await store.load_entities([VALVE])
        await store.point_write("valve-1", 10, 5, "ann")
        watch = await store.watch_sub(None, ["valve-1"])
        seen = []
        for level, val, who in (
            (10, 5, "ann"),
            (10, 5, "bob"),
            (12, 7, "ann"),
            (12, None, "ann"),
            (10, 6, "ann"),
            (9, 6, "ann"),
        ):
            await store.point_write("valve-1", level, val, who)
            seen.append(len(await store.watch_poll(watch.watch_id)))

        assert seen == [0, 0, 0, 0, 1, 1]
        assert (await store.point_array("valve-1"))[9]["who"] == "ann"

    async def test_another_who_is_kept(self, store: StorageAdapter) -> None:
        """W9."""
        await store.load_entities([VALVE])
        await store.point_write("valve-1", 10, 5, "ann")

        rows = await store.point_write("valve-1", 10, 5, "bob")

        assert rows[9]["who"] == "bob"

    # ---- time -----------------------------------------------------------------------------------

    @pytest.mark.parametrize(
        "duration",
        [_SOON, Number(200, "ms"), Number(_SOON, "sec"), dt.timedelta(seconds=_SOON)],
    )
    async def test_an_override_is_released(self, store: StorageAdapter, duration: Any) -> None:
        """W7: by itself, for whoever reads; who wrote it stays."""
        await store.load_entities([VALVE])
        await store.point_write("valve-1", 17, 5, "me")
        rows = await store.point_write("valve-1", 8, 50, "ann", duration)
        assert rows[7]["val"] == Number(50, "%")
        assert rows[7]["expires"].unit == "sec"
        assert 0 < rows[7]["expires"].val <= _SOON

        async def released() -> bool:
            return _written(await store.read_by_id("valve-1")) == (Number(5, "%"), Number(17))

        await eventually(released)
        row = (await store.point_array("valve-1"))[7]
        assert row == {"level": Number(8), "levelDis": "8 (manual)", "who": "ann"}

    async def test_a_count_and_a_watch_see_the_release(self, store: StorageAdapter) -> None:
        """W7: each by itself, without anybody else's call."""
        await store.load_entities([VALVE, {**VALVE, "id": Ref("valve-2")}])
        watch = await store.watch_sub(None, ["valve-2"])

        await store.point_write("valve-1", 8, 50, "me", _SOON)

        async def counted() -> bool:
            return await store.read_count("writeVal") == 0

        await eventually(counted)
        await store.point_write("valve-2", 8, 50, "me", 4 * _SOON)
        assert len(await store.watch_poll(watch.watch_id)) == 1
        polled: list[Entity] = []

        async def told() -> bool:
            polled.extend(await store.watch_poll(watch.watch_id))
            return bool(polled)

        await eventually(told)
        assert len(polled) == 1
        assert _written(polled[0]) == (None, Number(17))

    async def test_a_sweep_says_how_many(self, store: StorageAdapter) -> None:
        """W7: each release is counted once, whoever made it."""
        await store.load_entities({**VALVE, "id": Ref(f"v{i}")} for i in range(3))
        for i in range(3):
            await store.point_write(f"v{i}", 8, i, "me", _SOON if i else 60)
        too_early = await store.point_sweep()

        await asyncio.sleep(_SOON + 0.1)

        assert too_early == 0
        assert await store.point_sweep() == 2
        assert await store.point_sweep() == 0
        assert await store.read_count("writeVal") == 1

    async def test_writing_again_resets_the_time(self, store: StorageAdapter) -> None:
        """W8: with a duration a new one, without one there is none; also of the same value."""
        await store.load_entities([{**VALVE, "id": Ref(id)} for id in ("longer", "for-ever")])
        for id in ("longer", "for-ever"):
            await store.point_write(id, 8, 50, "me", _SOON)

        longer = await store.point_write("longer", 8, 50, "me", 60)
        for_ever = await store.point_write("for-ever", 8, 50, "me")

        assert 50 < longer[7]["expires"].val <= 60
        assert "expires" not in for_ever[7]
        await asyncio.sleep(_SOON + 0.1)
        assert await store.point_sweep() == 0
        assert await store.read_count("writeVal") == 2

    async def test_elsewhere_a_duration_means_nothing(self, store: StorageAdapter) -> None:
        """W7: on other levels, and for a release."""
        await store.load_entities([VALVE])

        rows = await store.point_write("valve-1", 9, 5, "me", _SOON)
        rows += await store.point_write("valve-1", 8, None, "me", _SOON)

        assert not any("expires" in row for row in rows)
        await asyncio.sleep(_SOON + 0.1)
        assert _held(await store.point_array("valve-1")) == {9: Number(5, "%")}

    async def test_other_levels_leave_the_time(self, store: StorageAdapter) -> None:
        """W2, W8."""
        await store.load_entities([VALVE])
        await store.point_write("valve-1", 8, 50, "me", 60)

        rows = await store.point_write("valve-1", 7, 5, "me")

        assert 50 < rows[7]["expires"].val <= 60

    # ---- the life of an array -------------------------------------------------------------------

    @pytest.mark.parametrize("name", ["point", "writable"])
    async def test_a_point_that_is_none_loses_its_array(
        self, store: StorageAdapter, name: str
    ) -> None:
        """W14: it does not come back with the tag."""
        await store.load_entities([VALVE])
        await store.point_write("valve-1", 10, 50, "me")

        await store.update({"id": Ref("valve-1"), name: REMOVE})
        with pytest.raises(PointWriteError):
            await store.point_array("valve-1")
        without = await store.read_by_id("valve-1")
        await store.update({"id": Ref("valve-1"), name: MARKER})

        assert _written(without) == (None, None)
        assert _held(await store.point_array("valve-1")) == {}

    async def test_a_point_that_is_none_shows_no_array(self, store: StorageAdapter) -> None:
        """W14: whoever set the tags, by an update as by a commit."""
        for n, change in enumerate(({"writable": REMOVE}, {"point": REMOVE})):
            await store.load_entities([VALVE])
            await store.set_live("valve-1", {"writeVal": 5, "writeLevel": 3, "curVal": 1})

            if n:
                await store.commit(Diff.update("valve-1", change, force=True))
            else:
                await store.update({"id": Ref("valve-1"), **change})

            entity = await store.read_by_id("valve-1")
            assert (_written(entity), entity["curVal"]) == ((None, None), Number(1))

    async def test_a_removed_point_loses_its_array(self, store: StorageAdapter) -> None:
        """W14: a new one of the same id begins without."""
        await store.load_entities([VALVE])
        await store.point_write("valve-1", 8, 50, "me", 60)

        await store.delete("valve-1")
        await store.create(VALVE)

        assert _held(await store.point_array("valve-1")) == {}
        assert _written(await store.read_by_id("valve-1")) == (None, None)

    async def test_an_array_outlives_the_trash(self, store: StorageAdapter) -> None:
        """W14: it is still writable."""
        await store.load_entities([VALVE])
        await store.point_write("valve-1", 10, 50, "me")

        await store.update({"id": Ref("valve-1"), "trash": MARKER})
        restored = await store.update({"id": Ref("valve-1"), "trash": REMOVE})

        assert _written(restored) == (Number(50, "%"), Number(10))
        assert _held(await store.point_array("valve-1")) == {10: Number(50, "%")}

    async def test_an_array_outlives_a_load_and_shows(self, store: StorageAdapter) -> None:
        """W4: whatever the file says was written."""
        await store.load_entities([VALVE, {**VALVE, "id": Ref("valve-2")}])
        await store.point_write("valve-1", 10, 50, "me")

        other = {**VALVE, "id": Ref("valve-2"), "writeVal": 3}
        await store.load_entities([{**VALVE, "writeVal": 1, "curVal": 2}, other])

        found = await store.read_by_id("valve-1")
        assert _written(found) == (Number(50, "%"), Number(10))
        assert found["curVal"] == Number(2)
        assert _held(await store.point_array("valve-1")) == {10: Number(50, "%")}
        assert _written(await store.read_by_id("valve-2")) == (Number(3), None)

    async def test_many_writers_at_a_time(self, store: StorageAdapter) -> None:
        """W2: none undoes another."""
        await store.load_entities([VALVE])

        await asyncio.gather(
            *(store.point_write("valve-1", level, level, f"w{level}") for level in range(1, 18))
        )

        rows = await store.point_array("valve-1")
        assert _held(rows) == {level: Number(level, "%") for level in range(1, 18)}
        assert [row["who"] for row in rows] == [f"w{level}" for level in range(1, 18)]
        assert _written(await store.read_by_id("valve-1")) == (Number(1, "%"), Number(1))
