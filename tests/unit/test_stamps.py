"""Many instants at once are the same as each by itself."""

from __future__ import annotations

import datetime as dt
from array import array
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hsorm.his.stamps import SINCE_1970, SINCE_2000, local_stamps, packed_stamps

_ZONES = [
    "America/New_York", "Europe/London", "Australia/Sydney", "Australia/Lord_Howe",
    "Asia/Kathmandu", "UTC", "Africa/Casablanca", "America/Havana", "Pacific/Apia",
    "Africa/Monrovia",
]  # fmt: skip
_MICRO = dt.timedelta(microseconds=1)


def _plain(micros: list[int], zone: ZoneInfo, epoch: dt.datetime) -> list[dt.datetime]:
    return [(epoch + micro * _MICRO).astimezone(zone) for micro in micros]


def _whole(stamps: list[dt.datetime]) -> list[object]:
    return [(ts.replace(tzinfo=None), ts.fold, ts.tzinfo) for ts in stamps]


@given(
    zone=st.sampled_from(_ZONES).map(ZoneInfo),
    epoch=st.sampled_from([SINCE_1970, SINCE_2000]),
    start=st.integers(-600_000_000, 3_000_000_000),
    steps=st.lists(
        st.sampled_from([0, 1, 60_000_000, 900_000_000, 3_600_000_000, 86_400_000_000, -1]),
        max_size=60,
    ),
)
def test_any_instants(zone: ZoneInfo, epoch: dt.datetime, start: int, steps: list[int]) -> None:
    """Ascending or not, with and without a rhythm."""
    micros = [start * 1_000_000]
    for step in steps:
        micros.append(micros[-1] + step)

    assert _whole(local_stamps(micros, zone, epoch)) == _whole(_plain(micros, zone, epoch))


@pytest.mark.parametrize("name", _ZONES)
@pytest.mark.parametrize("minutes", [15, 60, 600])
def test_years_of_instants(name: str, minutes: int) -> None:
    """H3: over each change of the clocks, the hours that repeat among them."""
    zone = ZoneInfo(name)
    first = int((dt.datetime(2009, 1, 1, tzinfo=dt.UTC) - SINCE_2000) / _MICRO)
    micros = [first + i * minutes * 60_000_000 for i in range(3 * 365 * 24 * 60 // minutes)]

    plain = _whole(_plain(micros, zone, SINCE_2000))
    assert _whole(local_stamps(micros, zone, SINCE_2000)) == plain
    assert _whole(packed_stamps(array("q", micros), zone, SINCE_2000)) == plain


@given(
    zone=st.sampled_from(_ZONES).map(ZoneInfo),
    start=st.integers(-1_500_000_000, 1_000_000_000),
    runs=st.lists(
        st.tuples(
            st.sampled_from([1, 1_000_000, 60_000_000, 900_000_000, 3_600_000_000]),
            st.sampled_from([1, 2, 95, 96, 200, 1_500, 3_000]),
        ),
        max_size=4,
    ),
)
def test_stretches_of_even_steps(zone: ZoneInfo, start: int, runs: list[tuple[int, int]]) -> None:
    """Before and after 2000, over where one rhythm ends and another begins."""
    micros = [start * 1_000_000]
    for step, many in runs:
        micros += range(micros[-1] + step, micros[-1] + step * many + 1, step)

    assert _whole(packed_stamps(array("q", micros), zone, SINCE_2000)) == _whole(
        _plain(micros, zone, SINCE_2000)
    )


def test_a_step_that_is_not_even_is_seen() -> None:
    """With the first step and the ends as if all were."""
    micros = array("q", range(0, 600_000_000, 1_000_000))
    micros[300] += 1

    assert _whole(packed_stamps(micros, dt.UTC, SINCE_2000)) == _whole(
        [SINCE_2000 + micro * _MICRO for micro in micros]
    )


def test_the_ends_of_time() -> None:
    zone = ZoneInfo("UTC")
    last = int((dt.datetime(9999, 12, 31, tzinfo=dt.UTC) - SINCE_2000) / _MICRO)

    assert _whole(local_stamps([last, last + 1], zone, SINCE_2000)) == _whole(
        _plain([last, last + 1], zone, SINCE_2000)
    )
