"""Long reads, whose next page is fetched while one is decoded."""

from __future__ import annotations

import asyncio
import datetime as dt
from typing import Any

import asyncpg
import psycopg
import pytest

from hsorm import MARKER, NA, Number, Ref
from hsorm.errors import CodecError
from hsorm.his import ALWAYS, Span
from hsorm.his.arrays import Columns
from hsorm.storage import _postgres_history
from hsorm.storage.timescale import TimescaleAdapter
from tests.backends import libpq

_START = dt.datetime(2024, 3, 30, tzinfo=dt.UTC)
_HOUR = dt.timedelta(hours=1)
_PAGE = 8


@pytest.fixture(autouse=True)
def short_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_postgres_history, "_PAGE", _PAGE)
    monkeypatch.setattr(_postgres_history, "_MANY", 0)


async def _filled(store: TimescaleAdapter, count: int) -> list[dict[str, Any]]:
    point = {"point": MARKER, "his": MARKER, "kind": "Number", "unit": "kW", "tz": "Berlin"}
    await store.load_entities([{"id": Ref("p"), **point}, {"id": Ref("q"), **point}])
    await store.his_clear("p")
    items = [
        {"ts": _START + i * _HOUR, "val": NA if i % 7 == 3 else Number(i, "kW")}
        for i in range(count)
    ]
    await store.his_write("p", items)
    return items


@pytest.mark.parametrize("count", [0, 1, _PAGE - 1, _PAGE, _PAGE + 1, 5 * _PAGE, 100])
async def test_pages_are_one_answer(store: TimescaleAdapter, count: int) -> None:
    """Whatever is on the last page; over a change of the clocks, values that are no Numbers."""
    items = await _filled(store, count)

    found = await store.his_read("p", ALWAYS)

    assert found == items
    assert {str(item["ts"].tzinfo) for item in found} <= {"Europe/Berlin"}
    span = Span(_START + 2 * _HOUR, _START + 30 * _HOUR)
    assert await store.his_read("p", span) == items[2:30]


@pytest.mark.parametrize("count", [0, _PAGE, 50])
async def test_columns_in_pages(
    store: TimescaleAdapter, monkeypatch: pytest.MonkeyPatch, count: int
) -> None:
    """As a point is read that has more items than one value of the server's holds."""
    await _filled(store, count)
    points = await store._reading_points(["p", "q"])
    whole = [_shown(columns) for columns in await store._his_columns(points, ALWAYS)]
    monkeypatch.setattr(_postgres_history, "_LONG_PAGE", _PAGE)

    assert [_shown(columns) for columns in await store._long_columns(points, ALWAYS)] == whole
    assert len(whole[0][0]) == count
    assert len(whole[0][2]) == len(range(3, count, 7))


def _shown(columns: Columns) -> tuple[list[int], str, dict[int, str]]:
    return columns.ts.tolist(), str(columns.val.tolist()), columns.obj


async def test_pages_are_of_one_moment(
    store: TimescaleAdapter, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What others commit between two pages is in none of them."""
    items = await _filled(store, 50)
    decode = _postgres_history._items
    pages: list[Any] = []

    def delete_and_decode(*page: Any) -> Any:
        if not pages:
            with psycopg.connect(libpq(store.engine.url)) as other:
                other.execute("DELETE FROM history")
        pages.append(page)
        return decode(*page)

    monkeypatch.setattr(_postgres_history, "_items", delete_and_decode)

    assert await store.his_read("p", ALWAYS) == items
    assert len(pages) == 7
    assert await store.his_read("p", ALWAYS) == []


async def test_a_page_that_cannot_be_decoded(
    store: TimescaleAdapter, sql: asyncpg.Connection[Any]
) -> None:
    """An error while the next page is under way; the connection can be used again."""
    items = await _filled(store, 50)
    await sql.execute("UPDATE history SET val = NULL, obj = '{\"_kind\": \"date\"}' "
                      "WHERE ts = $1", _START + 10 * _HOUR)  # fmt: skip

    with pytest.raises(CodecError):
        await store.his_read("p", ALWAYS)

    assert await store.his_read("p", Span(_START, _START + 10 * _HOUR)) == items[:10]


async def test_pages_can_be_cancelled(
    store: TimescaleAdapter, sql: asyncpg.Connection[Any]
) -> None:
    """While the server is waited for: nothing is left behind."""
    await _filled(store, 50)
    async with sql.transaction():
        await sql.execute("LOCK TABLE history IN ACCESS EXCLUSIVE MODE")
        reading = asyncio.ensure_future(store.his_read("p", ALWAYS))
        await asyncio.sleep(0.1)
        reading.cancel()
        with pytest.raises(asyncio.CancelledError):
            await reading

    assert len(await store.his_read("p", ALWAYS)) == 50


async def test_an_hour_that_comes_twice(store: TimescaleAdapter) -> None:
    """The last item has the wall clock of the first one, an hour later."""
    await _filled(store, 0)
    first = dt.datetime(2024, 10, 27, 0, 30, tzinfo=dt.UTC)
    items = [{"ts": first + i * dt.timedelta(seconds=30), "val": i} for i in range(121)]
    await store.his_write("p", items)

    found = await store.his_read("p", ALWAYS)

    assert [item["ts"].astimezone(dt.UTC) for item in found] == [item["ts"] for item in items]
