"""Every error that hsorm raises on purpose: one tree, each also a built-in that people catch.

An error says what is wrong, where, and what to do; the facts are attributes, so that no caller has
to parse a message. All of them survive pickling: `args` are the arguments of `__init__`.
"""

from __future__ import annotations

__all__ = [
    "CodecError",
    "ConflictError",
    "EntityExistsError",
    "FilterSyntaxError",
    "HisConfigError",
    "HisWriteError",
    "HsormError",
    "InvalidTagError",
    "MissingExtraError",
    "RangeSyntaxError",
    "SchemaOutdatedError",
    "StorageError",
    "StorageUnavailableError",
    "StorageUrlError",
    "UnknownEntityError",
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
    """

    def __init__(self, id: str, expected: str | None = None, actual: str | None = None) -> None:
        super().__init__(id, expected, actual)
        self.id, self.expected, self.actual = id, expected, actual

    def __str__(self) -> str:
        return (
            f"@{self.id} was changed by someone else: the change is based on mod {self.expected}, "
            f"stored is {self.actual}; read it again and repeat the change"
        )


class EntityExistsError(ConflictError):
    """A new entity whose id is already taken, be it by one in the trash (rule C2)."""

    def __str__(self) -> str:
        return f"@{self.id} exists already: update it, or load it to replace it"


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
        id: The point.
        index: 0-based position of the item in the call.
        reason: What is wrong and how to mend it.
    """

    def __init__(self, id: str, index: int, reason: str) -> None:
        super().__init__(id, index, reason)
        self.id, self.index, self.reason = id, index, reason

    def __str__(self) -> str:
        return f"history of @{self.id}, item {self.index}: {self.reason}; nothing was written"


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
        remedy = "run `hsorm db upgrade` on it"
        if self.found is not None and self.found > self.needed:
            remedy = "its tables are of a newer version: install that"
        return f"{self.url} {state}, this version of hsorm needs {self.needed}: {remedy}"


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
