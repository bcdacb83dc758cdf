"""The blocks of code of README and the pages, and how one is told that is not to be run.

A block of Python, shell, console or SQL is run, in the order of its page. A comment right above its
fence says otherwise:

    <!-- not run: why -->     it cannot be
    <!-- file: name.json -->  it is the content of a file that the page's commands read
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

CHECKOUT: Final = Path(__file__).parents[2]

RUN: Final = frozenset({"python", "sh", "console", "sql"})
"""The languages of blocks that are run."""

SHOWN: Final = frozenset({"text", "json", "csv", "toml", "yaml", "ini"})
"""The languages of blocks that are only shown."""

_FENCE: Final = re.compile(r"^( *)```(\S*)\n(.*?)^\1```$", re.MULTILINE | re.DOTALL)
_MARK: Final = re.compile(r"<!-- (not run|file): ((?:(?!-->).)+) -->\n\Z", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Block:
    """One block of code.

    Attributes:
        page: The file.
        line: The number of its first line of code.
        language: What stands behind the fence.
        code: The lines between the fences.
        not_run: Why it is not run; None where nothing is said.
        file: The file that it is the content of; None where nothing is said.
    """

    page: Path
    line: int
    language: str
    code: str
    not_run: str | None
    file: str | None

    @property
    def place(self) -> str:
        """Where it is, for people."""
        return f"{self.page.relative_to(CHECKOUT)}:{self.line}"

    @property
    def is_run(self) -> bool:
        """Whether a run of its page runs it, or writes its file."""
        return self.file is not None or (self.language in RUN and self.not_run is None)


def pages() -> list[Path]:
    """Return README and all pages."""
    return [CHECKOUT / "README.md", *sorted((CHECKOUT / "docs").rglob("*.md"))]


def blocks_of(page: Path) -> list[Block]:
    """Return the blocks of a page, in order."""
    return list(_blocks(page, page.read_text("utf-8")))


def _blocks(page: Path, text: str) -> Iterator[Block]:
    for found in _FENCE.finditer(text):
        before = text[: found.start()]
        mark = _MARK.search(before)
        said = {mark[1]: " ".join(mark[2].split())} if mark else {}
        line = before.count("\n") + 2
        yield Block(page, line, found[2], found[3], said.get("not run"), said.get("file"))
