"""The priority array (rules W1–W14), and durations."""

from __future__ import annotations

import datetime as dt
import json
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hsorm.errors import PointWriteError
from hsorm.kinds import MARKER, REMOVE, Entity, Number, Ref
from hsorm.ops.durations import duration_of
from hsorm.ops.priority_array import (
    EMPTY,
    PointArray,
    at,
    check_write,
    dump,
    effective,
    live_changes,
    load,
    rows,
    writable_point,
    write,
)

_NOW = dt.datetime(2024, 3, 1, 12, tzinfo=dt.UTC)
_MINUTE = dt.timedelta(minutes=1)
_POINT: Entity = {
    "id": Ref("p"),
    "point": MARKER,
    "writable": MARKER,
    "kind": "Number",
    "unit": "%",
}


def _array(**levels: Any) -> PointArray:
    """Return an array with values on levels: `_array(l8=5)`."""
    array = EMPTY
    for name, val in levels.items():
        array = write(array, int(name[1:]), val, "me", _NOW)
    return array


# ---- levels -------------------------------------------------------------------------------------


def test_the_lowest_level_that_holds_a_value_wins() -> None:
    """W3: False and 0 are values."""
    assert effective(EMPTY) == (None, 17)
    assert effective(_array(l17=Number(1), l9=Number(0))) == (Number(0), 9)
    assert effective(_array(l17=True, l10=False)) == (False, 10)


def test_a_release_keeps_who() -> None:
    """W2, W11."""
    array = write(_array(l10=Number(5)), 10, None, "ann", _NOW)

    assert effective(array) == (None, 17)
    assert array.levels[9].who == "ann"


def test_the_same_write_changes_nothing() -> None:
    """W9; another who does."""
    array = _array(l10=Number(5))

    assert write(array, 10, Number(5), "me", _NOW + _MINUTE) == array
    assert write(array, 10, Number(5), "ann", _NOW) != array


def test_an_override_expires() -> None:
    """W7: after its deadline, not at it; who stays."""
    array = write(_array(l17=Number(1)), 8, Number(5), "me", _NOW, _MINUTE)

    assert effective(at(array, _NOW + _MINUTE)) == (Number(5), 8)
    released = at(array, _NOW + _MINUTE + dt.timedelta(microseconds=1))
    assert effective(released) == (Number(1), 17)
    assert (released.levels[7].who, released.expires) == ("me", None)


def test_each_write_to_level_8_resets_the_time() -> None:
    """W7, W8: other levels leave it; a release has none."""
    array = write(EMPTY, 8, Number(5), "me", _NOW, _MINUTE)
    later = _NOW + _MINUTE / 2

    assert write(array, 8, Number(5), "me", later, _MINUTE).expires == later + _MINUTE
    assert write(array, 8, Number(5), "me", later).expires is None
    assert write(array, 8, None, "me", later, _MINUTE).expires is None
    assert write(array, 7, Number(5), "me", later, _MINUTE).expires == array.expires


def test_what_has_expired_does_not_come_back_with_a_write() -> None:
    """W7."""
    array = write(EMPTY, 8, Number(5), "me", _NOW, _MINUTE)

    assert effective(write(array, 9, Number(1), "me", _NOW + 2 * _MINUTE)) == (Number(1), 9)


def test_for_ever_is_no_time() -> None:
    assert write(EMPTY, 8, Number(5), "me", _NOW, dt.timedelta.max).expires is None


_LEVELS = st.integers(1, 17)
_VALS = st.one_of(st.none(), st.integers(0, 3).map(Number))
_DURATIONS = st.one_of(st.none(), st.integers(1, 100).map(lambda s: dt.timedelta(seconds=s)))


@given(st.lists(st.tuples(_LEVELS, _VALS, st.sampled_from("ab"), st.integers(0, 60), _DURATIONS)))
def test_any_writes_against_a_plain_dict(
    writes: list[tuple[int, Number | None, str, int, dt.timedelta | None]],
) -> None:
    """W2, W3, W7, W8: and the stored form loses nothing."""
    array, now = EMPTY, _NOW
    held: dict[int, Number] = {}
    until: dt.datetime | None = None
    for level, val, who, seconds, duration in writes:
        now += dt.timedelta(seconds=seconds)
        if until is not None and until < now:
            held.pop(8, None)
            until = None
        held.pop(level, None)
        if val is not None:
            held[level] = val
        if level == 8:
            until = now + duration if duration is not None and val is not None else None
        array = load(json.loads(json.dumps(dump(write(array, level, val, who, now, duration)))))

        best = min(held, default=17)
        assert effective(array) == (held.get(best), best)
        assert array.levels[level - 1].who == who
        assert array.expires == until


