"""`hsorm his`: reading, writing, importing and plotting history."""

from __future__ import annotations

import datetime as dt
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hsorm.cli._command import command, make_group
from hsorm.cli._output import CsvOption, JsonOption, ZincOption, chosen_format, write_grid
from hsorm.cli._session import CliError, Session, UsageError
from hsorm.errors import CodecError, HsormError, UnknownEntityError
from hsorm.kinds import REMOVE, Grid, GridCol, as_ref

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hsorm.cli._hiscsv import Cells
    from hsorm.cli._plot import Series
    from hsorm.storage.protocol import HisItem, StorageAdapter

__all__ = ["group", "plot_series"]

group = make_group("his", "Read, write, import and plot history.")

TABLE_ROWS = 100
"""How many items a table shows: a day of quarters of an hour."""


# ---- read ---------------------------------------------------------------------------------------


async def read(
    session: Session,
    id: Annotated[str, typer.Argument(metavar="ID", help="The point, with or without @.")],
    range: Annotated[
        str,
        typer.Argument(
            metavar="RANGE",
            help="today, yesterday, thisWeek, pastMonth…, 2024-03-10, 2024-03-01,2024-03-31, or "
            "dateTimes such as 2024-03-10T08:00:00Z,2024-03-10T09:00:00Z.",
        ),
    ] = "today",
    limit: Annotated[
        int | None,
        typer.Option("--limit", "-n", min=0, help="The first so many.", show_default=False),
    ] = None,
    json: JsonOption = False,
    zinc: ZincOption = False,
    csv: CsvOption = False,
) -> None:
    """Read the history of a point. Days are days in the point's time zone."""
    format = chosen_format(json=json, zinc=zinc, csv=csv)
    async with session.storage() as store:
        found = await store.his_read(id, range)
    items = found if limit is None else found[:limit]
    if format == "csv":
        from hsorm.cli._hiscsv import write_items

        session.write(write_items(as_ref(id).val, items))
    elif format is not None:
        cols = (GridCol("ts"), GridCol("val"))
        rows: Any = tuple(items)
        write_grid(session, Grid({"id": as_ref(id)}, cols, rows), format)
    else:
        _show_items(session, items, len(found), range, cut=limit is None)


def _show_items(
    session: Session, items: Sequence[HisItem], total: int, range: str, *, cut: bool
) -> None:
    from rich.text import Text

    from hsorm.cli._table import plain_table
    from hsorm.cli._values import text_of

    if not total:
        session.say(f"No history in {range}.")
        return
    shown = items[:TABLE_ROWS] if cut else items
    table = plain_table(session.out, ("ts", "val"))
    table.columns[1].justify = "right"
    for item in shown:
        table.add_row(text_of(item["ts"]), Text(text_of(item["val"])))
    session.show(table)
    count = f"{total:,} {'item' if total == 1 else 'items'}"
    if len(shown) < total:
        count = f"The first {len(shown):,} of {count}; all: --limit {total}, or --csv, --json"
    session.say(count, style="dim")


# ---- write --------------------------------------------------------------------------------------


async def write(
    session: Session,
    id: Annotated[str, typer.Argument(metavar="ID", help="The point, with or without @.")],
    ts: Annotated[
        str,
        typer.Argument(
            metavar="TS", help="When: now, or ISO with offset or zone: 2024-03-10T08:00:00-04:00."
        ),
    ],
    value: Annotated[
        str,
        typer.Argument(
            metavar="VALUE", help="In Zinc: 72.5°F, 72.5, true, NA, '\"text\"'; R deletes the item."
        ),
    ],
) -> None:
    """Write one item into the history of a point, or delete one."""
    from hsorm.cli._stamps import parse_stamp
    from hsorm.cli._typed import typed_value
    from hsorm.cli._values import text_of
    from hsorm.his import writing_point

    try:
        instant = dt.datetime.now(dt.UTC) if ts == "now" else parse_stamp(ts)
    except ValueError as exc:
        raise UsageError(f"TS {exc}") from None
    val = typed_value(value)
    async with session.storage() as store:
        point = writing_point(await store.read_by_id(id))
        await store.his_write(id, [{"ts": instant, "val": val}])
    id, when = point.id, text_of(instant.astimezone(point.zone))
    if val is REMOVE:
        session.say(f"Deleted what @{id} had at {when}.")
    else:
        session.say(f"Wrote {text_of(val)} at {when} into @{id}.")


# ---- import -------------------------------------------------------------------------------------


async def import_(
    session: Session,
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A CSV file; - is standard input.")],
) -> None:
    """Import history from a CSV file.

    Either one column for each point (header ts,<id>,<id>…; an empty cell is no item) or one line
    for each item (header id,ts,val). A time without offset is in its point's zone. Values are
    plain numbers, true, false, text, or Zinc; NA is stored, R deletes. When a row is wrong, nothing
    of the file is written. Importing a file again changes nothing.
    """
    from hsorm.cli._files import read_bytes
    from hsorm.cli._hiscsv import read_cells

    name = "standard input" if str(file) == "-" else str(file)
    columns = read_cells(read_bytes(file), name)
    async with session.storage() as store:
        batches = await _checked(store, columns, name)
        count = await _write_batches(session, store, batches, name)
    points = sum(1 for _, items in batches if items)
    what = f"{count:,} {'item' if count == 1 else 'items'}"
    session.say(f"Wrote {what} of {points:,} {'point' if points == 1 else 'points'}.")


