"""`RedisCore`: the life of an adapter over Redis, and how its other parts read and change."""

from __future__ import annotations

import asyncio
import datetime as dt
import random
import secrets
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import Any, Final, TypeVar

import msgspec
from redis.crc import key_slot

from hsorm.codecs import hayson
from hsorm.errors import SchemaOutdatedError, StorageError
from hsorm.kinds import Entity
from hsorm.ops.entities import next_mod
from hsorm.redis_ops import index, query
from hsorm.redis_ops.client import Command, Server
from hsorm.redis_ops.entities import (
    FIELDS,
    Fields,
    Stored,
    hash_of,
    live_hash_of,
    missing_fields,
)
from hsorm.redis_ops.keys import Bucket, Layout, is_possible, meta_key, tags_for
from hsorm.redis_ops.scripts import FIND, SET_FIELDS
from hsorm.redis_ops.terms import Indexed, Indexes, check_indexes
from hsorm.redis_ops.transactions import FieldsError, Put, StaleError, Transactions
from hsorm.redis_ops.urls import DEFAULT_PREFIX, check_prefix, safe_url, target_of
from hsorm.storage._shared import BaseAdapter, about_entity, check_loop, utc_now
from hsorm.storage.protocol import Create

__all__ = ["LAYOUT", "RedisCore", "counting", "place_of", "scored", "selecting"]

LAYOUT: Final = "0001"
"""The version of how things are laid out."""

_T = TypeVar("_T")

_PAGE: Final = 1_000

_FEW: Final = 30
"""So many entities are handed on by a script; more take it longer than MULTI does."""

_REMEMBERED: Final = 10_000
_PATIENCE_SECONDS: Final = 60.0


