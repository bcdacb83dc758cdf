"""Rows that other people's SQL wrote: `id` and `tags`, in any JSON that they thought of."""

from __future__ import annotations

import json
import operator
from typing import Any

import asyncpg
import pytest

from hsorm.errors import CodecError
from hsorm.filter.format import print_literal
from hsorm.kinds import MARKER, Number, Ref
from hsorm.storage.timescale import TimescaleAdapter
from hsorm.testing.conformance.examples import ids

_ODD_TAGS: dict[str, str] = {
    "nothing": "{}",
    "other-id": '{"id": "not a ref", "n": 5}',
    "null": '{"n": null, "at": null, "ref": null, "site": {"_kind": "marker"}}',
    "number": '{"n": 5}',
    "number-object": '{"n": {"_kind": "number", "val": 5}}',
    "number-unit": '{"n": {"_kind": "number", "val": 5, "unit": "kW"}}',
    "number-text": '{"n": {"_kind": "number", "val": "INF"}}',
    "fraction": '{"n": 5.0000}',
    "beyond": '{"n": 1e400}',
    "below": '{"n": -1e400}',
    "long": '{"n": 3.14159265358979323846264338327950288}',
    "text": '{"n": "5"}',
    "ref": '{"ref": {"_kind": "ref", "val": "number"}}',
    "refs": '{"ref": [{"_kind": "ref", "val": "number"}, 5, null, "number", {"val": "number"}]}',
    "dict": '{"ref": {"n": 5}, "at": {"date": "2024-03-10"}}',
    "dict-kind": '{"ref": {"_kind": "dict", "n": 5}}',
    "utc": '{"at": {"_kind": "dateTime", "val": "2024-03-10T06:00:00Z"}}',
    "nanos": '{"at": {"_kind": "dateTime", "val": "2024-03-10T01:00:00.123456789-05:00",'
    ' "tz": "New_York"}}',
}
_BROKEN_TAGS: dict[str, str] = {
    "no-day": '{"at": {"_kind": "dateTime", "val": "2024-02-30T00:00:00Z", "tz": "UTC"}}',
    "no-date": '{"at": {"_kind": "dateTime", "val": "yesterday"}}',
    "no-hour": '{"at": {"_kind": "dateTime", "val": "2024-02-28T25:00:00Z"}}',
    "far-offset": '{"at": {"_kind": "dateTime", "val": "2024-02-28T00:00:00+99:00"}}',
    "year-0": '{"at": {"_kind": "dateTime", "val": "0000-01-01T00:00:00Z"}}',
    "no-val": '{"at": {"_kind": "dateTime"}, "ref": {"_kind": "ref"}, "n": {"_kind": "number"}}',
    "val-list": '{"at": {"_kind": "dateTime", "val": []}, "n": {"_kind": "number", "val": []}}',
    "word": '{"n": {"_kind": "number", "val": "five", "unit": "kW"}, "day": {"_kind": "date"}}',
    "new-kind": '{"n": {"_kind": "quaternion", "val": 1}}',
    "list": "[1, 2]",
    "scalar": "5",
    "string": '"site"',
}

_FILTERS = {
    "n": {"beyond", "below", "fraction", "long", "number", "number-object", "number-text",
          "number-unit", "other-id", "text"},
    "n == 5": {"fraction", "number", "number-object", "other-id"},
    "n == 5kW": {"number-unit"},
    'n == "5"': {"text"},
    "n > 4": {"beyond", "fraction", "number", "number-object", "number-text", "other-id"},
    "n < 4": {"below", "long"},
    "n >= 1e308": {"beyond", "number-text"},
    "n != 5": {"beyond", "below", "long", "number-text", "number-unit", "text"},
    "ref == @number": {"ref", "refs"},
    "ref->n == 5": {"dict", "dict-kind", "ref", "refs"},
    "at == 2024-03-10T06:00:00Z": {"utc"},
    "at > 2024-03-10T06:00:00Z": {"nanos"},
    "at == 2024-03-10T06:00:00.123456Z": {"nanos"},
    "at > 2024-03-10T06:00:00.123456Z": set(),
    "at->date == 2024-03-10": {"nanos", "utc"},
    "at->time < 2:00": {"nanos"},
    "site and not n and not at": {"null"},
}  # fmt: skip


async def _insert(sql: asyncpg.Connection[Any], tags: dict[str, str]) -> None:
    await sql.executemany("INSERT INTO entities (id, tags) VALUES ($1, $2)", list(tags.items()))


@pytest.mark.parametrize("filter", _FILTERS)
async def test_odd_rows_are_filtered_and_read(
    store: TimescaleAdapter, sql: asyncpg.Connection[Any], filter: str
) -> None:
    """All that is Hayson in some way has its meaning, whatever stands beside it."""
    await _insert(sql, _ODD_TAGS)

    assert set(ids(await store.read(filter))) == _FILTERS[filter]
    assert await store.read_count(filter) == len(_FILTERS[filter])


@pytest.mark.parametrize("indexed", [False, True])
async def test_instants_are_cut_as_they_are_read(
    store: TimescaleAdapter, sql: asyncpg.Connection[Any], indexed: bool
) -> None:
    """K4: behind microseconds, with and without a declared index, whose keys are cut as well."""
    stamp = '{"at": {"_kind": "dateTime", "val": "2024-03-10T06:00:00.'
    digits = ("1234567Z", "123456Z", "9999999Z", "99999951+00:00", "1234565-00:00", "12+00:00")
    await _insert(sql, {f"e{i}": f'{stamp}{text}"}}}}' for i, text in enumerate(digits)})
    if indexed:
        await store.create_indexes({"at": "datetime"})

    read = {entity["id"].val: entity["at"] for entity in await store.read("id")}

    for val in set(read.values()):
        for op, compare in (("==", operator.eq), ("<", operator.lt), (">=", operator.ge)):
            matching = [id for id, at in sorted(read.items()) if compare(at, val)]
            assert ids(await store.read(f"at {op} {print_literal(val)}")) == matching


