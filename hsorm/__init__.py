r"""hsorm: the data layer for Project Haystack data in Python.

Open a storage, read by filter, write history:

    async with open_storage("sqlite:///building.db") as store:
        ahus = await store.read("ahu and siteRef->geoCity == \"Oslo\"")

`TimescaleAdapter` needs the extra `postgres`, `RedisAdapter` the extra `redis`.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from hsorm import errors
from hsorm.errors import HsormError
from hsorm.filter import evaluate, parse, print_filter
from hsorm.kinds import (
    MARKER,
    NA,
    REMOVE,
    Coord,
    Entity,
    Grid,
    GridCol,
    Kind,
    Number,
    Ref,
    Symbol,
    Uri,
    XStr,
)

if TYPE_CHECKING:
    from hsorm.ops.geo import near, within
    from hsorm.sql import Tags, compile_filter
    from hsorm.storage import (
        Change,
        Changes,
        Committed,
        DanglingRef,
        Diff,
        HisItem,
        InMemoryAdapter,
        NavNode,
        RedisAdapter,
        SqliteAdapter,
        StorageAdapter,
        TimescaleAdapter,
        WatchRows,
        open_storage,
    )

__all__ = [
    "MARKER",
    "NA",
    "REMOVE",
    "Change",
    "Changes",
    "Committed",
    "Coord",
    "DanglingRef",
    "Diff",
    "Entity",
    "Grid",
    "GridCol",
    "HisItem",
    "HsormError",
    "InMemoryAdapter",
    "Kind",
    "NavNode",
    "Number",
    "RedisAdapter",
    "Ref",
    "SqliteAdapter",
    "StorageAdapter",
    "Symbol",
    "Tags",
    "TimescaleAdapter",
    "Uri",
    "WatchRows",
    "XStr",
    "compile_filter",
    "errors",
    "evaluate",
    "near",
    "open_storage",
    "parse",
    "print_filter",
    "within",
]

# What needs SQLAlchemy is imported when first asked for: that takes thrice as long as the rest.
_LATER = {
    "Change": "hsorm.storage.protocol",
    "Changes": "hsorm.storage.protocol",
    "Committed": "hsorm.storage.protocol",
    "DanglingRef": "hsorm.storage.protocol",
    "Diff": "hsorm.storage.protocol",
    "HisItem": "hsorm.storage.protocol",
    "InMemoryAdapter": "hsorm.storage.memory",
    "NavNode": "hsorm.storage.protocol",
    "RedisAdapter": "hsorm.storage.redis",
    "SqliteAdapter": "hsorm.storage.sqlite",
    "StorageAdapter": "hsorm.storage.protocol",
    "Tags": "hsorm.sql",
    "TimescaleAdapter": "hsorm.storage.timescale",
    "WatchRows": "hsorm.storage.protocol",
    "compile_filter": "hsorm.sql",
    "near": "hsorm.ops.geo",
    "open_storage": "hsorm.storage.factory",
    "within": "hsorm.ops.geo",
}


if not TYPE_CHECKING:  # to a type checker, a module with this has every name

    def __getattr__(name: str) -> Any:
        if name not in _LATER:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        return getattr(import_module(_LATER[name]), name)

    def __dir__() -> list[str]:
        return sorted({*globals(), *_LATER})
