"""History of several points at once: their common zone, their grid, and what a write is made of."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Mapping, Sequence
from itertools import chain
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from hsorm.errors import HisConfigError, HisWriteError
from hsorm.his.checks import Checked, HisPoint, check_pairs, settled
from hsorm.kinds import Grid, GridCol, Kind, as_ref
from hsorm.zones import zone_of

if TYPE_CHECKING:
    from zoneinfo import ZoneInfo

__all__ = [
    "PointItems",
    "Records",
    "all_items",
    "group_records",
    "his_grid",
    "joined",
    "one_zone",
]


class PointItems(NamedTuple):
    """Checked items of one point: instant in UTC and value, ascending by instant, one each."""

    id: str
    items: Checked


def one_zone(points: Sequence[HisPoint], tz: str | None) -> ZoneInfo:
    """Return the zone of a read of several points: `tz`, or else the one that all of them have.

    Raises:
        HisConfigError: They are in different zones, and there is no `tz` (OC 14).
        LookupError: There is no such zone as `tz`.
    """
    if tz is not None:
        return zone_of(tz)
    first = points[0]
    for point in points:
        if point.zone.key != first.zone.key:
            raise HisConfigError(
                point.id,
                f"its zone is {point.zone.key}, that of @{first.id} is {first.zone.key}: say in "
                "which zone to read them (tz=…), or read them apart",
            )
    return first.zone


def his_grid(found: Mapping[Any, Iterable[Mapping[str, Any]]]) -> Grid:
    """Return the grid of a batch read (rule H11), from what `his_read_batch` returns.

    Returns:
        Columns `ts`, `v0`, `v1` and so on, each with the `id` of its point as meta; a row for each
        instant, ascending; `hisStart` and `hisEnd`, the first and last of them, as meta.
    """
    rows: dict[dt.datetime, dict[str, Kind]] = {}
    for number, items in enumerate(found.values()):
        for item in items:
            # Datetimes of one zone compare by wall clock, which shows one hour twice a year.
            instant = item["ts"].astimezone(dt.UTC)
            rows.setdefault(instant, {"ts": item["ts"]})[f"v{number}"] = item["val"]
    ordered = [rows[ts] for ts in sorted(rows)]
    meta = {"hisStart": ordered[0]["ts"], "hisEnd": ordered[-1]["ts"]} if ordered else {}
    columns = [GridCol(f"v{number}", {"id": as_ref(id)}) for number, id in enumerate(found)]
    return Grid(meta, (GridCol("ts"), *columns), tuple(ordered))


# ---- records ------------------------------------------------------------------------------------

_FORMS: Final = "(id, ts, val) or {'id': …, 'ts': …, 'val': …}"


class Records(NamedTuple):
    """A part of a source of records, grouped by point.

    Attributes:
        pairs: `ts` and `val` of each item as given, by id in the order of the first of each.
        places: Where in the source each of them stands.
    """

    pairs: dict[str, list[tuple[Any, Any]]]
    places: dict[str, list[int]]

    def check(self, points: Mapping[str, HisPoint]) -> list[PointItems]:
        """Return the items of each point, checked, by id.

        Raises:
            HisWriteError: An item is not accepted; `index` is its place in the source.
        """
        checked = []
        for id in sorted(self.pairs):
            try:
                checked.append(PointItems(id, check_pairs(points[id], self.pairs[id])))
            except HisWriteError as exc:
                raise HisWriteError(id, self.places[id][exc.index], exc.reason) from None
        return checked


def group_records(records: Iterable[Any], first: int = 0) -> Records:
    """Group records by their point.

    Args:
        records: `(id, ts, val)` or `{"id", "ts", "val"}`.
        first: The place of the first of them in their source.

    Raises:
        HisWriteError: One is no record.
    """
    found = Records({}, {})
    for place, record in enumerate(records, first):
        try:
            if isinstance(record, tuple):
                id, ts, val = record
            else:
                id, ts, val = record["id"], record["ts"], record["val"]
            key = id if type(id) is str and id[:1] != "@" else as_ref(id).val
        except (KeyError, TypeError, ValueError):
            reason = f"{record!r:.80} is no item of a point: give {_FORMS}"
            raise HisWriteError("", place, reason) from None
        if (pairs := found.pairs.get(key)) is None:
            pairs = found.pairs[key] = []
            found.places[key] = []
        pairs.append((ts, val))
        found.places[key].append(place)
    return found


def all_items(points: Iterable[PointItems]) -> int:
    """Count the items of several points."""
    return sum(len(point.items) for point in points)


def joined(parts: Iterable[Iterable[PointItems]]) -> list[PointItems]:
    """Return the parts of a source as one: of items at one instant the last counts."""
    found: dict[str, Checked] = {}
    for id, items in chain.from_iterable(parts):
        found.setdefault(id, []).extend(items)
    return [PointItems(id, settled(found[id])) for id in sorted(found)]