class RedisCore(BaseAdapter):
    """The part of a Redis adapter that all others stand on."""

    def __init__(
        self,
        redis_url: str,
        *,
        create: Create,
        prefix: str | None,
        buckets: int | None,
        index_tags: Mapping[str, Indexed] | None,
    ) -> None:
        if create not in ("auto", "never"):
            raise ValueError(f'create is "auto" or "never", not {create!r}')
        if buckets is not None and not 1 <= buckets <= 1_024:
            raise ValueError(f"{buckets} buckets: 1 to 1024 are possible")
        target = target_of(redis_url)
        self.prefix = check_prefix(prefix or target.prefix or DEFAULT_PREFIX)
        self.server = Server(target.url)
        self.url = safe_url(target.url, self.prefix)
        self._create = create
        self._wanted_buckets = buckets
        self._declared = check_indexes(index_tags or {})
        self._connecting = asyncio.Lock()
        self._opener: asyncio.Task[Any] | None = None
        self._last_mod: dt.datetime | None = None
        self._connected = False
        self._loop: asyncio.AbstractEventLoop | None = None
        self._token = ""
        self._fields: dict[Bucket, Fields] = {}
        self._finds_many: set[int] = set()
        """Queries, by their hashes, that found more than a script should hand on."""
        self.layout = Layout(self.prefix, ())
        self.transactions = Transactions(self.server, self.layout, self._fields_text)

    # ---- life -----------------------------------------------------------------------------------

    async def connect(self) -> None:
        """Open the storage and make its indexes; see `StorageAdapter.connect`."""
        async with self._connecting:
            if self._connected:
                return
            try:
                self._opener = asyncio.current_task()
                await self._open()
            except BaseException:
                # Who could not connect has nothing to close; no stream, for one may be waiting.
                await RedisCore.close(self)
                raise
            finally:
                self._opener = None

    async def _open(self) -> None:
        await self.server.connect()
        await self._find_layout()
        await self._load_fields()
        if self._create == "auto":
            for bucket in self.layout.buckets:
                await self._ensure_index(bucket)
        self._connected, self._loop = True, asyncio.get_running_loop()
        if self._create == "auto" and self._declared:
            await self._declare(self._declared)

    async def _ensure_index(self, bucket: Bucket) -> None:
        searched = self._fields[bucket].searched
        if not await index.is_behind_alias(self.server, bucket, searched):
            async with index.taking_turns(self.server, bucket):
                searched = (await self._fields_of(bucket)).searched
                await index.ensure_index(self.server, bucket, searched)

    async def _find_layout(self) -> None:
        found = await self._meta()
        if found is None:
            if self._create == "never":
                raise SchemaOutdatedError(self.url, None, LAYOUT)
            tags = tags_for(self.prefix, self.server.owners(), self._wanted_buckets)
            made = {"layout": LAYOUT, "tags": tags, "token": secrets.token_hex(4)}
            key = meta_key(self.prefix)
            # The first one to write it decides.
            await self.server.write(place_of(key), "SET", key, hayson.to_json(made), "NX")
            found = await self._meta()
        if found is None:  # deleted at once
            raise SchemaOutdatedError(self.url, None, LAYOUT)
        if found["layout"] != LAYOUT:
            raise SchemaOutdatedError(self.url, found["layout"], LAYOUT)
        self._token = found["token"]
        self.layout = Layout(self.prefix, tuple(found["tags"]))
        self.transactions = Transactions(self.server, self.layout, self._fields_text)

    async def _meta(self) -> dict[str, Any] | None:
        key = meta_key(self.prefix)
        found = await self.server.read(place_of(key), "GET", key)
        return None if found is None else msgspec.json.decode(found, type=dict[str, Any])

    head = LAYOUT

    async def revision(self) -> str | None:
        """Return the version of the layout, None where there is no storage yet."""
        await self.server.connect()
        found = await self._meta()
        return None if found is None else str(found["layout"])

    async def upgrade(self) -> None:
        """Make the storage, where there is none.

        Raises:
            StorageError: There is one, of another version.
        """
        found = await self.revision()
        if found not in (None, LAYOUT):
            raise StorageError(f"{self.url} cannot be upgraded: nobody knows revision {found}")
        create, self._create = self._create, "auto"
        try:
            await self.connect()
        finally:
            self._create = create

    async def close(self) -> None:
        """Close the storage; see `StorageAdapter.close`."""
        self._connected, self._loop = False, None
        await self.server.close()

    async def _ready(self) -> None:
        if not self._connected:
            if self._opener is asyncio.current_task():
                raise StorageError(f"{self.url} was closed while it was being opened")
            await self.connect()
        check_loop(self._loop, self.url)

    async def about(self) -> Entity:
        """Describe the storage; see `StorageAdapter.about`."""
        await self._ready()
        asked, count = query.outside_trash(query.ALL) or query.ALL, 0
        for bucket in self.layout.buckets:
            (answer,) = await self.transactions.read(bucket, [counting(bucket, asked)])
            count += index.search_rows(answer)[0]
        return about_entity("redis", await self._version(), count, url=self.url)

    async def _version(self) -> str:
        try:
            info = await self.server.read(self.layout.buckets[0], "INFO", "server")
            modules = await self.server.read(self.layout.buckets[0], "MODULE", "LIST")
        except StorageError:
            return "unknown"  # to a user who may not ask
        text = info if isinstance(info, str) else str(info.get("redis_version", ""))
        versions = [f"Redis {text}"]
        for module in modules:
            told = index.pairs(module)
            name = {b"search": "RediSearch", b"timeseries": "RedisTimeSeries"}.get(told[b"name"])
            if name:
                number = int(told[b"ver"])
                versions.append(f"{name} {number // 10000}.{number // 100 % 100}.{number % 100}")
        return ", ".join(versions)

    # ---- reading what is stored -----------------------------------------------------------------

    async def _stored(self, ids: Iterable[str]) -> dict[str, Stored]:
        """Return the entities of these ids that there are, be they in the trash."""
        found: dict[str, Stored] = {}
        for id, values in await self._hashes(ids, FIELDS):
            stored = Stored.of(id, values)
            if stored is not None:
                found[id] = stored
        return found

    async def _hashes(
        self, ids: Iterable[str], fields: Sequence[str]
    ) -> list[tuple[str, list[Any]]]:
        """Return some fields of the hashes of ids, None for those that are not there."""
        await self._ready()
        found: list[tuple[str, list[Any]]] = []
        possible = [id for id in dict.fromkeys(ids) if is_possible(id)]
        for bucket, own in self.layout.by_bucket(possible).items():
            for at in range(0, len(own), _PAGE):
                page = own[at : at + _PAGE]
                commands: list[Command] = [("HMGET", bucket.entity(id), *fields) for id in page]
                found += zip(page, await self.transactions.read(bucket, commands), strict=True)
        return found

    async def _search(
        self, bucket: Bucket, asked: str, *fields: str, most: int | None = None
    ) -> list[Mapping[bytes, Any]]:
        """Return fields of what a query finds in a bucket, the first ones by id with a limit.

        Raises:
            FieldsError: Other indexes are declared by now than the query was made for.
        """
        few, key = most is not None and most <= _FEW, hash(asked)
        if few or key not in self._finds_many:
            command = selecting(bucket, asked, fields, most, most if few else _FEW + 1)
            ((_, rows),) = await self._found(bucket, [command])
            if few or len(rows) <= _FEW:
                return rows
            if len(self._finds_many) >= _REMEMBERED:
                self._finds_many.clear()
            self._finds_many.add(key)
        rows = await self._search_many(bucket, asked, fields, most)
        if len(rows) <= _FEW:
            self._finds_many.discard(key)
        return rows

    async def _count_found(self, bucket: Bucket, asked: str) -> int:
        """Return how many entities of a bucket a query finds; raises as `_search` does."""
        ((count, _),) = await self._found(bucket, [counting(bucket, asked)])
        return count

    async def _found(
        self, bucket: Bucket, commands: Sequence[Command]
    ) -> list[tuple[int, list[Mapping[bytes, Any]]]]:
        """Run searches that find little; a script would take long to hand on much."""
        words: list[Any] = [self._fields[bucket].text]
        for command in commands:
            words += (len(command), *command)
        state, *answers = await self.transactions.run(bucket, FIND, *words, reads=True)
        if state != b"done":
            raise FieldsError
        return list(map(index.script_rows, answers))

    async def _search_many(
        self, bucket: Bucket, asked: str, fields: Sequence[str], most: int | None
    ) -> list[Mapping[bytes, Any]]:
        command = selecting(bucket, asked, fields, most)
        text, answer = await self.transactions.read(bucket, [("GET", bucket.fields), command])
        if (text or b"").decode() != self._fields[bucket].text:
            raise FieldsError
        return index.search_rows(answer)[1]

    # ---- changing -------------------------------------------------------------------------------

    async def _until_made(self, attempt: Callable[[], Awaitable[_T]]) -> _T:
        """Do what reads, decides and changes, anew when somebody else was faster."""
        await self._ready()
        deadline = asyncio.get_running_loop().time() + _PATIENCE_SECONDS
        tries = 0
        while True:
            try:
                return await attempt()
            except FieldsError:
                await self._load_fields()
            except StaleError as exc:
                if asyncio.get_running_loop().time() > deadline:
                    text = f"@{exc.id} changes all the time" if exc.id else "too slow"
                    raise StorageError(f"{text}: nothing was changed, try again") from None
            tries += 1
            if tries > 2:
                await asyncio.sleep(random.uniform(0, 0.001 * min(tries, 20)))  # noqa: S311

    def _put(self, entity: Entity, based_on: str = "*", **more: Any) -> Put:
        """Return the change that stores an entity as a whole."""
        id = entity["id"].val
        written = self._fields[self.layout.bucket_of(id)].written
        array: str | None = more.pop("new_array", None)
        fields = hash_of(entity, written)
        missing = missing_fields(fields, written)
        return Put(id, _with_array(fields, array), missing, based_on, **more)

    def _put_live(self, id: str, live: Entity, based_on: str, **more: Any) -> Put:
        """Return the change that stores an entity's live tags."""
        written = self._fields[self.layout.bucket_of(id)].written
        fields = live_hash_of(live, written)
        array: str | None = more.pop("new_array", None)
        missing = missing_fields(fields, written, live=True)
        return Put(id, _with_array(fields, array), missing, based_on, **more)

    def _next_mod(self) -> dt.datetime:
        self._last_mod = next_mod(utc_now(), self._last_mod)
        return self._last_mod

    def _remember(self, new: Entity) -> None:
        mod = new.get("mod")
        if isinstance(mod, dt.datetime):
            self._last_mod = max(self._last_mod or mod, mod)

    # ---- declared indexes -----------------------------------------------------------------------

    def _fields_text(self, bucket: Bucket) -> str:
        return self._fields[bucket].text

    async def _load_fields(self) -> None:
        for bucket in self.layout.buckets:
            text = await self.server.read(bucket, "GET", bucket.fields)
            self._fields[bucket] = Fields.of((text or b"").decode())

    async def create_indexes(
        self, index_tags: Mapping[str, Indexed] | None = None, *, search: bool = False
    ) -> list[str]:
        """Index tags, while others read and write.

        Args:
            index_tags: The kind of the values, by the tag: `"number"`, `"date"`, `"datetime"`; a
                `"string"` needs no index for what it can be asked here.
            search: Not here: a search looks at every text.

        Returns:
            The names of the indexes that were made; those that are there already stay.

        Raises:
            ValueError: There is no such kind of index, or a name is none of a tag.
            StorageError: An index for searches was asked for.
        """
        wanted = check_indexes(index_tags or {})
        self._refuse_search(search)
        await self._ready()
        return _names(await self._declare(wanted))

    async def drop_indexes(
        self, index_tags: Mapping[str, Indexed] | None = None, *, search: bool = False
    ) -> list[str]:
        """Drop indexes; those that are not there are left out of the answer."""
        unwanted = check_indexes(index_tags or {})
        self._refuse_search(search)
        await self._ready()
        dropped: set[tuple[str, str]] = set()
        for bucket in self.layout.buckets:
            while (await self._fields_of(bucket)).written & unwanted:
                async with index.taking_turns(self.server, bucket):
                    now = await self._fields_of(bucket)
                    dropped |= now.written & unwanted
                    await self._drop_fields(bucket, now, unwanted)
        await self._load_fields()
        return _names(frozenset(dropped))

    async def _drop_fields(self, bucket: Bucket, now: Fields, unwanted: Indexes) -> None:
        less = now.searched - unwanted
        # Nobody searches it any more, and only then it goes.
        middle = Fields.made(now.written, less)
        if await self._change_fields(bucket, now, middle):
            await index.ensure_index(self.server, bucket, less)
            await self._change_fields(bucket, middle, Fields.made(less, less))

    def _refuse_search(self, search: bool) -> None:
        if search:
            raise StorageError(
                "a search index is for SQL databases: here a search looks at every text"
            )

    async def _declare(self, wanted: Indexes) -> Indexes:
        """Make the indexes that are missing, and return which these were."""
        made: set[tuple[str, str]] = set()
        for bucket in self.layout.buckets:
            while wanted - (await self._fields_of(bucket)).searched:
                async with index.taking_turns(self.server, bucket):
                    now = await self._fields_of(bucket)
                    if new := wanted - now.searched:  # still, after others had their turn
                        made |= new
                        await self._add_fields(bucket, now, new)
        await self._load_fields()
        return frozenset(made)

    async def _add_fields(self, bucket: Bucket, now: Fields, new: Indexes) -> None:
        # From now on everybody writes it; then what is there is written anew; then it is searched.
        middle = Fields.made(now.written | new, now.searched)
        if await self._change_fields(bucket, now, middle):
            await self._load_fields()
            await self._write_anew(bucket)
            if (await self._fields_of(bucket)).text != middle.text:
                return  # somebody else had the turn after all
            whole = Fields.made(middle.written, now.searched | new)
            await index.ensure_index(self.server, bucket, whole.searched)
            await self._change_fields(bucket, middle, whole)

    async def _fields_of(self, bucket: Bucket) -> Fields:
        text = await self.server.read(bucket, "GET", bucket.fields)
        return Fields.of((text or b"").decode())

    async def _change_fields(self, bucket: Bucket, old: Fields, new: Fields) -> bool:
        answer = await self.transactions.run(bucket, SET_FIELDS, old.text, new.text)
        return bool(answer[0] == b"done")

    async def _write_anew(self, bucket: Bucket) -> None:
        """Write the fields of all entities of a bucket, telling nobody of it."""
        cursor = "-inf"
        while True:
            page = await self.server.read(
                bucket, "ZRANGE", bucket.log, cursor, "+inf", "BYSCORE", "LIMIT", 0, _PAGE,
                "WITHSCORES",
            )  # fmt: skip
            rows = scored(page)
            for id, _ in rows:

                async def anew(id: str = id) -> None:
                    stored = (await self._stored([id])).get(id)
                    if stored is not None:
                        put = self._put(stored.entity, stored.based_on, silent=True)
                        await self.transactions.make([put])

                await self._until_made(anew)
            if len(rows) < _PAGE:
                return
            cursor = f"({rows[-1][1]:.0f}"


