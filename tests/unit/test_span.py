"""Range texts and midnights: rules H1–H6 and table 5.4, with OC 11, 12, 13 and 26."""

from __future__ import annotations

import datetime as dt
from zoneinfo import ZoneInfo, available_timezones

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from hsorm.errors import RangeSyntaxError
from hsorm.his import Span, midnight, parse_range
from hsorm.his.span import span_of

UTC = dt.UTC
NEW_YORK = ZoneInfo("America/New_York")
# A Wednesday, 23:30 in New York but already Thursday in UTC.
NOW = dt.datetime(2024, 5, 16, 3, 30, tzinfo=UTC)


def utc(text: str) -> dt.datetime:
    return dt.datetime.fromisoformat(text).replace(tzinfo=UTC)


def local_days(text: str, zone: str = "America/New_York", week_start: int = 0) -> tuple[str, str]:
    """Parse a range whose ends are midnights, and return their dates."""
    tz = ZoneInfo(zone)
    span = parse_range(text, tz, NOW, week_start=week_start)
    start, end = span.start.astimezone(tz), span.end.astimezone(tz)
    assert start.time() == end.time() == dt.time()
    return str(start.date()), str(end.date())


@pytest.mark.parametrize(
    ("zone", "day", "first"),
    [
        ("UTC", "2024-03-10", "2024-03-10T00:00"),
        ("America/New_York", "2024-03-10", "2024-03-10T05:00"),
        ("America/New_York", "2024-03-11", "2024-03-11T04:00"),
        ("Asia/Kathmandu", "2024-03-10", "2024-03-09T18:15"),
        ("Australia/Lord_Howe", "2024-04-07", "2024-04-06T13:00"),
        ("Australia/Lord_Howe", "2024-04-08", "2024-04-07T13:30"),
        # The clocks skip midnight: the day begins with the jump, at 01:00 local time.
        ("America/Sao_Paulo", "2018-11-04", "2018-11-04T03:00"),
        ("Asia/Beirut", "2024-03-31", "2024-03-30T22:00"),
        ("America/Havana", "2024-03-10", "2024-03-10T05:00"),
        # The jump comes before midnight: from 23:30 to 00:30.
        ("America/Toronto", "1919-03-31", "1919-03-31T04:30"),
        # Midnight comes twice: the earlier.
        ("America/Havana", "2024-11-03", "2024-11-03T04:00"),
        ("America/St_Johns", "2006-10-29", "2006-10-29T02:30"),
        # Sao Paulo goes back from 00:00 to 23:00: the midnight that counts is the one after.
        ("America/Sao_Paulo", "2018-02-18", "2018-02-18T03:00"),
        # The date that Samoa left out begins and ends with the jump.
        ("Pacific/Apia", "2011-12-29", "2011-12-29T10:00"),
        ("Pacific/Apia", "2011-12-30", "2011-12-30T10:00"),
        ("Pacific/Apia", "2011-12-31", "2011-12-30T10:00"),
        ("Pacific/Apia", "2012-01-01", "2011-12-31T10:00"),
    ],
)
def test_midnight_is_the_first_instant_of_the_date(zone: str, day: str, first: str) -> None:
    """OC 11."""
    found = midnight(dt.date.fromisoformat(day), ZoneInfo(zone))

    assert found == utc(first)
    assert found.tzinfo is UTC


@pytest.mark.parametrize(
    ("zone", "day", "hours"),
    [
        ("America/New_York", "2024-03-10", 23),
        ("America/New_York", "2024-11-03", 25),
        ("America/New_York", "2024-07-01", 24),
        ("Europe/London", "2024-03-31", 23),
        ("Europe/London", "2024-10-27", 25),
        ("Australia/Sydney", "2024-10-06", 23),
        ("Australia/Sydney", "2024-04-07", 25),
        ("Australia/Lord_Howe", "2024-10-06", 23.5),
        ("Australia/Lord_Howe", "2024-04-07", 24.5),
        ("America/Sao_Paulo", "2018-11-04", 23),
        ("America/Sao_Paulo", "2018-02-17", 25),
        ("Asia/Beirut", "2024-03-31", 23),
        ("Asia/Kathmandu", "2024-03-10", 24),
        ("UTC", "2024-03-10", 24),
        ("Pacific/Apia", "2011-12-30", 0),
    ],
)
def test_a_day_lasts_what_the_calendar_says(zone: str, day: str, hours: float) -> None:
    """H3."""
    span = parse_range(day, ZoneInfo(zone), NOW)

    assert (span.end - span.start) / dt.timedelta(hours=1) == hours


