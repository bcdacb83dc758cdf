"""`hsorm db policy`."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest

from tests.backends import ServerMissingError, new_database
from tests.cli.conftest import Hsorm
from tests.conftest import skip_missing


@pytest.fixture
def empty_redis_url(record_property: Callable[[str, object], None]) -> Iterator[str]:
    """The URL of an empty storage in Redis."""
    with ExitStack() as stack:
        try:
            url = stack.enter_context(new_database("redis"))
        except ServerMissingError as exc:
            skip_missing(exc, record_property)
        yield url


def test_the_policy_of_a_database(hsorm: Hsorm, fresh_postgres_url: str) -> None:
    hsorm("db", "upgrade", "-u", fresh_postgres_url)

    shown = hsorm("db", "policy", "show", "-u", fresh_postgres_url)
    chunks = hsorm("db", "policy", "set", "--chunk", "1day", "-u", fresh_postgres_url)
    compressed = hsorm("db", "policy", "set", "--compress-after", "30day", "-u", fresh_postgres_url)
    ran = hsorm("db", "policy", "run", "--keep", "2yr", "-u", fresh_postgres_url)

    assert shown.code == 0
    assert "hourly          not set" in shown.out
    if "plain table" in shown.out:
        assert (chunks.code, compressed.code, ran.code) == (1, 1, 1)
        assert "no TimescaleDB" in chunks.err
    else:
        assert "chunk           1 day" in chunks.out
        assert (compressed.code, compressed.out) == (1, "")
        assert "community licence" in compressed.err
        assert ran.out == "Dropped 0 chunks, compressed 0.\n"


def test_hours_of_a_database(hsorm: Hsorm, fresh_postgres_url: str) -> None:
    """Kept on every PostgreSQL; without a job of TimescaleDB somebody has to run them."""
    hsorm("db", "upgrade", "-u", fresh_postgres_url)

    refused = hsorm("db", "policy", "run", "-u", fresh_postgres_url)
    kept = hsorm("db", "policy", "set", "--hourly", "-u", fresh_postgres_url)
    ran = hsorm("db", "policy", "run", "-u", fresh_postgres_url)
    shown = hsorm("db", "policy", "show", "-u", fresh_postgres_url)
    removed = hsorm("db", "policy", "remove", "hourly", "-u", fresh_postgres_url)

    assert "hourly          none ready yet" in kept.out
    assert "Have a job run `hsorm db policy run`" in kept.out
    assert ran.out.startswith("Worked out 0 hours, ")
    assert "hourly          " in shown.out
    assert "not set" in removed.out.splitlines()[-1]
    if "plain table" in shown.out:
        assert (refused.code, refused.out) == (1, "")
        assert "--hourly" in refused.err
        assert len(ran.out.splitlines()) == 1
    else:
        assert ran.out.endswith("Dropped 0 chunks, compressed 0.\n")


def test_the_policy_of_a_storage_in_redis(hsorm: Hsorm, empty_redis_url: str) -> None:
    hsorm("db", "upgrade", "-u", empty_redis_url)

    shown = hsorm("db", "policy", "show", "-u", empty_redis_url)
    set_ = hsorm("db", "policy", "set", "--keep", "2yr", "-u", empty_redis_url)
    chunks = hsorm("db", "policy", "set", "--chunk", "1day", "-u", empty_redis_url)
    ran = hsorm("db", "policy", "run", "--keep", "1day", "-u", empty_redis_url)
    hours = hsorm("db", "policy", "set", "--hourly", "-u", empty_redis_url)
    removed = hsorm("db", "policy", "remove", "keep", "-u", empty_redis_url)

    assert "keep            not set: for ever" in shown.out
    assert "keep            2yr" in set_.out
    assert (chunks.code, chunks.out) == (1, "")
    assert "TimescaleDB" in chunks.err
    assert (hours.code, hours.out) == (1, "")
    assert "PostgreSQL" in hours.err
    assert ran.out == "Deleted 0 items.\n"
    assert removed.out == shown.out


def test_a_wrong_policy_is_one_clear_error(hsorm: Hsorm, plant: str) -> None:
    for args, says in (
        (("show", "-u", plant), "no policies"),
        (("remove", "chunk", "-u", plant), "compress-after, keep or hourly"),
        (("set", "--hourly", "-u", plant), "no policies"),
        (("set", "-u", "postgresql://127.0.0.1:1/x"), "what to set?"),
    ):
        result = hsorm("db", "policy", *args)
        assert (result.code, result.out) == (2, "")
        assert says in result.err
