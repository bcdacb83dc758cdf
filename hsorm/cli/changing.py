"""`hsorm commit` and `write`: changing entities and the priority arrays of points."""

from __future__ import annotations

import datetime as dt
import getpass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hsorm.cli._command import command
from hsorm.cli._output import JsonOption, grid_of, write_grid
from hsorm.cli._session import CliError, Session, UsageError
from hsorm.errors import ConflictError, EntityExistsError
from hsorm.kinds import REMOVE, Entity

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hsorm.ops.commits import Committed, Diff

__all__ = ["add_to"]


# ---- commit -------------------------------------------------------------------------------------


async def commit(
    session: Session,
    file: Annotated[
        Path, typer.Argument(metavar="FILE", help="JSON, Zinc or Trio; - is standard input.")
    ],
    json: JsonOption = False,
) -> None:
    """Make the changes of a file, all or none.

    The file has a dict for each: op (add, update or remove), id, changes (a dict of tags; Remove
    deletes one), and for an update or a removal the mod of the entity that it is based on, or force
    (true or a marker) to make it whatever is stored. With transient the changes are of live tags.
    """
    from hsorm.cli._diffs import read_diffs
    from hsorm.cli._files import read_bytes

    name = "standard input" if str(file) == "-" else str(file)
    diffs = read_diffs(read_bytes(file), name)
    async with session.storage() as store:
        try:
            done = await store.commit(diffs)
        except EntityExistsError:
            raise
        except ConflictError as exc:
            raise CliError(_both_sides(exc, diffs)) from exc
    if json:
        rows = [_told(diff, one) for diff, one in zip(diffs, done, strict=True)]
        write_grid(session, grid_of(rows, ["op", "id", "mod", "old", "new"]), "json")
        return
    for diff, one in zip(diffs, done, strict=True):
        _say(session, diff, one)


def _both_sides(exc: ConflictError, diffs: Sequence[Diff]) -> str:
    """Say what is stored and what was to be stored, tag by tag."""
    from hsorm.cli._values import text_of

    lines = [f"{exc}; nothing was committed"]
    stored = exc.current or {}
    diff = next((diff for diff in diffs if diff.id is not None and diff.id.val == exc.id), None)
    changes = {} if diff is None else diff.changes
    for tag in sorted(changes):
        theirs = text_of(stored[tag]) if tag in stored else "(none)"
        ours = "(none)" if changes[tag] is REMOVE else text_of(changes[tag])
        lines.append(f"  {tag}: stored {theirs}, yours {ours}")
    if diff is not None and diff.op == "remove":
        shown = ", ".join(f"{tag}: {text_of(stored[tag])}" for tag in sorted(stored))
        lines.append(f"  stored {shown}")
        lines.append("  yours a removal")
    return "\n".join(lines)


def _id_of(one: Committed) -> Any:
    return (one.new or one.old or {}).get("id")


def _told(diff: Diff, one: Committed) -> Entity:
    row: dict[str, Any] = {"op": diff.op, "id": _id_of(one), "mod": one.mod}
    row |= {"old": one.old, "new": one.new}
    return {name: value for name, value in row.items() if value is not None}


def _say(session: Session, diff: Diff, one: Committed) -> None:
    from hsorm.cli._values import text_of

    verb = {"add": "Added", "update": "Updated", "remove": "Removed"}[diff.op]
    if diff.op == "update" and one.old is not None and one.new is not None:
        if "trash" in one.new and "trash" not in one.old:
            verb = "Moved to the trash"
        elif "trash" in one.old and "trash" not in one.new:
            verb = "Restored"
    names = ", ".join(sorted(diff.changes)) if diff.op == "update" else ""
    what = f": {names}" if names else ""
    session.say(f"{verb} {text_of(_id_of(one))}{what}.")


# ---- write --------------------------------------------------------------------------------------


async def write(
    session: Session,
    id: Annotated[str, typer.Argument(metavar="ID", help="The point, with or without @.")],
    level: Annotated[
        int | None,
        typer.Argument(metavar="LEVEL", min=1, max=17, help="1 to 17; none only shows the array."),
    ] = None,
    value: Annotated[
        str | None,
        typer.Argument(
            metavar="VALUE",
            help="In Zinc: 72.5°F, 72.5, true, '\"text\"'; null or auto releases the level.",
        ),
    ] = None,
    who: Annotated[
        str | None,
        typer.Option("--who", metavar="NAME", help="Who writes; else your login name."),
    ] = None,
    lasting: Annotated[
        str | None,
        typer.Option(
            "--for", metavar="DURATION", help="Release level 8 by itself after 90s, 5min, 2hr…"
        ),
    ] = None,
    json: JsonOption = False,
) -> None:
    """Write a level of a point's priority array, or show the array."""
    from hsorm.cli._typed import typed_duration, typed_value

    duration = typed_duration("--for", lasting)
    if level is None:
        if who is not None or duration is not None:
            raise UsageError("--who and --for belong to a write: write ID LEVEL VALUE")
        async with session.storage() as store:
            rows = await store.point_array(id)
    elif value is None:
        raise UsageError(f"level {level} of what? Give a value too, or null to release the level")
    else:
        if duration is not None and level != 8:
            raise UsageError("--for: only level 8 is released by itself")
        val = None if value in ("null", "auto") else typed_value(value)
        who = _login_name() if who is None else who
        async with session.storage() as store:
            rows = await store.point_write(id, level, val, who, duration)
    if json:
        write_grid(
            session, grid_of(rows, ["level", "levelDis", "val", "valDis", "who", "expires"]), "json"
        )
    else:
        _show_array(session, rows)


def _login_name() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError, ImportError):
        raise UsageError("you have no login name: say who writes with --who NAME") from None


def _level(row: Entity) -> str:
    """Return the display of a level; that of 17 is `def` in the standard, which few would know."""
    return "17 (default)" if row["levelDis"] == "def" else str(row["levelDis"])


def _show_array(session: Session, rows: Sequence[Entity]) -> None:
    from rich.text import Text

    from hsorm.cli._table import plain_table
    from hsorm.cli._values import clean, text_of

    table = plain_table(session.out, ["level", "value", "who", "expires"])
    wins = next((row for row in rows if "val" in row), None)
    for row in rows:
        expires = row.get("expires")
        left = "" if expires is None else f"in {dt.timedelta(seconds=max(round(expires.val), 0))}"
        shown = (_level(row), row.get("valDis", ""), row.get("who", ""), left)
        table.add_row(*(Text(clean(text)) for text in shown), style="bold" if row is wins else None)
    session.show(table)
    if wins is None:
        session.say("No level holds a value.", style="dim")
    else:
        session.say(f"In effect: {text_of(wins['val'])}, from level {_level(wins)}.", style="dim")


def add_to(app: typer.Typer) -> None:
    """Add the commands to an application."""
    command(
        app,
        "write",
        rich_help_panel="Live data",
        context_settings={"ignore_unknown_options": True},  # -5 is a value
        examples=(
            "write demo.vav-1-1.damper-cmd",
            "write demo.vav-1-1.damper-cmd 8 50% --for 2hr",
            "write demo.ahu-1.fan-cmd 8 null",
        ),
    )(write)
    command(
        app,
        "commit",
        rich_help_panel="Entities",
        examples=("commit changes.json", "commit - < changes.trio"),
    )(commit)
