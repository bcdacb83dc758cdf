"""Commits: batches of diffs that are made all or none (rules C1–C14).

An adapter checks the diffs, loads the entities that they name, and applies one after the other; the
rules are here, what is left to it is loading and storing:

    checked = check_diffs(diffs, now)
    old = {…: entities with their live tags}
    mod = commit_mod(checked, old, now, last)
    new = [apply(diff, old.get(diff.id.val), mod) for diff in checked]
"""

from __future__ import annotations

import datetime as dt
import secrets
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal, TypeAlias

import msgspec

from hsorm.errors import EntityExistsError, InvalidDiffError, UnknownEntityError
from hsorm.kinds import MARKER, REMOVE, Entity, Ref, Remove, as_ref, deep_copy, equal
from hsorm.ops.entities import (
    as_read,
    check_id,
    check_tags,
    conflict,
    merged_tags,
    next_mod,
    stamp,
    why_refused,
)
from hsorm.ops.live import LIVE_TAGS

__all__ = [
    "RESTRICTED_TAGS",
    "CheckedDiff",
    "Committed",
    "Diff",
    "Op",
    "apply",
    "check_diffs",
    "commit_mod",
    "committed",
]

RESTRICTED_TAGS: Final = frozenset(("projMeta", "uiMeta", "ext", "fileSize"))
"""The names of the tags that a diff may only change with `bypass_restricted` (C8)."""

Op: TypeAlias = Literal["add", "update", "remove"]

_EntityOrId: TypeAlias = Mapping[str, Any] | Ref | str


class Diff(msgspec.Struct, frozen=True):
    """One change of a commit; made by `add`, `update`, `remove`, `trash` and `restore` (C1).

    Attributes:
        op: `"add"`, `"update"` or `"remove"`.
        id: The entity; None for an addition whose id the storage is to make.
        changes: The tags to set; REMOVE deletes one.
        mod: The `mod` of the entity that the change is based on; REMOVE where it has none, as other
            people's SQL may have written it.
        transient: Whether it changes live tags, and only these.
        force: Whether it is made whatever the stored `mod` is.
        bypass_restricted: Whether it may change the tags `projMeta`, `uiMeta`, `ext`, `fileSize`.
    """

    op: Op
    id: Ref | None
    changes: dict[str, Any] = {}
    mod: dt.datetime | Remove | None = None
    transient: bool = False
    force: bool = False
    bypass_restricted: bool = False

    @staticmethod
    def add(
        changes: Mapping[str, Any], id: Ref | str | None = None, *, bypass_restricted: bool = False
    ) -> Diff:
        """Return a diff that adds an entity, under an id that is made where none is given (C2)."""
        ref = None if id is None else as_ref(id)
        return Diff("add", ref, dict(changes), bypass_restricted=bypass_restricted)

    @staticmethod
    def update(
        entity: _EntityOrId,
        changes: Mapping[str, Any],
        *,
        mod: dt.datetime | None = None,
        transient: bool = False,
        force: bool = False,
        bypass_restricted: bool = False,
    ) -> Diff:
        """Return a diff that merges changes into an entity (C4, C5).

        Args:
            entity: The entity as it was read, which says what the change is based on; or its id,
                with `mod` or `force`.
            changes: The tags to set; REMOVE deletes one.
            mod: What the change is based on, if not the `mod` of `entity`.
            transient: The changes are of live tags (`curVal`…); the entity keeps its `mod`.
            force: Make the change whatever the stored `mod` is.
            bypass_restricted: Allow the tags `projMeta`, `uiMeta`, `ext`, `fileSize`.
        """
        id, base = _id_and_mod(entity)
        return Diff("update", id, dict(changes), mod or base, transient, force, bypass_restricted)

    @staticmethod
    def remove(entity: _EntityOrId, *, mod: dt.datetime | None = None, force: bool = False) -> Diff:
        """Return a diff that removes an entity; the arguments are those of `update`."""
        id, base = _id_and_mod(entity)
        return Diff("remove", id, {}, mod or base, force=force)

    @staticmethod
    def trash(entity: _EntityOrId, *, mod: dt.datetime | None = None, force: bool = False) -> Diff:
        """Return a diff that moves an entity to the trash (C12); the arguments are `update`'s."""
        return Diff.update(entity, {"trash": MARKER}, mod=mod, force=force)

    @staticmethod
    def restore(
        entity: _EntityOrId, *, mod: dt.datetime | None = None, force: bool = False
    ) -> Diff:
        """Return a diff that takes an entity out of the trash (C12); arguments as for `update`."""
        return Diff.update(entity, {"trash": REMOVE}, mod=mod, force=force)


