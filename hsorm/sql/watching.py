"""The statements of watches and the change feed: see `hsorm.sql.stamps` for how they are exact.

Each is built once for a storage and executed with named values. What says how far it has come does
so in the same statement that reads the rows: both are of one snapshot.
"""

from __future__ import annotations

from typing import Any, Final

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    ColumnElement,
    Delete,
    Double,
    Insert,
    Integer,
    Select,
    Subquery,
    Text,
    Update,
    and_,
    bindparam,
    case,
    cast,
    delete,
    func,
    literal_column,
    not_,
    null,
    or_,
    select,
    true,
    tuple_,
    union_all,
    update,
)
from sqlalchemy.sql.dml import ReturningDelete, ReturningInsert

from hsorm.filter.ast import Node
from hsorm.sql.changing import given_rows, insert_into, listed_ids, live_text
from hsorm.sql.constructs import CurrentCursor, GivenTexts, HasTag
from hsorm.sql.models import Tables
from hsorm.sql.stamps import changed_since
from hsorm.sql.statements import matching
from hsorm.sql.types import Instant

__all__ = [
    "FEW",
    "add_members",
    "all_matching",
    "changed_few",
    "changed_matching",
    "changed_members",
    "close_watch",
    "current_cursor",
    "current_matching",
    "current_members",
    "current_of",
    "cursor_and_size",
    "drop_all_members",
    "drop_members",
    "feed",
    "feed_of_all",
    "forget_history",
    "forget_removals",
    "forget_watches",
    "lock_watch",
    "mark_members",
    "note_forgotten",
    "open_watch",
    "push_watch",
    "renew_watch",
]

FORGOTTEN: Final = ""
"""The id of the row of removals that holds the newest stamp which was forgotten; no entity's."""


def _cursor(tables: Tables) -> Subquery:
    """How far changes have come, and the newest that was forgotten: one row."""
    removals = tables.removals
    forgotten = select(removals.c.changed).where(removals.c.id == FORGOTTEN).scalar_subquery()
    cursor = CurrentCursor(tables.change_clock.c.n).label("cursor")
    return select(cursor, forgotten.label("forgotten")).subquery("now")


def _beside_cursor(tables: Tables, rows: Select[Any]) -> Select[Any]:
    """Select rows beside the cursor, which comes even if there are none: then `id` is NULL."""
    now, found = _cursor(tables), rows.subquery("found")
    return select(*now.c, *found.c).select_from(now.outerjoin(found, true()))


def _tags(tables: Tables) -> ColumnElement[Any]:
    return cast(tables.entities.c.tags, Text()).label("tags")


def _in_watch(tables: Tables) -> ColumnElement[bool]:
    return tables.watch_ids.c.watch_id == bindparam("watch", type_=Text())


def current_cursor(tables: Tables, dialect: str) -> Select[Any]:
    """Select how far changes have come."""
    return select(CurrentCursor(tables.change_clock.c.n))


FEW: Final = 100
"""A watch of so many entities is looked at by these, a larger one by what has changed."""


def cursor_and_size(tables: Tables, dialect: str) -> Select[Any]:
    """Select how far changes have come, and how many entities are in a watch, up to `FEW` + 1."""
    some = select(tables.watch_ids.c.entity_id).where(_in_watch(tables))
    counted = select(func.count()).select_from(_limited(some, FEW + 1))
    return select(CurrentCursor(tables.change_clock.c.n), counted.scalar_subquery())


def _limited(rows: Select[Any], most: int) -> Subquery:
    return rows.limit(literal_column(str(most), Integer())).subquery()


# ---- the watches themselves ---------------------------------------------------------------------


def lock_watch(tables: Tables, dialect: str) -> Select[Any]:
    """Select a watch; others must wait to poll or change it.

    To be executed before what takes the cursor: of two polls at a time, the second must not look
    before the first is done.
    """
    watches = tables.watches
    columns = (watches.c.filter, watches.c.cursor, watches.c.lease, watches.c.expires)
    return (
        select(*columns, watches.c.closed)
        .where(watches.c.id == bindparam("watch", type_=Text()))
        .with_for_update()
    )


