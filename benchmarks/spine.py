"""Load and filters at 100,000 entities: PostgreSQL beside SQL by hand, memory beside a peer.

Run `python -m benchmarks.spine`. PostgreSQL is the server that HSORM_TEST_POSTGRES_URL or
`.servers.env` names; a database is made there and dropped at the end. The sides of a comparison run
in turns, in one process; a ratio is the median of the ratios of all rounds, with its quartiles.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import sys
from collections.abc import AsyncIterator

from rich.console import Console

from benchmarks._data import Data, make_data
from benchmarks._filters import measure_filters
from benchmarks._load import measure_load
from benchmarks._memory import measure_memory
from benchmarks._report import Report, show, write
from benchmarks._server import own_database

_PARTS = ("load", "filters", "memory")


async def reports(data: Data, parts: list[str], rounds: int) -> AsyncIterator[Report]:
    """Measure part by part."""
    if "load" in parts or "filters" in parts:
        async with own_database() as dsn:
            if "load" in parts:
                yield await measure_load(dsn, data, rounds)
            if "filters" in parts:
                yield await measure_filters(dsn, data, rounds)
    if "memory" in parts:
        yield await measure_memory(data, rounds)


async def run(args: argparse.Namespace) -> None:
    """Measure, show, and write where that is asked for."""
    console = Console(width=None if sys.stdout.isatty() else 160)
    data = make_data(args.entities)
    # The collector would otherwise walk through the benchmark's own input while it measures.
    gc.collect()
    gc.freeze()
    command = " ".join(["python -m benchmarks.spine", *sys.argv[1:]])
    async for report in reports(data, args.only or list(_PARTS), args.rounds):
        show(report, console)
        if args.write:
            write(report, command)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.spine", description=__doc__)
    parser.add_argument("--entities", type=int, default=100_000, help="about how many (100,000)")
    parser.add_argument("--rounds", type=int, default=7, help="the fewest of each side (7)")
    parser.add_argument("--only", action="append", choices=_PARTS, help="one part, repeatable")
    parser.add_argument("--write", action="store_true", help="put the tables into the docs")
    asyncio.run(run(parser.parse_args()))


if __name__ == "__main__":
    main()