def _id_and_mod(entity: _EntityOrId) -> tuple[Ref | None, dt.datetime | Remove | None]:
    if isinstance(entity, Mapping):
        return entity.get("id"), entity.get("mod", REMOVE)
    return as_ref(entity), None


class CheckedDiff(Diff, frozen=True):
    """A diff that has passed `check_diffs`: it has an id, and changes in kinds."""

    id: Ref


@dataclass(frozen=True, slots=True)
class Committed:
    """What one diff has done (C14).

    Attributes:
        old: The entity before, None where it was added.
        new: The entity after, None where it was removed.
        old_mod: Its `mod` before, None where it was added.
        mod: The `mod` of the commit; of a transient one, which leaves it as it was, the old one.
    """

    old: Entity | None
    new: Entity | None
    old_mod: dt.datetime | None
    mod: dt.datetime | None


# ---- what can be told without the storage -------------------------------------------------------


def check_diffs(diffs: Diff | Iterable[Diff], now: dt.datetime) -> list[CheckedDiff]:
    """Return the diffs of a batch ready to be applied, in their order.

    Args:
        diffs: The diffs, or a single one.
        now: The present, which is part of ids that are made.

    Raises:
        InvalidDiffError: A diff or the batch breaks a rule (C1, C2, C4, C6, C8, C9).
        InvalidTagError: An id, a tag name or a value cannot be stored (C3, C5, C9).
    """
    batch = [diffs] if isinstance(diffs, Diff) else list(diffs)
    if not batch:
        raise InvalidDiffError(None, None, "an empty batch: give at least one diff")
    checked = [_checked(index, diff, now) for index, diff in enumerate(batch)]
    seen: set[Ref] = set()
    for index, diff in enumerate(checked):
        if diff.id in seen:
            raise InvalidDiffError(index, diff.id.val, "the id is in the batch twice")
        if diff.transient != checked[0].transient:
            reason = "transient and persistent diffs in one batch: commit them apart"
            raise InvalidDiffError(index, diff.id.val, reason)
        seen.add(diff.id)
    return checked


def _checked(index: int, diff: Diff, now: dt.datetime) -> CheckedDiff:
    if not isinstance(diff, Diff):
        raise InvalidDiffError(index, None, f"{diff!r:.80} is no Diff: make one by Diff.add(…)")
    made = _new_id(now) if diff.op == "add" and diff.id is None else diff.id
    id = check_id({"id": made})
    if (reason := _why_invalid(diff)) is not None:
        raise InvalidDiffError(index, id.val, reason)
    changes = check_tags(diff.changes, id.val)
    for name, val in changes.items():
        if (reason := _why_not(diff, name, val)) is not None:
            raise InvalidDiffError(index, id.val, f"tag {name!r}: {reason}")
    return CheckedDiff(
        diff.op, id, changes, diff.mod, diff.transient, diff.force, diff.bypass_restricted
    )


def _new_id(now: dt.datetime) -> Ref:
    """Return a new id: eight hex digits of seconds, eight at random (C2)."""
    return Ref(f"{int(now.timestamp()) & 0xFFFFFFFF:08x}-{secrets.token_hex(4)}")


