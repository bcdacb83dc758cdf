"""The filter as a tree of frozen values: what the parser makes and every backend reads.

`Has`, `Missing`, `Cmp`, `And`, `Or` and `Path` are those of the Haystack filter grammar; `And` and
`Or` hold their terms flat (`a and b and c` is one `And` of three), so that a chain of any length is
no deep tree.

A tree can only be built of what a filter text can say, so each prints and parses back to an equal
one; the constructors raise ValueError or TypeError for anything else.
"""

from __future__ import annotations

import datetime as dt
import re
from enum import Enum
from typing import TYPE_CHECKING, Any, Final, TypeAlias, assert_never

import msgspec
from msgspec.structs import force_setattr

from hsorm.kinds import Number, Ref, Symbol, Uri, equal, instant, is_ref_id, native, plain_text

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = [
    "MAX_NESTING",
    "MAX_PATH",
    "MAX_TERMS",
    "And",
    "Cmp",
    "CmpOp",
    "Has",
    "IsA",
    "IsSpec",
    "Literal",
    "Missing",
    "Node",
    "Or",
    "Path",
    "size_of",
    "terms_of",
]


MAX_PATH: Final = 8
"""Names that a path may have: each arrow is a subquery to databases, and not all take many."""

MAX_NESTING: Final = 100
"""Levels of parentheses that a filter may have (OC 6)."""

MAX_TERMS: Final = 400
"""Terms that a filter may have, as `terms_of` counts them: no database takes a chain of any length.

SQLite ends at 500 and at 1,000 of some, and takes 17 seconds for 600 that follow a ref.
"""

_TOO_MANY: Final = f"a filter has at most {MAX_TERMS} terms, and each arrow of a path counts double"

_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]*|_[A-Za-z0-9_]+")
_SPEC = re.compile(
    r"(?:(?:[a-z][A-Za-z0-9_]*|_[A-Za-z0-9_]+)(?:\.(?:[A-Za-z][A-Za-z0-9_]*|_[A-Za-z0-9_]+))*::)?"
    r"[A-Z][A-Za-z0-9_]*"
)
# A unit may not look like a continued number ("_5"), nor start a comment (rules F2, F9).
UNIT = re.compile(
    r"(?!_[0-9])(?:[A-Za-z_%$]|/(?![/*])|[^\x00-\x80\xa0])"
    r"(?:[A-Za-z0-9_%$]|/(?![/*])|[^\x00-\x80\xa0])*"
)


class CmpOp(Enum):
    """A comparison operator; its value is its text."""

    EQ = "=="
    NE = "!="
    LT = "<"
    LE = "<="
    GT = ">"
    GE = ">="


Literal: TypeAlias = bool | Number | str | Ref | Uri | Symbol | dt.date | dt.time | dt.datetime
"""What may stand to the right of an operator (rule F8)."""


class Path(msgspec.Struct, frozen=True):
    """Tag names joined by `->`; at least one, at most `MAX_PATH` (rule F50)."""

    names: tuple[str, ...]

    def __post_init__(self) -> None:
        if not self.names:
            raise ValueError("a path has at least one name")
        if len(self.names) > MAX_PATH:
            raise ValueError(f"a path has at most {MAX_PATH} names")
        for name in self.names:
            if not _NAME.fullmatch(name):
                raise ValueError(f"{name!r} is no tag name of a filter: ASCII letters, digits, _")

    def __str__(self) -> str:
        return "->".join(self.names)


def _check_first(path: Path) -> None:
    if path.names[0][0].isupper():
        raise ValueError(f"{path.names[0]!r} is no path but the name of a spec (rule F6)")


class Has(msgspec.Struct, frozen=True):
    """The path leads to a value (rule F30)."""

    path: Path

    def __post_init__(self) -> None:
        _check_first(self.path)


class Missing(msgspec.Struct, frozen=True):
    """The path leads to nothing: `not path` (rules F31, F55)."""

    path: Path


def _no_number(val: Number) -> str | None:
    if val.val != val.val:
        return "no filter can write NaN (rule F8)"
    if val.unit is not None and not UNIT.fullmatch(val.unit):
        return f"no filter can write the unit {val.unit!r} (rule F9)"
    return None


def _no_text(val: str) -> str | None:
    try:
        val.encode()
    except UnicodeEncodeError:
        return f"{val!r} holds half of a surrogate pair, which is no character"
    return None


def _no_datetime(val: dt.datetime) -> str | None:
    if val.utcoffset() is None:
        return f"{val.isoformat()} has no time zone: a dateTime needs one"
    try:
        val.astimezone(dt.UTC)
    except OverflowError:
        return f"{val.isoformat()} is beyond the years 1 to 9999 in UTC"
    return None


_FAULTS: Final[dict[type, Callable[[Any], str | None]]] = {
    bool: lambda val: None,
    Number: _no_number,
    str: _no_text,
    Ref: lambda val: None if is_ref_id(val.val) else f"{val.val!r} is no ref id (rule K20)",
    Uri: lambda val: _no_text(val.val),
    Symbol: lambda val: None,
    dt.datetime: _no_datetime,
    dt.date: lambda val: None,
    dt.time: lambda val: "a Time has no time zone" if val.tzinfo is not None else None,
}


