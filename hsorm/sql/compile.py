"""A filter as a SQLAlchemy condition with the exact meaning of `hsorm.filter.evaluate`.

Every condition made here is two-valued (never NULL), so `not_()` means the opposite. `has` and `==`
become operators that GIN answers; a path follows refs through sets of ids computed once.
"""

from __future__ import annotations

import datetime as dt
import operator
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final, assert_never

from sqlalchemy import (
    ColumnElement,
    Select,
    SelectBase,
    and_,
    case,
    false,
    func,
    not_,
    or_,
    select,
    true,
    union_all,
)
from sqlalchemy.orm import QueryableAttribute
from sqlalchemy.sql.elements import Grouping

from hsorm.codecs import hayson
from hsorm.filter.ast import And, Cmp, CmpOp, Has, IsA, IsSpec, Missing, Node, Or, Path
from hsorm.filter.parser import node_of
from hsorm.kinds import Number, Ref, Symbol, Uri, symbol_form
from hsorm.sql import dialects  # noqa: F401 - registers how the constructs are rendered
from hsorm.sql.constructs import (
    REF,
    AnyRef,
    HasKey,
    HasTag,
    Instant,
    IsInstant,
    KindAt,
    NumberAt,
    SubDict,
    TextAt,
    Variant,
    begin_term,
    bound_document,
    bound_number,
    bound_of,
    constant,
)
from hsorm.sql.keys import range_of, utc_text
from hsorm.sql.sources import (
    EntitySource,
    LiveSource,
    RefText,
    Sources,
    id_of,
    own_source,
    source_of,
)
from hsorm.sql.tag_index import LONGEST, Entry, TagIndex

__all__ = ["compile_filter"]

_Bool = ColumnElement[bool]
_Term = Has | Missing | Cmp

_OPERATORS: Final[dict[CmpOp, Callable[[Any, Any], Any]]] = {
    CmpOp.EQ: operator.eq,
    CmpOp.NE: operator.ne,
    CmpOp.LT: operator.lt,
    CmpOp.LE: operator.le,
    CmpOp.GT: operator.gt,
    CmpOp.GE: operator.ge,
}


@dataclass(frozen=True, slots=True)
class _Scope:
    """The dict that a path starts from.

    Attributes:
        tags: The dict as JSON.
        entity: Where the dict is the entity of a row, its columns; None for a nested dict.
        sources: Where refs lead.
        known: What `_reached` has made already. A path may go on in a nested dict or through a ref
            at each of its names: without this, every name would double the statement.
        by_index: Whether a side table may answer. It does once for each set of entities; the
            conditions beside its answer are tested row by row.
    """

    tags: ColumnElement[Any]
    entity: EntitySource | None
    sources: Sources
    known: dict[tuple[_Term, tuple[str, ...], Any], Select[tuple[Any]]] = field(
        default_factory=dict
    )
    by_index: bool = True

    @property
    def index(self) -> TagIndex | None:
        """The side table that may answer for the entity."""
        return self.entity.index if self.entity is not None and self.by_index else None

    def inside(self, name: str) -> _Scope:
        outer = self.tags
        # One step of several names: SQLite before 3.46 reads no more than 100 open parentheses.
        deeper = (
            SubDict(outer.tags, *outer.names, name)
            if isinstance(outer, SubDict)
            else SubDict(outer, name)
        )
        return replace(self, tags=deeper, entity=None)


