"""The errors of databases and drivers, turned into ours in one place."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy.exc import DBAPIError, InterfaceError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from hsorm.errors import HsormError, StorageError, StorageUnavailableError

__all__ = ["database_errors", "detail_of", "sqlstate_of"]

# SQLSTATE classes of PostgreSQL that mean: no connection, not let in, no such database, shutting
# down.
_NO_CONNECTION = ("08", "28", "3D", "57P")

# The server ended the statement: it took too long, or somebody asked for that (pg_cancel_backend).
_CANCELLED = "57014"

_NO_FTS5 = "no such module: fts5"


@contextmanager
def database_errors(url: str) -> Iterator[None]:
    """Turn what SQLAlchemy and the drivers raise inside into `StorageError`s and the like.

    Errors of programming (a wrong type, a missing attribute) pass through: they are bugs, and
    should look like it.
    """
    try:
        yield
    except HsormError:
        raise  # said already; a ConnectionError of ours is an OSError, too
    except PoolTimeoutError as exc:
        raise StorageUnavailableError(url, f"no free connection: {exc.args[0]}") from exc
    except DBAPIError as exc:
        original = exc.orig or exc
        cause = original.__cause__ or original
        lost = exc.connection_invalidated or (
            isinstance(exc, InterfaceError) and not _is_misuse(cause)
        )
        raise _translated(url, cause, lost=lost or _cannot_open(original)) from exc
    except sqlite3.Error as exc:  # of a statement that was run past SQLAlchemy
        raise _translated(url, exc, lost=_cannot_open(exc)) from exc
    except (OSError, TimeoutError) as exc:
        raise StorageUnavailableError(url, _first_line(exc)) from exc
    except Exception as exc:
        if not _is_driver(exc):
            raise
        raise _translated(url, exc, lost=False) from exc


def sqlstate_of(exc: BaseException | None) -> str | None:
    """Return the SQLSTATE of an error of a driver, be it inside one of SQLAlchemy's or of ours."""
    while exc is not None:
        own = exc.orig if isinstance(exc, DBAPIError) else exc
        state = getattr(own, "sqlstate", None)
        if state is not None:
            return str(state)
        exc = exc.__cause__
    return None


def detail_of(exc: BaseException) -> str:
    """Return what the server adds to an error's message, empty where it is nothing."""
    own: BaseException = (exc.orig if isinstance(exc, DBAPIError) else None) or exc
    own = own.__cause__ or own  # asyncpg's, under SQLAlchemy's
    detail = getattr(getattr(own, "diag", None), "message_detail", None)  # psycopg's
    return str(detail or getattr(own, "detail", None) or "")


def _translated(
    url: str, exc: BaseException, *, lost: bool
) -> StorageError | StorageUnavailableError:
    state = getattr(exc, "sqlstate", None) or ""
    # Without a state it is the driver's own: the connection is closed.
    no_state_of_server = _is_driver(exc) and not state and not _is_misuse(exc)
    if lost or no_state_of_server or state.startswith(_NO_CONNECTION):
        return StorageUnavailableError(url, _first_line(exc))
    if state == _CANCELLED and "user request" not in str(exc):
        advice = "ask for less, or give the connection a longer statement_timeout"
        return StorageError(f"{_first_line(exc)}: {advice}")
    if str(exc) == _NO_FTS5:  # from a trigger
        advice = (
            "this file has a search index, which only a SQLite with FTS5 can keep; take such a one"
        )
        return StorageError(f"{_NO_FTS5}: {advice}")
    return StorageError(_first_line(exc))


def _cannot_open(exc: BaseException) -> bool:
    # SQLite says it by its text alone: a folder that is not there, a file that is no database.
    text = str(exc)
    return "unable to open" in text or "file is not a database" in text


def _is_asyncpg(exc: BaseException) -> bool:
    # By name: the driver is optional and must not be imported here.
    return type(exc).__module__.startswith("asyncpg")


def _is_driver(exc: BaseException) -> bool:
    """Tell whether an error is of a driver that is used without SQLAlchemy: for COPY, of each."""
    return _is_asyncpg(exc) or type(exc).__module__.startswith("psycopg")


def _is_misuse(exc: BaseException) -> bool:
    """Tell whether asyncpg refused what it was given: too many arguments, or one that is wrong.

    By its text: with the same error it says, in many words, that the connection is lost.
    """
    names = {cls.__name__ for cls in type(exc).__mro__}
    return _is_asyncpg(exc) and "InterfaceError" in names and "argument" in str(exc)


def _first_line(exc: BaseException) -> str:
    text = str(exc) or type(exc).__name__
    return text.splitlines()[0].strip().rstrip(".")
