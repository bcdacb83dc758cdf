"""What the memory storage remembers of changes, and for how long."""

from __future__ import annotations

import datetime as dt

from hsorm.ops.watch import RETENTION
from hsorm.storage._memory_log import ChangeLog


def test_removals_are_forgotten_after_a_week() -> None:
    """A process that runs for long does not remember all that ever was."""
    log, start = ChangeLog(), dt.datetime(2024, 1, 1, tzinfo=dt.UTC)
    for n in range(100):
        log.note_removal(f"r{n}", start + n * dt.timedelta(hours=6))

    remembered = [id for _, id in log.since(0)]

    week = RETENTION // dt.timedelta(hours=6)
    assert remembered == [f"r{n}" for n in range(99 - week + 1, 100)]
    assert log.forgotten == log.place_of(remembered[0]) - 1
