"""Generated writes, reads and clearings: every backend does what a plain dict of items does."""

from __future__ import annotations

import datetime as dt
import os
from typing import Any, TypeAlias
from zoneinfo import ZoneInfo

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hsorm.his import ALWAYS, Span
from hsorm.his.arrays import columns_of
from hsorm.kinds import MARKER, NA, REMOVE, Entity, Number, Ref, equal
from hsorm.storage.protocol import HisItem, StorageAdapter

_BOUNDED = settings(
    max_examples=500 if os.environ.get("HYPOTHESIS_PROFILE") == "thorough" else 25,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)

_ZONES = {
    "New_York": "America/New_York",
    "London": "Europe/London",
    "Sydney": "Australia/Sydney",
    "Lord_Howe": "Australia/Lord_Howe",
    "Kathmandu": "Asia/Kathmandu",
    "UTC": "UTC",
}
# Around days on which clocks change in some of these zones: in spring, in autumn, and none.
_DAYS = [
    dt.date(2024, 3, 10), dt.date(2024, 3, 31), dt.date(2024, 4, 7), dt.date(2024, 10, 6),
    dt.date(2024, 10, 27), dt.date(2024, 11, 3), dt.date(1985, 12, 31), dt.date(2024, 7, 1),
]  # fmt: skip
_IDS = ["a", "b", "c"]

_INSTANTS = st.builds(
    lambda day, minutes, micros: (
        dt.datetime.combine(day, dt.time(), dt.UTC)
        + dt.timedelta(minutes=minutes, microseconds=micros)
    ),
    st.sampled_from(_DAYS),
    st.integers(-8, 56).map(lambda quarters: quarters * 30),
    st.sampled_from([0, 0, 0, 1, 999_999]),
)
_ITEM_VALUES = st.one_of(st.integers(-3, 3), st.just(NA), st.just(REMOVE), st.just(0.1))
_ITEMS = st.lists(st.tuples(_INSTANTS, _ITEM_VALUES), max_size=8)
_RANGES = st.one_of(
    st.builds(lambda day: day.isoformat(), st.sampled_from(_DAYS)),
    st.builds(
        lambda day, more: f"{day},{day + dt.timedelta(days=more)}",
        st.sampled_from(_DAYS),
        st.integers(-1, 30),
    ),
    st.builds(lambda one, two: Span(min(one, two), max(one, two)), _INSTANTS, _INSTANTS),
    st.just(ALWAYS),
)
_ID = st.sampled_from(_IDS)
Op: TypeAlias = tuple[Any, ...]
_OPS: st.SearchStrategy[Op] = st.one_of(
    st.tuples(st.just("write"), _ID, _ITEMS),
    st.tuples(st.just("batch"), st.dictionaries(_ID, _ITEMS)),
    st.tuples(st.just("records"), st.lists(st.tuples(_ID, _INSTANTS, _ITEM_VALUES), max_size=8)),
    st.tuples(st.just("clear"), _ID, _RANGES),
    st.tuples(st.just("clear first"), _ID, _RANGES, _ITEMS),
    st.tuples(st.just("zone"), st.sampled_from(sorted(_ZONES))),
    st.tuples(st.just("unit"), _ID, st.sampled_from(["kW", "hp"])),
)


class Model:
    """Items by point and instant; one zone for all points."""

    def __init__(self, tz: str) -> None:
        self.tz = tz
        self.items: dict[str, dict[dt.datetime, Any]] = {id: {} for id in _IDS}
        self.units = dict.fromkeys(_IDS, "kW")

    def points(self) -> list[Entity]:
        tags = {"point": MARKER, "his": MARKER, "kind": "Number", "tz": self.tz}
        return [{"id": Ref(id), **tags, "unit": self.units[id]} for id in _IDS]

    def write(self, id: str, items: list[tuple[dt.datetime, Any]]) -> None:
        for ts, val in items:
            if val is REMOVE:
                self.items[id].pop(ts, None)
            else:
                self.items[id][ts] = val

    def clear(self, id: str, range: str | Span) -> int:
        gone = [ts for ts in self.items[id] if self.covers(range, ts)]
        for ts in gone:
            del self.items[id][ts]
        return len(gone)

    def covers(self, range: str | Span, ts: dt.datetime) -> bool:
        """Tell whether a range holds an instant: by the calendar, not by midnights."""
        if isinstance(range, Span):
            return range.start <= ts < range.end
        first, _, last = range.partition(",")
        return first <= ts.astimezone(self.zone).date().isoformat() <= (last or first)

    def read(self, id: str, range: str | Span) -> list[HisItem]:
        found = sorted(ts for ts in self.items[id] if self.covers(range, ts))
        return [self.item(id, ts) for ts in found]

    def item(self, id: str, ts: dt.datetime) -> HisItem:
        val = self.items[id][ts]
        return {"ts": ts.astimezone(self.zone), "val": val if val is NA else self.number(id, val)}

    def number(self, id: str, val: float) -> Number:
        return Number(val, self.units[id])

    def around(self, id: str, span: Span) -> list[HisItem]:
        stamps = sorted(self.items[id])
        before = [ts for ts in stamps if ts < span.start][-1:]
        inside = [ts for ts in stamps if span.start <= ts < span.end]
        after = [ts for ts in stamps if ts >= span.end][:2]
        return [self.item(id, ts) for ts in (*before, *inside, *after)]

    @property
    def zone(self) -> ZoneInfo:
        return ZoneInfo(_ZONES[self.tz])


