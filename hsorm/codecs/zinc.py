"""Zinc, the tables of Haystack as text: grids and single values, version 3.0 (2.0 is read as well).

Every kind survives `loads(dumps(grid))`. What Zinc has no form for (a unit with a space, a tag
name with a dash) is an error on writing, never a quiet loss. Source: docHaystack, Zinc; the
literals follow the rules F9–F15.

Two things differ from a strict reading: a zone may be a whole IANA name (`US/Eastern`) where its
city means another zone, and line breaks are allowed inside `[…]` and `{…}`.
"""

from __future__ import annotations

import datetime as dt
import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import lru_cache
from typing import Any, Final, TypeVar

from hsorm.codecs._text import error_at, text_of
from hsorm.codecs.hayson import (
    GRID_VERSIONS,
    date_of,
    datetime_text,
    instant_of,
    time_of,
    time_text,
)
from hsorm.errors import CodecError
from hsorm.kinds import (
    MARKER,
    NA,
    REMOVE,
    Coord,
    Grid,
    GridCol,
    Kind,
    Number,
    Ref,
    Symbol,
    Uri,
    XStr,
    is_ref_id,
    native,
    number_text,
    plain_text,
)
from hsorm.zones import zone_of

__all__ = ["dumps", "dumps_value", "loads", "loads_value"]

_T = TypeVar("_T")

MAX_DEPTH: Final = 100
"""How deep lists, dicts and grids may be nested."""


def loads(text: str | bytes) -> Grid:
    """Read one grid.

    Raises:
        CodecError: The text is no Zinc grid; the error has line and column.
    """
    return Reader(text_of(text)).document()


def loads_value(text: str | bytes) -> Any:
    """Read one value, such as `72°F`, `[1,2]`, `<<…>>` or a whole grid; `N` gives None.

    Raises:
        CodecError: The text is no single Zinc value; the error has line and column.
    """
    return Reader(text_of(text)).single_value()


def dumps(grid: Grid | Iterable[Mapping[str, Any]]) -> str:
    """Write a grid, or entities as a grid whose columns are ordered by rule K29.

    Raises:
        CodecError: A value, a unit or a name has no form in Zinc; the error says in which row.
    """
    return grid_text(grid if isinstance(grid, Grid) else Grid.of(grid), 0)


def dumps_value(value: Kind | Mapping[str, Any] | None) -> str:
    """Write one value; a grid stands between `<<` and `>>`, None is `N`.

    Raises:
        CodecError: The value has no form in Zinc.
    """
    return value_text(value, 0)


# ---- reading ------------------------------------------------------------------------------------

_NAME = re.compile(r"[a-z][A-Za-z0-9_]*|_[A-Za-z0-9_]+")
_WORD = re.compile(r"([A-Za-z][A-Za-z0-9_]*)(?:[ \t\xa0]*(\())?")
_BLANKS = re.compile(r"[ \t\xa0]*")
_SPACE = re.compile(r"[ \t\xa0\r\n]*")
_NEWLINE = re.compile(r"[ \t\xa0]*(?:\r\n|\r|\n)")
_LAST_ROW = re.compile(r"[ \t\xa0]*(?:\r\n|\r|\n|\Z)")
_LAST_NESTED_ROW = re.compile(r"[ \t\xa0]*(?:\r\n|\r|\n|\Z|(?=>>))")

# Possessive, so that a text without its closing quote is refused in one pass.
_STR = re.compile(r'"((?:[^"\\]++|\\.)*+)"', re.DOTALL)
_TRIPLE = re.compile(r'"""((?:[^"\\]++|\\.|"(?!""))*+)"""', re.DOTALL)
_URI = re.compile(r"`((?:[^`\\\r\n]++|\\[^\r\n])*+)`")
_ESCAPE = re.compile(
    r"\\(?:([bfnrt\"$'`\\])|u([0-9A-Fa-f]{4})|u\{([0-9A-Fa-f]{1,6})\})?", re.DOTALL
)
_URI_ESCAPE = re.compile(rf"\\([:/?#\[\]@\\&=;])|{_ESCAPE.pattern}", re.DOTALL)
_ESCAPED: Final = {"b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t"}