def open_watch(tables: Tables, dialect: str) -> ReturningInsert[Any]:
    """Insert a watch unless its id is taken; returns the id when it was not."""
    rows = insert_into(dialect, tables.watches).values(
        id=bindparam("watch", type_=Text()),
        dis=bindparam("dis", type_=Text()),
        filter=bindparam("filter", type_=Text()),
        cursor=bindparam("cursor", type_=Text()),
        lease=bindparam("lease", type_=Double()),
        expires=bindparam("expires", type_=Instant()),
        closed=bindparam("closed", type_=Boolean()),
        pushed=bindparam("pushed", type_=Boolean()),
    )
    opened: ReturningInsert[Any] = rows.on_conflict_do_nothing(index_elements=["id"]).returning(
        tables.watches.c.id
    )
    return opened


def _watch(tables: Tables) -> Update:
    return update(tables.watches).where(tables.watches.c.id == bindparam("watch", type_=Text()))


def renew_watch(tables: Tables, dialect: str) -> Update:
    """Set how far a watch has been polled, its lease and when it ends."""
    return _watch(tables).values(
        cursor=bindparam("cursor", type_=Text()),
        lease=bindparam("lease", type_=Double()),
        expires=bindparam("expires", type_=Instant()),
    )


def push_watch(tables: Tables, dialect: str) -> Update:
    """Say that somebody waits for the changes of a watch."""
    return _watch(tables).values(pushed=bindparam("pushed", type_=Boolean()))


def close_watch(tables: Tables, dialect: str) -> Update:
    """Close a watch; its row stays, so that its id is known to have ended."""
    return _watch(tables).values(
        closed=bindparam("closed", type_=Boolean()), expires=bindparam("expires", type_=Instant())
    )


# ---- what is in a watch -------------------------------------------------------------------------


def add_members(tables: Tables, dialect: str) -> Insert:
    """Put the entities `rows` into a watch, those that are in it already aside."""
    id, _ = given_rows()
    watch, since = bindparam("watch", type_=Text()), bindparam("since", type_=Text())
    known = bindparam("known", type_=Boolean())
    rows = insert_into(dialect, tables.watch_ids).from_select(
        ["watch_id", "entity_id", "since", "known"],
        select(watch, id, since, known).where(true()),
    )
    added: Insert = rows.on_conflict_do_nothing(index_elements=["watch_id", "entity_id"])
    return added


def drop_members(tables: Tables, dialect: str) -> Delete:
    """Take the entities `ids` out of a watch."""
    members = tables.watch_ids
    return delete(members).where(_in_watch(tables), listed_ids(members.c.entity_id))


def mark_members(tables: Tables, dialect: str) -> Update:
    """Say of the entities `ids` in a watch whether it has reported them as being there."""
    members = tables.watch_ids
    return (
        update(members)
        .where(_in_watch(tables), listed_ids(members.c.entity_id))
        .values(known=bindparam("known", type_=Boolean()))
    )


# ---- what has changed ---------------------------------------------------------------------------


def _history_since(tables: Tables) -> Select[Any]:
    """Select id and stamp of the points whose history was written since the cursor."""
    written = tables.history_changes
    points = GivenTexts(written.c.point_ids).table_valued(Column("value", Text()))
    return (
        select(points.c.value.label("id"), written.c.changed.label("stamp"))
        .select_from(written.join(points, true()))
        .where(changed_since(written.c.changed))
    )


def _changes(tables: Tables) -> Subquery:
    """`id`, `stamp` and `his` (1 for history) of every change since the cursor."""
    rows = [
        select(table.c.id, table.c.changed.label("stamp"), literal_column("0").label("his")).where(
            changed_since(table.c.changed)
        )
        for table in (tables.entities, tables.live, tables.removals)
    ]
    rows.append(_history_since(tables).add_columns(literal_column("1").label("his")))
    return union_all(*rows).subquery("changes")


def current_of(tables: Tables, dialect: str) -> Select[Any]:
    """Select the entities `ids`, be they in the trash, beside the cursor."""
    entities = tables.entities
    rows = select(entities.c.id, _tags(tables), live_text(tables))
    return _beside_cursor(tables, rows.where(listed_ids(entities.c.id)))


def current_members(tables: Tables, dialect: str) -> Select[Any]:
    """Select the ids in a watch, and the entities of those that are there, beside the cursor."""
    members, entities = tables.watch_ids, tables.entities
    rows = (
        select(members.c.entity_id.label("id"), _tags(tables), live_text(tables), members.c.known)
        .select_from(members.outerjoin(entities, entities.c.id == members.c.entity_id))
        .where(_in_watch(tables))
    )
    return _beside_cursor(tables, rows)


