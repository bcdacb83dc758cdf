"""The RediSearch indexes: one for each bucket, over its entities, behind an alias.

An index is named after what it is made of. When that changes (a declared index, a newer version of
hsorm), a new one is made beside the old, and the alias moves to it once it is whole: searches go on
all the while. Who changes what it is made of takes turns with all others, see `taking_turns`: the
index that the alias leads to has each field that is searched.
"""

from __future__ import annotations

import asyncio
import hashlib
import secrets
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from typing import Any, Final

from hsorm.errors import HsormError, StorageError
from hsorm.redis_ops.client import Server
from hsorm.redis_ops.keys import Bucket
from hsorm.redis_ops.scripts import TURN
from hsorm.redis_ops.terms import SEPARATOR, Indexes, field_name

__all__ = [
    "TIMEOUT",
    "VERSION",
    "drop_index",
    "ensure_index",
    "index_name",
    "is_behind_alias",
    "pairs",
    "script_rows",
    "search_rows",
    "taking_turns",
]

VERSION: Final = 1
"""Of what is in the fields that an index is over: with another one entities are written anew."""

TIMEOUT: Final = 86_400_000
"""Milliseconds for a search. By itself RediSearch stops after half a second, and answers with what
it has found until then; how long a call may take is for the connection's timeout to say."""

_LOOK_SECONDS: Final = 0.02

_TURN_SECONDS: Final = 15.0
"""How long who ended in the middle is waited for; who is at work says so three times as often."""

_END_SECONDS: Final = 2.0


def index_name(bucket: Bucket, indexes: Indexes) -> str:
    """Return the name of a bucket's index: the version, and a hash of the declared indexes."""
    fields = ",".join(sorted(f for name, kind in indexes if (f := field_name(name, kind))))
    digest = hashlib.blake2b(fields.encode(), digest_size=4).hexdigest()
    return f"{bucket.base}ix:{VERSION}:{digest if fields else '0'}"


@asynccontextmanager
async def taking_turns(server: Server, bucket: Bucket) -> AsyncIterator[None]:
    """Wait until nobody else changes the index of a bucket.

    A turn is lost when nothing is heard for long of who has it: look whether all is as it was
    before a step that takes something away.
    """
    token, ms = secrets.token_hex(8), int(_TURN_SECONDS * 1_000)
    take = ("SET", bucket.indexing, token, "NX", "PX", ms)
    while await server.write(bucket, *take) is None:  # noqa: ASYNC110 - of processes
        await asyncio.sleep(_LOOK_SECONDS)
    going_on = asyncio.create_task(_go_on(server, bucket, token, ms))
    try:
        yield
    finally:
        while not going_on.done():  # a driver may lose a cancellation: see `client`
            going_on.cancel()
            await asyncio.wait([going_on], timeout=_LOOK_SECONDS)
        # What comes of the block is what counts; a turn that is not given back ends by itself.
        with suppress(HsormError, TimeoutError):
            async with asyncio.timeout(_END_SECONDS):
                await server.run(bucket, TURN, token, 0)


async def _go_on(server: Server, bucket: Bucket, token: str, ms: int) -> None:
    while True:
        await asyncio.sleep(_TURN_SECONDS / 3)
        with suppress(HsormError):
            await server.run(bucket, TURN, token, ms)


async def is_behind_alias(server: Server, bucket: Bucket, indexes: Indexes) -> bool:
    """Tell whether searches go to the index that is made of these."""
    return await _behind_alias(server, bucket) == index_name(bucket, indexes)


async def ensure_index(server: Server, bucket: Bucket, indexes: Indexes) -> bool:
    """Make the index of a bucket and move the alias to it, where that was not done.

    Returns:
        Whether it was.
    """
    name = index_name(bucket, indexes)
    current = await _behind_alias(server, bucket)
    if current == name:
        return False
    await _create(server, bucket, name, indexes)
    await _wait_until_whole(server, bucket, name)
    await server.write(bucket, "FT.ALIASUPDATE", bucket.alias, name)
    if current is not None:
        await _drop(server, bucket, current)
    return True