def compile_filter(
    filter: str | Node,
    *,
    tags: ColumnElement[Any] | QueryableAttribute[Any],
    id: ColumnElement[Any] | QueryableAttribute[Any] | None = None,
    ref: RefText | None = None,
    refs: Mapping[str, Any] | None = None,
    live: LiveSource | None = None,
    index: TagIndex | None = None,
) -> ColumnElement[bool]:
    """Return the condition that a filter is true of a row.

    Args:
        filter: The filter, as text or parsed.
        tags: The column that holds the dict of tags, of type `Tags` or JSONB; a mapped attribute,
            also of an alias, will do.
        id: The column that holds the id (text, integer or UUID); None is the primary key.
        ref: How an id is written in a Ref, when not alone: see `EntitySource`.
        refs: Where the refs of a tag lead, by the tag's name: a mapped class, a table, an
            `EntitySource`, or a function that returns one of these. `"*"` is for all tags that are
            not named; they lead to the entities that are filtered where it is missing.
        live: Where live tags are kept, in tables like ours: see `LiveSource`.
        index: The side table that stands beside the entities on SQLite: `Tables.tag_index`.

    Note:
        A filter over refs puts a `WITH` before the statement. Python's sqlite3 begins no
        transaction before an UPDATE or DELETE that starts so, and commits it by itself: with such
        statements have the engine begin its transactions, by `begin_on_sqlite`.

    Raises:
        FilterSyntaxError: The text is no filter.
        ValueError: The table has neither a column `id` nor a primary key of one column.
        TypeError: Something in `refs` has not one column of type `Tags` and one key.
    """
    node = node_of(filter)
    own = own_source(tags, id, ref, live, index)
    named = {tag: source_of(there) for tag, there in (refs or {}).items()}
    return _where(node, _Scope(own.tags, own, Sources(own, named)))


# SQLite before 3.46 reads no more than some thirty levels, and a path takes its share of them.
_DEEP: Final = 8


def _where(node: Node, scope: _Scope, level: int = 0) -> _Bool:
    match node:
        case And() | Or() if level == _DEEP and (apart := _apart(node, scope)) is not None:
            return apart
        case And(terms):
            return _all(terms, scope, level + 1)
        case Or(terms):
            return _joined(or_, [_where(term, scope, level + 1) for term in terms])
        case Cmp(val=str() | Uri()) if "\0" in str(node.val):
            return _beside_nul(node, scope)
        case Has(path) | Missing(path) | Cmp(path):
            begin_term(node)
            return _found(node, path.names, scope)
        case IsA(symbol):
            begin_term(node)
            by_row = _is_a(symbol, scope)
            ids, settled = _ids([(node, ())], scope) or (None, set())
            return _either(by_row, scope, ids, [] if settled else [by_row])
        case IsSpec():
            return false()  # without a namespace of specs (F62)
        case _:
            assert_never(node)


def _apart(node: Node, scope: _Scope) -> _Bool | None:
    """Say a deep part as a statement of its own: the id is among those for which it is true."""
    if scope.entity is None:
        return None
    other, alias = scope.entity.fresh()
    if other.tags is None or other.id is None:  # the id is of another table
        return None
    there = _where(node, replace(scope, tags=other.tags, entity=other))
    ids = select(other.id).select_from(alias).where(there).cte()
    apart: _Bool = scope.entity.id.in_(select(ids.c[0]))
    return apart


def _beside_nul(node: Cmp, scope: _Scope) -> _Bool:
    """The term for a text with U+0000, which databases can neither hold nor bind.

    Nothing stored equals it, and in the order of texts it comes right behind its part before that.
    """
    if node.op is CmpOp.EQ:
        return false()
    if node.op is CmpOp.NE:
        return _where(Has(node.path), scope)
    before = str(node.val).partition("\0")[0]
    val = Uri(before) if isinstance(node.val, Uri) else before
    op = CmpOp.LE if node.op in (CmpOp.LT, CmpOp.LE) else CmpOp.GT
    return _where(Cmp(node.path, op, val), scope)


def _is_a(symbol: Symbol, scope: _Scope) -> _Bool:
    if symbol_form(symbol.val) == "key":
        return false()
    # Not by their tags alone: some are among the live ones.
    names = dict.fromkeys(symbol.val.split("-"))
    return _joined(and_, [_walk(_HAS, (name,), scope) for name in names])


# ---- ids from a side table ----------------------------------------------------------------------

_Asked = tuple[Node, tuple[str, ...]]
"""A term, and the part of its path that is still to be walked."""


def _all(terms: tuple[Node, ...], scope: _Scope, level: int) -> _Bool:
    """Say an `and`; by the side table, where the scope has one, as far as that knows the terms."""
    terms = tuple(_flat(terms))
    asked = [(term, term.path.names if isinstance(term, _Term) else ()) for term in terms]
    found = _ids(asked, scope)
    if found is None:
        return _joined(and_, _each(terms, scope, level))
    ids, settled = found
    conditions = _each(terms, replace(scope, by_index=False), level)
    left = [condition for i, condition in enumerate(conditions) if i not in settled]
    return _either(_joined(and_, conditions), scope, ids, [_joined(and_, left)] if left else [])


