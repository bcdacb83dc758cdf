"""A short soak; `make soak` runs the long one, with crashes of a server of its own."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.soak import end_connections, own_redis, soak
from scripts.own_redis import stack_here

_SECONDS = 15.0


# Half a minute in all; what TimescaleDB adds is about history alone.
@pytest.mark.parametrize("any_url", ["sqlite", "postgres"], indirect=True)
def test_nothing_is_lost_while_processes_and_connections_end(any_url: str, tmp_path: Path) -> None:
    """C4, C6, P9, P11: see docs/reliability.md."""
    folder = tmp_path / "logs"
    folder.mkdir()
    disturb = (lambda: None) if any_url.startswith("sqlite") else lambda: end_connections(any_url)

    assert soak(any_url, folder, _SECONDS, disturb) == []


def test_nothing_is_lost_while_processes_and_a_redis_are_killed(tmp_path: Path) -> None:
    """The same on Redis, whose server has on disk what it has acknowledged."""
    if stack_here() is None:
        pytest.skip("no Redis Stack from packages here: make servers without Docker fetches it")
    with own_redis() as server:
        assert soak(server.url, tmp_path, _SECONDS, server.crash) == []
