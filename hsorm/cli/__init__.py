"""The command line: `hsorm --help`."""

from __future__ import annotations

import signal
import sys
from typing import NoReturn

__all__ = ["main"]


def main() -> None:
    """Run the command line with the arguments of this process, and leave with its exit code."""
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


def _interrupt(signum: int, frame: object) -> NoReturn:
    raise KeyboardInterrupt
