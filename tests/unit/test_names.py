"""The names of the package, those that are imported when asked for among them."""

from __future__ import annotations

import hsorm
from hsorm import storage


def test_every_public_name_is_listed_and_found() -> None:
    """By completion at a prompt, too."""
    for module in (hsorm, storage):
        assert set(module.__all__) <= set(dir(module))
        assert all(getattr(module, name) is not None for name in module.__all__)


def test_an_adapter_says_where_it_is() -> None:
    """But not by which password."""
    given: list[tuple[object, str]] = [
        (hsorm.InMemoryAdapter(), "<InMemoryAdapter>"),
        (hsorm.SqliteAdapter("x.db"), "<SqliteAdapter sqlite:///x.db>"),
        (hsorm.TimescaleAdapter("postgresql://u:secret@h/d"), "<TimescaleAdapter postgresql"),
        (hsorm.RedisAdapter("redis://u:secret@h"), "<RedisAdapter redis"),
    ]
    for adapter, text in given:
        assert repr(adapter).startswith(text)
        assert "secret" not in repr(adapter)
