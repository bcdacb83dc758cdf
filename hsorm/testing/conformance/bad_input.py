"""Input that cannot be stored: a clear error, and nothing has changed."""

from __future__ import annotations

import datetime as dt
import pickle
from collections.abc import Awaitable, Callable
from typing import Any, Final

import pytest

from hsorm.errors import HsormError, InvalidTagError, UnknownEntityError
from hsorm.kinds import MARKER, Grid, GridCol, Number, Ref, Uri, XStr
from hsorm.storage.protocol import StorageAdapter
from hsorm.testing.conformance.examples import AHU, SITE, TEMP, ids

__all__ = ["BadInputTests"]


def _deep() -> Any:
    value: Any = MARKER
    for _ in range(100_000):
        value = [value]
    return value


class _NoTime(dt.datetime):
    """What NaT is to pandas."""

    def utcoffset(self) -> dt.timedelta:
        raise ValueError

    date = time = utcoffset  # type: ignore[assignment]


_BAD_IDS: Final[dict[str, Any]] = {
    "no id": {},
    "null": {"id": None},
    "text": {"id": "a"},
    "empty": {"id": Ref("")},
    "blank": {"id": Ref("a b")},
    "quote": {"id": Ref("a'b")},
    "non-ASCII": {"id": Ref("é")},
    "number": {"id": Ref(5)},  # type: ignore[arg-type]  # what is refused
    "U+0000": {"id": Ref("a\0")},
    "beyond a key of PostgreSQL": {"id": Ref("aZ9" * 1_000)},
    "Hayson that is none": {"id": {"_kind": "ref"}},
    "Hayson of another kind": {"id": {"_kind": "marker"}},
}
_BAD_TAGS: Final[dict[str, tuple[Any, Any]]] = {
    "upper case": ("Area", MARKER),
    "digit": ("1a", MARKER),
    "empty name": ("", MARKER),
    "blank in a name": ("a b", MARKER),
    "quote in a name": ("a'b", MARKER),
    "double quote in a name": ('a"b', MARKER),
    "long name": ("a" * 61, MARKER),
    "_kind": ("_kind", "marker"),
    "name that is no text": (5, MARKER),
    "null": ("x", None),
    "null in a list": ("x", [None]),
    "null in a dict": ("x", {"y": None}),
    "long text": ("x", "a" * 32_768),
    "long uri": ("x", Uri("a" * 1_001)),
    "U+0000": ("x", "a\0b"),
    "U+0000 in a uri": ("x", Uri("a\0b")),
    "U+0000 in a display text": ("x", Ref("a", "\0")),
    "U+0000 in an xstr": ("x", XStr("Foo", "\0")),
    "U+0000 in a unit": ("x", Number(1, "a\0")),
    "lone surrogate in a unit": ("x", Number(1, "a\ud800")),
    "U+0000 in a column's name": ("x", Grid(cols=(GridCol("\0"),))),
    "U+0000 in a column's meta": ("x", Grid(cols=(GridCol("a", {"b": "\0"}),))),
    "U+0000 in a grid's meta": ("x", Grid({"a": "\0"})),
    "null in a row": ("x", Grid.of([{"a": None}])),  # type: ignore[dict-item]  # what is refused
    "grid of an unknown version": ("x", Grid(ver="4.0")),
    "grid with ver in its meta": ("x", Grid({"ver": "3.0"})),
    "U+0000 in a list": ("x", [["\0"]]),
    "U+0000 in a name": ("x", {"\0": MARKER}),
    "lone surrogate": ("x", "a\ud800"),
    "bad ref": ("x", Ref("a b")),
    "bad ref in a list": ("x", [Ref("")]),
    "ref of a number": ("x", Ref(5)),  # type: ignore[arg-type]  # what is refused
    "display text of a number": ("x", Ref("a", 5)),  # type: ignore[arg-type]  # what is refused
    "uri of a number": ("x", Uri(5)),  # type: ignore[arg-type]  # what is refused
    "xstr of a number": ("x", XStr("Foo", 5)),  # type: ignore[arg-type]  # what is refused
    "no dateTime": ("x", _NoTime(2024, 1, 1)),
    "no kind": ("x", object()),
    "bytes": ("x", b"abc"),
    "naive datetime": ("x", dt.datetime(2024, 1, 1)),  # noqa: DTZ001 - what is refused
    "unknown Hayson": ("x", {"_kind": "nothing"}),
    "bad Hayson": ("x", {"_kind": "date", "val": "2024-02-30"}),
    "bad Hayson in a list": ("x", [{"_kind": "number", "val": "five"}]),
    "Hayson that no JSON could say": ("x", {"_kind": "ref", "val ": object()}),
    "Hayson with a lone surrogate": ("x", {"_kind": "ref", "dis": "\ud800"}),
    "too deep": ("x", _deep()),
}


