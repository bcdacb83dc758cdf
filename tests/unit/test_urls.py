"""What people write as a storage URL, and what becomes of it."""

from __future__ import annotations

import pytest

from hsorm.errors import StorageUrlError
from hsorm.redis_ops import urls as redis_urls
from hsorm.redis_ops.urls import target_of
from hsorm.sql import urls as sql_urls
from hsorm.sql.urls import engine_url, safe_url, server_settings, sqlite_path
from hsorm.storage import open_storage


@pytest.mark.parametrize("mode", ["disable", "require", "verify-full"])
def test_sslmode_reaches_the_driver_by_its_own_name(mode: str) -> None:
    url = engine_url(f"postgres://u@h/db?sslmode={mode}")

    assert url.drivername == "postgresql+asyncpg"
    assert dict(url.query) == {"ssl": mode}


def test_a_socket_is_named_by_host() -> None:
    assert dict(engine_url("postgresql:///db?host=/run/pg").query) == {"host": "/run/pg"}


@pytest.mark.parametrize("space", [" ", "+", "%20"])
def test_options_are_taken_apart_for_the_driver(space: str) -> None:
    """asyncpg knows no `options`, the server does."""
    given = engine_url(f"postgresql://u@h/db?options=-c{space}statement_timeout=5s&sslmode=require")

    url, settings = server_settings(given)

    assert settings == {"options": "-c statement_timeout=5s"}
    assert dict(url.query) == {"ssl": "require"}


def test_no_options_are_none() -> None:
    url = engine_url("postgresql://u@h/db?sslmode=require")

    assert server_settings(url) == (url, {})


def test_tables_are_named_behind_the_database() -> None:
    url, prefix, schema = sql_urls.target_of("postgresql://u@h/db?prefix=hs_&ssl=on&schema=plant")

    assert (prefix, schema, dict(url.query)) == ("hs_", "plant", {"ssl": "on"})
    assert sql_urls.target_of("sqlite:///a.db?prefix=a&prefix=hs_").prefix == "hs_"
    assert sql_urls.target_of("postgresql://u@h/db?prefix=&schema=")[1:] == ("", None)


def test_a_url_is_shown_with_what_names_the_tables() -> None:
    """So that it can be given to a command again."""
    url = engine_url("postgresql://u@h/db")
    shown = safe_url(url, prefix="hs_", schema="plant")

    assert shown == "postgresql://u@h/db?prefix=hs_&schema=plant"
    assert redis_urls.safe_url("redis://h?protocol=3", "plant") == "redis://h?prefix=plant"


@pytest.mark.parametrize(
    ("url", "option"),
    [("postgresql://u@h/db?foo=1", "foo"), ("sqlite:///a.db?schema=a", "schema")],
)
def test_an_option_that_nobody_knows_is_named(url: str, option: str) -> None:
    with pytest.raises(StorageUrlError, match=f"unknown option '{option}'"):
        open_storage(url)


@pytest.mark.parametrize("url", ["sqlite://", "sqlite://building.db", "sqlite://folder/a.db"])
def test_a_file_stands_behind_three_slashes(url: str) -> None:
    with pytest.raises(StorageUrlError, match="three slashes"):
        sqlite_path(url)


@pytest.mark.parametrize("url", ["mongodb://", "mongodb://u:secret@h", "mysql://u:secret@h/db"])
def test_an_unknown_scheme_is_named_and_no_more(url: str) -> None:
    with pytest.raises(StorageUrlError) as caught:
        open_storage(url)

    assert caught.value.url == f"{url.partition(':')[0]}://…"


@pytest.mark.parametrize("password", ["secret", "se:cret", "se/cret", "se@cret", "se#c?ret"])
@pytest.mark.parametrize("rest", ["host:port", "host/7", "host?db=7", "host?prefix={"])
def test_no_message_shows_a_password_of_redis(password: str, rest: str) -> None:
    with pytest.raises(StorageUrlError) as caught:
        target_of(f"redis://user:{password}@{rest}")

    assert "cret" not in str(caught.value)
    assert "c?ret" not in str(caught.value)


@pytest.mark.parametrize("password", ["secret", "se:cret", "se/cret", "se@cret", "se#c?ret"])
def test_no_message_shows_a_password(password: str) -> None:
    """A URL that cannot be read may hold one anywhere before its host."""
    with pytest.raises(StorageUrlError) as caught:
        engine_url(f"postgresql://user:{password}@host:port/db")

    assert "cret" not in str(caught.value)
    assert "@host:port/db" in str(caught.value)
    assert "cret" not in safe_url(engine_url("postgresql://user:secret@host/db"))
