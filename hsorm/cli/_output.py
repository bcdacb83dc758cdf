"""Answers for machines: grids as Hayson, Zinc, Trio or CSV."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from typing import Annotated, Any, Literal, TypeAlias

import typer

from hsorm.cli._session import Session, UsageError
from hsorm.codecs import hayson, trio, zinc
from hsorm.kinds import MARKER, Entity, Grid, GridCol, Ref

__all__ = [
    "CsvOption",
    "Format",
    "JsonOption",
    "TrioOption",
    "ZincOption",
    "chosen_format",
    "csv_text",
    "csv_value",
    "grid_of",
    "write_grid",
]

Format: TypeAlias = Literal["json", "zinc", "trio", "csv"]

_PANEL = "Output"
JsonOption: TypeAlias = Annotated[
    bool, typer.Option("--json", help="One Hayson grid.", rich_help_panel=_PANEL)
]
ZincOption: TypeAlias = Annotated[
    bool, typer.Option("--zinc", help="A Zinc grid.", rich_help_panel=_PANEL)
]
TrioOption: TypeAlias = Annotated[
    bool, typer.Option("--trio", help="Trio.", rich_help_panel=_PANEL)
]
CsvOption: TypeAlias = Annotated[
    bool, typer.Option("--csv", help="CSV with a header.", rich_help_panel=_PANEL)
]


def chosen_format(**asked: bool) -> Format | None:
    """Return the one format that was asked for, None for a table.

    Raises:
        UsageError: More than one was.
    """
    names: list[Any] = [name for name, wanted in asked.items() if wanted]
    if len(names) > 1:
        raise UsageError(f"--{names[0]} and --{names[1]}: choose one")
    return names[0] if names else None


def grid_of(rows: Sequence[Entity], cols: Sequence[str] | None) -> Grid:
    """Return entities as a grid, of all their tags or of some columns in the order given."""
    if cols is None:
        return Grid.of(rows)
    narrow = tuple({name: row[name] for name in cols if name in row} for row in rows)
    return Grid({}, tuple(GridCol(name) for name in cols), narrow)


def write_grid(session: Session, grid: Grid, format: Format) -> None:
    """Write a grid to standard output."""
    match format:
        case "json":
            session.write(hayson.dumps(grid, indent=2 if session.out.is_terminal else None))
        case "zinc":
            session.write(zinc.dumps(grid))
        case "trio":
            session.write(trio.dumps(grid.rows))
        case "csv":
            names = [col.name for col in grid.cols]
            rows = ([csv_value(row.get(name)) for name in names] for row in grid.rows)
            session.write(csv_text(names, rows))


def csv_text(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a table as CSV, with lines that end in LF."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(header)
    writer.writerows(rows)
    return out.getvalue()


def csv_value(value: Any) -> str:
    """Return one value as a cell: `✓`, `@id`, true, false, text as it is, and Zinc for the rest."""
    if value is None:
        return ""
    if value is MARKER:
        return "✓"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, Ref):
        return str(value)
    if isinstance(value, str):
        return value
    if isinstance(value, Mapping):
        return hayson.dumps(value)
    return zinc.dumps_value(value)
