"""A watch polled at every point of the schedules of two writers: each commit is told exactly once.

The writers are other people's SQL on connections of their own, under READ COMMITTED.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import combinations, product
from typing import Any, Final

import asyncpg
import pytest

from hsorm.kinds import Number, Ref
from hsorm.storage.timescale import TimescaleAdapter
from tests.backends import libpq

_CHANGES: Final = {
    "update": """UPDATE entities SET tags = tags || '{"n": 1}' WHERE id = $1""",
    "insert": """INSERT INTO entities (id, tags) VALUES ($1 || '-new', '{"n": 1}')""",
    "delete": "DELETE FROM entities WHERE id = $1",
    "live": """INSERT INTO live (id, tags) VALUES ($1, '{"curVal": 1}')
               ON CONFLICT (id) DO UPDATE SET tags = excluded.tags""",
}


def _schedules() -> Iterator[tuple[int, ...]]:
    """Give each order of the three steps (begin, change, end) of the writers 0 and 1."""
    for first in combinations(range(6), 3):
        yield tuple(0 if step in first else 1 for step in range(6))


async def _told(store: TimescaleAdapter, watch: str) -> list[str]:
    rows = await store.watch_poll(watch)
    return [row["id"].val for row in rows] + [ref.val for ref in rows.removed]


@pytest.mark.parametrize("kind", _CHANGES)
@pytest.mark.parametrize("filter", [None, "soak or n"], ids=["ids", "filter"])
@pytest.mark.parametrize("end", ["COMMIT", "ROLLBACK"])
async def test_each_commit_is_told_in_exactly_one_poll(
    store: TimescaleAdapter,
    sql: asyncpg.Connection[Any],
    kind: str,
    filter: str | None,
    end: str,
) -> None:
    """Also of what was begun before a poll and committed after it; P11, OC 29."""
    other = await asyncpg.connect(libpq(store.engine.url))
    try:
        for number, (schedule, often) in enumerate(product(_schedules(), (1, 2))):
            await _play(store, (sql, other), schedule, f"s{number}", kind, filter, end, often)
    finally:
        await other.close()


async def _play(
    store: TimescaleAdapter,
    writers: Sequence[asyncpg.Connection[Any]],
    schedule: Sequence[int],
    name: str,
    kind: str,
    filter: str | None,
    end: str,
    often: int,
) -> None:
    """Run a schedule with a poll behind every step, or every second one."""
    ids, undone = [f"{name}-a", f"{name}-b"], [f"{name}-c", f"{name}-d"]
    await store.load_entities({"id": Ref(id), "soak": Number(0)} for id in [*ids, *undone])
    changed = [id + "-new" if kind == "insert" else id for id in ids]
    watch = (
        await store.watch_sub(None, [*changed, *undone])
        if filter is None
        else await store.watch_filter(filter)
    ).watch_id
    due: list[str] = []
    at = [0, 0]
    for step, writer in enumerate(schedule):
        match at[writer]:
            case 0:
                await writers[writer].execute("BEGIN")
            case 1:
                await writers[writer].execute(_CHANGES[kind], ids[writer])
                await writers[writer].execute("SAVEPOINT half")
                await writers[writer].execute(
                    "UPDATE entities SET tags = '{}' WHERE id = $1", undone[writer]
                )
                await writers[writer].execute("ROLLBACK TO half")
            case _:
                # The first may be rolled back; the second always commits.
                word = end if writer == 0 else "COMMIT"
                await writers[writer].execute(word)
                due += [changed[writer]] if word == "COMMIT" else []
        at[writer] += 1
        if step % often == often - 1:
            assert await _told(store, watch) == sorted(due), (schedule, step)
            due = []
    assert await _told(store, watch) == sorted(due), schedule
    assert await _told(store, watch) == []
    await store.watch_unsub(watch, [], close=True)


async def test_a_truncate_is_told(store: TimescaleAdapter, sql: asyncpg.Connection[Any]) -> None:
    """As removals of all, once it is committed."""
    await store.load_entities([{"id": Ref("a")}, {"id": Ref("b")}])
    watch = (await store.watch_sub(None, ["a", "b"])).watch_id

    async with sql.transaction():
        await sql.execute("TRUNCATE entities CASCADE")
    assert await _told(store, watch) == ["a", "b"]
    assert await _told(store, watch) == []
