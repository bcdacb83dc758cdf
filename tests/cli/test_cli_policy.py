"""`hsorm db policy`."""

from __future__ import annotations

from tests.cli.conftest import Hsorm


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


def test_a_wrong_policy_is_one_clear_error(hsorm: Hsorm, plant: str) -> None:
    for args, says in (
        (("show", "-u", plant), "no PostgreSQL"),
        (("remove", "chunk", "-u", plant), "compress-after or keep"),
        (("set", "-u", "postgresql://127.0.0.1:1/x"), "what to set?"),
    ):
        result = hsorm("db", "policy", *args)
        assert (result.code, result.out) == (2, "")
        assert says in result.err