@given(
    st.sampled_from(sorted(available_timezones())),
    st.dates(dt.date(1850, 1, 1), dt.date(2100, 1, 1)),
)
@example("Pacific/Apia", dt.date(2011, 12, 30))
@example("Pacific/Kwajalein", dt.date(1993, 8, 21))
@example("America/Juneau", dt.date(1867, 10, 18))
@example("America/Toronto", dt.date(1919, 3, 30))
@example("Asia/Manila", dt.date(1844, 12, 31))
@example("Africa/Monrovia", dt.date(1972, 1, 7))
def test_consecutive_days_touch_without_gap_or_overlap(key: str, day: dt.date) -> None:
    """H3: the instant before a midnight has an earlier date, the one at it does not."""
    zone = ZoneInfo(key)
    today = parse_range(day.isoformat(), zone, NOW)
    tomorrow = parse_range((day + dt.timedelta(days=1)).isoformat(), zone, NOW)

    assert today.start <= today.end == tomorrow.start
    assert (today.start - dt.timedelta(microseconds=1)).astimezone(zone).date() < day
    assert today.start.astimezone(zone).date() >= day


@pytest.mark.parametrize(
    ("text", "start", "end"),
    [
        ("today", "2024-05-15", "2024-05-16"),  # H1, OC 12: the date in the point's zone
        ("yesterday", "2024-05-14", "2024-05-15"),
        ("2024-05-01", "2024-05-01", "2024-05-02"),
        ("2024-05-01,2024-05-03", "2024-05-01", "2024-05-04"),  # the end date is included
        ("2024-05-01,2024-05-01", "2024-05-01", "2024-05-02"),
        ("2024-05-01,2024-04-30", "2024-05-01", "2024-05-01"),  # H4: empty, legal
        (" \t2024-05-01 ,\t2024-05-03 ", "2024-05-01", "2024-05-04"),  # H2
        (" 2024-02-29", "2024-02-29", "2024-03-01"),
        # Table 5.4
        ("thisWeek", "2024-05-13", "2024-05-20"),
        ("lastWeek", "2024-05-06", "2024-05-13"),
        ("pastWeek", "2024-05-08", "2024-05-15"),
        ("thisMonth", "2024-05-01", "2024-06-01"),
        ("lastMonth", "2024-04-01", "2024-05-01"),
        ("pastMonth", "2024-04-17", "2024-05-15"),  # OC 26: 28 days
        ("thisQuarter", "2024-04-01", "2024-07-01"),
        ("lastQuarter", "2024-01-01", "2024-04-01"),
        ("pastQuarter", "2024-02-15", "2024-05-15"),
        ("thisYear", "2024-01-01", "2025-01-01"),
        ("lastYear", "2023-01-01", "2024-01-01"),
        ("pastYear", "2023-05-16", "2024-05-15"),
    ],
)
def test_words_and_dates_are_days_of_the_point(text: str, start: str, end: str) -> None:
    """H1–H4 and table 5.4 (OC 13)."""
    assert local_days(text) == (start, end)


def test_today_is_the_date_in_the_zone_of_the_point() -> None:
    """OC 12: one instant, two dates."""
    assert local_days("today", "Asia/Tokyo") == ("2024-05-16", "2024-05-17")


@pytest.mark.parametrize(
    ("week_start", "monday_of"),
    [(0, "2024-05-13"), (2, "2024-05-15"), (3, "2024-05-09"), (6, "2024-05-12")],
)
def test_weeks_start_where_told(week_start: int, monday_of: str) -> None:
    """OC 13: Monday unless told otherwise; 2024-05-15 is a Wednesday."""
    assert local_days("thisWeek", week_start=week_start)[0] == monday_of
    assert local_days("lastWeek", week_start=week_start)[1] == monday_of


