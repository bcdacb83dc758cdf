"""Commits, and what refers to what (rules C1–C14)."""

from __future__ import annotations

import asyncio
import datetime as dt
from typing import Any, Final

import pytest

from hsorm.errors import (
    ConflictError,
    EntityExistsError,
    InvalidDiffError,
    InvalidTagError,
    ReferencedError,
    UnknownEntityError,
)
from hsorm.kinds import MARKER, REMOVE, Number, Ref
from hsorm.ops.commits import Diff
from hsorm.storage.protocol import DanglingRef, StorageAdapter
from hsorm.testing.conformance.examples import AHU, ALL, SITE, TEMP, ids, without_stamp

__all__ = ["CommitTests", "RefTests", "TagRuleTests"]

_NOON: Final = dt.datetime(2024, 3, 1, 12, tzinfo=dt.UTC)


class CommitTests:
    """`commit`."""

    async def test_an_addition(self, store: StorageAdapter) -> None:
        """C2, C14: the entity as stored, and nothing before it."""
        (done,) = await store.commit(Diff.add({"dis": "A", "site": MARKER}, "a"))

        assert (done.old, done.old_mod) == (None, None)
        assert done.new == await store.read_by_id("a")
        assert done.new == {"id": Ref("a"), "dis": "A", "site": MARKER, "mod": done.mod}
        assert done.new["id"].dis == "A"

    async def test_an_id_is_made_where_none_is_given(self, store: StorageAdapter) -> None:
        """C2: eight hex digits, twice; another one each time."""
        done = await store.commit([Diff.add({"n": Number(i)}) for i in range(50)])

        made = {entry.new["id"].val for entry in done if entry.new is not None}
        assert len(made) == 50
        assert all(len(id) == 17 and id[8] == "-" for id in made)
        assert await store.read_count("n") == 50

    async def test_an_update(self, store: StorageAdapter) -> None:
        """C4, C5, C14: based on what was read; both sides are in the answer."""
        await store.load_entities([SITE])
        site = await store.read_by_id("site-1")

        changes = {"geoCity": "Bergen", "area": REMOVE, "absent": REMOVE}
        (done,) = await store.commit(Diff.update(site, changes))

        assert done.old == site
        assert done.old_mod == site["mod"]
        assert done.mod is not None
        assert done.mod > site["mod"]
        expected = {**SITE, "geoCity": "Bergen", "mod": done.mod}
        del expected["area"]
        assert done.new == expected == await store.read_by_id("site-1")

    async def test_a_removal(self, store: StorageAdapter) -> None:
        """C11, C14: refs to it stay, its history goes."""
        await store.load_entities(ALL)
        await store.his_write("temp-1", [{"ts": _NOON, "val": 1}])
        temp = await store.read_by_id("temp-1")

        (done,) = await store.commit(Diff.remove(temp))

        assert (done.old, done.new) == (temp, None)
        assert await store.read_by_ids(["temp-1"]) == [None]
        await store.create(TEMP)
        assert await store.his_read("temp-1", "2024-03-01") == []

    async def test_a_batch_is_aligned_and_has_one_mod(self, store: StorageAdapter) -> None:
        """C6: later than each `mod` that it replaces."""
        await store.load_entities(ALL)
        site, ahu, temp = await store.read_by_ids(["site-1", "ahu-1", "temp-1"])
        assert site is not None
        assert ahu is not None
        assert temp is not None

        done = await store.commit(
            [
                Diff.remove(temp),
                Diff.add({"x": MARKER}, "new"),
                Diff.update(site, {"x": MARKER}),
                Diff.update("ahu-1", {"x": MARKER}, mod=ahu["mod"]),
            ]
        )

        assert [entry.new and entry.new["id"].val for entry in done] == [
            None, "new", "site-1", "ahu-1",
        ]  # fmt: skip
        assert len({entry.mod for entry in done}) == 1
        assert all(entry.mod and entry.old_mod < entry.mod for entry in done if entry.old_mod)
        assert ids(await store.read("x")) == ["ahu-1", "new", "site-1"]

    async def test_every_commit_has_a_later_mod(self, store: StorageAdapter) -> None:
        """C6, C13: also without changes, and when the clock has not moved."""
        (done,) = await store.commit(Diff.add({}, "a"))
        mods = [done.mod]
        for _ in range(20):
            assert done.new is not None
            (done,) = await store.commit(Diff.update(done.new, {}))
            mods.append(done.mod)

        assert mods == sorted({mod for mod in mods if mod is not None})

    async def test_the_trash(self, store: StorageAdapter) -> None:
        """C12: in and out again; the id stays taken."""
        await store.load_entities(ALL)

        (trashed,) = await store.commit(Diff.trash(await store.read_by_id("site-1")))
        hidden = await store.read_by_ids(["site-1"])
        with pytest.raises(EntityExistsError):
            await store.commit(Diff.add({}, "site-1"))
        assert trashed.new is not None
        (restored,) = await store.commit(Diff.restore(trashed.new))

        assert hidden == [None]
        assert restored.new is not None
        assert without_stamp(restored.new) == SITE
        assert await store.read_by_id("site-1") == restored.new

    @pytest.mark.parametrize("op", ["update", "remove"])
    async def test_an_older_mod_is_a_conflict(self, store: StorageAdapter, op: str) -> None:
        """C4: nothing changes; the error brings what is stored."""
        await store.load_entities([SITE])
        old = await store.read_by_id("site-1")
        new = await store.update({"id": Ref("site-1"), "geoCity": "Bergen"})
        diff = Diff.remove(old) if op == "remove" else Diff.update(old, {"geoCity": "Tromsø"})

        with pytest.raises(ConflictError) as caught:
            await store.commit([Diff.add({}, "other"), diff])

        assert caught.value.id == "site-1"
        assert caught.value.current == new
        assert caught.value.expected is not None
        assert dt.datetime.fromisoformat(caught.value.expected) == old["mod"]
        assert await store.read_by_id("site-1") == new
        assert await store.read_by_ids(["other"]) == [None]

    async def test_force_asks_for_no_mod(self, store: StorageAdapter) -> None:
        """C4."""
        await store.load_entities([SITE, AHU])

        await store.commit(
            [Diff.update("site-1", {"x": MARKER}, force=True), Diff.remove("ahu-1", force=True)]
        )

        assert ids(await store.read("id")) == ["site-1"]
        assert await store.read_count("x") == 1

    @pytest.mark.parametrize(
        "diff", [Diff.update("gone", {}, force=True), Diff.remove("gone", force=True)]
    )
    async def test_an_unknown_id_is_an_error(self, store: StorageAdapter, diff: Diff) -> None:
        """C4: force does not help, and nothing of the batch is made."""
        with pytest.raises(UnknownEntityError) as caught:
            await store.commit([Diff.add({}, "a"), diff])

        assert caught.value.id == "gone"
        assert await store.read_count("id") == 0

    async def test_a_taken_id_is_an_error(self, store: StorageAdapter) -> None:
        """C2, C6: and nothing of the batch is made."""
        await store.load_entities([SITE])

        with pytest.raises(EntityExistsError) as caught:
            await store.commit([Diff.add({}, "a"), Diff.add({}, "site-1")])

        assert caught.value.id == "site-1"
        assert ids(await store.read("id")) == ["site-1"]

    @pytest.mark.parametrize(
        ("diffs", "reason"),
        [
            ([], "empty batch"),
            ([Diff.add({}, "b"), Diff.update("b", {}, force=True)], "twice"),
            (
                [
                    Diff.update("a", {"curVal": 1}, force=True, transient=True),
                    Diff.update("b", {}, force=True),
                ],
                "transient and persistent",
            ),
            ([Diff.add({"id": Ref("b")})], "id"),
            ([Diff.update("a", {"x": MARKER})], "force=True"),
            ([Diff.remove("a")], "force=True"),
            ([Diff("remove", Ref("a"), {"x": MARKER}, force=True)], "no changes"),
            ([Diff("add", Ref("b"), {"curVal": 1}, transient=True)], "transient"),
            ([Diff("remove", Ref("a"), force=True, transient=True)], "transient"),
            ([Diff.update("a", {"curVal": 1}, force=True)], "live tag"),
            ([Diff.update("a", {"dis": "A"}, force=True, transient=True)], "no live tag"),
            ([Diff.update("a", {"hisSize": REMOVE}, force=True)], "hisSize"),
            ([Diff.update("a", {"mod": _NOON}, force=True)], "mod"),
            ([Diff.update("a", {"ext": "x"}, force=True)], "bypass_restricted"),
            ([Diff.update("a", {"name": "no name"}, force=True)], "no name"),
        ],
    )
    async def test_what_breaks_a_rule_changes_nothing(
        self, store: StorageAdapter, diffs: list[Diff], reason: str
    ) -> None:
        """C1, C2, C4, C6, C8, C9: whatever else is in the batch."""
        await store.load_entities([{"id": Ref("a"), "n": Number(1)}])
        before = await store.read("id")

        with pytest.raises(InvalidDiffError, match=reason):
            await store.commit([Diff.add({}, "first"), *diffs] if len(diffs) == 1 else diffs)

        assert await store.read("id") == before

    @pytest.mark.parametrize("changes", [{"x": None}, {"No": 1}, {"x": "a\0b"}, {"x": object()}])
    async def test_what_cannot_be_stored_changes_nothing(
        self, store: StorageAdapter, changes: dict[str, Any]
    ) -> None:
        """C5, C9."""
        with pytest.raises(InvalidTagError):
            await store.commit([Diff.add({}, "a"), Diff.add(changes, "b")])
        with pytest.raises(InvalidTagError):
            await store.commit([Diff.add({}, "a"), Diff.add({}, "no id")])

        assert await store.read_count("id") == 0

    async def test_restricted_tags(self, store: StorageAdapter) -> None:
        """C8: with the flag that is for them."""
        await store.commit(Diff.add({"ext": "x"}, "a", bypass_restricted=True))
        changes = {"ext": REMOVE, "fileSize": 5}
        await store.commit(Diff.update("a", changes, force=True, bypass_restricted=True))

        assert (await store.read_by_id("a")).keys() == {"id", "mod", "fileSize"}

    async def test_a_transient_diff_keeps_mod(self, store: StorageAdapter) -> None:
        """C6, C7: live tags are set, `mod` is looked at, and stays."""
        await store.load_entities([TEMP])
        temp = await store.read_by_id("temp-1")

        changes = {"curVal": Number(21, "°C"), "curStatus": "ok", "curErr": REMOVE}
        (done,) = await store.commit(Diff.update(temp, changes, transient=True))

        assert done.mod == done.old_mod == temp["mod"]
        expected = {**temp, "curVal": Number(21, "°C"), "curStatus": "ok"}
        assert (done.old, done.new) == (temp, expected)
        assert await store.read_by_id("temp-1") == expected

    async def test_a_transient_diff_on_an_older_mod_is_a_conflict(
        self, store: StorageAdapter
    ) -> None:
        """C4."""
        await store.load_entities([TEMP])
        temp = await store.read_by_id("temp-1")
        await store.update({"id": Ref("temp-1"), "x": MARKER})

        with pytest.raises(ConflictError):
            await store.commit(Diff.update(temp, {"curVal": 1}, transient=True))

        assert "curVal" not in await store.read_by_id("temp-1")

    async def test_live_tags_outlive_a_commit_and_are_in_its_answer(
        self, store: StorageAdapter
    ) -> None:
        """R12, C14."""
        await store.load_entities([TEMP])
        await store.set_live("temp-1", {"curVal": Number(5)})

        (done,) = await store.commit(Diff.update(await store.read_by_id("temp-1"), {"x": MARKER}))

        assert done.old is not None
        assert done.new is not None
        assert done.old["curVal"] == done.new["curVal"] == Number(5)

    async def test_refs_keep_their_display_text(self, store: StorageAdapter) -> None:
        """K3: what goes in comes out, which C10 would lose."""
        await store.commit(Diff.add({"x": Ref("b", "B"), "y": [Ref("c", "C")]}, "a"))

        found = await store.read_by_id("a")

        assert found["x"].dis == "B"
        assert found["y"][0].dis == "C"

    async def test_of_many_on_one_mod_one_wins(self, store: StorageAdapter) -> None:
        """C4, C6: and what lost has changed nothing."""
        await store.load_entities([SITE, AHU])
        site = await store.read_by_id("site-1")

        answers = await asyncio.gather(
            *(
                store.commit([Diff.add({}, f"new{i}"), Diff.update(site, {"n": Number(i)})])
                for i in range(6)
            ),
            return_exceptions=True,
        )

        won = [i for i, answer in enumerate(answers) if isinstance(answer, list)]
        assert len(won) == 1
        assert sum(isinstance(answer, ConflictError) for answer in answers) == 5
        assert (await store.read_by_id("site-1"))["n"] == Number(won[0])
        assert ids(await store.read("not site and not ahu")) == [f"new{won[0]}"]

    async def test_batches_in_opposite_orders(self, store: StorageAdapter) -> None:
        """C6: none waits for ever, all are made."""
        await store.load_entities({"id": Ref(f"e{i}")} for i in range(10))

        async def batch(n: int) -> None:
            order = range(10) if n % 2 else range(9, -1, -1)
            await store.commit([Diff.update(f"e{i}", {f"t{n}": MARKER}, force=True) for i in order])

        await asyncio.gather(*(batch(n) for n in range(6)))

        assert await store.read_count("t0 and t1 and t2 and t3 and t4 and t5") == 10

    async def test_the_answer_may_be_changed(self, store: StorageAdapter) -> None:
        """Old and new share nothing, neither with each other nor with what is stored."""
        await store.commit(Diff.add({"list": [Number(1)], "dict": {"a": MARKER}}, "a"))
        (done,) = await store.commit(Diff.update("a", {"x": MARKER}, force=True))
        assert done.old is not None
        assert done.new is not None

        done.new["list"].append(Number(2))
        done.new["dict"].clear()

        assert done.old["list"] == [Number(1)]
        found = await store.read_by_id("a")
        assert (found["list"], found["dict"]) == ([Number(1)], {"a": MARKER})

    async def test_hayson_is_decoded(self, store: StorageAdapter) -> None:
        """§1.1: as in `create`."""
        await store.commit(Diff.add({"x": {"_kind": "marker"}, "n": 5}, "a"))
        await store.commit(Diff.update("a", {"x": {"_kind": "remove"}}, force=True))

        assert without_stamp(await store.read_by_id("a")) == {"id": Ref("a"), "n": Number(5)}


