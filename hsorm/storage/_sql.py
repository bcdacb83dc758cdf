"""`SqlAdapter`: what the SQL backends share, between `hsorm.sql` and `hsorm.ops`."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from operator import itemgetter
from typing import Any

from sqlalchemy import ClauseElement, Select
from sqlalchemy.sql.compiler import SQLCompiler

from hsorm.filter.ast import Node
from hsorm.kinds import Entity, id_texts, is_storable
from hsorm.ops.display import dis_key
from hsorm.ops.geo import Area
from hsorm.ops.search import search_words
from hsorm.sql import statements
from hsorm.sql.geo import GeoColumn
from hsorm.sql.statements import NO_SEARCH, Search
from hsorm.storage._shared import at_most, check_sort
from hsorm.storage._sql_core import Rows, entity_of
from hsorm.storage._sql_history import SqlHistory
from hsorm.storage._sql_watches import SqlWatches
from hsorm.storage.protocol import Explanation, Id, Sort

__all__ = ["SqlAdapter"]

_ID = itemgetter(0)


class SqlAdapter(SqlHistory, SqlWatches):
    """An adapter over an `AsyncEngine`; a subclass says how rows are fetched and written in bulk.

    Args:
        engine: The engine; it is disposed of on `close()` when `owns_engine`.
        owns_engine: Whether the engine was made for this adapter alone.
        create: `"auto"` makes or upgrades the tables on `connect()`, `"never"` raises instead.
        prefix: Stands before every name of a table.
        schema: The schema of the tables.
        index_tags: Tags to index, with the kind of their values; made on `connect()` too.
        index_search: Whether searches are indexed; made on `connect()` too.

    Raises:
        ValueError: There is no such kind of index, or a name is none of a tag.
    """

    # ---- reading --------------------------------------------------------------------------------

    async def read(
        self,
        filter_str: str | Node,
        limit: int | None = None,
        *,
        sort: Sort = "id",
        search: str | None = None,
        geo: Area | None = None,
    ) -> list[Entity]:
        """Read all entities that match a filter; see `EntityReader.read`."""
        check_sort(sort)
        most = at_most(limit)
        wanted = await self._search(search, geo)
        if sort == "dis":
            # The order of display texts is nothing that a database knows (R7).
            found = sorted(await self._read(filter_str, None, wanted), key=dis_key)
            return found[:most]
        return await self._read(filter_str, most, wanted)

    async def _read(self, filter: str | Node, most: int | None, search: Search) -> list[Entity]:
        await self._sweep_if_due()
        rows = await self._read_rows(filter, most, search)
        return await self._as_of_now([entity_of(*row) for row in rows])

    async def _search(self, text: str | None, area: Area | None) -> Search:
        words = search_words(text)
        if not words and area is None:
            return NO_SEARCH
        indexed = bool(words) and await self._has_search_index()
        column = await self._geo_column(area) if area is not None else None
        return Search(words, indexed, area, column)

    async def _geo_column(self, area: Area) -> GeoColumn | None:
        """Return the column that narrows an area down, None where there is none."""
        return None

    @abstractmethod
    async def _has_search_index(self) -> bool:
        """Tell whether there is an index that answers a search.

        Asked each time, for others make and drop it.
        """

    async def _read_rows(self, filter: str | Node, most: int | None, search: Search) -> Rows:
        """Return `id`, `tags` and `live` (as text) of the entities that match, by id."""
        rows = await self._fetch_matching(filter, most, search)
        return rows if most is not None else sorted(rows, key=_ID)

    async def _fetch_matching(self, filter: str | Node, most: int | None, search: Search) -> Rows:
        """Run what `_select_matching` returns."""
        return await self._fetch(self._select_matching(filter, most, search))

    def _select_matching(self, filter: str | Node, most: int | None, search: Search) -> Select[Any]:
        """Select the entities that match; by id only where there is a limit.

        Left to a database, the order costs more: PostgreSQL sorts whole rows, on disk beyond some
        4 MB; SQLite looks at all of them in the order of the key rather than at those that an index
        finds.
        """
        return statements.select_entities(
            self.tables, filter, most, ordered=most is not None, search=search
        )

    async def read_count(
        self, filter_str: str | Node, *, search: str | None = None, geo: Area | None = None
    ) -> int:
        """Count the entities that match a filter; see `EntityReader.read_count`."""
        wanted = await self._search(search, geo)
        await self._sweep_if_due()
        ((count,),) = await self._fetch_count(filter_str, wanted)
        return int(count)

    async def _fetch_count(self, filter: str | Node, search: Search) -> Rows:
        """Run the statement that counts the entities that match."""
        return await self._fetch(statements.count_entities(self.tables, filter, search=search))

    async def read_by_ids(self, ids: Sequence[Id]) -> list[Entity | None]:
        """Read entities by id; see `EntityReader.read_by_ids`."""
        return await self._by_ids(ids)

    async def _by_ids(self, ids: Sequence[Id]) -> list[Entity | None]:
        wanted = id_texts(ids)
        possible = [id for id in wanted if is_storable(id)]
        await self._sweep_if_due()
        rows = await self._fetch(statements.select_by_ids(self.tables, possible))
        found = {row[0]: row for row in rows}
        # Decoded for each place anew: the caller may change one without changing the other.
        there = [entity_of(*found[id]) for id in wanted if id in found]
        shown = iter(await self._as_of_now(there))
        return [next(shown) if id in found else None for id in wanted]

    async def explain(
        self,
        filter_str: str | Node,
        limit: int | None = None,
        *,
        search: str | None = None,
        geo: Area | None = None,
    ) -> Explanation:
        """Return the statement of a read and its plan; see `Explainer.explain`."""
        most = at_most(limit)
        sql, params = self._compiled_read(filter_str, most, await self._search(search, geo))
        return Explanation(sql, tuple(params), tuple(await self._plan(sql, params)))

    def _compiled_read(
        self, filter: str | Node, most: int | None, search: Search
    ) -> tuple[str, list[Any]]:
        """Return the SQL of a read, and what is bound in it."""
        return self._compiled(self._select_matching(filter, most, search))

    def _compiled(self, statement: ClauseElement) -> tuple[str, list[Any]]:
        """Return the SQL of a statement, and what it binds."""
        sql, names, params = self._named(statement)
        return sql, [params[name] for name in names]

    def _named(self, statement: ClauseElement) -> tuple[str, tuple[str, ...], Mapping[str, Any]]:
        """Return the SQL of a statement, the names of what it binds in order, and their values."""
        compiled = statement.compile(
            dialect=self.dialect, compile_kwargs={"render_postcompile": True}
        )
        names = compiled.positiontup if isinstance(compiled, SQLCompiler) else None
        return compiled.string, tuple(names or ()), compiled.params
