"""Every shape of filter at 100,000 and 1,000,000 entities, beside everybody who can answer it.

Run `python -m benchmarks.filters`. PostgreSQL is the server that HSORM_TEST_POSTGRES_URL or
`.servers.env` names; a database is made there for each size and dropped at the end. haystack-py
needs Python 3.13 (HSORM_BENCH_PYTHON313 says where, or it is looked for); it gets an environment
of its own in the user's cache folder, and is left out where that cannot be.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import statistics
import sys
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from importlib.metadata import version
from typing import Any

import asyncpg
from rich.console import Console

from benchmarks._data import Data, make_data
from benchmarks._hand import LONGEST, by_hand, fastest, hand_pool
from benchmarks._haystack import Haystack, Measured, haystack_python, open_haystack
from benchmarks._memory import in_memory, make_graph
from benchmarks._odd import check_exactness
from benchmarks._overhead import measure_overhead
from benchmarks._report import Report, show, write
from benchmarks._server import own_database
from benchmarks._shapes import Shape, make_shapes
from benchmarks._sqlite import measure_sqlite
from benchmarks._timing import Times, ratio, repeated
from hsorm.codecs import hayson
from hsorm.errors import StorageError
from hsorm.filter import compile_predicate, parse
from hsorm.kinds import Entity
from hsorm.storage import InMemoryAdapter
from hsorm.storage.timescale import TimescaleAdapter

_SIZES = {100_000: "shapes-100k", 1_000_000: "shapes-1m"}
_PARTS = ("postgres", "memory", "overhead", "sqlite")

_PEERS_UP_TO = 200_000
"""Entities that the peers and SQLite are asked about: a million take them minutes and gigabytes."""


@dataclass(slots=True)
class _Measured:
    """What was seen of one shape at one size; None is what was not asked.

    Attributes:
        shape: The shape.
        too_long: Whether hsorm took longer than a statement may.
        found: How many entities there are.
        times: Seconds of hsorm, and of SQL by hand: exact and loose.
        loose: What the loose SQL found.
        peer: haystack-py.
        memory: Seconds of InMemoryAdapter (`hsorm`) and EntityGraph (`rusty`), and what that found.
        evaluator: Seconds of the evaluator over all entities, and what it found.
    """

    shape: Shape
    too_long: bool = False
    found: int = 0
    times: Times = field(default_factory=dict)
    loose: int = 0
    peer: Measured | None = None
    memory: tuple[Times, int] | None = None
    evaluator: tuple[float, int] | None = None

    @property
    def median(self) -> float:
        return statistics.median(self.times["hsorm"])


# ---- PostgreSQL ---------------------------------------------------------------------------------


async def on_postgres(data: Data, args: argparse.Namespace, rows: list[_Measured]) -> str:
    """Measure hsorm, SQL by hand and haystack-py on one server; return what that is."""
    async with AsyncExitStack() as stack:
        dsn = await stack.enter_async_context(own_database())
        storage = await stack.enter_async_context(TimescaleAdapter(dsn))
        reader = await stack.enter_async_context(
            TimescaleAdapter(f"{dsn}?options=-c statement_timeout={LONGEST}s")
        )
        pool = await stack.enter_async_context(hand_pool(dsn))
        for batch in _batches(data):
            await storage.load_entities(batch)
        await pool.execute("VACUUM ANALYZE", timeout=600)
        peer = await _peer(stack, dsn, data)
        for row in rows:
            await _on_server(row, reader, pool, args.rounds)
            if peer is not None:
                row.peer = await peer.measure(row.shape.filter)
        server = await pool.fetchval("SHOW server_version")
    return f"PostgreSQL {server.split()[0]}"


def _batches(data: Data) -> Iterator[list[Entity]]:
    batch: list[Entity] = []
    for clone in data.clones():
        batch += clone
        if len(batch) >= 50_000:
            yield batch
            batch = []
    yield batch


async def _peer(stack: AsyncExitStack, dsn: str, data: Data) -> Haystack | None:
    if data.count > _PEERS_UP_TO or (python := haystack_python()) is None:
        return None
    return await stack.enter_async_context(open_haystack(dsn, python))


async def _on_server(
    row: _Measured, storage: TimescaleAdapter, pool: asyncpg.Pool[Any], rounds: int
) -> None:
    shape = row.shape
    variants = [by_hand(pool, sql, hayson.decode_entity, ordered=True) for sql in shape.exact]

    async def by_hsorm() -> list[Any]:
        return await storage.read(shape.filter)

    calls = {
        "hsorm": by_hsorm,
        "exact": await fastest(variants),
        "loose": by_hand(pool, shape.loose, hayson.decode_entity),
    }
    try:
        ours = await by_hsorm()
    except StorageError:
        row.too_long = True
        return
    exact, loose = await calls["exact"](), await calls["loose"]()
    assert [entity["id"] for entity in ours] == [entity["id"] for entity in exact], shape.filter
    row.found, row.loose = len(ours), len(loose)
    del ours, exact, loose
    row.times = await repeated(calls, rounds, budget=2.0, warm=6)


# ---- memory -------------------------------------------------------------------------------------


async def on_memory(data: Data, rows: list[_Measured], rounds: int) -> None:
    """Measure the evaluator over all entities; up to some size InMemoryAdapter and EntityGraph."""
    entities = data.entities
    gc.collect()
    gc.freeze()
    by_id = {entity["id"].val: entity for entity in entities}
    for row in rows:
        row.evaluator = _evaluate(row.shape.filter, entities, by_id)
    if data.count <= _PEERS_UP_TO:
        storage, graph = InMemoryAdapter(entities), make_graph(data)
        for row in rows:
            calls = in_memory(row.shape.filter, storage, graph)
            calls.pop("count")
            theirs: Any = await calls["rusty"]()
            row.memory = await repeated(calls, rounds, budget=0.5, warm=2), len(theirs)
    gc.unfreeze()


def _evaluate(filter: str, entities: list[Entity], by_id: dict[str, Entity]) -> tuple[float, int]:
    predicate, deref = compile_predicate(parse(filter)), by_id.get
    seconds: list[float] = []
    found = 0
    end = time.perf_counter() + 0.5
    while not seconds or (time.perf_counter() < end and len(seconds) < 20):
        start = time.perf_counter()
        found = sum(1 for entity in entities if predicate(entity, deref))
        seconds.append(time.perf_counter() - start)
    return statistics.median(seconds), found


# ---- tables -------------------------------------------------------------------------------------

_NONE = "–"


def shapes_report(data: Data, rows: list[_Measured], server: str) -> Report:
    peer = "haystack-py 0.1.10" if data.count <= _PEERS_UP_TO else "haystack-py not asked"
    return Report(
        _SIZES.get(data.count // 100_000 * 100_000, ""),
        f"Filters at {data.count:,} entities",
        f"{data.label}; {server}, asyncpg {version('asyncpg')}, "
        f"SQLAlchemy {version('SQLAlchemy')}, {peer}, rusty-haystack {version('rusty-haystack')}",
        (
            "shape",
            "filter",
            "found",
            "hsorm : exact SQL (≤ 1.2)",
            "hsorm : loose SQL",
            "haystack-py : hsorm (≥ 20)",
            "in memory, hsorm : rusty-haystack (≤ 1.0)",
            "evaluator over all : hsorm",
            "hsorm (ms)",
            "exact SQL (ms)",
        ),
        [_cells(row) for row in rows],
    )


def _cells(row: _Measured) -> tuple[str, ...]:
    if not row.times:
        instead = f"hsorm takes more than {LONGEST} s" if row.too_long else _NONE
        return (
            row.shape.name,
            f"`{row.shape.filter}`",
            _NONE,
            instead,
            *[_NONE] * 2,
            *_in_memory(row),
            _NONE,
            _NONE,
        )
    loose = ratio(row.times["hsorm"], row.times["loose"])[1]
    return (
        row.shape.name,
        f"`{row.shape.filter}`",
        f"{row.found:,}",
        ratio(row.times["hsorm"], row.times["exact"])[1],
        loose if row.loose == row.found else f"{loose}, finds {row.loose:,}",
        _peer_cell(row),
        *_in_memory(row),
        f"{row.median * 1e3:.2f}",
        f"{statistics.median(row.times['exact']) * 1e3:.2f}",
    )


def _peer_cell(row: _Measured) -> str:
    if row.peer is None:
        return _NONE
    if row.peer.error:
        return f"fails: {row.peer.error}"
    times = f"{statistics.median(row.peer.seconds) / row.median:.1f} ×"
    right = row.peer.found == row.found
    return times if right else f"wrong: finds {row.peer.found:,} ({times})"


def _in_memory(row: _Measured) -> tuple[str, str]:
    graph = evaluator = _NONE
    if row.memory is not None:
        times, theirs = row.memory
        graph = ratio(times["hsorm"], times["rusty"])[1]
        if row.times and theirs != row.found:
            graph = f"{graph}, finds {theirs:,}"
    if row.evaluator is not None and row.times:
        seconds, found = row.evaluator
        assert found == row.found, row.shape.filter
        evaluator = f"{seconds / row.median:.2f} ×"
    return graph, evaluator


def growth_report(
    small: Data, large: Data, before: list[_Measured], after: list[_Measured]
) -> Report:
    """Compare two sizes: what an index answers should cost by what is found."""
    rows = []
    for one, other in zip(before, after, strict=True):
        if one.too_long or other.too_long:
            cells = [_NONE] * 4
            cells[1] = f"more than {LONGEST} s"
            rows.append((one.shape.name, f"`{one.shape.filter}`", *cells, _NONE, _NONE))
            continue
        found, seconds = other.found / max(one.found, 1), other.median / one.median
        goal = f"{seconds / max(found, 1):.2f} ×" if one.shape.indexed else "a scan"
        rows.append(
            (
                one.shape.name,
                f"`{one.shape.filter}`",
                f"{one.found:,} → {other.found:,}",
                f"{found:.1f} ×",
                f"{seconds:.1f} ×",
                goal,
                f"{one.median * 1e3:.2f} → {other.median * 1e3:.2f}",
                f"{_exact(other) / _exact(one):.1f} ×",
            )
        )
    return Report(
        "growth",
        f"From {small.count:,} to {large.count:,} entities on PostgreSQL",
        large.label,
        (
            "shape",
            "filter",
            "found",
            "growth of what is found",
            "growth of hsorm's time",
            "time : found",
            "hsorm (ms)",
            "growth of exact SQL's time",
        ),
        rows,
    )


def _exact(row: _Measured) -> float:
    return statistics.median(row.times["exact"])


# ---- the run ------------------------------------------------------------------------------------


async def check(args: argparse.Namespace) -> None:
    """Compare all exact sides on odd entities, in a database of their own."""
    data = make_data(1)
    async with own_database() as dsn, TimescaleAdapter(dsn) as storage, hand_pool(dsn) as pool:
        await check_exactness(storage, pool, data, make_shapes(data))


async def reports(args: argparse.Namespace, parts: Sequence[str]) -> AsyncIterator[Report]:
    """Measure size by size."""
    if "overhead" in parts:
        # First, while this process has little memory that is free: it is measured, too.
        yield await on_overhead(make_data(min(args.entities)), args.different)
    measured: list[tuple[Data, list[_Measured]]] = []
    for size in args.entities:
        data = make_data(size)
        rows = [_Measured(shape) for shape in make_shapes(data)]
        server = "no server"
        if "postgres" in parts:
            server = await on_postgres(data, args, rows)
        if "memory" in parts:
            # Another object, whose entities are gone with it.
            await on_memory(make_data(size), rows, args.rounds)
            gc.collect()
        if "postgres" in parts or "memory" in parts:
            yield shapes_report(data, rows, server)
        measured.append((data, rows))
    if "postgres" in parts and len(measured) > 1:
        (small, before), (large, after) = measured[0], measured[-1]
        yield growth_report(small, large, before, after)
    if "sqlite" in parts and min(args.entities) <= _PEERS_UP_TO:
        yield await measure_sqlite(make_data(min(args.entities)))


async def on_overhead(data: Data, different: int) -> Report:
    """Measure what a filter costs beside its statement, in a database of its own."""
    async with own_database() as dsn, TimescaleAdapter(dsn) as storage, hand_pool(dsn) as pool:
        for batch in _batches(data):
            await storage.load_entities(batch)
        await pool.execute("VACUUM ANALYZE", timeout=600)
        return await measure_overhead(storage, data, different)


async def run(args: argparse.Namespace) -> None:
    """Measure, show, and write where that is asked for."""
    console = Console(width=None if sys.stdout.isatty() else 220)
    parts = args.only or list(_PARTS)
    start = time.perf_counter()
    if "postgres" in parts:
        await check(args)
    command = " ".join(["python -m benchmarks.filters", *sys.argv[1:]])
    async for report in reports(args, parts):
        show(report, console)
        console.print(f"after {time.perf_counter() - start:.0f} s")
        if args.write and report.name:
            write(report, command)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.filters", description=__doc__)
    parser.add_argument(
        "--entities", type=int, nargs="+", default=list(_SIZES), help="about how many, each size"
    )
    parser.add_argument("--rounds", type=int, default=5, help="the fewest of each side (5)")
    parser.add_argument(
        "--different", type=int, default=100_000, help="filters to remember none of"
    )
    parser.add_argument("--only", action="append", choices=_PARTS, help="one part, repeatable")
    parser.add_argument("--write", action="store_true", help="put the tables into the docs")
    asyncio.run(run(parser.parse_args()))


if __name__ == "__main__":
    main()
