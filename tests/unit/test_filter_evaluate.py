from __future__ import annotations

import datetime as dt
import decimal
import enum
import math
import types
from collections.abc import Mapping
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from hsorm.codecs import hayson
from hsorm.errors import FilterSyntaxError
from hsorm.filter import (
    And,
    Cmp,
    CmpOp,
    Has,
    Literal,
    Missing,
    Node,
    Or,
    Path,
    compile_predicate,
    evaluate,
    parse,
)
from hsorm.filter.evaluate import follow, value_test
from hsorm.kinds import MARKER, NA, REMOVE, Number, Ref, Symbol, Uri, XStr, equal
from hsorm.testing.filter_cases import CASES, ENTITIES
from tests.unit.filter_strategies import literals, names, nodes, paths, ref_ids, terms

Entities = dict[str, dict[str, Any]]
BY_ID: Entities = {entity["id"].val: entity for entity in ENTITIES}
NEW_YORK = ZoneInfo("America/New_York")


def found(text: str, entities: Mapping[str, Mapping[str, Any]] = BY_ID) -> list[str]:
    matches = compile_predicate(parse(text))
    return sorted(id for id, entity in entities.items() if matches(entity, entities.get))


@pytest.mark.parametrize(("rule", "text", "ids"), CASES)
def test_case(rule: str, text: str, ids: list[str]) -> None:
    assert found(text) == ids
    assert [id for id in sorted(BY_ID) if evaluate(text, BY_ID[id], BY_ID.get)] == ids


@pytest.mark.parametrize(("rule", "text", "ids"), CASES)
def test_case_over_entities_as_they_are_stored(rule: str, text: str, ids: list[str]) -> None:
    stored = {id: hayson.decode_entity(hayson.encode_entity(BY_ID[id])) for id in BY_ID}

    assert found(text, stored) == ids


def test_every_rule_has_cases() -> None:
    rules = {rule for rule, _, _ in CASES}

    # F32 and F59 need what is not stored; F36-F44, F50, F63 come with the others.
    assert rules >= {f"F{n}" for n in (*range(33, 48), *range(51, 59), 30, 31, 60, 61, 62)}
    assert len(CASES) == len({text for _, text, _ in CASES}) >= 150


@pytest.mark.parametrize(
    "val", [MARKER, NA, REMOVE, False, Number(0), Number(math.nan), "", [], {}]
)
def test_any_value_exists(val: object) -> None:
    """F30, F31, F35."""
    assert evaluate("x", {"x": val})
    assert not evaluate("not x", {"x": val})
    assert evaluate("x != @none", {"x": val})


@pytest.mark.parametrize("op", ["==", "!=", "<", "<=", ">", ">="])
def test_null_is_absence(op: str) -> None:
    """F32."""
    for literal in ("1", '"a"', "@a", "true", "2024-01-01", "^a"):
        assert not evaluate(f"x {op} {literal}", {"x": None})
        assert not evaluate(f"x {op} {literal}", {})
        assert not evaluate(f"d->x {op} {literal}", {"d": {"x": None}})
    assert evaluate("not x and not d->x", {"x": None, "d": {"x": None}})


def test_na_is_a_value() -> None:
    """F33."""
    assert evaluate('x and x != 1 and x != "NA" and x != true', {"x": NA})
    assert not evaluate("not x or x == 1 or x < 1 or x >= 1", {"x": NA})


def test_nan_is_the_lowest_number_and_has_no_unit() -> None:
    """F38, F37."""
    nan = {"x": Number(math.nan, "kW")}

    assert evaluate("x < -1e999 and x <= 0 and x != 0 and x != 0kW", nan)
    assert not evaluate("x > -1e999 or x >= -1e999 or x == 0 or x < 0kW", nan)


