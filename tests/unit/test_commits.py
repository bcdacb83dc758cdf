"""Diffs and what they do (rules C1–C14); live tags and refs, which they rest on."""

from __future__ import annotations

import datetime as dt
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hsorm.errors import (
    ConflictError,
    EntityExistsError,
    InvalidDiffError,
    InvalidTagError,
    UnknownEntityError,
)
from hsorm.kinds import MARKER, REMOVE, Entity, Number, Ref, equal
from hsorm.ops.commits import CheckedDiff, Diff, apply, check_diffs, commit_mod, committed
from hsorm.ops.entities import check_live, check_loaded, check_new, check_update, merge
from hsorm.ops.live import LIVE_TAGS, merge_live, split
from hsorm.ops.refs import DanglingRef, dangling, referenced, refs_in
from tests.unit import strategies

_NOW = dt.datetime(2024, 3, 1, 12, tzinfo=dt.UTC)
_EARLIER = _NOW - dt.timedelta(hours=1)
_TICK = dt.timedelta(milliseconds=1)


def _entity(**tags: Any) -> Entity:
    return {"id": Ref("a"), "mod": _EARLIER, **tags}


def _one(diff: Diff) -> CheckedDiff:
    (checked,) = check_diffs(diff, _NOW)
    return checked


# ---- making diffs -------------------------------------------------------------------------------


def test_an_entity_says_what_a_diff_is_based_on() -> None:
    """C4: and a `mod` that is given has the last word."""
    entity = _entity(x=MARKER)
    diffs = [Diff.update(entity, {}), Diff.remove(entity), Diff.trash(entity), Diff.restore(entity)]

    assert [(diff.id, diff.mod) for diff in diffs] == [(Ref("a"), _EARLIER)] * 4
    assert Diff.update(entity, {}, mod=_NOW).mod == _NOW
    assert (Diff.update("@a", {}).id, Diff.update("@a", {}).mod) == (Ref("a"), None)


def test_the_trash_is_a_tag() -> None:
    """C12."""
    assert Diff.trash("a", force=True) == Diff("update", Ref("a"), {"trash": MARKER}, force=True)
    assert Diff.restore("a", mod=_NOW) == Diff("update", Ref("a"), {"trash": REMOVE}, _NOW)


def test_a_diff_keeps_nothing_of_the_callers() -> None:
    given_changes: Entity = {"x": MARKER}
    diff = Diff.add(given_changes)
    given_changes.clear()

    assert diff.changes == {"x": MARKER}


# ---- checking them ------------------------------------------------------------------------------


def test_an_id_is_made_of_the_time_and_by_chance() -> None:
    """C2."""
    first, second = check_diffs([Diff.add({}), Diff.add({})], _NOW)

    assert first.id != second.id
    assert int(first.id.val.partition("-")[0], 16) == int(_NOW.timestamp())
    assert [len(part) for part in first.id.val.split("-")] == [8, 8]


def test_changes_are_taken_as_kinds() -> None:
    """C5: REMOVE stays until it is applied."""
    diff = _one(Diff.add({"n": 5, "x": {"_kind": "marker"}, "y": REMOVE}, "a"))

    assert diff.changes == {"n": Number(5), "x": MARKER, "y": REMOVE}


def test_an_error_says_which_diff_it_is() -> None:
    with pytest.raises(InvalidDiffError) as caught:
        check_diffs([Diff.add({}, "a"), Diff.remove("b")], _NOW)

    assert (caught.value.index, caught.value.id) == (1, "b")


@pytest.mark.parametrize(
    "diff",
    [
        Diff("change", Ref("a"), force=True),  # type: ignore[arg-type]
        {"op": "add"},
        Diff.update("a", {}, mod=dt.datetime(2024, 3, 1)),  # noqa: DTZ001 - that is what is wrong
        Diff.update("a", {}, mod="yesterday"),  # type: ignore[arg-type]
    ],
)
def test_what_is_no_diff(diff: Any) -> None:
    with pytest.raises(InvalidDiffError):
        check_diffs([diff], _NOW)


@pytest.mark.parametrize("id", [None, Ref("no id"), Ref("")])
def test_an_update_needs_an_id(id: Ref | None) -> None:
    """C3."""
    with pytest.raises(InvalidTagError):
        check_diffs(Diff("update", id, force=True), _NOW)


