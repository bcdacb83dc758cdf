"""A storage adapter of somebody else: entities and history in one JSON file.

What a storage has to decide is in the pure rooms of hsorm: filters, spans, what may be stored, what
an update does. So an adapter is left with keeping things, and `test_json_adapter.py` beside it
shows with hsorm's own conformance kit that it answers as all others do. It offers reading,
navigation, writing, and the history of single points; the rest of `StorageAdapter` it has not.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from hsorm.codecs import hayson
from hsorm.errors import EntityExistsError, UnknownEntityError
from hsorm.filter import parse
from hsorm.filter.ast import Node
from hsorm.filter.evaluate import compile_predicate
from hsorm.his.checks import check_items, reading_point, writing_point
from hsorm.his.span import Range, span_of
from hsorm.kinds import REMOVE, Entity, Number, Ref, as_ref
from hsorm.ops import entities as rules
from hsorm.ops.display import dis_key
from hsorm.ops.geo import Area, compile_area
from hsorm.ops.nav import ROOTS, below, nav_rows
from hsorm.ops.search import compile_search, search_words
from hsorm.storage import HisItem

__all__ = ["JsonAdapter"]


def _now() -> dt.datetime:
    return dt.datetime.now(dt.UTC)


class JsonAdapter:
    """Entities and history in a JSON file, read when it is opened and written at each change."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._entities: dict[str, Entity] = {}
        self._history: dict[str, dict[dt.datetime, Any]] = {}
        self._mod: dt.datetime | None = None

    # ---- the file -------------------------------------------------------------------------------

    async def connect(self) -> None:
        """Read the file, if there is one."""
        if self.path.exists():
            stored = hayson.loads(self.path.read_text("utf-8"))
            self._entities = {entity["id"].val: entity for entity in stored["entities"]}
            self._history = {
                id: {item["ts"]: item["val"] for item in items}
                for id, items in stored["history"].items()
            }

    async def close(self) -> None:
        """Do nothing: everything is in the file already."""

    async def __aenter__(self) -> JsonAdapter:
        await self.connect()
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.close()

    def _save(self) -> None:
        history = {
            id: [{"ts": ts, "val": val} for ts, val in items.items()]
            for id, items in self._history.items()
        }
        beside = self.path.with_suffix(".new")
        text = hayson.dumps({"entities": list(self._entities.values()), "history": history})
        beside.write_text(text, "utf-8")
        beside.replace(self.path)  # whole or not at all

    def _next_mod(self) -> dt.datetime:
        self._mod = rules.next_mod(_now(), self._mod)
        return self._mod

    # ---- reading --------------------------------------------------------------------------------

    def _there(self) -> dict[str, Entity]:
        return {id: tags for id, tags in self._entities.items() if "trash" not in tags}

    async def read(
        self,
        filter_str: str | Node,
        limit: int | None = None,
        *,
        sort: str = "id",
        search: str | None = None,
        geo: Area | None = None,
    ) -> list[Entity]:
        node = parse(filter_str) if isinstance(filter_str, str) else filter_str
        matches, finds = compile_predicate(node), compile_search(search_words(search))
        inside = compile_area(geo) if geo is not None else lambda tags: True
        found = [
            id
            for id, tags in sorted(self._there().items())
            if matches(tags, self._entities.get) and finds(tags) and inside(tags)
        ]
        if sort == "dis":
            found.sort(key=lambda id: dis_key(self._copy(id)))
        return [self._copy(id) for id in (found if limit is None else found[: max(limit, 0)])]

    def _copy(self, id: str) -> Entity:
        # By way of its text: callers may change what they get, in any depth.
        return rules.as_read(hayson.decode_entity(hayson.encode_entity(self._entities[id])))

    async def read_count(
        self, filter_str: str | Node, *, search: str | None = None, geo: Area | None = None
    ) -> int:
        return len(await self.read(filter_str, search=search, geo=geo))

    async def read_by_ids(self, ids: Sequence[Ref | str]) -> list[Entity | None]:
        there, vals = self._there(), [as_ref(id).val for id in ids]
        return [self._copy(val) if val in there else None for val in vals]

    async def read_by_id(self, id: Ref | str) -> Entity:
        (found,) = await self.read_by_ids([id])
        if found is None:
            raise UnknownEntityError(as_ref(id).val)
        return found

    async def nav(self, nav_id: Ref | str | None = None) -> list[Entity]:
        if nav_id is not None:
            filter = below(await self.read_by_id(nav_id))
            return nav_rows(await self.read(filter)) if filter is not None else []
        levels = [await self.read(filter) for filter in ROOTS]
        return nav_rows(next((found for found in levels if found), []))

    # ---- writing --------------------------------------------------------------------------------

    async def create(self, entity: Mapping[str, Any]) -> Entity:
        checked = rules.check_new(entity)
        if checked["id"].val in self._entities:
            raise EntityExistsError(checked["id"].val)
        return self._put(rules.stamp(checked, self._next_mod()))

    async def update(self, entity: Mapping[str, Any]) -> Entity:
        changes = rules.check_update(entity)
        return self._put(rules.merge(self._stored(changes["id"].val), changes, self._next_mod()))

    async def delete(self, id: Ref | str) -> None:
        val = as_ref(id).val
        self._stored(val)
        del self._entities[val]
        self._history.pop(val, None)
        self._save()

    async def load_entities(self, entities: Iterable[Mapping[str, Any]]) -> int:
        mod = self._next_mod()
        loaded = [rules.stamp(rules.check_loaded(entity), mod) for entity in entities]
        new = {entity["id"].val: entity for entity in loaded}
        self._entities |= hayson.loads(hayson.dumps(new))
        self._save()
        return len(new)

    def _stored(self, id: str) -> Entity:
        if id not in self._entities:
            raise UnknownEntityError(id)
        return self._entities[id]

    def _put(self, entity: Entity) -> Entity:
        id = entity["id"].val
        self._entities[id] = hayson.decode_entity(hayson.encode_entity(entity))
        self._save()
        return self._copy(id)

    # ---- history --------------------------------------------------------------------------------

    async def his_read(self, id: Ref | str, range_str: Range) -> list[HisItem]:
        point = reading_point(await self.read_by_id(id))
        span = span_of(range_str, point.zone, _now())
        return [
            {"ts": ts.astimezone(point.zone), "val": _with_unit(val, point.unit)}
            for ts, val in sorted(self._history.get(point.id, {}).items())
            if span.start <= ts < span.end
        ]

    async def his_write(self, id: Ref | str, items: Sequence[Mapping[str, Any]]) -> None:
        entity = await self.read_by_id(id)
        if items:
            point = writing_point(entity)
            kept = self._history.get(point.id, {}) | dict(check_items(point, items))
            found = sorted((ts, val) for ts, val in kept.items() if val is not REMOVE)
            most = len(found) if point.most is None else point.most
            self._history[point.id] = dict(found[max(len(found) - most, 0) :])
            self._save()


def _with_unit(val: Any, unit: str | None) -> Any:
    return Number(val.val, unit) if isinstance(val, Number) else val
