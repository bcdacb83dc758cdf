"""Walking from sites to equips to points (rules N1–N4), and the tree as a whole."""

from __future__ import annotations

from typing import Any

import pytest

from hsorm.errors import UnknownEntityError
from hsorm.kinds import MARKER, Ref
from hsorm.storage.protocol import NavNode, StorageAdapter
from hsorm.testing.conformance.examples import AHU, ALL, SITE, TEMP, ids

__all__ = ["NavTests", "NavTreeTests"]


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


class NavTreeTests:
    """`nav_tree`."""

    async def test_a_building(self, store: StorageAdapter) -> None:
        """Sites, spaces, floors, equips and points; each under its nearest parent."""
        await store.load_entities(
            [
                *ALL,
                {"id": Ref("floor-1"), "dis": "Floor 1", "floor": MARKER, "siteRef": Ref("site-1")},
                {"id": Ref("room-1"), "dis": "Room", "space": MARKER, **_refs("floor", "site")},
                {"id": Ref("fan-1"), "dis": "Fan", "equip": MARKER, **_refs("equip", "site")},
                {"id": Ref("speed"), "point": MARKER, "equipRef": Ref("fan-1")},
                {"id": Ref("vav-1"), "dis": "VAV", "equip": MARKER, "spaceRef": Ref("room-1")},
                {"id": Ref("person"), "person": MARKER},
            ]
        )

        tree = await store.nav_tree()

        assert _shape(tree) == [
            ("site-1", [
                ("ahu-1", [("fan-1", ["speed"]), "temp-1"]),
                ("floor-1", [("room-1", ["vav-1"])]),
            ]),
        ]  # fmt: skip
        assert tree[0].entity == await store.read_by_id("site-1")

    async def test_without_points(self, store: StorageAdapter) -> None:
        """`points=False`."""
        await store.load_entities(ALL)

        assert _shape(await store.nav_tree(points=False)) == [("site-1", ["ahu-1"])]

    async def test_from_an_entity_down(self, store: StorageAdapter) -> None:
        """Its node alone."""
        await store.load_entities([*ALL, {"id": Ref("person"), "person": MARKER}])

        assert _shape(await store.nav_tree("@ahu-1")) == [("ahu-1", ["temp-1"])]
        assert _shape(await store.nav_tree(Ref("temp-1"), points=False)) == ["temp-1"]
        assert _shape(await store.nav_tree("person")) == ["person"]

    async def test_sorted_by_display_text(self, store: StorageAdapter) -> None:
        """R7: on every level."""
        await store.load_entities(
            [
                {**SITE, "id": Ref("s1"), "dis": "Site 10"},
                {**SITE, "id": Ref("s2"), "dis": "site 9"},
                *({**AHU, "id": Ref(f"a{i}"), "dis": f"AHU-{i}", "siteRef": Ref("s1")}
                  for i in (10, 9, 11)),
            ]
        )  # fmt: skip

        assert _shape(await store.nav_tree()) == ["s2", ("s1", ["a9", "a10", "a11"])]

    async def test_what_has_no_parent_is_a_root(self, store: StorageAdapter) -> None:
        """C11: refs that dangle, lead to the trash, or lead on in a list."""
        await store.load_entities(
            [
                {**SITE, "trash": MARKER},
                AHU,
                {**TEMP, "equipRef": [Ref("gone"), Ref("ahu-1"), Ref("ahu-2")]},
                {**AHU, "id": Ref("ahu-2"), "dis": "AHU 2"},
            ]
        )

        assert _shape(await store.nav_tree()) == [("ahu-1", ["temp-1"]), "ahu-2"]

    async def test_a_circle_is_cut(self, store: StorageAdapter) -> None:
        """At its smallest id: each entity is in the tree once."""
        circle = [
            {"id": Ref(id), "dis": id, "equip": MARKER, "equipRef": Ref(parent)}
            for id, parent in (("b", "a"), ("a", "c"), ("c", "b"), ("own", "own"), ("x", "c"))
        ]
        await store.load_entities([SITE, *circle])

        tree = await store.nav_tree()

        assert _shape(tree) == [("a", [("b", [("c", ["x"])])]), "own", "site-1"]
        assert _shape(await store.nav_tree("b")) == [("b", [("c", ["x"])])]

    async def test_a_deep_tree(self, store: StorageAdapter) -> None:
        """Deeper than Python's stack."""
        await store.load_entities(
            {"id": Ref(f"e{i}"), "equip": MARKER, "equipRef": Ref(f"e{i - 1}")} for i in range(3000)
        )

        (node,) = await store.nav_tree()

        depth = 1
        while node.children:
            (node,) = node.children
            depth += 1
        assert depth == 3_000

    @pytest.mark.parametrize("id", ["gone", Ref("t")])
    async def test_an_unknown_root_is_an_error(self, store: StorageAdapter, id: Ref | str) -> None:
        """R1, R10."""
        await store.load_entities([*ALL, {"id": Ref("t"), "site": MARKER, "trash": MARKER}])

        with pytest.raises(UnknownEntityError):
            await store.nav_tree(id)


def _refs(*names: str) -> dict[str, Ref]:
    targets = {"floor": "floor-1", "site": "site-1", "equip": "ahu-1"}
    return {f"{name}Ref": Ref(targets[name]) for name in names}


def _shape(nodes: list[NavNode]) -> list[Any]:
    """Return the ids of a tree: text for a leaf, id and children for others."""
    return [
        (node.entity["id"].val, _shape(node.children)) if node.children else node.entity["id"].val
        for node in nodes
    ]
