"""Hours of history that are kept ready for rollups, on PostgreSQL: the tables, and who fills them.

A rollup by hours, days or months need not read each item where what the items of an hour come to is
kept. That is exact at every moment, whoever writes, in these steps:

* Triggers on history, made when this is switched on, mark the hour of what is written, changed or
  deleted late, by a row in `stale`. It is a row of the writer's own transaction and nobody waits
  for it. *Late* is more than an hour before the clock of that moment; what is not late is not
  marked, and costs no more than this comparison.
* A refresh notes the clock and then takes a transaction number. Once all transactions with smaller
  numbers are over, whoever writes looked at the clock later than that: what is not marked lies
  within the hour before the noted clock, or after. So all hours before are settled but for what
  marks tell. (Ten minutes are allowed for a clock that is set back, or that of another server.)
* It deletes marks, and works out their hours; then it works out the hours from `until` of each
  point up to where all is settled, and sets `until` along with them. Each is one statement, with
  one snapshot: the items of a mark that it sees it sees as well, and a mark that it does not see
  stays.
* A rollup takes, in one statement, the hours before `until` that are not marked, and the items of
  all others. An hour before `until` without a row has no item that says anything.

Hours outlive items that are dropped with their chunk, which no trigger sees. One that is marked
afterwards, or by a transaction that was open meanwhile, comes to what is there then; who clears a
range or deletes a point marks the hours of it that there are, see `stale_hours`.
"""

# ruff: noqa: S608 - names of our own, quoted; nothing can be bound in a trigger or a procedure

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import BigInteger, Column, Connection, Double, Index, Integer, MetaData, Table, Text
from sqlalchemy import event as sa_event

from hsorm.sql.triggers import Names
from hsorm.sql.types import Instant

__all__ = ["HUGE", "Hours", "keep_hours", "make_hours", "switch_off", "switch_on"]

HUGE: Final = "1e300"
"""Sums of such numbers may be beyond all doubles: their hours are left to the items."""

_ROUTINES: Final = ("mark_new_hour", "mark_old_hour", "forget_hours", "refresh_hours")
_TRIGGERS: Final = ("insert", "update", "move", "delete", "truncate")
_LATE: Final = "clock_timestamp() - interval '1 hour'"
_SETTLED: Final = "interval '70 minutes'"


@dataclass(frozen=True, slots=True)
class Hours:
    """The tables, which are empty while nobody wants hours.

    Attributes:
        sums: What the items of an hour come to: how many say something (`known`), how many are
            numbers (`n`; NULL leaves the hour to the items), and of these `total`, `low` and
            `high`.
        until: Up to when the hours of a point are ready.
        stale: The hours that are to be worked out again; some of them several times.
        state: One row while hours are kept: what a refresh has noted (`noted_at`, and `noted`, the
            number of its transaction), before when writers mark what they write (`settled`), up to
            when all hours are ready (`until`), and how many hours the last refresh worked out.
    """

    sums: Table
    until: Table
    stale: Table
    state: Table

    @property
    def names(self) -> set[str]:
        """The names of the tables."""
        return {table.name for table in (self.sums, self.until, self.stale, self.state)}


def make_hours(prefix: str, schema: str | None) -> Hours:
    """Return the tables, in a MetaData of their own: no other database has them."""
    metadata = MetaData()

    def made(name: str, *columns: Any) -> Table:
        return Table(f"{prefix}history_hours{name}", metadata, *columns, schema=schema)

    def point(*, key: bool = False) -> Column[str]:
        return Column("point_id", Text(collation="C"), primary_key=key, nullable=False)

    return Hours(
        sums=made(
            "",
            point(key=True),
            Column("ts", Instant(), primary_key=True),
            Column("known", Integer(), nullable=False),
            Column("n", Integer()),
            Column("total", Double()),
            Column("low", Double()),
            Column("high", Double()),
        ),
        until=made("_until", point(key=True), Column("until", Instant(), nullable=False)),
        stale=made(
            "_stale",
            point(),
            Column("ts", Instant(), nullable=False),
            Index(f"{prefix}history_hours_stale_ts", "point_id", "ts"),
        ),
        state=made(
            "_state",
            Column("noted_at", Instant()),
            Column("noted", BigInteger()),
            Column("settled", Instant()),
            Column("until", Instant()),
            Column("hours", BigInteger(), nullable=False),
        ),
    )


