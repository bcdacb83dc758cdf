"""Answers are the caller's own, and so is what the caller gave."""

from __future__ import annotations

import copy
import datetime as dt
from typing import Any

import pytest

from hsorm.kinds import MARKER, Entity, Grid, Number, Ref
from hsorm.storage.protocol import StorageAdapter
from hsorm.testing.conformance.examples import without_stamp

__all__ = ["AliasingTests"]


def _nested() -> Entity:
    return {
        "id": Ref("a"),
        "site": MARKER,
        "list": [Number(1), [Number(2)], {"x": [MARKER]}],
        "dict": {"list": [Number(3)], "dict": {"y": MARKER}},
        "grid": Grid.of([{"a": Number(4), "list": [Number(5)]}], {"m": [MARKER]}),
    }


def _spoil(entity: Entity) -> None:
    """Change an entity in every depth."""
    entity["list"][1].append("spoilt")
    entity["list"][2]["x"].clear()
    entity["list"].append("spoilt")
    entity["dict"]["list"].clear()
    entity["dict"]["dict"]["spoilt"] = MARKER
    entity["dict"].pop("dict")
    entity["grid"].rows[0]["a"] = "spoilt"
    entity["grid"].rows[0]["list"].clear()
    entity["grid"].meta["m"].append("spoilt")
    entity["spoilt"] = MARKER
    del entity["site"]


class AliasingTests:
    """Changing an answer or an argument changes nothing that is stored."""

    @pytest.mark.parametrize("way", ["read", "read_by_id", "read_by_ids", "nav", "update"])
    async def test_an_answer_may_be_changed(self, store: StorageAdapter, way: str) -> None:
        """In every depth; the next answer is not touched by it."""
        await store.load_entities([_nested()])

        match way:
            case "read":
                (answer,) = await store.read("site")
            case "read_by_id":
                answer = await store.read_by_id("a")
            case "read_by_ids":
                (answer,) = [found for found in await store.read_by_ids(["a"]) if found]
            case "nav":
                (answer,) = await store.nav()
            case _:
                answer = await store.update({"id": Ref("a")})
        _spoil(answer)

        assert without_stamp(await store.read_by_id("a")) == _nested()
        assert await store.read_count("site and not spoilt") == 1

    async def test_the_answer_of_create_may_be_changed(self, store: StorageAdapter) -> None:
        """As all answers."""
        _spoil(await store.create(_nested()))

        assert without_stamp(await store.read_by_id("a")) == _nested()

    async def test_repeated_ids_give_separate_answers(self, store: StorageAdapter) -> None:
        """R2: repeated, not shared."""
        await store.load_entities([_nested()])

        first, second = await store.read_by_ids(["a", "a"])
        assert first is not None
        _spoil(first)

        assert second is not None
        assert without_stamp(second) == _nested()

    @pytest.mark.parametrize("way", ["create", "update", "load_entities"])
    async def test_what_was_given_may_be_changed_later(
        self, store: StorageAdapter, way: str
    ) -> None:
        """The storage keeps nothing of the caller's."""
        given = _nested()
        if way == "update":
            await store.create({"id": Ref("a")})
        write: Any = getattr(store, way)
        await write([given] if way == "load_entities" else given)

        _spoil(given)

        assert without_stamp(await store.read_by_id("a")) == _nested()

    @pytest.mark.parametrize("way", ["create", "update", "load_entities"])
    async def test_what_was_given_is_not_changed(self, store: StorageAdapter, way: str) -> None:
        """No `mod`, no display text appears in it."""
        given = {**_nested(), "dis": "A", "n": 5, "hayson": {"_kind": "marker"}}
        before = copy.deepcopy(given)
        if way == "update":
            await store.create({"id": Ref("a")})
        write: Any = getattr(store, way)

        await write([given] if way == "load_entities" else given)

        assert given == before
        assert given["id"].dis is None

    async def test_history_items_are_the_callers_own(self, store: StorageAdapter) -> None:
        """As all answers."""
        ts = dt.datetime(2024, 3, 1, 12, tzinfo=dt.UTC)
        point = {"point": MARKER, "his": MARKER, "kind": "Number", "tz": "UTC"}
        await store.load_entities([{"id": Ref("p"), **point}])
        items: list[Any] = [{"ts": ts, "val": 1}]
        await store.his_write("p", items)
        items[0]["val"] = 2

        answer = await store.his_read("p", "2024-03-01")
        answer[0]["val"] = Number(3)
        answer.clear()

        assert await store.his_read("p", "2024-03-01") == [{"ts": ts, "val": Number(1)}]
