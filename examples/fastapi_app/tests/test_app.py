"""The application's tests: each in a transaction that is rolled back, or in no database at all."""

from __future__ import annotations

import datetime as dt
import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from devices_app.database import make_engine, own_config, upgrade
from devices_app.main import get_session, make_app
from devices_app.models import Upload
from devices_app.reports import daily_peaks
from sqlalchemy import Connection, event, func, select
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession

from alembic import command
from hsorm import Number
from hsorm.storage import StorageAdapter, bind

_URLS = ["sqlite", *([url] if (url := os.environ.get("TEST_DATABASE_URL")) else [])]
_METER = {"meter": {"_kind": "marker"}, "geoCity": "Oslo"}
_READINGS = [{"ts": f"2024-03-01T10:{n:02}:00Z", "kw": n / 2} for n in range(60)]


@pytest.fixture(scope="session", params=_URLS, ids=lambda url: url.partition(":")[0])
async def engine(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[AsyncEngine]:
    """A database with all tables; that of TEST_DATABASE_URL is to be an empty one."""
    url = request.param
    if url == "sqlite":
        url = f"sqlite+aiosqlite:///{tmp_path_factory.mktemp('app') / 'test.db'}"
    made = make_engine(url)
    await upgrade(made)
    yield made
    await made.dispose()


@pytest.fixture
async def session(engine: AsyncEngine) -> AsyncIterator[AsyncSession]:
    """The session of every request in a test; nothing of it stays."""
    async with AsyncSession(engine, expire_on_commit=False) as opened:
        yield opened
        await opened.rollback()


@pytest.fixture
async def client(engine: AsyncEngine, session: AsyncSession) -> AsyncIterator[httpx.AsyncClient]:
    """Somebody called Ada."""
    app = make_app(engine)

    async def one_request() -> AsyncIterator[AsyncSession]:
        async with session.begin_nested():  # instead of a transaction of its own
            yield session

    app.dependency_overrides[get_session] = one_request
    transport = httpx.ASGITransport(app)
    headers = {"x-user": "Ada"}
    async with httpx.AsyncClient(transport=transport, base_url="http://t", headers=headers) as made:
        await made.post("/users", json={"name": "Ada"})
        yield made


async def _add(client: httpx.AsyncClient, id: str, tags: dict[str, Any]) -> httpx.Response:
    return await client.post("/devices", json={"id": id, "serial": id.upper(), "tags": tags})


async def test_devices_are_found_by_a_filter(client: httpx.AsyncClient) -> None:
    await _add(client, "meter-1", _METER)
    await _add(
        client, "sub-1", {"meter": _METER["meter"], "meterRef": {"_kind": "ref", "val": "meter-1"}}
    )

    all_ = (await client.get("/devices")).json()
    found = (await client.get("/devices", params={"filter": 'meterRef->geoCity == "Oslo"'})).json()

    assert {device["id"] for device in all_} == {"meter-1", "sub-1"}
    assert [(device["id"], device["owner"]) for device in found] == [("sub-1", "Ada")]


async def test_readings_are_kept_with_who_sent_them(
    client: httpx.AsyncClient, session: AsyncSession
) -> None:
    await _add(client, "meter-1", _METER)
    sent = await client.post("/devices/meter-1/readings", json=_READINGS)
    read = await client.get("/devices/meter-1/readings", params={"range": "2024-03-01"})
    peaks = await client.get("/peaks", params={"range": "2024-03-01"})

    assert sent.status_code == 201
    assert [item["kw"] for item in read.json()] == [reading["kw"] for reading in _READINGS]
    assert peaks.json() == {"meter-1.power": {"2024-03-01": 29.5}}
    assert await session.scalar(select(Upload.readings)) == 60


async def test_neither_is_kept_where_one_is_refused(
    client: httpx.AsyncClient, session: AsyncSession
) -> None:
    await _add(client, "meter-1", _METER)
    old = [*_READINGS, {"ts": "1900-01-01T00:00:00Z", "kw": 1}]
    refused = await client.post("/devices/meter-1/readings", json=old)

    assert refused.status_code == 422
    assert "item 60" in refused.json()["detail"]
    assert await session.scalar(select(func.count()).select_from(Upload)) == 0
    assert await bind(session).his_read("meter-1.power", "2024-03-01") == []


async def test_what_is_wrong_is_said(client: httpx.AsyncClient) -> None:
    wrong = await client.get("/devices", params={"filter": "meter and"})
    unknown = await client.get("/devices/nothing/readings")
    nowhere = await client.post("/devices/nothing/readings", json=_READINGS)
    nobody = await client.post("/devices", json={"id": "x", "serial": "x"}, headers={"x-user": "?"})

    assert (wrong.status_code, nobody.status_code) == (422, 401)
    assert (unknown.status_code, nowhere.status_code) == (404, 404)
    assert "column 10" in wrong.json()["detail"]


async def test_what_is_there_already_is_kept(client: httpx.AsyncClient) -> None:
    await _add(client, "meter-1", _METER)
    again = await _add(client, "meter-1", {})
    twice = await client.post("/users", json={"name": "Ada"})
    (device,) = (await client.get("/devices")).json()

    assert (again.status_code, twice.status_code) == (409, 409)
    assert device["tags"] == _METER


async def test_a_request_is_checked_before_anything_is_kept(client: httpx.AsyncClient) -> None:
    """By FastAPI what it knows of, by hsorm what is a tag."""
    await _add(client, "meter-1", _METER)
    for tags in ({"Bad Name": 1}, {"a": {"_kind": "nope"}}, {"a": "nul \0"}):
        assert (await _add(client, "meter-2", tags)).status_code == 422
    assert (await _add(client, "no id", {})).status_code == 422
    for reading in (
        '{"ts": "2024-03-01T10:00:00Z", "kw": NaN}',
        '{"ts": "2024-03-01T10:00:00", "kw": 1}',
    ):
        sent = await client.post(
            "/devices/meter-1/readings",
            content=f"[{reading}]",
            headers={"content-type": "application/json"},
        )
        assert sent.status_code == 422

    first = await client.get("/devices", params={"limit": 1})
    assert [device["id"] for device in first.json()] == ["meter-1"]


async def test_a_fault_of_the_database_is_no_text_for_clients(tmp_path: Path) -> None:
    """Here one without tables."""
    app = make_app(make_engine(f"sqlite+aiosqlite:///{tmp_path / 'empty.db'}"))
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=transport, base_url="http://t") as made,
    ):
        answer = await made.get("/devices/meter-1/readings")

    assert (answer.status_code, answer.text) == (500, "Internal Server Error")


