"""`hsorm db`: the tables of a storage."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from shlex import quote
from typing import TYPE_CHECKING, Annotated, Any, Literal, cast

import typer

from hsorm.cli._command import command, make_group
from hsorm.cli._session import CliError, Session, UsageError, is_missing_file

if TYPE_CHECKING:
    from hsorm.sql.indexes import Indexed
    from hsorm.sql.migrate import Extension
    from hsorm.storage._policies import HisPolicies, HisPolicy
    from hsorm.storage.protocol import Versioned
    from hsorm.storage.timescale import TimescaleAdapter

__all__ = ["group"]

group = make_group("db", "Make, upgrade and check the tables.")


async def upgrade(
    session: Session,
    timescale: Annotated[
        Literal["auto", "require", "off"],
        typer.Option("--timescale", help="Whether history becomes a hypertable (PostgreSQL)."),
    ] = "auto",
    postgis: Annotated[
        Literal["auto", "require", "off"],
        typer.Option("--postgis", help="Whether entities get a geography column (PostgreSQL)."),
    ] = "auto",
) -> None:
    """Bring the tables to the newest revision; make them where there are none."""
    store = _versioned(session)
    try:
        found = await store.revision()
        if found == store.head:
            session.say(f"{store.url} is up to date (revision {found}).")
            return
        _refuse_newer(store, found)
        with _log_shown(session):
            await _migrate(store, timescale, postgis)
        session.say(f"{store.url} was upgraded from {found or 'nothing'} to revision {store.head}.")
    finally:
        await store.close()


async def status(session: Session) -> None:
    """Say which revision the tables have; the exit code is 1 unless they are up to date."""
    found: str | None = None
    store = _versioned(session)
    if is_missing_file(session.url):
        url = session.shown_url
    else:
        try:
            found, url = await store.revision(), store.url
            _refuse_newer(store, found)
        finally:
            await store.close()
    session.say(f"database  {url}")
    session.say(f"revision  {found or 'none'}")
    session.say(f"head      {store.head}")
    if found == store.head:
        session.say("Up to date.")
        return
    # Quoted, for a shell has uses of its own for `?` and `&`.
    session.say(f"Behind: run `hsorm --url {quote(url)} db upgrade`")
    session.exit_code = 1


async def index(
    session: Session,
    tags: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="TAG:KIND", help="Tags and kinds: number, string, date or datetime."
        ),
    ] = None,
    search: Annotated[
        bool, typer.Option("--search", help="Index searches (with pg_trgm or FTS5).")
    ] = False,
    drop: Annotated[bool, typer.Option("--drop", help="Drop these indexes instead.")] = False,
) -> None:
    """Index tags, so that comparisons such as `area > 1000ft²` need not look at every entity."""
    declared = _declared(tags or ())
    if not declared and not search:
        raise UsageError("which tags? Write them as in area:number, or give --search")
    async with session.storage() as store:
        act = getattr(store, "drop_indexes" if drop else "create_indexes")
        names = await act(declared, search=search)
    for name in names:
        session.say(f"{'Dropped' if drop else 'Made'} {name}.")
    if not names:
        session.say("Nothing to do: there are none of these." if drop else "Nothing to do.")


async def distribute(
    session: Session,
    partition: Annotated[
        str | None,
        typer.Option(
            "--partition", metavar="TIME", help="Partition by time, too: 1mo (copies all rows)."
        ),
    ] = None,
    columnar_after: Annotated[
        str | None,
        typer.Option(
            "--columnar-after",
            metavar="TIME",
            help="Compress older partitions; nothing in them can be changed any more.",
        ),
    ] = None,
    sql: Annotated[
        bool, typer.Option("--sql", help="Print what would be run; no database is asked.")
    ] = False,
) -> None:
    """Spread history over the workers of Citus, by point; everything else stays where it is."""
    if columnar_after is not None and partition is None:
        raise UsageError("--columnar-after is of partitions: give --partition, too")
    given = {"partition": partition, "columnar_after": columnar_after}
    if sql:
        session.write(_distribution(session, **given))
        return
    async with _postgres(session, "Citus is an extension of it") as store:
        await store.distribute_history(**given)
    session.say("History is distributed.")


async def policy_show(session: Session) -> None:
    """Say what becomes of history as it grows old."""
    async with _with_policies(session) as store:
        _say_policy(session, await store.his_policy())


async def policy_set(
    session: Session,
    chunk: Annotated[
        str | None,
        typer.Option("--chunk", metavar="TIME", help="How much time is in a chunk: 1day, 1wk."),
    ] = None,
    compress_after: Annotated[
        str | None,
        typer.Option("--compress-after", metavar="TIME", help="Compress chunks that are older."),
    ] = None,
    keep: Annotated[
        str | None,
        typer.Option("--keep", metavar="TIME", help="Drop what is older: 6mo, 2yr."),
    ] = None,
    hourly: Annotated[
        bool,
        typer.Option("--hourly", help="Keep hours ready for rollups (any PostgreSQL)."),
    ] = False,
) -> None:
    """Set what becomes of history as it grows old, and whether hours are kept for rollups."""
    given: dict[str, Any] = {"chunk": chunk, "compress_after": compress_after, "keep": keep}
    if not any((*given.values(), hourly)):
        raise UsageError("what to set? --chunk, --compress-after or --keep, with a time; --hourly")
    async with _with_policies(session) as store:
        policy = await store.set_his_policy(**given, hourly=hourly)
        _say_policy(session, policy)
    if hourly and policy.edition != "community":
        session.say("Have a job run `hsorm db policy run` each quarter of an hour or so:")
        session.say("rollups read the items of the hours that it has not worked out yet.")


async def policy_remove(
    session: Session,
    names: Annotated[
        list[str], typer.Argument(metavar="NAME", help="compress-after, keep or hourly.")
    ],
) -> None:
    """Take back what was set; what is compressed stays so, and hours are dropped."""
    taken: Any = [name.replace("-", "_") for name in names]
    if not {"compress_after", "keep", "hourly"}.issuperset(taken):
        raise UsageError(f"{' '.join(names)}: write compress-after, keep or hourly")
    async with _with_policies(session) as store:
        _say_policy(session, await store.remove_his_policy(*taken))


async def policy_run(
    session: Session,
    compress_after: Annotated[
        str | None,
        typer.Option("--compress-after", metavar="TIME", help="Instead of what is set."),
    ] = None,
    keep: Annotated[
        str | None, typer.Option("--keep", metavar="TIME", help="Instead of what is set.")
    ] = None,
) -> None:
    """Work out the hours that are kept, compress and drop old chunks; on Redis delete old items.

    Hours are kept on any PostgreSQL; dropping works with the Apache edition of TimescaleDB, too.
    """
    async with _with_policies(session) as store:
        run = await store.run_his_policy(compress_after=compress_after, keep=keep)
        policy = await store.his_policy()
    if run.hours is not None:
        session.say(f"Worked out {run.hours:,} hours, {_ready(policy)}.")
    if _is_redis(session):
        session.say(f"Deleted {run.dropped:,} items.")
    elif policy.hypertable:
        session.say(f"Dropped {run.dropped:,} chunks, compressed {run.compressed:,}.")


def _distribution(session: Session, **given: str | None) -> str:
    """Return what would be run on the tables that the URL names."""
    from sqlalchemy import MetaData

    from hsorm.sql.citus import distribution
    from hsorm.sql.models import make_tables
    from hsorm.sql.urls import target_of

    target = target_of(session.url)
    tables = make_tables(MetaData(), prefix=target.prefix, schema=target.schema)
    return distribution(tables, **given).script


@asynccontextmanager
async def _postgres(session: Session, why: str) -> AsyncIterator[TimescaleAdapter]:
    if not session.url.startswith("postgres"):
        raise UsageError(f"{session.shown_url} is no PostgreSQL: {why}")
    from hsorm.storage.timescale import TimescaleAdapter

    async with session.storage() as store:
        if not isinstance(store, TimescaleAdapter):
            raise UsageError(f"{session.shown_url} is no PostgreSQL")
        yield store


@asynccontextmanager
async def _with_policies(session: Session) -> AsyncIterator[HisPolicies]:
    async with session.storage() as store:
        if not hasattr(store, "his_policy"):
            raise UsageError(
                f"{session.shown_url} has no policies: those are of PostgreSQL, with TimescaleDB "
                "above all, and of Redis"
            )
        yield cast("HisPolicies", store)


def _is_redis(session: Session) -> bool:
    return session.url.startswith("redis")


def _say_policy(session: Session, policy: HisPolicy) -> None:
    if _is_redis(session):
        session.say("history         series in Redis")
        session.say(f"keep            {policy.keep or 'not set: for ever'}")
        return
    if not policy.hypertable:
        why = "no TimescaleDB" if policy.edition == "none" else f"TimescaleDB, {policy.edition}"
        session.say(f"history         a plain table ({why})")
    else:
        chunks = f"{policy.chunks:,} chunks, {policy.compressed:,} compressed"
        session.say(f"history         a hypertable (TimescaleDB, {policy.edition}), {chunks}")
        session.say(f"chunk           {policy.chunk}")
        session.say(f"compress-after  {policy.compress_after or 'not set'}")
        session.say(f"keep            {policy.keep or 'not set: for ever'}")
    session.say(f"hourly          {_ready(policy) if policy.hourly else 'not set'}")


def _ready(policy: HisPolicy) -> str:
    """Return up to when hours are ready for rollups, in words."""
    until = policy.hourly_until
    return "none ready yet" if until is None else f"ready up to {until:%Y-%m-%dT%H:%MZ}"


def _declared(texts: Sequence[str]) -> dict[str, Indexed]:
    from hsorm.sql.indexes import check_index_tags

    declared: dict[str, Any] = {}
    for text in texts:
        name, sep, kind = text.partition(":")
        if not sep:
            raise UsageError(f"{text}: write the tag and its kind, as in area:number")
        if declared.setdefault(name, kind) != kind:
            raise UsageError(f"{name} is given twice, with different kinds")
    try:
        check_index_tags(declared)
    except ValueError as exc:
        raise UsageError(str(exc)) from None
    return declared


def _versioned(session: Session) -> Versioned:
    from hsorm.storage.factory import open_storage
    from hsorm.storage.protocol import Versioned

    store = open_storage(session.url, create="never")
    if not isinstance(store, Versioned):
        raise UsageError(f"{session.url} has no tables: name a database with --url")
    return store


def _refuse_newer(store: Versioned, found: str | None) -> None:
    if found is not None and found > store.head:
        raise CliError(
            f"{store.url} is at revision {found}, which is newer than this version of hsorm "
            f"({store.head}): install a newer hsorm"
        )


async def _migrate(store: Versioned, timescale: Extension, postgis: Extension) -> None:
    from alembic.util import CommandError

    from hsorm.storage._sql import SqlAdapter

    try:
        if isinstance(store, SqlAdapter):
            await store.upgrade(timescale=timescale, postgis=postgis)
        else:
            await store.upgrade()
    except CommandError as exc:
        raise CliError(f"{store.url} cannot be upgraded: {exc}") from exc


class _Shown(logging.Handler):
    """Prints what the migrations tell of what they did."""

    def __init__(self, session: Session) -> None:
        super().__init__(logging.INFO)
        self._session = session

    def emit(self, record: logging.LogRecord) -> None:
        self._session.say(f"  {record.getMessage()}")


@contextmanager
def _log_shown(session: Session) -> Iterator[None]:
    log, handler = logging.getLogger("alembic.hsorm"), _Shown(session)
    level = log.level
    log.addHandler(handler)
    log.setLevel(logging.INFO)
    try:
        yield
    finally:
        log.removeHandler(handler)
        log.setLevel(level)


command(group, "upgrade", examples=("db upgrade", "db upgrade --timescale require"))(upgrade)
command(group, "status", examples=("db status", "db status -u postgresql://me@host/db"))(status)
command(
    group, "index", examples=("db index area:number dis:string", "db index area:number --drop")
)(index)
command(
    group,
    "distribute",
    examples=(
        "db distribute -u postgresql://me@coordinator/db",
        "db distribute --partition 1mo --columnar-after 6mo --sql",
    ),
)(distribute)

policy = make_group("policy", "See to history as it grows old, and to hours for rollups.")
group.add_typer(policy, name="policy")
command(policy, "show", examples=("db policy show -u postgresql://me@host/db",))(policy_show)
command(policy, "set", examples=("db policy set --chunk 1wk --compress-after 30day --keep 2yr",))(
    policy_set
)
command(policy, "remove", examples=("db policy remove keep", "db policy remove hourly"))(
    policy_remove
)
command(policy, "run", examples=("db policy run", "db policy run --keep 2yr"))(policy_run)
