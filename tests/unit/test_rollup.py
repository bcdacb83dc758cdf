"""Rollups: which intervals there are, and what the items of each come to, against pandas."""

from __future__ import annotations

import datetime as dt
import math
from itertools import pairwise
from typing import Any
from zoneinfo import ZoneInfo

import pandas as pd
import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from hsorm.errors import InvalidRollupError
from hsorm.his import HisPoint, Span, midnight
from hsorm.his.rollup import (
    Extent,
    Interval,
    Rollup,
    bounds_of,
    check_kind,
    clipped,
    parse_interval,
    rollup_items,
)
from hsorm.kinds import NA, Coord, Kind, Number
from hsorm.zones import zone_of

ZONES = ["New_York", "London", "Sydney", "Lord_Howe", "Kathmandu", "UTC", "Havana"]
_HOUR = dt.timedelta(hours=1)


def local(bounds: list[dt.datetime], zone: str) -> list[str]:
    return [f"{bound.astimezone(zone_of(zone)):%d %H:%M}" for bound in bounds]


def day(zone: str, date: str, interval: str) -> list[dt.datetime]:
    first = dt.date.fromisoformat(date)
    tz = zone_of(zone)
    span = Span(midnight(first, tz), midnight(first + dt.timedelta(days=1), tz))
    return bounds_of(parse_interval(interval), span, tz)


# ---- intervals ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "interval"),
    [
        ("15min", Interval(15, "min")),
        ("1hr", Interval(1, "hr")),
        ("1 hour", Interval(1, "hr")),
        ("24hr", Interval(24, "hr")),
        ("2day", Interval(2, "day")),
        ("1wk", Interval(1, "wk")),
        ("3mo", Interval(3, "mo")),
        ("1yr", Interval(1, "yr")),
        (Number(30, "sec"), Interval(30, "sec")),
        (Number(1, "month"), Interval(1, "mo")),
        (dt.timedelta(minutes=15), Interval(900, "sec")),
        (dt.timedelta(days=2), Interval(2, "day")),
    ],
)
def test_an_interval_is_text_a_number_or_a_timedelta(given: Any, interval: Interval) -> None:
    assert parse_interval(given) == interval


@pytest.mark.parametrize(
    "given",
    [
        *(
            "",
            "1",
            "hr",
            "0min",
            "-1hr",
            "1.5hr",
            "1fortnight",
            "25hr",
            "1hr 5min",
            "9999999sec",
            5,
        ),
        *(Number(1), Number(0.5, "hr"), Number(math.nan, "hr"), Number(math.inf, "hr"), None),
        *(dt.timedelta(0), dt.timedelta(hours=-1), dt.timedelta(hours=25)),
    ],
)
def test_what_is_no_interval_is_one_clear_error(given: Any) -> None:
    with pytest.raises(InvalidRollupError, match="interval"):
        parse_interval(given)


@pytest.mark.parametrize(
    ("zone", "date", "hours"),
    [
        ("New_York", "2024-03-10", 23),
        ("New_York", "2024-11-03", 25),
        ("London", "2024-03-31", 23),
        ("London", "2024-10-27", 25),
        ("Sydney", "2024-10-06", 23),
        ("Sydney", "2024-04-07", 25),
        ("Havana", "2024-11-03", 25),  # midnight comes twice
        ("Havana", "2024-03-10", 23),  # midnight is skipped
        ("Kathmandu", "2024-03-10", 24),
        ("UTC", "2024-03-10", 24),
    ],
)
def test_hours_of_a_day_are_23_24_or_25(zone: str, date: str, hours: int) -> None:
    bounds = day(zone, date, "1hr")

    assert {after - before for before, after in pairwise(bounds)} == {_HOUR}
    assert len(bounds) == hours + 1


def test_half_an_hour_is_lost_or_repeated_in_lord_howe() -> None:
    lost, repeated = (day("Lord_Howe", date, "1hr") for date in ("2024-10-06", "2024-04-07"))

    assert local(lost[:5], "Lord_Howe") == [
        "06 00:00",
        "06 01:00",
        "06 02:30",
        "06 03:00",
        "06 04:00",
    ]
    assert local(repeated[:4], "Lord_Howe") == ["07 00:00", "07 01:00", "07 02:00", "07 03:00"]
    assert len(lost) == len(repeated) == 25
    assert repeated[2] - repeated[1] == 1.5 * _HOUR
    assert len(day("Lord_Howe", "2024-04-07", "30min")) == 50


