"""`PostgresPolicies`: what becomes of history as it grows old, and hours ready for rollups."""

from __future__ import annotations

import datetime as dt
from abc import abstractmethod
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Any, Final

from sqlalchemy import table

from hsorm.errors import StorageError
from hsorm.sql import hours, rollups
from hsorm.sql.intervals import interval_text
from hsorm.storage._dberrors import database_errors
from hsorm.storage._policies import Edition, HisPolicy, PolicyName, PolicyRun
from hsorm.storage._sql import SqlAdapter

__all__ = ["PostgresPolicies"]

_PARTS: Final = ("compress_after", "keep")


class PostgresPolicies(SqlAdapter):
    """The part of a PostgreSQL adapter that looks after history as a whole.

    Times are as the intervals of a rollup: `"7day"`, `"6mo"`, `"2yr"`, a Number or a timedelta.
    """

    _no_hours_before: float

    @abstractmethod
    def _driver(self) -> AbstractAsyncContextManager[Any]:
        """Lend a connection of the driver's, without a transaction."""

    async def his_policy(self) -> HisPolicy:
        """Return what becomes of history as it grows old."""
        await self._ready()
        with database_errors(self.url):
            async with self._driver() as driver:
                return await self._policy(driver)

    async def set_his_policy(
        self,
        *,
        chunk: Any = None,
        compress_after: Any = None,
        keep: Any = None,
        hourly: bool = False,
    ) -> HisPolicy:
        """Set what becomes of history as it grows old; what is not given stays as it is.

        Args:
            chunk: How much time is in a chunk, from the next one on.
            compress_after: Compress chunks that are older, by point in the order of time (community
                licence).
            keep: Drop chunks in which everything is older (community licence).
            hourly: Keep hours ready for rollups, from the next refresh on: that is a job of
                TimescaleDB under its community licence, and for you to run everywhere else, by
                `run_his_policy()`. Works without TimescaleDB, too. Other adapters take notice
                within a minute, and read the items until then.

        Returns:
            What holds now.

        Raises:
            StorageError: The database cannot do that here; the error says why.
            InvalidRollupError: A time is none.
        """
        given = {
            name: interval_text(value)
            for name, value in (("chunk", chunk), *zip(_PARTS, (compress_after, keep), strict=True))
            if value is not None
        }

        async def change(driver: Any) -> None:
            policy = await self._policy(driver)
            if given:
                _check(policy, [name for name in given if name in _PARTS])
                await self._set(driver, given)
            if hourly and not policy.hourly:
                await self._keep_hours(driver, policy)

        set_ = await self._changed(change)
        self._no_hours_before = 0.0  # see PostgresRollups
        return set_

    async def remove_his_policy(self, *names: PolicyName) -> HisPolicy:
        """Take back what was set; what is compressed stays so, and nothing more is dropped.

        Hours are gone with `"hourly"`, those of items that were dropped, too.

        Raises:
            StorageError: TimescaleDB cannot do that here; the error says why.
        """
        taken = [name for name in names if name in _PARTS]

        async def change(driver: Any) -> None:
            policy = await self._policy(driver)
            if taken:
                _check(policy, taken)
            for name in taken:
                await driver.execute(_TAKE[name], self._relation)
            if "hourly" in names and policy.hourly:
                named, _ = await self._namer(driver)
                for statement in hours.switch_off(named):
                    await driver.execute(statement)

        return await self._changed(change)

    async def _changed(self, change: Callable[[Any], Awaitable[None]]) -> HisPolicy:
        """Change the policy in one transaction, and return what holds now."""

        async def run() -> HisPolicy:
            with database_errors(self.url):
                async with self._driver() as driver, driver.transaction():
                    await change(driver)
                    return await self._policy(driver)

        await self._ready()
        return await self._repeated(run)

    async def run_his_policy(self, *, compress_after: Any = None, keep: Any = None) -> PolicyRun:
        """Do now what the policy does by itself from time to time.

        Chunks can be dropped with an Apache-licensed TimescaleDB, too, and hours kept ready
        without any: run this from a job. Hours come first, so that they outlive what is dropped; a
        chunk of which they are not ready, because of a transaction that has been open for long, is
        left to the next run.

        Args:
            compress_after: Compress chunks that are older, instead of what the policy says.
            keep: Drop chunks in which everything is older, instead of what the policy says.

        Raises:
            StorageError: TimescaleDB cannot do that here; the error says why.
            InvalidRollupError: A time is none.
        """
        compress, drop = (
            None if value is None else interval_text(value) for value in (compress_after, keep)
        )
        await self._ready()
        with database_errors(self.url):
            async with self._driver() as driver:
                policy = await self._policy(driver)
                if drop or compress or not policy.hourly:
                    _check(policy, ["compress_after"] if compress else [])
                hours = until = None
                if policy.hourly:
                    hours, until = await self._refresh_hours(driver)
                drop, compress = drop or policy.keep, compress or policy.compress_after
                async with driver.transaction():
                    dropped = compressed = 0
                    if drop and (until or not policy.hourly):
                        dropped = await self._chunks(driver, _DROP, drop, until)
                    if compress:
                        await self._enable(driver)
                        compressed = await self._chunks(driver, _COMPRESS, compress)
                return PolicyRun(compressed, dropped, hours)

    # ---- hours ----------------------------------------------------------------------------------

    async def _keep_hours(self, driver: Any, policy: HisPolicy) -> None:
        if await driver.fetchval(_CITUS):
            raise StorageError(
                "hours are not kept on Citus, whose distributed tables have no triggers: rollups "
                "read the items there, on all workers"
            )
        named, schema = await self._namer(driver)
        await driver.execute(f"LOCK TABLE {named('history')} IN SHARE ROW EXCLUSIVE MODE")
        if await driver.fetchval(f"SELECT 1 FROM {named(_STATE)}"):  # noqa: S608 - ours
            return  # somebody else was first
        for statement in hours.switch_on(named, schema, **rollups.said(self.tables, self.dialect)):
            await driver.execute(statement)
        if policy.edition == "community":
            await driver.execute(_ADD_JOB, named("hsorm_refresh_hours"))

    async def _refresh_hours(self, driver: Any) -> tuple[int, dt.datetime | None]:
        """Bring hours up to date; return how many were worked out, and up to when all are ready."""
        named, _ = await self._namer(driver)

        async def refresh() -> tuple[int, dt.datetime | None]:
            with database_errors(self.url):
                await driver.execute(f"CALL {named('hsorm_refresh_hours')}()")
                state = await driver.fetchrow(f"SELECT hours, until FROM {named(_STATE)}")  # noqa: S608 - ours
            return tuple(state) if state is not None else (0, None)

        return await self._repeated(refresh)

    async def _namer(self, driver: Any) -> tuple[Callable[[str], str], str]:
        """Return what names our tables and routines as SQL, with their schema, and the schema."""
        found: str = await driver.fetchval(_SCHEMA, self._relation)
        preparer, prefix = self.dialect.identifier_preparer, self._names["prefix"]

        def named(name: str) -> str:
            return preparer.format_table(table(f"{prefix}{name}", schema=found))

        return named, preparer.quote_identifier(found)

    # ---- SQL ------------------------------------------------------------------------------------
    # On the driver: functions of TimescaleDB, whose arguments are bound, and names of ours.

    @property
    def _relation(self) -> str:
        table = self.tables.history
        return self.dialect.identifier_preparer.format_table(table)

    async def _policy(self, driver: Any) -> HisPolicy:
        named, _ = await self._namer(driver)
        state = await driver.fetchrow(f"SELECT until FROM {named(_STATE)}")  # noqa: S608 - ours
        own = {"hourly": state is not None, "hourly_until": state and state["until"]}
        license = await driver.fetchval(_LICENSE)
        if license is None:
            return HisPolicy("none", **own)
        edition: Edition = "community" if license == "timescale" else "apache"
        found = await driver.fetchrow(_HYPERTABLE, self._relation)
        if found is None:
            return HisPolicy(edition, **own)
        jobs = {row[0]: row[1] for row in await driver.fetch(_JOBS, self._relation)}
        return HisPolicy(
            edition,
            True,
            found["chunk"],
            found["chunks"],
            found["compressed"],
            jobs.get("policy_compression"),
            jobs.get("policy_retention"),
            **own,
        )

    async def _set(self, driver: Any, given: Mapping[str, str]) -> None:
        if "chunk" in given:
            await driver.execute(_SET_CHUNK, self._relation, given["chunk"])
        if "compress_after" in given:
            await self._enable(driver)
        for name in _PARTS:
            if name in given:
                await driver.execute(_TAKE[name], self._relation)
                await driver.execute(_ADD[name], self._relation, given[name])

    async def _enable(self, driver: Any) -> None:
        """Let chunks be compressed: the items of a point lie together, in the order of time."""
        if not await driver.fetchval(_ENABLED, self._relation):
            await driver.execute(
                f"ALTER TABLE {self._relation} SET (timescaledb.compress, "
                "timescaledb.compress_segmentby = 'point_id', timescaledb.compress_orderby = 'ts')"
            )

    async def _chunks(self, driver: Any, statement: str, *older_than: object) -> int:
        return len(await driver.fetch(statement, self._relation, *older_than))


