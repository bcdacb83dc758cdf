"""History on PostgreSQL beside COPY, SQL and ADBC by hand, and beside haystack-py.

Run `python -m benchmarks.history`. PostgreSQL is the server that HSORM_TEST_POSTGRES_URL or
`.servers.env` names; a database is made there and dropped at the end. The sides take turns on one
table with the same rows; a ratio is the median of the ratios of all rounds, with its quartiles.
"""

from __future__ import annotations

import argparse
import asyncio
import datetime as dt
import gc
import json
import statistics
import sys
import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

import adbc_driver_postgresql.dbapi as adbc
import asyncpg
from rich.console import Console

from benchmarks._haystack import haystack_python
from benchmarks._history_hand import Row, adbc_table, copy_new, fetch, upsert
from benchmarks._report import Report, show, write
from benchmarks._server import own_database
from benchmarks._timing import Call, Times, in_turns, ratio, repeated
from benchmarks.hours import measure_hours
from benchmarks.rollups import measure_imports, measure_rollups
from hsorm.his import Span
from hsorm.kinds import MARKER, Entity, Ref
from hsorm.storage.timescale import TimescaleAdapter

_START: Final = dt.datetime(2024, 1, 1, tzinfo=dt.UTC)
_MINUTE: Final = dt.timedelta(minutes=1)
_PARTS: Final = ("rows", "haystack", "years", "flat", "rollups", "hours", "imports")
_YEARS: Final = (1, 5, 20)
_LARGE: Final = 1_000_000
"""More rows are measured in half of the rounds."""

_HERE: Final = Path(__file__).resolve().parent


def _point(id: str) -> Entity:
    point = {"point": MARKER, "his": MARKER, "kind": "Number", "unit": "kW", "tz": "UTC"}
    return {"id": Ref(id), **point}


class Work:
    """Rows of some points, as each side wants them, and the calls of both."""

    def __init__(self, store: TimescaleAdapter, raw: Any, arrow: Any, rows: int, points: int):
        self._store, self._raw, self._arrow = store, raw, arrow
        each = rows // points
        self.ids = [f"bench-{n:05}" for n in range(points)]
        stamps = [_START + i * _MINUTE for i in range(each)]
        self.rows: list[Row] = [
            (id, ts, i * 0.1, None) for id in self.ids for i, ts in enumerate(stamps)
        ]
        self.items = {
            id: [{"ts": ts, "val": i * 0.1} for i, ts in enumerate(stamps)] for id in self.ids
        }
        self.span = Span(_START, _START + each * _MINUTE)

    async def prepare(self) -> None:
        await self._store.load_entities(map(_point, self.ids))

    async def empty(self) -> None:
        await self._raw.execute("TRUNCATE history, history_changes")
        gc.collect()

    async def write(self) -> None:
        if len(self.ids) == 1:
            await self._store.his_write(self.ids[0], self.items[self.ids[0]])
        else:
            await self._store.his_write_batch(self.items)

    async def read(self) -> None:
        if len(self.ids) == 1:
            found = len(await self._store.his_read(self.ids[0], self.span))
        else:
            batch = await self._store.his_read_batch(self.ids, self.span)
            found = sum(map(len, batch.values()))
        assert found == len(self.rows)

    async def arrow(self) -> None:
        table = await self._store.his_arrow(self.ids, self.span)
        assert table.num_rows == len(self.rows)

    async def arrow_by_hand(self) -> None:
        table = adbc_table(self._arrow, self.ids, self.span.start, self.span.end)
        assert table.num_rows == len(self.rows)

    async def measured(self, rounds: int) -> AsyncIterator[tuple[str, Times]]:
        """Yield what was done, and how long it took each side."""
        raw, rows, span = self._raw, self.rows, self.span

        async def copying() -> None:
            await copy_new(raw, rows)

        async def upserting() -> None:
            await upsert(raw, rows)

        async def fetching() -> None:
            assert len(await fetch(raw, self.ids, span.start, span.end)) == len(rows)

        await self.write()  # what is done but once, such as preparing, is not what is measured
        await self.empty()
        calls: dict[str, Call] = {"hsorm": self.write, "hand": copying}
        yield "write new rows : `copy_records_to_table`", await in_turns(calls, rounds, self.empty)
        await self.empty()
        await self.write()
        calls = {"hsorm": self.write, "hand": upserting}
        yield "write rows again : staging upsert", await in_turns(calls, rounds, _collected)
        await self.empty()
        await self.write()
        await raw.execute("VACUUM ANALYZE history", timeout=3_600)
        calls = {"hsorm": self.read, "hand": fetching}
        yield "read rows : `asyncpg.fetch`", await in_turns(calls, rounds, _collected)
        calls = {"hsorm": self.arrow, "hand": self.arrow_by_hand}
        yield "`his_arrow` : ADBC", await in_turns(calls, rounds, _collected)