_REF = re.compile(r'@([A-Za-z0-9_:\-.~]+)(?:[ \t\xa0]*(?="))?')
_SYMBOL = re.compile(r"\^([A-Za-z0-9_:\-.~]+)")

_DECIMAL = r"-?\d+(?:_\d+)*(?:\.\d+(?:_\d+)*)?(?:[eE][+-]?\d+)?"
_UNIT = r"[A-Za-z%$/_\x81-\x9f\xa1-\U0010ffff][A-Za-z0-9%$/_\x81-\x9f\xa1-\U0010ffff]*"
_NUMERIC = re.compile(
    rf"""(\d{{4}}-\d\d-\d\dT[\d:.]+(?:Z|[+-]\d\d:\d\d)) (?:[ ]([A-Z][A-Za-z0-9_+/-]*))?
      | (\d{{4}}-\d\d-\d\d)
      | (\d{{1,2}}:\d\d(?::\d\d(?:\.\d+)?)?)
      | 0x([0-9A-Fa-f_]*)
      | ({_DECIMAL})({_UNIT})?
    """,
    re.VERBOSE | re.ASCII,
)
_NEGATIVE_INF = re.compile(r"-INF(?![A-Za-z0-9_])")
# What may not touch the end of a number; the rest of the word then serves the error text.
_GLUED = re.compile(r"""[\w.:+\-%$/][^\s,\]})>]*""")
_WHOLE = re.compile(r"""[^\s,\]})>]*""")
_COORD = re.compile(rf"\s*({_DECIMAL})\s*,\s*({_DECIMAL})\s*\)", re.ASCII)
_BIN = re.compile(r"([^)\"\r\n]*)\)")

# The commonest cells together with the commas behind them. Most cells of a grid of entities are
# empty, so a run of commas counts as one step.
_CELL = re.compile(
    r"""(?:(M)|"([^"\\\r\n]*)"|@([A-Za-z0-9_:\-.~]+)|([^\s,"`@^\[\]{}<>()\\]+))?"""
    r"""(?:(,+)|(?=[\r\n])|\Z)"""
)


@lru_cache(maxsize=65536)
def _ref_of(id: str) -> Ref:
    return Ref(id)