def _flat(terms: tuple[Node, ...]) -> Iterator[Node]:
    for term in terms:
        if isinstance(term, And):
            yield from _flat(term.terms)
        else:
            yield term


def _each(terms: tuple[Node, ...], scope: _Scope, level: int) -> list[_Bool]:
    """Say the terms of an `and`, one condition for each.

    Those on live tags are all said by the first of them: PostgreSQL joins for each that stands
    alone, and plans a few hundred joins for minutes.
    """
    live = [i for i, term in enumerate(terms) if _on_live(term, scope) is not None]
    if len(live) < 2:
        return [_where(term, scope, level) for term in terms]
    conditions = [
        true() if i in live else _where(term, scope, level) for i, term in enumerate(terms)
    ]
    conditions[live[0]] = _all_live([terms[i] for i in live], scope)
    return conditions


_ENOUGH: Final = 50


def _joined(join: Callable[..., _Bool], conditions: Sequence[_Bool]) -> _Bool:
    """Join conditions by `and_` or `or_`, many of them in groups.

    SQLite takes no expression that is deeper than a thousand, and a chain is as deep as it is long.
    """
    if len(conditions) <= _ENOUGH:
        return join(*conditions)
    groups = (conditions[i : i + _ENOUGH] for i in range(0, len(conditions), _ENOUGH))
    return join(*(Grouping(join(*group)) for group in groups))


def _found(node: _Term, names: tuple[str, ...], scope: _Scope) -> _Bool:
    """Say one term; by the side table, where the scope has one, if that knows it."""
    by_row = _walk(node, names, scope)
    found = _ids([(node, names)], scope)
    if found is None:
        return by_row
    ids, settled = found
    return _either(by_row, scope, ids, [] if settled else [by_row])


def _either(
    by_row: _Bool, scope: _Scope, ids: SelectBase | None, left: Sequence[_Bool] = ()
) -> _Bool:
    """Say a condition in both ways: by the entities, or by ids and what these leave open."""
    if ids is None or scope.entity is None:
        return by_row
    return Variant(by_row, and_(scope.entity.id.in_(ids), *left))


def _ids(asked: Sequence[_Asked], scope: _Scope) -> tuple[SelectBase, set[int]] | None:
    """Select ids among which are all of which these terms are true, from the side table.

    Returns:
        The select, and which terms are true of all of them; None where the table knows no term.
    """
    own, index = scope.entity, scope.index
    if own is None or index is None:
        return None
    entries, settled = _said_by(asked, index)
    by_value = any(val for _, val in entries)
    lead = None if by_value else next((i for i, ask in enumerate(asked) if _leads_on(*ask)), None)
    if lead is not None:
        return _ids_before(asked[lead], scope, own, index, entries), settled | {lead}
    return (index.with_all(entries), settled) if entries else None


def _said_by(asked: Sequence[_Asked], index: TagIndex) -> tuple[list[Entry], set[int]]:
    """Return what the side table says where these terms are true, and which terms that settles.

    Of a comparison it may only say that the tag is there: less than an index of its own would.
    """
    entries: list[Entry] = []
    settled: set[int] = set()
    for i, (node, names) in enumerate(asked):
        match node:
            case IsA(symbol) if symbol_form(symbol.val) != "key":
                said = [(name, "") for name in symbol.val.split("-")]
                settles = all(TagIndex.knows(name) for name, _ in said)
            case Has() | Cmp() if len(names) == 1:
                val = _said_val(node)
                if val is None and names[0] in index.declared:
                    continue
                said, settles = [(names[0], val or "")], val is not None
            case _:
                continue
        entries += [entry for entry in said if TagIndex.knows(entry[0])]
        settled |= {i} if settles and TagIndex.knows(said[0][0]) else set()
    return list(dict.fromkeys(entries)), settled


