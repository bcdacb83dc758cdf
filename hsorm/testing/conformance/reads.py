"""Reading entities by filter and by id, and what is in the trash."""

from __future__ import annotations

import datetime as dt
from typing import Any

import pytest

from hsorm.errors import UnknownEntityError
from hsorm.filter import parse
from hsorm.kinds import MARKER, NA, REMOVE, Entity, Number, Ref
from hsorm.storage.protocol import StorageAdapter
from hsorm.testing.conformance.examples import AHU, ALL, SITE, TEMP, ids

__all__ = ["ReadTests", "TrashTests"]


def _named(*dis: str | None) -> list[Entity]:
    """Return entities `e0`, `e1`… with these display texts."""
    return [
        {"id": Ref(f"e{i}"), "x": MARKER} | ({} if text is None else {"dis": text})
        for i, text in enumerate(dis)
    ]


class ReadTests:
    """`read`, `read_count`, `read_by_ids`, `read_by_id`, `about` (rules R1–R12)."""

    async def test_an_empty_storage_finds_nothing(self, store: StorageAdapter) -> None:
        """R5: no match is an empty answer, not an error."""
        assert await store.read("id") == []
        assert await store.read_count("id") == 0
        assert await store.read_by_ids(["a"]) == [None]
        assert await store.nav() == []

    async def test_read_finds_what_matches(self, store: StorageAdapter) -> None:
        """R5."""
        await store.load_entities(ALL)

        found = await store.read("ahu and siteRef == @site-1")

        assert ids(found) == ["ahu-1"]
        assert {**found[0], "mod": None} == {**AHU, "mod": None}

    async def test_a_filter_may_be_a_tree(self, store: StorageAdapter) -> None:
        """R5: what `parse` returns is taken as the text is."""
        await store.load_entities(ALL)

        assert ids(await store.read(parse("point or site"))) == ["site-1", "temp-1"]
        assert await store.read_count(parse("point or site")) == 2

    async def test_the_order_is_by_id_by_code_point(self, store: StorageAdapter) -> None:
        """OC 25, OC 3: neither the order of writing nor a language's alphabet."""
        written = ["b", "a-1", "B", "a", "a1", "_", "~", "a.b", "A", "10", "9", "a:b", "a_1"]
        await store.load_entities({"id": Ref(id), "x": MARKER} for id in written)

        assert ids(await store.read("x")) == sorted(written)

    @pytest.mark.parametrize(
        ("limit", "count"),
        [(0, 0), (-1, 0), (1, 1), (2, 2), (3, 3), (9, 3), (10**30, 3), (True, 1)],
    )
    async def test_limit_takes_the_first_of_the_order(
        self, store: StorageAdapter, limit: int, count: int
    ) -> None:
        """R6, OC 25: after ordering; nothing for 0 and below."""
        await store.load_entities(_named(None, None, None))

        assert ids(await store.read("x", limit)) == ["e0", "e1", "e2"][:count]
        assert ids(await store.read("x", limit=limit)) == ["e0", "e1", "e2"][:count]

    async def test_sort_by_dis_is_as_people_expect(self, store: StorageAdapter) -> None:
        """R7: case does not count, and numbers at the end are numbers; without dis the id."""
        await store.load_entities(_named("Foo-10", "foo-2", "bar", "Zed", "Foo-1", None))

        found = await store.read("x", sort="dis")

        assert ids(found) == ["e2", "e5", "e4", "e1", "e0", "e3"]

    async def test_limit_counts_after_the_sort(self, store: StorageAdapter) -> None:
        """OC 25."""
        await store.load_entities(_named("c", "b", "a"))

        assert ids(await store.read("x", 2, sort="dis")) == ["e2", "e1"]
        assert await store.read("x", 0, sort="dis") == []
        assert await store.read("x", -2, sort="dis") == []

    async def test_read_count_counts_what_read_finds(self, store: StorageAdapter) -> None:
        """R9."""
        await store.load_entities(ALL)

        assert await store.read_count("id") == 3
        assert await store.read_count("siteRef") == 2
        assert await store.read_count("nowhere") == 0

    async def test_read_by_ids_answers_each_id_in_its_place(self, store: StorageAdapter) -> None:
        """R2, OC 10: None for an unknown one, repeats repeated."""
        await store.load_entities(ALL)

        found = await store.read_by_ids(["temp-1", "gone", "site-1", "temp-1"])

        assert [entity and entity["id"].val for entity in found] == [
            "temp-1", None, "site-1", "temp-1",
        ]  # fmt: skip
        assert await store.read_by_ids([]) == []
        assert await store.read_by_ids(["gone", "away"]) == [None, None]

    @pytest.mark.parametrize("id", ["ahu-1", "@ahu-1", Ref("ahu-1"), Ref("ahu-1", "other text")])
    async def test_an_id_may_be_text_or_ref(self, store: StorageAdapter, id: Ref | str) -> None:
        """K3: the display text of a Ref is no part of it."""
        await store.load_entities(ALL)

        (found,) = await store.read_by_ids([id])

        assert found is not None
        assert found["dis"] == "AHU 1"
        assert await store.read_by_id(id) == found

    async def test_read_by_id_raises_for_an_unknown_id(self, store: StorageAdapter) -> None:
        """R1: the error names the id."""
        with pytest.raises(UnknownEntityError, match="@gone") as caught:
            await store.read_by_id("@gone")

        assert caught.value.id == "gone"

    async def test_many_ids_at_a_time(self, store: StorageAdapter) -> None:
        """R2: more ids than a database takes parameters."""
        await store.load_entities(ALL)
        asked = [f"gone-{i}" for i in range(40_000)] + ["ahu-1"]

        found = await store.read_by_ids(asked)

        assert len(found) == 40_001
        assert found[-1] is not None
        assert found.count(None) == 40_000

    @pytest.mark.parametrize(
        ("tags", "dis"),
        [
            ({"dis": "Plain"}, "Plain"),
            (
                {"disMacro": "$name of ${equipRef}", "name": "n1", "equipRef": Ref("q", "Q")},
                "n1 of Q",
            ),
            ({"disKey": "ui::x"}, "ui::x"),
            ({"name": "n1", "def": "d"}, "n1"),
            ({"dis": "", "name": "n1"}, ""),
            ({}, None),
        ],
    )
    async def test_an_id_carries_the_display_text(
        self, store: StorageAdapter, tags: dict[str, Any], dis: str | None
    ) -> None:
        """R12, R7."""
        await store.load_entities([{"id": Ref("a"), "x": MARKER, **tags}])

        (by_filter,) = await store.read("x")

        assert by_filter["id"].dis == dis
        assert (await store.read_by_id("a"))["id"].dis == dis

    async def test_an_entity_has_a_mod_in_utc(self, store: StorageAdapter) -> None:
        """R12."""
        before = dt.datetime.now(dt.UTC) - dt.timedelta(milliseconds=1)
        await store.load_entities(ALL)

        mod = (await store.read_by_id("site-1"))["mod"]

        assert isinstance(mod, dt.datetime)
        assert mod.utcoffset() == dt.timedelta()
        assert before <= mod <= dt.datetime.now(dt.UTC) + dt.timedelta(seconds=1)

    async def test_filters_see_the_mod(self, store: StorageAdapter) -> None:
        """R12: it is a tag like the others."""
        await store.load_entities(ALL)

        assert await store.read_count("mod") == 3
        assert await store.read_count("mod > 2001-01-01T00:00:00Z") == 3
        assert await store.read_count("mod < 2001-01-01T00:00:00Z") == 0

    async def test_about_tells_what_there_is(self, store: StorageAdapter) -> None:
        """The tags that `StorageAdapter.about` names; the trash does not count."""
        await store.load_entities([*ALL, {"id": Ref("old"), "trash": MARKER}])

        about = await store.about()

        assert about["entities"] == Number(3)
        for name in (
            "productName",
            "productVersion",
            "haystackVersion",
            "backend",
            "backendVersion",
        ):
            assert isinstance(about[name], str)
            assert about[name]
        assert about["serverTime"].utcoffset() == dt.timedelta()