async def test_an_answer_comes_after_the_commit(engine: AsyncEngine) -> None:
    """Whoever is told that something was kept finds it, and nobody is told so of what was not."""
    app, order = make_app(engine), []

    async def noting(scope: Any, receive: Any, send: Any) -> None:
        async def note(message: Any) -> None:
            order.append(message["type"])
            await send(message)

        await app(scope, receive, note)

    def committed(connection: Connection) -> None:
        order.append("commit")

    event.listen(engine.sync_engine, "commit", committed)
    transport = httpx.ASGITransport(noting)
    async with httpx.AsyncClient(transport=transport, base_url="http://t") as made:
        await made.get("/devices")
    event.remove(engine.sync_engine, "commit", committed)

    assert order == ["commit", "http.response.start", "http.response.body"]


async def test_the_applications_own_migrations_see_no_difference(engine: AsyncEngine) -> None:
    def check(connection: Connection) -> None:
        command.check(own_config(connection))

    async with engine.connect() as connection:
        await connection.run_sync(check)


async def test_peaks_of_a_building(hs_building: StorageAdapter) -> None:
    """By hsorm's pytest plugin: a storage in memory, or what `--hs-storage` says."""
    (meter,) = await hs_building.read("elec and power and his", limit=1)
    first = dt.datetime(2024, 3, 1, 22, tzinfo=dt.UTC)
    items = [
        {"ts": first + dt.timedelta(hours=hour), "val": Number(kw, "kW")}
        for hour, kw in enumerate([8, 9, 7])
    ]
    await hs_building.his_write(meter["id"], items)

    peaks = await daily_peaks(hs_building, "2024-03-01,2024-03-02")

    assert peaks == {meter["id"].val: {"2024-03-01": 9, "2024-03-02": 7}}