# ---- commands and answers -----------------------------------------------------------------------


def counting(bucket: Bucket, asked: str) -> Command:
    """Return the command that counts what a query finds."""
    return (
        "FT.SEARCH", bucket.alias, asked, "NOCONTENT", "LIMIT", 0, 0,
        "TIMEOUT", index.TIMEOUT, "DIALECT", 2,
    )  # fmt: skip


def selecting(
    bucket: Bucket,
    asked: str,
    fields: Sequence[str],
    most: int | None = None,
    cut: int | None = None,
) -> Command:
    """Return the command that reads fields of what a query finds; the first ones by id.

    Without a limit by FT.AGGREGATE: it does not score what it finds, which takes FT.SEARCH half of
    its time. With `cut` no more than that, of those whichever.
    """
    rest = ("TIMEOUT", index.TIMEOUT, "DIALECT", 2)
    if most is None:
        loaded = [f"@{field}" for field in fields]
        limit = () if cut is None else ("LIMIT", 0, cut)
        return ("FT.AGGREGATE", bucket.alias, asked, "LOAD", len(fields), *loaded, *limit, *rest)
    shown = ("RETURN", len(fields), *fields, "SORTBY", "id", "LIMIT", 0, min(most, cut or most))
    return ("FT.SEARCH", bucket.alias, asked, *shown, *rest)


def scored(answer: Sequence[Any]) -> list[tuple[str, float]]:
    """Return members with their scores: pairs in RESP3, one after the other in RESP2."""
    if answer and isinstance(answer[0], (bytes, str)):
        answer = list(zip(answer[::2], answer[1::2], strict=True))
    return [(member.decode(), float(score)) for member, score in answer]


def _with_array(fields: dict[str, str], array: str | None) -> dict[str, str]:
    return fields if array is None else {"a": array, **fields}


def _names(indexes: Indexes) -> list[str]:
    return sorted(f"entities_{name}_{kind}_ix" for name, kind in indexes)


def place_of(key: str) -> Bucket:
    """Return a bucket for a key that is in none."""
    return Bucket(0, "", key_slot(key.encode()))
