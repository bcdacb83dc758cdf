"""`RedisAdapter`: Redis Stack, or Redis 8, on one server or a cluster."""

from __future__ import annotations

import os
from collections.abc import Mapping

from hsorm.errors import MissingExtraError
from hsorm.storage.protocol import Create

try:
    import redis as _driver  # noqa: F401 - only to see whether it is there
except ImportError:
    raise MissingExtraError("RedisAdapter", "redis", "redis") from None

from hsorm.redis_ops.terms import Indexed
from hsorm.storage._redis_policies import RedisPolicies
from hsorm.storage._redis_rollups import RedisRollups
from hsorm.storage._redis_watches import RedisWatches

__all__ = ["RedisAdapter"]


class RedisAdapter(RedisWatches, RedisRollups, RedisPolicies):
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