def _why_invalid(diff: Diff) -> str | None:
    """Return what is wrong with the shape of a diff, None where it is right."""
    if diff.op not in ("add", "update", "remove"):
        return f"{diff.op!r} is none of add, update, remove"
    if diff.transient and diff.op != "update":
        return f"no {diff.op} can be transient: only live tags are (C1)"
    if diff.op == "add":
        return None
    if diff.op == "remove" and diff.changes:
        return "a removal has no changes"
    if diff.mod is None and not diff.force:
        return (
            f"the {diff.op} says not what it is based on: give the entity as it was read (or its "
            "mod), or force=True to make it whatever is stored"
        )
    if diff.mod is not None and diff.mod is not REMOVE and not _is_instant(diff.mod):
        return f"{diff.mod!r} is no mod: an aware datetime is needed"
    return None


def _is_instant(mod: object) -> bool:
    return isinstance(mod, dt.datetime) and mod.utcoffset() is not None


def _why_not(diff: Diff, name: str, val: Any) -> str | None:
    """Return why a diff cannot change a tag in this way, None where it can (C2, C8, C9)."""
    if (reason := why_refused(name, val)) is not None:
        return reason
    if name in RESTRICTED_TAGS and not diff.bypass_restricted:
        return "only a diff with bypass_restricted=True changes it"
    if diff.transient and name not in LIVE_TAGS:
        return "no live tag: change it by a diff that is not transient"
    if name in LIVE_TAGS and not diff.transient:
        return "a live tag: change it by a diff with transient=True, or by set_live"
    return None


# ---- what needs what is stored ------------------------------------------------------------------


def commit_mod(
    diffs: Sequence[CheckedDiff],
    old: Mapping[str, Entity],
    now: dt.datetime,
    last: dt.datetime | None = None,
) -> dt.datetime:
    """Return the `mod` of a batch: later than the last one and than all that it replaces (C6).

    Args:
        diffs: The batch.
        old: The stored entities by id, of those that there are.
        now: The present, in UTC.
        last: The last `mod` that the adapter has given.
    """
    found = (old[diff.id.val].get("mod") for diff in diffs if diff.id.val in old)
    mods = [mod for mod in (last, *found) if isinstance(mod, dt.datetime)]
    return next_mod(now, max(mods, default=None))


def apply(diff: CheckedDiff, old: Entity | None, mod: dt.datetime) -> Entity | None:
    """Return an entity after a diff as it is to be stored, None where it is to be removed.

    Args:
        diff: A diff of `check_diffs`.
        old: The stored entity with its live tags (`live.split` takes them apart again), be it in
            the trash; None where there is none.
        mod: What `commit_mod` gave; a transient diff leaves that of the entity.

    Raises:
        EntityExistsError: The id of an addition is taken (C2).
        UnknownEntityError: There is no entity to update or remove (C4).
        ConflictError: The diff is based on another `mod` (C4).
    """
    if diff.op == "add":
        return _added(diff, old, mod)
    if old is None:
        raise UnknownEntityError(diff.id.val)
    if not diff.force and not equal(diff.mod, old.get("mod", REMOVE)):
        raise conflict(old, None if diff.mod is REMOVE else diff.mod)
    if diff.op == "remove":
        return None
    merged = merged_tags(old, diff.changes)
    return merged if diff.transient else stamp(merged, mod)


def _added(diff: CheckedDiff, old: Entity | None, mod: dt.datetime) -> Entity:
    if old is not None:
        raise EntityExistsError(diff.id.val)
    kept = {name: val for name, val in diff.changes.items() if val is not REMOVE}
    return stamp({"id": diff.id, **kept}, mod)


def committed(
    diff: CheckedDiff, old: Entity | None, new: Entity | None, mod: dt.datetime
) -> Committed:
    """Return what a diff has done, in copies that the caller may change (C14, R12)."""
    old_mod = None if old is None else old.get("mod")
    return Committed(
        None if old is None else as_read(deep_copy(old)),
        None if new is None else as_read(deep_copy(new)),
        old_mod,
        old_mod if diff.transient else mod,
    )
