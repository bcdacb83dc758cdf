"""`hsorm his`: reading, writing, importing, exporting and plotting history."""

from __future__ import annotations

import datetime as dt
from importlib.util import find_spec
from io import SEEK_END
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hsorm.cli._command import command, make_group
from hsorm.cli._output import CsvOption, JsonOption, ZincOption, chosen_format, write_grid
from hsorm.cli._session import CliError, Session, UsageError
from hsorm.errors import CodecError, HisWriteError, HsormError, UnknownEntityError
from hsorm.his import ALWAYS, one_zone, reading_point, span_of
from hsorm.his.span import Range, Span
from hsorm.kinds import REMOVE, Grid, GridCol, as_ref

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator, Mapping, Sequence

    from hsorm.cli._histables import Items
    from hsorm.cli._plot import Series
    from hsorm.his import HisPoint
    from hsorm.kinds import Entity
    from hsorm.storage.protocol import HisItem, StorageAdapter

__all__ = ["group", "plot_series"]

group = make_group("his", "Read, write, import, export and plot history.")

TABLE_ITEMS = 250_000
"""Of how many items an export makes a table, where they are spread evenly."""

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
        around = {} if found else await store.his_summary(id)
    items = found if limit is None else found[:limit]
    if format == "csv":
        from hsorm.cli._hiscsv import write_items

        session.write(write_items(as_ref(id).val, items))
    elif format is not None:
        cols = (GridCol("ts"), GridCol("val"))
        rows: Any = tuple(items)
        write_grid(session, Grid({"id": as_ref(id)}, cols, rows), format)
    elif found:
        _show_items(session, items, len(found), cut=limit is None)
    else:
        session.say(_nothing_in(range, around))


def _nothing_in(range: str, summary: Entity) -> str:
    """Say that there is no history in a range, and when there is some."""
    from hsorm.cli._values import text_of

    if not summary:
        return f"No history in {range}, nor at any other time."
    start, end = text_of(summary["hisStart"]), text_of(summary["hisEnd"])
    return f"No history in {range}. There is some from {start} to {end}."


def _show_items(session: Session, items: Sequence[HisItem], total: int, *, cut: bool) -> None:
    from rich.text import Text

    from hsorm.cli._table import plain_table
    from hsorm.cli._values import text_of

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
    files: Annotated[
        list[Path],
        typer.Argument(
            metavar="FILE", help="CSV, Zinc (.zinc) or Parquet (.parquet); - is CSV on stdin."
        ),
    ],
    id: Annotated[
        str | None,
        typer.Option("--id", help="The point of files that name none.", show_default=False),
    ] = None,
    map: Annotated[
        list[str] | None,
        typer.Option("--map", metavar="NAME=ID", help="Which point a name in the files means."),
    ] = None,
) -> None:
    """Import history from CSV, Zinc or Parquet files.

    CSV has either one column for each point (header ts,<id>,<id>…; an empty cell is no item) or one
    line for each item (header id,ts,val). A time without offset is in its point's zone. Values are
    plain numbers, true, false, text, or Zinc; NA is stored, R deletes. Zinc is what his read
    writes, or a batch; Parquet what his export does. When a row is wrong, nothing of its file is
    written. Importing a file again changes nothing.
    """
    ids = _mapped(map or ())
    count, points = 0, set[str]()
    async with session.storage() as store:
        for number, file in enumerate(files):
            try:
                many, found = await _import_file(session, store, file, id, ids)
            except HsormError as exc:
                if not number:
                    raise
                done = ", ".join(str(done) for done in files[:number])
                raise CliError(f"{exc}\n  imported before it: {done}") from exc
            count += many
            points |= found
    what = f"{count:,} {'item' if count == 1 else 'items'}"
    session.say(f"Wrote {what} of {len(points):,} {'point' if len(points) == 1 else 'points'}.")


def _mapped(texts: Sequence[str]) -> dict[str, str]:
    ids = {}
    for text in texts:
        name, sep, id = text.partition("=")
        if not (name and sep and id):
            raise UsageError(f"--map {text}: write the name in the file and the id, NAME=ID")
        ids[name] = id.removeprefix("@")
    return ids


