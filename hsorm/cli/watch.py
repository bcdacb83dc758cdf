"""`hsorm watch`: what changes, as it changes."""

from __future__ import annotations

import asyncio
import datetime as dt
import sys
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from contextlib import aclosing, asynccontextmanager
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hsorm.cli._command import command
from hsorm.cli._session import Session, UsageError
from hsorm.cli.entities import check_filter, chosen_columns
from hsorm.codecs import hayson
from hsorm.kinds import MARKER, Entity, equal

if TYPE_CHECKING:
    from rich.console import RenderableType

    from hsorm.storage.protocol import StorageAdapter, WatchRows

__all__ = ["add_to"]


async def watch(
    session: Session,
    what: Annotated[
        list[str], typer.Argument(metavar="FILTER|@ID", help="A filter, or ids that begin with @.")
    ],
    cols: Annotated[
        str | None,
        typer.Option(
            "--cols", metavar="A,B,C", help="These tags, in this order.", show_default=False
        ),
    ] = None,
    lasting: Annotated[
        str | None,
        typer.Option("--for", metavar="DURATION", help="End after 90s, 5min, 2hr…"),
    ] = None,
    json: Annotated[
        bool, typer.Option("--json", help="One Hayson object a line.", rich_help_panel="Output")
    ] = False,
) -> None:
    """Watch entities: a table that changes with them, until Ctrl-C.

    Without a terminal, or with --json: a line for each entity as it is, then one for each change.
    """
    from hsorm.cli._typed import typed_duration

    _check(what)
    names = chosen_columns(cols)
    duration = typed_duration("--for", lasting)
    async with session.storage() as store, _opened(store, what) as first:
        for id, row in zip(what, first, strict=False):
            if not row:
                session.err.print(f"{id} does not exist yet", style="dim", soft_wrap=True)
        follow = _follow(store, first, duration)
        async with aclosing(follow):
            if json or not session.out.is_terminal:
                await _print_lines(follow, _json_lines if json else _Lines(names))
            else:
                await _show_table(session, follow, names)


def _check(what: Sequence[str]) -> None:
    """Refuse what cannot be watched before any storage is opened."""
    if any(text.startswith("@") for text in what):
        for text in what:
            if not text.startswith("@"):
                raise UsageError(f"{text!r} among ids: each begins with @; a filter stands alone")
    elif len(what) > 1:
        raise UsageError("one filter, in quotes, or ids that begin with @: @a @b")
    else:
        check_filter(what[0])


@asynccontextmanager
async def _opened(store: StorageAdapter, what: Sequence[str]) -> AsyncIterator[WatchRows]:
    """Open a watch, and close it however the command ends."""
    if what[0].startswith("@"):
        rows = await store.watch_sub(None, what, dis="hsorm watch")
    else:
        rows = await store.watch_filter(what[0], dis="hsorm watch")
    try:
        yield rows
    finally:
        await store.watch_unsub(rows.watch_id, (), close=True)


async def _follow(
    store: StorageAdapter, first: WatchRows, duration: dt.timedelta | None
) -> AsyncGenerator[WatchRows, None]:
    """Yield what a watch reports, its first rows to begin with, for some time."""
    yield first
    ends = (
        None if duration is None else asyncio.get_running_loop().time() + duration.total_seconds()
    )
    async with aclosing(store.watch_stream(first.watch_id)) as stream:  # type: ignore[type-var]  # a generator
        while True:
            try:
                async with asyncio.timeout_at(ends) as scope:
                    rows = await anext(stream)
            except StopAsyncIteration:
                return
            except TimeoutError:
                if not scope.expired():
                    raise
                return
            yield rows


# ---- lines --------------------------------------------------------------------------------------


async def _print_lines(
    follow: AsyncIterator[WatchRows], lines: Callable[[WatchRows], list[str]]
) -> None:
    async for rows in follow:
        for line in lines(rows):
            sys.stdout.write(f"{line}\n")
        sys.stdout.flush()


def _json_lines(rows: WatchRows) -> list[str]:
    gone: list[dict[str, Any]] = [{"id": id, "removed": MARKER} for id in rows.removed]
    return [hayson.dumps(row) for row in (*(row for row in rows if row), *gone)]


class _Lines:
    """Changes as lines: the time, the id, and the columns asked for, else what has changed."""

    def __init__(self, cols: Sequence[str] | None) -> None:
        self._cols = cols
        self._known: dict[str, Entity] = {}

    def __call__(self, rows: WatchRows) -> list[str]:
        time = f"{dt.datetime.now().astimezone():%H:%M:%S}"
        lines = [f"{time}  @{row['id'].val}  {self._text(row)}".rstrip() for row in rows if row]
        for id in rows.removed:
            self._known.pop(id.val, None)
            lines.append(f"{time}  @{id.val}  removed")
        return lines

    def _text(self, row: Entity) -> str:
        from hsorm.cli._values import text_of
        from hsorm.ops.display import dis_of

        before = self._known.get(row["id"].val)
        self._known[row["id"].val] = row
        if self._cols is not None:
            shown = {**row, "dis": dis_of(row)}
            return "  ".join(f"{name}: {text_of(shown.get(name))}" for name in self._cols)
        if before is None:
            return text_of(dis_of(row))
        return "  ".join(_differences(before, row)) or "history"


def _differences(before: Entity, after: Entity) -> list[str]:
    from hsorm.cli._values import text_of

    changed = []
    for name in sorted({*before, *after} - {"id", "mod"}):
        if name not in after:
            changed.append(f"-{name}")
        elif name not in before or not equal(before[name], after[name]):
            changed.append(f"{name}: {text_of(after[name])}")
    return changed


# ---- a table ------------------------------------------------------------------------------------


async def _show_table(
    session: Session, follow: AsyncIterator[WatchRows], cols: Sequence[str] | None
) -> None:
    from rich.live import Live

    there: dict[str, Entity] = {}
    with Live(console=session.out, auto_refresh=False) as live:
        async for rows in follow:
            there.update((row["id"].val, row) for row in rows if row)
            for id in rows.removed:
                there.pop(id.val, None)
            live.update(_board(session, there, cols), refresh=True)


def _board(
    session: Session, there: dict[str, Entity], cols: Sequence[str] | None
) -> RenderableType:
    """Return the table of what is watched, as much of it as the terminal is high."""
    from rich.console import Group
    from rich.text import Text

    from hsorm.cli._table import entity_table

    time = f"{dt.datetime.now().astimezone():%H:%M:%S}"
    count = f"{len(there):,} {'entity' if len(there) == 1 else 'entities'}"
    if not there:
        return Text(f"{count} · {time} · Ctrl-C ends", style="dim")
    shown = [there[id] for id in sorted(there)][: max(session.out.height - 4, 1)]
    cut = f"The first {len(shown):,} of {count}" if len(shown) < len(there) else count
    table, _ = entity_table(session.out, shown, cols)
    return Group(table, Text(f"{cut} · {time} · Ctrl-C ends", style="dim"))


def add_to(app: typer.Typer) -> None:
    """Add the command to an application."""
    command(
        app,
        "watch",
        rich_help_panel="Live data",
        examples=(
            "watch 'point and equipRef==@demo.ahu-1' --cols id,curVal,curStatus",
            "watch @demo.ahu-1.fan-cmd @demo.ahu-1.fan-status",
            "watch 'curStatus == \"fault\"' --json --for 1hr",
        ),
    )(watch)
