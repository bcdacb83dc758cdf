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
    if "plain table" in shown.out:
        assert (chunks.code, compressed.code, ran.code) == (1, 1, 1)
        assert "no TimescaleDB" in chunks.err
    else:
        assert "chunk           1 day" in chunks.out
        assert (compressed.code, compressed.out) == (1, "")
        assert "community licence" in compressed.err
        assert ran.out == "Dropped 0 chunks, compressed 0.\n"


def test_the_policy_of_a_storage_in_redis(hsorm: Hsorm, empty_redis_url: str) -> None:
    hsorm("db", "upgrade", "-u", empty_redis_url)

    shown = hsorm("db", "policy", "show", "-u", empty_redis_url)
    set_ = hsorm("db", "policy", "set", "--keep", "2yr", "-u", empty_redis_url)
    chunks = hsorm("db", "policy", "set", "--chunk", "1day", "-u", empty_redis_url)
    ran = hsorm("db", "policy", "run", "--keep", "1day", "-u", empty_redis_url)
    removed = hsorm("db", "policy", "remove", "keep", "-u", empty_redis_url)

    assert "keep            not set: for ever" in shown.out
    assert "keep            2yr" in set_.out
    assert (chunks.code, chunks.out) == (1, "")
    assert "TimescaleDB" in chunks.err
    assert ran.out == "Deleted 0 items.\n"
    assert removed.out == shown.out


def test_a_wrong_policy_is_one_clear_error(hsorm: Hsorm, plant: str) -> None:
    for args, says in (
        (("show", "-u", plant), "no policies"),
        (("remove", "chunk", "-u", plant), "compress-after or keep"),
        (("set", "-u", "postgresql://127.0.0.1:1/x"), "what to set?"),
    ):
        result = hsorm("db", "policy", *args)
        assert (result.code, result.out) == (2, "")
        assert says in result.err
