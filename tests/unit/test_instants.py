"""Instants as numbers and as local datetimes."""

from __future__ import annotations

import datetime as dt
from zoneinfo import ZoneInfo

from hypothesis import example, given
from hypothesis import strategies as st

from hsorm.his.instants import from_micros, in_zone, local_datetimes, to_micros

ZONES = st.sampled_from(
    ["UTC", "America/New_York", "Australia/Lord_Howe", "Pacific/Apia", "Africa/Monrovia",
     "Africa/Casablanca", "America/Cambridge_Bay", "Europe/Dublin"]
).map(ZoneInfo)  # fmt: skip
# 1950 to 2100, and around the changes of some clocks.
STAMPS = st.one_of(
    st.integers(-631_152_000_000_000, 4_102_444_800_000_000),
    st.integers(0, 7_200_000_000).map(lambda off: 1_730_610_000_000_000 + off),
    st.integers(0, 172_800_000_000).map(lambda off: 1_325_156_400_000_000 + off),
    st.integers(0, 86_400_000_000).map(lambda off: 63_593_000_000_000 + off),
)


@given(st.lists(STAMPS, max_size=60).map(sorted), ZONES)
@example([1_730_610_000_000_000, 1_730_613_600_000_000], ZoneInfo("America/New_York"))
def test_local_datetimes_are_those_of_astimezone(stamps: list[int], zone: ZoneInfo) -> None:
    expected = [from_micros(stamp).astimezone(zone) for stamp in stamps]
    for found in (local_datetimes(stamps, zone), in_zone([*map(from_micros, stamps)], zone)):
        assert [(ts.replace(tzinfo=None), ts.fold, ts.tzinfo) for ts in found] == [
            (ts.replace(tzinfo=None), ts.fold, ts.tzinfo) for ts in expected
        ]


@given(st.datetimes(timezones=ZONES))
def test_an_instant_comes_back(ts: dt.datetime) -> None:
    instant = ts.astimezone(dt.UTC) if dt.datetime(2, 1, 1, tzinfo=dt.UTC) < ts else None
    if instant is not None and instant.year < 9999:
        assert from_micros(to_micros(instant)) == instant
