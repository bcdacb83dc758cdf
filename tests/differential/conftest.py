"""How long to look for differences, and what was looked at.

`HSORM_FUZZ_CASES` is how many filters each backend answers (2,000 when not set), always the same
ones. With `HSORM_FUZZ_SECONDS` the tests go on for that long in all, and begin anywhere:
`HSORM_FUZZ_SEED` repeats a run.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator

import pytest

_SECONDS, _SEED = "HSORM_FUZZ_SECONDS", "HSORM_FUZZ_SEED"


def pytest_configure(config: pytest.Config) -> None:
    # In the environment, where the workers of pytest-xdist find it.
    if os.environ.get(_SECONDS) and not os.environ.get(_SEED):
        os.environ[_SEED] = str(secrets.randbelow(10**9))


def pytest_report_header() -> str | None:
    """Say which seed a long run begins with."""
    if not os.environ.get(_SECONDS):
        return None
    return f"fuzzing for {os.environ[_SECONDS]} s; to repeat it: {_SEED}={os.environ[_SEED]}"


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say how many cases each test has looked at."""
    lines = list(_counts(terminalreporter))
    if lines and os.environ.get(_SECONDS):
        terminalreporter.section("differential tests")
        for line in lines:
            terminalreporter.line(line)


def _counts(reporter: pytest.TerminalReporter) -> Iterator[str]:
    for outcome in ("passed", "failed"):
        for report in reporter.stats.get(outcome, ()):
            noted = dict(report.user_properties)
            if "cases" in noted:
                yield f"{report.nodeid.rpartition('::')[2]}: {noted['cases']} cases"