def _said_val(node: Has | Cmp) -> str | None:
    """Return the entry's value that says the same as a term; None if only the presence is said."""
    match node:
        case Has():
            return ""
        case Cmp(op=CmpOp.EQ, val=Ref(id)):
            return f"@{id}"
        case Cmp(op=CmpOp.EQ, val=str(text)) if len(text) <= LONGEST and "\0" not in text:
            return f'"{text}'
    return None


def _leads_on(node: Node, names: tuple[str, ...]) -> bool:
    """Tell whether a term is true only through a ref or a nested dict, never through a dateTime."""
    if isinstance(node, Missing) or len(names) < 2 or not TagIndex.knows(names[0]):
        return False
    if isinstance(node, Cmp) and isinstance(node.val, str | Uri) and "\0" in str(node.val):
        return False
    return names[1:] not in (("date",), ("time",), ("tz",))


def _ids_before(
    asked: Any, scope: _Scope, own: EntitySource, index: TagIndex, entries: Sequence[Entry]
) -> SelectBase:
    """Select the ids of which all is said and which lead to where a term is true."""
    node, (name, *others) = asked
    rest = tuple(others)
    reached = _reached(node, rest, scope.sources.behind(name), scope)
    entity, alias = own.fresh()
    within = _walk(node, rest, replace(scope, tags=entity.tags, entity=entity).inside(name))
    said = (index.says(entry, entity.id) for entry in entries)
    dicts = select(entity.id).select_from(alias)
    dicts = dicts.where(entity.id.in_(index.with_dict(name)), within, *said)
    return union_all(index.with_ref_to(name, reached, entries), dicts)


# ---- paths --------------------------------------------------------------------------------------


def _walk(node: _Term, names: tuple[str, ...], scope: _Scope) -> _Bool:
    """Return the condition that a term is true at the end of a path (F50–F58)."""
    name, rest = names[0], names[1:]
    if name == "id" and scope.entity is not None:
        # An entity's id leads to the entity itself (F57).
        return _walk(node, rest, scope) if rest else _at_id(node, scope.entity)
    if (live := _live_with(name, scope)) is not None:
        return _walk_live(node, names, scope, live)
    if not rest:
        return _at_end(node, scope.tags, name)
    missing = isinstance(node, Missing)
    reached = _reached(node, rest, scope.sources.behind(name), scope)
    kind, val = KindAt(scope.tags, name), TextAt(scope.tags, name, "val")
    step = _switch(
        kind,
        {
            "ref": _in(val, reached, missing),
            "list": AnyRef(scope.tags, name, _in(REF, reached, missing)),
            "dict": _walk(node, rest, scope.inside(name)),
            "dateTime": _at_part(node, rest, val, TextAt(scope.tags, name, "tz")),
        },
        true() if missing else false(),
    )
    # Presence is what an index answers; there is none for the names in a nested dict.
    return step if missing or scope.entity is None else and_(HasKey(scope.tags, name), step)


def _on_live(node: Node, scope: _Scope) -> LiveSource | None:
    """Return where the tag is that a term asks for, if it is a live one and has to be there."""
    match node:
        case Cmp(val=str() | Uri()) if "\0" in str(node.val):
            return None
        case Has(path) | Cmp(path):
            return _live_with(path.names[0], scope)
    return None


def _all_live(terms: Sequence[Any], scope: _Scope) -> _Bool:
    """Say several terms on live tags at once."""
    live: Any = _on_live(terms[0], scope)
    table = live.table.alias()
    there = replace(scope, tags=table.c.tags, entity=None)
    conditions = []
    for term in terms:
        begin_term(term)
        conditions.append(_walk(term, term.path.names, there))
    id: Any = None if scope.entity is None else scope.entity.id
    found: _Bool = id.in_(select(table.c.id).where(_joined(and_, conditions)))
    return found


def _live_with(name: str, scope: _Scope) -> LiveSource | None:
    """Return where a tag of an entity is kept, None where it is among the others."""
    live = None if scope.entity is None else scope.entity.live
    return live if live is not None and name in live.names else None


