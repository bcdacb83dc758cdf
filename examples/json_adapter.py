"""A storage adapter of somebody else: entities and history in one JSON file.

What a storage has to decide is in hsorm: what a filter means, what may be stored, what a commit
does. So this adapter is left with keeping things, in four calls: `_fetch` and `_keep` of entities,
`_his_items` and `_his_store` of history. `test_json_adapter.py` beside it shows with hsorm's own
conformance kit that it answers as all others do. It has reading, navigation, commits, live tags and
history with rollups; priority arrays, watches and the change feed it has not.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TypeAlias
from zoneinfo import ZoneInfo

from hsorm.codecs import hayson
from hsorm.errors import UnknownEntityError
from hsorm.his import HisPoint, Span
from hsorm.his.batches import PointItems
from hsorm.kinds import REMOVE, Entity, Kind, Number
from hsorm.storage import HisItem
from hsorm.storage.base import Entities, History, about_entity

__all__ = ["JsonAdapter"]

_Items: TypeAlias = dict[dt.datetime, Kind]


class JsonAdapter(Entities, History):
    """Entities and history in a JSON file, read when it is opened and written at each change."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.path = path
        self._entities: dict[str, Entity] = {}
        self._history: dict[str, _Items] = {}

    async def connect(self) -> None:
        """Read the file, if there is one."""
        if self.path.exists():
            stored = hayson.loads(self.path.read_text("utf-8"))
            self._entities = {entity["id"].val: entity for entity in stored["entities"]}
            self._history = {
                id: {item["ts"]: item["val"] for item in items}
                for id, items in stored["history"].items()
            }

    def _save(self, entities: dict[str, Entity], history: dict[str, _Items]) -> None:
        listed = {
            id: [{"ts": ts, "val": val} for ts, val in items.items()]
            for id, items in history.items()
        }
        beside = self.path.with_suffix(".new")
        text = hayson.dumps({"entities": list(entities.values()), "history": listed})
        beside.write_text(text, "utf-8")
        beside.replace(self.path)  # whole or not at all
        self._entities, self._history = entities, history

    async def about(self) -> Entity:
        """Describe the storage."""
        there = sum("trash" not in entity for entity in self._entities.values())
        return about_entity("json", "1", there)

    # ---- entities -------------------------------------------------------------------------------

    async def _fetch(self, ids: Sequence[str] | None = None) -> Mapping[str, Entity]:
        if ids is None:
            return self._entities
        return {id: self._entities[id] for id in ids if id in self._entities}

    async def _keep(self, changed: Mapping[str, Entity | None]) -> None:
        merged = {**self._entities, **changed}
        entities = {id: entity for id, entity in merged.items() if entity is not None}
        history = {id: items for id, items in self._history.items() if id in entities}
        self._save(entities, history)

    # ---- history --------------------------------------------------------------------------------

    async def _his_items(
        self, points: Sequence[HisPoint], span: Span, zone: ZoneInfo, limit: int | None
    ) -> list[list[HisItem]]:
        return [
            [
                HisItem(ts=ts.astimezone(zone), val=_with_unit(val, point.unit))
                for ts, val in self._history.get(point.id, {}).items()
                if span.start <= ts < span.end
            ][:limit]
            for point in points
        ]

    async def _his_store(self, points: Sequence[PointItems], clear: Span | None = None) -> None:
        history = dict(self._history)
        for id, items in points:
            if id not in self._entities:
                raise UnknownEntityError(id)
            kept = history.get(id, {})
            if clear is not None:
                kept = {ts: kept[ts] for ts in kept if not clear.start <= ts < clear.end}
            kept = kept | dict(items)
            history[id] = {ts: kept[ts] for ts in sorted(kept) if kept[ts] is not REMOVE}
        self._save(self._entities, history)


def _with_unit(val: Kind, unit: str | None) -> Kind:
    return Number(val.val, unit) if isinstance(val, Number) else val
