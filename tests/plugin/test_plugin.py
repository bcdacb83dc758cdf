"""The pytest plugin in runs of its own, as in other people's projects."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import psycopg
import pytest
from redis import Redis

from tests.backends import server_url

pytest_plugins = ["pytester"]

CHECKOUT = Path(__file__).parents[2]

Run = Callable[..., pytest.RunResult]


@pytest.fixture
def run(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Runs pytest in a project that holds a test file and nothing else; warnings are errors."""
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(CHECKOUT), str(CHECKOUT / "examples")]))
    monkeypatch.delenv("PYTEST_ADDOPTS", raising=False)

    def run(code: str, *args: str) -> pytest.RunResult:
        pytester.makeini("[pytest]\n")
        pytester.makepyfile(code)
        # By name, for this checkout may be installed without its entry point. Twice is no harm.
        return pytester.runpytest_subprocess("-p", "hsorm_pytest", "-Werror", *args)

    return run


_EVERY_WAY = """
    import asyncio
    import pytest
    from hsorm import Ref

    SITE = {"id": Ref("a"), "site": True}

    async def fill(store):
        # Nothing is there of the tests before, whichever way these went.
        assert await store.read_count("id") == 0
        await store.load_entities([SITE])
        assert await store.read_count("site") == 1

    @pytest.mark.asyncio
    async def test_strict(hs_storage):
        await fill(hs_storage)

    @pytest.mark.asyncio(loop_scope="module")
    async def test_another_loop(hs_storage):
        await fill(hs_storage)

    @pytest.mark.anyio
    async def test_anyio(hs_storage):
        await fill(hs_storage)

    def test_not_async(hs_storage):
        async def main():
            async with hs_storage:
                await fill(hs_storage)
        asyncio.run(main())

    @pytest.mark.asyncio
    async def test_building(hs_building, hs_storage):
        assert hs_building is hs_storage
        assert await hs_building.read_count("ahu and siteRef->geoCity") > 1

    def test_building_not_async(hs_building):
        async def main():
            async with hs_building:
                assert len(await hs_building.read("site")) == 1
        asyncio.run(main())

    @pytest.fixture(scope="session")
    def anyio_backend():
        return "asyncio"
"""


@pytest.mark.parametrize("where", ["memory", "sqlite"])
def test_every_way_to_run_a_test(run: Run, where: str) -> None:
    """pytest-asyncio's strict mode, loops of other scopes, anyio, and no event loop at all."""
    result = run(_EVERY_WAY, "--hs-storage", where, "--asyncio-mode=strict")

    result.assert_outcomes(passed=6)


