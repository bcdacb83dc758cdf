"""Entities to index, and the comparisons that each kind of index answers."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from typing import Final

from hsorm.filter.format import print_literal
from hsorm.kinds import MARKER, Entity, Number, Ref
from hsorm.sql.indexes import Indexed
from hsorm.zones import zone_of

DECLARED: Final[dict[str, Indexed]] = {
    "n": "number",
    "kw": "number",
    "dis": "string",
    "installed": "date",
    "lastTs": "datetime",
}
"""What is indexed."""

FEW: Final = 19_000
"""Points of a building that is enough where each entity is loaded slowly."""

_NEW_YORK = zone_of("New_York")
_START = dt.datetime(2024, 1, 1, tzinfo=dt.UTC)


def ranges(points: int) -> list[tuple[str, str, int]]:
    """Return filters, the tag that the index of each is on, and how many entities match."""
    last = points - 1
    return [
        (f"n > {points - 10}", "n", 9),
        (f"n >= {points - 10}", "n", 10),
        ("n < 5", "n", 5),
        (f"kw >= {last}kW", "kw", 1),
        ("kw < 3kW", "kw", 3),
        ('dis > "Point 9998"', "dis", 1),
        ('dis < "Point 10"', "dis", 2),
        (f"installed > {_date(points - 8)}", "installed", 7),
        ("installed <= 2000-01-02", "installed", 2),
        (f"lastTs >= {print_literal(_instant(points - 5))}", "lastTs", 5),
        (f"lastTs > {print_literal(_instant(points - 4).astimezone(_NEW_YORK))}", "lastTs", 3),
    ]


def stamped_building(points: int = FEW) -> Iterator[Entity]:
    """Yield 1,000 equips and points with a value of each kind that can be indexed."""
    for i in range(1_000):
        yield {"id": Ref(f"e{i}"), "equip": MARKER}
    for i in range(points):
        yield {
            "id": Ref(f"p{i}"),
            "point": MARKER,
            "equipRef": Ref(f"e{i % 1_000}"),
            "n": Number(i),
            "kw": Number(i, "kW"),
            "dis": f"Point {i}",
            "installed": _date(i),
            "lastTs": _instant(i),
        }


def _date(i: int) -> dt.date:
    return dt.date(2000, 1, 1) + dt.timedelta(days=i)


def _instant(i: int) -> dt.datetime:
    return _START + dt.timedelta(minutes=i)
