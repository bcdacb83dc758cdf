"""Trio, entities as text that people write by hand: one `name:value` a line, dicts between `---`.

A value is a Zinc scalar, a plain string without quotes, a list or dict of Zinc in one line, text
indented below its name, or a nested grid or dict indented below `Zinc:` or `Trio:`. Source:
docHaystack, Trio. As in the reference implementation `M` and `N` behind a colon are the strings
"M" and "N" (a marker is its bare name), while `T`, `F`, `NA`, `R`, `INF` and `NaN` are values; the
writer puts all of them in quotes when it means strings.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

from hsorm.codecs import zinc
from hsorm.codecs._text import text_of
from hsorm.errors import CodecError
from hsorm.kinds import MARKER, NA, REMOVE, Entity, Grid, Number, plain_text

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

__all__ = ["dumps", "loads"]


def loads(text: str | bytes) -> list[Entity]:
    """Read dicts.

    Raises:
        CodecError: The text is no Trio; the error has the line.
    """
    return [entity for _, entity in entities_with_lines(text)]


def entities_with_lines(text: str | bytes) -> Iterator[tuple[int, Entity]]:
    """Read dicts one by one, each with the line that it starts in."""
    return _Reader(text_of(text)).entities()


# ---- reading ------------------------------------------------------------------------------------

_LINES = re.compile(r"\r\n|\r|\n")
_SEPARATOR = re.compile(r"-(?:-.*)?[ \t]*")
_NAME = re.compile(r"[a-z][A-Za-z0-9_]*|_[A-Za-z0-9_]+")
# Strings that cannot be any other value: letters first, and no keyword below.
_PLAIN = re.compile(r"[A-Za-z][A-Za-z0-9_ \-]*")
_WORDS: Final[dict[str, Any]] = {
    "true": True, "false": False, "T": True, "F": False, "NA": NA, "R": REMOVE,
    "NaN": Number(float("nan")), "INF": Number(float("inf")),
}  # fmt: skip
# Text that begins so means Zinc, and is an error where it is none; other text is a string then.
_MEANS_ZINC = re.compile(r"""["`@^\[{]|<<|C\([\-0-9]|[A-Z][A-Za-z0-9_]*\(\"""")
# Each level of Trio within Trio is indented further: nobody writes as many.
_MAX_LEVELS: Final = 20
_COMMENT = re.compile(r"^[ \t]*//.*$", re.MULTILINE)


class _Reader:
    """The lines of a text and the number of those already read."""

    def __init__(self, text: str, depth: int = 0) -> None:
        self.lines = _LINES.split(text)
        self.next = 0
        self.depth = depth
        self.known: dict[str, Any] = {}  # values seen before: kind:Number stands on every point

    def entities(self) -> Iterator[tuple[int, Entity]]:
        """Read one dict after the other; every turn of the loop takes a line."""
        entity: Entity = {}
        start = 0
        while self.next < len(self.lines):
            line = self.lines[self.next]
            self.next += 1
            if line.startswith("-"):
                self.separator(line)
                if entity:
                    yield start, entity
                entity = {}
            elif line.strip(" \t") and not line.startswith("//"):
                start = start if entity else self.next
                self.tag(line, entity)
        if entity:
            yield start, entity

    def separator(self, line: str) -> None:
        if not _SEPARATOR.fullmatch(line):
            raise CodecError(f"{line[:40]!r} is no separator: ---", self.next, 1)

    def tag(self, line: str, entity: Entity) -> None:
        """Read the tag of a line, with the indented lines that belong to it."""
        name, colon, text = line.partition(":")
        name, number = name.rstrip(" \t"), self.next
        if not _NAME.fullmatch(name):
            raise CodecError(self.no_name(name), number, 1)
        if name in entity:
            raise CodecError(f"tag {name!r} stands in this dict twice", number, 1)
        entity[name] = self.value(text.strip(" \t"), line) if colon else MARKER

    def no_name(self, name: str) -> str:
        if name[:1] in (" ", "\t"):
            return "an indented line that belongs to no tag: text goes below a line 'name:'"
        return f"{name[:40]!r} is no tag name: lower-case first, then letters, digits and _"

    def value(self, text: str, line: str) -> Any:
        if text in self.known:
            return self.known[text]
        block = _BLOCKS.get(text)
        if block is not None:
            return block(self)
        value = self.scalar(text, line)
        if not isinstance(value, (list, dict, Grid)):  # these may be changed by their owner
            self.known[text] = value
        return value

    def scalar(self, text: str, line: str) -> Any:
        """Read what stands behind the colon: a value if it is one, else the text as a string."""
        if text in _WORDS:
            return _WORDS[text]
        if _PLAIN.fullmatch(text):
            return text
        reader = zinc.Reader(text)
        reader.depth = self.depth
        try:
            value = reader.value()
        except CodecError as exc:
            return self.not_zinc(text, line, exc.reason, exc.column or 1)
        if reader.at_end():
            return value
        reader.pos += len(text[reader.pos :]) - len(text[reader.pos :].lstrip(" \t"))
        reason = f"the value has ended, but there is more: {reader.found()}"
        return self.not_zinc(text, line, reason, reader.pos + 1)

    def not_zinc(self, text: str, line: str, reason: str, column: int) -> str:
        if not _MEANS_ZINC.match(text):
            return text
        start = line.index(text, line.index(":") + 1)
        raise CodecError(reason, self.next, start + column)

    def block(self) -> tuple[list[str], int]:
        """Take the indented lines that follow; return them without indentation, and its width.

        Blank lines inside belong to the text, as does one of blanks alone at its end; empty lines
        at the end do not.
        """
        start = end = self.next
        for at in range(start, len(self.lines)):
            line = self.lines[at]
            if line[:1] in (" ", "\t"):
                end = at + 1
            elif line:
                break
        self.next = end
        lines = [line.rstrip(" \t") for line in self.lines[start:end]]
        indent = min((len(line) - len(line.lstrip(" \t")) for line in lines if line), default=0)
        return [line[indent:] for line in lines], indent

    def text_block(self) -> str:
        return "\n".join(self.block()[0])

    def zinc_block(self) -> Any:
        """Read the Zinc below `name:Zinc:`."""
        first = self.next
        lines, indent = self.block()
        return self.nested(first, indent, lambda: self.zinc("\n".join(lines)))

    def zinc(self, text: str) -> Any:
        reader = zinc.Reader(text)
        reader.depth = self.depth
        return reader.single_value()

    def list_block(self) -> Any:
        """Read the items below `name:[`, one a line or more, up to their `]`."""
        first = self.next
        lines, indent = self.block()
        if self.next < len(self.lines) and self.lines[self.next].strip(" \t") == "]":
            self.next += 1
            lines.append("]")
        # The bracket takes the place of the line that it stands in, so that line numbers hold.
        text = "[\n" + _COMMENT.sub("", "\n".join(lines))
        return self.nested(first - 1, indent, lambda: self.zinc(text))

    def trio_block(self) -> Any:
        """Read the dict below `name:Trio:`."""
        first = self.next
        lines, indent = self.block()
        if self.depth >= _MAX_LEVELS:
            raise CodecError(f"'Trio:' nested deeper than {_MAX_LEVELS} levels", first, 1)
        inner = _Reader("\n".join(lines), self.depth + 1)
        found = self.nested(first, indent, lambda: [entity for _, entity in inner.entities()])
        if len(found) > 1:
            raise CodecError("one dict can stand below 'Trio:', there are more", first, 1)
        return found[0] if found else {}

    def nested(self, first: int, indent: int, read: Callable[[], Any]) -> Any:
        """Read a block; its errors get the lines and columns of the whole text."""
        try:
            return read()
        except CodecError as exc:
            line, column = (exc.line or 1) + first, (exc.column or 1) + indent
            raise CodecError(exc.reason, line, column) from None


