"""`hsorm demo`: a building with history in a SQLite file, and a tour of what can be asked."""

from __future__ import annotations

import datetime as dt
import shlex
import shutil
import sqlite3
import sys
import time
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from hsorm.cli._command import command
from hsorm.cli._session import CliError, Session, UsageError

if TYPE_CHECKING:
    from hsorm.kinds import Entity
    from hsorm.storage.protocol import StorageAdapter

__all__ = ["add_to", "tour_of"]

_MARK: Final = 0x68736F64
"""Stands in the header of a file that the demo made (SQLite's `application_id`)."""

_METER: Final = "demo.elec-main.power"
_ZONE: Final = "demo.vav-2-4.zone-temp"
_CHILDREN: Final = 3
_ROWS: Final = 5
_NARROW: Final = 100
_ITEMS: Final = 80
"""How many items make a day of quarters of an hour that is worth a plot."""

# A filter, and the columns to show: so many on a narrow terminal, all on a wide one.
_FILTERS: Final = (
    ("site", 4, "dis,area,geoCity,yearBuilt,primaryFunction,tz"),
    ("ahu or siteMeter", 3, "id,dis,airFlowMax,spaceRef,elecRef"),
    (
        "co2 and equipRef->spaceRef->area > 3200ft²",
        3,
        "id,dis,unit,equipRef,spaceRef",
    ),
)


async def demo(
    session: Session,
    file: Annotated[
        Path, typer.Option("--file", metavar="FILE", help="The SQLite file to make.")
    ] = Path("demo.db"),
    seed: Annotated[int, typer.Option("--seed", help="Another number, other values.")] = 1,
    days: Annotated[int, typer.Option("--days", min=1, max=400, help="Days of history.")] = 30,
    force: Annotated[
        bool, typer.Option("--force", help="Replace a file that is not of the demo.")
    ] = False,
) -> None:
    """Make a building with history, and take a tour.

    Everything goes into one SQLite file, which a second run replaces.
    """
    if session.given_url is not None:
        raise UsageError("the demo makes a file of its own: --file demo.db instead of --url")
    _refuse_missing_folder(file)
    if not force:
        _refuse_other_files(file)
    await tour_of(session, file, seed=seed, days=days)


async def tour_of(session: Session, file: Path, *, seed: int, days: int) -> None:
    """Make the building in a file, replacing it, and show what can be asked of it."""
    await _make(session, file, seed, days)
    own = Session(f"sqlite:///{file}", session.debug)
    own.out = session.out
    async with own.storage() as store:
        await _tour(own, store)
    _next_steps(session, file)


def add_to(app: typer.Typer) -> None:
    """Add the command to an application."""
    examples = ("demo", "demo --file /tmp/plant.db --days 7")
    command(app, "demo", rich_help_panel="Start here", examples=examples)(demo)


# ---- the file -----------------------------------------------------------------------------------


def _refuse_other_files(file: Path) -> None:
    """Leave a file alone that somebody else made, or put something of their own into."""
    if file.exists() and not _is_of_demo(file):
        raise CliError(
            f"{file} exists and holds more than the demo: name another with --file, or replace it "
            "with --force"
        )


def _is_of_demo(file: Path) -> bool:
    if not file.is_file():
        return False
    if file.stat().st_size == 0:
        return True
    try:
        with closing(sqlite3.connect(f"{file.resolve().as_uri()}?mode=ro", uri=True)) as connection:
            ((mark,),) = connection.execute("PRAGMA application_id")
            others = connection.execute(
                "SELECT 1 FROM entities WHERE id <> 'demo' AND id NOT LIKE 'demo.%' LIMIT 1"
            ).fetchone()
    except sqlite3.Error:
        return False
    return bool(mark == _MARK and others is None)


def _refuse_missing_folder(file: Path) -> None:
    if not file.absolute().parent.is_dir():
        raise CliError(f"{file}: there is no folder {file.parent}")


async def _make(session: Session, file: Path, seed: int, days: int) -> None:
    """Fill a file beside the one that it then replaces: a demo that is interrupted harms none."""
    fresh = file.with_name(f".{file.name}.new")
    _remove(fresh)
    try:
        await _fill(session, fresh, seed, days)
        with closing(sqlite3.connect(fresh)) as connection:
            connection.execute(f"PRAGMA application_id = {_MARK}")
            connection.commit()
        _remove(file)
        fresh.replace(file)
    finally:
        _remove(fresh)


