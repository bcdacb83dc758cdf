"""What becomes of history as it grows old, where a backend can see to that."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from typing import Any, Literal, Protocol, TypeAlias

__all__ = ["Edition", "HisPolicies", "HisPolicy", "PolicyName", "PolicyRun"]

Edition: TypeAlias = Literal["none", "apache", "community"]
"""Which TimescaleDB a database has."""


@dataclass(frozen=True, slots=True)
class HisPolicy:
    """What becomes of history as it grows old.

    Attributes:
        edition: Which TimescaleDB the database has; none is in Redis.
        hypertable: Whether history is a hypertable.
        chunk: How much time is in a chunk, as PostgreSQL writes an interval.
        chunks: How many chunks there are.
        compressed: How many of them are compressed.
        compress_after: How old a chunk is when it is compressed.
        keep: How old a chunk is when it is dropped; in Redis, how old an item.
        hourly: Whether hours are kept ready for rollups.
        hourly_until: Up to when all hours were ready after the last refresh, in UTC.
    """

    edition: Edition
    hypertable: bool = False
    chunk: str | None = None
    chunks: int = 0
    compressed: int = 0
    compress_after: str | None = None
    keep: str | None = None
    hourly: bool = False
    hourly_until: dt.datetime | None = None


PolicyName: TypeAlias = Literal["compress_after", "keep", "hourly"]
"""What can be taken back."""


@dataclass(frozen=True, slots=True)
class PolicyRun:
    """What was done: so many chunks were compressed, and dropped; in Redis, items deleted.

    And so many hours of points were worked out; None where none are kept ready.
    """

    compressed: int
    dropped: int
    hours: int | None = None


class HisPolicies(Protocol):
    """What an adapter with policies has: `TimescaleAdapter` and `RedisAdapter`."""

    async def his_policy(self) -> HisPolicy:
        """Return what becomes of history as it grows old."""
        ...

    async def set_his_policy(
        self,
        *,
        chunk: Any = None,
        compress_after: Any = None,
        keep: Any = None,
        hourly: bool = False,
    ) -> HisPolicy:
        """Set what becomes of history as it grows old; what is not given stays as it is."""
        ...

    async def remove_his_policy(self, *names: PolicyName) -> HisPolicy:
        """Take back what was set."""
        ...

    async def run_his_policy(self, *, compress_after: Any = None, keep: Any = None) -> PolicyRun:
        """Do now what the policy does by itself from time to time."""
        ...
