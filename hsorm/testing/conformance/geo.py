"""Places: what `hsorm.ops.geo` says, on every backend."""

from __future__ import annotations

from random import Random
from typing import Final

import pytest

from hsorm.errors import FilterSyntaxError
from hsorm.kinds import MARKER, REMOVE, Coord, Entity, Number, Ref
from hsorm.ops.geo import Area, compile_area, distance, near, within
from hsorm.storage.protocol import StorageAdapter
from hsorm.testing.conformance.examples import ids

__all__ = ["GeoTests", "random_areas"]

_CITIES: Final = {
    "oslo": Coord(59.9139, 10.7522),
    "bergen": Coord(60.3913, 5.3221),
    "suva": Coord(-18.1248, 178.4501),  # a little west of the dateline
    "apia": Coord(-13.8507, -171.7514),  # and east of it
    "north": Coord(90, 0),
    "alert": Coord(82.5018, -62.3481),
    "south": Coord(-90, 135),
    "quito": Coord(-0.1807, -78.4678),
    "null": Coord(0, 0),
}

_OSLO: Final = _CITIES["oslo"]
_SUVA: Final = _CITIES["suva"]

_AREAS: Final[dict[str, tuple[Area, list[str]]]] = {
    "near": (near(_OSLO, "300km"), ["oslo"]),
    "near, farther": (near(_OSLO, "310km"), ["bergen", "oslo"]),
    "in miles": (near(_OSLO, Number(193, "mile")), ["bergen", "oslo"]),
    "in metres": (near(_OSLO, 300_000), ["oslo"]),
    "across the dateline": (near(_SUVA, "1200km"), ["apia", "suva"]),
    "at the pole, where longitudes say nothing": (near(Coord(90, 77), "900km"), ["alert", "north"]),
    "at the other pole": (near(Coord(-90, 0), "1m"), ["south"]),
    "the very place": (near(_OSLO, 0), ["oslo"]),
    "everywhere": (near(_OSLO, "21000km"), sorted(_CITIES)),
    "a box": (within([Coord(59, 5), Coord(61, 11)]), ["bergen", "oslo"]),
    "a box up to its edge": (within([Coord(59, 5), _OSLO]), ["oslo"]),
    "a box over the dateline": (within([Coord(-20, 170), Coord(-10, -170)]), ["apia", "suva"]),
    "all but that": (
        within([Coord(-20, -170), Coord(0, 170)]), ["null", "quito"]
    ),
    "a box up to the pole": (within([Coord(80, -180), Coord(90, 180)]), ["alert", "north"]),
    "a polygon": (within([Coord(59, 10), Coord(61, 10), Coord(60, 12)]), ["oslo"]),
    "the other way round": (within([Coord(60, 12), Coord(61, 10), Coord(59, 10)]), ["oslo"]),
    "a closed polygon": (
        within([Coord(59, 4), Coord(61, 4), Coord(61, 12), Coord(59, 12), Coord(59, 4)]),
        ["bergen", "oslo"],
    ),
    "a polygon over the dateline": (
        within([Coord(-20, 175), Coord(-20, -165), Coord(-10, -165), Coord(-10, 175)]),
        ["apia", "suva"],
    ),
    "a polygon with a notch": (
        within([Coord(59, 4), Coord(61, 4), Coord(59.5, 5.5), Coord(61, 12), Coord(59, 12)]),
        ["oslo"],
    ),
}  # fmt: skip


def _world() -> list[Entity]:
    sites: list[Entity] = [
        {"id": Ref(name), "site": MARKER, "geoCoord": coord} for name, coord in _CITIES.items()
    ]
    odd = [None, "C(59.9,10.7)", [_OSLO], {"lat": Number(59.9), "lng": Number(10.7)}, MARKER]
    return sites + [
        {"id": Ref(f"odd-{i}"), "site": MARKER} | ({} if val is None else {"geoCoord": val})
        for i, val in enumerate(odd)
    ]


