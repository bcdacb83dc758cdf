"""Run as a program: clients of a storage in Redis that die between two of their commands.

`python -m tests.redis.dying URL WORK`: for n = 1, 2, … a process does WORK and kills itself (as
`kill -9` does) before its n-th command that writes; then another one looks what there is. It ends
with the first n that WORK does not reach, and prints a line of JSON for each n: how many commands
were left, and what was found: ids, and a number that goes up with their items of history.
"""

from __future__ import annotations

import asyncio
import datetime as dt
import json
import os
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

from hsorm.his.batches import PointItems
from hsorm.his.checks import Checked
from hsorm.kinds import MARKER, Entity, Number, Ref
from hsorm.ops.commits import Diff
from hsorm.redis_ops import transactions
from hsorm.redis_ops.client import Server
from hsorm.storage.redis import RedisAdapter

MANY = 600
IDS = [f"e{i}" for i in range(12)]
ITEMS = 30
BEGIN = dt.datetime(2024, 1, 1, tzinfo=dt.UTC)
POINT = {"point": MARKER, "his": MARKER, "kind": "Number", "tz": "UTC"}
_WRITING = ("write", "write_all", "run")


async def commit(store: RedisAdapter) -> None:
    """Change all entities, remove one, add one."""
    updates = [Diff.update(id, {"n": Number(2)}, force=True) for id in IDS[1:]]
    await store.commit(
        [*updates, Diff.remove(IDS[0], force=True), Diff.add({"n": Number(2)}, "new")]
    )


async def load(store: RedisAdapter) -> None:
    """Replace all entities, among many more."""
    await store.load_entities({"id": Ref(f"e{i}"), "n": Number(2)} for i in range(MANY))


async def update(store: RedisAdapter) -> None:
    """Change one entity."""
    await store.update({"id": Ref(IDS[0]), "n": Number(2)})


async def history(store: RedisAdapter) -> None:
    """Write history of several points, in several steps."""
    # So that few items take many steps.
    setattr(transactions, "_SMALL", 2)  # noqa: B010 - as below
    setattr(transactions, "_PART", 1)  # noqa: B010
    items: Checked = [(BEGIN + dt.timedelta(minutes=at), Number(at)) for at in range(ITEMS)]
    await store._his_store([PointItems(id, items) for id in IDS[:4]])


async def parts(store: RedisAdapter) -> None:
    """Write history of several points that comes in parts."""

    async def coming() -> AsyncIterator[list[PointItems]]:
        for at in range(0, ITEMS, 10):
            stamps = [BEGIN + dt.timedelta(minutes=at + one) for one in range(10)]
            yield [PointItems(id, [(ts, Number(at)) for ts in stamps]) for id in IDS[:4]]

    assert await store._his_store_parts(coming()) == 4 * ITEMS


WORK: dict[str, Callable[[RedisAdapter], Awaitable[None]]] = {
    "commit": commit,
    "history": history,
    "load": load,
    "parts": parts,
    "update": update,
}


async def _prepare(url: str) -> None:
    async with RedisAdapter(url) as store:
        if found := await store.read("id"):
            await store.commit([Diff.remove(entity) for entity in found])
        await store.load_entities({"id": Ref(id), "n": Number(1), **POINT} for id in IDS)


async def _look(url: str) -> list[list[Any]]:
    async with RedisAdapter(url) as store:
        # A read by filter, one by id and a write: whichever meets what was left behind first.
        await store.update({"id": Ref(IDS[5]), "looked": Number(1)})
        return [
            [entity["id"].val, entity["n"].val + await _size(store, entity)]
            for entity in await store.read("n")
        ]


async def _size(store: RedisAdapter, entity: Entity) -> int:
    return len(await store.his_read(entity["id"], "2024-01-01")) if "his" in entity else 0


async def _work(url: str, work: str, n: int) -> None:
    async with RedisAdapter(url) as store:
        _die_at(n)
        await WORK[work](store)


def _die_at(n: int) -> None:
    left = n

    def dying(method: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
        async def call(self: Server, *args: Any, **options: Any) -> Any:
            nonlocal left
            left -= 1
            if left == 0:
                os.kill(os.getpid(), signal.SIGKILL)
            return await method(self, *args, **options)

        return call

    for name in _WRITING:
        setattr(Server, name, dying(getattr(Server, name)))


def _in_another_process(body: Callable[[], None]) -> int:
    pid = os.fork()
    if pid == 0:
        body()
        os._exit(0)
    return os.waitpid(pid, 0)[1]


def main(url: str, work: str) -> None:
    """Do the work with ever more commands left to it."""
    setattr(transactions, "_LOCK_SECONDS", 0.3)  # noqa: B010 - who waits for the dead waits so long
    n, died = 0, True
    while died:
        n += 1
        asyncio.run(_prepare(url))
        status = _in_another_process(lambda n=n: asyncio.run(_work(url, work, n)))  # type: ignore[misc]
        died = os.WIFSIGNALED(status)
        print(json.dumps([n, died, asyncio.run(_look(url))]), flush=True)  # noqa: T201


if __name__ == "__main__":
    main(*sys.argv[1:])