def _remove(file: Path) -> None:
    for suffix in ("", "-wal", "-shm"):
        file.with_name(file.name + suffix).unlink(missing_ok=True)


async def _fill(session: Session, file: Path, seed: int, days: int) -> None:
    from hsorm.cli._files import progress_on
    from hsorm.demo import building, history
    from hsorm.storage.sqlite import SqliteAdapter

    started = time.perf_counter()
    entities = building(seed)
    historized = sum("his" in entity for entity in entities)
    items = 0
    with progress_on(session) as progress:
        async with SqliteAdapter(file) as store:
            count = await store.load_entities(entities)
            task = progress.add_task("Writing history", total=historized, unit="points")
            for id, rows in history(entities, end=dt.datetime.now(dt.UTC), days=days, seed=seed):
                await store.his_write(id, rows)
                items += len(rows)
                progress.advance(task)
    _heading(session, f"A building with {days} {'day' if days == 1 else 'days'} of history")
    session.say(
        f"{count:,} entities: {_counts(entities)}.\n"
        f"{items:,} history items of {historized} points, made and stored in "
        f"{time.perf_counter() - started:.1f} s."
    )


def _counts(entities: list[Entity]) -> str:
    kinds = (("site", "site"), ("floor", "floors"), ("room", "rooms"), ("equip", "equips"),
        ("point", "points"))  # fmt: skip
    return ", ".join(f"{sum(tag in one for one in entities)} {name}" for tag, name in kinds)


# ---- the tour -----------------------------------------------------------------------------------


async def _tour(session: Session, store: StorageAdapter) -> None:
    """Show filters, the tree and a day of history of the demo building."""
    from hsorm.cli.entities import show_entities, show_tree

    _heading(session, "Filters find entities")
    for filter, narrow, wide in _FILTERS:
        names = wide.split(",")[: narrow if session.out.width < _NARROW else None]
        _typed(session, f"hsorm read {shlex.quote(filter)} --cols {','.join(names)}")
        found = await store.read(filter)
        show_entities(session, found[:_ROWS], len(found), cols=names)
    _heading(session, "The tree: site, equips, points")
    await show_tree(session, store, None, 3, most=_CHILDREN)
    await _plots(session, store)


def _heading(session: Session, text: str) -> None:
    from rich.rule import Rule
    from rich.text import Text

    session.out.print()
    session.out.print(Rule(Text(text, style="bold"), align="left", style="dim"))


def _typed(session: Session, text: str) -> None:
    session.out.print(f"$ {text}", style="green", soft_wrap=True)


async def _plots(session: Session, store: StorageAdapter) -> None:
    from hsorm.cli._plot import show
    from hsorm.cli.his import plot_series
    from hsorm.zones import zone_of

    meter = await store.read_by_id(_METER)
    today = dt.datetime.now(zone_of(meter["tz"])).date()
    day = _last_workday(today)
    if len(await store.his_read(_METER, day.isoformat())) >= _ITEMS:
        when, title = day.isoformat(), f"A day of history: {day:%A}, {day}"
    else:  # a demo of few days, made on a Sunday
        when, title = f"{today - dt.timedelta(days=1)},{today}", "The latest history"
    _heading(session, title)
    for id in (_METER, _ZONE):
        _typed(session, f"hsorm his plot {id} {when}")
        series = await plot_series(store, [id], when)
        show(session.out, series, height=12)


def _last_workday(today: dt.date) -> dt.date:
    day = today - dt.timedelta(days=1)
    while day.weekday() >= 5:
        day -= dt.timedelta(days=1)
    return day


def _next_steps(session: Session, file: Path) -> None:
    hsorm = f"{_program()} -u {shlex.quote(f'sqlite:///{file}')}"
    _heading(session, f"Your turn: all of it is in {file}")
    for text in (
        "about",
        "read 'vav and ahuRef == @demo.ahu-2'",
        "read 'point and unit == \"kW\"' --csv",
        f"his read {_METER} yesterday",
        "his plot demo.ahu-1.fan-status demo.ahu-1.discharge-temp --days 2",
        "nav demo.ahu-1",
    ):
        session.out.print(f"{hsorm} {text}", style="green", soft_wrap=True)


def _program() -> str:
    """Return what to type to run this program again, from here."""
    called = Path(sys.argv[0])
    if called.name == "__main__.py":
        return f"{shlex.quote(sys.executable)} -m hsorm"
    found = shutil.which("hsorm")
    if called.name != "hsorm" or (found and Path(found).resolve() == called.resolve()):
        return "hsorm"
    return shlex.quote(sys.argv[0])
