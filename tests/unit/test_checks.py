"""Which points have history, and which items they take: rules H12, H21–H28, open choices."""

from __future__ import annotations

import datetime as dt
import enum
import math
from decimal import Decimal
from fractions import Fraction
from typing import Any
from zoneinfo import ZoneInfo

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hsorm.errors import HisConfigError, HisWriteError
from hsorm.his import HisPoint, check_items, reading_point, writing_point
from hsorm.kinds import MARKER, NA, REMOVE, Coord, Number, Ref, Uri, equal

UTC = dt.UTC
NEW_YORK = ZoneInfo("America/New_York")
NOON = dt.datetime(2024, 5, 15, 12, tzinfo=UTC)
SECOND, MILLISECOND = dt.timedelta(seconds=1), dt.timedelta(milliseconds=1)

POINT: dict[str, Any] = {
    "id": Ref("p1"), "point": MARKER, "his": MARKER, "kind": "Number", "tz": "New_York",
    "unit": "kW",
}  # fmt: skip


def entity(**tags: Any) -> dict[str, Any]:
    """Return the point with some tags changed; None takes a tag away."""
    return {name: val for name, val in {**POINT, **tags}.items() if val is not None}


def point(
    kind: str = "Number", unit: str | None = None, precision: dt.timedelta | None = None
) -> HisPoint:
    return HisPoint("p1", NEW_YORK, kind, unit, precision)


# ---- points -------------------------------------------------------------------------------------


def test_a_point_that_is_fit_to_read_and_write() -> None:
    """H12, H21."""
    expected = HisPoint("p1", NEW_YORK, "Number", "kW", None)

    assert reading_point(entity()) == expected
    assert writing_point(entity()) == expected


def test_reading_needs_no_kind() -> None:
    """H12."""
    found = reading_point(entity(kind=None, unit=None))

    assert found == HisPoint("p1", NEW_YORK, None, None, None)


@pytest.mark.parametrize(
    ("tags", "named"),
    [
        ({"tz": None, "point": None}, "tz"),
        ({"tz": Number(5)}, "tz"),
        ({"tz": "Atlantis"}, "Atlantis"),
        ({"tz": "Atlantis", "his": None}, "Atlantis"),
        ({"point": None, "aux": MARKER}, "point"),
        ({"his": None}, "his"),
        ({"aux": MARKER}, "aux"),
    ],
)
def test_what_keeps_a_point_from_being_read(tags: dict[str, Any], named: str) -> None:
    """H12: tz first, then point, his and aux."""
    with pytest.raises(HisConfigError) as caught:
        reading_point(entity(**tags))

    assert caught.value.id == "p1"
    assert named in caught.value.reason


@pytest.mark.parametrize(
    ("tags", "named", "cure"),
    [
        ({"point": None, "his": None, "kind": None}, "point", "MARKER"),
        ({"point": "yes"}, "point", "MARKER"),
        ({"his": None, "aux": MARKER}, "his", "MARKER"),
        ({"his": True}, "his", "MARKER"),
        ({"aux": MARKER, "kind": None}, "aux", "remove"),
        ({"kind": None, "tz": None}, "kind", "Number, Bool, Str, Coord"),
        ({"kind": "Ref"}, "'Ref'", "Number, Bool, Str, Coord"),
        ({"kind": "number"}, "'number'", "Number, Bool, Str, Coord"),
        ({"kind": MARKER}, "kind", "Number, Bool, Str, Coord"),
        ({"tz": None, "unit": MARKER}, "tz", "city"),
        ({"tz": "Atlantis"}, "Atlantis", "city"),
        ({"unit": MARKER, "hisTsPrecision": Number(5)}, "unit", "text"),
        ({"unit": ""}, "unit", "remove"),
        ({"hisTsPrecision": Number(5, "s")}, "hisTsPrecision", "1s or 1ms"),
        ({"hisTsPrecision": Number(1)}, "hisTsPrecision", "1s or 1ms"),
        ({"hisTsPrecision": "1s"}, "hisTsPrecision", "1s or 1ms"),
    ],
)
def test_what_keeps_a_point_from_being_written(tags: dict[str, Any], named: str, cure: str) -> None:
    """H21: in its order, and the error says what to set."""
    with pytest.raises(HisConfigError) as caught:
        writing_point(entity(**tags))

    assert named in caught.value.reason
    assert cure in caught.value.reason