class Reader:
    """A position in a text, and how to read what stands there.

    Every method moves `pos` forward or raises, so no input can make it run for ever.
    """

    __slots__ = ("depth", "known", "pos", "row_at", "text")

    def __init__(self, text: str, pos: int = 0) -> None:
        self.text, self.pos, self.depth = text, pos, 0
        self.known: dict[str, Any] = {}  # cells seen before: tags repeat from row to row
        self.row_at: list[int] = []  # where the rows of the last grid start

    def fail(self, reason: str, pos: int | None = None) -> CodecError:
        """Return the error for a position, the current one by default."""
        return error_at(self.text, self.pos if pos is None else pos, reason)

    def found(self) -> str:
        """Say what stands at the current position, for an error text."""
        rest = self.text[self.pos : self.pos + 20]
        if not rest:
            return "the end of the text"
        first = re.split(r"[\r\n]", rest, maxsplit=1)[0]
        return repr(first) if first else "the end of the line"

    def take(self, pattern: re.Pattern[str]) -> re.Match[str] | None:
        """Move behind what matches here, if anything does."""
        found = pattern.match(self.text, self.pos)
        if found is not None:
            self.pos = found.end()
        return found

    def skip(self, mark: str, blanks: re.Pattern[str] = _BLANKS) -> bool:
        """Move behind blanks, and behind a mark if it stands there."""
        self.take(blanks)
        if self.text.startswith(mark, self.pos):
            self.pos += len(mark)
            return True
        return False

    def need(self, mark: str, blanks: re.Pattern[str] = _BLANKS) -> None:
        """Move behind a mark that has to stand here."""
        if not self.skip(mark, blanks):
            raise self.fail(f"expected {mark!r}, found {self.found()}")

    def document(self) -> Grid:
        """Read a text that is one grid and nothing else."""
        self.take(_SPACE)
        if not _VER.match(self.text, self.pos):
            raise self.fail(f'expected a grid, which begins ver:"3.0", found {self.found()}')
        grid = self.guarded(lambda: self.grid(nested=False))
        self.end("the grid")
        return grid

    def single_value(self) -> Any:
        """Read a text that is one value and nothing else."""
        self.take(_SPACE)
        if _VER.match(self.text, self.pos):
            return self.document()
        value = self.guarded(self.value)
        self.end("the value")
        return value

    def guarded(self, read: Callable[[], _T]) -> _T:
        """Call a reader; a caller that is deep in its own stack gets our error all the same."""
        try:
            return read()
        except RecursionError:
            raise self.fail("nested too deep") from None

    def end(self, what: str) -> None:
        """Refuse anything but white space up to the end."""
        self.take(_SPACE)
        if self.pos < len(self.text):
            raise self.fail(f"{what} has ended, but there is more: {self.found()}")

    def value(self) -> Any:
        """Read the value that starts exactly here."""
        read = _READERS.get(self.text[self.pos : self.pos + 1])
        if read is None:
            raise self.fail(f"expected a value, found {self.found()}")
        return read(self)

    # -- grids --

    def grid(self, *, nested: bool) -> Grid:
        """Read a grid from its `ver` on."""
        start = self.pos
        self.need("ver")
        self.need(":")
        self.take(_BLANKS)
        ver = _string(self) if self.text.startswith('"', self.pos) else None
        if ver not in GRID_VERSIONS:
            raise self.fail('a grid begins ver:"3.0" (or "2.0")', start)
        meta = self.pairs("ver")
        last_row = _LAST_NESTED_ROW if nested else _LAST_ROW
        self.newline("the grid's meta", last_row)
        cols = self.columns()
        self.newline("the columns", last_row)
        rows, row_at = self.rows([col.name for col in cols], last_row)
        self.row_at = row_at
        if cols == (_NO_COLS,) and not rows:
            cols = ()
        return Grid(meta, cols, tuple(rows), ver)

    def newline(self, what: str, last: re.Pattern[str]) -> None:
        """Move to the next line, or to where the grid may end without one."""
        if self.take(_NEWLINE) is None and self.take(last) is None:
            raise self.fail(f"expected the end of the line behind {what}, found {self.found()}")

    def name(self) -> str:
        """Read the name of a tag or column."""
        found = self.take(_NAME)
        if found is None:
            raise self.fail(f"expected a name, lower-case first, found {self.found()}")
        return found[0]

    def columns(self) -> tuple[GridCol, ...]:
        """Read the line of columns with their meta."""
        cols: list[GridCol] = []
        names: set[str] = set()
        while True:
            self.take(_BLANKS)
            start, name = self.pos, self.name()
            if name in names:
                raise self.fail(f"column {name!r} stands here twice", start)
            names.add(name)
            cols.append(GridCol(name, self.pairs()))
            if not self.skip(","):
                return tuple(cols)

    def pairs(self, *taken: str, braces: bool = False) -> dict[str, Any]:
        """Read `name:value` and bare names up to what is no name; null members are dropped."""
        space = _SPACE if braces else _BLANKS
        out: dict[str, Any] = {}
        seen = set(taken)
        self.take(space)
        while _NAME.match(self.text, self.pos):
            start, name = self.pos, self.name()
            if name in seen:
                raise self.fail(f"tag {name!r} stands here twice", start)
            seen.add(name)
            value: Any = MARKER
            if self.skip(":", space):
                self.take(space)
                value = self.value()
            if value is not None:
                out[name] = value
            if braces:
                self.skip(",", space)
            self.take(space)
        return out

    def rows(
        self, names: list[str], last: re.Pattern[str]
    ) -> tuple[list[dict[str, Any]], list[int]]:
        """Read rows up to a blank line, the end of the text or the end of a nested grid."""
        rows: list[dict[str, Any]] = []
        starts: list[int] = []
        while not self.take(last):
            starts.append(self.pos)
            rows.append(self.row(names))
            if not self.take(_NEWLINE):
                if not last.match(self.text, self.pos):
                    raise self.fail(f"expected ',' or the end of the line, found {self.found()}")
                break
        return rows, starts

    def row(self, names: list[str]) -> dict[str, Any]:
        """Read the cells of one row."""
        out: dict[str, Any] = {}
        col, last = 0, len(names) - 1
        while True:
            start = self.pos
            found = _CELL.match(self.text, start)
            value, commas = self.slow_cell() if found is None else self.quick_cell(found)
            if value is not None:
                if col > last:
                    raise self.fail(f"a row with more cells than the {last + 1} columns", start)
                out[names[col]] = value
            col += commas
            if not commas or col > last:
                break
        if commas or col < last:
            # A comma behind the last cell is one cell too many, a line that ends early one too few.
            raise self.fail(
                f"a row with {col + 1}{' or more' if commas else ''} cells, "
                f"there are {last + 1} columns"
            )
        return out

    def quick_cell(self, found: re.Match[str]) -> tuple[Any, int]:
        """Take a cell that the pattern knows; return its value and how many commas follow."""
        marker, string, ref, plain, commas = found.groups()
        value: Any = None
        if marker is not None:
            value = MARKER
        elif string is not None:
            value = string
        elif ref is not None:
            value = _ref_of(ref)
        elif plain is not None:
            value = self.plain_cell(plain)
        self.pos = found.end()
        return value, len(commas) if commas else 0

    def plain_cell(self, text: str) -> Any:
        """Read a cell without quotes or brackets, which is the same wherever it stands."""
        if text in self.known:
            return self.known[text]
        end = self.pos + len(text)
        value = self.value()
        if self.pos != end:
            raise self.fail(f"expected ',' or the end of the line, found {self.found()}")
        self.known[text] = value
        return value

    def slow_cell(self) -> tuple[Any, int]:
        """Read any cell, blanks around it included."""
        self.take(_BLANKS)
        empty = self.text.startswith((",", "\r", "\n", ">>"), self.pos) or self.at_end()
        value = None if empty else self.value()
        return value, int(self.skip(","))

    def at_end(self) -> bool:
        """Tell whether nothing is left."""
        return self.pos >= len(self.text)

    def deeper(self) -> None:
        """Count one level of nesting; the caller counts it down again."""
        self.depth += 1
        if self.depth > MAX_DEPTH:
            raise self.fail(f"nested deeper than {MAX_DEPTH} levels")