async def _import_file(
    session: Session, store: StorageAdapter, file: Path, id: str | None, ids: dict[str, str]
) -> tuple[int, set[str]]:
    """Import one file, all or nothing; return how many items, and of which points."""
    from hsorm.cli._files import read_bytes
    from hsorm.cli._histables import read_parquet, read_zinc

    name = "standard input" if str(file) == "-" else str(file)
    only = None if id is None else id.removeprefix("@")
    if file.suffix == ".parquet":
        rows, tables = read_parquet(file, only, ids)
        return await _import_stream(session, store, name, rows, "rows", tables)
    if file.suffix == ".zinc":
        done = await _import_plain_zinc(session, store, file, name, only, ids)
        if done is not None:
            return done
        found = read_zinc(read_bytes(file).decode(), name, only, ids)
        return await _import_zinc(session, store, name, found)
    if find_spec("pyarrow") is not None:
        return await _import_csv(session, store, file, name, only, ids)
    batches = await _csv_batches(store, read_bytes(file), name, only, ids)
    return await _import_items(session, store, name, batches)


async def _import_csv(
    session: Session,
    store: StorageAdapter,
    file: Path,
    name: str,
    only: str | None,
    ids: dict[str, str],
) -> tuple[int, set[str]]:
    """Import a CSV file block by block, by way of Arrow."""
    from hsorm.cli._files import opened
    from hsorm.cli._hiscolumns import CsvHistory

    with opened(file) as source:
        size = source.seek(0, SEEK_END)
        history = CsvHistory(source, name, only, ids)
        points = await _points(store, history.points(), name)
        return await _import_stream(session, store, name, size, "bytes", history.batches(points))


async def _import_items(
    session: Session, store: StorageAdapter, name: str, batches: _Batches
) -> tuple[int, set[str]]:
    from hsorm.cli._files import progress_on

    total = sum(len(items) for items in batches.values())
    with progress_on(session) as progress:
        task = progress.add_task(f"Writing {name}", total=total, unit="items")

        def passing() -> Iterator[Any]:
            for point, items in batches.items():
                yield from ((point, item["ts"], item["val"]) for item in items)
                progress.advance(task, len(items))

        await store.his_write_batch(passing())
    return total, {point for point, items in batches.items() if items}


_Batches = dict[str, list[dict[str, Any]]]


async def _csv_batches(
    store: StorageAdapter, data: bytes, name: str, only: str | None, ids: dict[str, str]
) -> _Batches:
    """Turn all cells into items before the first one is written."""
    from hsorm.cli._hiscsv import items_of, read_cells

    columns = [
        cells._replace(id=ids.get(cells.id, cells.id)) for cells in read_cells(data, name, only)
    ]
    lines = {cells.id: cells.rows[0][0] if cells.rows else None for cells in columns}
    points = await _points(store, lines, name)
    batches: _Batches = {}
    for cells in columns:
        batches.setdefault(cells.id, []).extend(items_of(cells, points[cells.id], name))
    return batches


async def _import_plain_zinc(
    session: Session,
    store: StorageAdapter,
    file: Path,
    name: str,
    only: str | None,
    ids: dict[str, str],
) -> tuple[int, set[str]] | None:
    """Import a Zinc file by way of Arrow; None, and nothing is written, where it is not plain."""
    if find_spec("pyarrow") is None or str(file) == "-":
        return None
    from hsorm.cli._files import opened
    from hsorm.cli._hiscolumns import UnfitError, ZincHistory
    from hsorm.cli._histables import zinc_head

    with opened(file) as source:
        size = source.seek(0, SEEK_END)
        if (head := zinc_head(source, name, only)) is None:
            return None
        columns, start = [ids.get(id, id) for id in head[0]], head[1]
        points = await _points(store, dict.fromkeys(columns), name)
        history = ZincHistory(source, start, [points[id] for id in columns])
        try:
            return await _import_stream(session, store, name, size, "bytes", history.batches())
        except UnfitError:
            return None


async def _import_zinc(
    session: Session, store: StorageAdapter, name: str, found: Items
) -> tuple[int, set[str]]:
    await _points(store, dict.fromkeys(found), name)
    batches = {id: [item for _, item in rows] for id, rows in found.items()}
    try:
        return await _import_items(session, store, name, batches)
    except HisWriteError as exc:
        rows = [row for rows in found.values() for row, _ in rows]
        reason = f"row {rows[exc.index]}, @{exc.id}: {exc.reason}"
        raise CodecError(reason, where=name) from None