def test_refs_in_a_list_that_holds_other_things_too() -> None:
    """F45, F46."""
    mixed = {"x": ["q", None, {"a": MARKER}, Ref("a"), [Ref("b")], Number(5)]}

    assert evaluate("x == @a and x != @a and x <= @a", mixed)
    assert not evaluate('x == @b or x == "q" or x == 5 or x > @a or x < 6', mixed)
    assert not evaluate("x->a", mixed, {"a": {}}.get)
    assert evaluate("not x->a", mixed, {"a": {}}.get)
    assert not evaluate("not x->a", mixed, {"a": {"a": False}}.get)


def test_a_tuple_is_a_list() -> None:
    assert evaluate("x == @a and x->b", {"x": (Ref("z"), Ref("a"))}, {"a": {"b": MARKER}}.get)


def test_without_deref_no_ref_leads_anywhere() -> None:
    """F52."""
    assert evaluate("not a->id", {"a": Ref("b")})
    assert not evaluate("a->id", {"a": Ref("b")})


def test_a_list_on_the_way_to_a_list() -> None:
    """F45, F55: the Refs of each list are tried in turn."""
    entities: Entities = {
        "p": {"to": [Ref("q"), Ref("r")]},
        "q": {"to": [Ref("s"), Ref("dangling")]},
        "r": {"to": []},
        "s": {"x": Number(1)},
    }

    assert found("to->to->x == 1", entities) == ["p"]
    # By the dangling one for p; q's own has no further list; s has no `to` at all.
    assert found("not to->to->x", entities) == ["p", "q", "s"]
    assert found("not to->to->to", entities) == ["p", "q", "s"]
    assert found("to->to == @s", entities) == ["p"]
    assert found("not to->to", entities) == ["q", "s"]


def test_many_refs_in_circles_do_not_multiply() -> None:
    """F58: two refs to itself in each step: 2^7 ways, all of them the same."""
    entities: Entities = {"a": {"to": [Ref("a"), Ref("b")]}, "b": {"to": [Ref("b"), Ref("a")]}}

    assert found("to->" * 7 + "x", entities) == []
    assert found("not " + "to->" * 7 + "x", entities) == ["a", "b"]


def test_steps_of_a_datetime() -> None:
    """F54: local to its own zone; a fixed offset counts as the zone that it is stored as."""
    ts = dt.datetime(2024, 1, 1, 0, 30, tzinfo=ZoneInfo("Asia/Tokyo"))
    offset = ts.replace(tzinfo=dt.timezone(dt.timedelta(hours=9)))
    odd = ts.replace(tzinfo=dt.timezone(dt.timedelta(hours=9, minutes=15)))

    assert evaluate('x->date == 2024-01-01 and x->time == 0:30 and x->tz == "Tokyo"', {"x": ts})
    assert evaluate('x->date == 2024-01-01 and x->tz == "GMT-9"', {"x": offset})
    assert evaluate('x->date == 2023-12-31 and x->time == 15:15 and x->tz == "UTC"', {"x": odd})
    assert evaluate("not x->date and not x->tz", {"x": dt.datetime(2024, 1, 1)})  # noqa: DTZ001
    assert evaluate("not x->date->date and not x->time->x and not x->tz->x", {"x": ts})


def test_a_repeated_hour_is_two_hours() -> None:
    """F34, F41, K4."""
    first = dt.datetime(2024, 11, 3, 1, 30, tzinfo=NEW_YORK)
    second = first.replace(fold=1)

    after_first = parse("x > 2024-11-03T01:30:00-04:00 New_York")
    is_second = parse("x == 2024-11-03T01:30:00-05:00 New_York")

    assert [evaluate(after_first, {"x": ts}) for ts in (first, second)] == [False, True]
    assert [evaluate(is_second, {"x": ts}) for ts in (first, second)] == [False, True]


def test_instants_beyond_the_calendar_of_utc() -> None:
    earliest = dt.datetime.min.replace(tzinfo=dt.timezone(dt.timedelta(hours=9)))
    latest = dt.datetime.max.replace(tzinfo=ZoneInfo("America/New_York"))

    assert evaluate("x < 0001-01-01T00:00:00Z and x->date", {"x": earliest})
    assert evaluate("x > 9999-12-31T23:59:59.999999Z and x->tz", {"x": latest})