@pytest.mark.parametrize(
    ("now", "text", "start", "end"),
    [
        ("2024-01-31", "lastMonth", "2023-12-01", "2024-01-01"),
        ("2024-01-01", "lastQuarter", "2023-10-01", "2024-01-01"),
        ("2024-12-31", "thisMonth", "2024-12-01", "2025-01-01"),
        ("2024-12-31", "thisQuarter", "2024-10-01", "2025-01-01"),
        ("2024-02-29", "lastYear", "2023-01-01", "2024-01-01"),
        ("2024-02-29", "pastYear", "2023-03-01", "2024-02-29"),
    ],
)
def test_words_at_the_turn_of_the_year(now: str, text: str, start: str, end: str) -> None:
    """Table 5.4."""
    span = parse_range(text, ZoneInfo("UTC"), utc(now) + dt.timedelta(hours=12))

    assert span == Span(utc(start), utc(end))


@pytest.mark.parametrize(
    ("text", "start", "end"),
    [
        ("2024-05-15T08:00:00-04:00 New_York", "2024-05-15T12:00", "2024-05-16T03:30"),
        ("2024-05-15T12:00:00Z", "2024-05-15T12:00", "2024-05-16T03:30"),
        ("2024-05-15T12:00:00Z UTC", "2024-05-15T12:00", "2024-05-16T03:30"),
        ("2024-05-15T12:00:00Z London", "2024-05-15T12:00", "2024-05-16T03:30"),
        ("2024-05-15T07:00:00+05:45 Kathmandu", "2024-05-15T01:15", "2024-05-16T03:30"),
        ("2024-05-15T12:00:00.25Z", "2024-05-15T12:00:00.250000", "2024-05-16T03:30"),
        ("2024-05-15T12:00:00+05:00 GMT-5", "2024-05-15T07:00", "2024-05-16T03:30"),
        # OC 27: the offset defines the instant, even one that its zone never had
        ("2024-05-15T12:00:00+09:00 New_York", "2024-05-15T03:00", "2024-05-16T03:30"),
        # H4: as late as now, and equal ends, are empty and legal
        ("2024-05-16T03:30:00Z", "2024-05-16T03:30", "2024-05-16T03:30"),
        ("2024-05-01T00:00:00Z,2024-05-01T00:00:00Z", "2024-05-01T00:00", "2024-05-01T00:00"),
        # H5: neither has to be the point's zone
        ("2024-05-01T00:00:00Z , 2024-05-02T00:00:00Z UTC", "2024-05-01T00:00", "2024-05-02T00:00"),
        (
            "2024-11-03T01:30:00-04:00 New_York,2024-11-03T01:30:00-05:00 New_York",
            "2024-11-03T05:30",
            "2024-11-03T06:30",
        ),
    ],
)
def test_date_times_are_instants(text: str, start: str, end: str) -> None:
    """H2, H4, H5, F13."""
    assert parse_range(text, NEW_YORK, NOW) == Span(utc(start), utc(end))


