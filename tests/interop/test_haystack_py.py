"""haystack-py's own server on our storages, in its own Python, driven by phable over a socket."""

from __future__ import annotations

import datetime as dt
import os
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import phable
import pytest
from phable import HaystackClient, UnknownRecError

from benchmarks._haystack import haystack_server_python
from hsorm.codecs import hayson
from tests.backends import ServerMissingError, new_database
from tests.conftest import Record, skip_missing
from tests.interop.serving import BUILDING, NO_TLS, points
from tests.interop.test_server_phable import DAY, at, ids_of, items, number, refused, watch

HERE = Path(__file__).parent
CHECKOUT = HERE.parents[1]

# One worker makes the environment, and has all of the processes.
pytestmark = [pytest.mark.xdist_group("haystack-py"), pytest.mark.timeout(600)]


@pytest.fixture(scope="session")
def made() -> Path | None:
    # Its environment takes pip a minute, the first time: not what a quick run is for.
    return None if os.environ.get("HSORM_TEST_NO_SERVERS") else haystack_server_python()


@pytest.fixture
def python(made: Path | None, record_property: Record) -> Path:
    """A Python 3.13 with haystack-py in it."""
    if made is None:
        record_property("backend", "haystack-py")
        reason = "Python 3.13 (HSORM_BENCH_PYTHON313) or its packages are missing"
        if os.environ.get("HSORM_TEST_NO_SERVERS"):
            reason = "left out by HSORM_TEST_NO_SERVERS"
        skip_missing(ServerMissingError(reason), record_property)
    return made


def environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(CHECKOUT)}


@contextmanager
def served(python: Path, url: str, seed: Path) -> Iterator[str]:
    command = [str(python), "-P", "-W", "error::DeprecationWarning:hsorm"]
    with subprocess.Popen(
        [*command, str(HERE / "_haystack_py_server.py"), url, str(seed)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=environment(),
        cwd=seed.parent,
        text=True,
    ) as process:
        assert process.stdout is not None
        assert process.stdin is not None
        port = process.stdout.readline().strip()
        assert port, "the server did not begin: see what it says"
        try:
            yield f"http://127.0.0.1:{port}/api"
        finally:
            process.stdin.close()


@pytest.fixture(params=("memory", "timescale", "redis", "sqlite"))
def uri(
    request: pytest.FixtureRequest, python: Path, tmp_path: Path, record_property: Record
) -> Iterator[str]:
    """haystack-py's server on a new storage of ours that has a building in it."""
    name = str(request.param)
    record_property("backend", name)
    seed = tmp_path / "seed.json"
    seed.write_text(hayson.dumps([*BUILDING, *points("p", "q")]), "utf-8")
    with ExitStack() as stack:
        try:
            urls = {"memory": "memory://", "sqlite": f"sqlite:///{tmp_path}/bridge.db"}
            url = urls.get(name) or stack.enter_context(new_database(name))
        except ServerMissingError as exc:
            skip_missing(exc, record_property)
        yield stack.enter_context(served(python, url, seed))


def test_values_and_filters_of_haystack_py_are_ours(python: Path) -> None:
    done = subprocess.run(
        [str(python), "-P", str(HERE / "_haystack_py_checks.py")],
        env=environment(), capture_output=True, text=True, check=False,
    )  # fmt: skip

    assert done.returncode == 0, done.stderr


def test_a_client_works_with_the_server_of_haystack_py_on_our_storage(uri: str) -> None:
    """One test a backend: the server takes seconds to begin."""
    client = HaystackClient(uri, "any", ssl_context=NO_TLS)
    reads_and_navigates(client)
    reads_and_writes_history(client)
    writes_points(client)
    watches(client)
    zinc = HaystackClient(uri, "any", content_type="zinc", ssl_context=NO_TLS)
    assert zinc.read("site")["area"] == phable.Number(9, "m²")


def reads_and_navigates(client: HaystackClient) -> None:
    assert client.read('ahu and siteRef->geoCity == "Oslo"')["dis"] == "AHU"
    assert client.read("area < 10m²")["id"].val == "site"
    assert client.read_all("area < 10").rows == []  # F37, and not what its own evaluator says
    # Its server would answer this one with the first read by ids (see `uncached`).
    assert [client.read_by_id(phable.Ref(id))["dis"] for id in ("ahu", "site")] == ["AHU", "Office"]
    with pytest.raises(UnknownRecError):
        client.read_by_id(phable.Ref("nobody"))
    (site,) = client.call("nav").rows
    (equip,) = client.call("nav", phable.Grid.to_grid({"navId": site["id"]})).rows
    found = client.call("nav", phable.Grid.to_grid({"navId": equip["id"]})).rows
    assert [row["id"].val for row in found] == ["p", "q"]
    with refused("NaN"):
        client.read_all("area == NaN")


def reads_and_writes_history(client: HaystackClient) -> None:
    id = phable.Ref("p")
    written = [{"ts": at(0), "val": number(1)}, {"ts": at(23, 59), "val": number(2.5)}]
    client.his_write_by_id(id, [*written, {"ts": at(0) - dt.timedelta(hours=1), "val": number(0)}])

    assert items(client.his_read_by_id(id, DAY)) == [(row["ts"], row["val"]) for row in written]
    with refused("unit"):
        client.his_write_by_id(id, [{"ts": at(4), "val": phable.Number(1, "°C")}])
    with refused("history of @site"):
        client.his_read_by_id(phable.Ref("site"), DAY)


def writes_points(client: HaystackClient) -> None:
    id = phable.Ref("p")
    client.point_write(id, 8, number(5), "ops", phable.Number(1, "hr"))
    client.point_write(id, 17, number(1))

    array = client.point_write_array(id).rows

    assert (array[7]["val"], array[7]["who"]) == (number(5), "ops")
    assert 3000 < array[7]["expires"].val <= 3600
    assert (array[16]["val"], array[16]["who"]) == (number(1), "haystack-py")
    client.point_write(id, 8)
    assert "val" not in client.point_write_array(id).rows[7]


def watches(client: HaystackClient) -> None:
    opened = watch(client, "watchSub", ["p", "nobody"], watchDis="test")
    id = opened.meta["watchId"]
    assert [row["id"].val for row in opened.rows] == ["p"]
    assert watch(client, "watchPoll", [], watchId=id).rows == []
    client.his_write_by_id(phable.Ref("p"), [{"ts": at(9), "val": number(1)}])
    assert ids_of(watch(client, "watchPoll", [], watchId=id)) == ["p"]
    watch(client, "watchUnsub", [], watchId=id, close=phable.Marker())
    with refused("Unknown watch"):
        watch(client, "watchPoll", [], watchId=id)
    with refused("closed"):
        watch(client, "watchSub", ["p"], watchId=id)