_VER = re.compile(r"ver[ \t\xa0]*:")
_NO_COLS: Final = GridCol("noCols")


# -- one function for each kind of literal --


def _string(reader: Reader) -> str:
    start = reader.pos
    triple = reader.text.startswith('"""', start)
    found = reader.take(_TRIPLE if triple else _STR)
    if found is None:
        raise reader.fail("a string that is not closed")
    raw = found[1]
    return raw if "\\" not in raw else _unescape(reader, raw, found.start(1), _ESCAPE)


def _uri(reader: Reader) -> Uri:
    found = reader.take(_URI)
    if found is None:
        raise reader.fail("a uri that is not closed in its line")
    raw = found[1]
    return Uri(raw if "\\" not in raw else _unescape(reader, raw, found.start(1), _URI_ESCAPE))


def _unescape(reader: Reader, raw: str, start: int, pattern: re.Pattern[str]) -> str:
    def char(found: re.Match[str]) -> str:
        *kept, plain, short, long = found.groups()
        if kept and kept[0]:
            return found[0]  # F15: these stay escaped in a uri
        if plain:
            return _ESCAPED.get(plain, plain)
        code = int(short or long or "110000", 16)
        if code > 0x10FFFF:
            shown = raw[found.start() : found.end() + 1]
            raise reader.fail(f"{shown!r} is no escape", start + found.start())
        return chr(code)

    text = pattern.sub(char, raw)
    try:
        # Two escapes may be the halves of one character beyond U+FFFF.
        return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le")
    except UnicodeDecodeError:
        raise reader.fail("half a surrogate pair is no character", start) from None