async def _points(
    store: StorageAdapter, lines: Mapping[str, int | None], name: str
) -> dict[str, HisPoint]:
    """Return the points of a file, by id; `lines` says where each comes first."""
    from hsorm.his import writing_point

    points = {}
    for id, entity in zip(lines, await store.read_by_ids(list(lines)), strict=True):
        try:
            if entity is None:
                raise UnknownEntityError(id)
            points[id] = writing_point(entity)
        except HsormError as exc:
            raise CodecError(str(exc), lines[id], where=name) from exc
    return points


async def _import_stream(
    session: Session,
    store: StorageAdapter,
    name: str,
    total: int,
    unit: str,
    batches: Iterator[tuple[int, Any]],
) -> tuple[int, set[str]]:
    """Import Arrow record batches as they are read, in bounded memory.

    Args:
        session: Where to show progress.
        store: Where to.
        name: The name of the file.
        total: How much there is to be read.
        unit: Of what.
        batches: How much was read, and what was in it.
    """
    import pyarrow as pa

    from hsorm.cli._files import progress_on

    points, count = set[str](), 0
    with progress_on(session) as progress:
        task = progress.add_task(f"Writing {name}", total=total, unit=unit)

        def passing() -> Iterator[Any]:
            nonlocal count
            for read, batch in batches:
                progress.advance(task, read)
                count += batch.num_rows
                points.update(batch["id"].unique().to_pylist())
                yield batch

        found = passing()
        first = next(found, None)
        if first is None:
            return 0, points
        try:
            await store.his_write_batch(
                pa.RecordBatchReader.from_batches(first.schema, chain([first], found))
            )
        except HisWriteError as exc:
            where = f"{name}, row {exc.index + 1}"
            raise CodecError(f"@{exc.id}: {exc.reason}", where=where) from exc
    return count, points


# ---- export -------------------------------------------------------------------------------------


async def export(
    session: Session,
    ids_and_range: Annotated[
        list[str],
        typer.Argument(metavar="ID… [RANGE]", help="Points; then perhaps a range as for his read."),
    ],
    out: Annotated[
        Path | None,
        typer.Option(
            "--out",
            "-o",
            metavar="FILE",
            help="A .csv, .zinc or .parquet file; else CSV on stdout.",
        ),
    ] = None,
    tz: Annotated[
        str | None,
        typer.Option("--tz", help="The zone, where those of the points differ."),
    ] = None,
) -> None:
    """Export the history of points; without a range, all of it.

    CSV and Zinc have a column for each point, Parquet (needs pyarrow) a row for each item. Each is
    read again by his import.
    """
    from hsorm.his import his_grid

    ids, range = _split_range(ids_and_range)
    if out is not None and out.suffix not in (".csv", ".zinc", ".parquet"):
        raise UsageError(f"{out}: name a .csv, .zinc or .parquet file")
    wanted = [as_ref(id).val for id in ids]
    async with session.storage() as store:
        if out is not None and out.suffix == ".parquet":
            from hsorm.cli._histables import write_parquet

            # Of an empty span, for its schema and the tags of all points in it.
            head = await store.his_arrow(wanted, Span(ALWAYS.start, ALWAYS.start), tz=tz)
            tables = _tables_of(store, wanted, range or ALWAYS, tz)
            many = await write_parquet(head.schema, tables, out)
            session.say(f"Exported {many:,} items of {len(wanted)} points into {out}.")
            return
        found = await store.his_read_batch(wanted, range or ALWAYS, tz=tz)
    if out is not None and out.suffix == ".zinc":
        from hsorm.codecs import zinc

        text = zinc.dumps(his_grid(found))
    else:
        from hsorm.cli._hiscsv import write_grid_items

        text = write_grid_items(list(found), his_grid(found))
    if out is None:
        session.write(text)
        return
    out.write_text(text, "utf-8")
    count = sum(map(len, found.values()))
    session.say(f"Exported {count:,} items of {len(wanted)} points into {out}.")


