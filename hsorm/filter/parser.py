"""Filter text to AST: the whole grammar of docHaystack, Filters, by rules F1–F18.

One regular expression tells the tokens apart and always takes at least one character or finds the
end; literals, which only an operator may bring, are read where they stand. Parentheses live on an
explicit stack. So reading is linear in the length, and no text can overflow Python's own stack.
"""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Callable
from functools import lru_cache
from typing import Final, TypeAlias, TypeVar

from hsorm.errors import FilterSyntaxError
from hsorm.filter.ast import (
    MAX_NESTING,
    MAX_PATH,
    MAX_TERMS,
    UNIT,
    And,
    Cmp,
    CmpOp,
    Has,
    IsA,
    IsSpec,
    Literal,
    Missing,
    Node,
    Or,
    Path,
    terms_of,
)
from hsorm.kinds import Number, Ref, Symbol, Uri
from hsorm.zones import zone_of

__all__ = ["MAX_LENGTH", "node_of", "parse"]

MAX_LENGTH: Final = 1_000_000
"""Characters that a filter may have."""

_CACHED_LENGTH: Final = 4096

_Time = TypeVar("_Time", dt.date, dt.time, dt.datetime)
_Escape: TypeAlias = Callable[[str, int], tuple[str, int]]


def parse(text: str) -> Node:
    """Read a filter (`'ahu and siteRef->geoCity == "Oslo"'`).

    The trees of short texts are kept (they are immutable), so asking again costs a lookup.

    Raises:
        FilterSyntaxError: The text does not follow the grammar; the error shows where.

    Source: docHaystack, Filters. Units are kept as given, known or not (OC 1); a line break between
    tokens is an error (OC 5), and so are more than 100 levels of parentheses (OC 6) and more terms
    than `MAX_TERMS`.
    """
    return _parse_short(text) if len(text) <= _CACHED_LENGTH else _parse(text)


def node_of(filter: str | Node) -> Node:
    """Return a filter, given as text or as tree, as tree.

    Raises:
        FilterSyntaxError: The text does not follow the grammar.
        TypeError: It is neither.
    """
    if isinstance(filter, str):
        return parse(filter)
    if not isinstance(filter, Node):
        raise TypeError(f"a filter is text or what parse() returns, not {filter!r:.80}")
    return filter


def _parse(text: str) -> Node:
    if len(text) > MAX_LENGTH:
        raise FilterSyntaxError(text, MAX_LENGTH, f"at most {MAX_LENGTH:,} characters")
    return _Parser(text).filter()


_parse_short = lru_cache(maxsize=2048)(_parse)


# ---- tokens -------------------------------------------------------------------------------------

_TOKEN = re.compile(
    r"""[ \t\xa0]*(?:
      (?P<id>[A-Za-z][A-Za-z0-9_]*|_[A-Za-z0-9_]+)
    | (?P<op>[=!]=|[<>]=?)
    | (?P<arrow>->)
    | (?P<open>\()
    | (?P<close>\))
    | (?P<num>-?[0-9])
    | (?P<str>")
    | (?P<ref>@)
    | (?P<symbol>\^)
    | (?P<uri>`)
    | (?P<colons>::)
    | (?P<dot>\.)
    | (?P<comment>/[/*])
    | (?P<end>\Z)
    | (?P<other>.)
    )""",
    re.VERBOSE | re.DOTALL,
)
_LINE_COMMENT = re.compile(r"[^\r\n]*")
_COMMENT_EDGE = re.compile(r"/\*|\*/")
_REF_CHARS = re.compile(r"[A-Za-z0-9_:\-.~]*")

_TERM: Final = 'a tag name, "not", "(", a ^symbol or a spec name'
_VALUE: Final = (
    'a value: a number, "text", @ref, ^symbol, `uri`, date, time, dateTime, true or false'
)
_FEWER: Final = f"at most {MAX_TERMS} terms, where each arrow of a path counts double"
_HINTS: Final[dict[str, str]] = {
    "\n": "the filter in one line: no line breaks outside of quotes",
    "\r": "the filter in one line: no line breaks outside of quotes",
    "=": 'the operator "=="',
    "!": '"not" before a path, or the operator "!="',
    "&": '"and"',
    "|": '"or"',
    "/": "// or /* before a comment",
    "'": 'text in double quotes: "…"',
}
_AFTER: Final[dict[str, str]] = {
    "AND": '"and" in lower case',
    "OR": '"or" in lower case',
    "=": '"==", "!=", "<", "<=", ">" or ">=" as operator',
}
_NUMBER_AND_BLANK: Final = re.compile(r"[<>=][ \t\xa0]*-?[0-9][0-9_.]*[ \t\xa0]+\Z")
_OPS: Final = {op.value: op for op in CmpOp}


