"""Entities to index, and the comparisons that each kind of index answers."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from typing import Final

from hsorm.kinds import MARKER, Entity, Number, Ref
from hsorm.sql.indexes import Indexed

DECLARED: Final[dict[str, Indexed]] = {
    "n": "number",
    "kw": "number",
    "dis": "string",
    "installed": "date",
    "lastTs": "datetime",
}
"""What is indexed."""

RANGES: Final = (
    ("n > 18990", "n", 9),
    ("n >= 18990", "n", 10),
    ("n < 5", "n", 5),
    ("kw >= 18999kW", "kw", 1),
    ("kw < 3kW", "kw", 3),
    ('dis > "Point 9998"', "dis", 1),
    ('dis < "Point 10"', "dis", 2),
    ("installed > 2051-12-31", "installed", 7),
    ("installed <= 2000-01-02", "installed", 2),
    ("lastTs >= 2024-01-14T04:35:00Z", "lastTs", 5),
    ("lastTs > 2024-01-13T23:36:00-05:00 New_York", "lastTs", 3),
)
"""A filter, the tag that its index is on, and how many entities match."""

_START = dt.datetime(2024, 1, 1, tzinfo=dt.UTC)


def stamped_building() -> Iterator[Entity]:
    """Yield 1,000 equips and 19,000 points with a value of each kind that can be indexed."""
    for i in range(1_000):
        yield {"id": Ref(f"e{i}"), "equip": MARKER}
    for i in range(19_000):
        yield {
            "id": Ref(f"p{i}"),
            "point": MARKER,
            "equipRef": Ref(f"e{i % 1_000}"),
            "n": Number(i),
            "kw": Number(i, "kW"),
            "dis": f"Point {i}",
            "installed": dt.date(2000, 1, 1) + dt.timedelta(days=i),
            "lastTs": _START + dt.timedelta(minutes=i),
        }