@pytest.mark.parametrize("name", sorted(LIVE_TAGS))
def test_a_live_tag_belongs_in_a_transient_diff(name: str) -> None:
    """C7, C8: set or removed."""
    for val in (Number(1), REMOVE):
        assert _one(Diff.update("a", {name: val}, force=True, transient=True)).transient
        with pytest.raises(InvalidDiffError):
            check_diffs(Diff.update("a", {name: val}, force=True), _NOW)
        with pytest.raises(InvalidDiffError):
            check_diffs(Diff.add({name: val}), _NOW)


# ---- applying them ------------------------------------------------------------------------------


def test_a_mod_is_later_than_all_that_it_replaces() -> None:
    """C6: than the last one of the storage, and than those of the entities."""
    diffs = check_diffs([Diff.remove("a", force=True), Diff.add({}, "b")], _NOW)
    ahead = _NOW + dt.timedelta(hours=1)

    assert commit_mod(diffs, {}, _NOW) == _NOW
    assert commit_mod(diffs, {}, _NOW, _NOW) == _NOW + _TICK
    assert commit_mod(diffs, {"a": _entity()}, _NOW, None) == _NOW
    assert commit_mod(diffs, {"a": {**_entity(), "mod": ahead}}, _NOW, _NOW) == ahead + _TICK
    assert commit_mod(diffs, {"a": {"id": Ref("a"), "mod": "text"}}, _NOW) == _NOW


def test_an_addition_drops_remove() -> None:
    """C2, C5."""
    diff = _one(Diff.add({"x": MARKER, "y": REMOVE}, "a"))

    assert apply(diff, None, _NOW) == {"id": Ref("a"), "x": MARKER, "mod": _NOW}
    with pytest.raises(EntityExistsError):
        apply(diff, _entity(trash=MARKER), _NOW)


def test_an_update_merges() -> None:
    """C4, C5: live tags stay."""
    old = _entity(x=MARKER, y=MARKER, curVal=Number(1))
    diff = _one(Diff.update(old, {"x": REMOVE, "z": MARKER, "absent": REMOVE}))

    new = apply(diff, old, _NOW)

    assert new == {"id": Ref("a"), "y": MARKER, "z": MARKER, "curVal": Number(1), "mod": _NOW}
    assert old == _entity(x=MARKER, y=MARKER, curVal=Number(1))


def test_a_transient_update_keeps_mod() -> None:
    """C6: also of an entity that has none."""
    diff = _one(Diff.update("a", {"curVal": 1}, transient=True, force=True))

    assert apply(diff, _entity(), _NOW) == _entity(curVal=Number(1))
    assert apply(diff, {"id": Ref("a")}, _NOW) == {"id": Ref("a"), "curVal": Number(1)}


@pytest.mark.parametrize("options", [{}, {"transient": True}])
def test_another_mod_is_a_conflict(options: dict[str, bool]) -> None:
    """C4: instants count, not zones; the stored entity comes along, in a copy."""
    stored = _entity(dis="A", list=[Number(1)])
    elsewhere = _EARLIER.astimezone(dt.timezone(dt.timedelta(hours=5)))
    assert apply(_one(Diff.update("a", {}, mod=elsewhere, **options)), stored, _NOW) is not None

    with pytest.raises(ConflictError) as caught:
        apply(_one(Diff.update("a", {}, mod=_NOW, **options)), stored, _NOW)

    current = caught.value.current
    assert current == stored
    assert current["id"].dis == "A"
    current["list"].clear()
    assert stored["list"] == [Number(1)]
    assert (caught.value.expected, caught.value.actual) == (_NOW.isoformat(), _EARLIER.isoformat())


def test_what_is_not_there_cannot_be_changed() -> None:
    """C4."""
    for diff in (Diff.update("a", {}, force=True), Diff.remove("a", force=True)):
        with pytest.raises(UnknownEntityError):
            apply(_one(diff), None, _NOW)


def test_what_was_done() -> None:
    """C14, R12: the display text is in the ids, and `mod` is that of the batch."""
    diff = _one(Diff.remove(_entity()))
    done = committed(diff, _entity(dis="A"), None, _NOW)

    assert done.old is not None
    assert done.old["id"].dis == "A"
    assert (done.new, done.old_mod, done.mod) == (None, _EARLIER, _NOW)


@given(strategies.entities(storable=True), strategies.entities(storable=True))
def test_an_update_is_what_its_changes_say(old: Entity, new: Entity) -> None:
    """C5: for tags of any kind; the rest is as it was."""
    refused = {"id", "mod", "name", "hisEnd", "ext"}
    changes = {name: val for name, val in new.items() if name not in refused | LIVE_TAGS}
    base = {**old, "id": Ref("a"), "mod": _EARLIER}
    merged = apply(_one(Diff.update(base, changes)), base, _NOW)

    assert merged is not None
    assert equal({name: merged[name] for name in changes}, changes)
    rest = base.keys() - changes.keys() - {"mod"}
    assert equal({name: merged[name] for name in rest}, {name: base[name] for name in rest})
    assert merged.keys() == base.keys() | changes.keys()


