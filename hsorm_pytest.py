"""The pytest plugin of hsorm: `hs_storage`, `hs_building`, and the report of the conformance kit.

It stands beside the package, for pytest imports it in every project that has hsorm installed:
nothing of hsorm is imported before a test asks for it. What it does is in `hsorm.testing`.
"""

from __future__ import annotations

import inspect
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from types import ModuleType
from typing import TYPE_CHECKING, Any, Final

import pytest

if TYPE_CHECKING:
    from hsorm.storage.protocol import StorageAdapter
    from hsorm.testing.isolation import Places

_HELP: Final = (
    "where hs_storage keeps its data: memory (the default), sqlite, or the URL of a server, "
    "postgresql://… or redis://…, where it makes and drops a schema or a prefix of its own"
)
_SCOPES: Final = ("function", "class", "module", "package", "session")


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add `--hs-storage`, and the setting `hs_storage`."""
    parser.getgroup("hsorm").addoption("--hs-storage", metavar="WHERE", help=_HELP)
    parser.addini("hs_storage", _HELP, default="memory")


def pytest_configure(config: pytest.Config) -> None:
    """Register the async fixtures, and what sums up the findings of the conformance kit."""
    made = _fixtures("anyio", pytest.fixture)
    if _has_asyncio(config):
        import pytest_asyncio

        # An async fixture runs in the loop of one scope, which has to be that of the test.
        for scope in _SCOPES:
            made |= _fixtures(f"asyncio_{scope}", pytest_asyncio.fixture, loop_scope=scope)
    holder = ModuleType("hsorm_fixtures")  # where pytest looks for functions of this kind
    vars(holder).update(made)
    config.pluginmanager.register(holder, "hsorm-fixtures")
    # The controller of pytest-xdist hears of every test; its workers print nothing.
    if not hasattr(config, "workerinput"):
        config.pluginmanager.register(_Report(), "hsorm-conformance")


def _has_asyncio(config: pytest.Config) -> bool:
    # By the name of its entry point, or by its module: `-p pytest_asyncio.plugin`.
    names = ("asyncio", "pytest_asyncio.plugin")
    return any(config.pluginmanager.has_plugin(name) for name in names)


# ---- fixtures -----------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def _hs_places(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Places]:
    from hsorm.testing.isolation import Places

    where = request.config.getoption("--hs-storage") or request.config.getini("hs_storage")
    try:
        places = Places(where, tmp_path_factory.mktemp("hs_storage"))
    except ValueError as exc:
        raise pytest.UsageError(f"--hs-storage: {exc}") from None
    yield places
    places.drop()


@pytest.fixture
def hs_storage(request: pytest.FixtureRequest) -> StorageAdapter:
    """An empty storage, for this test alone, of the kind that `--hs-storage` says.

    It is open in the event loop of the test. Where a test is not async it is not opened: use it
    inside of one `asyncio.run`, and close it there.
    """
    store: StorageAdapter = request.getfixturevalue(f"_hs_storage_{_runner_of(request)}")
    return store


@pytest.fixture
def hs_building(request: pytest.FixtureRequest, hs_storage: StorageAdapter) -> StorageAdapter:
    """`hs_storage` with the demo building in it: some 500 entities, see `hsorm.demo`."""
    request.getfixturevalue(f"_hs_building_{_runner_of(request)}")
    return hs_storage


@pytest.fixture
def _hs_storage_none(_hs_places: Places) -> Iterator[StorageAdapter]:
    with _hs_places.unopened() as store:
        yield store


@pytest.fixture
def _hs_building_none(_hs_places: Places, hs_storage: StorageAdapter) -> None:
    _hs_places.load_apart(hs_storage)


def _fixtures(runner: str, fixture: Callable[..., Any], **settings: Any) -> dict[str, Any]:
    """Return the async fixtures, by name, as whoever runs the test takes them."""

    async def storage(_hs_places: Places) -> AsyncIterator[StorageAdapter]:
        async with _hs_places.opened() as store:
            yield store

    async def building(_hs_places: Places, hs_storage: StorageAdapter) -> None:
        await _hs_places.load(hs_storage)

    names = {f"_hs_storage_{runner}": storage, f"_hs_building_{runner}": building}
    return {name: fixture(name=name, **settings)(func) for name, func in names.items()}


def _runner_of(request: pytest.FixtureRequest) -> str:
    """Return what runs a test: `anyio`, `asyncio_` with the scope of its loop, or `none`."""
    function = request.function
    function = getattr(getattr(function, "hypothesis", None), "inner_test", function)
    if not inspect.iscoroutinefunction(function):
        return "none"
    marker = request.node.get_closest_marker("asyncio")
    if marker is not None and _has_asyncio(request.config):
        default = request.config.getini("asyncio_default_test_loop_scope")
        return f"asyncio_{marker.kwargs.get('loop_scope') or default}"
    return "anyio" if "anyio_backend" in request.fixturenames else "none"


# ---- the report of the conformance kit ----------------------------------------------------------


class _Report:
    """Counts what the kit found of each adapter, topic by topic: its tests say so by a property."""

    def __init__(self) -> None:
        self.counts: dict[str, dict[str, Counter[str]]] = {}
        self.reasons: dict[tuple[str, str], Counter[str]] = {}

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Count a test once: where it was called, or else where it was skipped or broke."""
        about = dict(report.user_properties).get("hsorm-conformance")
        if about is None or (report.when != "call" and report.passed):
            return
        adapter, _, topic = str(about).partition(" ")
        counts = self.counts.setdefault(adapter, {}).setdefault(topic, Counter())
        counts[report.outcome] += 1
        if report.skipped and isinstance(report.longrepr, tuple):
            reason = report.longrepr[2].removeprefix("Skipped: ")
            self.reasons.setdefault((adapter, topic), Counter())[reason] += 1

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """Print a line for each topic, and one for what was left out."""
        for adapter, topics in sorted(self.counts.items()):
            terminalreporter.section(f"conformance of {adapter}")
            for topic, counts in sorted(topics.items()):
                told = ", ".join(f"{counts[how]} {how}" for how in _OUTCOMES if counts[how])
                terminalreporter.line(f"{topic:<18} {told}", red=counts["failed"] > 0)
                for reason, count in self.reasons.get((adapter, topic), Counter()).most_common():
                    terminalreporter.line(f"{'':<18} {count} skipped: {reason}")


_OUTCOMES: Final = ("passed", "failed", "skipped")
