"""How a change is made: all of it or nothing, whatever dies in between.

A change of one bucket is one script. A change of several (on a cluster), or a large one, is staged
first, and then goes by a record:

1. Its parts are written under `tx:<tx>` in each bucket, where nobody looks.
2. Each bucket is locked, in order; a script sees that it is as the change expects it.
3. The record `rec:<tx>` is written: from here on the change is made, before it was not.
4. The parts are done, one script each, the last of which unlocks its bucket.

Who meets a lock waits. It may not have to: of a transaction with a record anybody can do the parts
that are left, and one without, whose time is over, anybody can give up, by writing a record that
says so before the owner could write its own.
"""

from __future__ import annotations

import asyncio
import random
import secrets
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
from typing import Any, Final, TypeAlias

import msgspec

from hsorm.errors import StorageUnavailableError
from hsorm.redis_ops.client import Command, Server
from hsorm.redis_ops.keys import Bucket, Layout
from hsorm.redis_ops.scripts import APPLY, LOCK, RELEASE, STEP, Script

__all__ = [
    "Change",
    "Deleted",
    "FieldsError",
    "Put",
    "Staged",
    "StaleError",
    "Transactions",
]

_SMALL: Final = 500
"""Changes of one bucket that one script makes: some 10 ms, in which it does nothing else."""

_PART: Final = 250
"""Changes that are done in one step of a staged transaction."""

_WEIGHT: Final = 2_200
"""So many bytes of history count as one change: a hundred samples, which take 0.1 ms. A step is not
cut finer than that, for each costs a round trip while the bucket is locked."""

_GONE: Final = 5_000

_LOCK_SECONDS: Final = 10
"""How long a bucket may be locked without a record."""

_STAGED_SECONDS: Final = 86_400
"""How long what was staged, and then never locked for, lies around: sources may be slow."""

_ABORTED_SECONDS: Final = 86_400

_PATIENCE_SECONDS: Final = 60.0

_Arg: TypeAlias = str | bytes | int


class StaleError(Exception):
    """A change was based on something that is no longer so: read again, and repeat.

    Attributes:
        id: The entity; None where a query found what was not to be there.
    """

    def __init__(self, id: str | None) -> None:
        super().__init__(id)
        self.id = id


class FieldsError(Exception):
    """An entity was written for other indexes than those declared by now: look, and repeat."""


class Put(msgspec.Struct, frozen=True, gc=False):
    """An entity as it is to be stored.

    Attributes:
        fields: The fields of its hash; its array, where it has a new one, is the first.
        missing: Those that it must not have.
        based_on: The stamp that it has; `"-"` for none at all, `"*"` for any.
        array: The priority array that it has, as text; `"*"` for any.
        expires: When level 8 of its array expires, in milliseconds; `"-"` never, `""` as it was.
        silent: Whether nobody is to be told.
    """

    id: str
    fields: Mapping[str, str]
    missing: tuple[str, ...] = ()
    based_on: str = "*"
    array: str = "*"
    expires: str = ""
    silent: bool = False

    @property
    def is_plain(self) -> bool:
        """Whether it is made whatever is there, so that many can be said in fewer words."""
        return self.based_on == "*" == self.array and not (self.expires or self.silent)

    def args(self) -> Iterator[_Arg]:
        """Yield the change as a script takes it; see `lua/ops.lua`."""
        yield from ("s" if self.silent else "p", self.id, self.based_on, self.array, self.expires)
        yield len(self.fields) + (not self.silent)
        for name, val in self.fields.items():
            yield name
            yield val
        if not self.silent:
            yield from ("v", "")  # the script's to say
        yield len(self.missing)
        yield from self.missing


@dataclass(frozen=True, slots=True)
class Deleted:
    """An entity that is to be deleted, with all that is its own."""

    id: str
    based_on: str = "*"
    array: str = field(default="*", init=False)

    def args(self) -> Iterator[_Arg]:
        """Yield the change as a script takes it."""
        return iter(("d", self.id, self.based_on, "*", "", 0, 0))


@dataclass(frozen=True, slots=True)
class HistoryWritten:
    """An entity whose history is written; it must be there.

    Attributes:
        puts: What to write, and `gone`: what to delete; see `history.Packed`.
    """

    id: str
    puts: Sequence[tuple[str, str]] = ()
    gone: Sequence[str] = ()
    based_on: str = field(default="+", init=False)
    array: str = field(default="*", init=False)

    def args(self) -> Iterator[_Arg]:
        """Yield the change as a script takes it."""
        yield from ("h", self.id, "+", "*", "", len(self.puts))
        yield from chain.from_iterable(self.puts)
        yield len(self.gone)
        yield from self.gone

    @property
    def weight(self) -> int:
        """About how many entities could be put in the time that this takes."""
        return 1 + _size(self.puts, self.gone) // _WEIGHT

    @staticmethod
    def of(id: str, puts: Sequence[tuple[str, str]], gone: Sequence[str]) -> list[HistoryWritten]:
        """Return a write as changes none of which takes longer than one step may."""
        if _size(puts, gone) <= _PART * _WEIGHT:
            return [HistoryWritten(id, puts, gone)]
        parts: list[HistoryWritten] = []
        own: list[tuple[str, str]] = []
        size = 0
        for put in puts:
            own.append(put)
            size += _size([put], ())
            if size > (_PART - 1) * _WEIGHT:
                parts.append(HistoryWritten(id, own))
                own, size = [], 0
        parts.append(HistoryWritten(id, own))
        gones = (gone[at : at + _GONE] for at in range(0, len(gone), _GONE))
        return [*parts, *(HistoryWritten(id, (), part) for part in gones)]


