"""The conformance kit over every backend of ours: memory, sqlite, postgres, timescale."""

from __future__ import annotations

from hsorm.testing import conformance


class TestAliasing(conformance.AliasingTests):
    """Answers and arguments are the caller's own."""


class TestBadInput(conformance.BadInputTests):
    """What cannot be stored."""


class TestCommit(conformance.CommitTests):
    """`commit`."""


class TestCreate(conformance.CreateTests):
    """`create`."""


class TestDelete(conformance.DeleteTests):
    """`delete`."""


class TestDurableLive(conformance.DurableLiveTests):
    """Live data, closed and opened again."""


class TestDurable(conformance.DurableTests):
    """Closed and opened again."""


class TestFeed(conformance.FeedTests):
    """The change feed."""


class TestFilters(conformance.FilterTests):
    """One meaning of a filter."""


class TestGeo(conformance.GeoTests):
    """Places."""


class TestHabits(conformance.HabitTests):
    """The published interface."""


class TestHistoryArrays(conformance.HistoryArrayTests):
    """`his_arrow`, `his_pandas`, `his_numpy`, and writing Arrow streams."""


class TestHistoryBatchReads(conformance.HistoryBatchReadTests):
    """`his_read_batch`, `his_read_iter`."""


class TestHistoryBatchWrites(conformance.HistoryBatchWriteTests):
    """`his_write_batch`."""


class TestHistoryClear(conformance.HistoryClearTests):
    """`his_clear`."""


class TestHistoryRanges(conformance.HistoryRangeTests):
    """`his_read`."""


class TestHistoryWrites(conformance.HistoryWriteTests):
    """`his_write`."""


class TestKinds(conformance.KindTests):
    """What goes in comes out."""


class TestLiveTag(conformance.LiveTagTests):
    """`set_live`, and live tags in reads."""


class TestLoad(conformance.LoadTests):
    """`load_entities`."""


class TestMod(conformance.ModTests):
    """`mod`."""


class TestNav(conformance.NavTests):
    """`nav`."""


class TestNavTree(conformance.NavTreeTests):
    """`nav_tree`."""


class TestPoint(conformance.PointTests):
    """Priority arrays."""


class TestReads(conformance.ReadTests):
    """Reads by filter and id."""


class TestRef(conformance.RefTests):
    """What refers to what."""


class TestRollups(conformance.RollupTests):
    """`his_rollup`."""


class TestSharedLive(conformance.SharedLiveTests):
    """Live data of two adapters."""


class TestSearch(conformance.SearchTests):
    """Text search."""


class TestShared(conformance.SharedTests):
    """Two adapters over one storage."""


class TestTagRule(conformance.TagRuleTests):
    """Tags that only a storage sets."""


class TestTrash(conformance.TrashTests):
    """The trash."""


class TestUpdate(conformance.UpdateTests):
    """`update`."""


class TestWatch(conformance.WatchTests):
    """Watches on ids."""


class TestWatchFilter(conformance.WatchFilterTests):
    """Watches on filters."""


class TestWatchStream(conformance.WatchStreamTests):
    """`watch_stream`."""


def test_no_class_of_the_kit_is_left_out() -> None:
    ours = {cls for test in globals().values() if isinstance(test, type) for cls in test.__mro__}
    kit = {getattr(conformance, name) for name in conformance.__all__ if name.endswith("Tests")}

    assert kit <= ours
