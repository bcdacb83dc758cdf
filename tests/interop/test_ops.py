"""The ops without HTTP: on every backend, and with whatever a client may send."""

from __future__ import annotations

import asyncio
import datetime as dt
from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hsorm.codecs import hayson, zinc
from hsorm.errors import HsormError, UnknownWatchError
from hsorm.interop._ops import OPS, Call, Server, error_grid
from hsorm.kinds import MARKER, NA, Entity, Grid, GridCol, Number, Ref
from hsorm.storage.memory import InMemoryAdapter
from hsorm.storage.protocol import StorageAdapter
from tests.backends import Backend
from tests.interop.serving import BUILDING, points
from tests.unit.strategies import scalars

NOW = dt.datetime(2024, 3, 10, 5, tzinfo=dt.UTC)


async def run(store: StorageAdapter, op: str, request: Grid) -> Grid:
    return await OPS[op].run(Call(op, Server(store, "test", NOW, 1000, OPS), request, "ann"))


def rows(*ids: str, **meta: Any) -> Grid:
    return Grid(meta, (GridCol("id"),), tuple({"id": Ref(id)} for id in ids))


async def test_adding_to_a_watch_opens_none(backend: Backend) -> None:
    """P1: not even under an id that a storage has never heard of, and of one it goes on."""
    store = backend.store
    await store.load_entities(points("p", "q"))
    opened = await run(store, "watchSub", rows("p", watchDis="test"))
    id = opened.meta["watchId"]

    added = await run(store, "watchSub", rows("q", watchId=id))
    with pytest.raises(UnknownWatchError):
        await run(store, "watchSub", rows("p", watchId="w-never"))
    with pytest.raises(UnknownWatchError) as caught:
        await run(store, "watchSub", rows("p", watchId="w-never"))

    assert caught.value.state == "unknown"  # the first one has left no trace
    assert added.meta["watchId"] == id
    assert [row["id"] for row in added.rows] == [Ref("q")]
    polled = await run(store, "watchPoll", rows(watchId=id, refresh=MARKER))
    assert [row["id"] for row in polled.rows] == [Ref("p"), Ref("q")]
    with pytest.raises(UnknownWatchError):
        await run(store, "watchPoll", rows(watchId="w-never"))


async def test_a_poll_can_ask_for_current_values_alone() -> None:
    """P13."""
    store = InMemoryAdapter(points("p"))
    opened = await run(store, "watchSub", rows("p", watchDis="test"))
    await store.set_live("p", {"curVal": 5, "curStatus": "ok", "writeLevel": 17})

    request = rows(watchId=opened.meta["watchId"], curValSub=MARKER)
    polled = await run(store, "watchPoll", request)

    assert polled.rows == ({"id": Ref("p"), "curVal": Number(5), "curStatus": "ok"},)


async def test_a_batch_read_is_in_the_zone_that_is_asked_for() -> None:
    """H11, OC 14: points in several zones need one, and each has its column in order."""
    oslo = {"tz": "Oslo"}
    store = InMemoryAdapter([*points("ny"), {**points("no")[0], **oslo}])
    for id in ("ny", "no"):
        await store.his_write(id, [{"ts": NOW, "val": 1}])

    with pytest.raises(HsormError, match="zone"):
        await run(store, "hisRead", rows("ny", "no", range="2024-03-10"))
    with pytest.raises(HsormError, match="unknown time zone"):
        await run(store, "hisRead", rows("ny", "no", range="2024-03-10", tz="Nowhere"))
    with pytest.raises(HsormError, match="twice"):
        await run(store, "hisRead", rows("ny", "ny", range="2024-03-10"))
    found = await run(store, "hisRead", rows("no", "ny", range="2024-03-10", tz="Oslo"))

    assert zinc.dumps(found) == (
        'ver:"3.0" hisStart:2024-03-10T00:00:00+01:00 Oslo hisEnd:2024-03-11T00:00:00+01:00 Oslo\n'
        'ts,v0 id:@no "No",v1 id:@ny "Ny"\n'
        "2024-03-10T06:00:00+01:00 Oslo,1kW,1kW\n"
    )


