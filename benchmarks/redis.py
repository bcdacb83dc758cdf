"""Redis: load, history and filters beside redis-py by hand and beside haystack-py, in one run.

`python -m benchmarks.redis` starts a Redis Stack of its own, without persistence, from the packages
that `make servers` has fetched; `--url` takes an empty server instead, which it empties again and
again. haystack-py runs in an environment of its own, with the redis-py that it works with.
"""

from __future__ import annotations

import argparse
import asyncio
import datetime as dt
import gc
import random
import statistics
import sys
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

from redis.asyncio import Redis
from rich.console import Console

from benchmarks._data import Data, make_data
from benchmarks._haystack import Haystack, haystack_python, run_haystack
from benchmarks._redis_hand import Hand
from benchmarks._report import Report, show, write
from benchmarks._server import own_redis
from benchmarks._timing import Times, in_turns, ratio, repeated
from hsorm import MARKER, Number, Ref
from hsorm.codecs import hayson
from hsorm.filter import parse
from hsorm.his import Span
from hsorm.his.instants import to_micros
from hsorm.kinds import Entity
from hsorm.redis_ops.entities import hash_of
from hsorm.redis_ops.index import TIMEOUT, ensure_index
from hsorm.redis_ops.keys import Bucket, Layout
from hsorm.storage._redis_core import selecting
from hsorm.storage.redis import RedisAdapter

_PARTS: Final = ("load", "history", "filters", "memory")
_DRIVER: Final = "redis==6.4.0"
"""The newest that haystack-py 0.1.10 works with: redis-py 8 parses searches otherwise."""

_THEIRS: Final = Path(__file__).with_name("_haystack_redis_py.py")
_FIRST: Final = dt.datetime(2024, 1, 1, tzinfo=dt.UTC)
_POINT: Final = "bench-point"


@dataclass(frozen=True, slots=True)
class Bench:
    """A server that is this run's alone, and what is measured on it."""

    url: str
    client: Redis
    haystack: Haystack | None
    versions: str
    data: Data
    items: int
    rounds: int

    async def empty(self) -> None:
        await self.client.flushall()

    async def theirs(self, request: dict[str, Any]) -> None:
        """Have haystack-py do something; its own time is what counts."""
        assert self.haystack is not None
        answer = await self.haystack.ask(request)
        if "error" in answer:
            raise RuntimeError(f"haystack-py: {answer['error']}")
        self_timed.append(answer["seconds"])


self_timed: list[float] = []
"""Seconds that haystack-py took by its own clock: without the way to its process and back."""


# ---- load ---------------------------------------------------------------------------------------


async def measure_load(bench: Bench) -> Report:
    """Entities into a server with an index and nothing else."""
    entities = bench.data.entities
    bucket = Layout("hand", ("hand",)).buckets[0]
    ready = _hashes(bucket, entities)
    hand = Hand(bench.client)

    async def by_hsorm() -> None:
        async with RedisAdapter(bench.url) as store:
            await store.load_entities(entities)

    async def by_hand() -> None:
        await _index(bench, bucket)
        await hand.load(ready)

    async def by_encoding_hand() -> None:
        await _index(bench, bucket)
        await hand.load(_hashes(bucket, entities))

    calls = {"hsorm": by_hsorm, "hashes": by_hand, "encode": by_encoding_hand}
    times = dict(await in_turns(calls, bench.rounds, before=bench.empty))
    labels = {
        "hsorm": "hsorm `load_entities`",
        "hashes": "pipelined HSET, fields ready made",
        "encode": "pipelined HSET, fields made from the entities",
    }
    if bench.haystack is not None:
        with _as_file(entities) as path:
            times["haystack"] = await _rounds(bench, {"load": path})
        labels["haystack"] = "haystack-py `load_entities`"
    return Report(
        "redis-load",
        f"Load into an indexed Redis, {bench.rounds} rounds",
        f"{bench.data.label}; {bench.versions}",
        ("side", "speed of hsorm beside it", "entities a second (median)", "lowest–highest"),
        _rates(times, labels, len(entities)),
    )


async def _index(bench: Bench, bucket: Bucket) -> None:
    async with RedisAdapter(bench.url) as store:
        await ensure_index(store.server, bucket, frozenset())


def _hashes(bucket: Bucket, entities: list[Entity]) -> list[tuple[str, dict[str, Any]]]:
    return [
        (bucket.entity(entity["id"].val), {**hash_of(entity, frozenset()), "v": "1"})
        for entity in entities
    ]