@pytest.mark.parametrize(
    ("text", "pos", "expected"),
    [
        # H2: words match exactly
        ("Today", 0, "today yesterday thisWeek"),
        (" today", 1, "stand alone"),
        ("today ", 0, "stand alone"),
        ("today,yesterday", 0, "stand alone"),
        ("2024-05-01,today", 11, "stand alone"),
        # H6
        ("now", 0, "one or two dateTimes"),
        ("last24hours", 0, "a date"),
        ("lastHour", 0, "a date"),
        ("2024-01", 0, "a date"),
        ("2024", 0, "a date"),
        ("2024-05-01,", 11, "a date"),
        (",2024-05-01", 0, "a date"),
        (",", 0, "a date"),
        ("2024-05-01,,2024-05-02", 12, "one or two parts"),
        ("2024-05-01,2024-05-02, 2024-05-03", 23, "one or two parts"),
        ("2024-05-01 x", 0, "a date"),
        ("2024-05-01\n", 0, "a date"),
        ("2024-05-01,2024-05-15T12:00:00Z", 11, "a date, as before"),
        ("2024-05-15T12:00:00Z, 2024-05-16", 22, "a dateTime with offset and zone, as before"),
        # F11
        ("2024-02-30", 0, "day of the calendar"),
        ("2024-1-05", 0, "a date"),
        ("2024-W01-1", 0, "a date"),
        ("0000-01-01", 0, "day of the calendar"),
        ("２０２４-01-01", 0, "a date"),
        ("2024-01-01,2024-13-01", 11, "day of the calendar"),
        # F13
        ("2024-05-15T12:00:00", 0, "offset"),
        ("2024-05-15T12:00:00-04:00", 0, "city of its zone"),
        ("2024-05-15T12:00:00-04:00 America/New_York", 0, "city"),
        ("2024-05-15T12:00:00-04:00  New_York", 0, "one space"),
        ("2024-05-15T12:00:00-04:00 new_york", 0, "city"),
        ("2024-05-15T12:00Z", 0, "hh:mm:ss"),
        ("2024-05-15T24:00:00Z", 0, "the clock"),
        ("2024-05-32T12:00:00Z", 0, "calendar"),
        ("2024-05-15T12:00:00+25:00 New_York", 0, "the clock"),
        ("2024-05-15T12:00:00-04:00 Atlantis", 26, "unknown time zone 'Atlantis'"),
        (" 2024-05-01T00:00:00Z, 2024-05-02T00:00:00Z Oz", 44, "unknown time zone 'Oz'"),
        # H4
        ("2024-05-03,2024-05-01", 11, "not before 2024-05-02"),
        ("2024-05-02T00:00:00Z,2024-05-01T00:00:00Z", 21, "not before the first"),
        ("2024-05-16T03:30:01Z", 0, "not later than now"),
        # H5
        ("2024-05-01T00:00:00Z,2024-05-02T00:00:00Z London", 21, "the same zone"),
        # beyond what a datetime can hold
        ("9999-12-31", 0, "before 9999-12-30"),
        ("2024-01-01,9999-12-31", 0, "before 9999-12-30"),
    ],
)
def test_other_texts_are_errors_that_show_the_place(text: str, pos: int, expected: str) -> None:
    """H2, H4, H5, H6, F11, F13."""
    with pytest.raises(RangeSyntaxError) as caught:
        parse_range(text, NEW_YORK, NOW)

    assert caught.value.text == text
    assert caught.value.pos == pos
    assert expected in caught.value.expected


@pytest.mark.parametrize("text", ["", " ", "\t\n", None])
def test_nothing_is_an_error_that_lists_the_forms(text: str | None) -> None:
    """H6: an empty part."""
    with pytest.raises(RangeSyntaxError) as caught:
        parse_range(text, NEW_YORK, NOW)

    for form in ("today", "pastYear", "two dates", "one or two dateTimes", "2024-03-10"):
        assert form in str(caught.value)


def test_a_naive_now_is_refused() -> None:
    with pytest.raises(ValueError, match="now is naive"):
        parse_range("today", NEW_YORK, NOW.replace(tzinfo=None))


@given(st.text(st.sampled_from("2024-05T:Z+, \taNeworkYdy_/\n")) | st.text(max_size=30))
def test_any_text_gives_a_span_or_an_error(text: str) -> None:
    try:
        span = parse_range(text, NEW_YORK, NOW)
    except RangeSyntaxError as exc:
        pos, shown = exc.pos, str(exc)
        assert 0 <= pos <= len(text)
        assert f"column {pos + 1}" in shown
    else:
        assert span.start <= span.end


def test_a_span_beyond_the_calendar_is_refused() -> None:
    """What UTC has no datetime for is the caller's mistake, not an overflow."""
    early = dt.datetime.min.replace(tzinfo=ZoneInfo("Asia/Tokyo"))

    with pytest.raises(ValueError, match="beyond the years 1 to 9999"):
        span_of(Span(early, dt.datetime(2024, 1, 1, tzinfo=dt.UTC)), ZoneInfo("UTC"), NOW)