async def test_numbers_that_only_reading_makes_equal(
    store: TimescaleAdapter, sql: asyncpg.Connection[Any]
) -> None:
    """What docs/filters.md says of them: they are compared as they stand, and read as doubles."""
    texts = {
        "integer": "9007199254740993",
        "fraction": "0.1000000000000000055511151231257827",
        "text": '{"_kind": "number", "val": "5"}',
    }
    await _insert(sql, {id: f'{{"n": {text}}}' for id, text in texts.items()})

    read = {entity["id"].val: entity["n"] for entity in await store.read("n")}

    assert read == {"integer": Number(2.0**53), "fraction": Number(0.1), "text": Number(5)}
    for filter in ("n == 9007199254740992", "n == 0.1", "n == 5"):
        assert ids(await store.read(filter)) == []
    assert ids(await store.read("n > 9007199254740992")) == ["integer"]
    assert ids(await store.read("n > 0.1 and n < 1")) == ["fraction"]


@pytest.mark.parametrize(
    "filter", [*_FILTERS, "not n", "n != @x", "at != true", "at->tz", "day < 2024-01-01", "n->x->y"]
)
async def test_broken_rows_abort_no_filter(
    store: TimescaleAdapter, sql: asyncpg.Connection[Any], filter: str
) -> None:
    """Values that mean nothing match no comparison, and leave the others their answers."""
    await _insert(sql, {**_ODD_TAGS, **_BROKEN_TAGS})

    counted = await store.read_count(filter)
    sound = await store.read_count(f"({filter}) and id < @zzz")

    assert counted >= len(_FILTERS.get(filter, ()))
    assert sound == counted
    if "!=" not in filter and filter != "n" and filter in _FILTERS:
        assert counted == len(_FILTERS[filter])


async def test_odd_rows_are_read_as_entities(
    store: TimescaleAdapter, sql: asyncpg.Connection[Any]
) -> None:
    """R12: the id is the row's; a JSON null is no tag; a row without `mod` has none."""
    await _insert(sql, _ODD_TAGS)

    found = {entity["id"].val: entity for entity in await store.read("id")}

    assert found.keys() == _ODD_TAGS.keys()
    assert found["nothing"] == {"id": Ref("nothing")}
    assert found["other-id"] == {"id": Ref("other-id"), "n": Number(5)}
    assert found["null"] == {"id": Ref("null"), "site": MARKER}
    assert found["number-object"]["n"] == found["fraction"]["n"] == Number(5)
    assert found["beyond"]["n"] == Number(float("inf"))


@pytest.mark.parametrize("id", _BROKEN_TAGS)
async def test_a_broken_row_is_named_when_it_is_read(
    store: TimescaleAdapter, sql: asyncpg.Connection[Any], id: str
) -> None:
    """It cannot be given as kinds; whoever asks for others gets them."""
    await _insert(sql, {**_ODD_TAGS, id: _BROKEN_TAGS[id]})

    with pytest.raises(CodecError, match=f"entity @{id}: ") as caught:
        await store.read("id")

    assert caught.value.where == f"entity @{id}"
    assert ids(await store.read("n == 5kW")) == ["number-unit"]
    await store.delete(id)
    assert len(await store.read("id")) == len(_ODD_TAGS)


async def test_live_tags_among_the_others_are_searched_nowhere(
    store: TimescaleAdapter, sql: asyncpg.Connection[Any]
) -> None:
    """C8: as if they stood where they belong; what is no dict at all ends no search."""
    texts = {
        "live": '{"curVal": "Occupied"}',
        "both": '{"curVal": "Occupied", "dis": "Occupied"}',
        "text": '"Occupied curVal"',
        "name": '"curVal"',
        "list": '["Occupied", "curVal"]',
    }
    await _insert(sql, texts)

    found = ids(await store.read("not trash", search="occ"))
    await store.create_indexes(search=True)

    assert found == ids(await store.read("not trash", search="occ")) == ["both"]


async def test_odd_rows_can_be_changed(
    store: TimescaleAdapter, sql: asyncpg.Connection[Any]
) -> None:
    """C5: an update gives them a `mod`; a later one can be based on it."""
    await _insert(sql, _ODD_TAGS)

    updated = await store.update({"id": Ref("nothing"), "site": MARKER})
    again = await store.update({**updated, "dis": "Now complete"})

    assert again["mod"] > updated["mod"]
    stored = json.loads(await sql.fetchval("SELECT tags FROM entities WHERE id = 'nothing'"))
    assert stored["id"] == {"_kind": "ref", "val": "nothing"}


@pytest.mark.parametrize(
    "id", ["a b", "it's", "x'); DROP TABLE entities; --", '"', "$1", "é", "%s"]
)
async def test_ids_that_are_none_of_ours(
    store: TimescaleAdapter, sql: asyncpg.Connection[Any], id: str
) -> None:
    """An id is a bound value: found, followed and deleted as it stands."""
    await _insert(sql, {id: '{"site": {"_kind": "marker"}}', "other": "{}"})

    (found,) = await store.read_by_ids([id])
    assert found == {"id": Ref(id), "site": MARKER}
    assert ids(await store.read("site")) == [id]
    await store.delete(id)

    assert await sql.fetchval("SELECT count(*) FROM entities") == 1