def changed_members(tables: Tables, dialect: str) -> Select[Any]:
    """Select the ids in a watch that have changed, a row for each change, as `current_members`.

    With `since`, how far changes had come when the entity joined the watch, and the `stamp`.
    """
    members, entities, changes = tables.watch_ids, tables.entities, _changes(tables)
    joined = changes.join(
        members, and_(members.c.entity_id == changes.c.id, _in_watch(tables))
    ).outerjoin(entities, entities.c.id == changes.c.id)
    rows = select(
        changes.c.id,
        _tags(tables),
        live_text(tables),
        members.c.known,
        members.c.since.label("joined"),
        changes.c.stamp,
    ).select_from(joined)
    return _beside_cursor(tables, rows)


def changed_few(tables: Tables, dialect: str) -> Select[Any]:
    """Select as `changed_members`, of a watch of at most `FEW` entities.

    Each is looked up, as no planner would do that has other watches in mind: on PostgreSQL live
    tags have no index on their stamps, and all of them would be read.
    """
    own = tables.watch_ids.c
    rows = select(own.entity_id, own.known, own.since).where(_in_watch(tables))
    # The limit tells the planner, which makes a plan for any watch, how few there are.
    members = rows.limit(literal_column(str(FEW), Integer())).cte("members")
    carried = members.c.known, members.c.since.label("joined")
    arms = [
        select(table.c.id, *carried, table.c.changed.label("stamp"))
        .join_from(members, table, table.c.id == members.c.entity_id)
        .where(changed_since(table.c.changed))
        for table in (tables.entities, tables.live, tables.removals)
    ]
    history = _history_since(tables).subquery()
    arms.append(
        select(history.c.id, *carried, history.c.stamp).join_from(
            members, history, history.c.id == members.c.entity_id
        )
    )
    entities, found = tables.entities, union_all(*arms).subquery("changes")
    shown = select(
        found.c.id, _tags(tables), live_text(tables), found.c.known, found.c.joined, found.c.stamp
    )
    return _beside_cursor(
        tables, shown.select_from(found.outerjoin(entities, entities.c.id == found.c.id))
    )


def current_matching(tables: Tables, filter: Node) -> Select[Any]:
    """Select the entities that match a filter beside the cursor."""
    entities = tables.entities
    rows = select(entities.c.id, _tags(tables), live_text(tables)).where(matching(tables, filter))
    return _beside_cursor(tables, rows)


def changed_matching(tables: Tables, filter: Node) -> Select[Any]:
    """Select what a watch over a filter reports: `known` tells what it has reported before.

    Entities that match and have changed or are new, and the ids (without tags) of those that match
    no more.
    """
    entities, members, live = tables.entities, tables.watch_ids, tables.live
    changed = or_(
        members.c.entity_id.is_(None),
        changed_since(entities.c.changed),
        entities.c.id.in_(select(live.c.id).where(changed_since(live.c.changed))),
        entities.c.id.in_(select(_history_since(tables).subquery().c.id)),
    )
    return _matching(tables, filter, changed)


def all_matching(tables: Tables, filter: Node) -> Select[Any]:
    """Select as `changed_matching` all that match."""
    return _matching(tables, filter, true())


def _matching(tables: Tables, filter: Node, reported: ColumnElement[bool]) -> Select[Any]:
    entities, members = tables.entities, tables.watch_ids
    matches = matching(tables, filter)
    own = and_(members.c.entity_id == entities.c.id, _in_watch(tables))
    there = (
        select(
            entities.c.id,
            _tags(tables),
            live_text(tables),
            members.c.entity_id.is_not(None).label("known"),
        )
        .select_from(entities.outerjoin(members, own))
        .where(matches, reported)
    )
    left = select(
        members.c.entity_id,
        cast(null(), Text()),
        cast(null(), Text()),
        literal_column("true", Boolean()),
    ).where(_in_watch(tables), members.c.entity_id.not_in(select(entities.c.id).where(matches)))
    return _beside_cursor(tables, select(union_all(there, left).subquery("either")))


