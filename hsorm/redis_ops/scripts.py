"""The Lua scripts: each is one step that nothing comes between.

They lie beside this file in `lua/`. Every script works on one bucket, whose base is its only key:
the other keys that it touches share the hash tag, and so the slot.
"""

from __future__ import annotations

import hashlib
from functools import cached_property
from importlib import resources
from typing import Final

__all__ = [
    "APPLY",
    "FEED",
    "FIND",
    "HIS_CLEAR",
    "LOCK",
    "PRUNE",
    "RELEASE",
    "REPLACED",
    "REPLACED_LOCKED",
    "SET_FIELDS",
    "STEP",
    "TURN",
    "WATCH_CHANGED",
    "WATCH_CLOSE",
    "WATCH_HEAD",
    "WATCH_JOIN",
    "WATCH_KNOWN",
    "WATCH_LEAVE",
    "WATCH_SETTLE",
    "Script",
]


class Script:
    """A script of the folder `lua`, with the parts that it is made of before it."""

    def __init__(self, name: str, *parts: str) -> None:
        self.name = name
        self._parts = parts

    @cached_property
    def source(self) -> str:
        """The text."""
        folder = resources.files("hsorm.redis_ops") / "lua"
        return "\n".join(
            (folder / f"{part}.lua").read_text("utf-8") for part in (*self._parts, self.name)
        )

    @cached_property
    def sha(self) -> str:
        """The name by which a server that has seen it knows it."""
        return hashlib.sha1(self.source.encode(), usedforsecurity=False).hexdigest()


APPLY: Final = Script("apply", "base", "guard", "history", "ops")
"""Check what a change is based on, and make it."""

LOCK: Final = Script("lock", "base", "history", "ops")
"""Take a bucket for a transaction, if what is staged there may be done."""

STEP: Final = Script("step", "base", "history", "ops")
"""Do a part of what a committed transaction has staged."""

RELEASE: Final = Script("release", "base")
"""Give up a transaction that was not committed."""

REPLACED: Final = Script("replaced", "base", "guard")
"""Read of the entities that a load replaces what it has to know."""

REPLACED_LOCKED: Final = Script("replaced", "base")
"""The same, for who has the bucket."""

SET_FIELDS: Final = Script("set_fields", "base", "guard")
"""Change which declared indexes are written and searched."""

TURN: Final = Script("turn", "base")
"""Hold on to one's turn at changing the index, or end it."""

FEED: Final = Script("feed", "base", "guard")
"""Read what has changed after a stamp, with the entities as they are."""

FIND: Final = Script("find", "base", "guard")
"""Run searches that find little: in one command, where MULTI takes five."""

HIS_CLEAR: Final = Script("his_clear", "base", "guard", "history")
"""Delete items of a point."""

PRUNE: Final = Script("prune", "base", "guard")
"""Forget removals and ended watches."""

WATCH_HEAD: Final = Script("watch_head", "base", "guard")
"""Find a watch and renew its lease, or open it."""

WATCH_CLOSE: Final = Script("watch_close", "base")
"""Note that a watch is closed."""

WATCH_JOIN: Final = Script("watch_join", "base", "guard")
"""Put ids into a watch, and read them as they are."""

WATCH_LEAVE: Final = Script("watch_leave", "base")
"""Take ids, or all, out of a watch."""

WATCH_CHANGED: Final = Script("watch_changed", "base", "guard")
"""Read what has changed among the ids of a watch, and note that it was told, or leave that."""

WATCH_KNOWN: Final = Script("watch_known", "base", "guard")
"""Read how far a watch on a filter has come, and what it has told."""

WATCH_SETTLE: Final = Script("watch_settle", "base", "guard")
"""Note what a watch has told, unless somebody else did meanwhile."""
