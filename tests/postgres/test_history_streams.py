"""Arrow streams longer than what is put in order in memory."""

from __future__ import annotations

import datetime as dt

import pyarrow as pa
import pytest

from hsorm import MARKER, Ref
from hsorm.errors import HisWriteError
from hsorm.his import ALWAYS
from hsorm.storage.memory import InMemoryAdapter
from hsorm.storage.timescale import TimescaleAdapter

_POINT = {"point": MARKER, "his": MARKER, "tz": "UTC"}
POINTS = [
    {"id": Ref("n"), "kind": "Number", **_POINT},
    {"id": Ref("longer"), "kind": "Number", **_POINT},
    {"id": Ref("b"), "kind": "Bool", **_POINT},
]
NOON = dt.datetime(2024, 3, 1, 12, tzinfo=dt.UTC)
REMOVED = '{"_kind":"remove"}'


@pytest.fixture(params=[3, 1_000], ids=["in parts", "at once"])
def _short_parts(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hsorm.his.arrays._PART", 2)
    monkeypatch.setattr("hsorm.storage._postgres_history._MOST_ROWS", request.param)


@pytest.mark.usefixtures("_short_parts")
async def test_a_stream_is_merged_like_any_write(store: TimescaleAdapter) -> None:
    """H26, H27: new items, items that are there, removals and repeated ones, in any order."""
    await store.load_entities(POINTS)
    ids = ["n", "b", "longer", "n", "b", "n", "longer", "n", "b"]
    objs = [None, "true", None, None, REMOVED, REMOVED, None, None, "false"]
    seconds = [3, 1, 2, 1, 1, 2, 2, 1, 5]
    stamps = [NOON + dt.timedelta(seconds=second) for second in seconds]
    table = pa.table({"id": ids, "ts": stamps, "val": [float(n) for n in range(9)], "obj": objs})
    before = {"n": [{"ts": NOON + dt.timedelta(seconds=n), "val": 90.0 + n} for n in range(4)]}

    async with InMemoryAdapter(POINTS) as memory:
        for each in (store, memory):
            await each.his_write_batch(before)
            await each.his_write_batch(table)
        expected = await memory.his_read_batch(["n", "longer", "b"], ALWAYS)

    assert await store.his_read_batch(["n", "longer", "b"], ALWAYS) == expected
    assert len(expected["n"]) == 3


@pytest.mark.usefixtures("_short_parts")
async def test_an_item_that_is_refused_at_last_leaves_nothing(store: TimescaleAdapter) -> None:
    """All or nothing; the error names the row of the stream."""
    await store.load_entities(POINTS)
    stamps = [NOON + dt.timedelta(seconds=n) for n in range(9)]
    table = pa.table({"id": ["n"] * 9, "ts": stamps, "val": [*range(8), None]})

    with pytest.raises(HisWriteError) as caught:
        await store.his_write_batch(table)

    assert (caught.value.id, caught.value.index) == ("n", 8)
    assert await store.his_summary("n") == {}