@contextmanager
def _as_file(entities: list[Entity]) -> Iterator[str]:
    """Lend the entities as Hayson, which both understand."""
    with tempfile.TemporaryDirectory(prefix="hsorm-bench-") as folder:
        path = Path(folder) / "entities.json"
        texts = map(hayson.encode_entity, entities)
        path.write_text("[" + ",\n".join(texts) + "]", "utf-8")
        yield str(path)


async def _rounds(bench: Bench, *requests: dict[str, Any], fresh: bool = True) -> list[float]:
    """Have haystack-py do requests round by round; return its times of the last one of them."""
    taken = []
    for _ in range(bench.rounds):
        if fresh:
            await bench.empty()
        for request in requests:
            await bench.theirs(request)
        taken.append(self_timed[-1])
    return taken


# ---- history ------------------------------------------------------------------------------------


async def measure_history(bench: Bench) -> list[Report]:
    """Items of one point, once a minute."""
    items = [
        {"ts": _FIRST + dt.timedelta(minutes=at), "val": Number(20 + at % 97 / 10, "kW")}
        for at in range(bench.items)
    ]
    stamps = [to_micros(item["ts"]) for item in items]  # type: ignore[arg-type]
    values = [item["val"].val for item in items]  # type: ignore[attr-defined]
    span = Span(_FIRST, _FIRST + dt.timedelta(minutes=bench.items))
    text = f"{span.start:%Y-%m-%dT%H:%M:%SZ},{span.end:%Y-%m-%dT%H:%M:%SZ}"
    hand = Hand(bench.client)
    await bench.empty()
    async with RedisAdapter(bench.url) as store:

        async def anew() -> None:
            await bench.client.delete(*_keys(store))
            await store.load_entities([_point()])
            await hand.empty_series()

        async def write_hsorm() -> None:
            await store.his_write(_POINT, items)

        async def write_hand() -> None:
            await hand.write(stamps, values)

        async def read_hsorm() -> None:
            assert len(await store.his_read(_POINT, text)) == bench.items

        async def arrays_hsorm() -> None:
            assert len((await store.his_numpy(_POINT, text)).ts) == bench.items

        async def read_hand() -> None:
            assert len(await hand.read()) == bench.items

        writes = {"hsorm": write_hsorm, "hand": write_hand}
        reads = {"hsorm": read_hsorm, "arrays": arrays_hsorm, "hand": read_hand}
        written = dict(await in_turns(writes, bench.rounds, before=anew))
        await anew()
        await write_hsorm()
        await write_hand()
        read = dict(await in_turns(reads, bench.rounds))
        rolled = dict(await in_turns(_rollups(bench, store, hand, text), bench.rounds))
    if bench.haystack is not None:
        write, ask = {"write": _POINT, "items": bench.items}, {"read": _POINT}
        written["haystack"] = await _rounds(bench, write)
        read["haystack"] = await _rounds(bench, ask, fresh=False)
    return [
        _history_report(bench, "write", written),
        _history_report(bench, "read", read),
        _history_report(bench, "rollup", rolled),
    ]