class TagRuleTests:
    """What `create`, `update` and `load_entities` make of the tags that C8 and C9 speak of."""

    async def test_a_load_leaves_out_what_only_a_storage_sets(self, store: StorageAdapter) -> None:
        """C8: exports of other systems have it."""
        managed = {"hisSize": Number(5), "hisEnd": _NOON, "transient": MARKER, "mod": _NOON}
        await store.load_entities([{**TEMP, **managed}])

        found = await store.read_by_id("temp-1")

        assert without_stamp(found) == TEMP
        assert found["mod"] > _NOON

    @pytest.mark.parametrize("way", ["create", "update"])
    @pytest.mark.parametrize("tags", [{"hisSize": 5}, {"transient": MARKER}, {"name": "a b"}])
    async def test_create_and_update_refuse_it(
        self, store: StorageAdapter, way: str, tags: dict[str, Any]
    ) -> None:
        """C8, C9."""
        if way == "update":
            await store.create(SITE)
        before = await store.read("id")
        write: Any = getattr(store, way)

        with pytest.raises(InvalidTagError) as caught:
            await write({"id": Ref("site-1"), **tags})

        assert caught.value.tag in tags
        assert await store.read("id") == before

    async def test_a_name_is_a_ref_id(self, store: StorageAdapter) -> None:
        """C9: and may be removed."""
        await store.create({"id": Ref("a"), "name": "a-1"})

        updated = await store.update({"id": Ref("a"), "name": REMOVE})

        assert "name" not in updated


