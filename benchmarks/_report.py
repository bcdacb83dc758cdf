"""Tables: on the terminal, and between the markers of `docs/benchmarks.md`."""

from __future__ import annotations

import datetime as dt
import os
import platform
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table

__all__ = ["Report", "show", "write"]

_DOCS = Path(__file__).resolve().parents[1] / "docs" / "benchmarks.md"


@dataclass(frozen=True, slots=True)
class Report:
    """One table.

    Attributes:
        name: The name of its markers in the docs.
        title: What is measured.
        versions: What it ran on.
        columns: The heads; the first column is text, the others figures.
        rows: The cells.
    """

    name: str
    title: str
    versions: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]


def show(report: Report, console: Console) -> None:
    """Print a table on the terminal."""
    table = Table(title=report.title, caption=report.versions)
    for place, name in enumerate(report.columns):
        table.add_column(name, justify="right" if place else "left")
    for row in report.rows:
        table.add_row(*row)
    console.print(table)


def write(report: Report, command: str) -> None:
    """Replace what stands between the report's markers in the docs.

    Raises:
        ValueError: The docs have no such markers.
    """
    text = _DOCS.read_text()
    start, end = f"<!-- {report.name} -->\n", f"<!-- /{report.name} -->"
    pattern = re.compile(re.escape(start) + ".*?" + re.escape(end), re.DOTALL)
    if not pattern.search(text):
        raise ValueError(f"{_DOCS}: no markers {start.strip()} … {end}")
    block = f"{start}{_markdown(report, command)}\n{end}"
    _DOCS.write_text(pattern.sub(lambda _: block, text))


def _markdown(report: Report, command: str) -> str:
    lines = [report.columns, ["---", *["---:"] * (len(report.columns) - 1)], *report.rows]
    table = "\n".join(f"| {' | '.join(map(_cell, line))} |" for line in lines)
    today = dt.datetime.now(dt.UTC).date()
    return (
        f"{report.title}.\n\n{table}\n\n"
        f"*{today}, `{command}`; {report.versions}; {os.cpu_count()} cores, "
        f"{platform.system()} {platform.machine()}, Python {platform.python_version()}. "
        "Absolute times are of this one run, on a machine with other work to do.*"
    )


def _cell(text: str) -> str:
    return text.replace("|", "\\|")
