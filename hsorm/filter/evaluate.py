"""What a filter means: AST to predicate over one entity (rules F30–F62).

This is the reference; every backend proves that it agrees. A node is compiled once into a closure,
the closure is called per entity. Values of foreign types never raise: they exist, and they are
`!=` every literal.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import lru_cache
from typing import Any, Final, TypeAlias, assert_never

from hsorm.filter.ast import And, Cmp, CmpOp, Has, IsA, IsSpec, Literal, Missing, Node, Or, Path
from hsorm.filter.parser import node_of, parse
from hsorm.kinds import Number, Ref, Symbol, Uri, instant, is_list, native, plain_text, symbol_form
from hsorm.zones import city_of, with_zone

__all__ = ["Deref", "Predicate", "compile_predicate", "evaluate", "follow", "value_test"]

Deref: TypeAlias = Callable[[str], Mapping[str, Any] | None]
"""From the id of a Ref to its entity; None when there is none (rule F52)."""

Predicate: TypeAlias = Callable[[Mapping[str, Any], Deref], bool]
"""Tells whether an entity matches."""

ValueTest: TypeAlias = Callable[[Any], bool]
"""Tells whether the value at the end of a path, None where there is none, makes a term true."""


def evaluate(node: Node | str, entity: Mapping[str, Any], deref: Deref | None = None) -> bool:
    """Tell whether an entity matches a filter.

    For many entities compile the filter once with `compile_predicate`.

    Args:
        node: The filter, as tree or as text.
        entity: A dict of tags.
        deref: Finds the entity of a Ref on a path `a->b`; without it no Ref leads anywhere.

    Raises:
        FilterSyntaxError: The text is no filter.
    """
    if isinstance(node, str) and len(node) <= _CACHED_LENGTH:
        predicate = _compile_text(node)
    else:
        predicate = compile_predicate(node_of(node))
    return predicate(entity, deref or _nowhere)


_CACHED_LENGTH: Final = 4096


@lru_cache(maxsize=512)
def _compile_text(text: str) -> Predicate:
    return compile_predicate(parse(text))


def _nowhere(id: str) -> None:
    return None


def compile_predicate(node: Node) -> Predicate:
    """Compile a filter into one closure."""
    match node:
        case And(terms):
            return _all(tuple(map(compile_predicate, terms)))
        case Or(terms):
            return _any(tuple(map(compile_predicate, terms)))
        case IsA(symbol):
            return _is_a(symbol)
        case IsSpec():
            return lambda entity, deref: False  # no spec namespace, no spec (F62)
        case Has(path) | Missing(path):
            return _at_path(path, node)
        case Cmp(path):
            return _at_path(path, node)
        case _:
            assert_never(node)


# ---- logic --------------------------------------------------------------------------------------


def _all(terms: tuple[Predicate, ...]) -> Predicate:
    if len(terms) == 2:
        first, second = terms
        return lambda entity, deref: first(entity, deref) and second(entity, deref)

    def all_of(entity: Mapping[str, Any], deref: Deref) -> bool:
        for term in terms:  # noqa: SIM110 - a generator costs more than the terms
            if not term(entity, deref):
                return False
        return True

    return all_of


def _any(terms: tuple[Predicate, ...]) -> Predicate:
    if len(terms) == 2:
        first, second = terms
        return lambda entity, deref: first(entity, deref) or second(entity, deref)

    def any_of(entity: Mapping[str, Any], deref: Deref) -> bool:
        for term in terms:  # noqa: SIM110 - a generator costs more than the terms
            if term(entity, deref):
                return True
        return False

    return any_of


def _is_a(symbol: Symbol) -> Predicate:
    """Without an ontology: the tags that the symbol is made of (F61)."""
    match symbol_form(symbol.val):
        case "tag":
            return _has(symbol.val)
        case "conjunct":
            return _all(tuple(_has(name) for name in symbol.val.split("-")))
        case _:
            return lambda entity, deref: False


# ---- terms --------------------------------------------------------------------------------------


def _at_path(path: Path, term: Has | Missing | Cmp) -> Predicate:
    test = value_test(term)
    first, *rest = path.names
    if not rest:
        return _at_name(first, term, test)
    if len(rest) == 1:
        return _at_two(path, test)
    return _at_many(path, test)


def _at_name(name: str, term: Has | Missing | Cmp, test: ValueTest) -> Predicate:
    match term:
        case Has():
            return _has(name)
        case Missing():
            return lambda entity, deref: entity.get(name) is None
        case Cmp(_, CmpOp.EQ, Ref(id)):
            return _ref_equals(name, id)
        case Cmp(_, CmpOp.EQ, str(text)):
            return _str_equals(name, text)
        case _:
            return lambda entity, deref: test(entity.get(name))


def _has(name: str) -> Predicate:
    return lambda entity, deref: entity.get(name) is not None


def _ref_equals(name: str, id: str) -> Predicate:
    def ref_equals(entity: Mapping[str, Any], deref: Deref) -> bool:
        val = entity.get(name)
        if type(val) is Ref:
            return val.val == id
        return is_list(val) and any(type(item) is Ref and item.val == id for item in val)

    return ref_equals


def _str_equals(name: str, text: str) -> Predicate:
    def str_equals(entity: Mapping[str, Any], deref: Deref) -> bool:
        val = entity.get(name)
        return isinstance(val, str) and str.__eq__(val, text)

    return str_equals


def _at_two(path: Path, test: ValueTest) -> Predicate:
    """The commonest path, `equipRef->ahu`, without a loop."""
    first, second = path.names
    at_any = _at_many(path, test)

    def at_two(entity: Mapping[str, Any], deref: Deref) -> bool:
        val = entity.get(first)
        if type(val) is Ref:
            target = deref(val.val)
            return test(None if target is None else target.get(second))
        return test(None) if val is None else at_any(entity, deref)

    return at_two


def _at_many(path: Path, test: ValueTest) -> Predicate:
    def at_many(entity: Mapping[str, Any], deref: Deref) -> bool:
        return any(map(test, follow(entity, path, deref)))

    return at_many


# ---- paths --------------------------------------------------------------------------------------


def follow(entity: Mapping[str, Any], path: Path, deref: Deref) -> list[Any]:
    """Return what a path leads to: one value, None where it leads to nothing (F50–F57).

    A List on the way is left by all of its Refs, so there it is one value for each of them and
    none at all for a List without Refs: then no term is true, missing included (F55). Each entity
    is visited once for each name of the path, however many Refs lead to it (F58).
    """
    first, *rest = path.names
    values = [entity.get(first)]
    for name in rest:
        values = [_step(val, name, deref) for val in _spread(values)]
    return values


def _spread(values: list[Any]) -> Iterable[Any]:
    """Replace each List by its Refs, no Ref twice (F45)."""
    if len(values) == 1 and not is_list(values[0]):
        return values
    spread: dict[Any, Any] = {}
    for index, val in enumerate(values):
        for item in _refs(val) if is_list(val) else (val,):
            # Entities differ by id; what is no Ref came from an entity of its own.
            spread[item.val if type(item) is Ref else index] = item
    return spread.values()


def _refs(items: Sequence[Any]) -> Iterable[Ref]:
    return (item for item in items if type(item) is Ref)


def _step(val: Any, name: str, deref: Deref) -> Any:
    """Return the value of the tag `name` of whatever `val` stands for."""
    if type(val) is Ref:
        target = deref(val.val)
        return None if target is None else target.get(name)
    if isinstance(val, Mapping):
        return val.get(name)
    if isinstance(val, dt.datetime) and name in _DATETIME_STEPS and val.utcoffset() is not None:
        return _DATETIME_STEPS[name](_shown(val))
    return None


def _shown(ts: dt.datetime) -> dt.datetime:
    # What is stored has a named zone: the parts of a fixed offset are those of what it becomes.
    try:
        return with_zone(ts)
    except OverflowError:
        return ts


_DATETIME_STEPS: Final[dict[str, Callable[[dt.datetime], Any]]] = {
    "date": dt.datetime.date,
    "time": dt.datetime.time,
    "tz": city_of,
}


# ---- values -------------------------------------------------------------------------------------


def value_test(term: Has | Missing | Cmp) -> ValueTest:
    """Return the test of the value that a term's path leads to; None stands for nothing."""
    match term:
        case Has():
            return lambda val: val is not None
        case Missing():
            return lambda val: val is None
        case Cmp(_, op, literal):
            return _with_refs(_compare(op, literal), literal, op)
        case _:
            assert_never(term)


