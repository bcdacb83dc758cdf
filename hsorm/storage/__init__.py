"""Storage backends behind one interface, `StorageAdapter`.

`TimescaleAdapter` is in `hsorm.storage.timescale`: its driver is an extra.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from hsorm.storage.factory import open_storage
from hsorm.storage.memory import InMemoryAdapter
from hsorm.storage.protocol import HisItem, StorageAdapter

if TYPE_CHECKING:
    from hsorm.storage.sqlite import SqliteAdapter

__all__ = ["HisItem", "InMemoryAdapter", "SqliteAdapter", "StorageAdapter", "open_storage"]


def __getattr__(name: str) -> Any:
    if name != "SqliteAdapter":  # the memory backend must not wait for SQLAlchemy
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return import_module("hsorm.storage.sqlite").SqliteAdapter
