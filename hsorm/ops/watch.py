"""Watches and the change feed: what is reported, for how long, and in which shape (P1–P14)."""

from __future__ import annotations

import datetime as dt
import secrets
from collections.abc import Callable, Iterable, Set
from dataclasses import dataclass
from typing import Any, Final

from hsorm.errors import InvalidTagError, InvalidWatchError, UnknownWatchError
from hsorm.kinds import Entity, Ref, is_storable, kind_name
from hsorm.ops.durations import duration_of
from hsorm.ops.entities import check_tags

__all__ = [
    "DEFAULT_LEASE",
    "ENDED_KEPT",
    "MAX_LEASE",
    "RETENTION",
    "Change",
    "Changes",
    "WatchRows",
    "already_open",
    "check_dis",
    "check_watch_id",
    "has_expired",
    "id_of_open",
    "id_to_join",
    "lease_of",
    "new_watch_id",
    "on_a_filter",
    "report",
]

DEFAULT_LEASE: Final = dt.timedelta(minutes=1)
"""How long a watch lives without being asked for anything (P2)."""

MAX_LEASE: Final = dt.timedelta(hours=1)
"""The longest lease; what is longer is cut to it (P2)."""

ENDED_KEPT: Final = dt.timedelta(days=1)
"""How long at least it is known that a watch has ended, so that its id opens no new one."""

RETENTION: Final = dt.timedelta(days=7)
"""How long removals are remembered for the change feed, unless told otherwise."""

_MAX_ID: Final = 1_000


class WatchRows(list[Entity]):
    """The rows of a watch: entities in their current state.

    Attributes:
        watch_id: The watch, opened by the call or before.
        lease: How long it lives until it is asked again.
        removed: The ids that were reported before and are there no more: removed, moved to the
            trash, or no longer matching the watch's filter.
    """

    def __init__(
        self,
        rows: Iterable[Entity] = (),
        *,
        watch_id: str,
        lease: dt.timedelta,
        removed: Iterable[Ref] = (),
    ) -> None:
        super().__init__(rows)
        self.watch_id, self.lease, self.removed = watch_id, lease, list(removed)


@dataclass(frozen=True, slots=True)
class Change:
    """One entity that has changed.

    Attributes:
        id: Its id.
        entity: Its latest state, None where it was removed or is in the trash.
        his: Whether history was written, and maybe nothing else.
    """

    id: Ref
    entity: Entity | None
    his: bool


class Changes(list[Change]):
    """A part of the change feed, oldest first.

    Attributes:
        cursor: Where the next part begins: an opaque text that may be kept.
        more: Whether there is more already.
    """

    def __init__(self, changes: Iterable[Change] = (), *, cursor: str, more: bool) -> None:
        super().__init__(changes)
        self.cursor, self.more = cursor, more


def new_watch_id() -> str:
    """Return an id for a new watch (P2)."""
    return f"w-{secrets.token_hex(8)}"


def check_watch_id(watch_id: str) -> str:
    """Return a text that may be the id of a watch.

    Raises:
        InvalidWatchError: It is none that every storage can keep.
    """
    if not isinstance(watch_id, str) or not 0 < len(watch_id) <= _MAX_ID:
        raise InvalidWatchError(None, f"{watch_id!r:.80} is no id: a text of 1 to {_MAX_ID}")
    if not is_storable(watch_id):
        raise InvalidWatchError(watch_id, "an id with U+0000 or a lone surrogate: leave it out")
    return watch_id


def id_to_join(watch_id: str | None, *, create: bool = True) -> str:
    """Return the id of the watch that a call opens or adds to: a new one where None is given.

    Args:
        watch_id: What the call names.
        create: Whether it may open a watch.

    Raises:
        InvalidWatchError: It is no id; or none is given, and no watch is to be opened.
        UnknownWatchError: It is no id, so that no such watch can be open, and none is to be opened.
    """
    if watch_id is None:
        if not create:
            raise InvalidWatchError(None, "create=False and no id: give that of an open watch")
        return new_watch_id()
    return check_watch_id(watch_id) if create else id_of_open(watch_id)


def id_of_open(watch_id: str) -> str:
    """Return a text that may be the id of a watch that is open.

    Raises:
        UnknownWatchError: It is no id, so that no such watch can be open.
    """
    try:
        return check_watch_id(watch_id)
    except InvalidWatchError:
        raise UnknownWatchError(watch_id) from None


def check_dis(dis: str, watch_id: str | None) -> str:
    """Return what a watch is for, as it can be stored: a text as a tag may hold it (K20).

    Raises:
        InvalidWatchError: It is no text, or one that is too long, has U+0000 or half a surrogate
            pair in it.
    """
    try:
        checked = check_tags({"dis": dis}, "")["dis"]
    except InvalidTagError as exc:
        raise InvalidWatchError(watch_id, f"dis: {exc.reason}") from None
    if not isinstance(checked, str):
        raise InvalidWatchError(watch_id, f"dis is a {kind_name(checked)}: say it as text")
    return checked


def on_a_filter(watch_id: str) -> InvalidWatchError:
    """Return the error of a call that would change which ids a watch on a filter has."""
    reason = "it is on a filter, no ids can be added or taken out: open another watch"
    return InvalidWatchError(watch_id, reason)


def already_open(watch_id: str | None) -> InvalidWatchError:
    """Return the error of opening a watch on a filter under an id that is in use."""
    return InvalidWatchError(watch_id, "it is open already: close it, or take another id")


def lease_of(lease: Any, watch_id: str | None = None) -> dt.timedelta:
    """Return the lease that is in effect: one minute where None is asked for, at most an hour.

    Raises:
        InvalidWatchError: It is no duration (see `duration_of`), or not greater than nothing.
    """
    if lease is None:
        return DEFAULT_LEASE
    try:
        return min(duration_of(lease), MAX_LEASE)
    except ValueError as exc:
        raise InvalidWatchError(watch_id, f"lease: {exc}") from None


def has_expired(renewed: dt.datetime, lease: dt.timedelta, now: dt.datetime) -> bool:
    """Tell whether a watch has ended because nobody asked for long enough (P12)."""
    return renewed + lease < now


def report(
    known: Set[str], changed: Iterable[str], is_there: Callable[[str], bool]
) -> tuple[list[str], list[str]]:
    """Return of the watched ids that have changed those to report as rows, and as removed.

    A removal is reported once, and only of what the watch has ever reported as being there (P9).

    Args:
        known: The ids that were there when the watch last reported; afterwards these are
            `known | rows - removed`.
        changed: The ids that have changed since.
        is_there: Whether the watch is to show an id now: it exists outside of the trash, or matches
            the watch's filter.
    """
    rows: list[str] = []
    removed: list[str] = []
    for id in sorted(changed):
        if is_there(id):
            rows.append(id)
        elif id in known:
            removed.append(id)
    return rows, removed
