"""The entities that the benchmarks run on: one building, cloned until there are enough."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from hsorm import demo
from hsorm.codecs.files import read_entities
from hsorm.kinds import MARKER, Entity, Number, Ref, is_list

__all__ = ["Data", "make_data"]

_PUBLIC = Path(__file__).resolve().parents[2] / "shared" / "data" / "alpha.json"

_PILOTS, _RARE = 2, 20


@dataclass(frozen=True)
class Data:
    """A building, and how many times it is cloned, ids and refs renamed.

    Two sites are marked `pilot` and twenty points `rare`, however many clones there are.

    Attributes:
        name: What the building is, for the tables.
        building: Its entities.
        times: The number of clones.
        site: The id of one of the sites.
        dis: The display text of that site.
        area: An area a little below that of the sites, as a filter writes it.
    """

    name: str
    building: list[Entity]
    times: int
    site: str
    dis: str
    area: str

    @property
    def count(self) -> int:
        return self.times * len(self.building)

    @property
    def label(self) -> str:
        return f"{self.count:,} entities ({self.name}, {self.times} times)"

    @cached_property
    def entities(self) -> list[Entity]:
        """All of them: a million take 2 GB."""
        return [entity for clone in self.clones() for entity in clone]

    def clones(self) -> Iterator[list[Entity]]:
        """Yield clone by clone, made when it is asked for."""
        pilots = set(_spread(_PILOTS, self.times))
        rare = set(_spread(_RARE, self.times))
        for number in range(self.times):
            clone = [
                {tag: _renamed(value, _prefix(number)) for tag, value in entity.items()}
                for entity in self.building
            ]
            if number in pilots:
                next(entity for entity in clone if "site" in entity)["pilot"] = MARKER
            if number in rare:
                next(entity for entity in clone if "point" in entity)["rare"] = MARKER
            yield clone


def make_data(wanted: int) -> Data:
    """Clone a building until there are some `wanted` entities."""
    name, building = _building()
    times = max(1, math.ceil(wanted / len(building)))
    site = next(entity for entity in building if "site" in entity)
    area = site["area"]
    assert isinstance(area, Number)
    below = int(area.val) - int(area.val) % 1000 - (0 if area.val % 1000 else 1000)
    id = _prefix(times // 2) + site["id"].val
    return Data(name, building, times, id, site["dis"], f"{below}{area.unit or ''}")


def _building() -> tuple[str, list[Entity]]:
    if _PUBLIC.is_file():
        return "the public example building Alpha", read_entities(_PUBLIC.read_bytes())
    return "the generated demo building", demo.building()


def _spread(wanted: int, times: int) -> range:
    return range(0, times, max(1, times // wanted))[:wanted]


def _prefix(clone: int) -> str:
    return f"b{clone:02}-"


def _renamed(value: Any, prefix: str) -> Any:
    if isinstance(value, Ref):
        return Ref(prefix + value.val, value.dis)
    if isinstance(value, Mapping):
        return {name: _renamed(val, prefix) for name, val in value.items()}
    return [_renamed(val, prefix) for val in value] if is_list(value) else value
