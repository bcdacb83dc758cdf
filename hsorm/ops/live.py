"""Live tags: the current and written values of points, kept apart from what describes them (C8).

Where a tag lives follows from its name alone. Live tags are read and filtered as all others, change
often, and never touch `mod`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from hsorm.kinds import REMOVE, Entity

__all__ = ["LIVE_TAGS", "live_part", "merge_live", "split"]

LIVE_TAGS: Final = frozenset(
    (
        "connState", "connStatus", "connErr",
        "curVal", "curStatus", "curErr", "curSource",
        "writeVal", "writeLevel", "writeStatus", "writeErr",
        "nextTime", "nextVal",
        "hisStatus", "hisErr",
        "userFailedLogins",
    )
)  # fmt: skip
"""The names of the live tags, which the rules call transient only (C8)."""


def split(entity: Mapping[str, Any]) -> tuple[Entity, Entity]:
    """Return the tags of an entity that are kept with it (its `id` among them), and the live ones.

    Neither is a dict of the caller's.
    """
    if LIVE_TAGS.isdisjoint(entity):  # most entities are no points
        return dict(entity), {}
    tags = {name: val for name, val in entity.items() if name not in LIVE_TAGS}
    return tags, live_part(entity)


def live_part(entity: Mapping[str, Any]) -> Entity:
    """Return the live tags of an entity alone."""
    if LIVE_TAGS.isdisjoint(entity):
        return {}
    return {name: val for name, val in entity.items() if name in LIVE_TAGS}


def merge_live(live: Mapping[str, Any], changes: Mapping[str, Any]) -> Entity:
    """Return live tags after a change: a value sets a tag, REMOVE deletes it, others stay (C5)."""
    return {name: val for name, val in {**live, **changes}.items() if val is not REMOVE}
