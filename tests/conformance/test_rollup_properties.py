"""Rollups of generated history: every backend comes to what the reference comes to."""

from __future__ import annotations

import datetime as dt
import math
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hsorm.his import midnight
from hsorm.kinds import MARKER, NA, Number, Ref
from hsorm.storage.memory import InMemoryAdapter
from hsorm.storage.protocol import StorageAdapter
from hsorm.zones import zone_of
from tests.conformance.test_properties import _BOUNDED

_DAYS = [
    ("New_York", "2024-03-09"),
    ("New_York", "2024-11-02"),
    ("London", "2024-10-26"),
    ("Sydney", "2024-10-05"),
    ("Lord_Howe", "2024-04-06"),
    ("Lord_Howe", "2024-10-05"),
    ("Kathmandu", "2024-03-09"),
    ("UTC", "2024-03-09"),
]
_VALUES: dict[str, st.SearchStrategy[Any]] = {
    "Number": st.one_of(
        st.sampled_from([NA, math.nan, 0, math.inf, -math.inf, 1e15]), st.floats(-100, 100)
    ),
    "Bool": st.sampled_from([True, False, NA]),
    "Str": st.sampled_from(["on", "off", "", "na", '"', NA]),
}
_FOLDS = {
    "Number": ["avg", "min", "max", "sum", "count", "first", "last", "twa", "spread"],
    "Bool": ["avg", "min", "count", "first", "last", "twa", "duration"],
    "Str": ["count", "first", "last", "duration"],
}
_INTERVALS = ["7min", "15min", "1hr", "6hr", "1day", "2day", "1wk", "1mo"]


@st.composite
def histories(draw: st.DrawFn) -> tuple[str, list[tuple[int, Any]]]:
    kind = draw(st.sampled_from(sorted(_VALUES)))
    minutes = draw(st.lists(st.integers(-1_500, 4 * 1_440), max_size=25, unique=True))
    return kind, [(minute, draw(_VALUES[kind])) for minute in sorted(minutes)]


@settings(_BOUNDED, suppress_health_check=list(HealthCheck))
@given(
    day=st.sampled_from(_DAYS),
    histories=st.lists(histories(), min_size=1, max_size=3),
    asked=st.lists(
        st.tuples(st.sampled_from(_INTERVALS), st.sampled_from(["none", "previous"]), st.data()),
        min_size=1,
        max_size=4,
    ),
    range_minutes=st.none() | st.tuples(st.integers(0, 2_000), st.integers(0, 4_000)),
)
async def test_every_backend_rolls_up_as_the_reference(
    store: StorageAdapter,
    day: tuple[str, str],
    histories: list[tuple[str, list[tuple[int, Any]]]],
    asked: list[tuple[str, Any, st.DataObject]],
    range_minutes: tuple[int, int] | None,
) -> None:
    zone = zone_of(day[0])
    start = midnight(dt.date.fromisoformat(day[1]), zone)
    range = f"{day[1]},{dt.date.fromisoformat(day[1]) + dt.timedelta(days=2)}"
    if range_minutes is not None:
        ends = (start + dt.timedelta(minutes=at) for at in (range_minutes[0], sum(range_minutes)))
        range = ",".join(f"{end:%Y-%m-%dT%H:%M:%SZ}" for end in ends)
    reference = InMemoryAdapter()
    points = [f"p{number}" for number, _ in enumerate(histories)]
    for id, (kind, items) in zip(points, histories, strict=True):
        tags = {"point": MARKER, "his": MARKER, "kind": kind, "unit": "kW", "tz": day[0]}
        written = [{"ts": start + dt.timedelta(minutes=at), "val": val} for at, val in items]
        for each in (store, reference):
            await each.load_entities([{"id": Ref(id), **tags}])
            await each.his_clear(id)
            await each.his_write(id, written)
    common = set.intersection(*(set(_FOLDS[kind]) for kind, _ in histories))
    for interval, fill, data in asked:
        fold: Any = data.draw(st.sampled_from(sorted(common)))
        filling: Any = "none" if fold in ("sum", "count", "duration") else fill

        found = await store.his_rollup(points, range, interval, fold, fill=filling)
        expected = await reference.his_rollup(points, range, interval, fold, fill=filling)

        for id in points:
            assert _close(found[id]) == _close(expected[id]), (interval, fold, fill, range)


def _close(items: list[Any]) -> list[Any]:
    """Return items to be compared: sums of doubles depend on their order in the last digits."""
    return [(item["ts"], _approx(item["val"])) for item in items]


def _approx(val: Any) -> Any:
    if isinstance(val, dict):
        return {state: _approx(seconds) for state, seconds in val.items()}
    if isinstance(val, Number):
        return pytest.approx(val.val, rel=1e-9, abs=1e-6, nan_ok=True), val.unit
    return val
