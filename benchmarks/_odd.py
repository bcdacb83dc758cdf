"""Entities of a kind that a careless statement answers wrongly, to check that ours are exact."""

from __future__ import annotations

import datetime as dt
import json
from typing import Any

import asyncpg

from benchmarks._data import Data
from benchmarks._shapes import Shape
from hsorm.filter import compile_predicate, parse
from hsorm.kinds import MARKER, NA, Entity, Number, Ref
from hsorm.storage.timescale import TimescaleAdapter

__all__ = ["check_exactness"]


def _odd(data: Data) -> list[Entity]:
    site, pilot, ahu = Ref(data.site), Ref("pilot"), Ref("ahu")
    words = ("point", "equip", "ahu", "temp", "sensor", "discharge", "air", "rare")
    everything = dict.fromkeys(words, MARKER)
    refs: list[Any] = [
        site,
        Ref(data.site, "another text"),
        pilot,
        ahu,
        Ref("gone"),
        [site, pilot],
        [Ref("gone"), ahu, "text"],
        ["text"],
        [],
        [pilot, pilot],
        {"pilot": MARKER, "ahu": MARKER},
        {"siteRef": pilot},
        {"siteRef": [Ref("gone"), pilot]},
        {"siteRef": {"pilot": False}},
        {"x": MARKER},
        dt.datetime(2024, 1, 1, tzinfo=dt.UTC),
        data.site,
        "pilot",
        NA,
        5,
        False,
        MARKER,
    ]
    values: list[Any] = [data.dis, Number(1e6), 1_000_000, Number(1e6, "°F"), float("nan"), "x"]
    values += [
        [data.dis],
        {"val": 1e6, "unit": "ft²"},
        MARKER,
        Number(10.5, data.area.lstrip("0123456789.")),
    ]
    values += [Number(1e7, data.area.lstrip("0123456789."))]
    entities: list[dict[str, Any]] = [
        {"id": site, "site": MARKER},
        {"id": pilot, "site": MARKER, "pilot": MARKER, "siteRef": pilot},
        {"id": ahu, "equip": MARKER, "ahu": MARKER, "siteRef": pilot},
        {"id": Ref("trashed"), "trash": MARKER, **everything, "siteRef": pilot, "equipRef": ahu},
        {"id": Ref("nothing")},
    ]
    for name in ("siteRef", "equipRef"):
        entities += [
            {"id": Ref(f"{name}-{i}"), **everything, name: ref} for i, ref in enumerate(refs)
        ]
    for name in ("area", "dis"):
        entities += [{"id": Ref(f"{name}-{i}"), name: val} for i, val in enumerate(values)]
    return entities


async def check_exactness(
    storage: TimescaleAdapter, pool: asyncpg.Pool[Any], data: Data, shapes: list[Shape]
) -> list[str]:
    """Compare hsorm, the evaluator and the exact SQL on odd entities.

    Returns:
        The shapes whose loose SQL answers otherwise.

    Raises:
        AssertionError: An exact side answers otherwise than the reference.
    """
    entities = _odd(data)
    await storage.load_entities(entities)
    # JSON null, which nothing of ours writes, is no value (F32).
    names = ("point", "ahu", "site", "siteRef", "equipRef", "trash", "area")
    for name in names:
        tags = {"equip": {"_kind": "marker"}, "temp": {"_kind": "marker"}, name: None}
        await pool.execute(
            "INSERT INTO entities (id, tags) VALUES ($1, $2::jsonb)",
            f"null-{name}",
            json.dumps(tags),
        )
        entities.append({"id": Ref(f"null-{name}"), "equip": MARKER, "temp": MARKER})
    differing = []
    for shape in shapes:
        expected = _by_reference(shape, entities)
        ours = [entity["id"].val for entity in await storage.read(shape.filter)]
        assert ours == expected, (shape.filter, ours, expected)
        for sql in shape.exact:
            found = await _ids(pool, sql)
            assert found == expected, (sql.text, set(found) ^ set(expected))
        if await _ids(pool, shape.loose) != expected:
            differing.append(shape.name)
    return differing


def _by_reference(shape: Shape, entities: list[Entity]) -> list[str]:
    by_id = {entity["id"].val: entity for entity in entities}
    predicate = compile_predicate(parse(shape.filter))
    return sorted(
        id for id, entity in by_id.items() if "trash" not in entity and predicate(entity, by_id.get)
    )


async def _ids(pool: asyncpg.Pool[Any], sql: Any) -> list[str]:
    try:
        return [row[0] for row in sorted(await pool.fetch(sql.text, *sql.args))]
    except asyncpg.PostgresError as exc:
        return [type(exc).__name__]
