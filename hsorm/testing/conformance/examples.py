"""A small building, and helpers that the topics share."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

import pytest

from hsorm.kinds import MARKER, Entity, Number, Ref

__all__ = ["AHU", "ALL", "SITE", "TEMP", "foreign", "ids", "without_stamp"]

SITE: Final[Entity] = {
    "id": Ref("site-1"),
    "dis": "Site 1",
    "site": MARKER,
    "geoCity": "Oslo",
    "area": Number(1000, "m²"),
}
AHU: Final[Entity] = {
    "id": Ref("ahu-1"),
    "dis": "AHU 1",
    "equip": MARKER,
    "ahu": MARKER,
    "siteRef": Ref("site-1"),
}
TEMP: Final[Entity] = {
    "id": Ref("temp-1"),
    "dis": "Temp 1",
    "point": MARKER,
    "his": MARKER,
    "kind": "Number",
    "unit": "°C",
    "tz": "New_York",
    "siteRef": Ref("site-1"),
    "equipRef": Ref("ahu-1"),
}
ALL: Final = [SITE, AHU, TEMP]


def ids(entities: Iterable[Mapping[str, Any]]) -> list[str]:
    """Return the ids of entities, in their order, as text."""
    return [entity["id"].val for entity in entities]


def without_stamp(entity: Mapping[str, Any]) -> Entity:
    """Return what a writer gave: the entity without the `mod` that the storage adds."""
    return {name: val for name, val in entity.items() if name != "mod"}


def foreign(make: Callable[[Any], Any] | str, val: Any) -> Any:
    """Return a value as another library has it; of NumPy, the type's name is enough."""
    return getattr(pytest.importorskip("numpy"), make)(val) if isinstance(make, str) else make(val)