@pytest.mark.parametrize(
    ("tag", "precision"),
    [
        (None, None),
        (Number(1, "s"), SECOND),
        (Number(1, "sec"), SECOND),
        (Number(1, "ms"), MILLISECOND),
    ],
)
def test_the_precision_of_timestamps(tag: Number | None, precision: dt.timedelta | None) -> None:
    """H21, OC 31."""
    assert writing_point(entity(hisTsPrecision=tag)).precision == precision
    assert reading_point(entity(hisTsPrecision=tag)).precision == precision


def test_an_unknown_unit_is_a_unit() -> None:
    """OC 1."""
    assert writing_point(entity(unit="_widgets/fortnight")).unit == "_widgets/fortnight"


# ---- timestamps ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("ts", "expected"),
    [
        (NOON, NOON),
        (NOON.astimezone(NEW_YORK), NOON),
        (NOON.astimezone(ZoneInfo("Asia/Kathmandu")), NOON),  # OC 32: another zone than the point's
        (NOON.astimezone(dt.timezone(dt.timedelta(hours=-3))), NOON),
        (NOON.replace(microsecond=123456), NOON.replace(microsecond=123456)),  # OC 31
        (
            dt.datetime(2024, 11, 3, 1, 30, fold=1, tzinfo=NEW_YORK),
            dt.datetime(2024, 11, 3, 6, 30, tzinfo=UTC),
        ),
        # H24: 1950 begins at 05:00 UTC in New York; the future is open
        (dt.datetime(1950, 1, 1, 5, tzinfo=UTC), dt.datetime(1950, 1, 1, 5, tzinfo=UTC)),
        (
            dt.datetime(1949, 12, 31, 23, tzinfo=ZoneInfo("America/Los_Angeles")),
            dt.datetime(1950, 1, 1, 7, tzinfo=UTC),
        ),
        (dt.datetime(9999, 12, 29, tzinfo=UTC), dt.datetime(9999, 12, 29, tzinfo=UTC)),
        (
            {"_kind": "dateTime", "val": "2024-05-15T08:00:00-04:00", "tz": "New_York"},
            NOON,
        ),
    ],
)
def test_any_aware_datetime_is_an_instant(ts: Any, expected: dt.datetime) -> None:
    """H24, OC 31, OC 32."""
    [(found, _)] = check_items(point(), [{"ts": ts, "val": 1}])

    assert found == expected
    assert found.tzinfo is UTC


class OwnDatetime(dt.datetime):
    """What pandas does with its Timestamp."""


def test_a_subclass_of_datetime_becomes_a_plain_one() -> None:
    ts = OwnDatetime(2024, 5, 15, 8, 0, 0, 250000, tzinfo=NEW_YORK)

    [(found, _)] = check_items(point(), [{"ts": ts, "val": 1}])

    assert type(found) is dt.datetime
    assert found == dt.datetime(2024, 5, 15, 12, 0, 0, 250000, tzinfo=UTC)


