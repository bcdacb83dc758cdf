"""Time zones by their Haystack name: the city, the last part of the IANA name (`New_York`)."""

from __future__ import annotations

import datetime as dt
from functools import cache, lru_cache
from typing import Final
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError, available_timezones

__all__ = ["UTC", "city_of", "zone_of"]

UTC: Final = ZoneInfo("UTC")

# The regions of the IANA database in the order in which they may claim a city; what is left over
# are links kept for old times (US/Eastern, Brazil/West), which yield to any of these.
_REGIONS = (
    "Africa", "America", "Antarctica", "Asia", "Atlantic", "Australia", "Europe", "Indian",
    "Pacific", "Etc", "Arctic",
)  # fmt: skip


# Two regions claim this city; Asia/Istanbul is the link.
_FIRST = ("UTC", "GMT", "Europe/Istanbul")


def _rank(key: str) -> tuple[int, int, str]:
    if key in _FIRST:
        return 0, 0, key
    region, _, rest = key.partition("/")
    # "Singapore" is an old link to Asia/Singapore; "EST5EDT" is found last and stands for itself.
    order = _REGIONS.index(region) + 1 if rest and region in _REGIONS else len(_REGIONS) + 1
    return order, rest.count("/"), key


@cache
def _keys_by_city() -> dict[str, str]:
    keys: dict[str, str] = {}
    for key in sorted(available_timezones(), key=_rank):
        keys.setdefault(key.rsplit("/", 1)[-1], key)
    return keys


@lru_cache(maxsize=1024)
def zone_of(name: str) -> ZoneInfo:
    """Return the zone of a city name (`"Denver"`) or a whole IANA name (`"America/Denver"`).

    Raises:
        LookupError: There is no such zone.
    """
    key = name if "/" in name else _keys_by_city().get(name, "")
    try:
        return ZoneInfo(key)
    except (ZoneInfoNotFoundError, ValueError, OSError):  # unknown; leaves the folder; a folder
        raise LookupError(f"unknown time zone {name!r}: a city such as Denver, or UTC") from None


def city_of(ts: dt.datetime) -> str:
    """Return the Haystack name of an aware datetime's zone.

    The city where it leads back to the same zone, else the whole IANA name (`US/Eastern`). A fixed
    offset of whole hours is `GMT+5` and the like (IANA turns the sign around), any other `UTC`.
    """
    return _city_of_key(_key_of(ts))


# Asked for with every dateTime that is written.
@lru_cache(maxsize=1024)
def _city_of_key(key: str) -> str:
    city = key.rsplit("/", 1)[-1]
    return city if _keys_by_city().get(city) == key else key


def _key_of(ts: dt.datetime) -> str:
    key = getattr(ts.tzinfo, "key", None) or getattr(ts.tzinfo, "zone", None)  # of pytz
    if key in _shared_keys():
        return str(key)
    hours, odd = divmod(ts.utcoffset() or dt.timedelta(), dt.timedelta(hours=1))
    if odd or hours == 0 or not -14 <= -hours <= 12:
        return "UTC"
    return f"Etc/GMT{-hours:+d}"


@cache
def _shared_keys() -> frozenset[object]:
    """Return the names that are the same zone to others, too; "localtime" is another everywhere.

    A zone may have a name of its own, or none, where it was read from a file.
    """
    return frozenset(available_timezones() - {"localtime"})


def with_zone(ts: dt.datetime) -> dt.datetime:
    """Return an aware datetime at the same instant in the zone that `city_of` names."""
    own = ts.tzinfo
    if isinstance(own, ZoneInfo) and own.key in _shared_keys():
        return ts
    return ts.astimezone(zone_of(city_of(ts)))