@pytest.mark.parametrize(("date", "first"), [("2024-03-10", 5), ("2024-11-03", 7)])
def test_six_hours_follow_the_wall_clock(date: str, first: int) -> None:
    bounds = day("New_York", date, "6hr")

    assert [text[3:] for text in local(bounds, "New_York")] == [
        "00:00",
        "06:00",
        "12:00",
        "18:00",
        "00:00",
    ]
    assert bounds[1] - bounds[0] == first * _HOUR


def test_six_hours_where_midnight_comes_twice() -> None:
    bounds = day("Havana", "2024-11-03", "6hr")

    assert [text[3:] for text in local(bounds, "Havana")] == [
        "00:00",
        "06:00",
        "12:00",
        "18:00",
        "00:00",
    ]
    assert bounds[1] - bounds[0] == 7 * _HOUR


def test_an_interval_that_does_not_divide_the_day_begins_anew_at_midnight() -> None:
    assert local(day("New_York", "2024-05-01", "7hr"), "New_York") == [
        "01 00:00",
        "01 07:00",
        "01 14:00",
        "01 21:00",
        "02 00:00",
    ]


@pytest.mark.parametrize(
    ("interval", "expected"),
    [
        (
            "1wk",
            ["2024-02-26", "2024-03-04", "2024-03-11", "2024-03-18", "2024-03-25", "2024-04-01"],
        ),
        ("1mo", ["2024-03-01", "2024-04-01"]),
        ("3mo", ["2024-01-01", "2024-04-01"]),
        ("1yr", ["2024-01-01", "2025-01-01"]),
        ("10yr", ["2020-01-01", "2030-01-01"]),
        ("2wk", ["2024-02-26", "2024-03-11", "2024-03-25", "2024-04-08"]),
    ],
)
def test_weeks_months_and_years_are_of_the_calendar(interval: str, expected: list[str]) -> None:
    zone = zone_of("New_York")
    span = Span(midnight(dt.date(2024, 3, 2), zone), midnight(dt.date(2024, 3, 30), zone))

    bounds = bounds_of(parse_interval(interval), span, zone)

    assert [bound.astimezone(zone).isoformat()[:16] for bound in bounds] == [
        f"{date}T00:00" for date in expected
    ]


_INTERVALS = st.sampled_from(
    [
        *("1min", "7min", "15min", "30min", "1hr", "2hr", "5hr", "6hr", "24hr"),
        *("1day", "3day", "1wk", "1mo", "3mo", "1yr"),
    ]
)
_INSTANTS = st.integers(-18 * 365, 70 * 365).map(
    lambda days: dt.datetime(1970, 1, 1, tzinfo=dt.UTC) + dt.timedelta(days=days)
) | st.timedeltas(dt.timedelta(0), dt.timedelta(days=25_000)).map(
    lambda since: dt.datetime(1960, 1, 1, tzinfo=dt.UTC) + since
)


@given(
    zone=st.sampled_from(ZONES),
    interval=_INTERVALS,
    start=_INSTANTS,
    lasting=st.timedeltas(dt.timedelta(0), dt.timedelta(days=4)),
    other=st.timedeltas(dt.timedelta(0), dt.timedelta(days=2)),
)
def test_intervals_cover_the_span_and_do_not_depend_on_it(
    zone: str, interval: str, start: dt.datetime, lasting: dt.timedelta, other: dt.timedelta
) -> None:
    tz, parsed = zone_of(zone), parse_interval(interval)
    span = Span(start, start + lasting)

    bounds = bounds_of(parsed, span, tz)
    wider = bounds_of(parsed, Span(start - other, span.end + other), tz)

    if span.start == span.end:
        assert bounds == []
        return
    assert bounds[0] <= span.start < bounds[1]
    assert bounds[-2] < span.end <= bounds[-1]
    assert all(before < after for before, after in pairwise(bounds))
    place = wider.index(bounds[0])
    assert wider[place : place + len(bounds)] == bounds