async def _tables_of(
    store: StorageAdapter, ids: Sequence[str], range: Range, tz: str | None
) -> AsyncIterator[Any]:
    """Yield the history of points as Arrow tables, point by point, each table of bounded length."""
    entities = await store.read_by_ids(ids)
    points = [reading_point(entity) for entity in entities if entity is not None]
    span = span_of(range, one_zone(points, tz), dt.datetime.now(dt.UTC))
    for id in ids:
        summary = await store.his_summary(id)
        if not summary:
            continue
        first, last = (summary[end].astimezone(dt.UTC) for end in ("hisStart", "hisEnd"))
        step = max((last - first) * (TABLE_ITEMS / summary["hisSize"].val), dt.timedelta(seconds=1))
        start, end = max(first, span.start), min(last + dt.timedelta(microseconds=1), span.end)
        while start < end:
            upto = min(start + step, end)
            table = await store.his_arrow(id, Span(start, upto), tz=tz)
            if len(table):
                yield table
            start = upto


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
        typer.Option("--png", metavar="FILE", help="Into a PNG or .svg file (needs matplotlib)."),
    ] = None,
) -> None:  # fmt: skip
    """Plot the history of points in the terminal, or into a PNG or SVG file.

    Without a range: the last 24 hours. Of a long history the lowest and the highest value of each
    stretch are drawn, as many as there is room for.
    """
    ids, range = _split_range(ids_and_range)
    if range is not None and days is not None:
        raise UsageError(f"--days and the range {range!r}: choose one")
    since = dt.datetime.now(dt.UTC) - dt.timedelta(days=days or 1)
    async with session.storage() as store:
        series = await plot_series(store, ids, range or f"{since:%Y-%m-%dT%H:%M:%SZ}")
    if not any(one.points or one.bands for one in series):
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


_CORNERS = 480
"""So many stretches of time are drawn of a long history: four to a column of a wide terminal."""


async def plot_series(store: StorageAdapter, ids: Sequence[str], range: str) -> list[Series]:
    """Read what is to be plotted.

    Raises:
        CliError: A point is of kind Coord, or of none.
    """
    from hsorm.cli._plot import Series
    from hsorm.his import parse_range, reading_point
    from hsorm.ops.display import dis_of

    out, now = [], dt.datetime.now(dt.UTC)
    for id in ids:
        entity = await store.read_by_id(id)
        point = reading_point(entity)
        if point.kind not in ("Number", "Bool", "Str"):
            raise CliError(
                f"@{point.id} is of kind {point.kind}: only Number, Bool and Str are plotted"
            )
        span = parse_range(range, point.zone, now)
        if point.kind == "Number":
            items = await _corners(store, id, span)
        else:
            items = await store.his_read(id, span)
        end = min(span.end, now).timestamp()
        out.append(Series.of(point, dis_of(entity) or f"@{point.id}", items, end))
    return out


async def _corners(store: StorageAdapter, id: str, span: Span) -> list[HisItem]:
    """Return the items of a point, or of many the least and the greatest of each interval."""
    items = await store.his_read(id, span, limit=4 * _CORNERS)
    if len(items) < 4 * _CORNERS:
        return items
    summary = await store.his_summary(id)
    first, last = items[0]["ts"], min(summary["hisEnd"], span.end)
    seconds = max((last - first).total_seconds() / _CORNERS, 1)
    interval = next((text for size, text in _INTERVALS if size >= seconds), "1mo")
    low, high = [
        (await store.his_rollup(id, Span(first, span.end), interval, fold))[id]
        for fold in ("min", "max")
    ]
    out: list[HisItem] = []
    for one, other, following in zip(low, high, [*low[1:], None], strict=True):
        half = (following["ts"] - one["ts"]) / 2 if following else dt.timedelta(seconds=1)
        out += [
            one,
            {"ts": other["ts"] + min(half, dt.timedelta(seconds=seconds)), "val": other["val"]},
        ]
    return out


_INTERVALS = (
    (1, "1sec"), (10, "10sec"), (60, "1min"), (300, "5min"), (900, "15min"), (1_800, "30min"),
    (3_600, "1hr"), (4 * 3_600, "4hr"), (86_400, "1day"), (7 * 86_400, "1wk"),
)  # fmt: skip


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
command(
    group,
    "import",
    examples=(
        "his import march.csv april.csv",
        "his import - < log.csv",
        "his import log.csv --map T1=demo.vav-1-1.zone-temp",
        "his import temp.parquet --id demo.vav-1-1.zone-temp",
    ),
)(import_)
command(
    group,
    "export",
    examples=(
        "his export demo.elec-main.power 2024-03-01,2024-03-31 > march.csv",
        "his export demo.elec-main.power demo.ahu-1.fan-status -o all.parquet",
    ),
)(export)
command(
    group,
    "plot",
    examples=(
        "his plot demo.elec-main.power",
        "his plot demo.ahu-1.fan-status demo.ahu-1.discharge-temp yesterday",
        "his plot demo.elec-main.power --days 7 --png week.png",
    ),
)(plot)