def _with_refs(test: ValueTest, literal: Literal, op: CmpOp) -> ValueTest:
    """Let each Ref of a List try in its place first (F45)."""
    if type(literal) is not Ref or op is CmpOp.NE:
        return test  # other literals equal no Ref, and `!=` holds for the List itself

    def any_ref(val: Any) -> bool:
        return any(map(test, _refs(val))) if is_list(val) else test(val)

    return any_ref


def _compare(op: CmpOp, literal: Literal) -> ValueTest:
    key_of = _KEYS[type(literal)]
    wanted = key_of(literal)
    if op is CmpOp.EQ:
        return lambda val: key_of(val) == wanted
    if op is CmpOp.NE:
        return lambda val: val is not None and key_of(val) != wanted
    if type(literal) is Number:
        return _order_number(op, literal)
    if type(literal) is Symbol:
        return _order_symbol(op, literal)
    return _order(op, key_of, wanted)


# A key is None for any value of another kind, so that one comparison decides kind and value both.


def _bool_key(val: Any) -> bool | None:
    if type(val) is not bool:
        val = native(val)
    return val if type(val) is bool else None


def _number_key(val: Any) -> tuple[float, str | None] | None:
    number = _number_of(val)
    return None if number is None else (number.val, number.unit)


def _number_of(val: Any) -> Number | None:
    if type(val) is Number:
        return val
    # Native numbers count as unitless ones, as they do in every codec.
    found = native(val)
    return found if type(found) is Number else None


