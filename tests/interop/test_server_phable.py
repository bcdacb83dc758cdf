"""phable, a client that is not ours, against the router on SQLite and on PostgreSQL."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from contextlib import contextmanager
from zoneinfo import ZoneInfo

import phable
import pytest
from phable import CallError, HaystackClient, UnknownRecError

from tests.interop.conftest import Served
from tests.interop.serving import NO_TLS, points

ZONE = ZoneInfo("America/New_York")
DAY = dt.date(2024, 3, 10)  # the clocks go forward: it has 23 hours


@pytest.fixture(params=("json", "zinc"))
def client(request: pytest.FixtureRequest, served: Served) -> HaystackClient:
    kind = str(request.param)
    return HaystackClient(served.uri, served.token, content_type=kind, ssl_context=NO_TLS)


def at(hour: int, minute: int = 0) -> dt.datetime:
    return dt.datetime.combine(DAY, dt.time(hour, minute), ZONE)


def number(val: float) -> phable.Number:
    return phable.Number(val, "kW")


@contextmanager
def refused(text: str, error: str | None = None) -> Iterator[None]:
    """An error grid with a text in its `dis`, and maybe of a certain `errType`, comes back."""
    with pytest.raises(CallError) as failed:
        yield
    meta = failed.value.help_msg.meta
    assert text in meta["dis"]
    assert error in (None, meta.get("errType"))


def shown(client: HaystackClient, rows: list[str | None]) -> list[str | None]:
    """What phable makes of rows of which some are empty (None): it leaves them out of Zinc."""
    is_zinc = client._content_type == "text/zinc"
    return [row for row in rows if row is not None or not is_zinc]


def ids_of(found: phable.Grid) -> list[str | None]:
    return [row["id"].val if row else None for row in found.rows]


def items(grid: phable.Grid, name: str = "val") -> list[tuple[dt.datetime, phable.Number]]:
    return [(row["ts"], row[name]) for row in grid.rows if name in row]


def watch(client: HaystackClient, op: str, rows: list[str], **meta: object) -> phable.Grid:
    cols = [phable.GridCol("id")]
    request = phable.Grid({"ver": "3.0", **meta}, cols, [{"id": phable.Ref(id)} for id in rows])
    return client.call(op, request)


# ---- the session --------------------------------------------------------------------------------


def test_a_client_logs_in_by_what_the_host_gives_and_out(served: Served) -> None:
    client = HaystackClient.open(served.uri, "ann", "secret", ssl_context=NO_TLS)

    assert client.about()["productName"] == "hsorm"
    assert client.close().rows == []


def test_a_wrong_password_is_refused_by_the_host(served: Served) -> None:
    with pytest.raises(phable.AuthError):
        HaystackClient.open(served.uri, "ann", "wrong")


def test_about_tells_of_the_server_and_not_where_its_database_is(client: HaystackClient) -> None:
    about = client.about()

    assert about["haystackVersion"] == "4.0"
    assert about["serverName"] == "test"
    assert about["tz"] == "UTC"
    assert about["serverBootTime"] <= about["serverTime"]
    assert "url" not in about


def test_ops_and_filetypes_are_listed(client: HaystackClient) -> None:
    ops = {row["name"]: row for row in client.call("ops").rows}
    types = {row["mime"]: row for row in client.call("filetypes").rows}

    assert {"about", "read", "hisRead", "watchPoll", "invokeAction", "load"} <= ops.keys()
    assert "noSideEffects" in ops["read"]
    assert "noSideEffects" not in ops["hisWrite"]
    assert str(ops["read"]["def"].val) == "op:read"
    assert {"text/zinc", "application/json"} <= {
        mime for mime, row in types.items() if "send" in row
    }


# ---- reading ------------------------------------------------------------------------------------


def test_read_by_filter(client: HaystackClient) -> None:
    site = client.read('site and geoCity == "Oslo"')

    assert site["id"] == phable.Ref("site", "Office")
    assert site["area"] == phable.Number(9, "m²")
    assert site["site"] == phable.Marker()
    assert client.read_all("nothing").rows == []
    assert len(client.read_all("id", 1).rows) == 1


def test_read_by_ids_is_aligned_and_has_empty_rows(client: HaystackClient) -> None:
    """R2, OC 10."""
    found = client.call(
        "read", phable.Grid.to_grid([{"id": phable.Ref(id)} for id in ("ahu", "nobody", "site")])
    )

    assert ids_of(found) == shown(client, ["ahu", None, "site"])
    assert client.read_by_id(phable.Ref("site"))["dis"] == "Office"
    with pytest.raises(UnknownRecError):
        client.read_by_id(phable.Ref("nobody"))
    with pytest.raises(UnknownRecError):
        client.read_by_ids([phable.Ref("site"), phable.Ref("nobody")])


def test_a_filter_that_is_none_is_an_error_grid(client: HaystackClient) -> None:
    with refused("column 9", "FilterSyntaxError"):
        client.read_all("site and")


def test_nav_from_sites_to_points(client: HaystackClient, served: Served) -> None:
    """N1–N3."""
    served.load(points("nav-point"))

    (site,) = client.call("nav").rows
    (equip,) = client.call("nav", phable.Grid.to_grid({"navId": site["navId"]})).rows
    found = client.call("nav", phable.Grid.to_grid({"navId": equip["navId"]})).rows

    assert (site["id"].val, equip["id"].val) == ("site", "ahu")
    leaf = next(row for row in found if row["id"].val == "nav-point")
    assert "navId" not in leaf
    with refused("@nobody"):
        client.call("nav", phable.Grid.to_grid({"navId": phable.Ref("nobody")}))


# ---- history ------------------------------------------------------------------------------------


def test_history_written_is_read(client: HaystackClient, served: Served) -> None:
    """H10, H20: the day is the point's, and has 23 hours."""
    served.load(points("his-one"))
    id = phable.Ref("his-one")
    written = [{"ts": at(0), "val": number(1)}, {"ts": at(23, 59), "val": number(2.5)}]

    assert "ok" in client.his_write_by_id(id, written).meta
    grid = client.his_read_by_id(id, DAY)

    assert items(grid) == [(row["ts"], row["val"]) for row in written]
    assert [col.name for col in grid.cols] == ["ts", "val"]
    assert grid.meta["id"] == phable.Ref("his-one", "His-One")
    assert grid.meta["hisStart"] == at(0)
    assert grid.meta["hisEnd"].astimezone(dt.UTC) - grid.meta["hisStart"].astimezone(
        dt.UTC
    ) == dt.timedelta(hours=23)