class _Parser:
    """One pass over one text; `kind`, `start` and `pos` are those of the token looked at.

    `count` is how many terms were read, as `terms_of` counts them.
    """

    __slots__ = ("count", "kind", "pos", "start", "text")

    def __init__(self, text: str) -> None:
        self.text, self.pos, self.start, self.kind, self.count = text, 0, 0, "", 0
        self.advance()

    def advance(self) -> None:
        """Look at the next token."""
        while True:
            found = _TOKEN.match(self.text, self.pos)
            assert found is not None  # noqa: S101 - `end` takes no character, `other` any
            kind = found.lastgroup or ""
            if kind != "comment":
                break
            self.pos = _after_comment(self.text, found.start(kind))
        self.kind, self.start, self.pos = kind, found.start(kind), found.end()

    def take(self) -> str:
        """Return the text of the token and go on."""
        word = self.text[self.start : self.pos]
        self.advance()
        return word

    def error(self, expected: str, pos: int | None = None) -> FilterSyntaxError:
        """Return the error for the token looked at, or for another place."""
        return FilterSyntaxError(self.text, self.start if pos is None else pos, expected)

    # ---- grammar --------------------------------------------------------------------------------

    def filter(self) -> Node:
        """Read the whole text: terms joined by `and` and `or`, in parentheses or not (F4)."""
        outer: list[tuple[list[Node], list[Node]]] = []
        ors: list[Node] = []
        ands: list[Node] = []
        while True:
            if self.kind == "open":
                if len(outer) == MAX_NESTING:
                    raise self.error(f"at most {MAX_NESTING} levels of parentheses")
                outer.append((ors, ands))
                ors, ands = [], []
                self.advance()
                continue
            ands.append(self.counted())
            while self.kind == "close" and outer:
                self.advance()
                inner = _or(ors, ands)
                ors, ands = outer.pop()
                ands.append(inner)
            if self.kind == "end" and not outer:
                return _or(ors, ands)
            if self.connective(bool(outer)) == "or":
                ors.append(_and(ands))
                ands = []

    def connective(self, inside: bool) -> str:
        """Take the `and` or `or` after a term; only there they are reserved (F3)."""
        word = self.text[self.start : self.pos]
        if self.kind == "id" and (word == "and" or word == "or"):
            self.advance()
            return word
        close = '")"' if inside else "the end of the filter"
        expected = f'"and", "or" or {close}'
        if _NUMBER_AND_BLANK.search(self.text[: self.start]):
            expected += "; a unit follows its number without a blank"
        raise self.error(_AFTER.get(word) or _HINTS.get(word) or expected)

    def counted(self) -> Node:
        """Read one term that is not one too many."""
        start = self.start
        term = self.term()
        self.count += terms_of(term)
        if self.count > MAX_TERMS:
            raise self.error(_FEWER, start)
        return term

    def term(self) -> Node:
        """Read one term."""
        if self.kind == "symbol":
            return self.is_a()
        if self.kind != "id":
            raise self.error(_HINTS.get(self.text[self.start : self.pos], _TERM))
        name = self.take()
        if name == "not" and self.kind == "id":
            return Missing(self.path(self.take()))
        if name == "not" and (self.kind == "open" or self.kind in _READERS):
            raise self.error('a path after "not", which applies to nothing else')
        if name[0].isupper():
            return IsSpec(name)
        if self.kind == "colons" or self.kind == "dot":
            return self.spec(name)
        path = self.path(name)
        if self.kind != "op":
            return Has(path)
        op = _OPS[self.take()]
        return self.comparison(path, op)

    def is_a(self) -> IsA:
        """Read `^symbol` as a term."""
        start, symbol = self.start, self.symbol()
        try:
            return IsA(symbol)
        except ValueError:
            raise self.error(_FEWER, start) from None

    def path(self, name: str) -> Path:
        """Read the rest of a path; after `->` any identifier is a tag (F6)."""
        if self.kind != "arrow":
            return Path((name,))
        names = [name]
        while self.kind == "arrow":
            self.advance()
            if self.kind != "id":
                raise self.error('a tag name after "->"')
            if len(names) == MAX_PATH:
                raise self.error(f"at most {MAX_PATH} names in a path")
            names.append(self.take())
        return Path(tuple(names))

    def spec(self, lib: str) -> Node:
        """Read the rest of a qualified spec name such as `ph::Site` (F7)."""
        while self.kind == "dot":
            self.advance()
            if self.kind != "id":
                raise self.error('a name after "."')
            lib += "." + self.take()
        if self.kind != "colons":
            raise self.error('"::" and a spec name: what has a "." in it is the name of a library')
        self.advance()
        if self.kind != "id" or not self.text[self.start].isupper():
            raise self.error('a spec name, upper-case first, after "::"')
        return IsSpec(f"{lib}::{self.take()}")

    def comparison(self, path: Path, op: CmpOp) -> Cmp:
        """Read the literal after an operator (F8)."""
        start = self.start
        val = self.literal()
        try:
            return Cmp(path, op, val)
        except ValueError as exc:  # a lone surrogate in a text
            raise self.error(f"another value: {exc}", start) from None

    def literal(self) -> Literal:
        """Read a literal."""
        if self.kind == "id":
            word = self.text[self.start : self.pos]
            if word != "true" and word != "false":
                raise self.error(_VALUE)
            self.advance()
            return word == "true"
        reader = _READERS.get(self.kind)
        if reader is None:
            raise self.error(_HINTS.get(self.text[self.start : self.pos], _VALUE))
        return reader(self)

    # ---- literals -------------------------------------------------------------------------------

    def chars(self) -> str:
        """Take the characters of a ref or symbol, after its first sign."""
        found = _REF_CHARS.match(self.text, self.pos)
        return found[0] if found else ""

    def ref(self) -> Ref:
        """Read `@id` (F16)."""
        val = self.chars()
        if not val:
            raise self.error("an id after @: letters, digits and _ : - . ~", self.pos)
        self.pos += len(val)
        self.advance()
        return Ref(val)

    def symbol(self) -> Symbol:
        """Read `^name` (F17)."""
        val = self.chars()
        try:
            symbol = Symbol(val)
        except ValueError:
            raise self.error("a symbol such as ^site, ^hot-water or ^lib:ph") from None
        self.pos += len(val)
        self.advance()
        return symbol

    def string(self) -> str:
        """Read `"text"`, or three quotes on either side (F14)."""
        triple = self.text.startswith('"""', self.start)
        self.pos += 2 if triple else 0
        return self.quoted('"""' if triple else '"', _STR_TRIPLE if triple else _STR, _escaped)

    def uri(self) -> Uri:
        """Read a text in back-ticks (F15)."""
        return Uri(self.quoted("`", _URI, _escaped_in_uri))

    def quoted(self, quote: str, plain: re.Pattern[str], escaped: _Escape) -> str:
        """Read up to the closing quote and go on."""
        text, pos, parts = self.text, self.pos, []
        while True:
            found = plain.match(text, pos)
            if found is not None:
                parts.append(found[0])
                pos = found.end()
            if text.startswith(quote, pos):
                break
            if not text.startswith("\\", pos):
                raise self.error(f"the closing {quote} of what starts at {self.start + 1}", pos)
            part, pos = escaped(text, pos)
            parts.append(part)
        self.pos = pos + len(quote)
        self.advance()
        return "".join(parts)

    def numeric(self) -> Literal:
        """Read what starts with a digit, or `-` and a digit (F9–F13)."""
        text, start = self.text, self.start
        if _DATE_LIKE.match(text, start):
            return self.datetime() if text.startswith("T", start + 10) else self.date()
        if _TIME_LIKE.match(text, start):
            return self.time()
        return self.hex() if text.startswith("0x", start) else self.number()

    def number(self) -> Number:
        """Read a number with an optional unit."""
        text = self.text
        if text.startswith("-0x", self.start):
            raise self.error("a hex number without sign")
        found = _NUMBER.match(text, self.start)
        assert found is not None  # noqa: S101 - the token began with a digit
        unit = UNIT.match(text, found.end())
        end = unit.end() if unit else found.end()
        if unit is not None and unit[0] in ("e", "E") and text.startswith(("+", "-"), end):
            raise self.error("the digits of an exponent", end + 1)
        if text.startswith(("//", "/*"), end):  # "/" is a unit's character: 5/h, 5//h
            raise self.error("a space before the comment", end)
        self.pos = end
        self.advance()
        return Number(float(found[0].replace("_", "")), unit[0] if unit else None)

    def hex(self) -> Number:
        """Read `0xFF` (F10)."""
        found = _HEX.match(self.text, self.start + 2)
        digits = found[0].replace("_", "") if found else ""
        if not digits:
            raise self.error("hex digits after 0x", self.start + 2)
        self.pos = self.start + 2 + len(found[0] if found else "")
        self.advance()
        return Number(int(digits, 16))

    def date(self) -> dt.date:
        """Read `YYYY-MM-DD` (F11)."""
        found = _DATE.match(self.text, self.start)
        if found is None:
            raise self.error("a date as YYYY-MM-DD")
        val = self.calendar(lambda: dt.date(int(found[1]), int(found[2]), int(found[3])))
        self.ends_at(found.end())
        return val

    def time(self) -> dt.time:
        """Read `hh:mm:ss`; the hour may be one digit, seconds may be left out (F12)."""
        found = _TIME.match(self.text, self.start)
        if found is None:
            raise self.error("a time as hh:mm or hh:mm:ss")
        hour, minute, second, fraction = found.groups()
        val = self.calendar(
            lambda: dt.time(int(hour), int(minute), int(second or 0), _micros(fraction))
        )
        self.ends_at(found.end())
        return val

    def datetime(self) -> dt.datetime:
        """Read `YYYY-MM-DDThh:mm:ss-05:00 New_York` or `…Z` (F13)."""
        found = _DATETIME.match(self.text, self.start)
        if found is None:
            raise self.error("a dateTime as YYYY-MM-DDThh:mm:ss, an offset and a zone")
        offset = _OFFSET.match(self.text, found.end())
        if offset is None:
            raise self.error('"Z", or an offset such as -05:00', found.end())
        zone = _ZONE.match(self.text, offset.end())
        if zone is None and offset[0] != "Z":
            raise self.error("one space and a zone such as New_York", offset.end())
        val = self.in_zone(self.calendar(lambda: _wall(found)), offset, zone)
        self.ends_at((zone or offset).end())
        return val

    def in_zone(
        self, wall: dt.datetime, offset: re.Match[str], zone: re.Match[str] | None
    ) -> dt.datetime:
        """Return the instant that the offset tells, shown in the zone (OC 27)."""
        try:
            tz = zone_of(zone[1] if zone else "UTC")
        except LookupError:
            expected = "the city of a time zone, such as New_York"
            raise self.error(expected, zone.start(1) if zone else None) from None
        return self.calendar(lambda: wall.replace(tzinfo=_fixed(offset)).astimezone(tz))

    def calendar(self, make: Callable[[], _Time]) -> _Time:
        """Build a date or time of numbers that may not exist on calendar or clock."""
        try:
            return make()
        except (ValueError, OverflowError) as exc:
            raise self.error(f"a date and time that exist ({exc})") from None

    def ends_at(self, pos: int) -> None:
        """Go on after a date or time, which nothing that could belong to it may touch."""
        if _TAIL.match(self.text, pos):
            raise self.error("a space after the date or time", pos)
        self.pos = pos
        self.advance()