@given(zone=st.sampled_from(ZONES), date=st.dates(dt.date(1951, 1, 1), dt.date(2040, 1, 1)))
@example("New_York", dt.date(2024, 11, 3))
@example("Lord_Howe", dt.date(2024, 4, 7))
def test_each_interval_of_the_clock_begins_on_its_multiple(zone: str, date: dt.date) -> None:
    """Unless the clocks skip it: then it begins when they do."""
    tz = zone_of(zone)
    for bound in day(zone, date.isoformat(), "30min"):
        at = bound.astimezone(tz)
        before = (bound - dt.timedelta(seconds=1)).astimezone(tz)
        jumped = at.utcoffset() != before.utcoffset()
        assert (at.minute % 30, at.second) == (0, 0) or jumped


def test_a_million_intervals_are_the_most() -> None:
    span = Span(dt.datetime(2000, 1, 1, tzinfo=dt.UTC), dt.datetime(2024, 1, 1, tzinfo=dt.UTC))

    with pytest.raises(InvalidRollupError, match="a million"):
        bounds_of(Interval(1, "sec"), span, zone_of("UTC"))


# ---- what is asked ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("asked", "says"),
    [
        (("1hr", "median", "none"), "no fold 'median'"),
        (("1hr", "avg", "linear"), "no fill 'linear'"),
        (("1hr", "sum", "previous"), "carried forward"),
        (("1hr", "count", "previous"), "carried forward"),
    ],
)
def test_what_cannot_be_asked(asked: tuple[str, str, str], says: str) -> None:
    with pytest.raises(InvalidRollupError, match=says):
        Rollup.of(*asked)


@pytest.mark.parametrize(
    ("fold", "kind"),
    [("avg", "Str"), ("twa", "Coord"), ("duration", "Number"), ("duration", "Coord")],
)
def test_a_fold_that_does_not_fit_the_kind(fold: str, kind: str) -> None:
    with pytest.raises(InvalidRollupError, match=f"{fold} of @p"):
        check_kind(Rollup.of("1hr", fold), HisPoint("p", zone_of("UTC"), kind))


# ---- folds: examples ----------------------------------------------------------------------------

_UTC = zone_of("UTC")
_START = dt.datetime(2024, 3, 1, tzinfo=dt.UTC)
_FOUR = Span(_START, _START + 4 * _HOUR)


def roll(
    fold: str, items: list[tuple[float, Kind]], fill: str = "none", span: Span = _FOUR, **given: Any
) -> dict[int, Any]:
    """Roll up items at hours after midnight, by the hour."""
    rollup = Rollup.of("1hr", fold, fill)
    stamped = [(_START + at * _HOUR, val) for at, val in items]
    bounds = bounds_of(rollup.interval, span, _UTC)
    return rollup_items(rollup, "kW", bounds, stamped, until=span, **given)


def kw(*values: float) -> dict[int, Number]:
    return {place: Number(value, "kW") for place, value in enumerate(values)}


_SOME: list[tuple[float, Kind]] = [
    (0, Number(4, "kW")),
    (0.25, NA),
    (0.5, Number(2, "kW")),
    (0.75, Number(math.nan)),
    (2, Number(6, "kW")),
    (2.5, NA),
]


@pytest.mark.parametrize(
    ("fold", "expected"),
    [
        ("avg", {0: Number(3, "kW"), 2: Number(6, "kW")}),
        ("min", {0: Number(2, "kW"), 2: Number(6, "kW")}),
        ("max", {0: Number(4, "kW"), 2: Number(6, "kW")}),
        ("sum", {0: Number(6, "kW"), 2: Number(6, "kW")}),
        ("spread", {0: Number(2, "kW"), 2: Number(0, "kW")}),
        ("count", {0: Number(2), 2: Number(1)}),
        ("first", {0: Number(4, "kW"), 2: Number(6, "kW")}),
        ("last", {0: Number(2, "kW"), 2: Number(6, "kW")}),
        # 4 for a quarter, unknown for one, 2 for one, unknown until 2:00; 6 for half an hour.
        ("twa", {0: Number(3, "kW"), 2: Number(6, "kW")}),
    ],
)
def test_na_and_nan_are_skipped(fold: str, expected: dict[int, Number]) -> None:
    assert roll(fold, _SOME) == expected


def test_gaps_are_carried_forward_until_the_end() -> None:
    assert roll("avg", _SOME, "previous") == {
        0: Number(3, "kW"),
        1: Number(3, "kW"),
        2: Number(6, "kW"),
        3: Number(6, "kW"),
    }


