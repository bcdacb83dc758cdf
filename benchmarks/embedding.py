"""A storage in a session of a host's, beside an adapter with an engine of its own.

Run `python -m benchmarks.embedding`. PostgreSQL is the server that HSORM_TEST_POSTGRES_URL or
`.servers.env` names; a database is made there and dropped at the end. The sides run in turns, in
one process; a ratio is the median of those of all rounds, with its quartiles.
"""

from __future__ import annotations

import argparse
import asyncio
import datetime as dt
from collections.abc import Callable
from typing import Any

from rich.console import Console
from rich.table import Table
from sqlalchemy import create_engine, make_url
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine
from sqlalchemy.orm import Session

from benchmarks._server import own_database
from benchmarks._timing import Call, in_turns, ratio
from hsorm import MARKER, Number, Ref
from hsorm.storage import bind
from hsorm.storage.timescale import TimescaleAdapter

_SIDES = ("own engine", "asyncpg session", "psycopg session", "psycopg sync session")
_START = dt.datetime(2024, 1, 1, tzinfo=dt.UTC)
_POINT = {"point": MARKER, "his": MARKER, "kind": "Number", "unit": "kW", "tz": "UTC"}


def _items(count: int, shift: int) -> list[dict[str, Any]]:
    begin = _START + dt.timedelta(days=1_000 * shift)
    return [{"ts": begin + dt.timedelta(minutes=n), "val": float(n)} for n in range(count)]


def _calls(url: str, own: TimescaleAdapter, call: Callable[[Any], Any]) -> dict[str, Call]:
    """Return one call by side; in a session with a commit at the end."""
    asyncpg, psycopg = (
        create_async_engine(make_url(url).set(drivername=f"postgresql+{driver}"))
        for driver in ("asyncpg", "psycopg")
    )
    sync = create_engine(make_url(url).set(drivername="postgresql+psycopg"))

    async def by_own() -> None:
        await call(own)

    def by_session(engine: Any) -> Call:
        async def run() -> None:
            async with AsyncSession(engine) as session, session.begin():
                await call(bind(session))

        return run

    async def by_sync() -> None:
        with Session(sync) as session, session.begin():
            call(bind(session))

    sides = (by_own, by_session(asyncpg), by_session(psycopg), by_sync)
    return dict(zip(_SIDES, sides, strict=True))


async def run(rounds: int, items: int) -> None:
    """Measure and show."""
    shown = Table("", *_SIDES[:1], *(f"{side} : own" for side in _SIDES[1:]))
    async with own_database() as url, TimescaleAdapter(url) as own:
        entities = [{"id": Ref(f"p{n}"), **_POINT, "n": Number(n)} for n in range(20_000)]
        await own.load_entities(entities)
        turn = iter(range(10**6))
        cases: dict[str, tuple[int, Callable[[Any], Any]]] = {
            "read_by_ids of one": (rounds * 20, lambda store: store.read_by_ids(["p7"])),
            "read of one by filter": (rounds * 20, lambda store: store.read("id == @p7 and n")),
            "update": (rounds * 10, lambda store: store.update({"id": Ref("p7"), "x": MARKER})),
            "load_entities of 5,000": (rounds, lambda store: store.load_entities(entities[:5_000])),
            f"his_write of {items:,}": (
                rounds,
                lambda store: store.his_write("p1", _items(items, next(turn))),
            ),
            f"his_read of {items:,}": (
                rounds,
                lambda store: store.his_read("p1", "2024-01-01,2024-04-01"),
            ),
        }
        for name, (times, call) in cases.items():
            calls = _calls(url, own, call)
            await in_turns(calls, 3)
            took = await in_turns(calls, times)
            base = sorted(took[_SIDES[0]])[times // 2]
            shown.add_row(
                name,
                f"{base * 1_000:.2f} ms",
                *(ratio(took[s], took[_SIDES[0]])[1] for s in _SIDES[1:]),
            )
    Console(width=150).print(shown)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.embedding", description=__doc__)
    parser.add_argument("--rounds", type=int, default=7, help="the fewest of each side (7)")
    parser.add_argument("--items", type=int, default=100_000, help="history items (100,000)")
    args = parser.parse_args()
    asyncio.run(run(args.rounds, args.items))


if __name__ == "__main__":
    main()
