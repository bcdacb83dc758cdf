"""Where entities are: near a place, or within a box or a polygon, by the coord in a tag of theirs.

The earth is a sphere here, of the mean radius that PostGIS takes for its own (WGS 84), so that each
backend works out the same: a distance is within some 0.5 % of that on the ellipsoid. The dateline
and the poles are places like others for a distance. Boxes and polygons are drawn on the plane of
longitude and latitude, as GeoJSON has it (RFC 7946, 3.1.1): an edge along a parallel stays on it.

The arithmetic is that of plain doubles in a fixed order of steps, which `hsorm.sql.geo` repeats.
"""

from __future__ import annotations

import math
import re
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

from hsorm.errors import GeoError
from hsorm.filter.ast import And, Has, Node, Path
from hsorm.kinds import Coord, Number, is_tag_name, native
from hsorm.ops.live import LIVE_TAGS

__all__ = [
    "HALF_RADIANS",
    "MAX_CORNERS",
    "RADIANS",
    "RADIUS",
    "Area",
    "Box",
    "Distance",
    "Edge",
    "Near",
    "Polygon",
    "compile_area",
    "distance",
    "eastward",
    "edges_of",
    "enclosing",
    "located",
    "near",
    "within",
]

RADIUS: Final = 6_371_008.771415059
"""Metres from the middle of the earth to its surface: (2a + b) / 3 of WGS 84."""

MAX_CORNERS: Final = 1_000
"""So many corners a polygon has at the most."""

RADIANS: Final = math.pi / 180
HALF_RADIANS: Final = math.pi / 360

Distance: TypeAlias = Number | str | float
"""`"5km"`, `Number(5, "km")`, or plain metres; the units are m, km, ft, yd and mile."""

_METRES: Final = {
    **dict.fromkeys(("m", "meter"), 1.0),
    **dict.fromkeys(("km", "kilometer"), 1_000.0),
    **dict.fromkeys(("ft", "foot"), 0.3048),
    **dict.fromkeys(("yd", "yard"), 0.9144),
    "mile": 1_609.344,
}


_Place: TypeAlias = tuple[float, float]


@dataclass(frozen=True, slots=True)
class Near:
    """No farther than `metres` from a place, that far included; `near` makes it.

    Attributes:
        lat: The place.
        lng: The place. As plain numbers, for two Coords are equal that are not quite one place.
        metres: How far at the most.
        tag: The tag that says where an entity is.
    """

    lat: float
    lng: float
    metres: float
    tag: str

    @property
    def most(self) -> float:
        """The haversine of the greatest angle there may be between two places."""
        half = self.metres / RADIUS / 2
        return math.pow(math.sin(half), 2) if half < math.pi / 2 else 2.0


@dataclass(frozen=True, slots=True)
class Box:
    """Between two parallels and two meridians, these included; `within` makes it.

    Attributes:
        south: The southern parallel.
        west: The western meridian. Where it is the greater one, the dateline goes through.
        north: The northern parallel.
        east: The eastern meridian.
        tag: The tag that says where an entity is.
    """

    south: float
    west: float
    north: float
    east: float
    tag: str

    @property
    def width(self) -> float:
        """How many degrees of longitude it has."""
        # Not `eastward`: from -180 to 180 is once around.
        width = self.east - self.west
        return width if width >= 0 else width + 360


@dataclass(frozen=True, slots=True)
class Polygon:
    """Inside of a ring of places; `within` makes it.

    Attributes:
        corners: The places as (lat, lng), in either direction; the last one leads to the first.
        tag: The tag that says where an entity is.
    """

    corners: tuple[_Place, ...]
    tag: str


Area: TypeAlias = Near | Box | Polygon
"""What `geo=` of a read takes."""


def near(center: Coord, distance: Distance, *, tag: str = "geoCoord") -> Near:
    """Return the places that are no farther from one than a distance.

    Args:
        center: The one place.
        distance: `"5km"`, `Number(5, "km")`, or metres.
        tag: The tag that says where an entity is.

    Raises:
        GeoError: One of these is none, or the distance is negative or none at all.
    """
    if not isinstance(center, Coord):
        raise GeoError(center, "near a Coord, such as Coord(59.91, 10.75)")
    return Near(center.lat, center.lng, _metres(distance), _tag(tag))


