"""Rows of other people's SQL with coords of all kinds, those on earth at 0, 0."""

from __future__ import annotations

import json
from typing import Any, Final

from hsorm import Coord, near, within
from hsorm.storage.protocol import StorageAdapter
from hsorm.testing.conformance.examples import ids

__all__ = ["ODD_ROWS", "check_rows_at_origin"]

_ODD: Final[dict[str, Any]] = {
    "north-of-north": {"_kind": "coord", "lat": 90.000001, "lng": 0},
    "far-east": {"_kind": "coord", "lat": 0, "lng": 181},
    "text": {"_kind": "coord", "lat": "0", "lng": "0"},
    "half": {"_kind": "coord", "lat": 0},
    "null": {"_kind": "coord", "lat": None, "lng": 0},
    "nested": {"_kind": "coord", "lat": [0], "lng": {"x": 0}},
    "no-kind": {"lat": 0, "lng": 0},
    "other-kind": {"_kind": "dict", "lat": 0, "lng": 0},
    "list": [{"_kind": "coord", "lat": 0, "lng": 0}],
    "number": 0,
    "string": "C(0,0)",
}
_ODD_JSON: Final = {
    "huge": '{"_kind": "coord", "lat": 1e999, "lng": 0}',
    "long": '{"_kind": "coord", "lat": ' + "9" * 400 + ', "lng": -1e400}',
}
_RIGHT: Final = {
    "origin": '{"_kind": "coord", "lat": 0, "lng": 0}',
    "tiny": '{"_kind": "coord", "lat": 1e-400, "lng": -1e-320}',
    "long-fraction": '{"_kind": "coord", "lat": 0.' + "0" * 500 + '1, "lng": 0.0}',
}

_COORDS: Final = _RIGHT | _ODD_JSON | {name: json.dumps(val) for name, val in _ODD.items()}

ODD_ROWS: Final = [
    *((name, f'{{"geoCoord": {coord}, "x": 1}}') for name, coord in _COORDS.items()),
    ("row-list", "[1]"),
    ("row-string", '"geoCoord"'),
    ("row-list-key", '["geoCoord"]'),
]
"""Ids and tags."""


async def check_rows_at_origin(store: StorageAdapter) -> None:
    """Check that of these rows the right ones are found, by each kind of area."""
    right = sorted(_RIGHT)
    for area in (
        near(Coord(0, 0), "1m"),
        near(Coord(0, 0), "30000km"),
        within([Coord(-0.001, -0.001), Coord(0.001, 0.001)]),
        within([Coord(-0.001, -0.001), Coord(0.001, -0.001), Coord(0, 0.001)]),
    ):
        assert ids(await store.read("x", geo=area)) == right
        assert await store.read_count("x", geo=area) == len(right)
