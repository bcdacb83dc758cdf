"""`--near`, `--within` and `--geo-tag`: where entities are to be."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Final, TypeAlias

import typer

from hsorm.cli._session import UsageError
from hsorm.kinds import Coord

if TYPE_CHECKING:
    from hsorm.ops.geo import Area

__all__ = ["GeoTagOption", "NearOption", "WithinOption", "area_of"]

NearOption: TypeAlias = Annotated[
    str | None,
    typer.Option(
        "--near",
        metavar="LAT,LNG,DISTANCE",
        help="Only those that are no farther from a place: 59.91,10.75,5km.",
        show_default=False,
    ),
]
WithinOption: TypeAlias = Annotated[
    str | None,
    typer.Option(
        "--within",
        metavar="'LAT,LNG LAT,LNG…'",
        help="Only those in a box, by its south-western and north-eastern corner, or in a polygon, "
        "by three corners or more: '59,5 61,11'.",
        show_default=False,
    ),
]
GeoTagOption: TypeAlias = Annotated[
    str | None,
    typer.Option(
        "--geo-tag",
        metavar="TAG",
        help="The tag that says where an entity is, instead of geoCoord.",
        show_default=False,
    ),
]

_DEGREES: Final = r"([+-]?\d+(?:\.\d*)?)"
_PLACE: Final = re.compile(f"{_DEGREES},{_DEGREES}", re.ASCII)
_NEAR: Final = re.compile(rf"\s*{_DEGREES},\s*{_DEGREES},(.*)", re.ASCII)


def area_of(near: str | None, within: str | None, tag: str | None) -> Area | None:
    """Return the area that options ask for, None where they ask for none.

    Raises:
        UsageError: There are two of them, or one is no area.
    """
    from hsorm.ops import geo

    named = {} if tag is None else {"tag": tag}
    option = "--near" if near is not None else "--within"
    try:
        match near, within:
            case None, None if tag is None:
                return None
            case None, None:
                raise UsageError("--geo-tag is of --near or --within: give one of them, too")
            case str(text), None:
                lat, lng, distance = _parts(_NEAR, text, "LAT,LNG,DISTANCE, as in 59.91,10.75,5km")
                return geo.near(Coord(float(lat), float(lng)), distance, **named)
            case None, str(text):
                return geo.within([_corner(part) for part in text.split()], **named)
            case _:
                raise UsageError("--near and --within: give one of them")
    except ValueError as exc:  # a GeoError, or what a Coord says of what is not on earth
        raise UsageError(f"{option}: {exc}") from None


def _corner(text: str) -> Coord:
    lat, lng = _parts(_PLACE, text, "corners as LAT,LNG with blanks between, as in '59,5 61,11'")
    return Coord(float(lat), float(lng))


def _parts(form: re.Pattern[str], text: str, right: str) -> Sequence[str]:
    found = form.fullmatch(text)
    if found is None:
        raise ValueError(f"{text!r}: write {right}")
    return found.groups()
