"""Searches of generated texts: every backend finds what the predicate finds."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hsorm.kinds import MARKER, Ref
from hsorm.ops.search import SEPARATORS, compile_search, search_words
from hsorm.storage.memory import InMemoryAdapter
from hsorm.storage.sqlite import SqliteAdapter
from hsorm.storage.timescale import TimescaleAdapter
from tests.backends import ALL, Backend, Backends, ServerMissingError
from tests.conftest import Record, skip_missing


def _is_text(char: str) -> bool:
    # Not by a set of both ends of the surrogates: ruff takes them for one, and deletes the other.
    return not "\ud800" <= char <= "\udfff"


_CHARS = st.one_of(
    st.sampled_from(
        "aAbBkKsSiIıſ\u212aßẞσςΣµμé É12²_-/ \\\"'[]^%*?.|(){}$\n\t\u3000会。ǅ"
        "ιΙ\u0345\u0301вВ\u1c80აᲐ\u2067\uff00😀"
    ),
    st.sampled_from([end for pair in SEPARATORS for end in pair if end != "\0" and _is_text(end)]),
    st.characters(exclude_categories=["Cs"], exclude_characters="\0"),
)
_TEXTS = st.text(_CHARS, max_size=8)


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("indexed", [False, True])
def test_a_search_finds_what_the_predicate_finds(
    loop_apart: asyncio.AbstractEventLoop,
    backends_apart: Backends,
    record_property: Record,
    name: str,
    indexed: bool,
) -> None:
    """R8 as decided here: the same for any text, with the index and without it."""
    loop = loop_apart
    record_property("backend", name)
    try:
        backend = loop.run_until_complete(backends_apart.get(name))
    except ServerMissingError as exc:
        skip_missing(exc, record_property)
    store = backend.store
    if isinstance(store, (SqliteAdapter, TimescaleAdapter)):
        act = store.create_indexes if indexed else store.drop_indexes
        loop.run_until_complete(act(search=True))
    elif indexed:
        pytest.skip("no search index here")

    @settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
    @given(st.lists(_TEXTS, min_size=1, max_size=12), st.data())
    def check(texts: list[str], data: st.DataObject) -> None:
        parts = st.sampled_from(texts).map(lambda text: text[:3].swapcase())
        asked = data.draw(st.lists(parts | _TEXTS, min_size=1, max_size=4))
        loop.run_until_complete(_compare(backend, texts, asked))

    check()


async def _compare(backend: Backend, texts: list[str], asked: list[str]) -> None:
    await backend.clear()
    entities = [{"id": Ref(f"e{i:02}"), "x": MARKER, "dis": text} for i, text in enumerate(texts)]
    store = InMemoryAdapter() if backend.name == "memory" else backend.store
    await store.load_entities(entities)
    for text in asked:
        found = compile_search(search_words(text))
        expected = [e["id"] for e in entities if found(e)]
        assert [e["id"] for e in await store.read("x", search=text)] == expected, text