async def _collected() -> None:
    gc.collect()


# ---- parts --------------------------------------------------------------------------------------


async def of_rows(dsn: str, args: argparse.Namespace) -> AsyncIterator[tuple[str, ...]]:
    async with TimescaleAdapter(dsn) as store:
        raw = await asyncpg.connect(dsn, server_settings={"jit": "off"})
        with adbc.connect(dsn, autocommit=True) as arrow:
            for rows in args.rows:
                for points in args.points if rows <= _LARGE else args.large_points or args.points:
                    work = Work(store, raw, arrow, rows, points)
                    await work.prepare()
                    rounds = args.rounds if rows <= _LARGE else max(3, args.rounds // 2)
                    async for what, times in work.measured(rounds):
                        row = _row(what, times, len(work.rows), points)
                        print(*row, sep="  ", file=sys.stderr, flush=True)
                        yield row
        await raw.close()


def _row(what: str, times: Times, rows: int, points: int) -> tuple[str, ...]:
    speed = ratio(times["hand"], times["hsorm"])[1]
    rates = (f"{rows / statistics.median(took) / 1e3:,.0f}k/s" for took in times.values())
    return (what, f"{rows:,}", f"{points:,}", speed, *rates)


async def of_haystack(dsn: str, args: argparse.Namespace) -> AsyncIterator[tuple[str, ...]]:
    """Yield rows beside haystack-py, which is a process with a table of its own."""
    python = haystack_python()
    if python is None:
        print("haystack-py is left out: it needs Python 3.13", file=sys.stderr)
        return
    pipe = asyncio.subprocess.PIPE
    script = str(_HERE / "_haystack_his.py")
    theirs = await asyncio.create_subprocess_exec(
        str(python), script, stdin=pipe, stdout=pipe, cwd="/"
    )
    version = (await _asked(theirs, {"dsn": dsn}))["version"]
    async with TimescaleAdapter(dsn) as store:
        raw = await asyncpg.connect(dsn)
        work = Work(store, raw, None, args.haystack_rows, 1)
        await work.prepare()
        await work.write()
        times: dict[str, dict[str, list[float]]] = {"write": {}, "read": {}}
        for _ in range(args.rounds):
            answer = await _asked(theirs, {"rows": len(work.rows), "points": 1})
            assert answer["found"] == len(work.rows)
            await work.empty()
            for what, call in (("write", work.write), ("read", work.read)):
                start = time.perf_counter()
                await call()
                times[what].setdefault("hsorm", []).append(time.perf_counter() - start)
                times[what].setdefault("hand", []).append(answer[what])
        await raw.close()
    assert theirs.stdin is not None
    theirs.stdin.close()
    await theirs.wait()
    for what, took in times.items():
        row = _row(f"`his_{what}` : haystack-py {version}", took, len(work.rows), 1)
        print(*row, sep="  ", file=sys.stderr, flush=True)
        yield row


async def _asked(process: asyncio.subprocess.Process, request: dict[str, Any]) -> dict[str, Any]:
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(json.dumps(request).encode() + b"\n")
    answer: dict[str, Any] = json.loads(await process.stdout.readline())
    return answer


async def of_years(dsn: str, args: argparse.Namespace) -> AsyncIterator[tuple[str, ...]]:
    """Yield what a read of one day costs, by how many years are stored."""
    quarter = dt.timedelta(minutes=15)
    async with TimescaleAdapter(dsn) as store:
        first: list[float] = []
        for years in _YEARS:
            id = f"bench-{years}-years"
            begin = dt.datetime(2024 - years, 1, 1, tzinfo=dt.UTC)
            await store.load_entities([_point(id)])
            count = 365 * 96 * years
            await store.his_write(id, [{"ts": begin + i * quarter, "val": i} for i in range(count)])

            async def day(id: str = id) -> None:
                assert len(await store.his_read(id, "2023-06-15")) == 96

            took = (await repeated({"day": day}, 50, budget=2.0))["day"]
            first = first or list(took)
            more = statistics.median(took) / statistics.median(first)
            milliseconds = statistics.median(took) * 1e3
            yield (f"{years}", f"{count:,}", f"{milliseconds:.2f} ms", f"{more:.2f} ×")


async def of_flat(dsn: str, args: argparse.Namespace) -> AsyncIterator[tuple[str, ...]]:
    """Yield the memory that a process takes for a stream of rows."""
    async with TimescaleAdapter(dsn) as store:
        await store.load_entities([_point("bench-flat")])
        for what in ("write", "read"):
            process = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "benchmarks._history_flat", dsn, what, str(args.flat_rows),
                stdout=asyncio.subprocess.PIPE, cwd=_HERE.parent,
            )  # fmt: skip
            answer = json.loads((await process.communicate())[0])
            assert answer["rows"] == args.flat_rows
            call = "his_write_batch of a generator" if what == "write" else "his_read_iter"
            rate = answer["rows"] / answer["seconds"] / 1e3
            yield (
                call,
                f"{answer['rows']:,}",
                f"{answer['early']:.0f} MB",
                f"{answer['late']:.0f} MB",
                f"{rate:,.0f}k/s",
            )