async def _do(store: StorageAdapter, model: Model, op: Op) -> None:
    match op:
        case "write", id, items:
            await store.his_write(id, [{"ts": ts, "val": val} for ts, val in items])
            model.write(id, items)
        case "batch", batch:
            count = await store.his_write_batch(
                {id: [{"ts": ts, "val": val} for ts, val in own] for id, own in batch.items()}
            )
            assert count == sum(len({ts for ts, _ in own}) for own in batch.values())
            for id, own in batch.items():
                model.write(id, own)
        case "records", records:
            count = await store.his_write_batch(iter(records))
            assert count == len({(id, ts) for id, ts, _ in records})
            for id, ts, val in records:
                model.write(id, [(ts, val)])
        case "clear", id, range:
            assert await store.his_clear(id, range) == model.clear(id, range)
        case "clear first", id, range, items:
            written = [{"ts": ts, "val": val} for ts, val in items]
            await store.his_write(id, written, clear=range)
            model.clear(id, range)
            model.write(id, items)
        case _:
            await _configure(store, model, op)


async def _configure(store: StorageAdapter, model: Model, op: Op) -> None:
    match op:
        case "zone", tz:
            model.tz = tz
            for id in _IDS:
                await store.update({"id": Ref(id), "tz": tz})
        case "unit", id, unit:
            model.units[id] = unit
            await store.update({"id": Ref(id), "unit": unit})


@_BOUNDED
@given(
    tz=st.sampled_from(sorted(_ZONES)),
    ops=st.lists(_OPS, max_size=10),
    ranges=st.lists(_RANGES, min_size=1, max_size=4),
    limit=st.integers(0, 4),
)
async def test_a_history_is_a_dict_of_items(
    store: StorageAdapter, tz: str, ops: list[Op], ranges: list[Any], limit: int
) -> None:
    """H3, H13, H14, H16, H26, H27, H29–H31, C15: as a dict by instant does it."""
    model = Model(tz)
    await store.load_entities(model.points())
    for id in _IDS:
        await store.his_clear(id)

    for op in ops:
        await _do(store, model, op)

    for range in [*ranges, ALWAYS]:
        expected = {id: model.read(id, range) for id in _IDS}
        assert _same(await store.his_read_batch(_IDS, range), expected)
        first = {id: items[:limit] for id, items in expected.items()}
        assert _same(await store.his_read_batch(_IDS, range, limit=limit), first)
        for id in _IDS:
            assert _same(await store.his_read(id, range), expected[id])
            assert _same([item async for item in store.his_read_iter(id, range)], expected[id])
            if isinstance(range, Span):
                around = await store.his_read(id, range, around=True)
                assert _same(around, model.around(id, range))
            arrays = await store.his_numpy(id, range)
            columns = columns_of((item["ts"], item["val"]) for item in expected[id])
            assert arrays.ts.astype("int64").tolist() == columns.ts.tolist()
            assert repr(arrays.val.tolist()) == repr(columns.val.tolist())


def _same(found: Any, expected: Any) -> bool:
    # Datetimes of one zone are equal by wall clock: the hour that repeats needs its fold compared.
    return equal(found, expected) and _folds(found) == _folds(expected)


def _folds(found: Any) -> list[Any]:
    if isinstance(found, dict) and "ts" not in found:
        return [_folds(items) for items in found.values()]
    return [(item["ts"].fold, item["ts"].tzinfo) for item in found]