def test_twa_is_weighted_by_time_and_begins_with_what_was_before() -> None:
    items: list[tuple[float, Kind]] = [(0.5, Number(10)), (1.75, Number(20))]

    assert roll("twa", items, before=Number(0)) == kw(5, 12.5, 20, 20)
    assert roll("twa", items) == kw(10, 12.5, 20, 20)
    assert roll("twa", [], before=Number(7)) == kw(7, 7, 7, 7)
    assert roll("twa", [], before=NA) == {}


def test_the_last_item_holds_until_now() -> None:
    span = Span(_START, _START + 1.5 * _HOUR)

    assert roll("duration", [(0.5, True)], span=span) == {
        0: {True: Number(1800, "sec")},
        1: {True: Number(1800, "sec")},
    }


def test_duration_is_by_state() -> None:
    items: list[tuple[float, Kind]] = [(0.25, "on"), (0.5, "off"), (1.5, NA), (3, "on")]

    assert roll("duration", items, before="off") == {
        0: {"off": Number(2700, "sec"), "on": Number(900, "sec")},
        1: {"off": Number(1800, "sec")},
        3: {"on": Number(3600, "sec")},
    }


def test_bools_count_as_1_and_0() -> None:
    items: list[tuple[float, Kind]] = [(0, True), (0.25, False), (0.5, False), (0.75, False)]

    assert roll("avg", items) == {0: Number(0.25, "kW")}
    assert roll("last", items) == {0: False}
    assert roll("count", items) == {0: Number(4)}


def test_other_kinds_are_skipped_where_numbers_are_asked_for() -> None:
    items: list[tuple[float, Kind]] = [(0, "x"), (0.25, Number(3)), (0.5, Coord(1, 2))]

    assert roll("sum", items) == {0: Number(3, "kW")}
    assert roll("count", items) == {0: Number(3)}
    assert roll("last", items) == {0: Coord(1, 2)}


def test_infinity_is_a_number() -> None:
    items: list[tuple[float, Kind]] = [(0, Number(math.inf)), (0.5, Number(-math.inf))]

    assert roll("max", items) == {0: Number(math.inf, "kW")}
    assert math.isnan(roll("avg", items)[0].val)


# ---- the range ----------------------------------------------------------------------------------


def test_a_range_is_clipped_to_the_history_in_it() -> None:
    first, last, now = _START, _START + 5 * _HOUR, _START + 9 * _HOUR
    always = Span(dt.datetime(1950, 1, 1, tzinfo=dt.UTC), dt.datetime(2999, 1, 1, tzinfo=dt.UTC))
    micro = dt.timedelta(microseconds=1)

    def clip(fold: str, fill: str = "none", *, before: bool = False) -> Span:
        return clipped(Rollup.of("1hr", fold, fill), always, Extent(first, last, before), now)

    assert clip("avg", before=True) == Span(first, last + micro)
    assert clip("avg", "previous") == Span(first, now)
    assert clip("twa") == Span(first, now)
    assert clip("twa", before=True) == Span(always.start, now)
    empty = clipped(Rollup.of("1hr", "avg"), always, Extent(None, None), now)
    assert empty.start == empty.end


# ---- folds: against pandas ----------------------------------------------------------------------

_NUMBERS: st.SearchStrategy[Any] = st.one_of(
    st.sampled_from([NA, Number(math.nan), Number(0), True, False, "x"]),
    st.floats(-1e6, 1e6, allow_nan=False).map(Number),
)
_MINUTES = st.integers(0, 3 * 1440 - 1)
_DAYS = {
    "New_York": ["2024-03-09", "2024-11-02", "2024-06-01"],
    "London": ["2024-03-30", "2024-10-26"],
    "Sydney": ["2024-10-05", "2024-04-06"],
    "Lord_Howe": ["2024-10-05", "2024-04-06"],
    "Kathmandu": ["2024-03-09"],
    "UTC": ["2024-03-09"],
}
_CASES = [(zone, date) for zone, dates in _DAYS.items() for date in dates]
_FREQ = {"15min": "15min", "1hr": "h", "1day": "D", "1mo": "MS", "1wk": "W-MON"}


