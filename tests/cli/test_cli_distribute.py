"""`hsorm db distribute`."""

from __future__ import annotations

from tests.cli.conftest import Hsorm


def test_the_sql_is_printed_without_a_database(hsorm: Hsorm) -> None:
    plain = hsorm("db", "distribute", "--sql")
    parted = hsorm("db", "distribute", "--partition", "1mo", "--columnar-after", "6mo", "--sql")

    assert plain.code == 0
    assert "create_distributed_table('history', 'point_id');\nCOMMIT;\n" in plain.out
    assert "PARTITION BY RANGE (ts);" in parted.out
    assert parted.out.endswith("now() - interval '6 months', 'columnar');\n")


def test_the_sql_is_of_the_tables_that_the_url_names(hsorm: Hsorm) -> None:
    url = "postgresql://nobody@nowhere/db?prefix=hs_&schema=plant"

    result = hsorm("-u", url, "db", "distribute", "--partition", "1mo", "--sql")

    assert result.code == 0
    assert "create_distributed_table('plant.hs_history', 'point_id');\n" in result.out
    assert "ALTER TABLE plant.hs_history RENAME TO hs_history_unpartitioned;\n" in result.out
    assert "metadata('plant.hs_entities', " in result.out


def test_without_citus_it_is_one_clear_error(hsorm: Hsorm, fresh_postgres_url: str) -> None:
    hsorm("db", "upgrade", "-u", fresh_postgres_url)

    result = hsorm("db", "distribute", "-u", fresh_postgres_url)

    assert (result.code, result.out) == (1, "")
    assert "this database has no Citus" in result.err
    assert "--sql" in result.err


def test_what_cannot_be_distributed_is_told(hsorm: Hsorm, plant: str) -> None:
    for args, says in (
        (("-u", plant), "no PostgreSQL: Citus is an extension of it"),
        (("--columnar-after", "6mo", "--sql"), "give --partition, too"),
        (("--partition", "often", "--sql"), "often"),
    ):
        result = hsorm("db", "distribute", *args)
        assert (result.code, result.out) == (2, "")
        assert says in result.err