_MISTAKES: Final[dict[str, Callable[[Any], Awaitable[object]]]] = {
    "no filter": lambda store: store.read(None),
    "no filter to count": lambda store: store.read_count(5),
    "no filter to watch": lambda store: store.watch_filter(5),
    "a fraction as limit": lambda store: store.read("site", 1.5),
    "a text as limit": lambda store: store.read("site", "1"),
    "a fraction as limit of history": lambda store: store.his_read("temp-1", "today", limit=1.5),
    "a fraction as limit of changes": lambda store: store.changes(limit=1.5),
    "no id": lambda store: store.read_by_id(None),
    "no ids": lambda store: store.read_by_ids(["site-1", 5]),
    "one id for many": lambda store: store.read_by_ids("site-1"),
    "one ref for many": lambda store: store.read_by_ids(Ref("site-1")),
    "one id of history for many": lambda store: store.his_read_batch("temp-1", "today"),
    "one id to watch": lambda store: store.watch_sub(None, "site-1"),
    "one id not to watch": lambda store: store.watch_unsub("mine", "site-1"),
    "a date as range": lambda store: store.his_read("temp-1", dt.date(2024, 1, 1)),
}


class BadInputTests:
    """What the rules K20–K28 refuse."""

    @pytest.mark.parametrize("case", _BAD_IDS)
    async def test_a_bad_id_is_refused(self, store: StorageAdapter, case: str) -> None:
        """K20, C3."""
        entity = {"x": MARKER, **_BAD_IDS[case]}

        for write in (store.create, store.update):
            with pytest.raises(InvalidTagError) as caught:
                await write(entity)
            assert caught.value.tag == "id"
        with pytest.raises(InvalidTagError):
            await store.load_entities([SITE, entity])

        assert await store.read("x or site") == []

    @pytest.mark.parametrize("case", _BAD_TAGS)
    async def test_a_bad_tag_is_refused(self, store: StorageAdapter, case: str) -> None:
        """K20, K25, K28, C9: the error says whose and which."""
        name, value = _BAD_TAGS[case]
        await store.load_entities([SITE])
        changes = {"id": Ref("site-1"), "geoCity": "Bergen", name: value}

        with pytest.raises(InvalidTagError) as caught:
            await store.update(changes)
        with pytest.raises(InvalidTagError):
            await store.create({**changes, "id": Ref("new")})
        with pytest.raises(InvalidTagError):
            await store.load_entities([AHU, changes])

        assert caught.value.id == "site-1"
        assert caught.value.tag.startswith(str(name))
        assert ids(await store.read("id")) == ["site-1"]
        assert (await store.read_by_id("site-1"))["geoCity"] == "Oslo"

    @pytest.mark.parametrize(
        "id", ["", "@", "a b", "'; DROP TABLE entities; --", "\0", "é", "\ud800", "a" * 100_000]
    )
    async def test_an_id_that_cannot_be_is_an_unknown_one(
        self, store: StorageAdapter, id: str
    ) -> None:
        """R1, R2: nothing has it."""
        await store.load_entities([SITE])

        assert await store.read_by_ids([id, "site-1"]) == [None, await store.read_by_id("site-1")]
        for call in (store.read_by_id, store.nav, store.delete):
            with pytest.raises(UnknownEntityError):
                await call(id)
        with pytest.raises(UnknownEntityError):
            await store.his_read(id, "today")
        assert await store.read_count("site") == 1

    @pytest.mark.parametrize("call", _MISTAKES)
    async def test_an_argument_of_another_type_is_an_error(
        self, store: StorageAdapter, call: str
    ) -> None:
        """Before anything is asked, and on every backend alike."""
        await store.load_entities([SITE, TEMP])
        untyped: Any = store

        with pytest.raises(TypeError):
            await _MISTAKES[call](untyped)

    async def test_an_unknown_order_is_an_error(self, store: StorageAdapter) -> None:
        with pytest.raises(ValueError, match="'name'"):
            await store.read("site", sort="name")  # type: ignore[arg-type]  # what is refused

    async def test_errors_survive_pickling(self, store: StorageAdapter) -> None:
        """They cross processes with their facts."""
        errors: list[HsormError] = []
        for call in (
            store.read_by_id("gone"),
            store.create({"id": Ref("a"), "x": None}),
            store.read("a and"),
            store.update({"id": Ref("gone"), "n": Number(1)}),
        ):
            with pytest.raises(HsormError) as caught:
                await call
            errors.append(caught.value)

        for error in errors:
            again = pickle.loads(pickle.dumps(error))  # noqa: S301 - our own
            assert type(again) is type(error)
            assert str(again) == str(error)
            assert vars(again) == vars(error)
