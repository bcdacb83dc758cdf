"""Every error that hsorm raises on purpose: one tree, each also a built-in that people catch.

An error says what is wrong, where, and what to do; the facts are attributes, so that no caller has
to parse a message. All of them survive pickling: `args` are the arguments of `__init__`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

__all__ = [
    "CodecError",
    "ConflictError",
    "CursorExpiredError",
    "EntityExistsError",
    "FilterSyntaxError",
    "GeoError",
    "HisConfigError",
    "HisWriteError",
    "HsormError",
    "InvalidCursorError",
    "InvalidDiffError",
    "InvalidRollupError",
    "InvalidTagError",
    "InvalidWatchError",
    "MissingExtraError",
    "PointWriteError",
    "RangeSyntaxError",
    "ReferencedError",
    "RequestError",
    "SchemaOutdatedError",
    "SearchError",
    "SessionBoundError",
    "StorageError",
    "StorageUnavailableError",
    "StorageUrlError",
    "UnknownEntityError",
    "UnknownWatchError",
    "ViewWriteError",
]


class HsormError(Exception):
    """The root of every error raised by hsorm."""


class CodecError(HsormError, ValueError):
    """Text or JSON that is no valid Hayson, Zinc or Trio.

    Attributes:
        reason: What is wrong.
        line: 1-based line in the text, where known.
        column: 1-based column in that line, where known.
        where: Path inside the value or name of the source (`rows[3].area`, `plant.zinc`), where
            known.
    """

    def __init__(
        self,
        reason: str,
        line: int | None = None,
        column: int | None = None,
        where: str | None = None,
    ) -> None:
        super().__init__(reason, line, column, where)
        self.reason, self.line, self.column, self.where = reason, line, column, where

    def __str__(self) -> str:
        place = self.where or ""
        if self.line is not None:
            place += f"{', ' if place else ''}line {self.line}"
            if self.column is not None:
                place += f", column {self.column}"
        return f"{place}: {self.reason}" if place else self.reason


class _TextError(HsormError, ValueError):
    """A short text with one place in it that is wrong: shown with a caret under that place."""

    noun = "text"

    def __init__(self, text: str, pos: int, expected: str) -> None:
        super().__init__(text, pos, expected)
        self.text, self.pos, self.expected = text, pos, expected

    def __str__(self) -> str:
        before, after = self.text[: self.pos], self.text[self.pos :]
        # Only the line that holds the position, and of a long one only what surrounds it.
        left = before.rsplit("\n", 1)[-1].replace("\t", " ")[-60:]
        right = after.split("\n", 1)[0].replace("\t", " ")[:40]
        what = f"{self.noun}, column {self.pos + 1}: expected {self.expected}"
        return f"{what}\n  {left}{right}\n  {' ' * len(left)}^"


class FilterSyntaxError(_TextError):
    """A filter text that does not follow the grammar (rules F1–F18; docHaystack, Filters).

    Attributes:
        text: The whole filter.
        pos: 0-based position of the first character that does not fit.
        expected: What could stand there.
    """

    noun = "filter"


class RangeSyntaxError(_TextError):
    """A history range that is none of the forms of `his_read` (rules H1–H6; docHaystack, Ops).

    Attributes:
        text: The whole range.
        pos: 0-based position of the part that is wrong.
        expected: What could stand there.
    """

    noun = "range"


class SearchError(HsormError, ValueError):
    """A search text that is longer than searches are.

    Attributes:
        text: The whole text.
        reason: What is too long.
    """

    def __init__(self, text: str, reason: str) -> None:
        super().__init__(text, reason)
        self.text, self.reason = text, reason

    def __str__(self) -> str:
        return f"too long a search: {self.reason}"


class GeoError(HsormError, ValueError):
    """A place, a distance or an area that is none.

    Attributes:
        given: What was given.
        expected: What would be right.
    """

    def __init__(self, given: object, expected: str) -> None:
        super().__init__(given, expected)
        self.given, self.expected = given, expected

    def __str__(self) -> str:
        return f"{self.given!s} given: expected {self.expected}"


class InvalidTagError(HsormError, ValueError):
    """An entity with an id, a tag name or a value that cannot be stored (rules K20–K28, C3, C9).

    Attributes:
        id: The entity's id as given, or None where it has none.
        tag: The tag's name, with the path into it where it is nested (`"custom.area"`).
        reason: What is wrong and what would be right.
    """

    def __init__(self, id: str | None, tag: str, reason: str) -> None:
        super().__init__(id, tag, reason)
        self.id, self.tag, self.reason = id, tag, reason

    def __str__(self) -> str:
        whose = f"entity @{self.id}" if self.id is not None else "entity"
        return f"{whose}, tag {self.tag!r}: {self.reason}"


class UnknownEntityError(HsormError, LookupError):
    """No entity has this id, or it is in the trash (rule R1).

    Attributes:
        id: The id that was asked for, without its `@`.
    """

    def __init__(self, id: str) -> None:
        super().__init__(id)
        self.id = id

    def __str__(self) -> str:
        return f"no entity has the id @{self.id}"


class ConflictError(HsormError, ValueError):
    """A change that was based on an older state of its entity (rule C4): read again, then decide.

    Attributes:
        id: The entity.
        expected: The `mod` that the change was based on, as text.
        actual: The `mod` that is stored, as text.
        current: The entity as it is stored, where the storage told: what to decide by.
    """

    def __init__(
        self,
        id: str,
        expected: str | None = None,
        actual: str | None = None,
        current: dict[str, Any] | None = None,
    ) -> None:
        super().__init__(id, expected, actual, current)
        self.id, self.expected, self.actual, self.current = id, expected, actual, current

    def __str__(self) -> str:
        return (
            f"@{self.id} was changed by someone else: the change is based on mod {self.expected}, "
            f"stored is {self.actual}; read it again and repeat the change"
        )


class EntityExistsError(ConflictError):
    """A new entity whose id is already taken, be it by one in the trash (rule C2)."""

    def __str__(self) -> str:
        return f"@{self.id} exists already: update it, or load it to replace it"


class InvalidDiffError(HsormError, ValueError):
    """A diff, or a batch of them, that no storage could commit (rules C1, C2, C4, C6, C8).

    Attributes:
        index: 0-based position of the diff in the batch, None where the batch as a whole is wrong;
            the text counts from 1, as files and people do.
        id: The diff's id, or None where it has none.
        reason: What is wrong and what would be right.
    """

    def __init__(self, index: int | None, id: str | None, reason: str) -> None:
        super().__init__(index, id, reason)
        self.index, self.id, self.reason = index, id, reason

    def __str__(self) -> str:
        which = "commit" if self.index is None else f"commit, diff {self.index + 1}"
        whose = "" if self.id is None else f" (@{self.id})"
        return f"{which}{whose}: {self.reason}; nothing was committed"


class ReferencedError(HsormError, ValueError):
    """An entity that was not deleted because others refer to it.

    Attributes:
        id: The entity.
        by: Who refers to it, as id and tag: the first ten by id.
        count: How many such refs there are in all.
    """

    def __init__(self, id: str, by: Sequence[tuple[str, str]], count: int) -> None:
        super().__init__(id, by, count)
        self.id, self.by, self.count = id, list(by), count

    def __str__(self) -> str:
        shown = ", ".join(f"{tag} of @{id}" for id, tag in self.by)
        more = f" and {self.count - len(self.by)} more" if self.count > len(self.by) else ""
        return (
            f"@{self.id} is referred to by {shown}{more}: change these first, or delete it anyway"
        )


class PointWriteError(HsormError, ValueError):
    """A write to a priority array that its point does not take; nothing changed (rules W5–W7).

    Attributes:
        id: The point.
        reason: What is wrong and what would be right.
    """

    def __init__(self, id: str, reason: str) -> None:
        super().__init__(id, reason)
        self.id, self.reason = id, reason

    def __str__(self) -> str:
        return f"priority array of @{self.id}: {self.reason}"


class UnknownWatchError(HsormError, LookupError, ValueError):
    """No watch has this id, or it has ended (rules P1, P11): open a new one.

    Attributes:
        watch_id: The id that was asked for.
        state: What became of it: `"unknown"`, `"closed"` or `"expired"`.
    """

    def __init__(self, watch_id: str, state: str = "unknown") -> None:
        super().__init__(watch_id, state)
        self.watch_id, self.state = watch_id, state

    def __str__(self) -> str:
        return f"the watch {self.watch_id!r} is {self.state}: open a new one"


class InvalidWatchError(HsormError, ValueError):
    """A call that a watch cannot take: a bad lease, id or `dis`, or ids on one over a filter.

    Attributes:
        watch_id: The watch, None where it was yet to be opened.
        reason: What is wrong and what would be right.
    """

    def __init__(self, watch_id: str | None, reason: str) -> None:
        super().__init__(watch_id, reason)
        self.watch_id, self.reason = watch_id, reason

    def __str__(self) -> str:
        which = "watch" if self.watch_id is None else f"watch {self.watch_id!r}"
        return f"{which}: {self.reason}"


class InvalidCursorError(HsormError, ValueError):
    """A text that is no cursor of a change feed.

    Attributes:
        cursor: The text as given.
    """

    def __init__(self, cursor: str) -> None:
        super().__init__(cursor)
        self.cursor = cursor

    def __str__(self) -> str:
        return (
            f"{self.cursor!r:.80} is no cursor of this change feed: give back the `cursor` of an "
            "answer as it is, or None to begin"
        )


class CursorExpiredError(HsormError, LookupError):
    """A cursor from before what the change feed still knows: removals since then are forgotten.

    Attributes:
        cursor: The cursor.
    """

    def __init__(self, cursor: str) -> None:
        super().__init__(cursor)
        self.cursor = cursor

    def __str__(self) -> str:
        return (
            f"the cursor {self.cursor!r} is too old, removals since then are forgotten: begin "
            "again with None, and drop what is not in the answer"
        )


class HisConfigError(HsormError, ValueError):
    """An entity that cannot have history as it is (rules H12, H21).

    Attributes:
        id: The entity.
        reason: Which tag is missing or wrong, and what would be right.
    """

    def __init__(self, id: str, reason: str) -> None:
        super().__init__(id, reason)
        self.id, self.reason = id, reason

    def __str__(self) -> str:
        return f"history of @{self.id}: {self.reason}"


class HisWriteError(HsormError, ValueError):
    """A history item that its point does not take; nothing of the call was written (rules H22–H24).

    Attributes:
        id: The point; empty where an item does not even say that.
        index: 0-based position of the item in the call: among those of its point where they were
            given by point, else in the whole source.
        reason: What is wrong and how to mend it.
    """

    def __init__(self, id: str, index: int, reason: str) -> None:
        super().__init__(id, index, reason)
        self.id, self.index, self.reason = id, index, reason

    def __str__(self) -> str:
        whose = f"history of @{self.id}" if self.id else "history"
        return f"{whose}, item {self.index}: {self.reason}; nothing was written"


class InvalidRollupError(HsormError, ValueError):
    """A rollup that cannot be: no interval, no fold, or one that does not fit its points.

    Attributes:
        reason: What is wrong and what would be right.
    """

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason

    def __str__(self) -> str:
        return f"rollup: {self.reason}"


class RequestError(HsormError, ValueError):
    """A request to a Haystack server whose grid is none that its op takes.

    Attributes:
        op: The op.
        reason: What is wrong and what would be right.
    """

    def __init__(self, op: str, reason: str) -> None:
        super().__init__(op, reason)
        self.op, self.reason = op, reason

    def __str__(self) -> str:
        return f"{self.op}: {self.reason}"


class StorageError(HsormError):
    """The database refused a call for a reason of its own; the text is the database's."""