def _walk_live(node: _Term, names: tuple[str, ...], scope: _Scope, live: LiveSource) -> _Bool:
    """The term on a live tag: of those that have any, which are few beside all entities."""
    table = live.table.alias()
    id: Any = None if scope.entity is None else scope.entity.id
    there = _walk(node, names, replace(scope, tags=table.c.tags, entity=None))
    if isinstance(node, Missing):
        found: _Bool = id.not_in(select(table.c.id).where(not_(there)))
    else:
        found = id.in_(select(table.c.id).where(there))
    return found


def _is(kind: ColumnElement[str], name: str) -> _Bool:
    return kind == constant(name)


def _switch(
    kind: ColumnElement[str], results: Mapping[str, ColumnElement[bool]], otherwise: _Bool
) -> _Bool:
    """Choose a condition by what is stored; only the chosen one is computed."""
    whens = [(constant(name), result) for name, result in results.items()]
    return case(*whens, value=kind, else_=otherwise)


_HAS: Final = Has(Path(("x",)))
"""Whether there is anything at the end of the names that are given beside it."""


def _reached(
    node: _Term, rest: tuple[str, ...], source: EntitySource, scope: _Scope
) -> Select[tuple[Any]]:
    """Select the ids of the entities from which the rest of the path makes the term true.

    For `not`, of those from which it does not: a ref that dangles leads to nothing, which is
    missing.
    """
    found = scope.known.get((node, rest, source))
    if found is None:
        entity, alias = source.fresh()
        there = replace(scope, tags=entity.tags, entity=entity, by_index=True)
        if isinstance(node, Missing) and len(rest) == 1:
            where = _found(_HAS, rest, there)
        else:
            where = _found(node, rest, there)
            where = not_(where) if isinstance(node, Missing) else where
        # A CTE, for a ref and a list of refs both look in it: computed once, when first needed.
        ids = select(entity.ref_id().label("id")).select_from(alias).where(where).cte()
        found = scope.known[node, rest, source] = select(ids.c.id)
    return found


def _in(ref: ColumnElement[str], ids: Select[tuple[Any]], missing: bool) -> _Bool:
    return ref.not_in(ids) if missing else ref.in_(ids)


def _at_id(node: _Term, entity: EntitySource) -> _Bool:
    """The term on an entity's own id, which is always there and always a Ref (F47)."""
    match node:
        case Has():
            return true()
        case Missing():
            return false()
        case Cmp(op=CmpOp.EQ, val=Ref() as ref):
            return entity.has_id(ref)
        case Cmp(op=CmpOp.NE, val=Ref() as ref):
            return not_(entity.has_id(ref))
        case Cmp(op=op, val=Ref() as ref):
            comparison: _Bool = _OPERATORS[op](entity.ordered_id(), bound_of(id_of, ref))
            return comparison
        case Cmp(op=op):
            return true() if op is CmpOp.NE else false()


def _at_end(node: _Term, tags: ColumnElement[Any], name: str) -> _Bool:
    """The term on the value of one tag (F30–F46)."""
    match node:
        case Has():
            return HasTag(tags, name)
        case Missing():
            return not_(HasTag(tags, name))
        case Cmp(op=CmpOp.NE, val=val):
            return and_(HasTag(tags, name), not_(_equals(tags, name, val)))
        case Cmp(op=CmpOp.EQ, val=Ref() as val):
            return or_(_equals(tags, name, val), _list_holds(tags, name, val))
        case Cmp(op=CmpOp.EQ, val=val):
            return _equals(tags, name, val)
        case Cmp(op=op, val=val):
            return and_(HasKey(tags, name), _compare(tags, name, op, val))


# ---- equality: what GIN answers -----------------------------------------------------------------


def _equals(tags: ColumnElement[Any], name: str, val: Any) -> _Bool:
    """The value is equal to a literal, lists left aside (F34)."""
    plain = _compare(tags, name, CmpOp.EQ, val)
    match val:
        case dt.datetime() | dt.time():
            # One instant has many texts, so containment cannot find it; the tag's presence helps.
            return and_(HasKey(tags, name), plain)
        case Number(unit=None) if val.val == val.val and abs(val.val) != float("inf"):
            # A bare number has no unit by its form; one in an object might have one.
            in_object = and_(
                _contains(tags, name, _number_object, val), TextAt(tags, name, "unit").is_(None)
            )
            return Variant(or_(_contains(tags, name, hayson.encode, val), in_object), plain)
        case Ref():
            return Variant(_contains(tags, name, _ref_object, val), plain)
        case _:
            return Variant(_contains(tags, name, hayson.encode, val), plain)