# ---- by the other ways in -----------------------------------------------------------------------


def test_a_load_leaves_out_what_only_a_storage_sets() -> None:
    """C8: other names are kept as they are."""
    raw = {"id": Ref("a"), "mod": _NOW, "hisSize": 5, "transient": MARKER, "name": "a b", "ext": 1}

    assert check_loaded(raw) == {"id": Ref("a"), "name": "a b", "ext": Number(1)}


def test_create_and_update_refuse_it() -> None:
    """C8, C9."""
    assert check_new({"id": Ref("a"), "mod": 5, "ext": 1}) == {"id": Ref("a"), "ext": Number(1)}
    assert check_update({"id": Ref("a"), "mod": _NOW, "name": REMOVE}).keys() == {
        "id", "mod", "name",
    }  # fmt: skip
    for check in (check_new, check_update):
        for tag, val in (("hisSize", 5), ("name", "a b"), ("name", MARKER)):
            with pytest.raises(InvalidTagError):
                check({"id": Ref("a"), tag: val})


def test_live_tags_alone_do_not_touch_mod() -> None:
    """C6."""
    assert merge(_entity(), {"id": Ref("a"), "curVal": Number(1)}, _NOW)["mod"] == _EARLIER
    assert merge(_entity(), {"id": Ref("a")}, _NOW)["mod"] == _NOW
    both = {"id": Ref("a"), "curVal": Number(1), "x": MARKER}
    assert merge(_entity(), both, _NOW)["mod"] == _NOW


# ---- live tags ----------------------------------------------------------------------------------


def test_where_a_tag_lives_follows_from_its_name() -> None:
    """C8."""
    tags, live = split(_entity(curVal=Number(1), x=MARKER, writeLevel=Number(17)))

    assert tags == _entity(x=MARKER)
    assert live == {"curVal": Number(1), "writeLevel": Number(17)}


@given(strategies.entities(storable=True), st.sets(st.sampled_from(sorted(LIVE_TAGS))))
def test_split_loses_nothing(entity: Entity, names: set[str]) -> None:
    whole = {**entity, **dict.fromkeys(names, MARKER)}
    tags, live = split(whole)

    assert tags.keys() & live.keys() == set()
    assert {**tags, **live} == whole
    assert live.keys() <= LIVE_TAGS


def test_live_tags_are_merged() -> None:
    """C5."""
    assert merge_live({"curVal": 1, "curErr": "x"}, {"curErr": REMOVE, "hisErr": REMOVE}) == {
        "curVal": 1
    }


def test_only_live_tags_are_live() -> None:
    """C8."""
    assert check_live("a", {"curVal": 5, "curErr": REMOVE}) == {
        "curVal": Number(5), "curErr": REMOVE,
    }  # fmt: skip
    for tags in ({"dis": "A"}, {"id": Ref("a")}, {"curVal": None}):
        with pytest.raises(InvalidTagError) as caught:
            check_live("a", tags)
        assert caught.value.id == "a"


# ---- refs ---------------------------------------------------------------------------------------


def test_refs_of_an_entity() -> None:
    """F45: as a value, or in a list; not in dicts, not of live tags."""
    entity = _entity(
        aRef=Ref("x"), list=[Ref("y"), "z", Ref("x")], dict={"r": Ref("q")}, curVal=Ref("q")
    )

    assert list(refs_in(entity)) == [("aRef", Ref("x")), ("list", Ref("y")), ("list", Ref("x"))]


def test_dangling_refs_are_in_order() -> None:
    found = [("b", "t", "x"), ("a", "u", "x"), ("a", "t", "y"), ("a", "t", "x"), ("a", "t", "x")]

    assert dangling(found) == [
        DanglingRef(Ref(id), tag, Ref(ref))
        for id, tag, ref in [("a", "t", "x"), ("a", "t", "y"), ("a", "u", "x"), ("b", "t", "x")]
    ]


def test_who_refers_to_an_entity() -> None:
    """Others only."""
    error = referenced("a", [("c", "t"), ("a", "t"), ("b", "u"), ("b", "t")])

    assert error is not None
    assert (error.by, error.count) == ([("b", "t"), ("b", "u"), ("c", "t")], 3)
    assert referenced("a", [("a", "t")]) is None