def _rollups(
    bench: Bench, store: RedisAdapter, hand: Hand, text: str
) -> dict[str, Callable[[], Awaitable[None]]]:
    hours = -(-bench.items // 60)

    async def by_hsorm() -> None:
        assert len((await store.his_rollup(_POINT, text, "1hr", "avg"))[_POINT]) == hours

    async def by_items() -> None:
        assert len((await store.his_rollup(_POINT, text, "1hr", "twa"))[_POINT]) == hours

    async def by_hand() -> None:
        assert len(await hand.rollup(3_600_000_000)) == hours

    return {"hsorm": by_hsorm, "items": by_items, "hand": by_hand}


_HISTORY: Final = {
    "write": {
        "hsorm": "hsorm `his_write`",
        "hand": "pipelined TS.MADD",
        "haystack": "haystack-py `his_write`",
    },
    "read": {
        "hsorm": "hsorm `his_read`: datetimes in the point's zone, kinds",
        "arrays": "hsorm, arrays",
        "hand": "TS.RANGE, lists of stamp and float",
        "haystack": "haystack-py `his_read`: datetimes in UTC",
    },
    "rollup": {
        "hsorm": "hsorm `his_rollup`, the average of each hour, by the series",
        "items": "hsorm `his_rollup`, `twa` of each hour, which takes all items",
        "hand": "TS.RANGE … AGGREGATION avg, lists of stamp and float",
    },
}


def _history_report(bench: Bench, what: str, times: Times) -> Report:
    return Report(
        f"redis-his-{what}",
        f"History in Redis, {what}: {bench.items:,} items of one point, {bench.rounds} rounds",
        bench.versions,
        ("side", "speed of hsorm beside it", "items a second (median)", "lowest–highest"),
        _rates(times, _HISTORY[what], bench.items, also="arrays"),
    )


def _point() -> Entity:
    tags = {"point": MARKER, "his": MARKER, "kind": "Number", "unit": "kW", "tz": "Oslo"}
    return {"id": Ref(_POINT), **tags}


def _keys(store: RedisAdapter) -> list[str]:
    base = store.layout.buckets[0].base
    return [f"{base}{kind}:{_POINT}" for kind in "hbo"]


# ---- filters ------------------------------------------------------------------------------------


async def measure_filters(bench: Bench) -> Report:
    """Filters whose answer the index has, beside the same query by hand, documents decoded."""
    await bench.empty()
    hand, rows = Hand(bench.client), []
    async with RedisAdapter(bench.url) as store:
        await store.load_entities(bench.data.entities)
        for filter in _filters(bench.data):
            plan = await store._plan(parse(filter))
            bucket = store.layout.buckets[0]
            words = ["FT.SEARCH", bucket.alias, plan.query, "RETURN", 2, "tags", "live"]
            words += ["LIMIT", 0, 1_000_000, "TIMEOUT", TIMEOUT, "DIALECT", 2]
            same = selecting(bucket, str(plan.query), ("tags", "live"))
            calls = {
                "hsorm": lambda filter=filter: store.read(filter),
                "hand": lambda words=words: hand.search(words),
                "same": lambda same=same: hand.search(same),
                "count": lambda filter=filter: store.read_count(filter),
            }
            found = len(await store.read(filter))
            times = await repeated(calls, bench.rounds)
            rows.append(_filter_row(filter, found, times))
    return Report(
        "redis-filters",
        "Filters on Redis, beside the same query by redis-py and `json.loads` of what it finds",
        f"{bench.data.label}; {bench.versions}",
        (
            "filter",
            "found",
            "time of `read` : FT.SEARCH",
            "`read` : FT.AGGREGATE",
            "`read` (ms)",
            "FT.SEARCH (ms)",
            "`read_count` (ms)",
        ),
        rows,
    )


def _filters(data: Data) -> list[str]:
    return [
        "site",
        f"ahu and siteRef==@{data.site}",
        "discharge and air and temp and sensor",
        f"siteRef==@{data.site}",
        "point and equipRef->ahu",
        f'dis=="{data.dis}"',
        'point and kind=="Bool"',
        "equip and not ahu",
    ]


def _filter_row(filter: str, found: int, times: Times) -> tuple[str, ...]:
    ratios = (ratio(times["hsorm"], times[side])[1] for side in ("hand", "same"))
    medians = (f"{statistics.median(times[side]) * 1e3:.2f}" for side in ("hsorm", "hand", "count"))
    return (f"`{filter}`", f"{found:,}", *ratios, *medians)


# ---- memory -------------------------------------------------------------------------------------


async def measure_memory(bench: Bench) -> Report:
    """What entities add to the server's memory, and what it says that history takes."""
    rows = []
    async with RedisAdapter(bench.url) as store:
        await bench.empty()
        await store.close()
        await store.connect()
        before = await _used(bench)
        entities = bench.data.entities
        await store.load_entities(entities)
        grown = (await _used(bench) - before) / len(entities)
        rows.append(("an entity, with its index", f"{grown:,.0f}", f"{len(entities):,}"))
        for what, (kind, item) in _HISTORIES.items():
            items = [item(at) for at in range(bench.items)]
            await store.load_entities([{**_point(), "kind": kind}])
            await store.his_write(_POINT, items)
            usages = [await bench.client.memory_usage(key, samples=0) or 0 for key in _keys(store)]
            rows.append((what, f"{sum(usages) / bench.items:,.1f}", f"{bench.items:,}"))
            await store.delete(_POINT)
        await store.load_entities([_point()])
        await store.his_write(_POINT, [_minutely(0)])
        first = await bench.client.memory_usage(_keys(store)[0], samples=0)
        rows.append(("a point with a single Number", f"{first:,}", "1"))
    return Report(
        "redis-memory",
        "Memory of Redis",
        f"{bench.data.label}; {bench.versions}",
        ("what", "bytes of each", "measured over"),
        rows,
    )


_random = random.Random(7)


def _minutely(at: int, later: dt.timedelta = dt.timedelta(), val: Any = None) -> dict[str, Any]:
    number = Number(round(20 + _random.gauss(0, 3), 2), "kW")
    return {"ts": _FIRST + dt.timedelta(minutes=at) + later, "val": number if val is None else val}


_HISTORIES: Final[dict[str, tuple[str, Callable[[int], dict[str, Any]]]]] = {
    "a Number, once a minute": ("Number", _minutely),
    "a Number, about once a minute, to the millisecond": (
        "Number",
        lambda at: _minutely(at, dt.timedelta(milliseconds=_random.randrange(500))),
    ),
    "a Number, about once a minute, to the microsecond": (
        "Number",
        lambda at: _minutely(at, dt.timedelta(microseconds=_random.randrange(500_000))),
    ),
    "a Bool, once a minute": ("Bool", lambda at: _minutely(at, val=at % 7 < 3)),
    "a Str of 6 letters, once a minute": ("Str", lambda at: _minutely(at, val=f"mode {at % 5}")),
}


async def _used(bench: Bench) -> int:
    await asyncio.sleep(1)  # until what clients' buffers took is given back
    return int((await bench.client.info("memory"))["used_memory"])


# ---- all of it ----------------------------------------------------------------------------------


def _rates(
    times: Times, labels: dict[str, str], count: int, also: str = ""
) -> list[tuple[str, ...]]:
    rows: list[tuple[str, ...]] = []
    for side, label in labels.items():
        if side not in times:
            continue
        rates = sorted(count / seconds for seconds in times[side])
        beside = "" if side == "hsorm" else ratio(times[side], times["hsorm"])[1]
        if side == also:  # ours, too: it stands beside the raw command
            beside = f"beside TS.RANGE {ratio(times['hand'], times[side])[1]}"
        rates_text = f"{rates[0]:,.0f}–{rates[-1]:,.0f}/s"
        rows.append((label, beside, f"{statistics.median(rates):,.0f}/s", rates_text))
    return rows


async def reports(bench: Bench, parts: list[str]) -> AsyncIterator[Report]:
    """Measure part by part."""
    if "load" in parts:
        yield await measure_load(bench)
    if "history" in parts:
        for report in await measure_history(bench):
            yield report
    if "filters" in parts:
        yield await measure_filters(bench)
    if "memory" in parts:
        yield await measure_memory(bench)


@asynccontextmanager
async def _haystack(url: str) -> AsyncIterator[tuple[Haystack | None, str]]:
    python = haystack_python(_DRIVER)
    if python is None:
        print("haystack-py is left out: no Python 3.13", file=sys.stderr)
        yield None, ""
        return
    async with run_haystack(python, _THEIRS) as haystack:
        answer = await haystack.ask({"url": url})
        yield haystack, f"; {answer['version']}"


async def run(args: argparse.Namespace) -> None:
    """Measure, show, and write where that is asked for."""
    console = Console(width=None if sys.stdout.isatty() else 160)
    data = make_data(args.entities)
    command = " ".join(["python -m benchmarks.redis", *sys.argv[1:]])
    with own_redis(args.url) as url:
        async with Redis.from_url(url) as client, _haystack(url) as (haystack, theirs):
            info = await client.info("server")
            versions = f"Redis {info['redis_version']}, redis-py {version('redis')}{theirs}"
            bench = Bench(url, client, haystack, versions, data, args.items, args.rounds)
            len(data.entities)  # made before anything is measured
            gc.collect()
            gc.freeze()
            async for report in reports(bench, args.only or list(_PARTS)):
                show(report, console)
                if args.write:
                    write(report, command)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.redis", description=__doc__)
    parser.add_argument("--entities", type=int, default=100_000, help="about how many (100,000)")
    parser.add_argument("--items", type=int, default=300_000, help="of history (300,000)")
    parser.add_argument("--rounds", type=int, default=7, help="of each side (7)")
    parser.add_argument("--only", action="append", choices=_PARTS, help="one part, repeatable")
    parser.add_argument("--url", help="an empty server instead of an own one; IT IS EMPTIED")
    parser.add_argument("--write", action="store_true", help="put the tables into the docs")
    asyncio.run(run(parser.parse_args()))


if __name__ == "__main__":
    main()