@pytest.mark.parametrize(
    ("ts", "reason"),
    [
        (pd.NaT, "ts is NaT"),
        (NOON.replace(tzinfo=None), "no time zone"),
        (NOON.date(), "Date"),
        ("2024-05-15T12:00:00Z", "Str"),
        (None, "aware datetime"),
        (1715774400, "aware datetime"),
        (dt.datetime(1950, 1, 1, 4, 59, 59, tzinfo=UTC), "1950"),  # still 1949 in New York
        (dt.datetime(9999, 12, 31, tzinfo=UTC), "9999"),
        (dt.datetime(9999, 12, 31, 23, tzinfo=ZoneInfo("Pacific/Honolulu")), "9999"),
        (dt.datetime(1, 1, 1, tzinfo=ZoneInfo("Asia/Tokyo")), "1950"),
        ({"_kind": "dateTime", "val": "noon"}, "no Hayson"),
        ({"_kind": "date", "val": "2024-05-15"}, "Date"),
    ],
)
def test_other_timestamps_are_refused(ts: Any, reason: str) -> None:
    """H24, OC 32; the year is the one in the point's zone."""
    items = [{"ts": NOON, "val": 1}, {"ts": ts, "val": 2}]

    with pytest.raises(HisWriteError, match="item 1") as caught:
        check_items(point(), items)

    assert caught.value.index == 1
    assert reason in caught.value.reason


@pytest.mark.parametrize(
    ("precision", "microsecond", "expected"),
    [
        (None, 123456, 123456),
        (SECOND, 999999, 0),
        (SECOND, 0, 0),
        (MILLISECOND, 123999, 123000),
        (MILLISECOND, 999, 0),
    ],
)
@pytest.mark.parametrize("year", [1960, 1999, 2024])
def test_timestamps_are_floored_to_the_precision(
    precision: dt.timedelta | None, microsecond: int, expected: int, year: int
) -> None:
    """H25 with OC 28 and OC 31: a true floor, before 2000 too."""
    ts = NOON.replace(year=year, microsecond=microsecond)

    [(found, _)] = check_items(point(precision=precision), [{"ts": ts, "val": 1}])

    assert found == ts.replace(microsecond=expected)


# ---- values -------------------------------------------------------------------------------------


class Mode(enum.StrEnum):
    AUTO = "auto"


class OwnFloat(float):
    """What numpy does with its float64."""


@pytest.mark.parametrize(
    ("kind", "unit", "val", "expected"),
    [
        ("Number", None, Number(5), Number(5)),
        ("Number", "kW", Number(5), Number(5, "kW")),  # H23, OC 21
        ("Number", "kW", Number(5, "kW"), Number(5, "kW")),
        ("Number", "kW", 5, Number(5, "kW")),
        ("Number", "kW", 5.5, Number(5.5, "kW")),
        ("Number", "kW", OwnFloat(5.5), Number(5.5, "kW")),
        ("Number", "kW", OwnFloat(-0.0), Number(0, "kW")),  # H28
        ("Number", "kW", Decimal("5.5"), Number(5.5, "kW")),
        ("Number", "kW", Decimal("-0"), Number(0, "kW")),
        ("Number", "kW", Decimal("sNaN"), Number(math.nan)),
        ("Number", "kW", Fraction(10**400), Number(math.inf)),
        ("Number", None, 10**400, Number(math.inf)),
        ("Number", "kW", Number(math.nan), Number(math.nan)),  # H28: stored, without unit
        ("Number", "kW", -math.inf, Number(-math.inf)),
        ("Number", None, Number(1 / 3), Number(1 / 3)),  # OC 18: 64 bits
        ("Number", "kW", {"_kind": "number", "val": 7, "unit": "kW"}, Number(7, "kW")),
        ("Number", "kW", {"_kind": "number", "val": "INF"}, Number(math.inf)),
        ("Number", "kW", NA, NA),
        ("Number", "kW", REMOVE, REMOVE),  # H27
        ("Number", "kW", {"_kind": "na"}, NA),
        ("Number", "kW", {"_kind": "remove"}, REMOVE),
        ("Bool", None, True, True),
        ("Bool", None, False, False),
        ("Bool", "kW", False, False),
        ("Bool", None, NA, NA),
        ("Str", None, "", ""),
        ("Str", None, "häßlich 😀", "häßlich 😀"),
        ("Str", None, Mode.AUTO, "auto"),
        ("Str", None, REMOVE, REMOVE),
        ("Coord", None, Coord(1, 2), Coord(1, 2)),
        ("Coord", None, {"_kind": "coord", "lat": 1, "lng": 2}, Coord(1, 2)),
    ],
)
def test_values_of_the_kind_of_the_point(
    kind: str, unit: str | None, val: Any, expected: Any
) -> None:
    """H22, H23, H27, H28."""
    [(_, found)] = check_items(point(kind, unit), [{"ts": NOON, "val": val}])

    assert equal(found, expected)
    assert type(found) is type(expected)


