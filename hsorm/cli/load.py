"""`hsorm load`: files of entities into a storage, all or nothing."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from hsorm.cli._command import command
from hsorm.cli._session import CliError, Session
from hsorm.errors import InvalidTagError

if TYPE_CHECKING:
    from hsorm.cli._files import ParsedFile
    from hsorm.kinds import Entity
    from hsorm.storage.protocol import StorageAdapter

__all__ = ["add_to"]


async def load(
    session: Session,
    files: Annotated[
        list[Path], typer.Argument(metavar="FILE", help="Files to load; - is standard input.")
    ],
    format: Annotated[
        Literal["json", "zinc", "trio"] | None,
        typer.Option(
            "--format", "-f", help="Their format; else by extension or content.", show_default=False
        ),
    ] = None,
) -> None:
    """Load JSON, Zinc or Trio files.

    Entities are added or replaced by id. All files are read first: when one of them is malformed,
    nothing is loaded. A storage that is not there yet is made.
    """
    from hsorm.cli._files import parse_files

    started = time.perf_counter()
    parsed = parse_files(session, files, format)
    async with session.storage(make=True) as store:
        count = await _store(session, store, parsed)
    _say(session, parsed, count, time.perf_counter() - started)


async def _store(session: Session, store: StorageAdapter, parsed: list[ParsedFile]) -> int:
    from hsorm.cli._files import progress_on

    total = sum(len(file.entities) for file in parsed)
    where = ""  # the file of the entity that the storage is looking at
    with progress_on(session) as progress:
        task = progress.add_task("Checking", total=total, unit="entities")

        def entities() -> Iterator[Entity]:
            nonlocal where
            for file in parsed:
                where = file.name
                for entity in file.entities:
                    yield entity
                    progress.advance(task)
            progress.update(task, description="Storing")

        try:
            return await store.load_entities(entities())
        except InvalidTagError as exc:
            raise CliError(f"{where}: {exc}; nothing was loaded") from exc


def _say(session: Session, parsed: list[ParsedFile], count: int, seconds: float) -> None:
    found = sum(len(file.entities) for file in parsed)
    files = parsed[0].name if len(parsed) == 1 else f"{len(parsed)} files"
    session.say(
        f"Loaded {count:,} {'entity' if count == 1 else 'entities'} from {files} "
        f"in {seconds:.2f} s into {session.shown_url}"
    )
    if found > count:
        session.say(f"{found - count:,} came more than once: of each id the last one counts.")
    if session.url.startswith("memory:"):
        session.say("memory:// forgets them now: query files with `hsorm read --from FILE FILTER`.")


def add_to(app: typer.Typer) -> None:
    """Add the command to an application."""
    examples = ("load plant.json", "load *.trio -u postgresql://me@host/db", "load - < plant.zinc")
    command(app, "load", rich_help_panel="Entities", examples=examples)(load)