_Batches = list[tuple[str, list[dict[str, Any]]]]


async def _checked(store: StorageAdapter, columns: Sequence[Cells], name: str) -> _Batches:
    """Turn all cells into items before the first one is written."""
    from hsorm.cli._hiscsv import items_of
    from hsorm.his import writing_point

    found = await store.read_by_ids([cells.id for cells in columns])
    batches: _Batches = []
    for cells, entity in zip(columns, found, strict=True):
        line = cells.rows[0][0] if cells.rows else None
        try:
            if entity is None:
                raise UnknownEntityError(cells.id)
            point = writing_point(entity)
        except HsormError as exc:
            raise CodecError(str(exc), line, where=name) from exc
        batches.append((cells.id, items_of(cells, point, name)))
    return batches


async def _write_batches(
    session: Session, store: StorageAdapter, batches: _Batches, name: str
) -> int:
    from hsorm.cli._files import progress_on

    total, done = sum(len(items) for _, items in batches), 0
    with progress_on(session) as progress:
        task = progress.add_task(f"Writing {name}", total=total, unit="items")
        for id, items in batches:
            try:
                await store.his_write(id, items)
            except HsormError as exc:
                raise CliError(
                    f"{exc}\n  {done:,} of {total:,} items are written; importing {name} again "
                    "is safe and completes it"
                ) from exc
            done += len(items)
            progress.advance(task, len(items))
    return done


# ---- plot ---------------------------------------------------------------------------------------


async def plot(
    session: Session,
    ids_and_range: Annotated[
        list[str],
        typer.Argument(metavar="ID… [RANGE]", help="Points; then perhaps a range as for his read."),
    ],
    days: Annotated[
        int | None,
        typer.Option(
            "--days", min=1, max=36_500, help="The last so many days, instead of a range.",
            show_default=False,
        ),
    ] = None,
    png: Annotated[
        Path | None,
        typer.Option("--png", metavar="FILE", help="Into a PNG file (needs matplotlib)."),
    ] = None,
) -> None:  # fmt: skip
    """Plot the history of points in the terminal, or into a PNG file.

    Without a range: the last 24 hours.
    """
    ids, range = _split_range(ids_and_range)
    if range is not None and days is not None:
        raise UsageError(f"--days and the range {range!r}: choose one")
    since = dt.datetime.now(dt.UTC) - dt.timedelta(days=days or 1)
    async with session.storage() as store:
        series = await plot_series(store, ids, range or f"{since:%Y-%m-%dT%H:%M:%SZ}")
    if not any(one.points for one in series):
        when = range or ("the last day" if days in (None, 1) else f"the last {days} days")
        raise CliError(f"no history to plot in {when}: try --days 30, or another range")
    if png is not None:
        from hsorm.cli._png import save_png

        save_png(series, png)
        session.say(f"Plotted {len(series)} {'point' if len(series) == 1 else 'points'} into {png}")
        return
    from hsorm.cli._plot import show

    show(session.out, series)


def _split_range(words: list[str]) -> tuple[list[str], str | None]:
    """Tell a range at the end from the ids before it; what begins with @ is always an id."""
    *ids, last = words
    if ids and not last.startswith("@") and _is_range(last):
        return ids, last
    return words, None


def _is_range(text: str) -> bool:
    from hsorm.errors import RangeSyntaxError
    from hsorm.his import parse_range
    from hsorm.zones import zone_of

    if "," in text or text[:5].removesuffix("-").isdigit():
        return True  # no id, or hardly one: a wrong date should be told as such
    try:
        parse_range(text, zone_of("UTC"), dt.datetime.now(dt.UTC))
    except RangeSyntaxError:
        return False
    return True


async def plot_series(store: StorageAdapter, ids: Sequence[str], range: str) -> list[Series]:
    """Read what is to be plotted.

    Raises:
        CliError: A point is neither of kind Number nor Bool.
    """
    from hsorm.cli._plot import Series
    from hsorm.his import reading_point
    from hsorm.ops.display import dis_of

    out = []
    for id in ids:
        entity = await store.read_by_id(id)
        point = reading_point(entity)
        if point.kind not in ("Number", "Bool"):
            raise CliError(f"@{point.id} is of kind {point.kind}: only Number and Bool are plotted")
        items = await store.his_read(id, range)
        out.append(Series.of(point, dis_of(entity) or f"@{point.id}", items))
    return out


command(
    group,
    "read",
    examples=(
        "his read demo.elec-main.power yesterday",
        "his read demo.elec-main.power 2024-03-01,2024-03-31 --csv > march.csv",
    ),
)(read)
command(
    group,
    "write",
    context_settings={"ignore_unknown_options": True},  # -5 is a value
    examples=(
        "his write demo.vav-1-1.zone-temp now 72.5°F",
        "his write demo.ahu-1.fan-status 2024-03-10T08:00:00-04:00 true",
        "his write demo.vav-1-1.zone-temp '2024-03-10 08:00 New_York' R",
    ),
)(write)
command(group, "import", examples=("his import march.csv", "his import - < log.csv"))(import_)
command(
    group,
    "plot",
    examples=(
        "his plot demo.elec-main.power",
        "his plot demo.ahu-1.fan-status demo.ahu-1.discharge-temp yesterday",
        "his plot demo.elec-main.power --days 7 --png week.png",
    ),
)(plot)