_TRASHED = {**TEMP, "id": Ref("temp-2"), "trash": MARKER}


class TrashTests:
    """What is in the trash is not there for any read (rule R10)."""

    async def test_no_read_finds_it(self, store: StorageAdapter) -> None:
        """R10, F63: whatever the filter says, `trash` included."""
        await store.load_entities([*ALL, _TRASHED])

        assert ids(await store.read("point")) == ["temp-1"]
        assert await store.read("trash") == []
        assert await store.read("id == @temp-2 or trash") == []
        assert await store.read_count("point") == 1
        assert await store.read_count("trash") == 0
        assert ids(await store.read("not trash")) == ["ahu-1", "site-1", "temp-1"]

    async def test_no_id_finds_it(self, store: StorageAdapter) -> None:
        """R1, R2, R10."""
        await store.load_entities([*ALL, _TRASHED])

        assert await store.read_by_ids(["temp-2"]) == [None]
        with pytest.raises(UnknownEntityError):
            await store.read_by_id("temp-2")

    async def test_neither_nav_nor_history_finds_it(self, store: StorageAdapter) -> None:
        """R10, N2, H12, H21."""
        await store.load_entities([*ALL, _TRASHED])

        assert ids(await store.nav("ahu-1")) == ["temp-1"]
        with pytest.raises(UnknownEntityError):
            await store.nav("temp-2")
        with pytest.raises(UnknownEntityError):
            await store.his_read("temp-2", "today")
        with pytest.raises(UnknownEntityError):
            await store.his_write("temp-2", [])

    @pytest.mark.parametrize("value", [MARKER, True, False, "", NA, Number(0), []])
    async def test_any_value_of_trash_counts(self, store: StorageAdapter, value: Any) -> None:
        """R10."""
        await store.load_entities([{**SITE, "trash": value}])

        assert await store.read("site") == []
        assert await store.read_by_ids(["site-1"]) == [None]

    async def test_a_path_walks_into_the_trash(self, store: StorageAdapter) -> None:
        """F59, OC 8: a ref to an entity in the trash still leads there."""
        await store.load_entities([{**SITE, "trash": MARKER}, AHU])

        assert ids(await store.read("siteRef->site")) == ["ahu-1"]
        assert ids(await store.read('siteRef->geoCity == "Oslo"')) == ["ahu-1"]
        assert await store.read("equip and not siteRef->site") == []

    async def test_an_update_moves_into_and_out_of_the_trash(self, store: StorageAdapter) -> None:
        """C12: both are ordinary updates."""
        await store.load_entities(ALL)

        await store.update({"id": Ref("ahu-1"), "trash": MARKER})
        trashed = await store.read_by_ids(["ahu-1"])
        restored = await store.update({"id": Ref("ahu-1"), "trash": REMOVE})

        assert trashed == [None]
        assert "trash" not in restored
        assert ids(await store.read("ahu")) == ["ahu-1"]
