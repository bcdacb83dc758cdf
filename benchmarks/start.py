"""How long it takes to begin: imports and commands beside a bare Python, each in a process anew.

    python -m benchmarks.start --write

What Python itself takes is taken off, round by round. Processor time, for on a machine with other
work to do it says more than the clock. The goal: `import hsorm` in 150 ms at the most.
"""

from __future__ import annotations

import argparse
import os
import resource
import statistics
import subprocess
import sys
from importlib.metadata import version

from rich.console import Console

from benchmarks._report import Report, show, write

_BARE = "python -c pass"

_STARTS = {
    _BARE: ("-c", "pass"),
    "import sqlalchemy": ("-c", "import sqlalchemy"),
    "import hsorm": ("-c", "import hsorm"),
    'open_storage("memory://")': ("-c", "import hsorm; hsorm.open_storage('memory://')"),
    'open_storage("sqlite:///a.db")': ("-c", "import hsorm; hsorm.open_storage('sqlite:///a.db')"),
    "hsorm --version": ("-m", "hsorm", "--version"),
    "hsorm --help": ("-m", "hsorm", "--help"),
}


def _processor_seconds(arguments: tuple[str, ...]) -> float:
    # As an installed package is: compiled once.
    apart = ("PYTHONDONTWRITEBYTECODE", "PYTHONWARNINGS")
    environment = {name: val for name, val in os.environ.items() if name not in apart}
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, *arguments], env=environment, capture_output=True, check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def measure(rounds: int) -> Report:
    """Begin each, in turns, so that a pause of the machine hits all alike."""
    for arguments in _STARTS.values():
        _processor_seconds(arguments)
    taken = [{name: _processor_seconds(it) for name, it in _STARTS.items()} for _ in range(rounds)]

    def row(name: str) -> list[str]:
        more = [each[name] - each[_BARE] for each in taken]
        beside = [each[name] / each["import sqlalchemy"] for each in taken]
        own = statistics.median(more)
        return [f"`{name}`", f"{own * 1000:.0f} ms", f"{statistics.median(beside):.2f} ×"]

    return Report(
        "start",
        f"Processor time to begin, beyond what Python itself takes; {rounds} rounds in turns",
        f"SQLAlchemy {version('SQLAlchemy')}, typer {version('typer')}",
        ["", "longer than Python alone", "whole : `import sqlalchemy`"],
        [row(name) for name in _STARTS],
    )


def main() -> None:
    """Measure, and show or write what was found."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--write", action="store_true", help="into docs/benchmarks.md")
    given = parser.parse_args()
    report = measure(given.rounds)
    show(report, Console())
    if given.write:
        write(report, "python -m benchmarks.start --write")


if __name__ == "__main__":
    main()