def within(corners: Iterable[Coord], *, tag: str = "geoCoord") -> Box | Polygon:
    """Return the places between two corners, or inside of a polygon of three or more.

    Args:
        corners: South-west and north-east of a box, or the corners of a polygon in their order, of
            which the first one may come again as the last. A box whose western corner has the
            greater longitude, and a polygon that is nearer so, goes across the dateline.
        tag: The tag that says where an entity is.

    Note:
        A place that is exactly on the edge of a polygon is in or out by rounding; one on that of a
        box is in. At a pole it is the longitude as stated that counts.

    Raises:
        GeoError: These are no Coords or not enough of them, a box is upside down, or a polygon goes
            round a pole or half around the earth with one edge.
    """
    places = [_place(corner) for corner in corners]
    if len(places) == 2:
        (south, west), (north, east) = places
        if south > north:
            raise GeoError(south, "a box has its south-western corner first")
        return Box(south, west, north, east, _tag(tag))
    if len(places) > 3 and places[0] == places[-1]:
        places.pop()
    if not 3 <= len(places) <= MAX_CORNERS:
        raise GeoError(f"{len(places)} corners", f"2 for a box, 3 to {MAX_CORNERS} for a polygon")
    polygon = Polygon(tuple(places), _tag(tag))
    _check_ring(polygon)
    return polygon


def _place(corner: Coord) -> _Place:
    if not isinstance(corner, Coord):
        raise GeoError(corner, "within Coords, such as Coord(59.91, 10.75)")
    return corner.lat, corner.lng


def _tag(name: str) -> str:
    if not (isinstance(name, str) and is_tag_name(name)):
        raise GeoError(name, "the name of a tag, such as geoCoord")
    if name in LIVE_TAGS:  # which are kept apart, where no condition on entities looks
        raise GeoError(name, "a tag that is no live one")
    return name


_TEXT: Final = re.compile(r"\s*(\d+(?:\.\d+)?(?:[eE][+-]?\d+)?)\s*([a-z]*)\s*", re.ASCII)


def _metres(given: Distance) -> float:
    units = ", ".join(_METRES)
    number = given if isinstance(given, Number) else native(given)
    if isinstance(given, str) and (found := _TEXT.fullmatch(given)) is not None:
        number = Number(float(found[1]), found[2])
    unit = (number.unit or "m") if isinstance(number, Number) else ""
    if not isinstance(number, Number) or unit not in _METRES:
        raise GeoError(given, f'a distance such as "5km", in one of {units}')
    if not 0 <= number.val <= sys.float_info.max:
        raise GeoError(given, "a distance that is not negative and has an end")
    return number.val * _METRES[unit]


# ---- the predicates -----------------------------------------------------------------------------

Inside = Callable[[Mapping[str, Any]], bool]
"""Tells whether an entity is in an area."""


def compile_area(area: Area) -> Inside:
    """Return what tells whether an entity is in an area; one without a Coord in its tag is not."""
    tag, holds = area.tag, _holds(area)

    def inside(entity: Mapping[str, Any]) -> bool:
        coord = entity.get(tag)
        return type(coord) is Coord and holds(coord.lat, coord.lng)

    return inside


def located(node: Node, area: Area) -> Node:
    """Return a filter that also asks for the tag: few have a place, and indexes know which do."""
    return And((node, Has(Path((area.tag,)))))


def _holds(area: Area) -> Callable[[float, float], bool]:
    match area:
        case Near(lat, lng):
            most = area.most
            return lambda there, along: _haversine(lat, lng, there, along) <= most
        case Box(south, west, north):
            width = area.width
            return lambda lat, lng: south <= lat <= north and eastward(west, lng) <= width
        case Polygon():
            edges = edges_of(area)
            return lambda lat, lng: _crossed(edges, lat, lng) % 2 == 1


def distance(one: Coord, other: Coord) -> float:
    """Return how many metres are between two places, along the surface."""
    return _distance(one.lat, one.lng, other.lat, other.lng)


def _distance(lat: float, lng: float, there: float, along: float) -> float:
    return 2 * RADIUS * math.asin(math.sqrt(min(_haversine(lat, lng, there, along), 1.0)))


