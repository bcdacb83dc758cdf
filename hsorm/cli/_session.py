"""What a command works with: where it prints, and which storage it opens."""

from __future__ import annotations

import os
import sys
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from hsorm.errors import SchemaOutdatedError

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

    from hsorm.storage.protocol import StorageAdapter

__all__ = ["CliError", "Session", "UsageError", "console_for", "is_missing_file"]

_PLAIN_WIDTH = 120


class CliError(Exception):
    """What ends a command: one clear text for people, and the exit code."""

    code = 1


class UsageError(CliError):
    """A command that was called in a way that it cannot be."""

    code = 2


def console_for(stream: TextIO) -> Console:
    """Return a console on a stream: as wide as the terminal, 120 columns where there is none."""
    from rich.console import Console

    class Quiet(Console):
        def on_broken_pipe(self) -> None:
            raise BrokenPipeError  # rich would exit with 1; that nobody reads on is no error

    plain = not stream.isatty() and not os.environ.get("COLUMNS")
    return Quiet(
        file=stream,
        highlight=False,
        markup=False,
        emoji=False,
        width=_PLAIN_WIDTH if plain else None,
    )


@dataclass
class Session:
    """One run of a command.

    Attributes:
        given_url: The URL of the command line, None where there is none.
        debug: Whether errors show their traceback.
    """

    given_url: str | None = None
    debug: bool = False
    exit_code: int = field(default=0, init=False)

    @cached_property
    def url(self) -> str:
        """The storage's URL: from the command line, HSORM_URL, or the default file."""
        from hsorm.storage.factory import DEFAULT_URL

        return self.given_url or os.environ.get("HSORM_URL") or DEFAULT_URL

    @property
    def shown_url(self) -> str:
        """The URL as it may be shown: without driver and password."""
        from sqlalchemy.exc import ArgumentError

        from hsorm.errors import StorageUrlError
        from hsorm.redis_ops import urls
        from hsorm.sql.urls import safe_url, target_of

        try:
            if urls.is_redis(self.url):
                found = urls.target_of(self.url)
                return urls.safe_url(found.url, found.prefix or urls.DEFAULT_PREFIX)
            return safe_url(**target_of(self.url)._asdict())
        except (ArgumentError, StorageUrlError):
            return self.url

    @cached_property
    def out(self) -> Console:
        """Where answers go."""
        return console_for(sys.stdout)

    @cached_property
    def err(self) -> Console:
        """Where progress and errors go."""
        return console_for(sys.stderr)

    def say(self, *renderables: RenderableType, style: str | None = None) -> None:
        """Print to standard output; text is not wrapped where there is no terminal."""
        self.out.print(*renderables, style=style, soft_wrap=not self.out.is_terminal)

    def show(self, renderable: RenderableType) -> None:
        """Print a table or a tree; without a terminal no line ends in blanks."""
        if self.out.is_terminal:
            self.out.print(renderable)
            return
        with self.out.capture() as captured:
            self.out.print(renderable)
        for line in captured.get().splitlines():
            self.out.print(line.rstrip(), soft_wrap=True)

    def write(self, text: str) -> None:
        """Write text as it is, for machines."""
        sys.stdout.write(text if text.endswith("\n") else f"{text}\n")

    @asynccontextmanager
    async def storage(self, *, make: bool = False) -> AsyncIterator[StorageAdapter]:
        """Open the storage.

        Args:
            make: Whether a storage that is not there is made. Tables that are behind are never
                changed on the way: that is `hsorm db upgrade`.

        Raises:
            CliError: It is a file that does not exist, or memory, which begins empty.
        """
        if not make:
            self._must_exist()
        store = await self._connected(make=make)
        try:
            yield store
        finally:
            await store.close()

    async def _connected(self, *, make: bool) -> StorageAdapter:
        from hsorm.storage.factory import open_storage

        store = open_storage(self.url, create="never")
        try:
            await store.connect()
        except SchemaOutdatedError as exc:
            await store.close()
            if not make or exc.found is not None:
                raise
            return await open_storage(self.url, create="auto").__aenter__()
        except BaseException:
            await store.close()
            raise
        return store

    @asynccontextmanager
    async def storage_or(self, files: Iterable[Path]) -> AsyncIterator[StorageAdapter]:
        """Open the storage, or one in memory that holds the entities of some files."""
        files = list(files)
        if not files:
            async with self.storage() as store:
                yield store
            return
        if self.given_url is not None and not self.given_url.startswith("memory:"):
            raise UsageError("--from queries files in memory: leave out --url")
        from hsorm.cli._files import parse_files
        from hsorm.storage.memory import InMemoryAdapter

        entities = [entity for file in parse_files(self, files, None) for entity in file.entities]
        async with InMemoryAdapter(entities) as memory:
            yield memory

    def _must_exist(self) -> None:
        path = sqlite_file(self.url)
        if self.url.startswith("memory:") or path == ":memory:":
            raise UsageError(
                f"{self.url} is empty whenever a command begins: name the files to query with "
                "--from FILE, or a database with --url"
            )
        if is_missing_file(self.url):
            raise CliError(
                f"there is no file {path}: make it with `hsorm load FILE…` or `hsorm demo`, or "
                "name another database with --url or HSORM_URL"
            )


def is_missing_file(url: str) -> bool:
    """Tell whether a URL is of an SQLite file that does not exist."""
    path = sqlite_file(url)
    return path is not None and path != ":memory:" and not Path(path).exists()


def sqlite_file(url: str) -> str | None:
    """Return the path in a URL of SQLite, None for any other URL."""
    if not url.startswith("sqlite"):
        return None
    from sqlalchemy.exc import ArgumentError

    from hsorm.errors import StorageUrlError
    from hsorm.sql.urls import engine_url

    try:
        return engine_url(url).database
    except (ArgumentError, StorageUrlError):
        return None  # open_storage says what is wrong with it
