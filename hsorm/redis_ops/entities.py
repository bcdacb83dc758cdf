"""An entity as a hash: what is written of it, and what is read."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Self

import msgspec

from hsorm.codecs import hayson
from hsorm.errors import CodecError
from hsorm.kinds import Entity
from hsorm.ops.entities import as_read
from hsorm.ops.live import LIVE_TAGS, split
from hsorm.redis_ops.index import VERSION
from hsorm.redis_ops.terms import Indexes, field_name, numbers_of, tokens_of

__all__ = [
    "FIELDS",
    "Fields",
    "Stored",
    "entity_of",
    "hash_of",
    "live_hash_of",
    "live_of",
    "missing_fields",
]

_OPTIONAL: Final = ("l", "live", "z")

FIELDS: Final = ("tags", "live", "v", "a")
"""What is read of an entity that is to be changed; see `Stored.of`."""


@dataclass(frozen=True, slots=True)
class Fields:
    """Which declared indexes are written with entities, and which are searched.

    A new index is written by all before it is searched by anybody.

    Attributes:
        text: What the bucket has of it.
    """

    text: str = ""
    written: Indexes = frozenset()
    searched: Indexes = frozenset()

    @classmethod
    def of(cls, text: str) -> Self:
        """Return what a bucket's `fields` says."""
        if not text:
            return cls()
        found = msgspec.json.decode(text)
        return cls(text, _pairs(found["written"]), _pairs(found["searched"]))

    @classmethod
    def made(cls, written: Indexes, searched: Indexes) -> Self:
        """Return what is to be written of these."""
        told = {"version": VERSION, "written": sorted(written), "searched": sorted(searched)}
        return cls(hayson.to_json(told).decode(), written, searched)


def _pairs(found: Iterable[Sequence[str]]) -> Indexes:
    return frozenset((name, kind) for name, kind in found)


@dataclass(frozen=True, slots=True)
class Stored:
    """An entity as it is stored.

    Attributes:
        entity: The entity, with its live tags.
        based_on: The stamp of its last change.
        array: Its priority array as text, empty for none.
    """

    entity: Entity
    based_on: str
    array: str

    @classmethod
    def of(cls, id: str, found: Sequence[Any]) -> Self | None:
        """Return the entity of the fields `FIELDS`, None where there is none."""
        tags, live, stamp, array = found
        if tags is None:
            return None
        return cls(entity_of(tags, live, id), stamp.decode(), (array or b"").decode())


def entity_of(tags: bytes, live: bytes | None, id: str = "") -> Entity:
    """Return an entity as read from its tags and its live tags (R12)."""
    try:
        entity = hayson.decode_entity(tags)
        if live:
            entity |= hayson.decode_entity(live)
        return as_read(entity)
    except CodecError as exc:
        raise CodecError(exc.reason, where=f"entity @{id}" if id else exc.where) from None


def live_of(live: bytes | None) -> Entity:
    """Return live tags from their text."""
    return hayson.decode_entity(live) if live else {}


def hash_of(entity: Entity, indexes: Indexes) -> dict[str, str]:
    """Return the fields of an entity, all but its array and its stamp.

    None that is empty: a field takes some fifty bytes whatever is in it.
    """
    tags, live = split(entity)
    fields = {
        "id": tags["id"].val,
        "tags": hayson.encode_entity(tags),
        "t": tokens_of(tags, indexes),
    }
    if "trash" in tags:
        fields["z"] = "1"
    if live:
        fields |= {"live": hayson.encode_entity(live), "l": tokens_of(live, indexes)}
    return fields | numbers_of(entity, indexes) if indexes else fields


def live_hash_of(live: Entity, indexes: Indexes) -> dict[str, str]:
    """Return the fields that change with live tags."""
    own = [index for index in indexes if index[0] in LIVE_TAGS]
    return {
        "live": hayson.encode_entity(live) if live else "",
        "l": tokens_of(live, indexes),
        **numbers_of(live, own),
    }


def missing_fields(
    fields: Mapping[str, str], indexes: Indexes, *, live: bool = False
) -> tuple[str, ...]:
    """Return the fields that an entity has no value for, or its live tags.

    They are those of declared indexes, and those that not every entity has.
    """
    optional = () if live else tuple(name for name in _OPTIONAL if name not in fields)
    if not indexes:
        return optional
    names = (field_name(name, kind) for name, kind in indexes if not live or name in LIVE_TAGS)
    return (*optional, *sorted(name for name in names if name is not None and name not in fields))
