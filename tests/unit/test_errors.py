"""The errors: what they say, what they carry, that they survive pickling."""

from __future__ import annotations

import datetime as dt
import pickle

import pytest

from hsorm import errors
from hsorm.kinds import MARKER, Number, Ref

_CURRENT = {
    "id": Ref("a", "A"),
    "x": MARKER,
    "list": [Number(5, "kW")],
    "mod": dt.datetime(2024, 3, 1, tzinfo=dt.UTC),
}
_ERRORS: list[tuple[errors.HsormError, str]] = [
    (errors.ConflictError("a", "m1", "m2", _CURRENT), "based on mod m1, stored is m2; read it"),
    (errors.EntityExistsError("a"), "@a exists already: update it"),
    (errors.InvalidDiffError(3, "a", "it is wrong"), "commit, diff 4 (@a): it is wrong; nothing"),
    (errors.InvalidDiffError(None, None, "an empty batch"), "commit: an empty batch; nothing"),
    (
        errors.ReferencedError("a", [("b", "siteRef"), ("c", "aRef")], 5),
        "@a is referred to by siteRef of @b, aRef of @c and 3 more: change these first",
    ),
    (errors.ReferencedError("a", [("b", "siteRef")], 1), "by siteRef of @b: change these first"),
    (errors.PointWriteError("a", "the level is 18"), "priority array of @a: the level is 18"),
    (errors.UnknownWatchError("w-1"), "the watch 'w-1' is unknown: open a new one"),
    (errors.UnknownWatchError("w-1", "closed"), "the watch 'w-1' is closed: open a new one"),
    (errors.InvalidWatchError("w-1", "it is on a filter"), "watch 'w-1': it is on a filter"),
    (errors.InvalidWatchError(None, "lease: 0"), "watch: lease: 0"),
    (errors.InvalidCursorError("x"), "'x' is no cursor of this change feed: give back"),
    (errors.CursorExpiredError("x"), "the cursor 'x' is too old, removals"),
    (errors.CodecError("no date", 3, 7, "a.zinc"), "a.zinc, line 3, column 7: no date"),
    (errors.FilterSyntaxError("a b", 2, "and"), "filter, column 3: expected and\n  a b\n    ^"),
    (errors.RangeSyntaxError("now", 0, "a date"), "range, column 1: expected a date\n  now\n  ^"),
    (errors.SearchError("x y", "12 words"), "too long a search: 12 words"),
    (errors.GeoError(91, "a latitude"), "91 given: expected a latitude"),
    (errors.InvalidTagError("a", "b.c", "is null"), "entity @a, tag 'b.c': is null"),
    (errors.InvalidTagError(None, "id", "is null"), "entity, tag 'id': is null"),
    (errors.UnknownEntityError("a"), "no entity has the id @a"),
    (errors.HisConfigError("a", "no tz"), "history of @a: no tz"),
    (errors.HisWriteError("a", 3, "no ts"), "history of @a, item 3: no ts; nothing was written"),
    (errors.InvalidRollupError("no fold"), "rollup: no fold"),
    (errors.RequestError("read", "no filter"), "read: no filter"),
    (errors.StorageError("disk full"), "disk full"),
    (errors.StorageUnavailableError("redis://h", "gone"), "cannot reach redis://h: gone"),
    (errors.StorageUrlError("ftp://h", "no backend"), "storage URL 'ftp://h': no backend"),
    (errors.SchemaOutdatedError("x.db", None, "0002"), "x.db has no hsorm tables"),
    (errors.SchemaOutdatedError("x.db", "0001", "0002"), "run `hsorm db upgrade`"),
    (errors.SchemaOutdatedError("x.db", "0003", "0002"), "of a newer version: install that"),
    (errors.SessionBoundError("close()", "it is the host's"), "close() in a session"),
    (errors.MissingExtraError("his_arrow", "pyarrow", "arrow"), 'pip install "hsorm[arrow]"'),
    (errors.ViewWriteError("Site", "inserted"), "a Site cannot be inserted by the session"),
]


@pytest.mark.parametrize(("error", "text"), _ERRORS)
def test_an_error_says_what_is_wrong(error: errors.HsormError, text: str) -> None:
    assert text in str(error)


@pytest.mark.parametrize("error", [error for error, _ in _ERRORS])
def test_an_error_survives_pickling(error: errors.HsormError) -> None:
    again = pickle.loads(pickle.dumps(error))  # noqa: S301 - our own

    assert type(again) is type(error)
    assert (str(again), vars(again)) == (str(error), vars(error))


def test_every_error_is_among_these() -> None:
    assert {type(error).__name__ for error, _ in _ERRORS} == {*errors.__all__} - {"HsormError"}


@pytest.mark.parametrize(
    ("error", "builtins"),
    [
        (errors.InvalidDiffError, (ValueError,)),
        (errors.ReferencedError, (ValueError,)),
        (errors.PointWriteError, (ValueError,)),
        (errors.UnknownWatchError, (LookupError, ValueError)),
        (errors.InvalidWatchError, (ValueError,)),
        (errors.InvalidCursorError, (ValueError,)),
        (errors.CursorExpiredError, (LookupError,)),
    ],
)
def test_an_error_is_a_builtin_too(
    error: type[Exception], builtins: tuple[type[Exception], ...]
) -> None:
    assert issubclass(error, (errors.HsormError, *builtins))
    assert all(issubclass(error, builtin) for builtin in builtins)


def test_every_error_is_exported() -> None:
    ours = {
        name
        for name, value in vars(errors).items()
        if isinstance(value, type) and issubclass(value, errors.HsormError) and name[0] != "_"
    }

    assert ours == set(errors.__all__)
