"""What is compiled for a shape of filter serves for each filter of that shape."""

from __future__ import annotations

from typing import Final, get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy.ext.asyncio import create_async_engine

from hsorm.errors import StorageUnavailableError
from hsorm.filter import parse
from hsorm.filter.ast import And, Cmp, CmpOp, Literal, Node, Or, Path
from hsorm.filter.shape import shape_of
from hsorm.kinds import Number
from hsorm.sql.statements import NO_SEARCH
from hsorm.storage.timescale import TimescaleAdapter
from hsorm.testing.filter_cases import CASES
from tests.unit.filter_strategies import literals, nodes


def _adapter() -> TimescaleAdapter:
    """An adapter that compiles statements, and is never connected."""
    return TimescaleAdapter(engine=create_async_engine("postgresql+asyncpg://nobody@nowhere/none"))


def _unreachable() -> TimescaleAdapter:
    """An adapter that gets as far as its database, which is not there."""
    adapter = TimescaleAdapter(dsn="postgresql://nobody@127.0.0.1:1/none")
    adapter._connected = True
    return adapter


_ADAPTER = _adapter()


@pytest.fixture(scope="module")
def adapter() -> TimescaleAdapter:
    return _ADAPTER


def _of_kind(kind: type) -> st.SearchStrategy[Literal]:
    return literals().filter(lambda val: type(val) is kind)


_ALIKE: Final = {kind: _of_kind(kind) for kind in get_args(Literal)}


def _with_literals(node: Node, draw: st.DrawFn) -> Node:
    """The same filter with other literals, mostly of the same kind."""
    match node:
        case And(terms):
            return And(tuple(_with_literals(term, draw) for term in terms))
        case Or(terms):
            return Or(tuple(_with_literals(term, draw) for term in terms))
        case Cmp(path, op, val):
            return Cmp(path, op, draw(_ALIKE[type(val)]))
        case _:
            return node


@st.composite
def _pairs(draw: st.DrawFn) -> tuple[Node, Node]:
    node = draw(nodes())
    if draw(st.booleans()):  # terms that are equal in the one filter need not be in the other
        again = _with_literals(node, draw) if draw(st.booleans()) else node
        node = And((node, again)) if draw(st.booleans()) else Or((node, again))
    return node, _with_literals(node, draw)


@given(pair=_pairs(), limit=st.sampled_from([None, 0, 7]))
@settings(max_examples=150, deadline=None)
def test_a_template_gives_the_statement_of_each_filter(
    pair: tuple[Node, Node], limit: int | None
) -> None:
    adapter = _ADAPTER
    for node in pair:
        templated = adapter._select(node, limit, NO_SEARCH)

        assert templated == adapter._compiled_read(node, limit, NO_SEARCH)
        assert {type(arg) for arg in templated[1]} <= {str, int}


def test_the_cases_by_rule_are_compiled_alike(adapter: TimescaleAdapter) -> None:
    for _, text, _ in CASES:
        templated = adapter._select(text, None, NO_SEARCH)

        assert templated == adapter._compiled_read(text, None, NO_SEARCH), text


def test_one_statement_is_compiled_for_many_literals(adapter: TimescaleAdapter) -> None:
    before = len(adapter._templates)

    found = {
        adapter._select(f"ahu and r==@x{i} and n > {i}kW", None, NO_SEARCH)[0] for i in range(50)
    }

    assert len(found) == 1
    assert len(adapter._templates) == before + 1


async def _ask(adapter: TimescaleAdapter, filter: str | Node) -> None:
    """Read and count as far as the statement, which nobody answers."""
    for asked in (
        adapter._fetch_matching(filter, None, NO_SEARCH),
        adapter._fetch_count(filter, NO_SEARCH),
    ):
        with pytest.raises(StorageUnavailableError):
            await asked


async def test_what_is_remembered_is_bounded() -> None:
    adapter = _unreachable()
    for i in range(600):
        await _ask(adapter, f"t{i} == {i}")

    assert len(adapter._templates) == 1_024
    assert len(adapter._statements) == 1_024


async def test_nothing_large_is_remembered() -> None:
    """Neither a long filter, as text or as a tree, nor a long statement of a short one."""
    adapter = _unreachable()
    long_text = 'dis == "' + "x" * 5_000 + '"'
    long_sql = " or ".join(f"siteRef->t{i}" for i in range(50))

    await _ask(adapter, long_text)
    await _ask(adapter, parse(long_text))
    await _ask(adapter, parse(f"site and ({long_text} or ahu)"))
    assert len(adapter._statements) == 0
    assert len(adapter._templates) == 4  # two shapes, without the text
    await _ask(adapter, long_sql)
    assert (len(adapter._statements), len(adapter._templates)) == (0, 4)

    await _ask(adapter, 'dis == "x"')
    await _ask(adapter, parse('dis == "x"'))
    assert (len(adapter._statements), len(adapter._templates)) == (4, 4)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("n > 5", "n > 5kW"),
        ("n == 5", 'n == "5"'),
        ("b == true", "b == false"),
        ("s < ^a", "s < ^a-b"),
        ("n > 5", "n >= 5"),
        ("n > 5", "m > 5"),
        ("d == 2024-01-01", "d == 2024-01-01T00:00:00Z"),
    ],
)
def test_what_a_statement_depends_on_is_part_of_the_shape(one: str, other: str) -> None:
    first, second = shape_of(parse(one)), shape_of(parse(other))

    assert first is not None
    assert second is not None
    assert first.key != second.key


def test_a_term_that_stands_twice_has_no_template() -> None:
    """Two places, but one object or equal ones: in another filter of this shape they may differ."""
    term, equal = (Cmp(Path(("n",)), CmpOp.EQ, Number(1)) for _ in range(2))

    assert shape_of(Or((term, term))) is None
    assert shape_of(Or((term, equal))) is None


def test_equal_terms_give_no_statement_to_others() -> None:
    """Behind a ref equal terms are said in one place, which holds but one literal."""
    adapter = _adapter()
    for text in ('r->dis == "a" or r->dis == "a"', 'r->dis == "a" or r->dis == "b"'):
        templated = adapter._select(text, None, NO_SEARCH)

        assert templated == adapter._compiled_read(text, None, NO_SEARCH)