class RefTests:
    """`delete(unless_referenced=True)` and `check_refs`."""

    async def test_what_others_refer_to_is_kept(self, store: StorageAdapter) -> None:
        """By a ref or in a list of refs; the error says by whom."""
        await store.load_entities([*ALL, {"id": Ref("x"), "sites": [Ref("q"), Ref("site-1")]}])

        with pytest.raises(ReferencedError) as caught:
            await store.delete("site-1", unless_referenced=True)

        assert caught.value.by == [("ahu-1", "siteRef"), ("temp-1", "siteRef"), ("x", "sites")]
        assert (caught.value.id, caught.value.count) == ("site-1", 3)
        assert "site" in await store.read_by_id("site-1")

    async def test_only_ten_are_named(self, store: StorageAdapter) -> None:
        """All are counted."""
        others = [{**AHU, "id": Ref(f"a{i:02}")} for i in range(15)]
        await store.load_entities([SITE, *others])

        with pytest.raises(ReferencedError) as caught:
            await store.delete("site-1", unless_referenced=True)

        assert caught.value.by == [(f"a{i:02}", "siteRef") for i in range(10)]
        assert caught.value.count == 15

    async def test_what_nobody_refers_to_is_deleted(self, store: StorageAdapter) -> None:
        """The entity itself, what is in the trash, and refs inside of dicts do not count."""
        entities = [
            {**SITE, "selfRef": Ref("site-1")},
            {**AHU, "trash": MARKER},
            {"id": Ref("x"), "dict": {"siteRef": Ref("site-1")}, "text": "site-1"},
        ]
        await store.load_entities(entities)

        await store.delete("site-1", unless_referenced=True)

        assert await store.read_by_ids(["site-1"]) == [None]

    async def test_an_unknown_id_comes_first(self, store: StorageAdapter) -> None:
        """C4."""
        await store.load_entities([AHU])

        with pytest.raises(UnknownEntityError):
            await store.delete("site-1", unless_referenced=True)

    async def test_dangling_refs(self, store: StorageAdapter) -> None:
        """C11: by id, tag and ref, each once."""
        entities = [
            {**SITE, "selfRef": Ref("site-1"), "ownerRef": Ref("owner")},
            {**AHU, "feeds": [Ref("z2"), Ref("z1"), Ref("z2"), Ref("site-1"), "text"]},
            {"id": Ref("gone"), "siteRef": Ref("nowhere"), "trash": MARKER},
            {"id": Ref("b"), "aRef": Ref("gone"), "dict": {"ref": Ref("nowhere")}},
        ]
        await store.load_entities(entities)

        found = await store.check_refs()

        assert found == [
            DanglingRef(Ref("ahu-1"), "feeds", Ref("z1")),
            DanglingRef(Ref("ahu-1"), "feeds", Ref("z2")),
            DanglingRef(Ref("site-1"), "ownerRef", Ref("owner")),
        ]

    async def test_nothing_dangles(self, store: StorageAdapter) -> None:
        """Until somebody deletes."""
        await store.load_entities(ALL)
        before = await store.check_refs()

        await store.delete("ahu-1")

        assert before == []
        assert await store.check_refs() == [DanglingRef(Ref("temp-1"), "equipRef", Ref("ahu-1"))]