class StorageUnavailableError(HsormError, ConnectionError):
    """The database cannot be reached, or the connection was lost during a call.

    Attributes:
        url: Where it was looked for, without password.
        reason: What the driver said.
    """

    def __init__(self, url: str, reason: str) -> None:
        super().__init__(url, reason)
        self.url, self.reason = url, reason

    def __str__(self) -> str:
        return f"cannot reach {self.url}: {self.reason}"


class SchemaOutdatedError(HsormError, RuntimeError):
    """The tables of a database are missing, older or newer than this version of hsorm needs.

    Attributes:
        url: The database, without password.
        found: The revision that it has, None when there are no tables of ours.
        needed: The revision that this version works with.
    """

    def __init__(self, url: str, found: str | None, needed: str) -> None:
        super().__init__(url, found, needed)
        self.url, self.found, self.needed = url, found, needed

    def __str__(self) -> str:
        state = f"is at revision {self.found}" if self.found else "has no hsorm tables"
        remedy = "run `hsorm db upgrade`, or the migrations of the application that has them"
        if self.found is not None and self.found > self.needed:
            remedy = "its tables are of a newer version: install that"
        return f"{self.url} {state}, this version of hsorm needs {self.needed}: {remedy}"


class SessionBoundError(HsormError, RuntimeError):
    """A call that cannot be a part of a host's transaction.

    Attributes:
        what: What was asked for.
        reason: Why that cannot be, and what to do instead.
    """

    def __init__(self, what: str, reason: str) -> None:
        super().__init__(what, reason)
        self.what, self.reason = what, reason

    def __str__(self) -> str:
        return f"{self.what} in a session of the host's: {self.reason}"