@pytest.mark.parametrize(
    ("edge", "zone"), [("0001-01-01T00:00:00Z", "New_York"), ("9999-12-31T23:59:59Z", "Oslo")]
)
async def test_a_range_may_reach_to_the_edges_of_the_calendar(edge: str, zone: str) -> None:
    """Where a zone has no date for an instant, the meta has the instant in UTC."""
    store = InMemoryAdapter([{**points("p")[0], "tz": zone}])
    one = Grid({}, (), ({"id": Ref("p"), "range": f"{edge},{edge}"},))

    found = await run(store, "hisRead", one)
    batch = await run(store, "hisRead", rows("p", range=f"{edge},{edge}"))

    at = dt.datetime.fromisoformat(edge)
    assert (found.meta["hisStart"], found.meta["hisEnd"]) == (at, at)
    assert batch.meta["hisStart"] == at
    assert zinc.loads(zinc.dumps(found)).meta == found.meta


async def test_what_is_written_in_a_batch_is_read_once_for_all_points() -> None:
    """Columns times rows may be far more than what was sent: a million here, of 2000 cells."""
    names = [f"p{number}" for number in range(1000)]
    store = InMemoryAdapter(points(*names))
    cols = (GridCol("ts"), *(GridCol(name, {"id": Ref(name)}) for name in names))
    stamps = [NOW + dt.timedelta(minutes=at) for at in range(1000)]
    cells: tuple[Entity, ...] = tuple(
        {"ts": ts, name: Number(at)}
        for at, (ts, name) in enumerate(zip(stamps, names, strict=True))
    )

    await run(store, "hisWrite", Grid({}, cols, cells))

    found = await store.his_read("p999", "2024-03-10,2024-03-11")
    assert [item["val"] for item in found] == [Number(999, "kW")]
    twice = Grid({}, (cols[0], cols[1], GridCol("p0", {"id": Ref("p1")})), cells[:1])
    with pytest.raises(HsormError, match="two columns p0"):
        await run(store, "hisWrite", twice)


async def test_cells_without_a_value_are_not_written_and_NA_is() -> None:  # noqa: N802 - the kind
    """H15, H20."""
    store = InMemoryAdapter(points("p"))
    later = NOW + dt.timedelta(minutes=1)
    cols = (GridCol("ts"), GridCol("val"))

    await run(
        store, "hisWrite", Grid({"id": Ref("p")}, cols, ({"ts": NOW}, {"ts": later, "val": NA}))
    )

    assert [item["val"] for item in await store.his_read("p", "2024-03-10")] == [NA]


# ---- anything -----------------------------------------------------------------------------------

_NAMES = (
    "id", "filter", "limit", "sort", "search", "navId", "range", "tz", "ts", "val", "v0", "level",
    "who", "duration", "watchId", "watchDis", "lease", "refresh", "close", "curValSub", "dis",
)  # fmt: skip
_KNOWN: list[Any] = [
    *(Ref("p"), Ref("site"), Ref("nobody"), "p", "site", "2024-03-10", "today,", "New_York", NOW),
    *(NOW.date(), Number(8), Number(17), Number(1, "min"), Number(float("nan")), Number(-1), True),
    *([Ref("p")], {"a": MARKER}, Grid()),
]
_TAGS = st.dictionaries(st.sampled_from(_NAMES), st.sampled_from(_KNOWN) | scalars(), max_size=4)


@st.composite
def requests(draw: st.DrawFn) -> Grid:
    """Grids of the names and values that ops look for, well placed or not."""
    found: list[Mapping[str, Any]] = draw(st.lists(_TAGS, max_size=3))
    names = draw(st.permutations(sorted({name for row in found for name in row})))
    cols = tuple(GridCol(name, draw(_TAGS)) for name in names)
    return Grid(draw(_TAGS), cols, tuple(found))


@settings(max_examples=200, deadline=None, suppress_health_check=list(HealthCheck))
@given(op=st.sampled_from(sorted(OPS)), request=requests())
def test_whatever_is_sent_is_answered_or_an_error_of_ours(
    loop_apart: asyncio.AbstractEventLoop, op: str, request: Grid
) -> None:
    async def answered() -> Grid:
        store = InMemoryAdapter([*BUILDING, *points("p")])
        await run(store, "watchSub", rows("p", watchDis="test"))
        try:
            return await run(store, op, request)
        except HsormError as exc:
            return error_grid(exc)

    answer = loop_apart.run_until_complete(answered())

    assert hayson.loads(hayson.dumps(answer)) == answer
    if "err" in answer.meta:
        assert zinc.loads(zinc.dumps(answer)).meta == answer.meta