_HEADS: Final[dict[str, tuple[str, str, tuple[str, ...]]]] = {
    "rows": (
        "history-rows",
        "History on PostgreSQL, in turns on one table",
        ("what : by hand", "rows", "points", "speed of hsorm beside it", "hsorm", "by hand"),
    ),
    "haystack": (
        "history-haystack",
        "History beside haystack-py",
        ("what", "rows", "points", "speed of hsorm beside it", "hsorm", "haystack-py"),
    ),
    "years": (
        "history-years",
        "A read of one day, by how many years are stored every 15 minutes",
        ("years", "rows stored", "median", "beside one year"),
    ),
    "flat": (
        "history-flat",
        "The highest resident memory of a process that streams",
        ("call", "rows", "after a tenth of them", "after all of them", "rows a second"),
    ),
}
_MEASURES: Final = {"rows": of_rows, "haystack": of_haystack, "years": of_years, "flat": of_flat}


async def run(args: argparse.Namespace) -> None:
    """Measure, show, and write where that is asked for."""
    console = Console(width=None if sys.stdout.isatty() else 160)
    for part in args.only or _PARTS:
        async with own_database() as dsn:
            async with TimescaleAdapter(dsn) as store:
                versions = str((await store.about())["backendVersion"])
            report = await _measured(part, dsn, args)
        report = replace(report, versions=f"PostgreSQL {versions}; {report.versions}".rstrip("; "))
        show(report, console)
        if args.write and report.rows:
            write(report, " ".join(["python -m benchmarks.history", *sys.argv[1:]]))


async def _measured(part: str, dsn: str, args: argparse.Namespace) -> Report:
    if part == "rollups":
        return await measure_rollups(dsn, args.rollup_rows, args.rounds)
    if part == "hours":
        return await measure_hours(dsn, args.rounds, args.written)
    if part == "imports":
        with TemporaryDirectory() as folder:
            return await measure_imports(dsn, args.imported, args.rounds, Path(folder))
    rows: Sequence[tuple[str, ...]] = [row async for row in _MEASURES[part](dsn, args)]
    name, title, columns = _HEADS[part]
    return Report(name, title, "", columns, rows)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.history", description=__doc__)
    parser.add_argument(
        "--rows", type=int, nargs="+", default=[300_000, 3_000_000], help="how many (300k, 3M)"
    )
    parser.add_argument(
        "--points", type=int, nargs="+", default=[1, 100, 10_000], help="of so many points"
    )
    parser.add_argument("--large-points", type=int, nargs="+", help="of more than a million rows")
    parser.add_argument("--haystack-rows", type=int, default=100_000, help="beside haystack-py")
    parser.add_argument("--flat-rows", type=int, default=10_000_000, help="to stream (10M)")
    parser.add_argument("--rollup-rows", type=int, default=3_000_000, help="to roll up (3M)")
    parser.add_argument("--written", type=int, default=100_000, help="with hours kept (100k)")
    parser.add_argument("--imported", type=int, default=300_000, help="rows to import (300k)")
    parser.add_argument("--rounds", type=int, default=7, help="of each side (7)")
    parser.add_argument("--only", action="append", choices=_PARTS, help="one part, repeatable")
    parser.add_argument("--write", action="store_true", help="put the tables into the docs")
    asyncio.run(run(parser.parse_args()))


if __name__ == "__main__":
    main()
