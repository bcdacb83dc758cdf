"""Zones by city name, for every zone that there is."""

from __future__ import annotations

import datetime as dt
from importlib import resources
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError, available_timezones

import pytest

from hsorm.zones import city_of, with_zone, zone_of

SUMMER = dt.datetime(2024, 7, 1, 12, tzinfo=dt.UTC)


def test_the_name_of_every_zone_leads_back_to_it() -> None:
    for key in sorted(available_timezones() - {"localtime"}):
        ts = SUMMER.astimezone(ZoneInfo(key))
        zone = zone_of(city_of(ts))

        # An old link such as "Singapore" leads to the zone whose city it is.
        assert zone.key == key or zone.key.endswith(f"/{key}")
        assert ts.astimezone(zone).utcoffset() == ts.utcoffset()


def test_the_zone_of_one_machine_is_written_as_its_offset() -> None:
    try:
        ts = SUMMER.astimezone(ZoneInfo("localtime"))
    except ZoneInfoNotFoundError:
        pytest.skip("this machine has no zone named localtime")

    assert zone_of(city_of(ts)).key.startswith(("UTC", "Etc/"))


@pytest.mark.parametrize(
    ("city", "key"),
    [
        ("Denver", "America/Denver"), ("New_York", "America/New_York"), ("UTC", "UTC"),
        ("GMT", "GMT"), ("GMT+5", "Etc/GMT+5"), ("Singapore", "Asia/Singapore"),
        ("Istanbul", "Europe/Istanbul"), ("Louisville", "America/Louisville"),
        ("America/Denver", "America/Denver"), ("EST5EDT", "EST5EDT"), ("Oslo", "Europe/Oslo"),
        ("Port-au-Prince", "America/Port-au-Prince"), ("Center", "America/North_Dakota/Center"),
    ],
)  # fmt: skip
def test_the_zone_of_a_city(city: str, key: str) -> None:
    assert zone_of(city).key == key


@pytest.mark.parametrize(
    "key", ["America/Denver", "Europe/Istanbul", "Asia/Singapore", "UTC", "GMT"]
)
def test_a_zone_that_people_use_is_written_as_its_city(key: str) -> None:
    """Other servers know cities only."""
    assert city_of(SUMMER.astimezone(ZoneInfo(key))) == key.rsplit("/", 1)[-1]


@pytest.mark.parametrize(
    "name", ["", "Nowhere", "denver", "America/Nowhere", "../etc", "/etc", "a\0b", "America"]
)
def test_an_unknown_zone_is_an_error(name: str) -> None:
    with pytest.raises(LookupError, match="unknown time zone"):
        zone_of(name)


@pytest.mark.parametrize(
    ("offset", "city"),
    [
        (dt.timedelta(), "UTC"), (dt.timedelta(hours=-5), "GMT+5"),
        (dt.timedelta(hours=14), "GMT-14"), (dt.timedelta(hours=-12), "GMT+12"),
        (dt.timedelta(hours=-13), "UTC"),
        (dt.timedelta(hours=5, minutes=30), "UTC"),
    ],
)  # fmt: skip
def test_a_fixed_offset_has_a_zone(offset: dt.timedelta, city: str) -> None:
    ts = SUMMER.astimezone(dt.timezone(offset))

    assert city_of(ts) == city
    assert with_zone(ts) == ts
    assert with_zone(ts).tzinfo == zone_of(city)


class _OfPytz(dt.tzinfo):
    """What pytz makes: the name is in `zone`."""

    def __init__(self, zone: str | None) -> None:
        self.zone = zone

    def utcoffset(self, ts: dt.datetime | None) -> dt.timedelta:
        return dt.timedelta(hours=-4)

    def dst(self, ts: dt.datetime | None) -> dt.timedelta:
        return dt.timedelta(hours=1)

    def tzname(self, ts: dt.datetime | None) -> str:
        return "EDT"


@pytest.mark.parametrize(
    ("zone", "city"), [("America/New_York", "New_York"), (None, "GMT+4"), ("Mars/Base", "GMT+4")]
)
def test_a_zone_of_pytz_keeps_its_name(zone: str | None, city: str) -> None:
    ts = dt.datetime(2024, 7, 1, 12, tzinfo=_OfPytz(zone))

    assert city_of(ts) == city
    assert with_zone(ts) == ts
    assert with_zone(ts).tzinfo == zone_of(city)


@pytest.mark.parametrize("key", [None, "Mars/Base", "localtime"])
def test_a_zone_that_others_do_not_know_is_a_fixed_offset(key: str | None) -> None:
    """Read from a file, it may have no name, or one of its own."""
    with resources.files("tzdata.zoneinfo").joinpath("Asia/Kolkata").open("rb") as file:
        kolkata = ZoneInfo.from_file(file, key)
    ts = dt.datetime(2024, 1, 1, 2, tzinfo=kolkata)

    assert city_of(ts) == "UTC"
    assert with_zone(ts) == ts
    assert with_zone(ts).tzinfo == zone_of("UTC")