def _and(terms: list[Node]) -> Node:
    return terms[0] if len(terms) == 1 else And(tuple(terms))


def _or(before: list[Node], ands: list[Node]) -> Node:
    return _and(ands) if not before else Or((*before, _and(ands)))


def _after_comment(text: str, pos: int) -> int:
    """Return where a comment ends: `//` at the line break, `/*` after all those inside (F2)."""
    if text.startswith("//", pos):
        found = _LINE_COMMENT.match(text, pos)
        return found.end() if found else len(text)
    depth = 0
    for edge in _COMMENT_EDGE.finditer(text, pos):
        depth += 1 if edge[0] == "/*" else -1
        if depth == 0:
            return edge.end()
    return len(text)  # never closed: the rest of the text


# ---- the insides of literals --------------------------------------------------------------------

_DATE_LIKE = re.compile(r"[0-9]+-[0-9]+-")
_TIME_LIKE = re.compile(r"[0-9]+:[0-9]")
_DATE = re.compile(r"([0-9]{4})-([0-9]{2})-([0-9]{2})")
_TIME = re.compile(r"([0-9]{1,2}):([0-9]{2})(?::([0-9]{2})(?:\.([0-9]+))?)?")
_DATETIME = re.compile(
    r"([0-9]{4})-([0-9]{2})-([0-9]{2})T([0-9]{2}):([0-9]{2}):([0-9]{2})(?:\.([0-9]+))?"
)
_OFFSET = re.compile(r"Z|([+-])([0-9]{2}):([0-9]{2})")
_ZONE = re.compile(r" ([A-Z][A-Za-z0-9_+\-]*)")
# What may continue a number in the reference tokenizer, so that `2024-01-01and` is no date.
_TAIL = re.compile(r"[A-Za-z0-9_%$/]|[^\x00-\x80\xa0]")
_DIGITS = r"[0-9]+(?:_[0-9]+)*"
_NUMBER = re.compile(rf"-?{_DIGITS}(?:\.{_DIGITS})?(?:[eE][+-]?{_DIGITS})?")
_HEX = re.compile(r"[0-9a-fA-F_]*")