async def drop_index(server: Server, bucket: Bucket) -> None:
    """Drop a bucket's index; the entities stay."""
    current = await _behind_alias(server, bucket)
    if current is not None:
        await _drop(server, bucket, current)


async def _create(server: Server, bucket: Bucket, name: str, indexes: Indexes) -> None:
    fields: list[Any] = []
    for field in ("t", "l"):
        fields += [field, "TAG", "SEPARATOR", SEPARATOR, "CASESENSITIVE"]
    # A limited read is in order of id, by code point: UNF, or they would be compared in lower case.
    fields += ["id", "TAG", "CASESENSITIVE", "SORTABLE", "UNF"]
    for field in sorted(f for tag, kind in indexes if (f := field_name(tag, kind))):
        fields += [field, "NUMERIC"]
    command = [
        "FT.CREATE", name, "ON", "HASH", "PREFIX", 1, bucket.entities,
        "NOOFFSETS", "NOHL", "NOFREQS", "NOFIELDS", "STOPWORDS", 0, "SCHEMA", *fields,
    ]  # fmt: skip
    try:
        await server.write(bucket, *command)
    except StorageError as exc:
        if "already exists" not in str(exc):  # by somebody else, just now
            raise


async def _drop(server: Server, bucket: Bucket, name: str) -> None:
    try:
        await server.write(bucket, "FT.DROPINDEX", name)
    except StorageError as exc:
        if "no such index" not in str(exc).lower() and "unknown index" not in str(exc).lower():
            raise


async def _wait_until_whole(server: Server, bucket: Bucket, name: str) -> None:
    """Wait until the entities that were there before the index are in it."""
    while True:
        info = pairs(await server.read(bucket, "FT.INFO", name))
        if int(info[b"indexing"]) == 0 and float(info[b"percent_indexed"]) >= 1:
            return
        await asyncio.sleep(_LOOK_SECONDS)


async def _behind_alias(server: Server, bucket: Bucket) -> str | None:
    try:
        info = pairs(await server.read(bucket, "FT.INFO", bucket.alias))
    except StorageError as exc:
        if "no such index" in str(exc).lower() or "unknown index" in str(exc).lower():
            return None
        raise
    name: str = info[b"index_name"].decode()
    return name


# ---- the shapes of answers ----------------------------------------------------------------------


def pairs(answer: Any) -> Mapping[bytes, Any]:
    """Return what RESP3 gives as a map, and RESP2 as a list of names and values."""
    if isinstance(answer, Mapping):
        return answer
    return dict(zip(answer[::2], answer[1::2], strict=True))


def search_rows(answer: Any) -> tuple[int, list[Mapping[bytes, Any]]]:
    """Return how many entities a search found, and the fields of those that it shows.

    Of FT.SEARCH with content and of FT.AGGREGATE; the number means nothing with the latter.

    Raises:
        StorageError: The search was cut short.
    """
    if not isinstance(answer, Mapping):
        found = answer[1:]
        if found and isinstance(found[0], bytes):  # FT.SEARCH: key, fields, key, fields…
            found = found[1::2]
        return int(answer[0]), list(map(pairs, found))
    return _checked(answer)


def script_rows(answer: Any) -> tuple[int, list[Mapping[bytes, Any]]]:
    """Return what `search_rows` does, of the answer that a script got by RESP3."""
    found = pairs(answer)
    total, rows = _checked({**found, b"results": list(map(pairs, found[b"results"]))})
    return total, list(map(pairs, rows))


def _checked(answer: Mapping[bytes, Any]) -> tuple[int, list[Mapping[bytes, Any]]]:
    if answer[b"warning"]:
        told = b"; ".join(answer[b"warning"]).decode()
        raise StorageError(f"the search was cut short: {told}")
    rows = [row[b"extra_attributes"] for row in answer[b"results"]]
    return int(answer[b"total_results"]), rows
