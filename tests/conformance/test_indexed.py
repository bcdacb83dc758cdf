"""The filters of the conformance kit with an index of every kind on every tag that they compare."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import get_args

import psycopg
import pytest

from hsorm.filter import And, Cmp, Missing, Node, Or, parse
from hsorm.sql.indexes import Indexed
from hsorm.storage.protocol import StorageAdapter
from hsorm.storage.redis import RedisAdapter
from hsorm.storage.sqlite import SqliteAdapter
from hsorm.storage.timescale import TimescaleAdapter
from hsorm.testing import conformance
from hsorm.testing.filter_cases import CASES
from tests.backends import KEPT, REDIS, Backend, ServerMissingError, new_database
from tests.conftest import Record, skip_missing


def _compared(node: Node) -> Iterator[str]:
    match node:
        case And(terms) | Or(terms):
            for term in terms:
                yield from _compared(term)
        case Cmp(path) | Missing(path):
            yield path.names[-1]


_TAGS = sorted({name for _, text, _ in CASES for name in _compared(parse(text))} - {"id"})


@pytest.fixture(scope="module")
async def _indexed(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[dict[str, Backend]]:
    opened: dict[str, Backend] = {}
    with ExitStack() as stack:
        opened["databases"] = stack  # type: ignore[assignment]
        yield opened
        del opened["databases"]
        for backend in opened.values():
            await backend.store.close()


async def _open(name: str, stack: ExitStack, folder: Path) -> Backend:
    store: SqliteAdapter | TimescaleAdapter | RedisAdapter
    if name == "sqlite":
        store = SqliteAdapter(folder / "indexed.db")
    elif name in REDIS:
        store = RedisAdapter(stack.enter_context(new_database(name)))
    else:
        url = stack.enter_context(new_database(name))
        with psycopg.connect(url, autocommit=True) as connection:
            # Of a few rows the planner would rather read all than ask an index.
            database = connection.info.dbname
            connection.execute(f"ALTER DATABASE {database} SET enable_seqscan = off")
        store = TimescaleAdapter(url)
    for kind in get_args(Indexed):
        await store.create_indexes(dict.fromkeys(_TAGS, kind))
    if name not in REDIS:  # which has none for searches
        await store.create_indexes(search=True)
    return Backend(name, store)


class _OnIndexed:
    @pytest.fixture(params=KEPT)
    async def store(
        self,
        request: pytest.FixtureRequest,
        _indexed: dict[str, Backend],
        tmp_path_factory: pytest.TempPathFactory,
        record_property: Record,
    ) -> StorageAdapter:
        name = str(request.param)
        record_property("backend", name)
        if name not in _indexed:
            stack: ExitStack = _indexed["databases"]  # type: ignore[assignment]
            try:
                _indexed[name] = await _open(name, stack, tmp_path_factory.mktemp("indexed"))
            except ServerMissingError as exc:
                skip_missing(exc, record_property)
        await _indexed[name].clear()
        return _indexed[name].store


class TestFiltersIndexed(_OnIndexed, conformance.FilterTests):
    """One meaning of a filter, whichever indexes there are."""


class TestSearchIndexed(_OnIndexed, conformance.SearchTests):
    """A search finds the same by its index."""
