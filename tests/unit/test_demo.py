"""The demo building: plausible, consistent, the same each time."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from hsorm.codecs import hayson
from hsorm.demo import building, history
from hsorm.his import check_items, writing_point
from hsorm.kinds import MARKER, NA, Entity, Number, Ref, is_ref_id, is_tag_name

END = dt.datetime(2024, 7, 19, 20, 7, tzinfo=dt.UTC)  # a Friday, 16:07 at the site
ENTITIES = building()
BY_ID: dict[str, Entity] = {entity["id"].val: entity for entity in ENTITIES}


@pytest.fixture(scope="module")
def logged() -> dict[str, list[dict[str, Any]]]:
    return dict(history(ENTITIES, end=END))


def numbers(items: list[dict[str, Any]]) -> Iterator[tuple[dt.datetime, float]]:
    """Return local times and values, without the NAs."""
    for item in items:
        if item["val"] is not NA:
            yield item["ts"].astimezone(ZoneInfo("America/New_York")), item["val"].val


def mean(values: Iterator[float]) -> float:
    found = list(values)
    return sum(found) / len(found)


def test_it_is_a_whole_building() -> None:
    marked = {
        name: sum(name in entity for entity in ENTITIES)
        for name in ("site", "floor", "ahu", "vav", "chiller", "boiler", "meter", "weatherStation",
                     "point", "his")
    }  # fmt: skip

    assert 450 <= len(ENTITIES) <= 550
    assert len(BY_ID) == len(ENTITIES)
    assert marked["site"] == marked["weatherStation"] == 1
    assert (marked["floor"], marked["ahu"], marked["vav"]) == (4, 2, 24)
    assert (marked["chiller"], marked["boiler"], marked["meter"]) == (2, 2, 6)
    assert marked["point"] > 400
    assert 100 <= marked["his"] <= 140


def test_ids_and_names_are_valid() -> None:
    """K20, K21, K25."""
    for entity in ENTITIES:
        id = entity["id"].val
        assert is_ref_id(id)
        assert len(id) <= 60
        assert ":" not in id
        assert all(is_tag_name(name) for name in entity)
        assert entity["dis"].strip() == entity["dis"] != ""
    assert len({entity["dis"] for entity in ENTITIES}) == len(ENTITIES)


def test_every_ref_leads_to_an_entity_that_fits() -> None:
    fits = {
        "siteRef": "site", "equipRef": "equip", "spaceRef": "space", "ahuRef": "ahu",
        "airRef": "ahu", "chilledWaterRef": "plant", "hotWaterRef": "plant", "elecRef": "meter",
        "naturalGasRef": "meter", "submeterOf": "meter", "weatherStationRef": "weatherStation",
    }  # fmt: skip
    seen = set()
    for entity in ENTITIES:
        for name, val in entity.items():
            if isinstance(val, Ref) and name != "id":
                assert fits[name] in BY_ID[val.val], (entity["id"], name)
                seen.add(name)

    assert seen == set(fits)


def test_points_say_what_they_measure() -> None:
    for entity in ENTITIES:
        if "point" not in entity:
            continue
        function = [name for name in ("sensor", "cmd", "sp") if name in entity]
        assert len(function) == 1, entity["id"]
        assert entity["kind"] in ("Number", "Bool", "Str")
        assert ("unit" in entity) == (entity["kind"] == "Number")
        assert entity["tz"] == "New_York"
        assert entity["cur"] is MARKER
        assert ("equipRef" in entity) != ("weatherStationRef" in entity)
        assert ("writable" in entity) == ("sensor" not in entity)


def test_every_entity_survives_its_stored_form() -> None:
    for entity in ENTITIES:
        assert hayson.decode_entity(hayson.encode_entity(entity)) == entity


def test_one_seed_gives_one_building() -> None:
    assert building() == building(1) == ENTITIES
    assert building(2) != ENTITIES
    assert [entity["id"] for entity in building(2)] == list(map(Ref, BY_ID))


def test_history_is_the_same_for_the_same_seed() -> None:
    again = dict(history(building(), end=END, days=3))

    assert again == dict(history(ENTITIES, end=END, days=3))
    assert again != dict(history(ENTITIES, end=END, days=3, seed=2))


def test_every_history_passes_the_checks(logged: dict[str, list[dict[str, Any]]]) -> None:
    """H21–H28: nothing of it would be refused, sorted anew, or dropped as a duplicate."""
    assert set(logged) == {id for id, entity in BY_ID.items() if "his" in entity}
    for id, items in logged.items():
        stored = check_items(writing_point(BY_ID[id]), items)
        assert stored == [(item["ts"], item["val"]) for item in items]


def test_history_ends_at_the_last_quarter_of_an_hour(
    logged: dict[str, list[dict[str, Any]]],
) -> None:
    quarter = dt.timedelta(minutes=15)
    last = END.replace(minute=0)
    first = last - dt.timedelta(days=30) + quarter
    stamps = {item["ts"] for items in logged.values() for item in items}

    assert stamps == {first + step * quarter for step in range(30 * 96)}


def test_history_has_a_few_gaps_and_a_few_nas(logged: dict[str, list[dict[str, Any]]]) -> None:
    whole = len(logged) * 30 * 96
    kept = sum(map(len, logged.values()))
    missing = sum(item["val"] is NA for items in logged.values() for item in items)

    assert 0.95 * whole < kept < whole
    assert 20 < missing < 0.01 * whole


def test_shapes_follow_schedule_and_weather(logged: dict[str, list[dict[str, Any]]]) -> None:
    def when(id: str, *, work: bool) -> Iterator[float]:
        for ts, val in numbers(logged[id]):
            if (ts.weekday() < 5 and 10 <= ts.hour < 12) == work:
                yield val

    for id in ("demo.elec-main.power", "demo.vav-1-1.discharge-flow", "demo.ahu-1.fan-speed"):
        assert mean(when(id, work=True)) > 2 * mean(when(id, work=False))
    by_hour = {at: mean(v for ts, v in numbers(logged["demo.weather.temp"]) if ts.hour == at)
               for at in (4, 15)}  # fmt: skip
    assert by_hour[15] > by_hour[4] + 8
    assert all(64 < val < 80 for _, val in numbers(logged["demo.vav-2-3.zone-temp"]))
    assert {item["val"] for item in logged["demo.ahu-1.fan-status"]} <= {True, False, NA}
    modes = set(BY_ID["demo.ahu-1.mode"]["enum"].split(","))
    assert len({item["val"] for item in logged["demo.ahu-1.mode"]} & modes) >= 3


def test_an_energy_meter_counts_what_its_power_says(
    logged: dict[str, list[dict[str, Any]]],
) -> None:
    energy = [val for _, val in numbers(logged["demo.elec-main.energy"])]
    power = mean(val for _, val in numbers(logged["demo.elec-main.power"]))

    assert energy == sorted(energy)
    assert energy[-1] - energy[0] == pytest.approx(power * 24 * 30, rel=0.03)


def test_winter_heats_and_summer_cools() -> None:
    winter = dict(history(ENTITIES, end=END.replace(month=1), days=10))
    summer = dict(history(ENTITIES, end=END, days=10))

    def used(logged: dict[str, list[dict[str, Any]]], id: str) -> float:
        return mean(val for _, val in numbers(logged[id]))

    assert (
        used(winter, "demo.boiler-1.firing-rate") > 20 > used(summer, "demo.boiler-1.firing-rate")
    )
    assert used(summer, "demo.chiller-1.power") > 5 > used(winter, "demo.chiller-1.power")


def test_points_of_another_building_log_too() -> None:
    """A point that no model knows has a history of its kind."""
    base = {"point": MARKER, "his": MARKER, "tz": "Kathmandu"}
    points: list[Entity] = [
        {"id": Ref("n"), **base, "kind": "Number"},
        {"id": Ref("b"), **base, "kind": "Bool"},
        {"id": Ref("s"), **base, "kind": "Str"},
        {"id": Ref("c"), **base, "kind": "Coord"},
        {"id": Ref("x"), "point": MARKER, "kind": "Number", "tz": "Kathmandu"},
    ]

    logged = dict(history(points, end=END, days=2))

    assert list(logged) == ["n", "b", "s"]
    for point in points[:3]:
        assert len(check_items(writing_point(point), logged[point["id"].val])) > 100
    assert all(val.unit is None for _, val in check_items(writing_point(points[0]), logged["n"])
               if isinstance(val, Number))  # fmt: skip


def test_no_days_is_no_history() -> None:
    assert all(items == [] for _, items in history(ENTITIES, end=END, days=0))


def test_a_naive_end_is_refused() -> None:
    with pytest.raises(ValueError, match="end is naive"):
        list(history(ENTITIES, end=END.replace(tzinfo=None)))