# ---- what is shown ------------------------------------------------------------------------------


def test_rows() -> None:
    """W12."""
    array = write(_array(l1=Number(5, "%")), 8, Number(50, "%"), "ann", _NOW, _MINUTE)

    found = rows(array, _NOW + _MINUTE / 2, writable_point(_POINT))

    assert [row["level"].val for row in found] == list(range(1, 18))
    assert found[0] == {
        "level": Number(1),
        "levelDis": "1 (emergency)",
        "val": Number(5, "%"),
        "valDis": "5%",
        "who": "me",
    }
    assert found[7]["expires"] == Number(30, "sec")
    assert found[16] == {"level": Number(17), "levelDis": "def"}
    assert "val" not in rows(array, _NOW + 2 * _MINUTE, writable_point(_POINT))[7]


@pytest.mark.parametrize(
    ("enum", "texts"),
    [
        (None, ("false", "true")),
        ("off,on", ("off", "on")),
        ("off, on", ("off", "on")),
        ("a,b,c", ("false", "true")),
        (MARKER, ("false", "true")),
    ],
)
def test_the_texts_of_bools(enum: Any, texts: tuple[str, str]) -> None:
    """W12."""
    assert writable_point({**_POINT, "enum": enum}).bool_texts == texts


def test_live_tags_show_the_array() -> None:
    """W4: only what differs is changed."""
    array = _array(l10=Number(5))
    shown = {"writeVal": Number(5), "writeLevel": Number(10)}

    assert live_changes(array, _POINT) == shown
    assert live_changes(array, {**_POINT, **shown}) == {}
    assert live_changes(EMPTY, {**_POINT, **shown}) == {
        "writeVal": REMOVE, "writeLevel": Number(17),
    }  # fmt: skip
    tracking = {**_POINT, **shown, "curTracksWrite": MARKER, "curVal": Number(1)}
    assert live_changes(array, tracking) == {"curVal": Number(5), "curStatus": "ok"}
    assert live_changes(EMPTY, tracking)["curVal"] is REMOVE


def test_what_can_have_no_array_shows_none() -> None:
    """W14."""
    shown = {"writeVal": Number(5), "writeLevel": Number(10), "curVal": Number(5)}

    for name in ("point", "writable"):
        entity = {tag: val for tag, val in {**_POINT, **shown}.items() if tag != name}
        assert live_changes(_array(l10=Number(5)), entity) == {
            "writeVal": REMOVE, "writeLevel": REMOVE,
        }  # fmt: skip
        with pytest.raises(PointWriteError, match=name):
            writable_point(entity)


# ---- what is taken ------------------------------------------------------------------------------


def test_a_checked_write() -> None:
    """W6, OC 21: the level is cut, the unit is the point's."""
    checked = check_write(writable_point(_POINT), Number(8.9), 5, "me", Number(1, "min"))

    assert (checked.level, checked.val, checked.who) == (8, Number(5, "%"), "me")
    assert checked.duration == _MINUTE
    assert check_write(writable_point(_POINT), 9, 5, "me", "nonsense").duration is None


# ---- durations ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        (5, 5), (0.25, 0.25), (Number(5, "sec"), 5), (Number(5, "s"), 5), (Number(250, "ms"), 0.25),
        (Number(2, "min"), 120), (Number(2, "h"), 7200), (Number(1, "hr"), 3600),
        (Number(1, "day"), 86400), (dt.timedelta(hours=1), 3600),
        ({"_kind": "number", "val": 2, "unit": "min"}, 120),
    ],
)  # fmt: skip
def test_durations(value: Any, seconds: float) -> None:
    """W7, P2."""
    assert duration_of(value) == dt.timedelta(seconds=seconds)


@pytest.mark.parametrize(
    "value",
    [
        None, "5min", True, 0, -1, math.nan, math.inf, 1e300, Number(5), Number(5, "kW"), object(),
        Number(math.inf), dt.timedelta(), dt.timedelta(-1), {"_kind": "ref"}, {"x": 1}, 1e-9,
    ],
)  # fmt: skip
def test_what_is_no_duration(value: Any) -> None:
    with pytest.raises(ValueError, match="duration"):
        duration_of(value)