def _ref(reader: Reader) -> Ref:
    found = reader.take(_REF)
    if found is None:
        raise reader.fail("'@' without a ref id: letters, digits and _ : - . ~")
    if reader.text.startswith('"', reader.pos):
        return Ref(found[1], _string(reader))
    return _ref_of(found[1])


def _symbol(reader: Reader) -> Symbol:
    start, found = reader.pos, reader.take(_SYMBOL)
    if found is None:
        raise reader.fail("'^' without a symbol")
    try:
        return Symbol(found[1])
    except ValueError as exc:
        raise reader.fail(str(exc), start) from None


_WORDS: Final[dict[str, Any]] = {
    "T": True, "F": False, "N": None, "M": MARKER, "NA": NA, "R": REMOVE,
    "NaN": Number(math.nan), "INF": Number(math.inf),
}  # fmt: skip


def _word(reader: Reader) -> Any:
    start, found = reader.pos, reader.take(_WORD)
    word, paren = found.groups() if found else ("", None)
    if paren:
        return _call(reader, word, start)
    if word not in _WORDS:
        raise reader.fail(
            f"{word!r} is no value: M T F N NA R INF NaN, or a string in quotes", start
        )
    return _WORDS[word]


def _call(reader: Reader, word: str, start: int) -> Coord | XStr:
    try:
        if word == "C" and (coord := reader.take(_COORD)):
            return Coord(float(coord[1]), float(coord[2]))
        if word == "Bin" and (mime := reader.take(_BIN)):
            return XStr("Bin", mime[1])  # the form of version 2
        reader.take(_BLANKS)
        if not reader.text.startswith('"', reader.pos):
            raise reader.fail(f"expected a string in quotes, found {reader.found()}")
        value = XStr(word, _string(reader))
    except CodecError:
        raise
    except ValueError as exc:  # no place on earth, no type name
        raise reader.fail(str(exc), start) from None
    reader.need(")")
    return value


def _numeric(reader: Reader) -> Any:
    if reader.take(_NEGATIVE_INF):
        return Number(-math.inf)
    start, found = reader.pos, reader.take(_NUMERIC)
    if found is None or _GLUED.match(reader.text, reader.pos):
        whole = _WHOLE.match(reader.text, start)
        text = whole[0][:40] if whole else ""
        raise reader.fail(f"{text!r} is no number, date, time or dateTime", start)
    try:
        return _numeric_of(found)
    except (ValueError, LookupError, OverflowError) as exc:
        reason = str(exc)
        shown = "" if reason.startswith(("'", "unknown")) else f"{found[0]!r}: "
        raise reader.fail(shown + reason, start) from None


def _numeric_of(found: re.Match[str]) -> Any:
    stamp, zone, date, time, hexed, number, unit = found.groups()
    if number is not None:
        return Number(float(number), unit)
    if stamp is not None:
        return datetime_of(stamp, zone)
    if date is not None:
        return date_of(date)
    if time is not None:
        return short_time_of(time)
    if not hexed.strip("_"):
        raise ValueError("'0x' without digits")
    return Number(int(hexed.replace("_", ""), 16))


def short_time_of(text: str) -> dt.time:
    """Read a time whose hour may have one digit and whose seconds may be left out (F12)."""
    padded = text if text[1] != ":" else f"0{text}"
    return time_of(padded if len(padded) > 5 else f"{padded}:00")


def datetime_of(stamp: str, zone: str | None) -> dt.datetime:
    """Read a dateTime and the name of its zone; only `Z` may do without one (F13)."""
    if zone is None and not stamp.endswith("Z"):
        raise ValueError(f"{stamp!r} needs its zone behind it, such as {stamp} Denver")
    return instant_of(stamp).astimezone(zone_of(zone or "UTC"))


def _list(reader: Reader) -> list[Any]:
    reader.deeper()
    reader.need("[")
    out: list[Any] = []
    while not reader.skip("]", _SPACE):
        out.append(reader.value())
        if not reader.skip(",", _SPACE):
            reader.need("]", _SPACE)
            break
    reader.depth -= 1
    return out


