"""Fixtures over every backend, and a line per backend at the end of the run."""

from __future__ import annotations

import asyncio
import gc
import os
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Final, NoReturn, TypeAlias

import pytest

from tests.backends import (
    ALL,
    KEPT,
    POSTGRES,
    Backend,
    Backends,
    ServerMissingError,
    new_database,
)

Record: TypeAlias = Callable[[str, object], None]

# ---- fixtures -----------------------------------------------------------------------------------


@pytest.fixture(scope="session")
async def backends(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Backends]:
    """The storages of this session; with pytest-xdist every worker has its own."""
    opened = Backends(tmp_path_factory.mktemp("sqlite"))
    try:
        yield opened
    finally:
        await opened.close()


@pytest.fixture(params=ALL)
async def backend(
    request: pytest.FixtureRequest, backends: Backends, record_property: Record
) -> AsyncIterator[Backend]:
    """Each backend in turn, empty; at the end no connection of its pool may be in use."""
    name = str(request.param)
    record_property("backend", name)
    try:
        opened = await backends.get(name)
    except ServerMissingError as exc:
        skip_missing(exc, record_property)
    yield opened
    assert opened.checked_out() == 0, "the test left a connection checked out of the pool"


@pytest.fixture(scope="module")
def loop_apart() -> Iterator[asyncio.AbstractEventLoop]:
    """An event loop for tests that hypothesis drives, which is not async."""
    loop = asyncio.new_event_loop()
    yield loop
    loop.close()


@pytest.fixture(scope="module")
def backends_apart(
    loop_apart: asyncio.AbstractEventLoop, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Backends]:
    """The storages of `loop_apart`."""
    opened = Backends(tmp_path_factory.mktemp("apart"))
    yield opened
    loop_apart.run_until_complete(opened.close())


on_timescale = pytest.mark.parametrize("postgres_server", ["timescale"], indirect=True)
on_plain = pytest.mark.parametrize("postgres_server", ["postgres"], indirect=True)


@pytest.fixture(params=POSTGRES)
def postgres_server(request: pytest.FixtureRequest, record_property: Record) -> str:
    """Each PostgreSQL server in turn, by its name in `tests.backends.POSTGRES`."""
    name = str(request.param)
    record_property("backend", name)
    return name


@pytest.fixture
def fresh_postgres_url(postgres_server: str, record_property: Record) -> Iterator[str]:
    """The URL (`postgresql://…`) of a database made for this test, empty; dropped after it."""
    with ExitStack() as stack:
        try:
            url = stack.enter_context(new_database(postgres_server))
        except ServerMissingError as exc:
            skip_missing(exc, record_property)
        yield url


@pytest.fixture(params=KEPT)
def any_url(
    request: pytest.FixtureRequest, tmp_path: Path, record_property: Record
) -> Iterator[str]:
    """The URL of an empty database made for this test, on each backend that keeps one."""
    yield from _new_url(str(request.param), tmp_path, record_property)


@pytest.fixture(params=("sqlite", *POSTGRES))
def sql_url(
    request: pytest.FixtureRequest, tmp_path: Path, record_property: Record
) -> Iterator[str]:
    """The URL of an empty database made for this test, on each SQL backend."""
    yield from _new_url(str(request.param), tmp_path, record_property)


def _new_url(name: str, folder: Path, record_property: Record) -> Iterator[str]:
    record_property("backend", name)
    with ExitStack() as stack:
        try:
            url = (
                f"sqlite:///{folder}/test.db"
                if name == "sqlite"
                else stack.enter_context(new_database(name))
            )
        except ServerMissingError as exc:
            skip_missing(exc, record_property)
        yield url


def skip_missing(exc: ServerMissingError, record_property: Record) -> NoReturn:
    """Skip a test whose server is not there, and say so at the end of the run."""
    record_property("missing", str(exc))
    pytest.skip(str(exc))


# ---- the line per backend -----------------------------------------------------------------------


class _Tally:
    """Counts what ran on which backend: tests say so by properties, which workers send along."""

    def __init__(self) -> None:
        self.run: Counter[str] = Counter()
        self.not_run: Counter[str] = Counter()
        self.reasons: dict[str, str] = {}

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        noted = dict(report.user_properties)
        backend = str(noted.get("backend"))
        if report.when == "call" and "backend" in noted:
            self.run[backend] += 1
        if report.when == "setup" and "missing" in noted:
            self.not_run[backend] += 1
            self.reasons[backend] = str(noted["missing"])

    def lines(self) -> Iterator[str]:
        for backend in dict.fromkeys((*ALL, *self.reasons)):
            if backend in self.reasons:
                yield f"{backend}: NOT RUN ({self.not_run[backend]}), {self.reasons[backend]}"
            elif self.run[backend]:
                yield f"{backend}: {self.run[backend]} run"

    @pytest.hookimpl(trylast=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        # A server that is not there must not pass for tests that succeeded.
        if self.reasons and os.environ.get("CI") == "true" and session.exitstatus in _GREEN:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        if lines := list(self.lines()):
            terminalreporter.section("backends")
            for line in lines:
                terminalreporter.line(line, red="NOT RUN" in line)


_GREEN: Final = (pytest.ExitCode.OK, pytest.ExitCode.NO_TESTS_COLLECTED)


def pytest_configure(config: pytest.Config) -> None:
    # The controller of pytest-xdist hears of every test; its workers print nothing.
    if not hasattr(config, "workerinput"):
        config.pluginmanager.register(_Tally(), "hsorm-backends")


def pytest_collection_finish() -> None:
    # Some 10,000 tests are half a million objects, which every full collection would walk
    # through again, those that hypothesis asks for included.
    gc.collect()
    gc.freeze()
    # And what the tests themselves pile up, caches of statements above all, is not looked through
    # again and again.
    gc.set_threshold(100_000, 20, 100)
