"""Creating, updating, deleting and loading entities (rules C1–C13)."""

from __future__ import annotations

import asyncio
import datetime as dt
from collections.abc import Iterator
from typing import Any, Final

import pytest

from hsorm.errors import (
    ConflictError,
    EntityExistsError,
    InvalidTagError,
    UnknownEntityError,
)
from hsorm.kinds import MARKER, REMOVE, Entity, Number, Ref
from hsorm.storage.protocol import StorageAdapter
from hsorm.testing.conformance.examples import AHU, ALL, SITE, TEMP, ids, without_stamp

__all__ = ["CreateTests", "DeleteTests", "LoadTests", "ModTests", "UpdateTests"]

_NOON: Final = dt.datetime(2024, 3, 1, 12, tzinfo=dt.UTC)


class CreateTests:
    """`create`."""

    async def test_it_stores_and_returns_the_entity(self, store: StorageAdapter) -> None:
        """C2, R12."""
        created = await store.create(SITE)

        assert without_stamp(created) == SITE
        assert created["id"].dis == "Site 1"
        assert await store.read_by_id("site-1") == created

    @pytest.mark.parametrize("tags", [{}, {"trash": MARKER}])
    async def test_a_taken_id_is_an_error(
        self, store: StorageAdapter, tags: dict[str, Any]
    ) -> None:
        """C2: be it taken by an entity in the trash; what is stored stays."""
        await store.load_entities([{**SITE, **tags}])

        with pytest.raises(EntityExistsError, match="@site-1") as caught:
            await store.create({"id": Ref("site-1"), "other": MARKER})

        assert caught.value.id == "site-1"
        restored = await store.update({"id": Ref("site-1"), "trash": REMOVE})
        assert without_stamp(restored) == SITE

    async def test_remove_is_dropped(self, store: StorageAdapter) -> None:
        """C5."""
        created = await store.create({"id": Ref("a"), "x": REMOVE, "y": MARKER})

        assert without_stamp(created) == {"id": Ref("a"), "y": MARKER}

    async def test_a_mod_that_is_given_is_not_kept(self, store: StorageAdapter) -> None:
        """C6."""
        created = await store.create({**SITE, "mod": _NOON})

        assert created["mod"] > _NOON

    async def test_refs_may_dangle(self, store: StorageAdapter) -> None:
        """C11."""
        await store.create(AHU)

        assert ids(await store.read("siteRef == @site-1")) == ["ahu-1"]

    async def test_of_many_at_a_time_one_wins(self, store: StorageAdapter) -> None:
        """C2: an id is taken once."""
        answers = await asyncio.gather(
            *(store.create({"id": Ref("a"), "n": Number(i)}) for i in range(5)),
            return_exceptions=True,
        )

        won = [answer for answer in answers if isinstance(answer, dict)]
        lost = [answer for answer in answers if isinstance(answer, EntityExistsError)]
        assert (len(won), len(lost)) == (1, 4)
        assert await store.read_by_id("a") == won[0]