def _number_object(val: Number) -> Any:
    return {"_kind": "number", "val": hayson.encode(val)}


def _ref_object(ref: Ref) -> Any:
    return hayson.encode(Ref(ref.val))


def _list_holds(tags: ColumnElement[Any], name: str, ref: Ref) -> _Bool:
    """The value is a list with this ref in it (F45)."""
    held = _contains(tags, name, lambda ref: [_ref_object(ref)], ref)
    in_list = _is(KindAt(tags, name), "list")
    plain = case((in_list, AnyRef(tags, name, bound_of(id_of, ref) == REF)), else_=false())
    return Variant(held, plain)


def _contains(tags: ColumnElement[Any], name: str, make: Callable[[Any], Any], val: Any) -> _Bool:
    # Containment compares kinds, too, and lets a stored ref have any `dis` (K1, K3).
    def document(val: Any) -> str:
        return hayson.to_json({name: make(val)}).decode()

    return tags.op("@>", is_comparison=True)(bound_document(document, val))


# ---- comparisons: any operator on any kind, by a CASE on what is stored --------------------------


def _compare(tags: ColumnElement[Any], name: str, op: CmpOp, val: Any) -> _Bool:
    """The value has the literal's kind and compares with it (F36–F43); lists only by their refs."""
    exact, range = _compare_exactly(tags, name, op, val), range_of(tags, name, op, val)
    # The range is what an index answers that somebody declared. It is less to compute, too.
    return exact if range is None else and_(range, exact)


def _compare_exactly(tags: ColumnElement[Any], name: str, op: CmpOp, val: Any) -> _Bool:
    kind, compare = KindAt(tags, name), _OPERATORS[op]
    text = TextAt(tags, name, "val")
    match val:
        case bool():
            true_of = [text for text, own in _BOOLS.items() if compare(own, val)]
            return or_(false(), *(_is(kind, text) for text in true_of))
        case str():
            return _when(_is(kind, "str"), compare(TextAt(tags, name), bound_of(str, val)))
        case Number():
            return _compare_number(tags, name, op, val)
        case Ref():
            return _compare_ref(tags, name, op, val)
        case Uri():
            return _when(_is(kind, "uri"), compare(text, bound_of(_val_of, val)))
        case Symbol():
            return _compare_symbol(tags, name, op, val)
        case dt.datetime():
            literal = Instant(bound_of(utc_text, val))
            fits = case((_is(kind, "dateTime"), IsInstant(text)), else_=false())
            return _when(fits, compare(Instant(text), literal))
        case dt.date():
            return _when(_is(kind, "date"), compare(text, bound_of(dt.date.isoformat, val)))
        case dt.time():
            literal_text = bound_of(_time_text, val)
            return _when(_is(kind, "time"), compare(_time_key(text, 1), literal_text))
        case _:
            return false()  # no literal is of any other kind (F44)


_BOOLS: Final = {"true": True, "false": False}


def _when(condition: _Bool, then: _Bool) -> _Bool:
    # CASE, not AND: it alone promises that `then` is only computed where the kind is right.
    return case((condition, func.coalesce(then, false())), else_=false())


def _compare_ref(tags: ColumnElement[Any], name: str, op: CmpOp, ref: Ref) -> _Bool:
    kind, compare = KindAt(tags, name), _OPERATORS[op]
    own = _when(_is(kind, "ref"), compare(TextAt(tags, name, "val"), bound_of(id_of, ref)))
    if op is CmpOp.EQ:
        return own
    in_list = _when(_is(kind, "list"), AnyRef(tags, name, compare(REF, bound_of(id_of, ref))))
    return or_(own, in_list)


def _val_of(val: Uri | Symbol) -> str:
    return val.val