_BLOCKS: Final[dict[str, Callable[[_Reader], Any]]] = {
    "": _Reader.text_block,
    "[": _Reader.list_block,
    "Zinc:": _Reader.zinc_block,
    "Trio:": _Reader.trio_block,
}


# ---- writing ------------------------------------------------------------------------------------

# Strings without quotes: what every reader takes for one. "Zinc" and "Trio" stay out of its way.
_UNQUOTED = re.compile(r"[A-Za-z](?:[A-Za-z0-9_ \-]*[A-Za-z0-9_\-])?")
_QUOTED: Final = frozenset({*_WORDS, "M", "N", "Zinc", "Trio"})
_CONTROL = re.compile(r"[\x00-\x09\x0b-\x1f\x7f\x85\u2028\u2029\ud800-\udfff]")
_FIRST: Final = {"id": 0, "name": 1, "dis": 2}


def dumps(entities: Iterable[Mapping[str, Any]]) -> str:
    """Write dicts: `id`, `name`, `dis`, then the other tags by name.

    Raises:
        CodecError: A value, a unit or a name has no form in Trio; the error says in which dict.
    """
    texts = [_entity_text(number, entity) for number, entity in enumerate(entities)]
    return "---\n".join(texts)


def _entity_text(number: int, entity: Mapping[str, Any]) -> str:
    names = [name for name, value in entity.items() if value is not None]
    if not names:
        raise CodecError("a dict without tags has no form in Trio", where=f"[{number}]")
    lines = []
    for name in sorted(names, key=lambda name: (_FIRST.get(name, 3), name)):
        try:
            lines.append(_tag_text(name, entity[name]))
        except CodecError as exc:
            raise CodecError(exc.reason, where=f"[{number}].{name}") from None
    return "".join(lines)


def _tag_text(name: str, value: Any) -> str:
    if not _NAME.fullmatch(name):
        raise CodecError(f"{name!r} is no tag name: lower-case first, then letters, digits and _")
    if value is MARKER:
        return f"{name}\n"
    if isinstance(value, str):
        return f"{name}:{_str_text(value)}\n"
    if value is True or value is False:
        return f"{name}:{'true' if value else 'false'}\n"
    if isinstance(value, Grid):
        return f"{name}:Zinc:\n{_indented(zinc.grid_text(value, 0))}"
    text = zinc.value_text(value, 0)
    # Only a nested grid has line breaks; those of strings are escaped.
    return f"{name}:{text}\n" if "\n" not in text else f"{name}:Zinc:\n{_indented(text)}"


def _str_text(value: str) -> str:
    value = plain_text(value)
    if _UNQUOTED.fullmatch(value) and value not in _QUOTED:
        return value
    if "\n" in value and _fits_block(value):
        return "\n" + _indented(value).removesuffix("\n")
    return zinc.str_literal(value)


def _fits_block(value: str) -> bool:
    """Tell whether a text comes back from indented lines as it is."""
    lines = value.split("\n")
    return (
        not _CONTROL.search(value)
        and lines[-1] != ""
        and all(line == line.rstrip() for line in lines)
        and any(line[:1].strip() for line in lines)
    )


def _indented(text: str) -> str:
    return "".join(f"  {line}\n" if line else "\n" for line in text.removesuffix("\n").split("\n"))