def _haversine(lat: float, lng: float, there: float, along: float) -> float:
    # Of half a difference, whose sine squared is the same a turn farther: the dateline is nothing
    # special, and at a pole the cosine leaves nothing of the longitudes.
    north = math.pow(math.sin((there - lat) * HALF_RADIANS), 2)
    east = math.pow(math.sin((along - lng) * HALF_RADIANS), 2)
    return north + math.cos(there * RADIANS) * math.cos(lat * RADIANS) * east


def eastward(west: float, lng: float) -> float:
    """Return how many degrees it is from one meridian eastward to another, from 0 to below 360."""
    degrees = lng - west
    if degrees < 0:
        return degrees + 360
    return degrees - 360 if degrees >= 360 else degrees


# ---- polygons -----------------------------------------------------------------------------------

Edge: TypeAlias = tuple[float, float, float, float, float]
"""The meridians of an edge's western and eastern end, the latitude of the western one, and how far
it goes eastward and north.

Which meridians it meets is told by the first two alone, which nothing has rounded: a place between
two edges would be south of one of them only.
"""


def edges_of(polygon: Polygon) -> list[Edge]:
    """Return the edges that a meridian can cross, each from its western end."""
    edges = []
    for one, other in _pairs(polygon):
        turn = _turn(one, other)
        if turn == 0:  # along a meridian
            continue
        (base, west), (end, east) = (one, other) if turn > 0 else (other, one)
        edges.append((_meridian(west), _meridian(east), base, abs(turn), end - base))
    return edges


def _meridian(lng: float) -> float:
    """Return the one name of a meridian that has two."""
    return -180.0 if lng == 180 else lng


def _pairs(polygon: Polygon) -> list[tuple[_Place, _Place]]:
    corners = polygon.corners
    return list(zip(corners, (*corners[1:], corners[0]), strict=True))


def _turn(one: _Place, other: _Place) -> float:
    """Return how many degrees an edge goes eastward, by the shorter way."""
    # Not by `eastward`, which rounds a very short way back to a whole turn.
    degrees = other[1] - one[1]
    if degrees > 180:
        return degrees - 360
    return degrees + 360 if degrees <= -180 else degrees


def _check_ring(polygon: Polygon) -> None:
    turns = [_turn(one, other) for one, other in _pairs(polygon)]
    if 180 in turns:
        where = polygon.corners[turns.index(180)]
        raise GeoError(where, "an edge of less than 180 degrees: either way would be as short")
    if abs(sum(turns)) > 180:
        raise GeoError(
            polygon.corners[0],
            "a polygon that does not go round a pole: take a box up to it, or what is near it",
        )


def _crossed(edges: list[Edge], lat: float, lng: float) -> int:
    """Count the edges that are met on the way north: an odd number from inside of the ring."""
    count, lng = 0, _meridian(lng)
    for west, east, base, width, rise in edges:
        # With its western end and without its eastern one: a corner belongs to one edge.
        met = west <= lng < east if west <= east else lng >= west or lng < east
        if met and base + rise * (eastward(west, lng) / width) > lat:
            count += 1
    return count


# ---- for an index -------------------------------------------------------------------------------


def enclosing(area: Area) -> Near | None:
    """Return a circle that everything in an area is in, None where that would be half the earth."""
    match area:
        case Near():
            found = area
        case Box(south, west, north, _, tag):
            found = _around(south, north, west, area.width, tag)
        case Polygon(corners, tag):
            lats = [lat for lat, _ in corners]
            found = _around(min(lats), max(lats), *_extent(area), tag)
    return found if found.metres < RADIUS * math.pi / 2 else None


def _extent(polygon: Polygon) -> tuple[float, float]:
    """Return the western meridian of a polygon, and how many degrees it goes eastward from there.

    The meridian may be less than -180.
    """
    at = polygon.corners[0][1]
    along = [at]
    for one, other in _pairs(polygon):
        at += _turn(one, other)
        along.append(at)
    return min(along), max(along) - min(along)


def _around(south: float, north: float, west: float, width: float, tag: str) -> Near:
    if width >= 180:
        return Near(0, 0, math.inf, tag)
    # Of what lies between two meridians less than half a turn apart, the corners are farthest.
    lat, lng = (south + north) / 2, west + width / 2
    farthest = max(_distance(lat, lng, there, west) for there in (south, north))
    return Near(lat, (lng + 540) % 360 - 180, farthest, tag)