class GeoTests:
    """`geo=` of `read` and `read_count`."""

    async def test_areas(self, store: StorageAdapter) -> None:
        """Circles, boxes and polygons; what has no Coord in its tag is nowhere."""
        await store.load_entities(_world())

        found = {
            name: ids(await store.read("site", geo=area)) for name, (area, _) in _AREAS.items()
        }
        counted = {
            name: await store.read_count("site", geo=area) for name, (area, _) in _AREAS.items()
        }

        assert found == {name: sorted(expected) for name, (_, expected) in _AREAS.items()}
        assert counted == {name: len(expected) for name, (_, expected) in _AREAS.items()}

    async def test_every_place_as_the_predicate_has_it(self, store: StorageAdapter) -> None:
        """Any place on earth, its edges among them, against circles, boxes and polygons."""
        rng = Random(7)  # noqa: S311 - made-up data
        edges = [Coord(lat, lng) for lat in (-90, 0, 90) for lng in (-180, -90, 0, 179.5, 180)]
        places = [Coord(_lat(rng), _lng(rng)) for _ in range(300)] + edges
        entities: list[Entity] = [
            {"id": Ref(f"e{i:03}"), "geoCoord": place} for i, place in enumerate(places)
        ]
        await store.load_entities(entities)

        for area in random_areas(rng, places):
            inside = compile_area(area)
            expected = [entity["id"].val for entity in entities if inside(entity)]
            assert ids(await store.read("id", geo=area)) == expected, area

    async def test_a_distance_to_half_a_percent(self, store: StorageAdapter) -> None:
        """What is 0.5 % nearer is found, what is 0.5 % farther is not, by the ellipsoid, too.

        The distances in kilometres are geodesics on WGS 84.
        """
        known = {
            ("oslo", "bergen"): 306.165, ("suva", "apia"): 1150.185, ("null", "quito"): 8735.002,
            ("north", "alert"): 837.456, ("oslo", "quito"): 9979.843,
        }  # fmt: skip
        await store.load_entities(_world())

        for (one, other), km in known.items():
            center = _CITIES[one]
            found = [
                ids(await store.read(f"id == @{other}", geo=near(center, km * by * 1000)))
                for by in (0.995, 1.005)
            ]
            assert found == [[], [other]], (one, other, distance(center, _CITIES[other]))

    async def test_filter_search_area_order_and_limit(self, store: StorageAdapter) -> None:
        """R6, R8, OC 25: the limit counts what all of them have left, in order."""
        await store.load_entities(
            {
                "id": Ref(f"e{i}"),
                ("even", "odd")[i % 2]: MARKER,
                "dis": f"Site {9 - i}",
                "geoCoord": Coord(50 + i, 10),
            }
            for i in range(8)
        )
        area = within([Coord(51.5, 9), Coord(56.5, 11)])

        assert ids(await store.read("even", geo=area)) == ["e2", "e4", "e6"]
        assert ids(await store.read("even", 2, geo=area)) == ["e2", "e4"]
        assert ids(await store.read("even or odd", 2, sort="dis", geo=area)) == ["e6", "e5"]
        assert ids(await store.read("odd", geo=area, search="site 6")) == ["e3"]
        assert await store.read("even", 0, geo=area) == []
        assert await store.read_count("odd or even", geo=area) == 5
        with pytest.raises(FilterSyntaxError):
            await store.read("a and", geo=area)

    async def test_another_tag(self, store: StorageAdapter) -> None:
        await store.load_entities(
            [{"id": Ref("a"), "entrance": _OSLO}, {"id": Ref("b"), "geoCoord": _OSLO}]
        )

        assert ids(await store.read("id", geo=near(_OSLO, "1km", tag="entrance"))) == ["a"]

    async def test_an_area_follows_the_changes(self, store: StorageAdapter) -> None:
        """R10: what moved, was deleted, or is in the trash."""
        area = near(_OSLO, "10km")
        await store.load_entities(
            {"id": Ref(id), "site": MARKER, "geoCoord": _OSLO} for id in ("a", "b", "c", "d")
        )
        await store.update({"id": Ref("a"), "geoCoord": _SUVA})
        await store.update({"id": Ref("b"), "trash": MARKER})
        await store.update({"id": Ref("c"), "geoCoord": REMOVE})
        found = [ids(await store.read("site", geo=area))]

        await store.delete("d")
        await store.update({"id": Ref("a"), "geoCoord": _OSLO})
        found.append(ids(await store.read("site", geo=area)))

        assert found == [["d"], ["a"]]


def _lat(rng: Random) -> float:
    return round(rng.uniform(-90, 90), rng.choice((0, 3, 9)))


def _lng(rng: Random) -> float:
    return round(rng.uniform(-180, 180), rng.choice((0, 3, 9)))


def random_areas(rng: Random, places: list[Coord]) -> list[Area]:
    """Make circles, boxes and polygons all over the earth, of all sizes."""
    circles = [near(rng.choice(places), rng.choice((0, 1e5, 2e6, 9e6, 15e6))) for _ in range(12)]
    boxes = [
        within([Coord(south, _lng(rng)), Coord(north, _lng(rng))])
        for south, north in (sorted((_lat(rng), _lat(rng))) for _ in range(12))
    ]
    rings = [_ring(rng) for _ in range(12)]
    return [*circles, *boxes, *rings]


def _ring(rng: Random) -> Area:
    """Make a polygon of any shape, often over the dateline; its edges may cross each other."""
    lat, lng = rng.uniform(-60, 60), rng.choice((rng.uniform(-180, 180), 180))
    corners = [
        Coord(lat + rng.uniform(-25, 25), (lng + rng.uniform(-40, 40) + 540) % 360 - 180)
        for _ in range(rng.randint(3, 9))
    ]
    return within(corners)
