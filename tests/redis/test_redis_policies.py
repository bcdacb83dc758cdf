"""What becomes of history in Redis as it grows old."""

from __future__ import annotations

import datetime as dt
import logging
import math
from typing import Any

import pytest

from hsorm.errors import InvalidRollupError, StorageError
from hsorm.his.rollup import parse_interval
from hsorm.his.span import ALWAYS
from hsorm.kinds import MARKER, NA, Number, Ref
from hsorm.storage._redis_policies import before
from hsorm.storage.redis import RedisAdapter

UTC = dt.UTC
DAY = dt.timedelta(days=1)
VALUES = [1, NA, math.inf, 2]


def _now() -> dt.datetime:
    return dt.datetime.now(UTC).replace(microsecond=0)


async def _points(store: RedisAdapter, *ids: str, **tags: Any) -> None:
    point = {"point": MARKER, "his": MARKER, "kind": "Number", "tz": "UTC", **tags}
    await store.load_entities([{"id": Ref(id), **point} for id in ids])


async def _size(store: RedisAdapter, id: str) -> int:
    return len(await store.his_read(id, ALWAYS))


async def test_what_is_older_is_deleted_of_whatever_kind(any_redis_url: str) -> None:
    """Numbers, and what stands beside them; also what is before 1970. Nobody is told."""
    now = _now()
    async with RedisAdapter(any_redis_url) as store:
        await _points(store, *(f"p{n}" for n in range(5)))
        old = [now - 40 * DAY + n * DAY for n in range(4)]
        new = [now - 4 * DAY + n * DAY for n in range(4)]
        dead = dt.datetime(1951, 1, 1, tzinfo=UTC)
        items = [
            {"ts": ts, "val": val}
            for part in (old, new)
            for ts, val in zip(part, VALUES, strict=True)
        ]
        for n in range(4):
            await store.his_write(f"p{n}", [{"ts": dead, "val": 0}, *items])
        cursor = (await store.changes()).cursor

        ran = await store.run_his_policy(keep="30day")

        assert (ran.compressed, ran.dropped) == (0, 4 * 5)
        assert [await _size(store, f"p{n}") for n in range(5)] == [4, 4, 4, 4, 0]
        assert await store.changes(cursor) == []
        assert (await store.run_his_policy()).dropped == 0  # nothing is set


async def test_the_policy_is_kept_by_who_writes(any_redis_url: str) -> None:
    """Also by one who wrote before it was set; older items can still be written, for an hour."""
    now = _now()
    async with RedisAdapter(any_redis_url) as store, RedisAdapter(any_redis_url) as other:
        await _points(store, "p", "q")
        await store.his_write("p", [{"ts": now - 400 * DAY, "val": 1}, {"ts": now, "val": 2}])
        assert (await store.his_policy()).keep is None

        assert (await store.set_his_policy(keep="1yr")).keep == "1yr"
        assert await _size(store, "p") == 2
        await store.his_write("q", [{"ts": now, "val": 1}])
        assert await _size(store, "p") == 1

        # Once an hour, whoever it is.
        await other.his_write("p", [{"ts": now - 400 * DAY, "val": 1}])
        assert await _size(store, "p") == 2
        assert (await other.run_his_policy()).dropped == 1
        assert (await other.remove_his_policy("keep")).keep is None
        await other.his_write("p", [{"ts": now - 400 * DAY, "val": 1}])
        assert (await store.run_his_policy()).dropped == 0


async def test_a_write_is_made_whatever_becomes_of_old_history(
    redis_url: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def failing(*_: object) -> int:
        raise StorageError("no")

    async with RedisAdapter(redis_url) as store:
        await _points(store, "p")
        await store.set_his_policy(keep="1yr")
        monkeypatch.setattr(store, "_drop", failing)
        with caplog.at_level(logging.WARNING):
            await store.his_write("p", [{"ts": _now(), "val": 1}])

        assert "old history was not deleted: no" in caplog.text
        assert await _size(store, "p") == 1


async def test_what_is_not_of_redis_is_an_error(redis_store: RedisAdapter) -> None:
    with pytest.raises(StorageError, match="TimescaleDB"):
        await redis_store.set_his_policy(chunk="1day")
    with pytest.raises(StorageError, match="TimescaleDB"):
        await redis_store.run_his_policy(compress_after="1day")
    with pytest.raises(InvalidRollupError):
        await redis_store.set_his_policy(keep="old")

    assert (await redis_store.his_policy()).keep is None


@pytest.mark.parametrize(
    ("interval", "expected"),
    [
        ("90sec", "2024-03-31T11:58:30"),
        ("1hr", "2024-03-31T11:00:00"),
        ("1day", "2024-03-30T12:00:00"),
        ("2wk", "2024-03-17T12:00:00"),
        ("1mo", "2024-02-29T12:00:00"),
        ("15mo", "2022-12-31T12:00:00"),
        ("1yr", "2023-03-31T12:00:00"),
        ("5000yr", "0001-01-03T00:00:00"),
        (Number(900_000, "wk"), "0001-01-03T00:00:00"),
    ],
)
def test_months_are_those_of_the_calendar(interval: Any, expected: str) -> None:
    now = dt.datetime(2024, 3, 31, 12, tzinfo=UTC)

    assert f"{before(now, parse_interval(interval)):%Y-%m-%dT%H:%M:%S}".zfill(19) == expected