def _literal_of(val: Any) -> Literal:
    if isinstance(val, str):
        return plain_text(val)
    found = native(val)
    if found is not None:
        return found
    raise TypeError(
        f"a filter compares with bool, Number, str, Ref, Uri, Symbol, date, time or datetime, "
        f"not {type(val).__name__}"
    )


class Cmp(msgspec.Struct, frozen=True, eq=False):
    """The value at the path compares with a literal (rules F34–F43).

    A number of Python or NumPy becomes a Number. Two of these are equal when their literals are by
    `kinds.equal`: by id for a Ref, by instant for a dateTime.
    """

    path: Path
    op: CmpOp
    val: Literal

    def __post_init__(self) -> None:
        _check_first(self.path)
        if type(self.val) not in _FAULTS:
            force_setattr(self, "val", _literal_of(self.val))
        fault = _FAULTS[type(self.val)](self.val)
        if fault is not None:
            raise ValueError(fault)

    def __eq__(self, other: object) -> bool:
        # Python's own == would call the two passes of a repeated hour one, and a cache keyed by
        # filters would answer the one with the other.
        if type(other) is not Cmp:
            return NotImplemented
        return self.op is other.op and self.path == other.path and equal(self.val, other.val)

    def __hash__(self) -> int:
        val = instant(self.val) if isinstance(self.val, dt.datetime) else self.val
        return hash((self.path, self.op, val))


class IsA(msgspec.Struct, frozen=True):
    """`^symbol`: the entity is what the def says (rule F61)."""

    symbol: Symbol

    def __post_init__(self) -> None:
        if terms_of(self) > MAX_TERMS:
            raise ValueError(_TOO_MANY)


class IsSpec(msgspec.Struct, frozen=True):
    """`Site` or `ph::Site`: the entity is of that spec (rule F62)."""

    name: str

    def __post_init__(self) -> None:
        if not _SPEC.fullmatch(self.name):
            raise ValueError(f"{self.name!r} is no spec name, such as Site or ph::Site (rule F7)")


def parentheses(node: Node) -> int:
    """Return how many levels of parentheses the text of a filter needs."""
    if not isinstance(node, (And, Or)):
        return 0
    levels: int | None = node.__dict__.get("levels")
    return _count(node) if levels is None else levels  # copy.copy takes the fields only


def _count(node: And | Or) -> int:
    # `and` binds tighter: within an Or only another Or needs them, within an And either does.
    wrapped = (And, Or) if type(node) is And else (Or,)
    return max(
        parentheses(term) + (type(term) in wrapped) or is_bare_not(term) for term in node.terms
    )


def terms_of(node: Node) -> int:
    """Return how many terms a filter counts as.

    Each arrow of a path doubles what its term counts (`a->b->c` is four), for so grows what a
    database has to do: the way goes on through a ref, a list of refs or a nested dict. Each name of
    a `^conjunct-symbol` is a term.
    """
    match node:
        case And(terms) | Or(terms):
            count: int | None = node.__dict__.get("count")
            return sum(map(terms_of, terms)) if count is None else count
        case Has(path) | Missing(path) | Cmp(path):
            return 1 << (len(path.names) - 1)
        case IsA(symbol):
            return symbol.val.count("-") + 1
    return 1


def size_of(node: Node) -> int:
    """Return about how many characters the names and the texts of a filter have."""
    match node:
        case And(terms) | Or(terms):
            size: int | None = node.__dict__.get("size")
            return sum(map(size_of, terms)) if size is None else size
        case Has(path) | Missing(path):
            return sum(map(len, path.names))
        case Cmp(path, val=str() | Ref() | Uri() | Symbol() as val):
            return sum(map(len, path.names)) + len(val if isinstance(val, str) else val.val)
        case Cmp(path, val=Number(unit=str() as unit)):
            return sum(map(len, path.names)) + len(unit)
        case Cmp(path):
            return sum(map(len, path.names))
        case IsA(symbol):
            return len(symbol.val)
        case IsSpec(name):
            return len(name)
        case _:
            assert_never(node)


def is_bare_not(node: Node) -> bool:
    """Tell whether a term is the tag named `not`: before `and` it would read as "no tag `and`"."""
    return type(node) is Has and node.path.names == ("not",)


def _check_terms(node: And | Or) -> None:
    if type(node.terms) is not tuple or len(node.terms) < 2:
        raise ValueError(f"{type(node).__name__} takes a tuple of two terms or more")
    levels = _count(node)
    if levels > MAX_NESTING:
        raise ValueError(f"a filter has at most {MAX_NESTING} levels of parentheses")
    count = sum(map(terms_of, node.terms))
    if count > MAX_TERMS:
        raise ValueError(_TOO_MANY)
    # Kept beside the fields, so that building a deep tree stays linear.
    node.__dict__.update(levels=levels, count=count, size=sum(map(size_of, node.terms)))


class And(msgspec.Struct, frozen=True, dict=True):
    """All terms are true; two or more."""

    terms: tuple[Node, ...]

    def __post_init__(self) -> None:
        _check_terms(self)


class Or(msgspec.Struct, frozen=True, dict=True):
    """One of the terms is true; two or more."""

    terms: tuple[Node, ...]

    def __post_init__(self) -> None:
        _check_terms(self)


Node: TypeAlias = Has | Missing | Cmp | IsA | IsSpec | And | Or
"""Any filter."""
