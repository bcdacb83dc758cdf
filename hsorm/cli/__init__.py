"""The command line: `hsorm --help`."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

__all__ = ["main"]


def main() -> None:
    """Run the command line with the arguments of this process, and leave with its exit code."""
    _open_closed_streams()
    try:
        # Also where whoever started us ignores it. In its place asyncio puts a handler of its own,
        # which cancels at the next await: see `hsorm.cli._files.interrupted_at_once`.
        signal.signal(signal.SIGINT, signal.default_int_handler)
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
