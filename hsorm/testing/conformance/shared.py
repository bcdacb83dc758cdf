"""Two adapters over one storage, and a storage that is opened again."""

from __future__ import annotations

import asyncio
import datetime as dt
from collections.abc import Awaitable, Callable
from typing import ClassVar, Final, TypeAlias

import pytest

from hsorm.errors import ConflictError, EntityExistsError
from hsorm.kinds import MARKER, Number, Ref
from hsorm.storage.protocol import StorageAdapter
from hsorm.testing.conformance.capabilities import Capability, Requiring
from hsorm.testing.conformance.examples import AHU, ALL, SITE, TEMP, ids, without_stamp

__all__ = ["DurableTests", "SharedTests"]

_Another: TypeAlias = Callable[[], Awaitable[StorageAdapter]]

_NOON: Final = dt.datetime(2024, 3, 1, 12, tzinfo=dt.UTC)


class SharedTests(Requiring):
    """Two adapters, as in two processes: nothing is kept where the other cannot see it."""

    requires: ClassVar = Capability.SHARED

    async def test_changes_are_seen_at_once(
        self, store: StorageAdapter, another_store: _Another
    ) -> None:
        """Every kind of change, in both directions."""
        other = await another_store()
        await store.load_entities(ALL)
        seen = [ids(await other.read("siteRef->site"))]

        await other.update({"id": Ref("ahu-1"), "trash": MARKER})
        seen.append(ids(await store.read("siteRef->site")))
        await store.delete("temp-1")
        seen.append(ids(await other.read("siteRef->site")))
        await other.create({**TEMP, "id": Ref("temp-2")})
        seen.append(ids(await store.read("siteRef->site")))

        assert seen == [["ahu-1", "temp-1"], ["temp-1"], [], ["temp-2"]]

    async def test_history_is_seen_at_once(
        self, store: StorageAdapter, another_store: _Another
    ) -> None:
        """H16: and a changed unit holds for both."""
        other = await another_store()
        await store.load_entities([TEMP])

        await store.his_write("temp-1", [{"ts": _NOON, "val": 1}])
        await other.update({"id": Ref("temp-1"), "unit": "K"})

        (item,) = await other.his_read("temp-1", "2024-03-01")
        assert item["val"] == Number(1, "K")
        assert await store.his_read("temp-1", "2024-03-01") == [item]

    async def test_a_taken_id_is_taken_for_both(
        self, store: StorageAdapter, another_store: _Another
    ) -> None:
        """C2."""
        other = await another_store()
        await store.create(SITE)

        with pytest.raises(EntityExistsError):
            await other.create(SITE)

    async def test_of_two_changes_on_one_mod_one_wins(
        self, store: StorageAdapter, another_store: _Another
    ) -> None:
        """C4: across adapters as within one."""
        other = await another_store()
        await store.load_entities([SITE])
        base = await store.read_by_id("site-1")

        answers = await asyncio.gather(
            *(
                adapter.update({**base, "n": Number(i)})
                for i, adapter in enumerate([store, other] * 3)
            ),
            return_exceptions=True,
        )

        assert sum(isinstance(answer, dict) for answer in answers) == 1
        assert sum(isinstance(answer, ConflictError) for answer in answers) == 5

    async def test_merges_from_two_sides(
        self, store: StorageAdapter, another_store: _Another
    ) -> None:
        """C5, C6: no tag is lost, no `mod` is given twice."""
        other = await another_store()
        await store.create(AHU)

        answers = await asyncio.gather(
            *(
                adapter.update({"id": Ref("ahu-1"), f"t{i}": MARKER})
                for i, adapter in enumerate([store, other] * 4)
            )
        )

        found = await store.read_by_id("ahu-1")
        assert {f"t{i}" for i in range(8)} <= found.keys()
        assert len({answer["mod"] for answer in answers}) == 8


class DurableTests(Requiring):
    """What was written is there when the storage is opened again."""

    requires: ClassVar = Capability.DURABLE

    async def test_entities_and_history_are_still_there(
        self, store: StorageAdapter, another_store: _Another
    ) -> None:
        """Closed once by whoever wrote, opened by another."""
        writer = await another_store()
        await writer.load_entities(ALL)
        await writer.update({"id": Ref("site-1"), "geoCity": "Bergen"})
        await writer.his_write("temp-1", [{"ts": _NOON, "val": 1}])
        written = await writer.read("id")
        await writer.close()

        reader = await another_store()

        assert await reader.read("id") == written
        assert without_stamp(written[1]) == {**SITE, "geoCity": "Bergen"}
        assert len(await reader.his_read("temp-1", "2024-03-01")) == 1

    async def test_closing_twice_is_harmless_and_a_call_opens_again(
        self, store: StorageAdapter, another_store: _Another
    ) -> None:
        """A closed adapter connects by itself, as a new one does."""
        adapter = await another_store()
        await adapter.load_entities([SITE])
        await adapter.close()
        await adapter.close()

        assert ids(await adapter.read("site")) == ["site-1"]
