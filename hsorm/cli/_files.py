"""Files of entities: reading them all before anything is stored, with progress."""

from __future__ import annotations

import io
import signal
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, NamedTuple

from hsorm.cli._session import Session, UsageError
from hsorm.codecs.files import detect_format, read_entities
from hsorm.kinds import Entity

if TYPE_CHECKING:
    from rich.progress import Progress

__all__ = ["ParsedFile", "opened", "parse_files", "progress_on", "read_bytes"]


class ParsedFile(NamedTuple):
    """A file and what is in it."""

    name: str
    entities: list[Entity]


@contextmanager
def progress_on(session: Session) -> Iterator[Progress]:
    """Show progress on standard error while there is some, where that is a terminal."""
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    with Progress(
        TextColumn("{task.description}"),
        BarColumn(bar_width=30),
        TextColumn("{task.completed:,.0f}/{task.total:,.0f} {task.fields[unit]}"),
        TimeElapsedColumn(),
        console=session.err,
        transient=True,
        disable=not session.err.is_terminal,
    ) as progress:
        yield progress


@contextmanager
def interrupted_at_once() -> Iterator[None]:
    """Let Ctrl-C end what is done without an await: asyncio's own handler waits for the next one.

    For our own Python alone: what is raised inside a driver may crash it.
    """
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def read_bytes(path: Path) -> bytes:
    """Return the bytes of a file, or of standard input for `-`."""
    with interrupted_at_once():
        return sys.stdin.buffer.read() if str(path) == "-" else path.read_bytes()


@contextmanager
def opened(path: Path) -> Iterator[BinaryIO]:
    """Open a file to be read, in which one can seek; `-` is all of standard input."""
    if str(path) == "-":
        yield io.BytesIO(read_bytes(path))
        return
    with path.open("rb") as file:
        yield file


def parse_files(session: Session, files: Iterable[Path], format: str | None) -> list[ParsedFile]:
    """Read the entities of several files.

    Raises:
        CodecError: One of them is malformed.
        OSError: One of them cannot be read.
    """
    files = list(files)
    if [str(path) for path in files].count("-") > 1:
        raise UsageError("standard input (-) can be read once only")
    out = []
    with interrupted_at_once(), progress_on(session) as progress:
        task = progress.add_task("Reading", total=len(files), unit="files")
        for path in files:
            name = "standard input" if str(path) == "-" else str(path)
            progress.update(task, description=f"Reading {name}")
            data = read_bytes(path)
            # Which version of JSON it is, the content says.
            exact = detect_format("-.json", data) if format == "json" else format
            out.append(ParsedFile(name, read_entities(data, name=name, format=exact)))
            progress.advance(task)
    return out