def test_plugins_that_are_named_one_by_one(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without autoload pytest-asyncio goes by another name."""
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")

    result = run(_EVERY_WAY, "-p", "pytest_asyncio.plugin", "-p", "anyio", "--hs-storage=sqlite")

    result.assert_outcomes(passed=6)


def test_auto_mode_with_loops_of_the_session(run: Run) -> None:
    code = """
        import pytest
        from hsorm import Ref
        from hypothesis import HealthCheck, given, settings, strategies as st

        @pytest.fixture
        async def loaded(hs_building):
            return hs_building

        async def test_auto(hs_storage, loaded):
            assert await loaded.read_count("site") == await hs_storage.read_count("site") == 1

        async def test_gone(hs_storage):
            assert await hs_storage.read_count("id") == 0

        @given(st.integers())
        @settings(max_examples=2, suppress_health_check=[HealthCheck.function_scoped_fixture])
        async def test_generated(hs_storage, n):
            await hs_storage.load_entities([{"id": Ref(f"e{abs(n)}")}])
    """
    scopes = [f"-oasyncio_default_{what}_loop_scope=session" for what in ("test", "fixture")]

    result = run(code, "-ohs_storage=sqlite", "--asyncio-mode=auto", *scopes)

    result.assert_outcomes(passed=3)


def test_without_pytest_asyncio(run: Run) -> None:
    """anyio is enough; so is nothing."""
    unknown = "-Wignore::pytest.PytestUnknownMarkWarning"
    asked = ("-p", "no:asyncio", unknown, "--hs-storage=sqlite", "-k", "anyio or not_async")

    result = run(_EVERY_WAY, *asked)

    result.assert_outcomes(passed=3, deselected=3)


def _of_ours(where: str) -> list[str]:
    """List what runs of the plugin have left on a server."""
    url = server_url(where).render_as_string(hide_password=False)
    if where == "redis":
        with closing(Redis.from_url(url)) as client:
            return [key.decode() for key in client.scan_iter("*hs_test_*", count=1_000)]
    with psycopg.connect(url) as connection:
        asked = "SELECT nspname FROM pg_namespace WHERE nspname LIKE 'hs\\_test\\_%'"
        return [name for (name,) in connection.execute(asked)]


@pytest.mark.parametrize("where", ["timescale", "postgres", "redis"])
def test_servers_are_left_as_they_were(
    run: Run, where: str, record_property: Callable[[str, object], None]
) -> None:
    """Each test has an empty storage, and the last one leaves nothing."""
    record_property("backend", where)
    url = server_url(where).render_as_string(hide_password=False)
    code = """
        import pytest
        from hsorm import Ref

        @pytest.mark.asyncio
        @pytest.mark.parametrize("n", range(2))
        async def test_it(hs_storage, n, record_property):
            assert await hs_storage.read_count("id") == 0
            await hs_storage.load_entities([{"id": Ref("a")}])
            names = getattr(hs_storage, "tables", None)
            name = names.entities.schema if names else hs_storage.layout.prefix
            print("place:", name)
    """

    result = run(code, "--hs-storage", url, "-s")

    result.assert_outcomes(passed=2)
    (place,) = set(re.findall(r"place: (hs_test_\w+)", result.stdout.str()))
    assert [name for name in _of_ours(where) if place in name] == []


def test_a_suite_that_does_not_use_it_imports_nothing(run: Run) -> None:
    """Neither hsorm nor what it needs, whose import would take longer than such a suite."""
    code = """
        import sys

        def test_nothing():
            heavy = {"hsorm", "msgspec", "sqlalchemy", "redis", "asyncpg"}
            assert not heavy & sys.modules.keys()
    """

    run(code, "-p", "no:hypothesispytest").assert_outcomes(passed=1)


def test_a_place_that_is_none_is_said_so(run: Run) -> None:
    code = "def test_it(hs_storage): pass"

    result = run(code, "--hs-storage", "mysql://host/db")

    assert "--hs-storage: 'mysql://host/db' is none of memory, sqlite" in result.stdout.str()
    assert result.ret != 0


_BROKEN = """
    from hsorm import InMemoryAdapter
    from hsorm.storage.protocol import EntityReader, EntityWriter
    from hsorm.testing.conformance import suite

    class Upside(InMemoryAdapter):
        async def nav(self, nav_id=None):
            return list(reversed(await super().nav(nav_id)))

        async def nav_tree(self, root=None):
            return await super().nav_tree(root)

    globals().update(
        suite(
            lambda folder: Upside(),
            name="Upside",
            offers=(EntityReader, EntityWriter, "nav", "nav_tree"),
        )
    )
"""


@pytest.mark.parametrize("mode", ["strict", "auto"])
def test_the_report_of_the_conformance_kit(run: Run, mode: str) -> None:
    """A line for each topic, with what failed, and why what was left out was."""
    result = run(_BROKEN, "-k", "TestNav or TestRef", f"--asyncio-mode={mode}")

    lines = result.stdout.str().splitlines()
    report = lines[next(i for i, line in enumerate(lines) if "conformance of Upside" in line) :]
    counts = {line.split()[0]: line.split(maxsplit=1)[1] for line in report[1:7]}
    assert re.fullmatch(r"\d+ passed, \d+ failed", counts["Nav"])
    assert re.fullmatch(r"\d+ passed, \d+ skipped", counts["NavTree"])
    assert any(line.endswith("skipped: not offered: nav_tree(points=)") for line in report)
    assert any("not offered: delete(unless_referenced=)" in line for line in report)
    assert result.ret == 1


def test_an_offer_that_is_none_is_refused() -> None:
    from hsorm import InMemoryAdapter
    from hsorm.testing.conformance import suite

    for offer in ("naw", int):
        with pytest.raises(ValueError, match="neither a protocol of StorageAdapter nor a call"):
            suite(lambda folder: InMemoryAdapter(), name="x", offers=(offer,))
    with pytest.raises(ValueError, match="no name without blanks"):
        suite(lambda folder: InMemoryAdapter(), name="my adapter")
