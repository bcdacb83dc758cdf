"""Haystack in SQLAlchemy: column types, tables, filters as expressions. Nothing here runs SQL."""

from hsorm.sql.compile import compile_filter
from hsorm.sql.models import Tables, make_tables
from hsorm.sql.sources import EntitySource
from hsorm.sql.types import Tags

__all__ = ["EntitySource", "Tables", "Tags", "compile_filter", "make_tables"]