class StorageUrlError(HsormError, ValueError):
    """A storage URL that names no backend of ours.

    Attributes:
        url: The URL as given, without password.
        reason: What is wrong and which forms there are.
    """

    def __init__(self, url: str, reason: str) -> None:
        super().__init__(url, reason)
        self.url, self.reason = url, reason

    def __str__(self) -> str:
        return f"storage URL {self.url!r}: {self.reason}"


class MissingExtraError(HsormError, ImportError):
    """A part of hsorm whose optional dependency is not installed.

    Attributes:
        what: What was asked for.
        package: The package that is missing.
        extra: The extra of hsorm that brings it.
    """

    def __init__(self, what: str, package: str, extra: str) -> None:
        super().__init__(what, package, extra)
        self.what, self.package, self.extra = what, package, extra

    def __str__(self) -> str:
        return f'{self.what} needs {self.package}: pip install "hsorm[{self.extra}]"'


class ViewWriteError(HsormError, TypeError):
    """A row of a class over an `entity_view` that was to be written with a session.

    Attributes:
        name: The class.
        what: What was to be done with the row.
    """

    def __init__(self, name: str, what: str) -> None:
        super().__init__(name, what)
        self.name, self.what = name, what

    def __str__(self) -> str:
        return (
            f"a {self.name} cannot be {self.what} by the session: the rows of a view are read, not "
            "written; create, update and delete the entity by a storage in the same session, "
            "hsorm.storage.bind(session)"
        )