def feed(tables: Tables, dialect: str) -> Select[Any]:
    """Select what has changed since a cursor and not since another, `until`, beside the cursor.

    In order of stamp and id, what comes after the stamp `at` and the id `after`, at most `limit`.
    `his` is 1 where history was written.
    """
    changes = _changes(tables)
    stamp = func.max(changes.c.stamp)
    ids = (
        select(changes.c.id, func.max(changes.c.his).label("his"), stamp.label("stamp"))
        .where(changes.c.id != FORGOTTEN)
        .group_by(changes.c.id)
        # What has changed again meanwhile is for the next pass.
        .having(func.max(_as_number(changed_since(changes.c.stamp, "until"))) == 0)
        .having(_behind(stamp, changes.c.id))
    )
    return _page(tables, ids.subquery("ids"))


def feed_of_all(tables: Tables, dialect: str) -> Select[Any]:
    """As `feed`, of all entities that there are, for who has seen nothing yet."""
    entities, live = tables.entities, tables.live
    again = select(live.c.id).where(changed_since(live.c.changed, "until"))
    ids = (
        select(
            entities.c.id,
            literal_column("0", Integer()).label("his"),
            entities.c.changed.label("stamp"),
        )
        .where(
            _behind(entities.c.changed, entities.c.id),
            not_(changed_since(entities.c.changed, "until")),
            entities.c.id.not_in(again),
            not_(HasTag(entities.c.tags, "trash")),
        )
        .order_by(entities.c.changed, entities.c.id)
        .limit(bindparam("limit", type_=BigInteger()))
    )
    return _page(tables, ids.subquery("ids"))


def _behind(stamp: ColumnElement[int], id: ColumnElement[str]) -> ColumnElement[bool]:
    place = bindparam("at", type_=BigInteger()), bindparam("after", type_=Text())
    return tuple_(stamp, id) > tuple_(*place)


def _as_number(condition: ColumnElement[bool]) -> ColumnElement[int]:
    return cast(condition, Integer())


def _page(tables: Tables, ids: Subquery) -> Select[Any]:
    entities = tables.entities
    rows = (
        select(ids.c.id, _tags(tables), live_text(tables), ids.c.his, ids.c.stamp)
        .select_from(ids.outerjoin(entities, entities.c.id == ids.c.id))
        .order_by(ids.c.stamp, ids.c.id)
        .limit(bindparam("limit", type_=BigInteger()))
    )
    return _beside_cursor(tables, rows)


# ---- forgetting ---------------------------------------------------------------------------------


def forget_removals(tables: Tables, dialect: str) -> ReturningDelete[Any]:
    """Forget removals from before `before` but those a watch has yet to tell; returns stamps."""
    removals, members = tables.removals, tables.watch_ids
    old = removals.c.at < bindparam("before", type_=Instant())
    waited_for = select(members.c.entity_id).where(members.c.known)
    return (
        delete(removals)
        .where(old, removals.c.id != FORGOTTEN, removals.c.id.not_in(waited_for))
        .returning(removals.c.changed)
    )


def forget_history(tables: Tables, dialect: str) -> ReturningDelete[Any]:
    """Forget which points' history was written before `before`; returns the stamps."""
    written = tables.history_changes
    old = written.c.at < bindparam("before", type_=Instant())
    return delete(written).where(old).returning(written.c.changed)


def note_forgotten(tables: Tables, dialect: str) -> Insert:
    """Note that changes up to `stamp` may have been forgotten.

    What was noted from `following` on is of another server, and worth nothing.
    """
    removals = tables.removals
    following = bindparam("following", type_=removals.c.changed.type)
    rows = insert_into(dialect, removals).values(
        id=FORGOTTEN, changed=bindparam("stamp", type_=removals.c.changed.type)
    )
    later = or_(rows.excluded.changed > removals.c.changed, removals.c.changed >= following)
    noted: Insert = rows.on_conflict_do_update(
        index_elements=["id"],
        set_={"changed": case((later, rows.excluded.changed), else_=removals.c.changed)},
    )
    return noted


def forget_watches(tables: Tables, dialect: str) -> ReturningDelete[Any]:
    """Forget watches that ended before `before`; returns their ids."""
    watches = tables.watches
    ended = watches.c.expires < bindparam("before", type_=Instant())
    return delete(watches).where(ended).returning(watches.c.id)


def drop_all_members(tables: Tables, dialect: str) -> Delete:
    """Take all entities out of the watches `ids`."""
    return delete(tables.watch_ids).where(listed_ids(tables.watch_ids.c.watch_id))
