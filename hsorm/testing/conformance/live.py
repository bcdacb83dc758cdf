"""Live tags: where they are read, what they leave alone (rules C7, C8, R12)."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

import pytest

from hsorm.errors import ConflictError, InvalidTagError, UnknownEntityError
from hsorm.kinds import MARKER, NA, REMOVE, Number, Ref
from hsorm.storage.protocol import Id, StorageAdapter
from hsorm.testing.conformance.examples import ALL, SITE, TEMP, ids, without_stamp

__all__ = ["LiveTagTests"]


class LiveTagTests:
    """`set_live`, `set_live_batch`, and live tags in all other calls."""

    async def test_they_are_merged_tag_by_tag(self, store: StorageAdapter) -> None:
        """C5: a value sets, REMOVE deletes, the rest stays; `mod` as well."""
        await store.load_entities([TEMP])
        before = await store.read_by_id("temp-1")

        await store.set_live("temp-1", {"curVal": 21, "curStatus": "ok", "curErr": "x"})
        await store.set_live(Ref("temp-1"), {"curVal": Number(22, "°C"), "curErr": REMOVE})
        await store.set_live("@temp-1", {"hisErr": REMOVE})

        live = {"curVal": Number(22, "°C"), "curStatus": "ok"}
        assert await store.read_by_id("temp-1") == {**before, **live}

    async def test_every_read_has_them(self, store: StorageAdapter) -> None:
        """R12."""
        await store.load_entities(ALL)
        await store.set_live("temp-1", {"curVal": Number(21, "°C")})

        by_id = await store.read_by_id("temp-1")
        answers = [
            *await store.read_by_ids(["temp-1"]),
            *await store.read("point"),
            *await store.read("point", 1, sort="dis"),
            *(
                {name: val for name, val in row.items() if name != "navId"}
                for row in await store.nav("ahu-1")
            ),
        ]

        assert by_id["curVal"] == Number(21, "°C")
        assert answers == [by_id] * 4

    @pytest.mark.parametrize(
        ("filter", "expected"),
        [
            ("curVal", ["p1", "p2"]),
            ("not curVal", ["p3", "v"]),
            ("curVal > 75°F", ["p2"]),
            ("curVal == 70°F", ["p1"]),
            ("curVal != 70°F", ["p2"]),
            ('point and curVal < 75°F and curStatus == "ok"', ["p1"]),
            ("equipRef->curVal > 75°F", ["v"]),
            ("not equipRef->curVal", ["p1", "p2", "p3"]),
            ("curVal or point", ["p1", "p2", "p3"]),
            ("^curVal", ["p1", "p2"]),
            ("^point-curVal", ["p1", "p2"]),
            ("^id-curVal-curVal", ["p1", "p2"]),
            ('curStatus and (curVal and curVal > 65°F) and curStatus == "ok"', ["p1"]),
            ("curVal > 0°F and not writeVal and curVal < 75°F", ["p1"]),
        ],
    )
    async def test_filters_see_them(
        self, store: StorageAdapter, filter: str, expected: list[str]
    ) -> None:
        """F30–F55: as all other tags, at the end of paths, too."""
        points = [{"id": Ref(f"p{i}"), "point": MARKER} for i in (1, 2, 3)]
        await store.load_entities([*points, {"id": Ref("v"), "equipRef": Ref("p2")}])
        await store.set_live("p1", {"curVal": Number(70, "°F"), "curStatus": "ok"})
        await store.set_live("p2", {"curVal": Number(80, "°F")})

        assert ids(await store.read(filter)) == expected
        assert await store.read_count(filter) == len(expected)

    async def test_filters_follow_them(self, store: StorageAdapter) -> None:
        """A comparison that was made once is not remembered."""
        await store.load_entities([TEMP])
        seen = []
        for val in (Number(5), Number(6), REMOVE, Number(5)):
            await store.set_live("temp-1", {"curVal": val})
            seen.append(await store.read_count("curVal == 5"))

        assert seen == [1, 0, 0, 1]

    async def test_a_load_replaces_them(self, store: StorageAdapter) -> None:
        """With those of the file, or with none."""
        await store.load_entities([{**TEMP, "curVal": 1, "curStatus": "ok"}])
        first = await store.read_by_id("temp-1")
        await store.load_entities([{**TEMP, "curVal": 2}])
        second = await store.read_by_id("temp-1")
        await store.load_entities([TEMP])

        assert without_stamp(first) == {**TEMP, "curVal": Number(1), "curStatus": "ok"}
        assert without_stamp(second) == {**TEMP, "curVal": Number(2)}
        assert without_stamp(await store.read_by_id("temp-1")) == TEMP

    async def test_create_takes_them(self, store: StorageAdapter) -> None:
        """And gives them back."""
        created = await store.create({**TEMP, "curVal": 1})

        assert without_stamp(created) == {**TEMP, "curVal": Number(1)}
        assert await store.read_by_id("temp-1") == created

    async def test_an_update_takes_them(self, store: StorageAdapter) -> None:
        """C5: with other tags, which bump `mod`."""
        before = await store.create({**TEMP, "curVal": 1, "curStatus": "ok"})

        changes = {"curVal": 2, "curStatus": REMOVE, "x": MARKER}
        updated = await store.update({"id": Ref("temp-1"), **changes})

        assert updated["mod"] > before["mod"]
        assert without_stamp(updated) == {**TEMP, "curVal": Number(2), "x": MARKER}
        assert await store.read_by_id("temp-1") == updated

    async def test_an_update_of_live_tags_alone_keeps_mod(self, store: StorageAdapter) -> None:
        """C6: and looks at a `mod` that is given (C4)."""
        before = await store.create(TEMP)

        updated = await store.update({"id": Ref("temp-1"), "curVal": 2, "mod": before["mod"]})
        changed = await store.update({"id": Ref("temp-1"), "x": MARKER})
        with pytest.raises(ConflictError):
            await store.update({"id": Ref("temp-1"), "curVal": 3, "mod": before["mod"]})

        assert updated == {**before, "curVal": Number(2)}
        assert await store.read_by_id("temp-1") == changed

    async def test_an_entity_as_read_can_be_given_back(self, store: StorageAdapter) -> None:
        """C4: live tags written since do not stand in the way."""
        await store.load_entities([TEMP])
        entity = await store.read_by_id("temp-1")
        await store.set_live("temp-1", {"curVal": 5})

        updated = await store.update({**entity, "x": MARKER})

        assert updated["curVal"] == Number(5)

    async def test_an_entity_in_the_trash_has_them(self, store: StorageAdapter) -> None:
        """C12."""
        await store.load_entities([{**TEMP, "trash": MARKER}])

        await store.set_live("temp-1", {"curVal": 5})

        restored = await store.update({"id": Ref("temp-1"), "trash": REMOVE})
        assert restored["curVal"] == Number(5)

    async def test_they_go_with_their_entity(self, store: StorageAdapter) -> None:
        """A new entity of the same id begins without."""
        await store.load_entities([TEMP])
        await store.set_live("temp-1", {"curVal": 5})

        await store.delete("temp-1")
        await store.create(TEMP)

        assert without_stamp(await store.read_by_id("temp-1")) == TEMP
        assert await store.read_count("curVal") == 0

    @pytest.mark.parametrize(
        "tags",
        [
            {"curVal": 1, "dis": "x"},
            {"curVal": 1, "id": Ref("a")},
            {"curVal": 1, "mod": REMOVE},
            {"curVal": None},
            {"curVal": 1, "curErr": "a\0b"},
            {"curVal": object()},
        ],
    )
    async def test_what_cannot_be_set_changes_nothing(
        self, store: StorageAdapter, tags: dict[str, Any]
    ) -> None:
        """C8: only live tags, only what can be stored."""
        await store.load_entities([TEMP])
        before = await store.read("id")

        with pytest.raises(InvalidTagError) as caught:
            await store.set_live("temp-1", tags)

        assert caught.value.id == "temp-1"
        assert await store.read("id") == before

    async def test_an_unknown_id_is_an_error(self, store: StorageAdapter) -> None:
        """As in an update; what never can be an id is unknown, too."""
        for id in ("gone", "no id", "a\0b"):
            with pytest.raises(UnknownEntityError):
                await store.set_live(id, {"curVal": 1})

    async def test_tags_are_looked_at_before_ids(self, store: StorageAdapter) -> None:
        """What can be told without looking anything up is told first, as in an update."""
        with pytest.raises(InvalidTagError):
            await store.set_live("gone", {"area": 1})
        with pytest.raises(InvalidTagError):
            await store.set_live_batch({"gone": {"curVal": 1}, "there": {"area": 1}})

    async def test_a_batch(self, store: StorageAdapter) -> None:
        """Many entities, ids in every form."""
        await store.load_entities({"id": Ref(f"p{i}")} for i in range(1_200))

        changes: dict[Id, Mapping[str, Any]] = {
            Ref(f"p{i}") if i % 2 else f"@p{i}": {"curVal": Number(i)} for i in range(1_200)
        }
        await store.set_live_batch(changes)
        await store.set_live_batch({})

        assert await store.read_count("curVal >= 0") == 1_200
        assert ids(await store.read("curVal == 77")) == ["p77"]

    @pytest.mark.parametrize(
        ("id", "tags", "error"),
        [
            ("gone", {"curVal": 2}, UnknownEntityError),
            ("b", {"dis": "B"}, InvalidTagError),
            ("b", {"curVal": None}, InvalidTagError),
        ],
    )
    async def test_a_batch_is_all_or_nothing(
        self, store: StorageAdapter, id: str, tags: dict[str, Any], error: type[Exception]
    ) -> None:
        """Whatever comes before or after what is wrong."""
        await store.load_entities([{"id": Ref(name)} for name in "abc"])

        with pytest.raises(error):
            await store.set_live_batch({"a": {"curVal": 1}, id: tags, "c": {"curVal": 3}})

        assert await store.read_count("curVal") == 0

    async def test_many_writers_at_a_time(self, store: StorageAdapter) -> None:
        """C5: none undoes another, none waits for ever."""
        await store.load_entities([{"id": Ref(f"p{i}")} for i in range(10)])
        names = ["curVal", "curStatus", "curErr", "hisErr", "nextVal", "connErr"]

        async def write(n: int, name: str) -> None:
            order = range(10) if n % 2 else range(9, -1, -1)
            await store.set_live_batch({f"p{i}": {name: Number(n)} for i in order})

        await asyncio.gather(*(write(n, name) for n, name in enumerate(names)))

        found = await store.read(" and ".join(names))
        assert len(found) == 10
        assert all(found[0][name] == Number(n) for n, name in enumerate(names))

    async def test_values_of_any_kind(self, store: StorageAdapter) -> None:
        """K1–K8: nested ones are the caller's own."""
        await store.load_entities([SITE])
        given: list[Any] = [Number(1), {"a": NA}]
        await store.set_live("site-1", {"curVal": given, "nextVal": NA, "connErr": True})
        given.append("spoilt")
        answer = await store.read_by_id("site-1")
        answer["curVal"][1].clear()

        found = await store.read_by_id("site-1")

        assert found["curVal"] == [Number(1), {"a": NA}]
        assert (found["nextVal"], found["connErr"]) == (NA, True)
