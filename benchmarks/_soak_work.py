"""One process of the soak: it works until a file tells it to stop, and notes each thing it did.

A line of a log is written by one call and not held back in the process: what `kill -9` ends has
noted all that it was told. What was under way then may have happened or not.
"""

from __future__ import annotations

import asyncio
import datetime as dt
import json
import os
import random
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from hsorm import MARKER, REMOVE, Diff, Number, Ref, StorageAdapter, open_storage
from hsorm.errors import (
    ConflictError,
    EntityExistsError,
    HsormError,
    StorageUnavailableError,
    UnknownWatchError,
)

SHARED: Final = [f"e{i}" for i in range(12)]
RELEASED: Final = frozenset(SHARED[9:])
"""The points whose levels are released as well: what they show can be as it was two changes ago."""

HISTORY: Final = [f"h{i}" for i in range(3)]
"""Points that only history is written of; a batch is items that have its number for value."""

HISTORY_BEGINS: Final = dt.datetime(2000, 1, 1, tzinfo=dt.UTC)
_BATCHES: Final = (1, 20, 300, 2_000)
_MOST: Final = 10_000  # items of a batch, and as many microseconds between the first of two

LEVELS: Final = 10
"""The level of the first writer of points; each has its own."""


class Log:
    """The log of one process; its successors go on with it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)

    def note(self, what: str, **values: Any) -> None:
        os.write(self._file, (json.dumps({"what": what, **values}) + "\n").encode())


def lines_of(path: Path) -> Iterator[dict[str, Any]]:
    """Read a log; a line that is not whole is none."""
    if path.exists():
        for line in path.read_text("utf-8").splitlines():
            try:
                yield json.loads(line)
            except ValueError:
                continue


def state_of(entity: Mapping[str, Any] | None) -> list[Any] | None:
    """Return what is compared of an entity: counter, live counter, mod, effective level."""
    if not entity or "trash" in entity:
        return None
    numbers = [entity.get(name) for name in ("n", "curVal", "writeVal", "writeLevel")]
    n, *live = [None if number is None else number.val for number in numbers]
    return [n, entity["mod"].isoformat(), *live]


class Writer:
    """Commits, sets live values, writes points; `number` is its own among the writers."""

    def __init__(self, store: StorageAdapter, log: Log, number: int, born: int) -> None:
        self.store, self.log, self.number = store, log, number
        self.own = [id for i, id in enumerate(SHARED) if i % 3 == number % 3]
        # Above all that an earlier process of this number can have written.
        self.count = born * 1_000_000
        self.trashed: dict[str, Any] = {}

    async def step(self) -> None:
        acts = (self.commit, self.commit, self.live, self.point, self.change_own, self.history)
        act = random.choice(acts)
        await act()
        await asyncio.sleep(random.uniform(0, 0.02))

    async def commit(self) -> None:
        """Count one up, on what was read: of two at a time, one conflicts and tries again."""
        id = random.choice(SHARED)
        while True:
            entity = await self.store.read_by_id(id)
            n = int(entity["n"].val) + 1
            self.log.note("try", id=id, n=n)
            odd = MARKER if n % 2 else REMOVE
            try:
                (done,) = await self.store.commit(Diff.update(entity, {"n": Number(n), "odd": odd}))
            except ConflictError:
                self.log.note("conflict", id=id, n=n)
                continue
            assert done.mod is not None
            self.log.note("done", id=id, n=n, mod=done.mod.isoformat())
            return

    async def live(self) -> None:
        id = random.choice(self.own)
        self.count += 1
        self.log.note("try_live", id=id, cur=self.count)
        await self.store.set_live(id, {"curVal": Number(self.count)})
        self.log.note("done_live", id=id, cur=self.count)

    async def point(self) -> None:
        id, level = random.choice(SHARED), LEVELS + self.number
        self.count += 1
        val = None if id in RELEASED and random.random() < 0.3 else Number(self.count)
        told = {"id": id, "level": level, "val": None if val is None else self.count}
        self.log.note("try_point", **told)
        await self.store.point_write(id, level, val, f"writer {self.number}")
        self.log.note("done_point", **told)

    async def history(self) -> None:
        """Write a batch at instants of its own."""
        id, size = random.choice(HISTORY), random.choice(_BATCHES)
        self.count += 1
        batch = self.count * 3 + self.number % 3
        first = HISTORY_BEGINS + dt.timedelta(microseconds=batch * _MOST)
        items = [
            {"ts": first + dt.timedelta(microseconds=at), "val": Number(batch)}
            for at in range(size)
        ]
        told = {"id": id, "batch": batch, "size": size}
        self.log.note("try_history", **told)
        await self.store.his_write(id, items)
        self.log.note("done_history", **told)

    async def change_own(self) -> None:
        """Make, trash, restore, remove an entity that nobody else changes."""
        id = f"own{self.number}-{random.randrange(4)}"
        self.count += 1
        there = await self.store.read_by_ids([id])
        # What is in the trash is not read; whoever came after one that was killed finds it there.
        diff = self._next_of(id, there[0] or self.trashed.pop(id, None))
        self.log.note("try", id=id, n=self.count)
        try:
            (done,) = await self.store.commit(diff)
        except EntityExistsError:
            (done,) = await self.store.commit(Diff.remove(Ref(id), force=True))
        if done.new is not None and "trash" in done.new:
            self.trashed[id] = done.new
        self.log.note("own", id=id, state=state_of(done.new))

    def _next_of(self, id: str, entity: Any) -> Diff:
        if entity is None:
            tags = {"soak": MARKER, "n": Number(self.count), "odd": MARKER}
            return Diff.add(tags, id=Ref(id))
        if "trash" in entity:
            if random.random() < 0.5:
                return Diff.restore(entity)
            return Diff.remove(entity)
        if random.random() < 0.4:
            return Diff.remove(entity)
        if random.random() < 0.5:
            return Diff.trash(entity)
        return Diff.update(entity, {"n": Number(self.count)})


class Poller:
    """Polls a watch, on ids or on a filter."""

    def __init__(self, store: StorageAdapter, log: Log, filter: str | None) -> None:
        self.store, self.log, self.filter = store, log, filter
        self.watch: str | None = None
        self.unsure = False

    async def open(self) -> None:
        if self.filter is not None:
            rows = await self.store.watch_filter(self.filter)
            told = {row["id"].val: state_of(row) for row in rows}
        else:
            wanted = [*SHARED, *(f"own{w}-{i}" for w in range(3) for i in range(4))]
            rows = await self.store.watch_sub(None, wanted)
            told = {id: state_of(row) for id, row in zip(wanted, rows, strict=True)}
        self.watch, self.unsure = rows.watch_id, False
        self.log.note("open", watch=self.watch, filter=self.filter, rows=told)

    async def step(self, *, last: bool = False) -> None:
        if self.watch is None:
            await self.open()
        assert self.watch is not None
        try:
            # A poll whose answer was lost may have been one: only a refresh is sure.
            refresh, self.unsure = self.unsure, True
            rows = await self.store.watch_poll(self.watch, refresh)
            self.unsure = False
        except UnknownWatchError:
            self.watch = None
            self.log.note("ended")
            return
        told = {row["id"].val: state_of(row) for row in rows}
        removed = [ref.val for ref in rows.removed]
        if told or removed or refresh or last:
            self.log.note(
                "poll", watch=self.watch, rows=told, removed=removed, refresh=refresh, last=last
            )
        await asyncio.sleep(random.uniform(0, 0.1))


class Follower:
    """Follows the change feed; whoever comes after one that was killed goes on from its cursor."""

    def __init__(self, store: StorageAdapter, log: Log) -> None:
        self.store, self.log = store, log
        cursors = [line["cursor"] for line in lines_of(log.path) if line["what"] == "feed"]
        self.cursor: str | None = cursors[-1] if cursors else None

    async def step(self, *, last: bool = False) -> None:
        while True:
            changes = await self.store.changes(self.cursor, limit=7)
            self.cursor = changes.cursor
            told = [[change.id.val, state_of(change.entity)] for change in changes]
            if told or last:
                self.log.note("feed", rows=told, cursor=self.cursor, last=last)
            if not changes.more:
                break
        await asyncio.sleep(random.uniform(0, 0.1))


async def work(url: str, role: str, number: int, born: int, folder: Path) -> None:
    log = Log(folder / f"{role}-{number}.log")
    log.note("born", born=born)
    store = open_storage(url)
    while not await _survive(store.connect, log):
        pass  # the server is just starting
    async with store:
        worker = _worker(role, store, log, number, born)
        stop = folder / f"stop-{'writers' if role == 'write' else 'readers'}"
        while not stop.exists():
            await _survive(worker.step, log)
        if not isinstance(worker, Writer):
            while not await _survive(lambda: worker.step(last=True), log):  # noqa: ASYNC110
                await asyncio.sleep(0.1)
    log.note("end")


def _worker(
    role: str, store: StorageAdapter, log: Log, number: int, born: int
) -> Writer | Poller | Follower:
    match role:
        case "write":
            return Writer(store, log, number, born)
        case "feed":
            return Follower(store, log)
        case _:
            return Poller(store, log, "soak and odd" if number % 2 else None)


async def _survive(step: Any, log: Log) -> bool:
    """Take a step; a server that is not there is waited for, anything else ends the process."""
    try:
        await step()
    except StorageUnavailableError as exc:
        log.note("unavailable", error=str(exc)[:200])
        await asyncio.sleep(0.1)
        return False
    except HsormError as exc:
        log.note("error", error=f"{type(exc).__name__}: {exc}"[:400])
        await asyncio.sleep(0.1)
        return False
    return True


if __name__ == "__main__":
    url, role, number, born, folder = sys.argv[1:]
    asyncio.run(work(url, role, int(number), int(born), Path(folder)))