def test_a_mapping_of_any_class_is_a_dict() -> None:
    inner = types.MappingProxyType({"b": Number(1)})

    assert evaluate("a->b == 1", types.MappingProxyType({"a": inner}))


class Color(enum.StrEnum):
    RED = "red"


class Hostile:
    """A value that answers nothing."""

    def __eq__(self, other: object) -> bool:
        raise RuntimeError

    def __lt__(self, other: object) -> bool:
        raise RuntimeError

    __gt__ = __le__ = __ge__ = __lt__
    __hash__ = None  # type: ignore[assignment]

    def __bool__(self) -> bool:
        raise RuntimeError


def test_python_numbers_and_text_enums_are_numbers_and_texts() -> None:
    assert evaluate("x == 5 and x < 6 and x != 5kW", {"x": 5})
    assert evaluate("x == 5.5 and x >= 5", {"x": 5.5})
    assert evaluate('x == "red" and x > "a"', {"x": Color.RED})
    assert evaluate("x == 5 and x < 6 and x != 5kW", {"x": decimal.Decimal(5)})
    assert not evaluate("x == 1 or x > 0", {"x": True})


def test_cells_of_numpy_are_numbers_and_truth_values() -> None:
    np = pytest.importorskip("numpy")

    assert evaluate("x == 5 and x < 6 and x != true", {"x": np.int64(5)})
    assert evaluate("x == true and x != 1", {"x": np.bool_(True)})


FOREIGN = [
    Hostile(),
    object(),
    b"a",
    {1, 2},
    5j,
    dt.datetime(2024, 1, 1),  # noqa: DTZ001
    range(3),
]


@pytest.mark.parametrize("val", FOREIGN, ids=lambda val: type(val).__name__)
@given(term=terms())
def test_foreign_values_exist_and_equal_nothing(val: object, term: Node) -> None:
    entity = {"a": val, "b": {"a": val}, "c": [val, Ref("x")]}

    for name in ("a", "b", "c"):
        for path in (Path((name,)), Path((name, "a")), Path((name, "date"))):
            if isinstance(term, Cmp):
                evaluate(Cmp(path, term.op, term.val), entity, {"x": entity}.get)
    evaluate(term, entity)
    if isinstance(term, Cmp):
        assert evaluate(Cmp(Path(("a",)), CmpOp.NE, term.val), entity)
        assert not evaluate(Cmp(Path(("a",)), CmpOp.EQ, term.val), entity)
    assert evaluate("a and not a->x", entity)


def test_an_invalid_text_is_a_syntax_error() -> None:
    with pytest.raises(FilterSyntaxError):
        evaluate("a ==", {})


def test_single_terms_for_other_modules() -> None:
    path = Path(("a",))

    assert value_test(Has(path))("")
    assert not value_test(Has(path))(None)
    assert value_test(Missing(path))(None)
    assert value_test(Cmp(path, CmpOp.EQ, Ref("a")))([Ref("b"), Ref("a")])
    assert follow({"a": Ref("b")}, Path(("a", "c")), {"b": {"c": 1}}.get) == [1]
    assert follow({"a": []}, Path(("a", "c")), lambda id: None) == []


# ---- properties ---------------------------------------------------------------------------------

_VALUES = st.one_of(
    st.sampled_from([MARKER, NA, REMOVE, XStr("Color", "red"), None, math.nan]),
    literals(),
    st.lists(st.one_of(st.sampled_from([Ref("a"), Ref("b"), Ref("gone")]), literals()), max_size=3),
    st.dictionaries(st.sampled_from("abc"), literals(), max_size=2),
    st.sampled_from([Ref("a"), Ref("b"), Ref("gone")]),
)
_TAGS = st.dictionaries(st.one_of(st.sampled_from("abc"), names()), _VALUES, max_size=5)
_GRAPHS = st.fixed_dictionaries({"a": _TAGS, "b": _TAGS})