@pytest.mark.parametrize("val", [-0.0, Number(-0.0), Number(-0.0, "kW"), 0, 0.0, Number(0)])
def test_minus_zero_becomes_zero(val: Any) -> None:
    """H28."""
    [(_, found)] = check_items(point(unit="kW"), [{"ts": NOON, "val": val}])

    assert isinstance(found, Number)
    assert (math.copysign(1, found.val), found) == (1, Number(0, "kW"))


@pytest.mark.parametrize(
    ("kind", "unit", "val", "reason"),
    [
        ("Number", None, Number(5, "kW"), "the point has none"),  # H23
        ("Number", "kW", Number(5, "W"), "not converted"),
        ("Number", "kW", {"_kind": "number", "val": 7, "unit": "W"}, "not converted"),
        ("Number", "kW", True, "Bool"),
        ("Number", "kW", "5", "Str"),
        ("Number", "kW", None, "null"),
        ("Number", "kW", MARKER, "Marker"),
        ("Number", "kW", [5], "List"),
        ("Number", "kW", {"_kind": "dict", "val": 5}, "Dict"),
        ("Number", "kW", {"val": 5}, "Dict"),
        ("Number", "kW", {"_kind": "numbre", "val": 5}, "numbre"),
        ("Number", "kW", {"_kind": "number"}, "no Hayson"),
        ("Bool", None, 1, "point's kind is Bool"),
        ("Bool", None, Number(1, "s"), "val 1s is of kind Number, the point's kind is Bool"),
        ("Bool", None, Ref("a"), "val @a is of kind Ref"),
        ("Bool", None, "true", "Str"),
        ("Str", None, Uri("http://x/"), "Uri"),
        ("Str", None, 5, "point's kind is Str"),
        ("Str", None, "a\0b", "U+0000"),
        ("Str", None, "a\ud800b", "U+D800"),
        ("Coord", None, "C(1,2)", "Str"),
        ("Coord", None, {"_kind": "coord", "lat": 100, "lng": 2}, "no Hayson"),
    ],
)
def test_other_values_are_refused(kind: str, unit: str | None, val: Any, reason: str) -> None:
    """H22, H23: nothing is converted, and the whole call is refused."""
    good: Any = {"Number": 1, "Bool": True, "Str": "x", "Coord": Coord(0, 0)}[kind]
    late, early = NOON + SECOND, NOON

    with pytest.raises(HisWriteError, match=r"@p1, item 1: .*nothing was written") as caught:
        # The bad one is the second given, though the first in time.
        check_items(point(kind, unit), [{"ts": late, "val": good}, {"ts": early, "val": val}])

    assert (caught.value.id, caught.value.index) == ("p1", 1)
    assert reason in caught.value.reason


@pytest.mark.parametrize(
    "item", [{}, {"ts": NOON}, {"val": 1}, None, 5, "ts", [NOON, 1], (NOON, 1)]
)
def test_what_is_no_item_is_refused(item: Any) -> None:
    with pytest.raises(HisWriteError, match=r"no item: \{'ts': …, 'val': …\}") as caught:
        check_items(point(), [{"ts": NOON, "val": 1}, item])

    assert caught.value.index == 1


def test_a_timestamp_is_looked_at_before_its_value() -> None:
    """H22: first failure wins."""
    with pytest.raises(HisWriteError, match="no time zone"):
        check_items(point(), [{"ts": NOON.replace(tzinfo=None), "val": "x"}])


def test_a_point_of_no_kind_takes_nothing() -> None:
    with pytest.raises(HisConfigError, match="Number, Bool, Str, Coord"):
        check_items(HisPoint("p1", NEW_YORK), [])


