"""What spreads history over the workers of Citus, as SQL text.

Everything else stays on the coordinator, so triggers, stamps and watches keep their meaning. These
statements were run by hand on Citus 13; docs/scaling.md says what was found.
"""

# ruff: noqa: S608 - SQL of names of our own, quoted, and of intervals that were parsed

from __future__ import annotations

from typing import Any, Final, NamedTuple

from sqlalchemy import Table
from sqlalchemy import table as named
from sqlalchemy.dialects import postgresql

from hsorm.sql.intervals import interval_text
from hsorm.sql.models import Tables

__all__ = ["Distribution", "distribution"]

_AHEAD: Final = 12
"""So many partitions are made ahead of time."""


class Distribution(NamedTuple):
    """The statements that distribute history.

    Attributes:
        transaction: What is run in one transaction.
        afterwards: What is run then, outside of any: it makes transactions of its own.
    """

    transaction: tuple[str, ...]
    afterwards: tuple[str, ...]

    @property
    def script(self) -> str:
        """All of it, for psql."""
        statements = ("BEGIN", *self.transaction, "COMMIT", *self.afterwards)
        return "".join(f"{statement};\n" for statement in statements)


def distribution(
    tables: Tables, *, partition: Any = None, columnar_after: Any = None
) -> Distribution:
    """Return what distributes history by point.

    Args:
        tables: The tables of a storage.
        partition: How much time is in a partition, as the interval of a rollup; None leaves each
            shard whole. Otherwise all rows are copied into a new table.
        columnar_after: How old partitions are when they are kept by column, compressed; nothing in
            those can be changed or deleted any more.

    Raises:
        ValueError: `columnar_after` without partitions.
        InvalidRollupError: A time is none.
    """
    if columnar_after is not None and partition is None:
        raise ValueError("columnar_after is of partitions: give partition, too")
    history = _literal(_quoted(tables.history))
    # With those that refer to it, for Citus keeps track of either all of them or none.
    entities = _literal(_quoted(tables.entities))
    local = (
        f"SELECT citus_add_local_table_to_metadata({entities}, cascade_via_foreign_keys => true)"
    )
    distributed = f"SELECT create_distributed_table({history}, 'point_id')"
    if partition is None:
        return Distribution((local, distributed), ())
    before, after = _partitioned(tables.history, interval_text(partition))
    old = () if columnar_after is None else (_columnar(history, interval_text(columnar_after)),)
    return Distribution((local, *before, distributed, *after), old)


def _partitioned(history: Table, interval: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return what makes a partitioned table of history, before and after it is distributed."""
    name = _quoted(history)
    plain = f"{history.name}_unpartitioned"
    old = _quoted(named(plain, schema=history.schema))
    before = (
        f"ALTER TABLE {name} RENAME TO {_preparer().quote(plain)}",
        f"CREATE TABLE {name} (LIKE {old} INCLUDING DEFAULTS, PRIMARY KEY (point_id, ts)) "
        "PARTITION BY RANGE (ts)",
    )
    length = f"interval '{interval}'"
    start = f"(SELECT least(min(ts), now()) FROM {old})"
    end = f"(SELECT greatest(max(ts), now()) FROM {old}) + {_AHEAD} * {length}"
    after = (
        f"SELECT create_time_partitions({_literal(name)}, partition_interval => {length}, "
        f"start_from => {start}, end_at => {end})",
        f"INSERT INTO {name} SELECT * FROM {old}",
        f"DROP TABLE {old}",
    )
    return before, after


def _columnar(history: str, interval: str) -> str:
    older = f"now() - interval '{interval}'"
    return f"CALL alter_old_partitions_set_access_method({history}, {older}, 'columnar')"


def _preparer() -> Any:
    return postgresql.dialect().identifier_preparer  # type: ignore[no-untyped-call]


def _quoted(table: Any) -> str:
    return str(_preparer().format_table(table))


def _literal(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"
