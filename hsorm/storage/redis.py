"""`RedisAdapter`: Redis Stack, or Redis 8, on one server or a cluster."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from typing import Any

from hsorm.errors import MissingExtraError, UnknownEntityError
from hsorm.his.checks import check_items, reading_point, writing_point
from hsorm.his.span import parse_range
from hsorm.kinds import as_ref
from hsorm.storage.protocol import Create, HisItem, Id

try:
    import redis as _driver  # noqa: F401 - only to see whether it is there
except ImportError:
    raise MissingExtraError("RedisAdapter", "redis", "redis") from None

from hsorm.redis_ops import scripts
from hsorm.redis_ops.history import HisKeys, Rows, packed, paused_gc
from hsorm.redis_ops.terms import Indexed
from hsorm.storage._redis_watches import RedisWatches
from hsorm.storage._shared import utc_now

__all__ = ["RedisAdapter"]


class RedisAdapter(RedisWatches):
    """A storage in Redis with the modules RediSearch and RedisTimeSeries.

    Args:
        redis_url: `redis://user:password@host:6379`, `rediss://…` with TLS; None is REDIS_URL, or
            else this machine. Of a cluster any node will do. `?prefix=plant` as `prefix`, others
            are the driver's: `?protocol=2`, `?socket_timeout=5`, `?ssl_ca_certs=ca.pem`…
        create: `"auto"` makes the storage and its indexes on `connect()`, `"never"` raises instead.
        prefix: What the names of all keys begin with; `hsorm` unless told otherwise.
        buckets: Into how many parts a new storage is divided: one on a single server and one for
            each primary of a cluster unless told otherwise. Changes within one are one step.
        index_tags: Tags to index on `connect()`, with the kind of their values, as in
            `{"area": "number"}`; see docs/redis.md.

    Raises:
        StorageUrlError: The URL is none of Redis, or of a database that cannot be searched.
        ValueError: There is no such kind of index, or a name is none of a tag or no prefix.
    """

    def __init__(
        self,
        redis_url: str | None = None,
        *,
        create: Create = "auto",
        prefix: str | None = None,
        buckets: int | None = None,
        index_tags: Mapping[str, Indexed] | None = None,
    ) -> None:
        super().__init__(
            redis_url or os.environ.get("REDIS_URL") or "redis://localhost:6379",
            create=create,
            prefix=prefix,
            buckets=buckets,
            index_tags=index_tags,
        )

    # ---- history --------------------------------------------------------------------------------

    async def his_read(self, id: Id, range_str: str) -> list[HisItem]:
        """Read the history of one point; see `HistoryReader.his_read`."""
        point = reading_point(await self.read_by_id(id))
        span = parse_range(range_str, point.zone, utc_now())
        bucket = self.layout.bucket_of(point.id)
        commands = Rows.commands(HisKeys.of(bucket.base, point.id), span)
        with paused_gc():
            answers = await self.transactions.read(bucket, commands, failing=True)
            items: list[HisItem] = Rows.of(answers).items(point.zone, point.unit)
        return items

    async def his_write(self, id: Id, items: Iterable[Mapping[str, Any]]) -> None:
        """Write items into the history of one point; see `HistoryWriter.his_write`."""
        entity = await self.read_by_id(id)
        items = list(items)
        if not items:  # nothing to write, nothing to check (H21)
            return
        point = writing_point(entity)
        puts, gone = packed(check_items(point, items))
        told = [text for put in puts for text in put]
        answer = await self.transactions.run(
            self.layout.bucket_of(point.id), scripts.HIS_PUT, self.layout.channel, point.id,
            len(puts), *told, *gone,
        )  # fmt: skip
        if answer[0] == b"stale":  # deleted since it was looked up
            raise UnknownEntityError(as_ref(id).val)
