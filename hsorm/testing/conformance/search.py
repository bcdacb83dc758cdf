"""Text search: what `hsorm.ops.search` says, on every backend."""

from __future__ import annotations

from typing import Final

import pytest

from hsorm.errors import FilterSyntaxError, SearchError
from hsorm.kinds import MARKER, REMOVE, Entity, Ref, Symbol, Uri, XStr
from hsorm.ops.search import MAX_LENGTH, MAX_WORDS, SEPARATORS, compile_search, search_words
from hsorm.storage.protocol import StorageAdapter
from hsorm.testing.conformance.examples import ALL, ids

__all__ = ["SearchTests"]


def _texts(*dis: str) -> list[Entity]:
    return [{"id": Ref(f"e{i}"), "x": MARKER, "dis": text} for i, text in enumerate(dis)]


_ODD: Final = [
    "AHU-1 Discharge Air", "ahu_2", "VAV2", "Zähler ÄÖ", "zAHLER", "ΟΔΟΣ 5", "οδος", "Straße",
    "STRASSE", "İzmir", "izmir", "ızgara", "Kelvin \u212aelvin", "ſun sun", "µm μm Μm",
    "会議室 1", "会議", "ａｂｃ", "room\u3000１２", "a\nb\tnew", "\\nword", '"quoted"', "[x]",
    "]y", "^z", "a^b-c]d[e", "100%", "%_*?", "é", "e\u0301", "😀 smile", "a😀b", "m²", "72.5°F",
    "don't", "A", "", " ", "x/y\\z", "\x01ctl\x1f", "Ünit", "ĲSSEL ĳssel", "ǅ ǆ Ǆ", "Ω \u2126",
    "Å \u212b", "ﬀ FF", "null", "true", "naïve", "ᲀ в", "ა Ა",
]  # fmt: skip

_ASKED: Final = [
    *_ODD, "ahu", "AHU 1", "disch ahu", "ischarge", "2", "1", "zähl", "Σ", "οδοσ", "strass",
    "ss", "i", "I", "ı", "k", "K", "s", "会", "室", "ab", "ａ", "12", "１", "new", "word",
    "nword", "quot", "y", "b c d e", "%", "*", "a*", "?", "[a]", "f", "t", "z", "ctl", "ünit",
    "ij", "ω", "å", "в", "B", "\u2126", "\u212b", "x' OR 1=1", "a\0b", "\ud800", "(", "a|b",
    "{1}", ".", "$",
]  # fmt: skip