def _size(puts: Iterable[tuple[str, str]], gone: Iterable[str]) -> int:
    return sum(len(what) + len(val) + 60 for what, val in puts) + sum(len(key) + 60 for key in gone)


Change: TypeAlias = Put | Deleted | HistoryWritten


class Transactions:
    """Makes changes.

    Args:
        server: Where.
        layout: The buckets.
        fields: Returns what `fields` of a bucket was when the changes were made for it.
    """

    def __init__(self, server: Server, layout: Layout, fields: Callable[[Bucket], str]) -> None:
        self._server = server
        self._layout = layout
        self.fields = fields

    async def make(self, changes: Sequence[Change], *, unless: str = "") -> None:
        """Make changes, all or none.

        Args:
            changes: What to change; each entity once.
            unless: A query of RediSearch that must find nothing, on each bucket by itself.

        Raises:
            StaleError: One of them is based on something that is no longer so.
            FieldsError: Other indexes are declared by now.
        """
        by_bucket = self._by_bucket(changes)
        if len(by_bucket) == 1 and sum(map(_weight, changes)) <= _SMALL:
            ((bucket, own),) = by_bucket.items()
            await self._at_once(bucket, own, unless)
        elif by_bucket:
            transaction = await self.stage(by_bucket)
            await transaction.commit(changes)

    def _by_bucket(self, changes: Iterable[Change]) -> dict[Bucket, list[Change]]:
        parts: dict[Bucket, list[Change]] = {}
        for change in changes:
            parts.setdefault(self._layout.bucket_of(change.id), []).append(change)
        return parts

    async def _at_once(self, bucket: Bucket, changes: Sequence[Change], unless: str) -> None:
        args = [arg for change in changes for arg in change.args()]
        fields, channel = self.fields(bucket), self._layout.channel
        _check(await self.run(bucket, APPLY, fields, channel, unless, *args))

    def begin(self) -> Staged:
        """Return a transaction with nothing in it."""
        return Staged(self._server, self._layout, self)

    async def stage(self, by_bucket: Mapping[Bucket, Sequence[Change]]) -> Staged:
        """Return a transaction with these changes staged."""
        staged = self.begin()
        for changes in by_bucket.values():
            await staged.add(changes)
        return staged

    # ---- meeting a lock -------------------------------------------------------------------------

    async def run(self, bucket: Bucket, script: Script, *args: Any, reads: bool = False) -> Any:
        """Run a script that looks for a lock, once there is none."""
        while True:
            answer = await self._server.run(bucket, script, *args, reads=reads)
            if answer[0] != b"locked":
                return answer
            await self.settle(bucket, answer[1])

    async def read(
        self, bucket: Bucket, commands: Sequence[Command], *, raises: bool = True
    ) -> list[Any]:
        """Run commands that read, with nothing between them, once the bucket has no lock.

        Without `raises` the error that there is no such series is its answer.
        """
        looked = [("GET", bucket.lock), *commands]
        while True:
            lock, *answers = await self._server.read_all(
                bucket, looked, at_once=True, raises=raises
            )
            if lock is None:
                return answers
            await self.settle(bucket, lock)

    async def settle(self, bucket: Bucket, lock: bytes) -> None:
        """See to it that a lock that was met goes away: wait, finish, or give up for its owner."""
        tx, _, until = lock.decode().partition(" ")
        deadline = asyncio.get_running_loop().time() + _PATIENCE_SECONDS
        while asyncio.get_running_loop().time() < deadline:
            if await self._server.read(bucket, "GET", bucket.lock) != lock:
                return
            home = self._layout.buckets[int(tx.partition(":")[0])]
            if await self._server.read(home, "GET", _record(home, tx)) == b"committed":
                await self.finish(tx)
                return
            if await self._micros(bucket) > int(until) and await self._give_up(home, tx):
                await self._server.run(bucket, RELEASE, tx)
                return
            await asyncio.sleep(0.005 * random.uniform(0.5, 1.5))  # noqa: S311 - no secret
        raise StorageUnavailableError(self._server.url, f"locked by the transaction {tx}")

    async def _micros(self, bucket: Bucket) -> int:
        seconds, micros = await self._server.read(bucket, "TIME")
        return int(seconds) * 1_000_000 + int(micros)

    async def _give_up(self, home: Bucket, tx: str) -> bool:
        """Write the record that a transaction was given up; False where it was committed."""
        record = _record(home, tx)
        options = ("NX", "EX", _ABORTED_SECONDS)
        if await self._server.write(home, "SET", record, "aborted", *options):
            return True
        return bool(await self._server.read(home, "GET", record) == b"aborted")

    async def finish(self, tx: str) -> None:
        """Do what is left of a committed transaction, in all buckets."""
        for bucket in self._layout.buckets:
            while (await self._server.run(bucket, STEP, tx, self._layout.channel))[0] == b"more":
                pass
        home = self._layout.buckets[int(tx.partition(":")[0])]
        await self._server.write(home, "DEL", _record(home, tx))


