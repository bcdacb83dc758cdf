"""Storage backends behind one interface, `StorageAdapter`.

`TimescaleAdapter` is in `hsorm.storage.timescale`: its driver is an extra.
"""

from hsorm.storage.factory import open_storage
from hsorm.storage.memory import InMemoryAdapter
from hsorm.storage.protocol import HisItem, StorageAdapter
from hsorm.storage.sqlite import SqliteAdapter

__all__ = ["HisItem", "InMemoryAdapter", "SqliteAdapter", "StorageAdapter", "open_storage"]