class UpdateTests:
    """`update`."""

    async def test_it_merges_tag_by_tag(self, store: StorageAdapter) -> None:
        """C5: values set, REMOVE deletes, the rest stays; the whole entity is the answer."""
        await store.load_entities([SITE])

        change = {"geoCity": "Bergen", "area": REMOVE, "extra": MARKER, "absent": REMOVE}
        updated = await store.update({"id": Ref("site-1"), **change})

        expected = {**SITE, "geoCity": "Bergen", "extra": MARKER}
        del expected["area"]
        assert without_stamp(updated) == expected
        assert await store.read_by_id("site-1") == updated

    async def test_a_nested_value_is_replaced_as_a_whole(self, store: StorageAdapter) -> None:
        """C5: merging ends at the tags."""
        await store.load_entities([{"id": Ref("a"), "x": {"b": Number(1), "c": Number(2)}}])

        updated = await store.update({"id": Ref("a"), "x": {"b": Number(3)}})

        assert updated["x"] == {"b": Number(3)}

    async def test_the_display_text_follows(self, store: StorageAdapter) -> None:
        """R12."""
        await store.load_entities([SITE])

        updated = await store.update({"id": Ref("site-1", "ignored"), "dis": "New name"})

        assert updated["id"].dis == "New name"
        assert (await store.read_by_id("site-1"))["id"].dis == "New name"

    async def test_the_display_text_goes_with_its_tag(self, store: StorageAdapter) -> None:
        """R7, C10: what was filled in from a tag is not the id's own."""
        await store.load_entities([{"id": Ref("a"), "dis": "Old", "x": MARKER}])

        updated = await store.update({"id": Ref("a"), "dis": REMOVE})

        assert updated["id"].dis is None
        assert (await store.read_by_id("a"))["id"].dis is None

    async def test_the_ids_own_display_text_stays(self, store: StorageAdapter) -> None:
        """R7: where no tag has one."""
        await store.load_entities([{"id": Ref("a", "Own"), "x": MARKER}])

        assert (await store.update({"id": Ref("a"), "y": MARKER}))["id"].dis == "Own"

    async def test_an_unknown_id_is_an_error(self, store: StorageAdapter) -> None:
        """C4."""
        with pytest.raises(UnknownEntityError) as caught:
            await store.update({"id": Ref("gone"), "x": MARKER})

        assert caught.value.id == "gone"
        assert await store.read_by_ids(["gone"]) == [None]

    async def test_no_change_is_legal_and_bumps_mod(self, store: StorageAdapter) -> None:
        """C13."""
        before = await store.create(SITE)

        after = await store.update({"id": Ref("site-1")})

        assert after["mod"] > before["mod"]
        assert without_stamp(after) == SITE

    async def test_a_change_on_the_stored_mod_is_made(self, store: StorageAdapter) -> None:
        """C4: what was read can be changed and given back."""
        await store.load_entities([SITE])
        entity = await store.read_by_id("site-1")

        updated = await store.update({**entity, "geoCity": "Bergen"})

        assert updated["geoCity"] == "Bergen"
        assert updated["mod"] > entity["mod"]

    async def test_a_change_on_an_older_mod_is_a_conflict(self, store: StorageAdapter) -> None:
        """C4: nothing changes; the error says both."""
        await store.load_entities([SITE])
        old = await store.read_by_id("site-1")
        new = await store.update({"id": Ref("site-1"), "geoCity": "Bergen"})

        with pytest.raises(ConflictError) as caught:
            await store.update({**old, "geoCity": "Tromsø"})

        assert caught.value.id == "site-1"
        assert caught.value.expected is not None
        assert caught.value.actual is not None
        assert dt.datetime.fromisoformat(caught.value.expected) == old["mod"]
        assert dt.datetime.fromisoformat(caught.value.actual) == new["mod"]
        assert await store.read_by_id("site-1") == new

    async def test_a_mod_that_is_none_is_a_conflict(self, store: StorageAdapter) -> None:
        """C4."""
        created = await store.create(SITE)

        for mod in ("yesterday", Number(5), created["mod"] - dt.timedelta(microseconds=1)):
            with pytest.raises(ConflictError):
                await store.update({"id": Ref("site-1"), "mod": mod})

        assert await store.read_by_id("site-1") == created

    async def test_the_mod_may_be_in_any_zone(self, store: StorageAdapter) -> None:
        """K4: an instant is an instant."""
        created = await store.create(SITE)
        elsewhere = created["mod"].astimezone(dt.timezone(dt.timedelta(hours=5)))

        updated = await store.update({"id": Ref("site-1"), "mod": elsewhere, "x": MARKER})

        assert "x" in updated

    async def test_of_many_on_one_mod_one_wins(self, store: StorageAdapter) -> None:
        """C4: no change is lost without a word."""
        base = await store.create({"id": Ref("a"), "n": Number(-1)})

        answers = await asyncio.gather(
            *(store.update({**base, "n": Number(i)}) for i in range(5)), return_exceptions=True
        )

        won = [answer for answer in answers if isinstance(answer, dict)]
        lost = [answer for answer in answers if isinstance(answer, ConflictError)]
        assert (len(won), len(lost)) == (1, 4)
        assert await store.read_by_id("a") == won[0]

    async def test_many_at_a_time_are_all_merged(self, store: StorageAdapter) -> None:
        """C5: each sees what was there before it, so none undoes another."""
        await store.create({"id": Ref("a")})

        await asyncio.gather(*(store.update({"id": Ref("a"), f"t{i}": MARKER}) for i in range(8)))

        found = await store.read_by_id("a")
        assert {name for name in found if name.startswith("t")} == {f"t{i}" for i in range(8)}

    async def test_an_entity_in_the_trash_can_be_changed(self, store: StorageAdapter) -> None:
        """C12."""
        await store.load_entities([{**SITE, "trash": MARKER}])

        updated = await store.update({"id": Ref("site-1"), "geoCity": "Bergen"})

        assert updated["geoCity"] == "Bergen"
        assert await store.read_by_ids(["site-1"]) == [None]


