"""Storage backends behind one interface, `StorageAdapter`.

`TimescaleAdapter` needs the extra `postgres`, `RedisAdapter` the extra `redis`.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from hsorm.storage.factory import open_storage
from hsorm.storage.memory import InMemoryAdapter
from hsorm.storage.protocol import (
    Change,
    Changes,
    Committed,
    DanglingRef,
    Diff,
    HisItem,
    NavNode,
    StorageAdapter,
    WatchRows,
)

if TYPE_CHECKING:
    from hsorm.storage.binding import bind
    from hsorm.storage.redis import RedisAdapter
    from hsorm.storage.sqlite import SqliteAdapter
    from hsorm.storage.sync import SyncStorage
    from hsorm.storage.timescale import TimescaleAdapter

__all__ = [
    "Change",
    "Changes",
    "Committed",
    "DanglingRef",
    "Diff",
    "HisItem",
    "InMemoryAdapter",
    "NavNode",
    "RedisAdapter",
    "SqliteAdapter",
    "StorageAdapter",
    "SyncStorage",
    "TimescaleAdapter",
    "WatchRows",
    "bind",
    "open_storage",
]

# The memory backend must not wait for SQLAlchemy, nor need anybody's driver.
_LATER = {
    "RedisAdapter": "hsorm.storage.redis",
    "SqliteAdapter": "hsorm.storage.sqlite",
    "SyncStorage": "hsorm.storage.sync",
    "TimescaleAdapter": "hsorm.storage.timescale",
    "bind": "hsorm.storage.binding",
}


if not TYPE_CHECKING:  # to a type checker, a module with this has every name

    def __getattr__(name: str) -> Any:
        if name not in _LATER:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        return getattr(import_module(_LATER[name]), name)

    def __dir__() -> list[str]:
        return sorted({*globals(), *_LATER})
