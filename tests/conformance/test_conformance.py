"""The conformance kit over every backend of ours: memory, sqlite, postgres, timescale."""

from __future__ import annotations

from hsorm.testing import conformance


class TestAliasing(conformance.AliasingTests):
    """Answers and arguments are the caller's own."""


class TestBadInput(conformance.BadInputTests):
    """What cannot be stored."""


class TestCreate(conformance.CreateTests):
    """`create`."""


class TestDelete(conformance.DeleteTests):
    """`delete`."""


class TestDurable(conformance.DurableTests):
    """Closed and opened again."""


class TestFilters(conformance.FilterTests):
    """One meaning of a filter."""


class TestHabits(conformance.HabitTests):
    """The published interface."""


class TestHistoryRanges(conformance.HistoryRangeTests):
    """`his_read`."""


class TestHistoryWrites(conformance.HistoryWriteTests):
    """`his_write`."""


class TestKinds(conformance.KindTests):
    """What goes in comes out."""


class TestLoad(conformance.LoadTests):
    """`load_entities`."""


class TestMod(conformance.ModTests):
    """`mod`."""


class TestNav(conformance.NavTests):
    """`nav`."""


class TestReads(conformance.ReadTests):
    """Reads by filter and id."""


class TestShared(conformance.SharedTests):
    """Two adapters over one storage."""


class TestTrash(conformance.TrashTests):
    """The trash."""


class TestUpdate(conformance.UpdateTests):
    """`update`."""


def test_no_class_of_the_kit_is_left_out() -> None:
    ours = {cls for test in globals().values() if isinstance(test, type) for cls in test.__mro__}
    kit = {getattr(conformance, name) for name in conformance.__all__} - {conformance.Capability}

    assert kit <= ours
