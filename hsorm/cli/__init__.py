"""The command line: `hsorm --help`."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path
from typing import NoReturn

__all__ = ["main"]


def main() -> None:
    """Run the command line with the arguments of this process, and leave with its exit code."""
    _open_closed_streams()
    try:
        # asyncio would put a handler of its own in the place of Python's, which waits for the next
        # await: reading standard input could then not be interrupted.
        signal.signal(signal.SIGINT, _interrupt)
        # Inside, so that Ctrl-C is quiet from the first moment on.
        from hsorm.cli.app import run

        code = run(sys.argv[1:])
    except KeyboardInterrupt:
        code = 130
    sys.exit(code)


def _open_closed_streams() -> None:
    """Give back the standard streams that the caller has closed (`>&-`), leading nowhere.

    Python leaves None in their place, and the next file to be opened, the database, would get the
    number of the stream that is missing.
    """
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        if getattr(sys, name) is None:
            stream = Path(os.devnull).open("w" if number else "r")  # noqa: SIM115 - stays open
            setattr(sys, name, stream)


def _interrupt(signum: int, frame: object) -> NoReturn:
    raise KeyboardInterrupt
