"""The shapes of filters that are measured, and SQL for each of them as a person would write it."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from benchmarks._data import Data

__all__ = ["SPINE", "Shape", "Sql", "make_shapes"]


@dataclass(frozen=True, slots=True)
class Sql:
    """A statement that selects `id` and `tags` of entities, and what is bound in it."""

    text: str
    args: tuple[Any, ...] = ()


@dataclass(frozen=True, slots=True)
class Shape:
    """A filter, and the same question in SQL.

    Attributes:
        name: What is characteristic of it.
        filter: The filter.
        exact: Statements with the filter's whole meaning: tags of mixed kinds, units, lists of refs
            (F45, F55), nested dicts on a path (F53), refs that dangle (F52), null (F32), the trash
            (F63). Which one is fastest is for the data to say.
        loose: What will do for somebody who knows that the data has none of these.
        indexed: Whether its cost should grow with what is found, not with the table.
    """

    name: str
    filter: str
    exact: tuple[Sql, ...]
    loose: Sql
    indexed: bool = True


SPINE = ("has", "marker and ref ==", "four markers", "ref ==", "deref", "number >")
"""The shapes that `benchmarks.spine` measures."""


def make_shapes(data: Data) -> list[Shape]:
    return [*_tags(data), *_values(data), *_paths(), *_negations()]


# ---- the shapes ---------------------------------------------------------------------------------


def _tags(data: Data) -> list[Shape]:
    words = ("discharge", "air", "temp", "sensor")
    listed = ", ".join(f"'{word}'" for word in words)
    ref = {"_kind": "ref", "val": data.site}
    alone, listed_too = json.dumps({"siteRef": ref}), json.dumps({"siteRef": [ref]})
    loose_at, exact_at = "e.tags @> $1::jsonb", "(e.tags @> $1::jsonb OR e.tags @> $2::jsonb)"
    return [
        Shape("has", "site", (_select(_has("site")),), _loose("e.tags ? 'site'")),
        Shape("has, many", "equip", (_select(_has("equip")),), _loose("e.tags ? 'equip'")),
        Shape("rare has", "rare", (_select(_has("rare")),), _loose("e.tags ? 'rare'")),
        Shape(
            "four markers",
            " and ".join(words),
            (_select(f"e.tags ?& ARRAY[{listed}]", *map(_not_null, words)),),
            _loose(f"e.tags ?& ARRAY[{listed}]"),
        ),
        Shape(
            "ref ==",
            f"siteRef==@{data.site}",
            (_select(exact_at, args=(alone, listed_too)),),
            _loose(loose_at, (alone,)),
        ),
        Shape(
            "marker and ref ==",
            f"ahu and siteRef==@{data.site}",
            (_select(_has("ahu"), exact_at, args=(alone, listed_too)),),
            _loose(f"e.tags ? 'ahu' AND {loose_at}", (alone,)),
        ),
        Shape(
            "or",
            "site or ahu",
            (_select(f"({_has('site')} OR {_has('ahu')})"),),
            _loose("e.tags ?| ARRAY['site', 'ahu']"),
        ),
    ]


def _values(data: Data) -> list[Shape]:
    match = re.fullmatch(r"(-?[0-9.]+)(.*)", data.area)
    assert match is not None
    args = (Decimal(match[1]), match[2])
    text = (json.dumps({"dis": data.dis}),)
    # Nothing but CASE promises that a value of another kind is never cast.
    greater = (
        "CASE WHEN e.tags -> 'area' ->> '_kind' = 'number' AND e.tags -> 'area' ->> 'unit' = $2 "
        "AND jsonb_typeof(e.tags -> 'area' -> 'val') = 'number' "
        "THEN (e.tags -> 'area' -> 'val')::numeric > $1 ELSE false END"
    )
    loose = "e.tags -> 'area' ->> 'unit' = $2 AND (e.tags -> 'area' ->> 'val')::numeric > $1"
    return [
        Shape(
            "number >",
            f"area > {data.area}",
            (_select("e.tags ? 'area'", greater, args=args),),
            _loose(f"e.tags ? 'area' AND {loose}", args),
        ),
        Shape(
            "str ==",
            f'dis == "{data.dis}"',
            (_select("e.tags @> $1::jsonb", args=text),),
            _loose("e.tags @> $1::jsonb", text),
        ),
    ]


def _paths() -> list[Shape]:
    pilots = _lead("pilot")
    inside = _has("pilot", "(e.tags -> 'siteRef')")
    # The middle of the chain, by a scan or by the index; then what leads to it.
    by_scan = f"SELECT e.id FROM entities e WHERE {_step('siteRef', 'lead', inside)}"
    by_index = _sought("siteRef", "pilot", columns="e.id")
    in_equip = _has("pilot", "(e.tags -> 'equipRef' -> 'siteRef')")
    nested = _step("siteRef", "lead", in_equip, "(e.tags -> 'equipRef')")
    at_pilots = _loose_in("siteRef", "SELECT s.id FROM entities s WHERE s.tags ? 'pilot'", "q")
    return [
        Shape(
            "deref",
            "point and equipRef->ahu",
            _leading(
                _has("point"),
                "equipRef",
                "lead",
                _has("ahu", "(e.tags -> 'equipRef')"),
                (_lead("ahu"),),
            ),
            _loose(
                "e.tags ? 'point' AND "
                + _loose_in("equipRef", "SELECT a.id FROM entities a WHERE a.tags ? 'ahu'")
            ),
        ),
        *(
            Shape(
                name,
                f"{marker} and siteRef->pilot",
                (
                    *_leading(_has(marker), "siteRef", "lead", inside, (pilots,)),
                    Sql(f"WITH {pilots} {_sought('siteRef', 'pilot', _has(marker), _IN_USE)}"),
                ),
                _loose(
                    f"e.tags ? '{marker}' AND "
                    + _loose_in("siteRef", "SELECT s.id FROM entities s WHERE s.tags ? 'pilot'")
                ),
            )
            for name, marker in (("deref of few", "ahu"), ("deref from few", "sensor"))
        ),
        Shape(
            "deref chain",
            "temp and equipRef->siteRef->pilot",
            tuple(
                _leading(
                    _has("temp"),
                    "equipRef",
                    "middle",
                    nested,
                    (pilots, f"middle AS MATERIALIZED ({middle})"),
                )[0]
                for middle in (by_scan, by_index)
            ),
            _loose(
                "e.tags ? 'temp' AND "
                + _loose_in("equipRef", f"SELECT q.id FROM entities q WHERE {at_pilots}")
            ),
        ),
    ]


def _negations() -> list[Shape]:
    inside = f"NOT {_has('pilot', _nested('siteRef'))}"
    return [
        Shape(
            "not",
            "equip and not ahu",
            (_select(_has("equip"), f"NOT {_has('ahu')}"),),
            _loose("e.tags ? 'equip' AND NOT e.tags ? 'ahu'"),
        ),
        Shape(
            "not alone",
            "not point",
            (_select(f"NOT {_has('point')}"),),
            _loose("NOT e.tags ? 'point'"),
            indexed=False,
        ),
        Shape(
            "not a path",
            "equip and not siteRef->pilot",
            _leading(_has("equip"), "siteRef", "lead", inside, (_lead("pilot"),), missing=True),
            _loose(
                "e.tags ? 'equip' AND (e.tags -> 'siteRef' ->> 'val') NOT IN "
                "(SELECT s.id FROM entities s WHERE s.tags ? 'pilot')"
            ),
        ),
    ]


# ---- SQL ----------------------------------------------------------------------------------------


def _nested(name: str) -> str:
    return f"(e.tags -> '{name}')"


_IN_USE = "(NOT e.tags ? 'trash' OR e.tags -> 'trash' = 'null')"


def _select(
    *conditions: str, ctes: tuple[str, ...] = (), join: str = "", args: tuple[Any, ...] = ()
) -> Sql:
    first = f"WITH {', '.join(ctes)} " if ctes else ""
    where = " AND ".join((*conditions, _IN_USE))
    return Sql(f"{first}SELECT e.id, e.tags FROM entities e {join} WHERE {where}", args)


def _leading(
    condition: str, name: str, ids: str, inside: str, ctes: tuple[str, ...], missing: bool = False
) -> tuple[Sql, Sql]:
    """Select what leads to one of the `ids` (see `_step`): by a join, and by a subquery.

    PostgreSQL hashes the subquery only while it thinks that its rows fit into `work_mem`.
    """
    by_join = _step(name, ids, inside, missing=missing, joined="there")
    by_subquery = _step(name, ids, inside, missing=missing)
    join = f"LEFT JOIN {ids} there ON there.id = {_nested(name)} ->> 'val'"
    return (
        _select(condition, by_join, ctes=ctes, join=join),
        _select(condition, by_subquery, ctes=ctes),
    )


def _loose(condition: str, args: tuple[Any, ...] = ()) -> Sql:
    return Sql(f"SELECT e.id, e.tags FROM entities e WHERE {condition}", args)


def _not_null(name: str, tags: str = "e.tags") -> str:
    return f"{tags} -> '{name}' <> 'null'"


def _has(name: str, tags: str = "e.tags") -> str:
    return f"({tags} ? '{name}' AND {_not_null(name, tags)})"


def _lead(name: str) -> str:
    return f"lead AS MATERIALIZED (SELECT e.id FROM entities e WHERE {_has(name)})"


def _step(
    name: str,
    ids: str,
    inside: str,
    tags: str = "e.tags",
    *,
    missing: bool = False,
    joined: str | None = None,
) -> str:
    """The tag leads to one of the `ids`, or is a dict of which `inside` is true.

    With `missing` it leads to another one, or nowhere. `joined` is the alias by which the ids are
    joined already.
    """
    value = f"({tags} -> '{name}')"
    among = f"{'NOT IN' if missing else 'IN'} (SELECT id FROM {ids})"
    nowhere = str(missing).lower()
    as_ref = f"{value} ->> 'val' {among}"
    if joined is not None:
        as_ref = f"{joined}.id IS {'NULL' if missing else 'NOT NULL'}"
    return (
        f"CASE jsonb_typeof({value}) "
        f"WHEN 'object' THEN CASE coalesce({value} ->> '_kind', 'dict') "
        f"WHEN 'ref' THEN {as_ref} WHEN 'dict' THEN {inside} ELSE {nowhere} END "
        f"WHEN 'array' THEN EXISTS (SELECT FROM jsonb_array_elements({value}) AS item "
        f"WHERE item ->> '_kind' = 'ref' AND item ->> 'val' {among}) ELSE {nowhere} END"
    )


def _sought(name: str, end: str, *conditions: str, columns: str = "e.id, e.tags") -> str:
    """Select what leads to one of `lead`, or to a nested dict with the tag `end`, by GIN."""
    ref = "jsonb_build_object('_kind', 'ref', 'val', lead.id)"
    value = _nested(name)
    rest = "".join(f" AND {condition}" for condition in conditions)
    return (
        f"SELECT {columns} FROM lead JOIN entities e "
        f"ON e.tags @> jsonb_build_object('{name}', {ref}){rest} "
        f"UNION ALL (SELECT DISTINCT ON (e.id) {columns} FROM lead JOIN entities e "
        f"ON e.tags @> jsonb_build_object('{name}', jsonb_build_array({ref})){rest}) "
        f"UNION ALL SELECT {columns} FROM entities e WHERE e.tags @? '$.{name}.{end}' "
        f"AND jsonb_typeof({value}) = 'object' AND coalesce({value} ->> '_kind', 'dict') = 'dict' "
        f"AND {_has(end, value)}{rest}"
    )


def _loose_in(name: str, ids: str, alias: str = "e") -> str:
    return f"{alias}.tags -> '{name}' ->> 'val' IN ({ids})"
