"""The contract of `StorageAdapter` as classes of async tests; `hsorm.testing` says how to run them.

Every class takes a fixture `store`, an adapter with nothing in it.
"""

import pytest

# Before they are imported, so that a failing assert shows the values.
pytest.register_assert_rewrite(
    *(
        f"{__name__}.{topic}"
        for topic in (
            "aliasing", "bad_input", "commits", "feed", "filters", "geo", "habits", "history",
            "history_arrays", "history_batches", "kinds", "live", "nav", "points", "reads",
            "search", "shared", "watches", "writes",
        )
    )
)  # fmt: skip

from hsorm.testing.conformance.aliasing import AliasingTests  # noqa: E402 - after the call above
from hsorm.testing.conformance.bad_input import BadInputTests  # noqa: E402
from hsorm.testing.conformance.capabilities import Capability  # noqa: E402
from hsorm.testing.conformance.commits import (  # noqa: E402
    CommitTests,
    RefTests,
    TagRuleTests,
)
from hsorm.testing.conformance.feed import FeedTests  # noqa: E402
from hsorm.testing.conformance.filters import FilterTests  # noqa: E402
from hsorm.testing.conformance.geo import GeoTests  # noqa: E402
from hsorm.testing.conformance.habits import HabitTests  # noqa: E402
from hsorm.testing.conformance.history import HistoryRangeTests, HistoryWriteTests  # noqa: E402
from hsorm.testing.conformance.history_arrays import HistoryArrayTests  # noqa: E402
from hsorm.testing.conformance.history_batches import (  # noqa: E402
    HistoryBatchReadTests,
    HistoryBatchWriteTests,
    HistoryClearTests,
)
from hsorm.testing.conformance.kinds import KindTests  # noqa: E402
from hsorm.testing.conformance.kit import Make, Offer, suite  # noqa: E402
from hsorm.testing.conformance.live import LiveTagTests  # noqa: E402
from hsorm.testing.conformance.nav import NavTests, NavTreeTests  # noqa: E402
from hsorm.testing.conformance.points import PointTests  # noqa: E402
from hsorm.testing.conformance.reads import ReadTests, TrashTests  # noqa: E402
from hsorm.testing.conformance.rollups import RollupTests  # noqa: E402
from hsorm.testing.conformance.search import SearchTests  # noqa: E402
from hsorm.testing.conformance.shared import (  # noqa: E402
    DurableLiveTests,
    DurableTests,
    SharedLiveTests,
    SharedTests,
)
from hsorm.testing.conformance.watches import (  # noqa: E402
    WatchFilterTests,
    WatchStreamTests,
    WatchTests,
)
from hsorm.testing.conformance.writes import (  # noqa: E402
    CreateTests,
    DeleteTests,
    LoadTests,
    ModTests,
    UpdateTests,
)

__all__ = [
    "AliasingTests",
    "BadInputTests",
    "Capability",
    "CommitTests",
    "CreateTests",
    "DeleteTests",
    "DurableLiveTests",
    "DurableTests",
    "FeedTests",
    "FilterTests",
    "GeoTests",
    "HabitTests",
    "HistoryArrayTests",
    "HistoryBatchReadTests",
    "HistoryBatchWriteTests",
    "HistoryClearTests",
    "HistoryRangeTests",
    "HistoryWriteTests",
    "KindTests",
    "LiveTagTests",
    "LoadTests",
    "Make",
    "ModTests",
    "NavTests",
    "NavTreeTests",
    "Offer",
    "PointTests",
    "ReadTests",
    "RefTests",
    "RollupTests",
    "SearchTests",
    "SharedLiveTests",
    "SharedTests",
    "TagRuleTests",
    "TrashTests",
    "UpdateTests",
    "WatchFilterTests",
    "WatchStreamTests",
    "WatchTests",
    "suite",
]
