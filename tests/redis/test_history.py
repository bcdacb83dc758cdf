"""History in Redis: any write reads back as the reference does, on one server and on a cluster."""

from __future__ import annotations

import asyncio
import datetime as dt
import math
import secrets
from collections.abc import Iterator, Sequence
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from redis.asyncio import Redis, RedisCluster

from hsorm.errors import StorageError
from hsorm.his.span import Span
from hsorm.kinds import MARKER, NA, REMOVE, Coord, Kind, Number, Ref
from hsorm.redis_ops.history import CHUNK, Extent, HisKeys, Rows, key_of, packed
from hsorm.redis_ops.scripts import Script
from hsorm.storage._memory_state import Series
from hsorm.storage._paused_gc import paused_gc
from hsorm.storage.redis import RedisAdapter
from tests.backends import variable

UTC = dt.UTC
EPOCH = dt.datetime(1970, 1, 1, tzinfo=UTC)
MICRO = dt.timedelta(microseconds=1)
ALWAYS = Span(dt.datetime(1, 1, 2, tzinfo=UTC), dt.datetime(9999, 12, 30, tzinfo=UTC))
NEW_YORK = ZoneInfo("America/New_York")
Item = tuple[dt.datetime, Kind]


WRITE = (
    Script("history", "base").source
    + """
local last = 2 + 2 * tonumber(ARGV[2])
write_items(ARGV[1], ARGV, 3, last, last + 1, #ARGV)
"""
)
"""The script's part that writes, without the entity and those who are told."""


class Point:
    """One point on a server, by the commands that the module makes."""

    def __init__(self, client: Redis | RedisCluster, id: str = "p") -> None:
        self.client = client
        self.base = f"{{hsorm-test-{secrets.token_hex(6)}}}:"
        self.id = id
        self.keys = HisKeys.of(self.base, id)

    async def write(self, items: Sequence[Item], clear: Span | None = None) -> None:
        puts, gone = packed(items, clear)
        flat = [word for put in puts for word in put]
        await self.client.eval(WRITE, 1, self.base, self.id, len(puts), *flat, *gone)

    async def at_once(self, commands: Sequence[tuple[Any, ...]]) -> list[Any]:
        async with self.client.pipeline(transaction=True) as pipe:
            for command in commands:
                pipe.execute_command(*command)
            return await pipe.execute(raise_on_error=False)

    async def rows(self, span: Span = ALWAYS, limit: int | None = None) -> Rows:
        return Rows.of(await self.at_once(Rows.commands(self.keys, span, limit)))

    async def read(self, span: Span = ALWAYS, limit: int | None = None) -> list[Item]:
        found = (await self.rows(span, limit)).items(ZoneInfo("UTC"), "kW", limit)
        return [(item["ts"], item["val"]) for item in found]

    async def before(self, ts: dt.datetime) -> list[Item]:
        answers = await self.at_once(Rows.commands_before(self.keys, ts))
        return Rows.of(answers).last("kW")

    async def extent(self) -> Extent:
        return Extent.of(await self.at_once(Extent.commands(self.keys)))

    async def remove(self) -> None:
        await self.client.delete(*self.keys)


PROTOCOLS = [(kind, protocol) for kind in ("redis", "cluster") for protocol in (2, 3)]
VARIABLES = {"redis": "HSORM_TEST_REDIS_URL", "cluster": "HSORM_TEST_REDIS_CLUSTER_URL"}


def _client(kind: str, protocol: int) -> Redis | RedisCluster:
    url = variable(VARIABLES[kind])
    if url is None:
        pytest.skip(f"{VARIABLES[kind]} is not set: make servers")
    made = RedisCluster if kind == "cluster" else Redis
    return made.from_url(url, protocol=protocol)


@pytest.fixture(scope="module")
def loop() -> Iterator[asyncio.AbstractEventLoop]:
    made = asyncio.new_event_loop()
    yield made
    made.close()


@pytest.fixture(params=PROTOCOLS, ids=lambda one: f"{one[0]}-resp{one[1]}", scope="module")
def client(
    request: pytest.FixtureRequest, loop: asyncio.AbstractEventLoop
) -> Iterator[Redis | RedisCluster]:
    made = _client(*request.param)
    yield made
    loop.run_until_complete(made.aclose())


@pytest.fixture
def point(client: Redis | RedisCluster, loop: asyncio.AbstractEventLoop) -> Iterator[Point]:
    made = Point(client)
    yield made
    loop.run_until_complete(made.remove())


