"""`PostgresCitus`: history spread over the workers of Citus."""

from __future__ import annotations

from abc import abstractmethod
from contextlib import AbstractAsyncContextManager
from typing import Any, Final

from hsorm.errors import StorageError
from hsorm.sql.citus import distribution
from hsorm.storage._dberrors import database_errors
from hsorm.storage._sql import SqlAdapter

__all__ = ["PostgresCitus"]


class PostgresCitus(SqlAdapter):
    """The part of a PostgreSQL adapter that distributes history."""

    @abstractmethod
    def _driver(self) -> AbstractAsyncContextManager[Any]:
        """Lend a connection of the driver's, without a transaction."""

    async def distribute_history(
        self, *, partition: Any = None, columnar_after: Any = None
    ) -> None:
        """Spread history over the workers of Citus, by point; see docs/scaling.md.

        Args:
            partition: How much time is in a partition, as the interval of a rollup (`"1mo"`); None
                makes none. Otherwise all rows are copied into a new table.
            columnar_after: How old partitions are when they are kept by column, compressed; nothing
                in those can be changed or deleted any more.

        Raises:
            StorageError: The database has no Citus, or history is distributed already.
            ValueError: `columnar_after` without partitions.
            InvalidRollupError: A time is none.
        """
        steps = distribution(self.tables, partition=partition, columnar_after=columnar_after)
        await self._ready()
        with database_errors(self.url):
            async with self._driver() as driver:
                await self._refuse_to_distribute(driver)
                async with driver.transaction():
                    for statement in steps.transaction:
                        await driver.execute(statement)
                for statement in steps.afterwards:
                    await driver.execute(statement)

    async def _refuse_to_distribute(self, driver: Any) -> None:
        installed = {row[0] for row in await driver.fetch(_EXTENSIONS)}
        if "citus" not in installed:
            raise StorageError(_NO_CITUS + (_OR_TIMESCALE if "timescaledb" in installed else ""))
        history = self.engine.dialect.identifier_preparer.format_table(self.tables.history)
        if await driver.fetchval(_DISTRIBUTED, history):
            raise StorageError("history is distributed already")
        state = self.engine.dialect.identifier_preparer.format_table(self.tables.hours.state)
        if await driver.fetchval(f"SELECT 1 FROM {state}"):  # noqa: S608 - a name of ours
            raise StorageError(
                "hours are kept of this history, by triggers, which distributed tables do not "
                "have: run `hsorm db policy remove hourly` first"
            )


_EXTENSIONS: Final = "SELECT extname FROM pg_extension WHERE extname IN ('citus', 'timescaledb')"
_DISTRIBUTED: Final = "SELECT 1 FROM pg_dist_partition WHERE logicalrelid = to_regclass($1::text)"
_NO_CITUS: Final = (
    "this database has no Citus, which spreads history: have the coordinator load it "
    "(shared_preload_libraries = 'citus'), run CREATE EXTENSION citus there and on the workers, "
    "and add these by citus_add_node; `hsorm db distribute --sql` prints what would be run"
)
_OR_TIMESCALE: Final = (
    ". It has TimescaleDB, with which Citus does not share a database: take a new one"
)