def _check(answer: Sequence[bytes]) -> None:
    """Raise what a script says to be wrong."""
    match answer[0]:
        case b"done":
            return
        case b"fields":
            raise FieldsError
        case b"stale":
            raise StaleError(answer[1].decode())
        case _:
            raise StaleError(None)


def _record(home: Bucket, tx: str) -> str:
    return f"{home.base}rec:{tx}"


class Staged:
    """A transaction that is being staged."""

    def __init__(self, server: Server, layout: Layout, transactions: Transactions) -> None:
        self._server = server
        self._layout = layout
        self._transactions = transactions
        self._home: Bucket | None = None
        self._parts: dict[Bucket, int] = {}
        self._tx = ""
        self._locked = False
        self._fields_matter = False

    async def add(self, changes: Sequence[Change]) -> None:
        """Stage changes; none of them is looked at before `commit`."""
        parts: dict[Bucket, list[Change]] = {}
        for change in changes:
            parts.setdefault(self._layout.bucket_of(change.id), []).append(change)
        for bucket, own in parts.items():
            self._begin_in(bucket)
            key = f"{bucket.base}tx:{self._tx}"
            packed = [_packed(part) for part in _parts(own)]
            commands: list[Command] = [("RPUSH", key, part) for part in packed]
            if not self._locked:  # from then on it stays until it is done, or given up
                commands.append(("EXPIRE", key, _STAGED_SECONDS))
            await self._server.write_all(bucket, commands)
            self._parts[bucket] += len(packed)
            # History is the same whatever is indexed.
            self._fields_matter |= any(isinstance(change, Put) for change in own)

    def _begin_in(self, bucket: Bucket) -> None:
        if self._home is None:
            self._home = bucket
            self._tx = f"{bucket.number}:{secrets.token_hex(8)}"
        self._parts.setdefault(bucket, 0)

    async def lock(self, based_on: Iterable[Change] = ()) -> None:
        """Lock the buckets, where all is as the changes expect it; anew to keep them for longer.

        Raises:
            StaleError: Something is not, or what was staged is gone; nothing is left of the
                transaction.
            FieldsError: Other indexes are declared by now; nothing is left either.
        """
        expected: dict[Bucket, list[str]] = {}
        for change in based_on:
            if change.based_on != "*" or change.array != "*":
                own = expected.setdefault(self._layout.bucket_of(change.id), [])
                own += (change.id, change.based_on, change.array)
        for bucket in sorted(self._parts, key=lambda bucket: bucket.number):
            args = expected.get(bucket, [])
            fields = self._transactions.fields(bucket) if self._fields_matter else "*"
            head = (fields, self._tx, _LOCK_SECONDS, self._parts[bucket])
            answer = await self._transactions.run(bucket, LOCK, *head, *args)
            if answer[0] != b"done":
                await self.abort()
            _check(answer)
        self._locked = True

    async def commit(self, based_on: Iterable[Change] = ()) -> None:
        """Make the staged changes; lock the buckets before, where that was not done.

        Raises:
            StaleError: Something is not as the changes expect it; nothing was changed.
        """
        if self._home is None:
            return
        if not self._locked:
            await self.lock(based_on)
        record = _record(self._home, self._tx)
        made = await self._server.write(self._home, "SET", record, "committed", "NX")
        if made is None:  # given up by somebody else: this took too long
            await self.abort()
            raise StaleError(None)
        await self._transactions.finish(self._tx)

    async def abort(self) -> None:
        """Leave nothing of the transaction."""
        for bucket in self._parts:
            await self._server.run(bucket, RELEASE, self._tx)


def _weight(change: Change) -> int:
    return change.weight if isinstance(change, HistoryWritten) else 1


def _parts(changes: Sequence[Change]) -> Iterator[list[Change]]:
    """Divide changes into what is done in one step each."""
    part: list[Change] = []
    weight = 0
    for change in changes:
        if part and weight + _weight(change) > _PART:
            yield part
            part, weight = [], 0
        part.append(change)
        weight += _weight(change)
    if part:
        yield part


def _packed(changes: Sequence[Change]) -> bytes:
    words: list[str] = []
    alike: dict[tuple[tuple[str, ...], tuple[str, ...]], list[Put]] = {}
    for change in changes:
        if isinstance(change, Put) and change.is_plain:
            alike.setdefault((tuple(change.fields), change.missing), []).append(change)
        else:
            # As text throughout: Lua would make floats of numbers.
            words += map(str, change.args())
    for (names, missing), puts in alike.items():
        words += ("l", str(len(puts)), str(len(names)), *names, str(len(missing)), *missing)
        for put in puts:
            words += put.fields.values()
    return msgspec.msgpack.encode(words)
