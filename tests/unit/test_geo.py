"""Places, distances and areas: what is none, and what a circle for an index has to hold."""

from __future__ import annotations

import math
import pickle
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from hsorm import Coord, Number, near, within
from hsorm.errors import GeoError
from hsorm.ops.geo import Near, compile_area, distance, enclosing

OSLO = Coord(59.91, 10.75)


@pytest.mark.parametrize(
    ("given", "metres"),
    [
        ("5km", 5000),
        (" 5 km ", 5000),
        ("1e3m", 1000),
        ("0.5mile", 804.672),
        (Number(10, "ft"), 3.048),
        (Number(2, "kilometer"), 2000),
        (Number(7), 7),
        (7.5, 7.5),
        ("12", 12),
        (0, 0),
    ],
)
def test_distances(given: Any, metres: float) -> None:
    assert near(OSLO, given).metres == pytest.approx(metres)


@pytest.mark.parametrize(
    "given",
    ["", "km", "5 parsec", "-5km", "5km or so", -1, math.nan, math.inf, True, None,
     Number(5, "kW"), Number(math.nan), OSLO, "٥km", pytest.param(10**400, id="401 digits")],
)  # fmt: skip
def test_what_is_no_distance(given: Any) -> None:
    with pytest.raises(GeoError, match="given: expected"):
        near(OSLO, given)


@pytest.mark.parametrize(
    ("corners", "why"),
    [
        ([], "0 corners"),
        ([OSLO], "1 corners"),
        ([OSLO, Coord(1, 2)] * 501, "3 to 1000"),
        ([OSLO, (59, 10)], "Coord"),
        ([Coord(10, 0), Coord(0, 10)], "south-western corner first"),
        ([Coord(80, lng) for lng in (-120, 0, 120)], "round a pole"),
        ([Coord(0, 0), Coord(0, 180), Coord(10, 90)], "less than 180 degrees"),
    ],
)
def test_what_is_no_area(corners: list[Any], why: str) -> None:
    with pytest.raises(GeoError, match=why):
        within(corners)


@pytest.mark.parametrize("tag", ["", "no name", 5, "curVal", "Geo'); --"])
def test_what_is_no_tag_of_a_place(tag: Any) -> None:
    """A live tag is kept elsewhere, and no name goes into SQL that is none."""
    with pytest.raises(GeoError):
        near(OSLO, "5km", tag=tag)


def test_an_error_survives_pickling() -> None:
    error = GeoError("5 parsec", "a distance")

    copy = pickle.loads(pickle.dumps(error))  # noqa: S301 - our own

    assert (copy.given, str(copy)) == ("5 parsec", str(error))


def test_distances_go_over_the_dateline_and_the_poles() -> None:
    """To the millimetre, by what is known of the sphere: a degree of a great circle."""
    degree = distance(Coord(0, 0), Coord(1, 0))

    assert distance(Coord(0, 179.5), Coord(0, -179.5)) == pytest.approx(degree, abs=1e-3)
    assert distance(Coord(89.5, 0), Coord(89.5, 180)) == pytest.approx(degree, abs=1e-3)
    assert distance(Coord(90, 17), Coord(90, -100)) == pytest.approx(0, abs=1e-3)
    assert distance(Coord(0, 0), Coord(0, 180)) == pytest.approx(180 * degree, abs=1e-3)


_coords = st.builds(Coord, st.floats(-90, 90), st.floats(-180, 180))


@pytest.mark.parametrize("tiny", [5e-324, 5e-89, 1e-15])
def test_no_place_is_between_two_edges(tiny: float) -> None:
    """However near to a corner: all that is south or north of it would be inside."""
    rings = (
        [Coord(0, 0), Coord(0, 0), Coord(0, tiny)],
        [Coord(0, 0), Coord(0, tiny), Coord(0, -1)],
        [Coord(0, -1), Coord(0, 0), Coord(1, 1)],
        [Coord(0, 179), Coord(0, 180), Coord(1, -179)],
        [Coord(0, 179), Coord(0, -180), Coord(1, -179)],
    )
    for inside in (compile_area(within(ring)) for ring in rings):
        for lng in (-tiny, 0, tiny, 180, -180, math.nextafter(180, 0), math.nextafter(-180, 0)):
            assert not inside({"geoCoord": Coord(-1, lng)})
            assert not inside({"geoCoord": Coord(2, lng)})


@given(st.lists(_coords, min_size=2, max_size=6), _coords)
def test_the_circle_around_an_area_holds_all_of_it(corners: list[Coord], place: Coord) -> None:
    """By more than PostGIS rounds: what is in the area is in the circle."""
    try:
        area = within(corners)
    except GeoError:
        assume(False)
    circle = enclosing(area)
    if circle is None:
        return

    wider = Near(circle.lat, circle.lng, circle.metres * 1.0001 + 0.1, circle.tag)
    places = [place, *corners]
    for inside in (one for one in places if compile_area(area)({"geoCoord": one})):
        assert compile_area(wider)({"geoCoord": inside})
