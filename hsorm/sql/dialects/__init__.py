"""How the constructs of `hsorm.sql.constructs` are written in each database's SQL."""

from hsorm.sql.dialects import postgresql, sqlite

__all__ = ["postgresql", "sqlite"]
