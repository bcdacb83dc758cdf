"""Where everything lies: the names of all keys, in one place.

The keys of a bucket begin with its base, `{prefix:0}:`, whose braces are a hash tag: on a cluster
they all lie on one node. Which bucket is an entity's follows from its id.

=============  =======  ==========================================================================
`e:<id>`       hash     an entity: `tags` and `live` (Hayson), `t` and `l` (their tokens), `id`,
                        `z` (1 in the trash), `a` (priority array), `v` (stamp of the last change),
                        and a field for each declared index
`ix`           alias    of the bucket's RediSearch index
`fields`       string   which declared indexes are written, and which are searched
`seq`          string   the stamp of the bucket's last change: microseconds, always growing
`log`          zset     id -> stamp of its last change, that of its removal included
`his`          zset     id -> stamp of the last write to its history
`gone`         zset     id -> when it was removed, in milliseconds
`forgotten`    string   the last stamp of a removal that is no longer known
`arrays`       set      the ids that have a priority array
`x`            zset     id -> when level 8 of its array expires, in milliseconds
`h:<id>`       series   the history of a point: its numbers; see `history`
`b:<id>`       series   its bools
`o:<id>`       zset     the rest of its history
`w:<watch>`    hash     a watch: `filter`, `lease`, `expires`, `closed`, `dis`
`wx`           zset     watch -> when it ends
`wp:<watch>`   hash     how far a watch has followed this bucket
`wm:<watch>`   hash     id -> whether it was there, and the stamp last told
`lock`         string   the transaction that has the bucket
`indexing`     string   who changes the bucket's index
`tx:<tx>`      list     what a transaction is to do here
`rec:<tx>`     string   whether a transaction is committed
=============  =======  ==========================================================================
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass, field
from typing import Final

from redis.crc import key_slot

from hsorm.kinds import is_ref_id

__all__ = [
    "SLOTS",
    "Bucket",
    "Layout",
    "channel_of",
    "is_possible",
    "meta_key",
    "policy_key",
    "tags_for",
]

SLOTS: Final = 16_384
"""So many hash slots a cluster has."""

_LONGEST_ID: Final = 1_000


@dataclass(frozen=True, slots=True)
class Bucket:
    """A part of a storage, whose keys share a slot.

    Attributes:
        number: Its place among the buckets.
        base: What all of its keys begin with.
        slot: The hash slot of its keys.
    """

    number: int
    base: str
    slot: int = field(compare=False)

    def entity(self, id: str) -> str:
        """Return the key of an entity."""
        return f"{self.base}e:{id}"

    @property
    def entities(self) -> str:
        """What the keys of entities begin with."""
        return f"{self.base}e:"

    @property
    def alias(self) -> str:
        """The name by which the bucket's index is searched."""
        return f"{self.base}ix"

    @property
    def lock(self) -> str:
        """The key of the lock."""
        return f"{self.base}lock"

    @property
    def indexing(self) -> str:
        """The key of the lock of who changes the index."""
        return f"{self.base}indexing"

    @property
    def fields(self) -> str:
        """The key of what is written and searched."""
        return f"{self.base}fields"

    @property
    def log(self) -> str:
        """The key of the change log."""
        return f"{self.base}log"


class Layout:
    """The buckets of a storage.

    Args:
        prefix: What all keys of the storage have in their beginning.
        tags: The hash tag of each bucket.
    """

    def __init__(self, prefix: str, tags: tuple[str, ...]) -> None:
        self.prefix = prefix
        self.buckets = tuple(
            Bucket(number, f"{{{tag}}}:", key_slot(tag.encode())) for number, tag in enumerate(tags)
        )

    @property
    def channel(self) -> str:
        """The channel on which changes are published, to wake up who follows them."""
        return channel_of(self.prefix)

    def bucket_of(self, name: str) -> Bucket:
        """Return the bucket of an entity, or of a watch, by its id."""
        if len(self.buckets) == 1:
            return self.buckets[0]
        return self.buckets[zlib.crc32(name.encode()) % len(self.buckets)]

    def by_bucket(self, ids: list[str]) -> dict[Bucket, list[str]]:
        """Return ids by their buckets, in order."""
        if len(self.buckets) == 1:
            return {self.buckets[0]: ids} if ids else {}
        parts: dict[Bucket, list[str]] = {}
        for id in ids:
            parts.setdefault(self.bucket_of(id), []).append(id)
        return parts


def meta_key(prefix: str) -> str:
    """Return the key of what is to be known of a storage before anything else."""
    return f"{prefix}:meta"


def policy_key(prefix: str) -> str:
    """Return the key of what becomes of a storage's history as it grows old, a hash."""
    return f"{prefix}:policy"


def channel_of(prefix: str) -> str:
    """Return the channel on which a storage's changes are published."""
    return f"{prefix}:changes"


def tags_for(prefix: str, owners: list[str], buckets: int | None = None) -> tuple[str, ...]:
    """Return hash tags for new buckets, such that they lie on the nodes in turn.

    Args:
        prefix: The storage's.
        owners: The node of each slot, on a cluster; one node for all on a single server.
        buckets: How many; None is one for each node.
    """
    nodes = list(dict.fromkeys(owners))
    count = len(nodes) if buckets is None else buckets
    return tuple(
        _tag_on(f"{prefix}:{number}", nodes[number % len(nodes)], owners) for number in range(count)
    )


def _tag_on(name: str, node: str, owners: list[str]) -> str:
    tag, attempt = name, 0
    while owners[key_slot(tag.encode()) % len(owners)] != node:
        attempt += 1
        tag = f"{name}.{attempt}"
    return tag


def is_possible(id: str) -> bool:
    """Tell whether an entity can have this id at all (rule K20)."""
    return len(id) <= _LONGEST_ID and is_ref_id(id)