# ---- the reference ------------------------------------------------------------------------------

# Close together, so that writes meet; and at the edges: 1950, around 1970, where a double no longer
# tells microseconds apart, and the last year.
STAMPS = st.one_of(
    st.integers(0, 12),
    st.integers(-3, 3),
    st.integers(1_700_000_000_000_000, 1_700_000_000_000_012),
    st.integers(2**53 - 2, 2**53 + 4),
    st.sampled_from([-631_152_000_000_000, 253_402_127_999_999_999]),
)
INSTANTS = STAMPS.map(lambda stamp: EPOCH + stamp * MICRO)
VALUES: st.SearchStrategy[Kind] = st.one_of(
    st.floats(allow_nan=True).map(lambda val: Number(val + 0.0, "kW")),
    st.sampled_from([Number(0, "kW"), Number(0.1 + 0.2, "kW"), Number(5e-324, "kW")]),
    st.booleans(),
    st.text(st.characters(blacklist_characters="\0", blacklist_categories=["Cs"]), max_size=5),
    st.sampled_from([NA, REMOVE, Coord(37.5, -77.4)]),
)
BATCHES = st.lists(
    st.dictionaries(INSTANTS, VALUES, min_size=1, max_size=8).map(
        lambda one: sorted(one.items(), key=lambda item: item[0])
    ),
    max_size=5,
)


def _same(found: Sequence[Item], expected: Sequence[Item]) -> bool:
    """Values equal and of one kind: True is 1 to Python, and NaN is nothing."""

    def plain(item: Item) -> tuple[Any, ...]:
        ts, val = item
        number = repr(val.val) if isinstance(val, Number) else None
        return ts, type(val), number, None if number else val

    return [plain(item) for item in found] == [plain(item) for item in expected]


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@example(batches=[[(EPOCH, True)], [(EPOCH, Number(1, "kW"))]], start=EPOCH, end=EPOCH + MICRO)
@example(batches=[[(EPOCH, "on")], [(EPOCH, NA)]], start=EPOCH, end=EPOCH + MICRO)
@example(batches=[[(EPOCH - MICRO, "on"), (EPOCH, "off")]], start=EPOCH - MICRO, end=EPOCH)
@given(batches=BATCHES, start=INSTANTS, end=INSTANTS)
def test_any_writes_read_back_as_the_reference_does(
    point: Point,
    loop: asyncio.AbstractEventLoop,
    batches: list[list[Item]],
    start: dt.datetime,
    end: dt.datetime,
) -> None:
    """H13, H15, H16, H27, OC 15, OC 16, OC 31."""

    async def both() -> None:
        await point.remove()
        reference = Series()
        for batch in batches:
            await point.write(batch)
            reference.write(batch)
        span = Span(min(start, end), max(start, end))
        assert _same(await point.read(), list(reference.within(ALWAYS)))
        inside = list(reference.within(span))
        assert _same(await point.read(span), inside)
        assert _same(await point.read(span, 2), inside[:2])
        before = list(reference.within(Span(ALWAYS.start, start)))
        assert _same(await point.before(start), before[-1:])
        stamps = reference.stamps
        expected = Extent(len(stamps), stamps[0], stamps[-1]) if stamps else Extent(0, None, None)
        assert await point.extent() == expected
        samples = (await point.rows()).samples()
        assert [EPOCH + int(ts) * MICRO for ts in samples.ts] == stamps
        await point.write([], clear=span)
        rest = [item for item in reference.within(ALWAYS) if not span.start <= item[0] < span.end]
        assert _same(await point.read(), rest)

    loop.run_until_complete(both())


@settings(max_examples=300)
@given(STAMPS, STAMPS)
def test_keys_sort_as_their_instants_do(one: int, other: int) -> None:
    assert (key_of(one) < key_of(other)) == (one < other)


# ---- examples -----------------------------------------------------------------------------------


def _minutes(count: int, first: int = 1_700_000_000) -> list[dt.datetime]:
    return [EPOCH + dt.timedelta(seconds=first + 60 * at) for at in range(count)]


def test_many_items_go_in_chunks_and_come_back_whole(
    point: Point, loop: asyncio.AbstractEventLoop
) -> None:
    items: list[Item] = [
        (ts, Number(at / 7, "kW")) for at, ts in enumerate(_minutes(3 * CHUNK + 1))
    ]

    async def both() -> list[Item]:
        await point.write(items)
        await point.write(items[: CHUNK + 1])
        return await point.read()

    assert loop.run_until_complete(both()) == items


