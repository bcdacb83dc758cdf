"""Leases, ids and reports of watches (rules P1–P14), and the nav tree."""

from __future__ import annotations

import datetime as dt
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hsorm.errors import InvalidWatchError
from hsorm.kinds import Entity, Number, Ref
from hsorm.ops.nav import NavNode, nav_tree
from hsorm.ops.watch import (
    Changes,
    WatchRows,
    check_watch_id,
    has_expired,
    lease_of,
    new_watch_id,
    report,
)

_NOW = dt.datetime(2024, 3, 1, 12, tzinfo=dt.UTC)
_MINUTE = dt.timedelta(minutes=1)


def test_a_lease_is_a_minute_and_at_most_an_hour() -> None:
    """P2."""
    assert lease_of(None) == _MINUTE
    assert lease_of(Number(2, "hr")) == lease_of(1e9) == 60 * _MINUTE
    assert lease_of(0.5) == dt.timedelta(seconds=0.5)


@pytest.mark.parametrize("lease", [0, -5, "1min", Number(1)])
def test_what_is_no_lease(lease: Any) -> None:
    """P2: the error has the watch."""
    with pytest.raises(InvalidWatchError, match="lease") as caught:
        lease_of(lease, "w-1")

    assert caught.value.watch_id == "w-1"


def test_a_watch_expires_after_its_lease() -> None:
    """P12: not at its end."""
    assert not has_expired(_NOW, _MINUTE, _NOW + _MINUTE)
    assert has_expired(_NOW, _MINUTE, _NOW + _MINUTE + dt.timedelta(microseconds=1))


def test_ids_of_watches() -> None:
    """P2."""
    assert new_watch_id() != new_watch_id()
    assert new_watch_id().startswith("w-")
    assert check_watch_id("é 😀") == "é 😀"
    for bad in ("", "a\0", "\udc00", "x" * 1_001, 5):
        with pytest.raises(InvalidWatchError):
            check_watch_id(bad)  # type: ignore[arg-type]


def test_answers_are_lists_that_know_more() -> None:
    rows = WatchRows([{"id": Ref("a")}], watch_id="w-1", lease=_MINUTE, removed=iter([Ref("b")]))
    changes = Changes(cursor="5", more=True)

    assert rows == [{"id": Ref("a")}]
    assert (rows.watch_id, rows.lease, rows.removed) == ("w-1", _MINUTE, [Ref("b")])
    assert (changes, changes.cursor, changes.more) == ([], "5", True)


_IDS = st.sets(st.sampled_from("abcde"))


@given(_IDS, _IDS, _IDS)
def test_a_report(known: set[str], changed: set[str], there: set[str]) -> None:
    """P5, P9: what is there is a row; what is gone is told of once, if ever it was told of."""
    rows, removed = report(known, changed, there.__contains__)

    assert rows == sorted(changed & there)
    assert removed == sorted((changed & known) - there)
    assert report((known | set(rows)) - set(removed), changed - there, there.__contains__)[1] == []


# ---- the nav tree -------------------------------------------------------------------------------

_PARENTS = st.dictionaries(
    st.sampled_from("abcdefgh"), st.sampled_from([*"abcdefgh", "gone", None]), max_size=8
)


@given(_PARENTS, st.sets(st.sampled_from("abcdefgh")))
def test_each_entity_is_in_the_tree_once(parents: dict[str, str | None], sites: set[str]) -> None:
    """Whatever refers to what."""
    entities: list[Entity] = [
        {
            "id": Ref(id),
            ("site" if id in sites else "equip"): True,
            **({} if parent is None else {"equipRef": Ref(parent)}),
        }
        for id, parent in parents.items()
    ]

    tree = nav_tree(entities)

    found: list[str] = []
    roots = [node.entity["id"].val for node in tree]
    _walk(tree, found)
    assert sorted(found) == sorted(parents)
    assert roots == sorted(roots)
    assert {id for id in parents if id in sites} <= set(roots)


def _walk(nodes: list[NavNode], found: list[str]) -> None:
    for node in nodes:
        id = node.entity["id"]
        found.append(id.val)
        assert all(child.entity["equipRef"] == id for child in node.children)
        _walk(node.children, found)
