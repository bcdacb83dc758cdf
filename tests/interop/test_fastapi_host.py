"""The Haystack API in a FastAPI application: mounted, and behind the host's own dependencies."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from fastapi import Depends, FastAPI, Header, HTTPException, Request, Response
from phable import HaystackClient

from hsorm.interop.server import HaystackApi, bearer
from hsorm.storage.sqlite import SqliteAdapter
from tests.interop.serving import BUILDING, call, points, running


async def current_user(x_user: str | None = Header(None)) -> str:
    """A dependency as hosts have them."""
    if x_user is None:
        raise HTTPException(401, "who are you?")
    return x_user


@pytest.fixture
def uri(tmp_path: Path) -> Iterator[str]:
    store = SqliteAdapter(tmp_path / "host.db")
    api = HaystackApi(store)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        async with store:
            await store.load_entities([*BUILDING, *points("p")])
            yield

    app = FastAPI(lifespan=lifespan)

    @app.api_route("/by-user/{op}", methods=["GET", "POST"])
    async def haystack(request: Request, op: str, user: str = Depends(current_user)) -> Response:
        return await api.respond(request, op, who=user)

    @app.get("/sites")
    async def sites() -> list[str]:
        return [site["dis"] for site in await store.read("site")]

    app.mount("/haystack", api.router(bearer("token")))
    with running(app) as found:
        yield found


def test_a_client_uses_the_mounted_router(uri: str) -> None:
    client = HaystackClient(f"{uri}/haystack", "token")

    assert client.read("ahu")["dis"] == "AHU"
    assert call(f"{uri}/haystack/about").status == 401
    assert call(f"{uri}/sites").json == ["Office"]


def test_the_hosts_dependencies_say_who_it_is(uri: str) -> None:
    written = '{"id":{"_kind":"ref","val":"p"},"level":10,"val":1}'
    read = '{"id":{"_kind":"ref","val":"p"}}'
    headers = {"content_type": "application/json", "x_user": "ben"}

    assert call(f"{uri}/by-user/about").status == 401
    call(f"{uri}/by-user/pointWrite", written, **headers)
    array = call(f"{uri}/by-user/pointWrite", read, **headers)

    assert array.json["rows"][9]["who"] == "Haystack.pointWrite | ben"
    assert call(f"{uri}/by-user/hisWrite", x_user="ben").status == 405