def keep_hours(history: Table, hours: Hours, prefix: str) -> None:
    """Have the tables made and dropped with history, on PostgreSQL."""

    def drop_all(connection: Connection) -> None:
        names = Names(connection, prefix, connection.schema_for_object(history))
        schema, bare = names.quoted_schema(), Names(connection, prefix, None)
        own = [f"{schema}.{bare.quoted(f'hsorm_{name}')}" for name in _ROUTINES]
        connection.exec_driver_sql(_without_job(own[-1]))
        for routine in own:
            connection.exec_driver_sql(f"DROP ROUTINE IF EXISTS {routine} CASCADE")
        hours.sums.metadata.drop_all(connection)

    @sa_event.listens_for(history, "after_create")
    def create(target: object, connection: Connection, **kw: Any) -> None:
        if connection.dialect.name == "postgresql":
            drop_all(connection)  # what belonged to a history that somebody dropped
            hours.sums.metadata.create_all(connection)

    @sa_event.listens_for(history, "after_drop")
    def drop(target: object, connection: Connection, **kw: Any) -> None:
        if connection.dialect.name == "postgresql":
            drop_all(connection)


# ---- switching on and off -----------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Said:
    """Names as SQL, each with its schema."""

    named: Callable[[str], str]
    schema: str

    def table(self, name: str) -> str:
        return self.named(f"history_hours{name}")

    def routine(self, name: str) -> str:
        return self.named(f"hsorm_{name}")


def switch_on(
    named: Callable[[str], str], schema: str, *, known: str, number: str
) -> Iterator[str]:
    """Yield the statements, for one transaction, that have hours kept from now on.

    Nobody writes history from the first trigger on to the end; who is about to is waited for. A
    job can call `hsorm_refresh_hours` then.

    Args:
        named: Returns the name of a table or routine as SQL, with its schema and prefix.
        schema: The schema as SQL.
        known: The condition that a row `item` of history says something, as SQL.
        number: The condition that it is a number.
    """
    said = _Said(named, schema)
    yield _marking(said, "new")
    yield _marking(said, "old")
    yield _forgetting(said)
    yield _refreshing(said, known, number)
    history = named("history")
    for name in _TRIGGERS:
        yield f"DROP TRIGGER IF EXISTS hsorm_hours_{name} ON {history}"
    moved = "(OLD.point_id, OLD.ts) IS DISTINCT FROM (NEW.point_id, NEW.ts)"
    for name, when, condition, routine in (
        ("insert", "INSERT", f"NEW.ts < {_LATE}", "mark_new_hour"),
        # What is written again as it is changes nothing.
        ("update", "UPDATE", f"NEW.ts < {_LATE} AND OLD.* IS DISTINCT FROM NEW.*", "mark_new_hour"),
        ("move", "UPDATE", f"OLD.ts < {_LATE} AND {moved}", "mark_old_hour"),
        ("delete", "DELETE", f"OLD.ts < {_LATE}", "mark_old_hour"),
    ):
        yield (
            f"CREATE TRIGGER hsorm_hours_{name} AFTER {when} ON {history} FOR EACH ROW "
            f"WHEN ({condition}) EXECUTE FUNCTION {said.routine(routine)}()"
        )
    yield (
        f"CREATE TRIGGER hsorm_hours_truncate AFTER TRUNCATE ON {history} FOR EACH STATEMENT "
        f"EXECUTE FUNCTION {said.routine('forget_hours')}()"
    )
    yield f"INSERT INTO {said.table('_state')} (hours) VALUES (0)"


def switch_off(named: Callable[[str], str]) -> Iterator[str]:
    """Yield the statements, for one transaction, that have no more hours kept, and drop them."""
    said = _Said(named, "")
    yield _without_job(said.routine("refresh_hours"))
    # Of a refresh that goes on this waits for the step that it is at, and ends the rest.
    yield f"DELETE FROM {said.table('_state')}"
    for name in _TRIGGERS:
        yield f"DROP TRIGGER IF EXISTS hsorm_hours_{name} ON {named('history')}"
    for name in _ROUTINES:
        yield f"DROP ROUTINE IF EXISTS {said.routine(name)}"
    yield _emptying(said)


