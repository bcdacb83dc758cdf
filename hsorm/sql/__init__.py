"""Haystack in SQLAlchemy: column types, tables, filters as expressions, to be run elsewhere."""

from hsorm.sql.compile import compile_filter
from hsorm.sql.indexes import is_comparable, tag_index
from hsorm.sql.models import EntityMixin, HistoryMixin, Tables, make_tables
from hsorm.sql.mutable import MutableTags
from hsorm.sql.sources import EntitySource
from hsorm.sql.transactions import begin_on_sqlite
from hsorm.sql.types import Tags

__all__ = [
    "EntityMixin",
    "EntitySource",
    "HistoryMixin",
    "MutableTags",
    "Tables",
    "Tags",
    "begin_on_sqlite",
    "compile_filter",
    "is_comparable",
    "make_tables",
    "tag_index",
]
