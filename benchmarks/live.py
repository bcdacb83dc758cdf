"""Commits, live tags, watches, points and the change feed, beside SQL by hand.

Run `python -m benchmarks.live`. PostgreSQL is the server that HSORM_TEST_POSTGRES_URL or
`.servers.env` names; a database is made there and dropped at the end. Redis is one of its own,
without persistence. The sides take turns; a ratio is the median of the ratios of all rounds, with
its quartiles. Memory has nothing beside it.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import statistics
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any, Protocol, TypeAlias, cast

import asyncpg
from redis.asyncio import Redis
from rich.console import Console

from benchmarks._data import Data, make_data
from benchmarks._live_hand import PostgresHand, RedisHand, SqliteHand
from benchmarks._report import Report, show, write
from benchmarks._server import own_database, own_redis
from benchmarks._timing import Call, Times, ratio, repeated
from hsorm import Diff
from hsorm.kinds import MARKER, Entity, Number, Ref
from hsorm.storage import InMemoryAdapter
from hsorm.storage.redis import RedisAdapter
from hsorm.storage.sqlite import SqliteAdapter
from hsorm.storage.timescale import TimescaleAdapter

_BACKENDS = ("memory", "sqlite", "postgres", "redis")
_BATCH = 100
_WATCHED = 10_000
_FEED = 1_000
_PUSHES = 100
_WRITABLE = "bench-writable"


class Side(Protocol):
    """Who does the work: hsorm, or somebody by hand."""

    async def commit(self, ids: Sequence[str], note: int) -> object: ...
    async def set_live(self, ids: Sequence[str], number: int) -> object: ...


class FullSide(Side, Protocol):
    """One that watches and writes points, too."""

    async def poll(self) -> list[Any]: ...
    async def point_write(self, id: str, number: int) -> object: ...
    async def feed(self, limit: int) -> list[Any]: ...


Sides: TypeAlias = dict[str, Side]
Store: TypeAlias = InMemoryAdapter | SqliteAdapter | TimescaleAdapter | RedisAdapter


class Hsorm:
    """The side of hsorm, over any storage."""

    def __init__(self, store: Store, watch: str) -> None:
        self._store = store
        self._watch = watch
        self._known: dict[str, Entity] = {}

    async def commit(self, ids: Sequence[str], note: int) -> object:
        if not self._known.keys() >= set(ids):
            found = await self._store.read_by_ids(ids)
            self._known |= {entity["id"].val: entity for entity in found if entity}
        made = await self._store.commit(
            [Diff.update(self._known[id], {"note": str(note)}) for id in ids]
        )
        self._known |= {done.new["id"].val: done.new for done in made if done.new}
        return made

    async def set_live(self, ids: Sequence[str], number: int) -> object:
        tags = {"curVal": Number(number), "curStatus": "ok"}
        await self._store.set_live_batch(dict.fromkeys(ids, tags))
        return None

    async def poll(self) -> list[Any]:
        return await self._store.watch_poll(self._watch)

    async def point_write(self, id: str, number: int) -> object:
        return await self._store.point_write(id, 16, Number(number), "bench")

    async def feed(self, limit: int) -> list[Any]:
        return await self._store.changes(limit=limit)


# ---- the storages -------------------------------------------------------------------------------


@asynccontextmanager
async def opened(backend: str, data: Data) -> AsyncIterator[tuple[Store, Sides, list[str]]]:
    """Lend a storage with the entities in it, its sides, and the ids of watched points."""
    if backend == "memory":
        async with InMemoryAdapter() as memory:
            ids = await _fill(memory, data)
            yield memory, {"hsorm": Hsorm(memory, "w-hsorm")}, ids
    elif backend == "sqlite":
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "bench.db"
            async with SqliteAdapter(path) as lite:
                ids = await _fill(lite, data)
                hand = SqliteHand(path, "w-hand")
                await hand.open()
                yield lite, {"hsorm": Hsorm(lite, "w-hsorm"), "hand": hand}, ids
                await hand.close()
    elif backend == "redis":
        with own_redis() as url:
            async with RedisAdapter(url) as redis, Redis.from_url(url) as client:
                ids = await _fill(redis, data)
                raw_side = RedisHand(client, redis.layout.buckets[0])
                yield redis, {"hsorm": Hsorm(redis, "w-hsorm"), "hand": raw_side}, ids
    else:
        async with own_database() as dsn, TimescaleAdapter(dsn) as server:
            ids = await _fill(server, data)
            raw = await asyncpg.connect(dsn, server_settings={"jit": "off"})
            await raw.execute("VACUUM ANALYZE", timeout=600)
            by_hand = PostgresHand(raw, "w-hand")
            yield server, {"hsorm": Hsorm(server, "w-hsorm"), "hand": by_hand}, ids
            await raw.close()


async def _fill(store: Store, data: Data) -> list[str]:
    """Load the entities, give each point live tags, and open a watch for each side."""
    points: list[str] = []
    for clone in data.clones():
        await store.load_entities(clone)
        points += [entity["id"].val for entity in clone if "point" in entity]
    await store.create({
        "id": Ref(_WRITABLE), "point": MARKER, "writable": MARKER, "kind": "Number",
    })  # fmt: skip
    for batch in _cut(points):
        tags = {"curVal": Number(0), "curStatus": "ok"}
        await store.set_live_batch(dict.fromkeys(batch, tags))
    step = max(1, len(points) // _WATCHED)
    watched = points[::step][:_WATCHED]
    for watch in ("w-hsorm", "w-hand"):
        await store.watch_sub(watch, watched, lease=3_600)
    return watched


def _cut(ids: list[str]) -> list[list[str]]:
    return [ids[start : start + 5_000] for start in range(0, len(ids), 5_000)]


# ---- what is measured ---------------------------------------------------------------------------


async def measured(backend: str, data: Data, rounds: int) -> AsyncIterator[tuple[str, ...]]:
    """Yield the rows of one backend."""
    async with opened(backend, data) as (store, sides, ids):
        for name, times, things in await _rates(sides, ids, rounds):
            yield _row(backend, name, times, things)
        yield _push_row(backend, await _push(store, ids[0]))


async def _rates(sides: Sides, ids: list[str], rounds: int) -> list[tuple[str, Times, int]]:
    """Return what was done, how long it took, and how many things one call does."""
    numbers = itertools.count(1)
    # Each side has rows of its own to change, so that none waits for what the other left behind.
    own = {side: ids[place * _BATCH :][:_BATCH] for place, side in enumerate(sides)}
    found: list[tuple[str, Times, int]] = []

    async def measure(name: str, things: int, calls: dict[str, Call]) -> None:
        found.append((name, await repeated(calls, rounds, budget=1.5), things))

    for size, label in ((1, "one"), (_BATCH, f"batches of {_BATCH}")):
        given = {name: (side, own[name][:size]) for name, side in sides.items()}
        await measure(
            f"commits, {label}",
            size,
            {
                name: partial(_numbered, side.commit, ids, numbers)
                for name, (side, ids) in given.items()
            },
        )
        await measure(
            f"live updates, {label}",
            size,
            {
                name: partial(_numbered, side.set_live, ids, numbers)
                for name, (side, ids) in given.items()
            },
        )
    full = {name: side for name, side in sides.items() if not isinstance(side, RedisHand)}
    watching: dict[str, FullSide] = cast("dict[str, FullSide]", full)
    for side in watching.values():
        await side.poll()
    await measure(
        f"polls of {len(ids):,} ids, idle", 1, {name: side.poll for name, side in watching.items()}
    )
    found.append(
        (
            f"polls of {len(ids):,} ids, {_BATCH} changed",
            await _polls_of_changes(watching, ids[:_BATCH], numbers, max(rounds, 15)),
            1,
        )
    )
    await measure(
        "point writes",
        1,
        {
            name: partial(_numbered, side.point_write, _WRITABLE, numbers)
            for name, side in watching.items()
        },
    )
    await measure(
        "change feed entries",
        _FEED,
        {name: partial(side.feed, _FEED) for name, side in watching.items()},
    )
    return found


async def _numbered(
    call: Callable[[Any, int], Awaitable[Any]], what: Any, numbers: itertools.count[int]
) -> None:
    await call(what, next(numbers))


async def _polls_of_changes(
    sides: dict[str, FullSide], ids: list[str], numbers: itertools.count[int], rounds: int
) -> Times:
    times: dict[str, list[float]] = {name: [] for name in sides}
    for number in range(rounds):
        for name in list(sides)[:: 1 if number % 2 == 0 else -1]:
            await sides["hsorm"].set_live(ids, next(numbers))
            start = time.perf_counter()
            rows = await sides[name].poll()
            times[name].append(time.perf_counter() - start)
            assert len(rows) == len(ids), (name, len(rows))
    return times


async def _push(store: Store, id: str) -> list[float]:
    """Return the seconds from the return of a change to the arrival of its row, sorted."""
    await store.watch_sub("w-push", [id], lease=60)
    arrived: asyncio.Queue[float] = asyncio.Queue()

    async def listen() -> None:
        async for _ in store.watch_stream("w-push"):
            arrived.put_nowait(time.perf_counter())

    task = asyncio.create_task(listen())
    await asyncio.sleep(0.5)
    took = []
    for number in range(_PUSHES):
        start = time.perf_counter()
        await store.set_live(id, {"curVal": Number(number)})
        took.append(await asyncio.wait_for(arrived.get(), 10) - start)
        await asyncio.sleep(0.01 + number % 7 * 0.007)
    await store.watch_unsub("w-push", [], close=True)
    await asyncio.wait_for(task, 10)
    return sorted(took)


def _row(backend: str, name: str, times: Times, things: int) -> tuple[str, ...]:
    rates = {side: things / statistics.median(took) for side, took in times.items()}
    if "hand" not in times:
        return (backend, name, "", f"{rates['hsorm']:,.0f}/s", "")
    speed = ratio(times["hand"], times["hsorm"])[1]
    return (backend, name, speed, f"{rates['hsorm']:,.0f}/s", f"{rates['hand']:,.0f}/s")


def _push_row(backend: str, took: Sequence[float]) -> tuple[str, ...]:
    middle, worst = (took[int(len(took) * part)] * 1e3 for part in (0.5, 0.99))
    return (backend, "push", "", f"p50 {middle:.0f} ms, p99 {worst:.0f} ms", "")


async def run(args: argparse.Namespace) -> None:
    """Measure, show, and write where that is asked for."""
    data = make_data(args.entities)
    rows: list[tuple[str, ...]] = []
    for backend in args.only or _BACKENDS:
        async for row in measured(backend, data, args.rounds):
            print(*row, sep="  ", file=sys.stderr, flush=True)
            rows.append(row)
    columns = ("backend", "what", "speed of hsorm beside SQL by hand", "hsorm", "by hand")
    title = "Commits, live tags, watches, points and the change feed"
    report = Report("live", title, data.label, columns, rows)
    show(report, Console(width=None if sys.stdout.isatty() else 160))
    if args.write:
        write(report, " ".join(["python -m benchmarks.live", *sys.argv[1:]]))


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.live", description=__doc__)
    parser.add_argument("--entities", type=int, default=100_000, help="about how many (100,000)")
    parser.add_argument("--rounds", type=int, default=7, help="the fewest of each side (7)")
    parser.add_argument("--only", action="append", choices=_BACKENDS, help="one, repeatable")
    parser.add_argument("--write", action="store_true", help="put the table into the docs")
    asyncio.run(run(parser.parse_args()))


if __name__ == "__main__":
    main()
