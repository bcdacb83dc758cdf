"""What a type checker sees of the package's own names; nothing here is run."""

from __future__ import annotations

from typing import assert_type

import hsorm
import hsorm.storage
from hsorm.storage import StorageAdapter


def names() -> None:
    assert_type(hsorm.open_storage(), StorageAdapter)
    assert_type(hsorm.SqliteAdapter("x.db"), hsorm.storage.SqliteAdapter)
    hsorm.open_stroage()  # type: ignore[attr-defined]  # a slip, not a name that comes later
    hsorm.storage.SqlitAdapter("x.db")  # type: ignore[attr-defined]