def _dict(reader: Reader) -> dict[str, Any]:
    reader.deeper()
    reader.need("{")
    out = reader.pairs(braces=True)
    reader.need("}", _SPACE)
    reader.depth -= 1
    return out


def _nested_grid(reader: Reader) -> Grid:
    reader.deeper()
    reader.need("<<")
    reader.take(_SPACE)
    grid = reader.grid(nested=True)
    reader.need(">>", _SPACE)
    reader.depth -= 1
    return grid


_READERS: Final[dict[str, Callable[[Reader], Any]]] = {
    '"': _string, "`": _uri, "@": _ref, "^": _symbol, "[": _list, "{": _dict, "<": _nested_grid,
    **dict.fromkeys("-0123456789", _numeric),
    **dict.fromkeys("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ", _word),
}  # fmt: skip


# ---- writing ------------------------------------------------------------------------------------

# A unit that would be read as the exponent of its number, or as more of its digits, has no form.
_WRITABLE_UNIT = re.compile(rf"(?![eE]\d|_\d){_UNIT}")
_ZONE = re.compile(r"[A-Z][A-Za-z0-9_+/-]*")
# Control characters, and what some tools take for the end of a line.
_UNSAFE = re.compile(r"[\"\\\x00-\x1f\x7f\x85\u2028\u2029\ud800-\udfff]")
_UNSAFE_URI = re.compile(r"\\[:/?#\[\]@\\&=;]|[`\\\x00-\x1f\x7f\x85\u2028\u2029\ud800-\udfff]")
_SHORT: Final = {
    '"': '\\"', "\\": "\\\\", "\b": "\\b", "\f": "\\f", "\n": "\\n", "\r": "\\r", "\t": "\\t",
}  # fmt: skip


def grid_text(grid: Grid, depth: int) -> str:
    """Write a grid from its `ver` to the end of its last row."""
    if not grid.cols and grid.rows:
        raise CodecError("a grid with rows, but without columns")
    if grid.cols == (_NO_COLS,) and not grid.rows:
        raise CodecError("'noCols' as the only column says that there are none")
    if "ver" in grid.meta:
        raise CodecError("'ver' among the meta tags: it is the grid's version")
    cols = [_pair_texts(col.name, col.meta, depth) for col in grid.cols or (_NO_COLS,)]
    index = {col.name: at for at, col in enumerate(grid.cols)}
    if len(index) < len(grid.cols):
        raise CodecError("two columns of one name")
    lines = [_pair_texts('ver:"3.0"', grid.meta, depth), ",".join(cols)]
    for number, row in enumerate(grid.rows):
        lines.append(_row_text(number, row, index, depth))
    lines.append("")
    return "\n".join(lines)


def _row_text(number: int, row: Mapping[str, Any], index: dict[str, int], depth: int) -> str:
    cells = [""] * len(index)
    for name, value in row.items():
        if value is None:
            continue
        at = index.get(name)
        if at is None:
            raise CodecError(f"tag {name!r} has no column", where=f"rows[{number}]")
        try:
            cells[at] = value_text(value, depth)
        except CodecError as exc:
            raise CodecError(exc.reason, where=f"rows[{number}].{name}") from None
    # A blank line would end the grid.
    return ",".join(cells) if len(cells) > 1 or cells[0] else "N"


def _pair_texts(first: str, pairs: Mapping[str, Any], depth: int) -> str:
    if first != 'ver:"3.0"':
        _check_name(first)
    rest = [_pair(name, value, depth) for name, value in pairs.items() if value is not None]
    return " ".join([first, *rest])


def _pair(name: str, value: Any, depth: int) -> str:
    _check_name(name)
    return name if value is MARKER else f"{name}:{value_text(value, depth)}"


def _check_name(name: str) -> None:
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise CodecError(f"{name!r} is no tag name: lower-case first, then letters, digits and _")


def value_text(value: Any, depth: int) -> str:
    """Write one value that stands `depth` levels deep."""
    writer = _WRITERS.get(type(value))
    if writer is not None:
        return writer(value)
    nested = _NESTED.get(type(value))
    return nested(value, depth + 1) if nested else _other_text(value, depth)