def _str_key(val: Any) -> str | None:
    return plain_text(val) if isinstance(val, str) else None


def _ref_key(val: Any) -> str | None:
    return val.val if type(val) is Ref else None


def _uri_key(val: Any) -> str | None:
    return val.val if type(val) is Uri else None


def _symbol_key(val: Any) -> str | None:
    return val.val if type(val) is Symbol else None


def _date_key(val: Any) -> dt.date | None:
    return val if isinstance(val, dt.date) and not isinstance(val, dt.datetime) else None


def _time_key(val: Any) -> dt.time | None:
    return val.replace(tzinfo=None) if isinstance(val, dt.time) else None


def _datetime_key(val: Any) -> dt.timedelta | None:
    if not isinstance(val, dt.datetime) or val.utcoffset() is None:
        return None
    return instant(val)


_KEYS: Final[dict[type, Callable[[Any], Any]]] = {
    bool: _bool_key,
    Number: _number_key,
    str: _str_key,
    Ref: _ref_key,
    Uri: _uri_key,
    Symbol: _symbol_key,
    dt.date: _date_key,
    dt.time: _time_key,
    dt.datetime: _datetime_key,
}


def _order(op: CmpOp, key_of: Callable[[Any], Any], wanted: Any) -> ValueTest:
    """Order two values of one kind (F36, F39–F42); code points for text (OC 3)."""
    match op:
        case CmpOp.LT:
            return lambda val: (key := key_of(val)) is not None and key < wanted
        case CmpOp.LE:
            return lambda val: (key := key_of(val)) is not None and key <= wanted
        case CmpOp.GT:
            return lambda val: (key := key_of(val)) is not None and key > wanted
        case _:
            return lambda val: (key := key_of(val)) is not None and key >= wanted


def _order_number(op: CmpOp, literal: Number) -> ValueTest:
    """Order two numbers of one unit (F37); NaN is below them all (F38)."""
    unit = literal.unit

    def key_of(val: Any) -> tuple[bool, float] | None:
        number = _number_of(val)
        if number is None or number.unit != unit:
            return None
        # As a pair, for NaN itself answers False to every question.
        return (False, 0.0) if number.val != number.val else (True, number.val)

    return _order(op, key_of, (True, literal.val))


def _order_symbol(op: CmpOp, literal: Symbol) -> ValueTest:
    """Order two symbols of one form: tag, conjunct or key (F43)."""
    form = symbol_form(literal.val)

    def key_of(val: Any) -> str | None:
        key = _symbol_key(val)
        return key if key is not None and symbol_form(key) == form else None

    return _order(op, key_of, literal.val)
