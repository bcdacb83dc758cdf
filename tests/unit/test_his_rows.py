"""The stored form of a history value."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hsorm.his.rows import from_row, to_row
from hsorm.kinds import NA, REMOVE, Coord, Number, equal
from tests.unit.strategies import coords, kinds, texts


@pytest.mark.parametrize(
    ("val", "row"),
    [
        (Number(72.5, "°F"), (72.5, None)),
        (Number(-math.inf), (-math.inf, None)),
        (True, (1.0, "true")),
        (False, (0.0, "false")),
        ("auto", (None, '"auto"')),
        ("true", (None, '"true"')),
        (NA, (None, '{"_kind":"na"}')),
        (Coord(1.5, 2.0), (None, '{"_kind":"coord","lat":1.5,"lng":2.0}')),
    ],
)
def test_a_row_says_what_kind_it_was_written_as(
    val: Any, row: tuple[float | None, str | None]
) -> None:
    """H16."""
    assert to_row(val) == row
    assert equal(from_row(*row, "°F" if isinstance(val, Number) else None), val)


@given(
    st.one_of(
        st.builds(lambda val: Number(val, "kW"), st.floats()),
        st.booleans(), st.just(NA), texts(storable=True), coords(), kinds(storable=True)
        .filter(lambda val: not isinstance(val, Number)),
    )
)  # fmt: skip
def test_what_comes_out_is_what_went_in(val: Any) -> None:
    """H16: every kind that could be there, not only those that a write takes today."""
    number, obj = to_row(val)

    found = from_row(number, obj, "kW")

    assert equal(found, val)
    assert type(found) is type(val)


@given(st.one_of(st.booleans(), st.just(NA), texts(storable=True), coords()))
def test_the_text_may_be_written_anew_by_the_database(val: Any) -> None:
    """JSONB gives back other blanks and another order of members."""
    number, obj = to_row(val)
    assert obj is not None
    members = json.loads(obj)
    if isinstance(members, dict):
        members = dict(reversed(members.items()))

    assert equal(from_row(number, json.dumps(members, indent=1), None), val)


def test_numbers_take_the_unit_that_the_point_has_now() -> None:
    """H29."""
    number, obj = to_row(Number(5, "kW"))

    assert from_row(number, obj, "W") == Number(5, "W")
    assert from_row(number, obj, None) == Number(5)
    assert from_row(None, "5", "W") == Number(5, "W")


def test_nan_comes_back_from_a_database_that_keeps_it_as_null() -> None:
    """H28; SQLite stores NaN as NULL."""
    assert from_row(None, None, "kW") == Number(math.nan)
    assert from_row(*to_row(Number(math.nan)), "kW") == Number(math.nan)


def test_remove_has_no_row() -> None:
    """H15."""
    with pytest.raises(ValueError, match="REMOVE deletes"):
        to_row(REMOVE)