def _micros(digits: str | None) -> int:
    # Python's resolution; further digits are cut off, as they are when values are read.
    return int(digits[:6].ljust(6, "0")) if digits else 0


def _wall(found: re.Match[str]) -> dt.datetime:
    year, month, day, hour, minute, second = map(int, found.groups()[:6])
    # Naive on purpose: the offset that follows in the text completes it.
    return dt.datetime(year, month, day, hour, minute, second, _micros(found[7]))  # noqa: DTZ001


def _fixed(offset: re.Match[str]) -> dt.timezone:
    if offset[0] == "Z":
        return dt.UTC
    size = dt.timedelta(hours=int(offset[2]), minutes=int(offset[3]))
    return dt.timezone(-size if offset[1] == "-" else size)


_STR = re.compile(r'[^"\\]+')
_STR_TRIPLE = re.compile(r'(?:[^"\\]|"(?!""))+')
_URI = re.compile(r"[^`\\\r\n]+")
_UNICODE = re.compile(r"u(?:([0-9a-fA-F]{4})|\{([0-9a-fA-F]{1,6})\})")
_LOW_SURROGATE = re.compile(r"\\u([dD][c-fC-F][0-9a-fA-F]{2})")
_ESCAPES: Final = {
    "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t",
    '"': '"', "$": "$", "'": "'", "`": "`", "\\": "\\",
}  # fmt: skip
_KEPT_IN_URI: Final = frozenset(":/?#[]@\\&=;")