def test_a_kind_that_changes_leaves_no_second_item(
    point: Point, loop: asyncio.AbstractEventLoop
) -> None:
    """H16: the old items stay as they were written; one that is written anew has the new kind."""
    stamps = _minutes(4)

    async def both() -> list[Item]:
        await point.write([(ts, Number(1, "kW")) for ts in stamps])
        await point.write([(stamps[1], True), (stamps[2], "one")])
        await point.write([(stamps[2], False)])
        return await point.read()

    found = loop.run_until_complete(both())
    assert _same(
        found,
        [
            (stamps[0], Number(1, "kW")),
            (stamps[1], True),
            (stamps[2], False),
            (stamps[3], Number(1, "kW")),
        ],
    )


def test_arrays_have_each_kind_in_its_place(point: Point, loop: asyncio.AbstractEventLoop) -> None:
    stamps = _minutes(5)
    values: list[Kind] = [Number(1.5, "kW"), True, "on", Number(math.inf, "kW"), NA]

    async def both() -> Any:
        await point.write(list(zip(stamps, values, strict=True)))
        return (await point.rows()).samples()

    samples = loop.run_until_complete(both())
    assert [EPOCH + int(ts) * MICRO for ts in samples.ts] == stamps
    assert samples.val.tolist()[:2] == [1.5, 1.0]
    assert math.isnan(samples.val[2])
    assert math.isinf(samples.val[3])
    assert samples.obj == {1: "true", 2: '"on"', 4: '{"_kind":"na"}'}


def test_local_times_of_a_day_that_repeats_an_hour(
    point: Point, loop: asyncio.AbstractEventLoop
) -> None:
    first = dt.datetime(2024, 11, 2, 22, tzinfo=UTC)
    stamps = [first + dt.timedelta(minutes=30 * at) for at in range(40)]

    async def both() -> list[Any]:
        await point.write([(ts, Number(1)) for ts in stamps])
        return (await point.rows()).items(NEW_YORK, None)

    found = [item["ts"] for item in loop.run_until_complete(both())]
    expected = [ts.astimezone(NEW_YORK) for ts in stamps]
    assert [(ts.replace(tzinfo=None), ts.fold) for ts in found] == [
        (ts.replace(tzinfo=None), ts.fold) for ts in expected
    ]


def test_a_series_without_items_takes_no_memory(
    point: Point, loop: asyncio.AbstractEventLoop
) -> None:
    stamps = _minutes(2)

    async def both() -> int:
        await point.write([(stamps[0], Number(1)), (stamps[1], True)])
        await point.write([(stamps[0], REMOVE), (stamps[1], REMOVE)])
        return sum([await point.client.exists(key) for key in point.keys])

    assert loop.run_until_complete(both()) == 0


def test_a_series_that_refuses_a_sample_is_an_error(
    point: Point, loop: asyncio.AbstractEventLoop
) -> None:
    """Somebody has set a retention on it: what is older is refused, never left out in silence."""

    async def both() -> None:
        stamps = _minutes(2)
        await point.write([(stamps[1], Number(1))])
        await point.client.execute_command("TS.ALTER", point.keys.numbers, "RETENTION", 1)
        with pytest.raises(Exception, match=r"[Rr]etention"):
            await point.write([(stamps[0], Number(1))])

    loop.run_until_complete(both())


async def test_what_a_server_refuses_is_a_storage_error(redis_store: RedisAdapter) -> None:
    """It comes as the answer to one command of several, as "no such series" does."""
    tags = {"point": MARKER, "his": MARKER, "kind": "Number", "tz": "UTC"}
    await redis_store.load_entities([{"id": Ref("p"), **tags}])
    (bucket,) = redis_store.layout.buckets
    keys = HisKeys.of(bucket.base, "p")
    await redis_store.server.write(bucket, "SET", keys.numbers, "no series")

    for call in (
        redis_store.his_read("p", "today"),
        redis_store.his_summary("p"),
        redis_store.his_numpy("p", "today"),
        redis_store.his_rollup("p", "today", "1hr", "avg"),
    ):
        with pytest.raises(StorageError, match="WRONGTYPE"):
            await call


def test_the_collector_is_as_it_was_when_all_reads_are_over() -> None:
    import gc

    assert gc.isenabled()
    with paused_gc():
        with paused_gc():
            assert not gc.isenabled()
        assert not gc.isenabled()
    assert gc.isenabled()
    gc.disable()
    try:
        with paused_gc():
            pass
        assert not gc.isenabled()
    finally:
        gc.enable()
