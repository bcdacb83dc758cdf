"""Writes of the conformance kit in one transaction of a host's, rolled back after each test.

Left out is what needs several transactions (watches, and whatever goes on at a time), and what asks
for nothing but the rules, which a database has no part in.
"""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from hsorm.storage import StorageAdapter
from hsorm.testing import conformance
from hsorm.testing.conformance import Capability
from tests.backends import Backends, ServerMissingError
from tests.conftest import Record, skip_missing
from tests.embedding.sessions import bound_store, store_of

_PLACES = [
    pytest.param(("postgres", "postgresql+asyncpg", False), id="asyncpg"),
    pytest.param(("postgres", "postgresql+psycopg", True), id="psycopg-sync"),
    pytest.param(("sqlite", "sqlite", True), id="sqlite3"),
]
_LEFT_OUT = (
    *("test_a_change_that_failed_is_none", "test_a_count_and_a_watch_see_the_release"),
    *("test_loads_at_a_time", "test_many_at_a_time_are_all_merged", "test_many_writers_at_a_time"),
    *("test_merges_from_two_sides", "test_nothing_is_lost_among_writers", "test_watches_are_told"),
    *("test_of_many_on_one_mod_one_wins", "test_of_two_changes_on_one_mod_one_wins"),
    *("test_only_what_changes_the_value_is_an_event", "test_watches_are_told_once"),
    *("test_of_two_commits_on_one_mod_one_wins", "test_writers_of_the_same_points"),
    *("test_batches_in_opposite_orders", "test_writes_at_a_time", "test_levels_are_cut"),
    *("test_what_does_not_fit_changes_nothing", "test_what_breaks_a_rule_changes_nothing"),
    *("test_filters_see_them", "test_a_point_that_is_not_configured", "test_values_of_each_kind"),
    *("test_points_that_cannot_be_written", "test_what_cannot_be_set_changes_nothing"),
)


@pytest.fixture(params=_PLACES)
async def store(
    request: pytest.FixtureRequest, backends: Backends, record_property: Record
) -> AsyncIterator[StorageAdapter]:
    """A storage in a session, with nothing in it."""
    name, driver, sync = request.param
    record_property("backend", name)
    try:
        own = await store_of(backends, name)
    except ServerMissingError as exc:
        skip_missing(exc, record_property)
    async with bound_store(own, driver, sync=sync) as bound:
        yield bound


@pytest.fixture
def capabilities() -> frozenset[Capability]:
    """A session has one adapter."""
    return frozenset()


def _alone(kit: type) -> type:
    """Return a class of the kit without what is left out."""
    return type(kit.__name__, (kit,), {name: None for name in _LEFT_OUT if hasattr(kit, name)})


TestCommit = _alone(conformance.CommitTests)
TestGeo = _alone(conformance.GeoTests)
TestHistoryBatchWrites = _alone(conformance.HistoryBatchWriteTests)
TestHistoryWrites = _alone(conformance.HistoryWriteTests)
TestLiveTag = _alone(conformance.LiveTagTests)
TestLoad = _alone(conformance.LoadTests)
TestPoint = _alone(conformance.PointTests)