def _emptying(said: _Said) -> str:
    # All at once: a snapshot from before sees none of them either, and takes the items.
    return f"TRUNCATE {said.table('_until')}, {said.table('')}, {said.table('_stale')}"


def _without_job(routine: str) -> str:
    """Return what deletes the job of TimescaleDB that calls a procedure, if there is one."""
    literal = routine.replace("'", "''")
    return f"""
DO $hsorm$ BEGIN
    IF to_regclass('timescaledb_information.jobs') IS NOT NULL THEN
        PERFORM delete_job(job_id) FROM timescaledb_information.jobs
        WHERE to_regproc(quote_ident(proc_schema) || '.' || quote_ident(proc_name))
            = to_regproc('{literal}');
    END IF;
END $hsorm$"""


def _hour_of(ts: str) -> str:
    return f"date_bin('1 hour', {ts}, timestamptz '2000-01-01 00:00+00')"


def _marking(said: _Said, row: str) -> str:
    own = row.upper()
    # With the rights and the search path of who makes it, as all of our triggers. Items come by
    # point and time, mostly, so that the last mark of a transaction tells of most of them; what is
    # rolled back to a savepoint takes the setting along with the mark.
    return f"""
CREATE OR REPLACE FUNCTION {said.routine(f"mark_{row}_hour")}() RETURNS trigger LANGUAGE plpgsql
SECURITY DEFINER SET search_path = {said.schema}, pg_temp AS $hsorm$
DECLARE
    hour timestamptz := {_hour_of(f"{own}.ts")};
    mark text := concat_ws(' ', TG_RELID, CAST(date_part('epoch', hour) AS bigint), {own}.point_id);
BEGIN
    IF current_setting('hsorm.hour_marked', true) IS DISTINCT FROM mark THEN
        INSERT INTO {said.table("_stale")} (point_id, ts) VALUES ({own}.point_id, hour);
        PERFORM set_config('hsorm.hour_marked', mark, true);
    END IF;
    RETURN NULL;
END $hsorm$"""


def _forgetting(said: _Said) -> str:
    return f"""
CREATE OR REPLACE FUNCTION {said.routine("forget_hours")}() RETURNS trigger LANGUAGE plpgsql
SECURITY DEFINER SET search_path = {said.schema}, pg_temp AS $hsorm$
BEGIN
    {_emptying(said)};
    RETURN NULL;
END $hsorm$"""