class DeleteTests:
    """`delete`."""

    @pytest.mark.parametrize("id", ["site-1", "@site-1", Ref("site-1", "x")])
    async def test_it_removes_one_entity(self, store: StorageAdapter, id: Ref | str) -> None:
        """C11: refs to it stay and dangle."""
        await store.load_entities(ALL)

        await store.delete(id)

        assert await store.read_by_ids(["site-1"]) == [None]
        assert ids(await store.read("siteRef == @site-1")) == ["ahu-1", "temp-1"]
        assert ids(await store.read("not siteRef->site")) == ["ahu-1", "temp-1"]

    async def test_an_unknown_id_is_an_error(self, store: StorageAdapter) -> None:
        """C4: a second time as well."""
        await store.load_entities([SITE])
        await store.delete("site-1")

        with pytest.raises(UnknownEntityError) as caught:
            await store.delete("site-1")

        assert caught.value.id == "site-1"

    async def test_its_history_goes_with_it(self, store: StorageAdapter) -> None:
        """A new entity of the same id begins without; that of others stays."""
        other = {**TEMP, "id": Ref("temp-2")}
        await store.load_entities([TEMP, other])
        for id in ("temp-1", "temp-2"):
            await store.his_write(id, [{"ts": _NOON, "val": 1}])

        await store.delete("temp-1")
        await store.create(TEMP)

        assert await store.his_read("temp-1", "2024-03-01") == []
        assert len(await store.his_read("temp-2", "2024-03-01")) == 1

    async def test_an_entity_in_the_trash_can_be_deleted(self, store: StorageAdapter) -> None:
        """C12: emptying the trash is deleting what is in it."""
        await store.load_entities([{**SITE, "trash": MARKER}])

        await store.delete("site-1")

        assert without_stamp(await store.create(SITE)) == SITE


