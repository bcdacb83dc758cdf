"""Habits of the published interface that keep working as written."""

from __future__ import annotations

import json
from typing import Any, Final

import pytest

from hsorm.kinds import MARKER, REMOVE, Number, Ref
from hsorm.storage.protocol import StorageAdapter
from hsorm.testing.conformance.examples import ids, without_stamp

__all__ = ["HabitTests"]

_EXPORT: Final = json.dumps(
    {
        "id": {"_kind": "ref", "val": "ahu-1", "dis": "AHU 1"},
        "ahu": {"_kind": "marker"},
        "siteRef": {"_kind": "ref", "val": "site-1", "dis": "Site 1"},
        "area": {"_kind": "number", "val": 12.5, "unit": "m²"},
        "n": 5,
        "dis": "AHU 1",
        "feeds": [{"_kind": "ref", "val": "zone-1"}],
        "nested": {"ref": {"_kind": "ref", "val": "x"}, "n": 1},
        "mod": {"_kind": "dateTime", "val": "2024-03-10T06:00:00Z"},
    }
)


def _raw() -> dict[str, Any]:
    raw: dict[str, Any] = json.loads(_EXPORT)
    return raw


_KINDS: Final = {
    "id": Ref("ahu-1"),
    "ahu": MARKER,
    "siteRef": Ref("site-1"),
    "area": Number(12.5, "m²"),
    "n": Number(5),
    "dis": "AHU 1",
    "feeds": [Ref("zone-1")],
    "nested": {"ref": Ref("x"), "n": Number(1)},
}


class HabitTests:
    """Hayson values straight from `json.load`; calls by the published names."""

    @pytest.mark.parametrize("way", ["create", "load_entities"])
    async def test_hayson_is_decoded_on_the_way_in(self, store: StorageAdapter, way: str) -> None:
        """§1.1: what a JSON export holds is taken as the kinds that it means."""
        write: Any = getattr(store, way)
        await write([_raw()] if way == "load_entities" else _raw())

        found = await store.read_by_id("ahu-1")

        assert without_stamp(found) == _KINDS
        assert ids(await store.read("ahu and feeds == @zone-1 and area > 12m²")) == ["ahu-1"]

    async def test_hayson_is_decoded_in_an_update(self, store: StorageAdapter) -> None:
        """C5: its remove is REMOVE."""
        await store.create(_raw())

        changes = {"area": {"_kind": "number", "val": 1, "unit": "ft²"}, "n": {"_kind": "remove"}}
        updated = await store.update({"id": _raw()["id"], **changes})

        assert updated["area"] == Number(1, "ft²")
        assert "n" not in updated

    async def test_remove_in_a_load_is_dropped(self, store: StorageAdapter) -> None:
        """C5."""
        await store.load_entities([{"id": Ref("a"), "x": REMOVE, "y": {"_kind": "remove"}}])

        assert (await store.read_by_id("a")).keys() == {"id", "mod"}

    async def test_hayson_in_history(self, store: StorageAdapter) -> None:
        """H22: an item's `ts` and `val` as JSON has them."""
        point = {"point": MARKER, "his": MARKER, "kind": "Number", "unit": "kW", "tz": "UTC"}
        await store.load_entities([{"id": Ref("p"), **point}])

        ts = {"_kind": "dateTime", "val": "2024-03-10T06:00:00Z"}
        val = {"_kind": "number", "val": 1.5, "unit": "kW"}
        await store.his_write("p", [{"ts": ts, "val": val}])

        (item,) = await store.his_read("p", "2024-03-10")
        assert item["val"] == Number(1.5, "kW")

    async def test_the_published_argument_names(self, store: StorageAdapter) -> None:
        """The names of the published interface."""
        await store.load_entities([_raw()])

        assert len(await store.read(filter_str="ahu", limit=1)) == 1
        assert len(await store.read_by_ids(ids=["ahu-1"])) == 1
        assert await store.nav(nav_id=None) == []