def _by_pandas(
    fold: str, freq: str, zone: ZoneInfo, items: list[tuple[dt.datetime, Kind]]
) -> dict[dt.datetime, float]:
    """Return what pandas makes of the numbers among items."""
    numbers = [
        (ts, float(val.val if isinstance(val, Number) else val))
        for ts, val in items
        if isinstance(val, (Number, bool))
    ]
    index = pd.DatetimeIndex([ts for ts, _ in numbers], tz="UTC").tz_convert(zone)
    series = pd.Series([number for _, number in numbers], index=index, dtype=float).dropna()
    how: Any = {"avg": "mean", "spread": lambda part: part.max() - part.min()}.get(fold, fold)
    weekly = {"closed": "left", "label": "left"} if freq == "W-MON" else {}
    resampler: Any = series.resample(freq, **weekly)
    found, many = resampler.agg(how), resampler.count()
    return {
        stamp.to_pydatetime().astimezone(dt.UTC): value
        for stamp, value in found.items()
        if many[stamp]
    }


@settings(deadline=None)
@given(
    case=st.sampled_from(_CASES),
    interval=st.sampled_from(sorted(_FREQ)),
    fold=st.sampled_from(["avg", "min", "max", "sum", "first", "last", "spread"]),
    minutes=st.lists(_MINUTES, max_size=30, unique=True).map(sorted),
    data=st.data(),
)
def test_folds_are_those_of_pandas(
    case: tuple[str, str], interval: str, fold: str, minutes: list[int], data: st.DataObject
) -> None:
    # Where half an hour is lost or repeated, pandas counts on whole hours from midnight; here
    # hours are the clock's: test_half_an_hour_is_lost_or_repeated_in_lord_howe.
    assume((case[0], interval) != ("Lord_Howe", "1hr"))
    tz, start = zone_of(case[0]), midnight(dt.date.fromisoformat(case[1]), zone_of(case[0]))
    values = _NUMBERS if fold not in ("first", "last") else _NUMBERS.filter(lambda v: v != "x")
    items = [(start + dt.timedelta(minutes=at), data.draw(values)) for at in minutes]
    rollup = Rollup.of(interval, fold)
    span = Span(start, start + dt.timedelta(days=4))
    bounds = bounds_of(rollup.interval, span, tz)

    found = rollup_items(rollup, None, bounds, items, until=span)

    expected = _by_pandas(fold, _FREQ[interval], tz, items)
    got = {
        bounds[place]: float(val.val if isinstance(val, Number) else val)
        for place, val in found.items()
    }
    assert got.keys() == expected.keys()
    for bound, value in expected.items():
        assert got[bound] == pytest.approx(value, rel=1e-9, abs=1e-6)


@settings(deadline=None)
@given(
    case=st.sampled_from(_CASES),
    interval=st.sampled_from(["15min", "1hr", "6hr", "1day"]),
    minutes=st.lists(st.integers(-1440, 3 * 1440 - 1), max_size=20, unique=True).map(sorted),
    data=st.data(),
)
def test_twa_is_the_mean_of_the_minutes(
    case: tuple[str, str], interval: str, minutes: list[int], data: st.DataObject
) -> None:
    """Of a series of pandas with a value for each minute: what holds then."""
    tz, start = zone_of(case[0]), midnight(dt.date.fromisoformat(case[1]), zone_of(case[0]))
    numbers = [data.draw(_NUMBERS.filter(lambda val: val != "x")) for _ in minutes]
    items = [
        (start + dt.timedelta(minutes=at), val) for at, val in zip(minutes, numbers, strict=True)
    ]
    span = Span(start, start + dt.timedelta(days=3))
    rollup = Rollup.of(interval, "twa")
    bounds = bounds_of(rollup.interval, span, tz)
    inside = [item for item in items if item[0] >= start]
    before = [val for ts, val in items if ts < start]

    found = rollup_items(
        rollup, None, bounds, inside, before=before[-1] if before else None, until=span
    )

    clock = pd.date_range(start - dt.timedelta(days=1), span.end, freq="min", inclusive="left")
    states = pd.Series(pd.array([pd.NA] * len(clock), dtype="Int64"), index=clock)
    for place, (ts, _) in enumerate(items):
        states[pd.Timestamp(ts)] = place
    each = states.ffill().dropna().loc[start:]
    worth = each.map(lambda place: _worth(items[int(place)][1])).astype(float).dropna()
    for place, (first, end) in enumerate(pairwise(bounds)):
        part = worth.loc[first : end - dt.timedelta(seconds=1)]
        assert (place in found) == (len(part) > 0)
        if len(part):
            assert found[place].val == pytest.approx(part.mean(), rel=1e-9, abs=1e-6)


def _worth(val: Kind) -> float:
    if isinstance(val, (Number, bool)):
        return float(val.val if isinstance(val, Number) else val)
    return math.nan
