"""The entities that the benchmarks run on: one building, cloned until there are enough."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hsorm import demo
from hsorm.codecs.files import read_entities
from hsorm.kinds import Entity, Number, Ref, is_list

__all__ = ["Data", "make_data"]

_PUBLIC = Path(__file__).resolve().parents[2] / "shared" / "data" / "alpha.json"


@dataclass(frozen=True, slots=True)
class Data:
    """Entities, and what the filters ask for in them.

    Attributes:
        label: What the entities are, for the tables.
        site: The id of one of the sites.
        dis: The display text of that site.
        area: An area a little below that of the sites, as a filter writes it.
    """

    label: str
    entities: list[Entity]
    site: str
    dis: str
    area: str


def make_data(wanted: int) -> Data:
    """Clone a building, ids and refs renamed, until there are some `wanted` entities."""
    name, building = _building()
    times = max(1, math.ceil(wanted / len(building)))
    entities = [
        {tag: _renamed(value, f"b{clone:02}-") for tag, value in entity.items()}
        for clone in range(times)
        for entity in building
    ]
    sites = [entity for entity in entities if "site" in entity]
    site = sites[len(sites) // 2]
    area = site["area"]
    assert isinstance(area, Number)
    below = int(area.val) - int(area.val) % 1000 - (0 if area.val % 1000 else 1000)
    label = f"{len(entities):,} entities ({name}, {times} times)"
    return Data(label, entities, site["id"].val, site["dis"], f"{below}{area.unit or ''}")


def _building() -> tuple[str, list[Entity]]:
    if _PUBLIC.is_file():
        return "the public example building Alpha", read_entities(_PUBLIC.read_bytes())
    return "the generated demo building", demo.building()


def _renamed(value: Any, prefix: str) -> Any:
    if isinstance(value, Ref):
        return Ref(prefix + value.val, value.dis)
    if isinstance(value, Mapping):
        return {name: _renamed(val, prefix) for name, val in value.items()}
    return [_renamed(val, prefix) for val in value] if is_list(value) else value