class LoadTests:
    """`load_entities`."""

    async def test_it_returns_how_many(self, store: StorageAdapter) -> None:
        """An iterator will do; nothing is nothing."""
        assert await store.load_entities(iter(ALL)) == 3
        assert await store.load_entities([]) == 0
        assert await store.read_count("id") == 3

    async def test_it_replaces_by_id(self, store: StorageAdapter) -> None:
        """The whole entity: tags that are not in the new one are gone."""
        await store.load_entities(ALL)

        await store.load_entities([{"id": Ref("site-1"), "other": MARKER}])

        found = await store.read_by_id("site-1")
        assert without_stamp(found) == {"id": Ref("site-1"), "other": MARKER}
        assert await store.read_count("id") == 3
        assert await store.read("site") == []

    async def test_new_and_known_ids_together(self, store: StorageAdapter) -> None:
        """What is there already does not keep out what is not."""
        await store.load_entities({"id": Ref(f"e{i}"), "old": MARKER} for i in range(0, 100, 2))

        assert (
            await store.load_entities({"id": Ref(f"e{i}"), "new": MARKER} for i in range(100))
            == 100
        )

        assert await store.read_count("new") == 100
        assert await store.read_count("old") == 0

    async def test_of_two_with_one_id_the_last_counts(self, store: StorageAdapter) -> None:
        """One entity, counted once."""
        twice: list[Entity] = [{"id": Ref("a"), "n": Number(i)} for i in range(3)]

        assert await store.load_entities(twice) == 1

        assert (await store.read_by_id("a"))["n"] == Number(2)

    async def test_one_bad_entity_keeps_all_out(self, store: StorageAdapter) -> None:
        """All or nothing."""
        await store.load_entities([SITE])

        with pytest.raises(InvalidTagError):
            await store.load_entities([{**SITE, "geoCity": "Bergen"}, AHU, {"id": "no ref"}])

        assert ids(await store.read("id")) == ["site-1"]
        assert (await store.read_by_id("site-1"))["geoCity"] == "Oslo"

    async def test_an_error_of_the_source_keeps_all_out(self, store: StorageAdapter) -> None:
        """All or nothing: the error passes through."""

        def broken() -> Iterator[Entity]:
            yield SITE
            raise OSError("the file ends here")

        with pytest.raises(OSError, match="ends here"):
            await store.load_entities(broken())

        assert await store.read_count("id") == 0

    async def test_history_outlives_a_load(self, store: StorageAdapter) -> None:
        """An export can be loaded again."""
        await store.load_entities([TEMP])
        await store.his_write("temp-1", [{"ts": _NOON, "val": 1}])

        await store.load_entities([TEMP])

        assert len(await store.his_read("temp-1", "2024-03-01")) == 1

    async def test_many_entities(self, store: StorageAdapter) -> None:
        """More than one batch of any backend."""
        many = ({"id": Ref(f"e{i:05}"), "n": Number(i)} for i in range(11_000))

        assert await store.load_entities(many) == 11_000

        assert await store.read_count("n") == 11_000
        assert ids(await store.read("n >= 10_998")) == ["e10998", "e10999"]

    async def test_loads_at_a_time(self, store: StorageAdapter) -> None:
        """The same ids from several sides, in opposite orders: none waits for ever."""

        def batch(n: int) -> list[Entity]:
            order = range(50) if n % 2 else range(49, -1, -1)
            return [{"id": Ref(f"e{i}"), "n": Number(n)} for i in order]

        async def load(n: int) -> int:
            return await store.load_entities(batch(n))

        assert await asyncio.gather(*(load(n) for n in range(4))) == [50] * 4

        numbers = {entity["n"] for entity in await store.read("n")}
        assert len(numbers) == 1


class ModTests:
    """`mod`: a strictly increasing stamp of the last change (rule C6)."""

    async def test_every_change_of_an_entity_has_a_later_mod(self, store: StorageAdapter) -> None:
        """C6: also when the clock has not moved in between."""
        mods = [(await store.create(SITE))["mod"]]
        for i in range(20):
            changed = await store.update({"id": Ref("site-1"), "n": Number(i)})
            mods.append(changed["mod"])

        assert mods == sorted(set(mods))

    async def test_it_is_in_whole_milliseconds(self, store: StorageAdapter) -> None:
        """C6: so that it survives formats that know no more."""
        created = await store.create(SITE)

        assert created["mod"].microsecond % 1000 == 0

    async def test_a_load_has_one_mod(self, store: StorageAdapter) -> None:
        """C6: all of one batch."""
        await store.load_entities(ALL)

        assert len({entity["mod"] for entity in await store.read("id")}) == 1

    async def test_a_load_has_a_later_mod_than_what_it_replaces(
        self, store: StorageAdapter
    ) -> None:
        """C6: else a change that was based on the replaced one would pass."""
        old = await store.create(SITE)

        await store.load_entities([SITE])

        new = await store.read_by_id("site-1")
        assert new["mod"] > old["mod"]
        with pytest.raises(ConflictError):
            await store.update(old)
