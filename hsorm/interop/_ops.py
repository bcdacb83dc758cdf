"""The ops of a Haystack server over a storage: a grid in, a grid out; no HTTP is known here.

Source: docHaystack, Ops; the rules R2, R3, H10–H12, H20, W12, W13, P1–P13, N3.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, TypeVar

from hsorm.codecs import zinc
from hsorm.errors import (
    HsormError,
    MissingExtraError,
    RequestError,
    SchemaOutdatedError,
    StorageError,
    StorageUnavailableError,
    StorageUrlError,
    UnknownEntityError,
)
from hsorm.his import HisPoint, Span, his_grid, one_zone, reading_point, span_of
from hsorm.interop._formats import FORMATS
from hsorm.kinds import MARKER, Entity, Grid, GridCol, Kind, Number, Ref, Symbol, kind_name
from hsorm.storage.protocol import StorageAdapter, WatchRows

__all__ = [
    "OPS",
    "WRITING_OPS",
    "Call",
    "Op",
    "Server",
    "error_grid",
    "is_internal",
    "public_text",
]

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Server:
    """What ops know of the server that they are part of.

    Attributes:
        store: Its storage.
        name: What it calls itself.
        booted: Since when it has been there.
        max_rows: How many rows an answer has at the most.
        ops: The ops that it has, by name.
    """

    store: StorageAdapter
    name: str
    booted: dt.datetime
    max_rows: int
    ops: Mapping[str, Op]


@dataclass(frozen=True, slots=True)
class Call:
    """One call of an op.

    Attributes:
        op: The op's name.
        server: Where it is.
        request: The grid that came with it.
        who: Who calls, for people; empty where the host does not say.
    """

    op: str
    server: Server
    request: Grid
    who: str

    @property
    def store(self) -> StorageAdapter:
        """The storage of the server."""
        return self.server.store

    def wrong(self, reason: str) -> RequestError:
        """Return the error of a request that the op does not take."""
        return RequestError(self.op, reason)


@dataclass(frozen=True, slots=True)
class Op:
    """An op.

    Attributes:
        run: What it does.
        summary: What it is for.
        reads: Whether it has no side effects, so that GET may call it.
    """

    run: Callable[[Call], Awaitable[Grid]]
    summary: str
    reads: bool = False


# ---- what requests have in them -----------------------------------------------------------------


def _first(call: Call, kind: type[T], row: Mapping[str, Kind], name: str) -> T | None:
    """Return a cell of a row, None where it is empty."""
    val = row.get(name)
    if val is None or isinstance(val, kind):
        return val
    wanted = "Str" if kind is str else kind.__name__
    raise call.wrong(f"{name} is a {kind_name(val)}, send a {wanted}")


def _one_row(call: Call) -> Mapping[str, Kind]:
    if len(call.request.rows) != 1:
        raise call.wrong(f"the request has {len(call.request.rows)} rows; send one")
    return call.request.rows[0]


def _needed(call: Call, kind: type[T], row: Mapping[str, Kind], name: str, lack: str) -> T:
    """Return a cell of a row; `lack` says what is wrong where it is empty."""
    val = _first(call, kind, row, name)
    if val is None:
        raise call.wrong(lack)
    return val


def _id(call: Call, row: Mapping[str, Kind]) -> Ref:
    return _needed(call, Ref, row, "id", "a row has no id: send a Ref")


def _ids(call: Call) -> list[Ref]:
    return [_id(call, row) for row in call.request.rows]


def _asked(call: Call) -> list[Ref]:
    """Return the ids that the answer has a row for, each."""
    ids = _ids(call)
    _checked_rows(call, ids, "send fewer ids")
    return ids


def _checked_rows(call: Call, rows: list[Any], what: str) -> None:
    """Refuse to answer with more rows than the server gives: never with a part of them."""
    most = call.server.max_rows
    if len(rows) > most:
        raise call.wrong(f"the answer would have more than {most:,} rows, {what}")


# ---- about --------------------------------------------------------------------------------------


async def _about(call: Call) -> Grid:
    entity = await call.store.about()
    entity.pop("url", None)  # where the database is concerns nobody outside
    entity |= {"serverName": call.server.name, "serverBootTime": call.server.booted, "tz": "UTC"}
    return Grid.of([entity])


async def _ops(call: Call) -> Grid:
    return Grid.of(_op_row(name, op) for name, op in sorted(call.server.ops.items()))


def _op_row(name: str, op: Op) -> dict[str, Kind]:
    row: dict[str, Kind] = {"def": Symbol(f"op:{name}"), "name": name, "doc": op.summary}
    return {**row, "noSideEffects": MARKER} if op.reads else row


async def _filetypes(call: Call) -> Grid:
    return Grid.of(
        {
            "def": Symbol(f"filetype:{format.name}"),
            "mime": format.content_type.partition("; ")[0],
            "receive": MARKER,
            **({"send": MARKER} if format.send else {}),
        }
        for format in FORMATS
    )


async def _close(call: Call) -> Grid:
    return Grid()


# ---- entities -----------------------------------------------------------------------------------


async def _read(call: Call) -> Grid:
    """Read by ids or by filter (R3)."""
    rows = call.request.rows
    if rows and "filter" in rows[0]:
        return await _read_filter(call, _one_row(call))
    if any(col.name == "id" for col in call.request.cols) and rows:
        return _aligned(await call.store.read_by_ids(_asked(call)))
    raise call.wrong("the request has neither filter nor id")


def _aligned(found: list[Entity | None]) -> Grid:
    """Return a row an id, an empty one for what is not there; none where nothing is (OC 10)."""
    if not any(found):
        return Grid(cols=(GridCol("id"),))
    return Grid.of(entity or {} for entity in found)


async def _read_filter(call: Call, row: Mapping[str, Kind]) -> Grid:
    filter = _first(call, str, row, "filter") or ""
    limit = _first(call, Number, row, "limit")
    most = call.server.max_rows + 1
    found = await call.store.read(
        filter,
        most if limit is None else _whole(call, limit, most),
        sort="dis" if "sort" in row else "id",
        search=_first(call, str, row, "search"),
    )
    _checked_rows(call, found, "narrow the filter or send a limit")
    return Grid.of(found)


def _whole(call: Call, limit: Number, most: int) -> int:
    if limit.val != limit.val:
        raise call.wrong("limit is NaN")
    return int(min(max(limit.val, 0), most))


async def _nav(call: Call) -> Grid:
    nav_id = call.request.rows[0].get("navId") if call.request.rows else None
    if nav_id is not None and not isinstance(nav_id, Ref | str):
        raise call.wrong(f"navId is a {kind_name(nav_id)}, send a Ref, or none for the sites")
    found = await call.store.nav(nav_id or None)
    _checked_rows(call, found, "read by a filter with a limit")
    return Grid.of(found)


async def _load(call: Call) -> Grid:
    """Insert or replace the rows by id: not of the standard, for seeding."""
    count = await call.store.load_entities(call.request.rows)
    return Grid.of([{"count": Number(count)}])


# ---- history ------------------------------------------------------------------------------------


async def _his_read(call: Call) -> Grid:
    """Read one point (H10), or several where the meta has a `range` (H11)."""
    if "range" in call.request.meta:
        return await _his_read_batch(call)
    row = _one_row(call)
    id, range = _id(call, row), _range(call, row)
    entity = await call.store.read_by_id(id)
    point = reading_point(entity)
    span = span_of(range, point.zone, dt.datetime.now(dt.UTC))
    items = await call.store.his_read(entity["id"], span, limit=call.server.max_rows + 1)
    _checked_rows(call, items, "ask for a shorter range")
    meta = {"id": entity["id"], **_bounds(span, point.zone)}
    return Grid(meta, (GridCol("ts"), GridCol("val")), _frozen(items))


def _bounds(span: Span, zone: dt.tzinfo) -> dict[str, Kind]:
    """Return what the meta says of a span, in a zone."""
    return {"hisStart": _in_zone(span.start, zone), "hisEnd": _in_zone(span.end, zone)}


def _in_zone(ts: dt.datetime, zone: dt.tzinfo) -> dt.datetime:
    try:
        return ts.astimezone(zone)
    except OverflowError:  # the first and the last day of datetime: the instant, at least
        return ts


def _frozen(rows: Any) -> tuple[Mapping[str, Kind], ...]:
    return tuple(rows)


async def _his_read_batch(call: Call) -> Grid:
    ids = _ids(call)
    if len(set(ids)) < len(ids):
        raise call.wrong("an id comes twice")
    if not ids:
        raise call.wrong("the request has no rows: send an id in each")
    entities = await call.store.read_by_ids(ids)
    points = [_point(id, entity) for id, entity in zip(ids, entities, strict=True)]
    tz = _first(call, str, call.request.meta, "tz")
    try:
        zone = one_zone(points, tz)
    except LookupError as exc:
        raise call.wrong(str(exc)) from None
    span = span_of(_range(call, call.request.meta), zone, dt.datetime.now(dt.UTC))
    named = [entity["id"] for entity in entities if entity is not None]
    # As many of each point, so that what is kept in memory has a bound, too.
    share = call.server.max_rows // len(ids)
    found = await call.store.his_read_batch(named, span, tz=tz, limit=share + 1)
    if any(len(items) > share for items in found.values()):
        raise call.wrong(
            f"a point has more than {share:,} items: ask for fewer points or a shorter range"
        )
    grid = his_grid(found)
    return Grid(_bounds(span, zone), grid.cols, grid.rows)


def _point(id: Ref, entity: Entity | None) -> HisPoint:
    if entity is None:
        raise UnknownEntityError(id.val)
    return reading_point(entity)


def _range(call: Call, tags: Mapping[str, Kind]) -> str:
    """Return a range as text; a Date or a DateTime is one, too."""
    val = tags.get("range")
    if isinstance(val, str):
        return val
    if isinstance(val, dt.date):
        return zinc.dumps_value(val)
    raise call.wrong("the request has no range: today, yesterday, a date, two dates or dateTimes")


_Items = list[dict[str, Any]]


async def _his_write(call: Call) -> Grid:
    """Write one point, whose id the meta has, or several, whose ids the columns have (H20)."""
    id = _first(call, Ref, call.request.meta, "id")
    if id is not None:
        await call.store.his_write(id, _items(call, {"val": id})[id])
    else:
        await call.store.his_write_batch(_items(call, _columns(call)))
    return Grid({"ok": MARKER})


def _columns(call: Call) -> dict[str, Ref]:
    """Return which point each column is of."""
    cols = call.request.cols
    if len(cols) < 2 or cols[0].name != "ts":
        raise call.wrong(
            "send the id in the meta, or ts as the first column and a column for each point"
        )
    found: dict[str, Ref] = {}
    seen: set[Ref] = set()
    for col in cols[1:]:
        id = _needed(call, Ref, col.meta, "id", f"the column {col.name} has no id")
        if id in seen or col.name in found:
            raise call.wrong(f"two columns of {id}" if id in seen else f"two columns {col.name}")
        seen.add(id)
        found[col.name] = id
    return found


def _items(call: Call, columns: Mapping[str, Ref]) -> dict[Ref, _Items]:
    """Return the items of each point; cells without a value are none."""
    names = {col.name for col in call.request.cols}
    missing = next((name for name in columns if name not in names), None)
    if missing is not None and call.request.rows:
        raise call.wrong(f"the request has no column {missing}")
    items: dict[Ref, _Items] = {id: [] for id in columns.values()}
    # Cell by cell of what is there: columns times rows can be far more than was sent.
    for number, row in enumerate(call.request.rows):
        ts = _ts(call, number, row)
        for name, val in row.items():
            if val is not None and name in columns:
                items[columns[name]].append({"ts": ts, "val": val})
    return items


def _ts(call: Call, number: int, row: Mapping[str, Kind]) -> dt.datetime:
    ts = row.get("ts")
    if ts is None:
        raise call.wrong(f"row {number} has no ts")
    if not isinstance(ts, dt.datetime):
        raise call.wrong(f"row {number}: ts is a {kind_name(ts)}, send a DateTime")
    return ts


# ---- writing points -----------------------------------------------------------------------------

_ARRAY: Final = ("level", "levelDis", "val", "valDis", "who", "expires")


async def _point_write(call: Call) -> Grid:
    """Write a level where the request has one, else read the array (W12, W13)."""
    row = _one_row(call)
    id = _id(call, row)
    level = _first(call, Number, row, "level")
    if level is None:
        return _array(await call.store.point_array(id))
    who = _first(call, str, row, "who") or call.who or "anonymous"
    # W11: that it came this way can be seen whoever says to have written it.
    who = f"Haystack.pointWrite | {who}"
    await call.store.point_write(id, level, row.get("val"), who, row.get("duration"))  # type: ignore[arg-type]  # the storage says what it is
    return Grid({"ok": MARKER})


def _array(rows: list[Entity]) -> Grid:
    top = next((row for row in rows if "val" in row), None)
    meta = {"writeVal": top["val"], "writeLevel": top["level"]} if top else {}
    cols = tuple(GridCol(name) for name in _ARRAY)
    return Grid(meta or {"writeLevel": Number(17)}, cols, _frozen(rows))


# ---- watches ------------------------------------------------------------------------------------


async def _watch_sub(call: Call) -> Grid:
    meta = call.request.meta
    ids = _asked(call)
    lease = _first(call, Number, meta, "lease")
    watch_id = _first(call, str, meta, "watchId")
    if watch_id is None:
        lack = "the meta has no watchDis, what the watch is for (nor a watchId to add to)"
        dis = _needed(call, str, meta, "watchDis", lack)
        rows = await call.store.watch_sub(None, ids, lease=lease, dis=dis)
    else:
        rows = await call.store.watch_sub(watch_id, ids, lease=lease, create=False)
    grid = Grid.of(rows, _watch_meta(rows))
    # A row an id, of nulls where there is none, and these need a column (P3).
    return grid if grid.cols else Grid(grid.meta, (GridCol("id"),), grid.rows)


def _watch_meta(rows: WatchRows) -> dict[str, Kind]:
    return {"watchId": rows.watch_id, "lease": Number(rows.lease.total_seconds(), "sec")}


async def _watch_unsub(call: Call) -> Grid:
    close = "close" in call.request.meta
    await call.store.watch_unsub(_watch_id(call), () if close else _ids(call), close=close)
    return Grid({"ok": MARKER})


async def _watch_poll(call: Call) -> Grid:
    meta = call.request.meta
    rows = await call.store.watch_poll(_watch_id(call), "refresh" in meta)
    shown: list[Mapping[str, Kind]] = list(rows)
    if "curValSub" in meta:  # P13
        wanted = ("id", "curVal", "curStatus")
        shown = [{name: row[name] for name in wanted if name in row} for row in rows]
    return Grid.of(shown, _watch_meta(rows))


def _watch_id(call: Call) -> str:
    return _needed(call, str, call.request.meta, "watchId", "the meta has no watchId")


# ---- all ----------------------------------------------------------------------------------------


async def _invoke_action(call: Call) -> Grid:
    raise call.wrong("this server keeps data and has no actions to invoke")


OPS: Final[Mapping[str, Op]] = {
    "about": Op(_about, "About the server", reads=True),
    "ops": Op(_ops, "The ops of the server", reads=True),
    "filetypes": Op(_filetypes, "The formats that the server reads and sends", reads=True),
    "close": Op(_close, "End the session"),
    "read": Op(_read, "Read entities by filter or by id", reads=True),
    "nav": Op(_nav, "Walk from sites to equips to points", reads=True),
    "hisRead": Op(_his_read, "Read the history of points", reads=True),
    "hisWrite": Op(_his_write, "Write the history of points"),
    "pointWrite": Op(_point_write, "Read or write the priority array of a point"),
    "watchSub": Op(_watch_sub, "Open a watch or add entities to it"),
    "watchUnsub": Op(_watch_unsub, "Take entities out of a watch or close it"),
    "watchPoll": Op(_watch_poll, "Ask what has changed in a watch"),
    "invokeAction": Op(_invoke_action, "Invoke an action: there are none"),
    "load": Op(_load, "Insert or replace entities"),
}
"""All ops by name; `load` is not of the standard."""

WRITING_OPS: Final = frozenset(("hisWrite", "pointWrite", "invokeAction", "load"))
"""The ops that may change what is stored; those of watches change only who is told what."""


# ---- errors -------------------------------------------------------------------------------------

_INTERNAL: Final = (
    MissingExtraError,
    SchemaOutdatedError,
    StorageError,
    StorageUnavailableError,
    StorageUrlError,
)


def is_internal(exc: HsormError) -> bool:
    """Tell whether an error's text is of the server's own database, and for its log."""
    return isinstance(exc, _INTERNAL)


def public_text(exc: HsormError) -> str:
    """Return what a client may read of an error."""
    if isinstance(exc, StorageUnavailableError):
        return "the server's database cannot be reached: try again later"
    return "the server's database has refused the call" if is_internal(exc) else str(exc)


def error_grid(exc: HsormError) -> Grid:
    """Return the answer to a call that failed: without a traceback, `errType` names the error."""
    # Text of a request, half of a surrogate pair too, comes back in errors.
    text = public_text(exc).encode(errors="replace").decode()
    return Grid({"err": MARKER, "dis": text, "errType": type(exc).__name__}, (GridCol("empty"),))
