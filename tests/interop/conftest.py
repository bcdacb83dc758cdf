"""Servers over each backend, started when first asked for and kept for the session."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from hsorm.codecs import hayson
from hsorm.interop.server import HaystackApi
from hsorm.kinds import Entity
from hsorm.storage.factory import open_storage
from tests.backends import ServerMissingError, new_database
from tests.conftest import Record, skip_missing
from tests.interop.serving import BUILDING, Scram, call, running


class Served:
    """One server of the session.

    Attributes:
        uri: Where its ops are.
        token: What lets a client in.
    """

    def __init__(self, uri: str, token: str) -> None:
        self.uri, self.token = uri, token

    def load(self, entities: list[Entity]) -> None:
        """Insert or replace entities."""
        done = call(
            f"{self.uri}/load",
            hayson.dumps(entities),
            content_type="application/json",
            authorization=f"BEARER authToken={self.token}",
            accept="application/json",
        )
        assert done.json["rows"] == [{"count": len(entities)}], done.text


class Servers:
    """The servers of the session, by backend."""

    def __init__(self, folder: Path) -> None:
        self._folder, self._stack = folder, ExitStack()
        self._served: dict[str, Served] = {}

    def get(self, backend: str) -> Served:
        if backend not in self._served:
            self._served[backend] = self._start(backend)
        return self._served[backend]

    def _start(self, backend: str) -> Served:
        if backend == "memory":
            url = "memory://"
        elif backend == "sqlite":
            url = f"sqlite:///{self._folder}/served.db"
        else:
            url = self._stack.enter_context(new_database(backend))
        scram = Scram("ann", "secret")
        scram.tokens.add("token")
        api = HaystackApi(open_storage(url), name="test", load=True)
        served = Served(
            f"{self._stack.enter_context(running(api.app(scram.authorize)))}/haystack", "token"
        )
        served.load(BUILDING)
        return served

    def close(self) -> None:
        self._stack.close()


@pytest.fixture(scope="session")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Servers]:
    found = Servers(tmp_path_factory.mktemp("served"))
    yield found
    found.close()


@pytest.fixture(params=("sqlite", "postgres"))
def served(request: pytest.FixtureRequest, servers: Servers, record_property: Record) -> Served:
    """A server on SQLite and one on PostgreSQL; in them is `BUILDING`, and what tests have left."""
    name = str(request.param)
    record_property("backend", name)
    try:
        return servers.get(name)
    except ServerMissingError as exc:
        skip_missing(exc, record_property)


@pytest.fixture
def in_memory(servers: Servers) -> Served:
    """A server on memory."""
    return servers.get("memory")