def _other_text(value: Any, depth: int) -> str:
    for base, writer in _WRITERS.items():
        # Subclasses; bool stands before int, dateTime before date in the table.
        if isinstance(value, base):
            return writer(value)
    if isinstance(value, (list, tuple)):
        return _list_text(value, depth + 1)
    if isinstance(value, Mapping):
        return _dict_text(value, depth + 1)
    found = native(value)
    if found is None:
        raise CodecError(f"{value!r:.80} is of no Haystack kind ({type(value).__name__})")
    return value_text(found, depth)


def _check_depth(depth: int) -> None:
    if depth > MAX_DEPTH:
        raise CodecError(f"nested deeper than {MAX_DEPTH} levels")


def _list_text(value: Sequence[Any], depth: int) -> str:
    _check_depth(depth)
    return f"[{','.join([value_text(item, depth) for item in value])}]"


def _dict_text(value: Mapping[str, Any], depth: int) -> str:
    _check_depth(depth)
    pairs = [_pair(name, item, depth) for name, item in value.items() if item is not None]
    return f"{{{' '.join(pairs)}}}"


def _nested_grid_text(value: Grid, depth: int) -> str:
    _check_depth(depth)
    return f"<<\n{grid_text(value, depth)}>>"


def number_literal(value: Number) -> str:
    """Write a number with its unit; INF, -INF and NaN lose theirs, as in Hayson."""
    val, unit = number_text(value.val), value.unit
    if unit is None or not math.isfinite(value.val):
        return val
    if not _WRITABLE_UNIT.fullmatch(unit):
        raise CodecError(
            f"the unit {unit!r} has no form in Zinc: letters, % $ / _, then digits too"
        )
    return f"0.0{unit}" if val == "0" and unit.startswith("x") else val + unit  # not 0xFF


def str_literal(value: str) -> str:
    """Write a string in quotes, on one line."""
    value = plain_text(value)
    return f'"{_UNSAFE.sub(_escape, value)}"' if _UNSAFE.search(value) else f'"{value}"'


def _escape(found: re.Match[str]) -> str:
    char = found[0]
    if "\ud800" <= char <= "\udfff":
        raise CodecError(f"text with a lone surrogate: {found.string[:40]!r}")
    return _SHORT.get(char) or f"\\u{ord(char):04x}"


def _escape_uri(found: re.Match[str]) -> str:
    if len(found[0]) == 2:
        return found[0]  # already an escape of the uri's own (F15)
    if found[0] == "\\":
        return "\\u005c"  # as two backslashes it would stay two
    return "\\`" if found[0] == "`" else _escape(found)


def _ref_text(value: Ref) -> str:
    if not is_ref_id(value.val):
        raise CodecError(f"{value.val!r} is no ref id: letters, digits and _ : - . ~ only")
    return f"@{value.val}" if value.dis is None else f"@{value.val} {str_literal(value.dis)}"


def _datetime_text(value: dt.datetime) -> str:
    text, zone = datetime_text(value)
    if not _ZONE.fullmatch(zone):
        raise CodecError(f"the zone {zone!r} has no form in Zinc")
    return f"{text} {zone}"


_WRITERS: Final[dict[type, Callable[[Any], str]]] = {
    type(MARKER): lambda value: "M",
    str: str_literal,
    Ref: _ref_text,
    Number: number_literal,
    bool: lambda value: "T" if value else "F",
    int: lambda value: number_literal(Number(value)),
    float: lambda value: number_literal(Number(value)),
    type(NA): lambda value: "NA",
    type(REMOVE): lambda value: "R",
    type(None): lambda value: "N",
    Uri: lambda value: f"`{_UNSAFE_URI.sub(_escape_uri, value.val)}`",
    Symbol: str,
    dt.datetime: _datetime_text,
    dt.date: dt.date.isoformat,
    dt.time: time_text,
    Coord: str,
    XStr: lambda value: f"{value.type}({str_literal(value.val)})",
}

_NESTED: Final[dict[type, Callable[[Any, int], str]]] = {
    list: _list_text,
    tuple: _list_text,
    dict: _dict_text,
    Grid: _nested_grid_text,
}
