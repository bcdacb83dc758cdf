"""Walking from sites to equips to points (rules N1–N4)."""

from __future__ import annotations

import pytest

from hsorm.errors import UnknownEntityError
from hsorm.kinds import MARKER, Ref
from hsorm.storage.protocol import StorageAdapter
from hsorm.testing.conformance.examples import AHU, ALL, SITE, TEMP, ids

__all__ = ["NavTests"]


class NavTests:
    """`nav`."""

    async def test_the_root_is_the_sites(self, store: StorageAdapter) -> None:
        """N1, N3: whole entities with a `navId`."""
        await store.load_entities(ALL)

        (row,) = await store.nav()

        assert row["navId"] == row["id"] == Ref("site-1")
        assert row["navId"].dis == "Site 1"
        assert row["geoCity"] == "Oslo"
        assert "mod" in row

    async def test_without_sites_the_root_is_the_equips(self, store: StorageAdapter) -> None:
        """N1."""
        await store.load_entities([AHU, TEMP])

        assert ids(await store.nav()) == ["ahu-1"]

    async def test_without_equips_the_root_is_the_points(self, store: StorageAdapter) -> None:
        """N1, N3."""
        await store.load_entities([TEMP])

        (row,) = await store.nav()

        assert row["id"] == Ref("temp-1")
        assert "navId" not in row

    async def test_below_a_site_are_its_equips(self, store: StorageAdapter) -> None:
        """N2: nested ones as well, but no points and none of other sites."""
        nested = {**AHU, "id": Ref("fan-1"), "dis": "Fan", "equipRef": Ref("ahu-1")}
        other = {**AHU, "id": Ref("ahu-9"), "siteRef": Ref("site-9")}
        await store.load_entities([*ALL, nested, other])

        rows = await store.nav("site-1")

        assert ids(rows) == ["ahu-1", "fan-1"]
        assert [row["navId"] for row in rows] == [Ref("ahu-1"), Ref("fan-1")]

    async def test_below_an_equip_are_its_points(self, store: StorageAdapter) -> None:
        """N2, N3: points lead nowhere."""
        await store.load_entities([*ALL, {**TEMP, "id": Ref("t-9"), "equipRef": Ref("ahu-9")}])

        rows = await store.nav(Ref("ahu-1"))

        assert ids(rows) == ["temp-1"]
        assert "navId" not in rows[0]

    async def test_below_anything_else_is_nothing(self, store: StorageAdapter) -> None:
        """N2."""
        await store.load_entities([*ALL, {"id": Ref("person"), "person": MARKER}])

        assert await store.nav("temp-1") == []
        assert await store.nav("person") == []

    async def test_a_site_that_is_an_equip_counts_as_site(self, store: StorageAdapter) -> None:
        """N2."""
        await store.load_entities([{**SITE, "equip": MARKER}, AHU, TEMP])

        assert ids(await store.nav("site-1")) == ["ahu-1"]

    async def test_a_list_of_refs_counts(self, store: StorageAdapter) -> None:
        """N4, F45."""
        await store.load_entities([SITE, {**AHU, "siteRef": [Ref("site-0"), Ref("site-1")]}])

        assert ids(await store.nav("@site-1")) == ["ahu-1"]

    async def test_rows_are_sorted_by_display_text(self, store: StorageAdapter) -> None:
        """N3, R7."""
        texts = {"a": "VAV-10", "b": "vav-9", "c": "Attic"}
        await store.load_entities({**AHU, "id": Ref(id), "dis": dis} for id, dis in texts.items())

        assert ids(await store.nav()) == ["c", "b", "a"]

    @pytest.mark.parametrize("id", ["gone", "@gone", Ref("gone")])
    async def test_an_unknown_id_is_an_error(self, store: StorageAdapter, id: Ref | str) -> None:
        """N2, OC 24."""
        await store.load_entities(ALL)

        with pytest.raises(UnknownEntityError):
            await store.nav(id)

    async def test_what_is_in_the_trash_is_on_no_level(self, store: StorageAdapter) -> None:
        """N1, R10: sites in the trash do not keep the equips off the root."""
        await store.load_entities([{**SITE, "trash": MARKER}, AHU, TEMP])

        assert ids(await store.nav()) == ["ahu-1"]