def _check(policy: HisPolicy, community: Sequence[str]) -> None:
    """Refuse what TimescaleDB cannot do here.

    Raises:
        StorageError: Why, and what to do.
    """
    if policy.edition == "none":
        raise StorageError(
            "this database has no TimescaleDB: history is a plain table, which has no chunks to "
            "compress or to drop; delete what is old with his_clear, or partition the table. Hours "
            "for rollups can be kept here, too: set_his_policy(hourly=True), `hsorm db policy set "
            "--hourly`"
        )
    if not policy.hypertable:
        raise StorageError(
            "history is a plain table here, made with `db upgrade --timescale off` or before "
            "TimescaleDB was there: turn it into a hypertable with create_hypertable('history', "
            "by_range('ts'), create_default_indexes => false, migrate_data => true)"
        )
    if community and policy.edition == "apache":
        what = " and ".join(_WHAT[name] for name in community)
        raise StorageError(
            f"{what} needs TimescaleDB under its community licence, this server has the Apache "
            "edition: install that of Timescale, or drop old chunks by a job of your own that "
            "calls run_his_policy(keep=…) or `hsorm db policy run --keep 2yr`"
        )


_WHAT: Final = {
    "compress_after": "compression",
    "keep": "dropping chunks by itself",
}
_STATE: Final = "history_hours_state"
_SCHEMA: Final = (
    "SELECT nspname FROM pg_class c JOIN pg_namespace n ON n.oid = relnamespace "
    "WHERE c.oid = CAST($1 AS text)::regclass"
)
_CITUS: Final = "SELECT 1 FROM pg_extension WHERE extname = 'citus'"
_EACH: Final = "15 minutes"
_ADD_JOB: Final = f"SELECT add_job(CAST($1 AS text)::regproc, interval '{_EACH}')"
_LICENSE: Final = (
    "SELECT coalesce(current_setting('timescaledb.license', true), 'apache') "
    "FROM pg_extension WHERE extname = 'timescaledb'"
)
_NAMED: Final = (
    "to_regclass(format('%I.%I', hypertable_schema, hypertable_name)) = CAST($1 AS text)::regclass"
)
_HYPERTABLE: Final = f"""
SELECT time_interval::text AS chunk,
       (SELECT count(*) FROM timescaledb_information.chunks c WHERE {_NAMED}) AS chunks,
       (SELECT count(*) FROM timescaledb_information.chunks c WHERE {_NAMED} AND is_compressed)
           AS compressed
FROM timescaledb_information.dimensions WHERE {_NAMED}
"""  # noqa: S608 - of constants alone
_JOBS: Final = f"""
SELECT proc_name, coalesce(config ->> 'compress_after', config ->> 'drop_after')
FROM timescaledb_information.jobs
WHERE proc_name IN ('policy_compression', 'policy_retention') AND {_NAMED}
"""  # noqa: S608 - of constants alone
_ENABLED: Final = f"""
SELECT compression_enabled FROM timescaledb_information.hypertables WHERE {_NAMED}
"""  # noqa: S608 - of constants alone
_SET_CHUNK: Final = (
    "SELECT set_chunk_time_interval(CAST($1 AS text)::regclass, CAST($2 AS text)::interval)"
)
_ADD: Final = {
    "compress_after": "SELECT add_compression_policy(CAST($1 AS text)::regclass, "
    "compress_after => CAST($2 AS text)::interval)",
    "keep": "SELECT add_retention_policy(CAST($1 AS text)::regclass, "
    "drop_after => CAST($2 AS text)::interval)",
}
_TAKE: Final = {
    "compress_after": "SELECT remove_compression_policy(CAST($1 AS text)::regclass, "
    "if_exists => true)",
    "keep": "SELECT remove_retention_policy(CAST($1 AS text)::regclass, if_exists => true)",
}
_DROP: Final = (
    "SELECT drop_chunks(CAST($1 AS text)::regclass, "
    "older_than => least(now() - CAST($2 AS text)::interval, CAST($3 AS timestamptz)))"
)
_COMPRESS: Final = (
    "SELECT compress_chunk(chunk, if_not_compressed => true) FROM show_chunks("
    "CAST($1 AS text)::regclass, older_than => CAST($2 AS text)::interval) chunk "
    "WHERE NOT EXISTS (SELECT FROM timescaledb_information.chunks c WHERE is_compressed "
    "AND to_regclass(format('%I.%I', chunk_schema, chunk_name)) = chunk)"
)