def _escaped(text: str, pos: int) -> tuple[str, int]:
    """Read the escape whose backslash is at `pos`: its character and where it ends."""
    char = text[pos + 1 : pos + 2]
    if char in _ESCAPES:
        return _ESCAPES[char], pos + 2
    found = _UNICODE.match(text, pos + 1)
    if found is None:
        raise FilterSyntaxError(text, pos, r"an escape: \b \f \n \r \t \" \$ \' \` \\ or \uXXXX")
    code, end = int(found[1] or found[2], 16), found.end()
    low = _LOW_SURROGATE.match(text, end) if 0xD800 <= code < 0xDC00 else None
    if low is not None:  # one character above U+FFFF, written as UTF-16 has it
        code, end = 0x10000 + ((code - 0xD800) << 10) + int(low[1], 16) - 0xDC00, low.end()
    if code > 0x10FFFF or 0xD800 <= code < 0xE000:
        raise FilterSyntaxError(text, pos, "the code of a character, U+0000 to U+10FFFF")
    return chr(code), end


def _escaped_in_uri(text: str, pos: int) -> tuple[str, int]:
    pair = text[pos : pos + 2]
    return (pair, pos + 2) if pair[1:] in _KEPT_IN_URI else _escaped(text, pos)


_READERS: Final[dict[str, Callable[[_Parser], Literal]]] = {
    "num": _Parser.numeric,
    "str": _Parser.string,
    "ref": _Parser.ref,
    "symbol": _Parser.symbol,
    "uri": _Parser.uri,
}