class SearchTests:
    """`search=` of `read` and `read_count`."""

    async def test_all_words_anywhere_in_the_texts(self, store: StorageAdapter) -> None:
        """Words begin words, in whichever Str tags, in whichever order and case."""
        await store.load_entities(
            [
                {"id": Ref("a"), "x": MARKER, "dis": "AHU-1 Discharge Air Temp", "navName": "DAT"},
                {"id": Ref("b"), "x": MARKER, "dis": "AHU-2", "doc": "The discharge of ahu 2"},
                {"id": Ref("c"), "x": MARKER, "dis": "VAV", "doc": "recharge"},
            ]
        )
        asked = {
            "ahu": ["a", "b"], "AHU disch": ["a", "b"], "disch dat": ["a"], "air-temp": ["a"],
            "charge": [], "rech": ["c"], "ahu vav": [], "2": ["b"], "the": ["b"], "a a": ["a", "b"],
        }  # fmt: skip

        found = {text: ids(await store.read("x", search=text)) for text in asked}
        counted = {text: await store.read_count("x", search=text) for text in asked}

        assert found == asked
        assert counted == {text: len(expected) for text, expected in asked.items()}

    async def test_odd_texts(self, store: StorageAdapter) -> None:
        """Every backend finds what the predicate finds, of any alphabet and any sign."""
        entities = _texts(*_ODD)
        await store.load_entities(entities)

        for text in _ASKED:
            found = compile_search(search_words(text))
            expected = sorted(entity["id"].val for entity in entities if found(entity))
            assert ids(await store.read("x", search=text)) == expected, text

    async def test_every_separator_separates(self, store: StorageAdapter) -> None:
        """Both ends of each range, and nothing beside them."""
        ends = sorted({ord(end) for pair in SEPARATORS for end in pair})
        codes = sorted({code + by for code in ends for by in (-1, 0, 1)} - {-1, 0})
        chars = [chr(code) for code in codes if not 0xD7FF <= code <= 0xE000]
        entities = _texts(*(f"a{char}zed" for char in chars))
        await store.load_entities(entities)

        found = set(ids(await store.read("x", search="zed")))

        between = {
            f"e{i}" for i, char in enumerate(chars) if any(a <= char <= b for a, b in SEPARATORS)
        }
        assert found == between

    async def test_only_texts_at_the_top_count(self, store: StorageAdapter) -> None:
        """Neither other kinds that look like texts, nor what is inside of lists and dicts."""
        await store.load_entities(
            [
                {"id": Ref("needle", "needle"), "x": MARKER},
                {"id": Ref("b"), "x": Symbol("needle"), "needle": MARKER},
                {"id": Ref("c"), "x": Uri("needle"), "y": XStr("Needle", "needle")},
                {"id": Ref("d"), "x": ["needle"], "y": {"dis": "needle"}, "z": Ref("r", "needle")},
                {"id": Ref("e"), "x": "needle"},
            ]
        )

        assert ids(await store.read("x", search="needle")) == ["e"]

    async def test_live_tags_do_not_count(self, store: StorageAdapter) -> None:
        """C8: what is so just now is for filters; neither loaded nor set later it is found."""
        await store.load_entities(
            [
                {"id": Ref("a"), "x": MARKER, "curVal": "Occupied", "curStatus": "ok"},
                {"id": Ref("b"), "x": MARKER, "dis": "Occupied", "curVal": "Occupied"},
                {"id": Ref("c"), "x": MARKER, "dis": "ok"},
            ]
        )
        await store.set_live("c", {"curVal": "occupied", "writeErr": "fault"})

        found = [ids(await store.read("x", search=text)) for text in ("occ", "ok", "fault")]

        assert found == [["b"], ["c"], []]
        assert ids(await store.read('x and curVal == "Occupied"')) == ["a", "b"]

    @pytest.mark.parametrize("blank", [None, "", " ", "-", "…\t\u3000"])
    async def test_a_blank_search_finds_everything(
        self, store: StorageAdapter, blank: str | None
    ) -> None:
        await store.load_entities(ALL)

        assert await store.read("id", search=blank) == await store.read("id")
        assert await store.read_count("id", search=blank) == 3

    async def test_filter_search_order_and_limit(self, store: StorageAdapter) -> None:
        """R6, R8, OC 25: the limit counts what the search has left, in order."""
        await store.load_entities(
            {"id": Ref(f"e{i}"), ("even", "odd")[i % 2]: MARKER, "dis": f"{'AB'[i > 3]} {9 - i}"}
            for i in range(8)
        )

        assert ids(await store.read("even", 2, search="b")) == ["e4", "e6"]
        assert ids(await store.read("even", 1, search="b")) == ["e4"]
        assert ids(await store.read("even or odd", 3, sort="dis", search="b")) == ["e7", "e6", "e5"]
        assert await store.read("even", 0, search="b") == []
        assert await store.read_count("odd", search="a") == 2

    async def test_a_search_follows_the_changes(self, store: StorageAdapter) -> None:
        """R10: what was changed, deleted, or moved to the trash."""
        await store.load_entities(_texts("alpha one", "alpha two", "alpha three"))
        found = [ids(await store.read("x", search="alpha"))]

        await store.update({"id": Ref("e0"), "dis": "beta"})
        await store.update({"id": Ref("e1"), "trash": MARKER})
        found.append(ids(await store.read("x", search="alpha")))
        await store.delete("e2")
        await store.update({"id": Ref("e1"), "trash": REMOVE})
        found.append(ids(await store.read("x", search="alpha")))
        await store.load_entities(_texts("beta", "beta", "alpha again"))
        found.append(ids(await store.read("x", search="alpha")))

        assert found == [["e0", "e1", "e2"], ["e2"], ["e1"], ["e2"]]

    async def test_what_is_too_long(self, store: StorageAdapter) -> None:
        """An error that says what the most is; a bad filter is one all the same."""
        await store.load_entities(ALL)
        words = " ".join(f"w{i}" for i in range(MAX_WORDS))

        assert await store.read("id", search="x" * MAX_LENGTH) == []
        assert await store.read("id", search=words) == []
        with pytest.raises(SearchError, match=f"{MAX_LENGTH + 1} characters.*{MAX_LENGTH}"):
            await store.read("id", search="x" * (MAX_LENGTH + 1))
        with pytest.raises(SearchError, match=f"{MAX_WORDS + 1} words.*{MAX_WORDS}"):
            await store.read_count("id", search=f"{words} more")
        with pytest.raises(FilterSyntaxError):
            await store.read("a and", search="x")