def _compare_symbol(tags: ColumnElement[Any], name: str, op: CmpOp, val: Symbol) -> _Bool:
    text = TextAt(tags, name, "val")
    found = _when(_is(KindAt(tags, name), "symbol"), _OPERATORS[op](text, bound_of(_val_of, val)))
    if op is CmpOp.EQ:
        return found
    # Order is among symbols of one form only (F43, OC 7).
    form = case((text.contains(":"), "key"), (text.contains("-"), "conjunct"), else_="tag")
    return and_(found, _when(_is(KindAt(tags, name), "symbol"), form == symbol_form(val.val)))


def _compare_number(tags: ColumnElement[Any], name: str, op: CmpOp, val: Number) -> _Bool:
    kind, compare = KindAt(tags, name), _OPERATORS[op]
    unit, literal = TextAt(tags, name, "unit"), bound_number(val)
    if val.unit is not None:
        # What is no number has no unit, so only bare numbers can be in the object.
        alike = case(
            (_is(kind, "number"), and_(unit == bound_of(_unit_of, val), _bare(tags, name))),
            else_=false(),
        )
        return _when(alike, compare(NumberAt(tags, name, "val"), literal))
    special = {text: true() for text, own in _SPECIAL.items() if _holds(compare, own, val.val)}
    in_object = case(
        (_bare(tags, name), compare(NumberAt(tags, name, "val"), literal)),
        else_=_switch(TextAt(tags, name, "val"), special, false()) if special else false(),
    )
    return _switch(
        kind,
        {
            "num": compare(NumberAt(tags, name), literal),
            "number": _when(unit.is_(None), in_object),
        },
        false(),
    )


def _unit_of(val: Number) -> str:
    return str(val.unit)


_SPECIAL: Final = {"NaN": float("nan"), "INF": float("inf"), "-INF": float("-inf")}


def _bare(tags: ColumnElement[Any], name: str) -> _Bool:
    return _is(KindAt(tags, name, "val"), "num")


def _holds(compare: Callable[[Any, Any], Any], special: float, literal: float) -> bool:
    """Compare one of NaN, INF, -INF with a literal; NaN is below every number (F38)."""
    if special != special:
        return compare is operator.lt or compare is operator.le
    return bool(compare(special, literal))


# ---- dates and times ----------------------------------------------------------------------------


def _time_key(text: ColumnElement[str], start: int) -> ColumnElement[str]:
    """Return a time of day, from a text where it stands at `start`, as `hh:mm:ssffffff`."""
    digits = func.substr(text, start + 9, 9)
    whole = func.substr(digits.op("||")("000000"), 1, 6)
    return func.substr(text, start, 8).op("||")(whole)


def _time_text(time: dt.time) -> str:
    return f"{time:%H:%M:%S%f}"


def _at_part(
    node: _Term,
    rest: tuple[str, ...],
    text: ColumnElement[str],
    tz: ColumnElement[str],
) -> _Bool:
    """The term on the local `date` or `time`, or on the `tz`, of a dateTime (F54)."""
    if len(rest) > 1 or rest[0] not in ("date", "time", "tz"):
        return true() if isinstance(node, Missing) else false()
    if not isinstance(node, Cmp):
        return false() if isinstance(node, Missing) else true()
    compare, val = _OPERATORS[node.op], node.val
    match rest[0], val:
        case "date", dt.date() if not isinstance(val, dt.datetime):
            found: _Bool = compare(func.substr(text, 1, 10), bound_of(dt.date.isoformat, val))
        case "time", dt.time():
            # Behind the seconds stands a fraction or the offset, whose digits must not count.
            has_fraction = func.substr(text, 20, 1) == "."
            found = compare(
                case((has_fraction, _time_key(_cut(text), 12)), else_=_whole_time(text)),
                bound_of(_time_text, val),
            )
        case "tz", str():
            found = compare(func.coalesce(tz, constant("GMT")), bound_of(str, val))
        case _:
            return true() if node.op is CmpOp.NE else false()
    # A text of other people's that is no dateTime has no parts.
    return _when(IsInstant(text), found)


def _cut(text: ColumnElement[str]) -> ColumnElement[str]:
    """Return a dateTime's text without its `Z` or offset."""
    length = func.length(text) - case((text.endswith("Z"), 1), else_=6)
    return func.substr(text, 1, length)


def _whole_time(text: ColumnElement[str]) -> ColumnElement[str]:
    return func.substr(text, 12, 8).op("||")("000000")