def test_history_of_several_points(client: HaystackClient, served: Served) -> None:
    """H11, H20: a column a point, cells without a value are left out."""
    served.load(points("his-a", "his-b"))
    ids = [phable.Ref("his-b"), phable.Ref("his-a")]
    client.his_write_by_ids(
        ids, [{"ts": at(4), "v0": number(1), "v1": number(2)}, {"ts": at(5), "v1": number(3)}]
    )

    grid = client.his_read_by_ids(ids, phable.DateTimeRange(at(4), at(6)))

    assert [col.meta["id"].val for col in grid.cols[1:]] == ["his-b", "his-a"]
    assert items(grid, "v0") == [(at(4), number(1))]
    assert items(grid, "v1") == [(at(4), number(2)), (at(5), number(3))]
    assert (grid.meta["hisStart"], grid.meta["hisEnd"]) == (at(4), at(6))


def test_a_history_without_items_has_its_columns(client: HaystackClient, served: Served) -> None:
    served.load(points("his-empty"))

    grid = client.his_read_by_id(phable.Ref("his-empty"), dt.date(1999, 1, 1))

    assert [col.name for col in grid.cols] == ["ts", "val"]
    assert grid.rows == []


@pytest.mark.parametrize(
    ("id", "range", "error"),
    [
        ("nobody", "today", "UnknownEntityError"),
        ("site", "today", "HisConfigError"),
        ("his-bad", "last week", "RangeSyntaxError"),
    ],
)
def test_history_that_cannot_be_read_is_an_error_grid(
    client: HaystackClient, served: Served, id: str, range: str, error: str
) -> None:
    """H12."""
    served.load(points("his-bad"))

    with refused("", error):
        client.call("hisRead", phable.Grid.to_grid({"id": phable.Ref(id), "range": range}))