# ---- order and duplicates -----------------------------------------------------------------------


def test_no_items_is_no_items() -> None:
    assert check_items(point(), iter(())) == []


def test_items_are_sorted_and_the_last_of_an_instant_wins() -> None:
    """H26, OC 17: one instant in two zones is one instant."""
    items = [
        {"ts": NOON + SECOND, "val": 1},
        {"ts": NOON, "val": 2},
        {"ts": (NOON + SECOND).astimezone(NEW_YORK), "val": NA},
        {"ts": NOON, "val": REMOVE},
        {"ts": NOON, "val": 3},
    ]

    assert check_items(point(), items) == [(NOON, Number(3)), (NOON + SECOND, NA)]


def test_the_last_of_an_instant_wins_in_sorted_input_too() -> None:
    """H26, OC 17."""
    items = [{"ts": NOON, "val": 1}, {"ts": NOON, "val": 2}, {"ts": NOON + SECOND, "val": 3}]

    assert check_items(point(), items) == [(NOON, Number(2)), (NOON + SECOND, Number(3))]


def test_after_flooring_the_last_in_time_wins() -> None:
    """H26: sorted by raw timestamp first, so input order decides only between equals."""
    items = [
        {"ts": NOON.replace(microsecond=900), "val": 1},
        {"ts": NOON.replace(microsecond=100), "val": 2},
    ]

    assert check_items(point(precision=SECOND), items) == [(NOON, Number(1))]


def test_both_passes_of_a_repeated_hour_are_kept() -> None:
    """OC 32: instants, not wall clocks, are compared."""
    wall = dt.datetime(2024, 11, 3, 1, 30, tzinfo=NEW_YORK)

    found = check_items(point(), [{"ts": wall.replace(fold=1), "val": 2}, {"ts": wall, "val": 1}])

    assert [(ts.hour, val) for ts, val in found] == [(5, Number(1)), (6, Number(2))]


_ITEMS = st.lists(
    st.fixed_dictionaries(
        {
            # Few instants, so that they meet; in zones of whole, half and quarter hours.
            "ts": st.builds(
                lambda steps, tz: (NOON + steps * dt.timedelta(microseconds=400)).astimezone(tz),
                st.integers(-6, 6),
                st.sampled_from([UTC, NEW_YORK, ZoneInfo("Asia/Kathmandu")]),
            ),
            "val": st.one_of(
                st.integers(-9, 9), st.floats(), st.just(NA), st.just(REMOVE),
                st.builds(Number, st.integers(-9, 9), st.sampled_from([None, "kW"])),
            ),
        }
    ),
    max_size=12,
)  # fmt: skip


@given(_ITEMS, st.sampled_from([None, SECOND, MILLISECOND]))
def test_items_are_those_of_a_plain_dict(
    items: list[dict[str, Any]], precision: dt.timedelta | None
) -> None:
    """H23, H25–H28 against the simplest thing that could be right."""
    stored: dict[dt.datetime, Any] = {}
    for item in sorted(items, key=lambda item: item["ts"].astimezone(UTC)):
        ts, val = item["ts"].astimezone(UTC), item["val"]
        if precision is not None:
            ts -= (ts - dt.datetime(1900, 1, 1, tzinfo=UTC)) % precision
        number = Number(val) if isinstance(val, (int, float)) else val
        stored[ts] = Number(number.val, "kW") if isinstance(number, Number) else number

    found = check_items(point(unit="kW", precision=precision), items)

    assert found == sorted(stored.items(), key=lambda pair: pair[0])


@given(_ITEMS)
def test_checking_twice_changes_nothing(items: list[dict[str, Any]]) -> None:
    """H26: what comes out can go in again."""
    once = check_items(point(unit="kW", precision=SECOND), items)

    again = [{"ts": ts, "val": val} for ts, val in once]

    assert check_items(point(unit="kW", precision=SECOND), again) == once