@given(nodes(leaves=5), _GRAPHS)
def test_and_or_are_two_valued_logic(node: Node, graph: Entities) -> None:
    """F60."""
    val = evaluate(node, graph["a"], graph.get)

    assert val is evaluate(And((node, node, node)), graph["a"], graph.get)
    assert val is evaluate(Or((node, node, node)), graph["a"], graph.get)
    if isinstance(node, (And, Or)):
        each = [evaluate(term, graph["a"], graph.get) for term in node.terms]
        assert val is (all(each) if isinstance(node, And) else any(each))


_SHORT_PATHS = st.lists(st.sampled_from(["a", "b", "c", "date", "tz"]), min_size=1, max_size=3)


@given(_SHORT_PATHS.map(tuple).map(Path), _GRAPHS, literals(), st.sampled_from(CmpOp))
@example(Path(("a", "b")), {"a": {"a": []}, "b": {}}, True, CmpOp.NE)
def test_terms_agree_with_a_plain_reading_of_the_rules(
    path: Path, graph: Entities, literal: Literal, op: CmpOp
) -> None:
    """F30-F37, F45, F50-F55, by recursion over values as the rules tell it."""
    entity = graph["a"]
    for term in (Has(path), Missing(path), Cmp(path, op, literal)):
        expected = _at(entity.get(path.names[0]), path.names[1:], term, graph)

        assert evaluate(term, entity, graph.get) is expected


def _at(val: Any, rest: tuple[str, ...], term: Has | Missing | Cmp, graph: Entities) -> bool:
    if isinstance(val, list):
        if any(_at(item, rest, term, graph) for item in val if isinstance(item, Ref)):
            return True
        if rest:
            return False
    if not rest:
        return _holds(val, term)
    if isinstance(val, Ref):
        val = graph.get(val.val)
    if isinstance(val, dict):
        return _at(val.get(rest[0]), rest[1:], term, graph)
    if isinstance(val, dt.datetime) and rest[0] in ("date", "tz"):
        return _at(follow({"x": val}, Path(("x", rest[0])), graph.get)[0], rest[1:], term, graph)
    return _holds(None, term)


def _holds(val: Any, term: Has | Missing | Cmp) -> bool:
    if isinstance(val, float):
        val = Number(val)
    match term:
        case Has():
            return val is not None
        case Missing():
            return val is None
        case Cmp(_, CmpOp.EQ, literal):
            return val is not None and equal(val, literal)
        case Cmp(_, CmpOp.NE, literal):
            return val is not None and not equal(val, literal)
        case Cmp(_, op, literal):
            sign = _order(val, literal)
            if sign is None:
                return False
            return {"<": sign < 0, "<=": sign <= 0, ">": sign > 0, ">=": sign >= 0}[op.value]


def _order(val: Any, literal: Any) -> int | None:
    if type(val) is not type(literal):
        return None
    if isinstance(val, Number):
        if val.unit != literal.unit:
            return None
        if math.isnan(val.val):
            return -1
    if isinstance(val, Symbol):
        forms = [[sign in symbol.val for sign in ":-"] for symbol in (val, literal)]
        if forms[0] != forms[1]:
            return None
    if isinstance(val, (Number, Ref, Uri, Symbol)):
        val, literal = val.val, literal.val
    if isinstance(val, dt.datetime):
        val, literal = val.astimezone(dt.UTC), literal.astimezone(dt.UTC)
    return int(val > literal) - int(val < literal)


@given(paths(), ref_ids(), _GRAPHS)
def test_missing_is_the_opposite_of_has_where_no_list_is_on_the_path(
    path: Path, id: str, graph: Entities
) -> None:
    """F31."""
    plain = {
        name: {tag: val for tag, val in tags.items() if not isinstance(val, list)}
        for name, tags in graph.items()
    }
    plain["a"][path.names[0]] = Ref(id)

    has, missing = (evaluate(term(path), plain["a"], plain.get) for term in (Has, Missing))

    assert has is not missing