def test_a_history_write_is_all_or_nothing(client: HaystackClient, served: Served) -> None:
    served.load(points("his-strict"))
    id = phable.Ref("his-strict")

    with refused("nothing was written", "HisWriteError"):
        client.his_write_by_id(
            id, [{"ts": at(1), "val": number(1)}, {"ts": at(3), "val": phable.Number(1, "°C")}]
        )

    assert client.his_read_by_id(id, DAY).rows == []


# ---- writing points -----------------------------------------------------------------------------


def test_a_level_is_written_read_and_released(client: HaystackClient, served: Served) -> None:
    """W11–W13."""
    served.load(points("valve"))
    id = phable.Ref("valve")

    assert "ok" in client.point_write(id, 8, number(5), "ops", phable.Number(1, "hr")).meta
    client.point_write(id, 17, number(1))
    array = client.point_write_array(id)

    assert len(array.rows) == 17
    assert (array.meta["writeVal"], array.meta["writeLevel"]) == (number(5), phable.Number(8))
    assert array.rows[7]["levelDis"] == "8 (manual)"
    assert array.rows[7]["who"] == "Haystack.pointWrite | ops"
    assert 3500 < array.rows[7]["expires"].val <= 3600
    assert array.rows[16]["who"] == "Haystack.pointWrite | ann"  # as the host says
    client.point_write(id, 8)
    assert client.point_write_array(id).meta["writeLevel"] == phable.Number(17)
    with refused("18"):
        client.point_write(id, 18, number(5))


# ---- watches ------------------------------------------------------------------------------------


def test_a_watch_tells_what_has_changed(client: HaystackClient, served: Served) -> None:
    """P3, P5, P8, P11."""
    served.load(points("watched", "quiet"))
    opened = watch(client, "watchSub", ["watched", "nobody"], watchDis="test")
    id = opened.meta["watchId"]
    added = watch(client, "watchSub", ["quiet"], watchId=id, lease=phable.Number(5, "min"))
    before = watch(client, "watchPoll", [], watchId=id)
    client.his_write_by_id(phable.Ref("watched"), [{"ts": at(9), "val": number(1)}])
    polled = watch(client, "watchPoll", [], watchId=id)
    again = watch(client, "watchPoll", [], watchId=id)
    refreshed = watch(client, "watchPoll", [], watchId=id, refresh=phable.Marker())
    watch(client, "watchUnsub", ["watched"], watchId=id)
    left = watch(client, "watchPoll", [], watchId=id, refresh=phable.Marker())
    watch(client, "watchUnsub", [], watchId=id, close=phable.Marker())

    assert ids_of(opened) == shown(client, ["watched", None])
    assert opened.meta["lease"] == phable.Number(60, "sec")
    assert added.meta["lease"] == phable.Number(300, "sec")
    assert before.rows == again.rows == []
    assert ids_of(polled) == ["watched"]
    assert ids_of(refreshed) == ["quiet", "watched"]
    assert ids_of(left) == ["quiet"]
    with refused("closed", "UnknownWatchError"):
        watch(client, "watchPoll", [], watchId=id)


def test_a_watch_on_nothing_that_exists_has_a_row_of_nulls_for_each(client: HaystackClient) -> None:
    """P3."""
    opened = watch(client, "watchSub", ["no-a", "no-b"], watchDis="test")

    assert [col.name for col in opened.cols] == ["id"]
    assert ids_of(opened) == shown(client, [None, None])


def test_an_unknown_watch_is_never_opened_by_adding_to_it(client: HaystackClient) -> None:
    """P1, P10."""
    for _ in range(2):
        with refused("w-unknown", "UnknownWatchError"):
            watch(client, "watchSub", ["site"], watchId="w-unknown")
    with refused("watchDis"):
        watch(client, "watchSub", ["site"])
    watch(client, "watchUnsub", ["site"], watchId="w-unknown")


def test_an_action_is_refused_politely(client: HaystackClient) -> None:
    with refused("no actions"):
        client.call(
            "invokeAction", phable.Grid.to_grid({"id": phable.Ref("ahu")}, {"action": "reset"})
        )