def _refreshing(said: _Said, known: str, number: str) -> str:
    """Return the procedure that brings hours up to date, in many short transactions.

    It takes what TimescaleDB gives to a job. As it commits it can have neither a search path nor
    rights of its own.
    """
    entities, history = said.named("entities"), said.named("history")
    sums, until, stale, state = map(said.table, ("", "_until", "_stale", "_state"))
    columns = "known, n, total, low, high"
    folded = f"""
            count(*) FILTER (WHERE {known}) AS known,
            CASE WHEN bool_or({number} AND abs(item.val) >= {HUGE}) THEN NULL
                 ELSE count(*) FILTER (WHERE {number}) END AS n,
            sum(item.val) FILTER (WHERE {number} AND abs(item.val) < {HUGE}) AS total,
            min(item.val) FILTER (WHERE {number}) AS low,
            max(item.val) FILTER (WHERE {number}) AS high"""
    says = f"(({known}) OR {number})"
    put = """ON CONFLICT (point_id, ts) DO UPDATE SET known = excluded.known, n = excluded.n,
            total = excluded.total, low = excluded.low, high = excluded.high RETURNING 1"""
    this = "CAST(CAST(pg_current_xact_id() AS text) AS bigint)"
    settle = f"""UPDATE {state} SET noted = NULL,
            settled = greatest(settled, {_hour_of(f"noted_at - {_SETTLED}")})
        WHERE noted <= CAST(CAST(pg_snapshot_xmin(pg_current_snapshot()) AS text) AS bigint);"""
    # History is locked before the hours, as who truncates it does.
    begin = f"""
        PERFORM FROM {state} FOR UPDATE;  -- one refresh at a time
        EXIT WHEN NOT FOUND;              -- switched off meanwhile
        LOCK TABLE ONLY {history} IN ACCESS SHARE MODE;"""
    return f"""
CREATE OR REPLACE PROCEDURE {said.routine("refresh_hours")}(
    job integer DEFAULT NULL, config jsonb DEFAULT NULL
) LANGUAGE plpgsql AS $hsorm$
DECLARE
    at timestamptz;
    upto timestamptz;
    oldest timestamptz;
    points text[];
    last text := '';
    took bigint;
    many bigint;
BEGIN
    COMMIT;
    -- Before this transaction has its number: whoever gets a later one looks at the clock later.
    at := clock_timestamp();
    {settle}
    -- What an earlier refresh has noted is nearer; but after a restore on another server its number
    -- may be one to come.
    UPDATE {state} SET noted = {this}, noted_at = at WHERE noted IS NULL OR noted > {this};
    UPDATE {state} SET hours = 0;
    COMMIT;
    FOR turn IN 1..20 LOOP
        {settle}
        EXIT WHEN FOUND OR NOT EXISTS (SELECT FROM {state});
        COMMIT;
        PERFORM pg_sleep(0.05);
    END LOOP;
    COMMIT;
    LOOP{begin}
        WITH taken AS (
            DELETE FROM {stale} WHERE ctid = ANY (ARRAY(SELECT ctid FROM {stale} LIMIT 5000))
            RETURNING point_id, ts
        ), asked AS (  -- later hours will be worked out anyway
            SELECT DISTINCT taken.point_id, taken.ts
            FROM taken JOIN {until} u ON u.point_id = taken.point_id AND taken.ts < u.until
        ), found AS (
            SELECT asked.point_id, asked.ts, folded.* FROM asked CROSS JOIN LATERAL (
                SELECT count(*) AS items,{folded}
                FROM {history} item
                WHERE item.point_id = asked.point_id AND item.ts >= asked.ts
                    AND item.ts < asked.ts + interval '1 hour' AND {says}
            ) folded
        ), gone AS (
            DELETE FROM {sums} own USING found
            WHERE own.point_id = found.point_id AND own.ts = found.ts AND found.items = 0
        ), put AS (
            INSERT INTO {sums} (point_id, ts, {columns})
            SELECT point_id, ts, {columns} FROM found WHERE items > 0
            {put}
        )
        SELECT (SELECT count(*) FROM taken), (SELECT count(*) FROM found) INTO took, many;
        UPDATE {state} SET hours = hours + many;
        COMMIT;
        EXIT WHEN took < 5000;
    END LOOP;
    COMMIT;
    SELECT settled INTO upto FROM {state};
    WHILE upto IS NOT NULL LOOP{begin}
        SELECT array_agg(id ORDER BY id), min(since) INTO points, oldest FROM (
            SELECT e.id, coalesce(u.until, '-infinity') AS since
            FROM {entities} e LEFT JOIN {until} u ON u.point_id = e.id
            WHERE e.id > last AND e.tags ? 'his' AND (u.until IS NULL OR u.until < upto)
            ORDER BY e.id LIMIT 20
        ) coming;
        WITH asked AS (
            SELECT id, coalesce(u.until, '-infinity') AS since
            FROM unnest(points) id LEFT JOIN {until} u ON u.point_id = id
        ), built AS (
            INSERT INTO {sums} (point_id, ts, {columns})
            SELECT asked.id, folded.* FROM asked CROSS JOIN LATERAL (
                SELECT {_hour_of("item.ts")} AS ts,{folded}
                FROM {history} item
                WHERE item.point_id = asked.id AND item.ts >= asked.since AND item.ts < upto
                    AND item.ts >= oldest AND {says}  -- this leaves out chunks as it is planned
                GROUP BY 1
            ) folded
            {put}
        ), reached AS (
            INSERT INTO {until} (point_id, until) SELECT id, upto FROM asked
            ON CONFLICT (point_id) DO UPDATE SET until = excluded.until
        )
        SELECT count(*) INTO many FROM built;
        last := points[cardinality(points)];
        UPDATE {state} SET hours = hours + many,
            until = CASE WHEN last IS NULL THEN upto ELSE until END;
        COMMIT;
        EXIT WHEN last IS NULL;
    END LOOP;
END $hsorm$"""
