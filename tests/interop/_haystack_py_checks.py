"""What the bridge makes of haystack-py's values and filters: run by Python 3.13, with asserts."""

from __future__ import annotations

import asyncio
import datetime as dt
import inspect
from collections.abc import Awaitable, Callable
from functools import partial
from zoneinfo import ZoneInfo

from hs_py import grid as hs_grid
from hs_py import kinds as hs
from hs_py.errors import HaystackError
from hs_py.filter import parse as hs_parse
from hs_py.storage import protocol as hs_protocol

from hsorm import InMemoryAdapter, parse
from hsorm.interop.haystack_py import HaystackPyStorage, from_hs, node_from_hs, to_hs
from hsorm.kinds import (
    MARKER,
    NA,
    REMOVE,
    Coord,
    Entity,
    Grid,
    GridCol,
    Number,
    Ref,
    Symbol,
    Uri,
    XStr,
    equal,
)

TS = dt.datetime(2024, 3, 10, 5, tzinfo=ZoneInfo("America/New_York"))

PAIRS = [
    (MARKER, hs.MARKER),
    (NA, hs.NA),
    (REMOVE, hs.REMOVE),
    (True, True),
    ("text", "text"),
    (Number(5, "kW"), hs.Number(5.0, "kW")),
    (Number(float("inf")), hs.Number(float("inf"))),
    (Ref("a", "A"), hs.Ref("a", "A")),
    (Uri("http://x/"), hs.Uri("http://x/")),
    (Symbol("hot-water"), hs.Symbol("hot-water")),
    (Coord(1.5, -2), hs.Coord(1.5, -2.0)),
    (XStr("Color", "red"), hs.XStr("Color", "red")),
    (TS, TS),
    (TS.date(), TS.date()),
    (TS.time(), TS.time()),
    ([MARKER, [Number(1)]], [hs.MARKER, [hs.Number(1.0)]]),
    ({"a": {"b": Ref("c")}}, {"a": {"b": hs.Ref("c")}}),
    (
        Grid({"m": MARKER}, (GridCol("a", {"u": Uri("x")}),), ({"a": NA},)),
        hs_grid.Grid({"m": hs.MARKER}, (hs_grid.Col("a", {"u": hs.Uri("x")}),), ({"a": hs.NA},)),
    ),
]


def check_values() -> None:
    for ours, theirs in PAIRS:
        assert to_hs(ours) == theirs, ours
        assert type(to_hs(ours)) is type(theirs), ours
        assert equal(from_hs(theirs), ours), ours
    assert from_hs({"a": None, "b": 1}) == {"b": 1}
    assert fails(lambda: from_hs(hs.XStr("Ä", "")))
    assert fails(lambda: from_hs([hs.Symbol("No-Symbol")]))


def check_filters() -> None:
    for text in (
        "site",
        "not site",
        "a->b->c",
        'a and b and (c or d or e) and dis == "x" or not f->g',
        "area > 10.5m² and geoCoord",
        "siteRef == @a",
        "day < 2024-03-10 or at >= 05:30:00 or uri == `x` or yes != true",
        "ts > 2024-03-10T05:00:00-04:00 New_York",
        " or ".join(f"t{number}" for number in range(400)),
        " and ".join(f"(a{number} or b)" for number in range(200)),
    ):
        assert node_from_hs(hs_parse(text)) == parse(text), text
    too_many = " or ".join(["a"] * 1500)
    for text in ("x == NaN", "Site->a", "->".join("abcdefghi"), too_many):
        assert fails(partial(node_from_hs, hs_parse(text))), text
    assert fails(lambda: node_from_hs("site"))


def fails(act: Callable[[], object]) -> bool:
    try:
        act()
    except HaystackError:
        return True
    return False


def check_protocol() -> None:
    """Every method of its protocol is there, with its parameters and their defaults."""
    asked = {
        name: method
        for name, method in inspect.getmembers(hs_protocol.StorageAdapter, inspect.isfunction)
        if not name.startswith("_")
    }
    assert len(asked) == 12
    for name, method in asked.items():
        assert shape_of(getattr(HaystackPyStorage, name)) == shape_of(method), name


def shape_of(method: Callable[..., object]) -> list[tuple[str, object, object]]:
    found = inspect.signature(method).parameters.values()
    return [(one.name, one.kind, one.default) for one in found]


async def check_storage() -> None:
    entities: list[Entity] = [{"id": Ref("s"), "site": MARKER, "dis": "S"}]
    storage = HaystackPyStorage(InMemoryAdapter(entities))
    assert await storage.nav("nobody") == []
    assert [row["id"].val for row in await storage.nav()] == ["s"]
    assert await storage.read_by_ids([hs.Ref("no"), hs.Ref("s")]) == [
        None,
        *await storage.read_by_filter(hs_parse("site")),
    ]
    assert await storage.read_by_filter(hs_parse("site"), 0) == []
    watch_id, rows = await storage.watch_sub(None, [hs.Ref("s"), hs.Ref("no")])
    assert [row["dis"] for row in rows] == ["S"]
    await storage.watch_unsub(watch_id, [], close=True)
    ended = await failure(storage.watch_poll(watch_id))
    assert isinstance(ended, ValueError)
    assert isinstance(await failure(storage.watch_sub(watch_id, [])), ValueError)
    assert isinstance(await failure(storage.watch_sub("w-never", [])), ValueError)
    assert "id" in str(await failure(storage.load_entities([{"dis": "no id"}])))


async def failure(call: Awaitable[object]) -> HaystackError | None:
    try:
        await call
    except HaystackError as exc:
        return exc
    return None


if __name__ == "__main__":
    check_values()
    check_filters()
    check_protocol()
    asyncio.run(check_storage())
