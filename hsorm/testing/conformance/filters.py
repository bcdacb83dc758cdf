"""Filters: the cases of `hsorm.testing.filter_cases`, and what a backend adds to a filter."""

from __future__ import annotations

from itertools import groupby
from operator import itemgetter
from typing import Final

import pytest

from hsorm.errors import FilterSyntaxError
from hsorm.filter import And, Cmp, CmpOp, Has, Or, Path, evaluate, parse
from hsorm.filter.ast import MAX_NESTING, MAX_TERMS, terms_of
from hsorm.kinds import MARKER, REMOVE, Entity, Number, Ref
from hsorm.storage.protocol import StorageAdapter
from hsorm.testing.conformance.examples import ALL, ids
from hsorm.testing.filter_cases import CASES, ENTITIES

__all__ = ["FilterTests"]

_RULES: Final = {
    rule: {text: found for _, text, found in cases}
    for rule, cases in groupby(sorted(CASES, key=itemgetter(0)), key=itemgetter(0))
}

_LONGEST: Final = {
    "has": ["t{}"],
    "number": ["n == {}"],
    "live": ["curVal == {}"],
    "ref": ["r->n == {}"],
    "eight names": ["->".join(["r"] * 7) + "->n == {}"],
    "others": ["not t{}", "^t{}-u", 'dis != "{}"', "ts < 2024-03-10T12:00:{:02}Z", "d->n == {}",
               "not r->t{}", "r->r->dis >= ^a{}", "id != @e{}"],
}  # fmt: skip
"""Terms of chains that are as long as a filter may be."""

_TEXTS: Final = [
    "it's",
    'say "x"',
    "back\\slash",
    "'; DROP TABLE entities; --",
    "%s %(a)s :a $1 ? {x} {{y}}",
    "100%_",
    "new\nline\ttab",
    "$.a[*] ? (@ == 1)",
    "é😀\u2028\uff5e",
    "null",
    "",
    " ",
]


def _longest(terms: list[str], word: str) -> tuple[str, str]:
    """Return the longest chain of such terms, and one of a term more."""
    chain: list[str] = []
    counted = 0
    while counted <= MAX_TERMS:
        chain.append(terms[len(chain) % len(terms)].format(len(chain) % 60))
        counted += terms_of(parse(chain[-1]))
    return word.join(chain[:-1]), word.join(chain)


class FilterTests:
    """One meaning of a filter on every backend (rules F1–F63)."""

    @pytest.mark.parametrize("rule", _RULES)
    async def test_answers_by_rule(self, store: StorageAdapter, rule: str) -> None:
        """Every case of one rule, as text and as a count."""
        await store.load_entities(ENTITIES)

        found = {text: ids(await store.read(text)) for text in _RULES[rule]}
        counted = {text: await store.read_count(text) for text in _RULES[rule]}

        assert found == _RULES[rule]
        assert counted == {text: len(expected) for text, expected in _RULES[rule].items()}

    @pytest.mark.parametrize("text", _TEXTS)
    async def test_a_text_is_only_a_text(self, store: StorageAdapter, text: str) -> None:
        """F34: whatever a value looks like, it is compared and nothing else."""
        await store.load_entities([{"id": Ref("a"), "x": text}, {"id": Ref("b"), "x": text + "."}])
        path = Path(("x",))

        assert ids(await store.read(Cmp(path, CmpOp.EQ, text))) == ["a"]
        assert ids(await store.read(Cmp(path, CmpOp.NE, text))) == ["b"]
        assert ids(await store.read(Cmp(path, CmpOp.GT, text))) == ["b"]
        assert ids(await store.read(Cmp(path, CmpOp.LE, text))) == ["a"]

    @pytest.mark.parametrize("name", ["order", "select", "user", "null", "_0", "a" * 60, "__c3a9"])
    async def test_any_tag_name_can_be_asked_for(self, store: StorageAdapter, name: str) -> None:
        """K25: words of other languages are names like any other."""
        await store.load_entities(
            [{"id": Ref("a"), name: Number(5)}, {"id": Ref("b"), "x": MARKER}]
        )

        assert ids(await store.read(name)) == ["a"]
        assert ids(await store.read(f"not {name}")) == ["b"]
        assert ids(await store.read(f"{name} >= 5")) == ["a"]

    @pytest.mark.parametrize("text", ["", " ", "a and", "a == ", "a = 1", "(a", "a b", "a == 1 2"])
    async def test_no_filter_is_an_error_that_shows_where(
        self, store: StorageAdapter, text: str
    ) -> None:
        """F18."""
        await store.load_entities(ALL)

        with pytest.raises(FilterSyntaxError) as caught:
            await store.read(text)
        with pytest.raises(FilterSyntaxError):
            await store.read_count(text)

        assert caught.value.text == text
        assert 0 <= caught.value.pos <= len(text)

    async def test_a_limit_of_none_still_reads_the_filter(self, store: StorageAdapter) -> None:
        """R6, F18: nothing is scanned, but a filter that is none is an error all the same."""
        with pytest.raises(FilterSyntaxError):
            await store.read("a and", 0)

    async def test_the_same_shape_with_other_values(self, store: StorageAdapter) -> None:
        """A backend that remembers statements must not remember values with them."""
        await store.load_entities({"id": Ref(f"e{i}"), "n": Number(i)} for i in range(5))

        found = [ids(await store.read(f"n == {i}")) for i in range(5)]

        assert found == [[f"e{i}"] for i in range(5)]
        assert [len(await store.read("n", limit)) for limit in (1, 3, 2)] == [1, 3, 2]

    async def test_a_filter_follows_the_changes(self, store: StorageAdapter) -> None:
        """What was removed is not found, what was added is."""
        await store.load_entities(ALL)
        filter = 'siteRef->geoCity == "Oslo" and not extra'
        found = [ids(await store.read(filter))]

        for change in ({"geoCity": "Bergen"}, {"geoCity": REMOVE}, {"geoCity": "Oslo"}):
            await store.update({"id": Ref("site-1"), **change})
            found.append(ids(await store.read(filter)))
        await store.update({"id": Ref("ahu-1"), "extra": MARKER})
        found.append(ids(await store.read(filter)))
        await store.delete("site-1")
        found.append(ids(await store.read(filter)))

        both = ["ahu-1", "temp-1"]
        assert found == [both, [], [], both, ["temp-1"], []]

    async def test_long_chains(self, store: StorageAdapter) -> None:
        """OC 6: a chain of any length is no deep tree."""
        await store.load_entities({"id": Ref(f"e{i}"), "n": Number(i)} for i in range(4))
        either = Or(tuple(Cmp(Path(("n",)), CmpOp.EQ, Number(i)) for i in range(2, 400)))
        every = And(tuple(Has(Path((name,))) for name in ["n", "id"] * 100))

        assert ids(await store.read(either)) == ["e2", "e3"]
        assert await store.read_count(every) == 4

    @pytest.mark.parametrize("word", [" and ", " or "])
    @pytest.mark.parametrize("kind", _LONGEST)
    async def test_the_longest_chains(self, store: StorageAdapter, kind: str, word: str) -> None:
        """OC 6: what is a filter at all has an answer, and what is longer is an error at once."""
        world: list[Entity] = [
            {"id": Ref("e0"), "n": Number(0), "r": Ref("e0"), "t1": MARKER, "u": MARKER},
            {"id": Ref("e1"), "n": Number(1), "r": [Ref("e0")], "d": {"n": Number(3)}, "dis": "2"},
            {"id": Ref("e2"), "r": Ref("gone"), "curVal": Number(2), "trash": MARKER},
        ]
        await store.load_entities(world)
        longest, longer = _longest(_LONGEST[kind], word)
        node, by_id = parse(longest), {entity["id"].val: entity for entity in world}
        matching = [id for id in ("e0", "e1") if evaluate(node, by_id[id], by_id.get)]

        assert ids(await store.read(longest)) == matching
        assert await store.read_count(node) == len(matching)
        with pytest.raises(FilterSyntaxError, match=f"{MAX_TERMS} terms") as caught:
            await store.read(longer)
        assert caught.value.pos == longer.rindex(word) + len(word)

    async def test_deep_nesting(self, store: StorageAdapter) -> None:
        """OC 6: as deep as a filter may be."""
        await store.load_entities(ALL)
        levels = MAX_NESTING - 1
        text = "(site and (nowhere or " * (levels // 2) + "site" + "))" * (levels // 2)

        assert ids(await store.read(text)) == ["site-1"]

    async def test_a_long_path(self, store: StorageAdapter) -> None:
        """F50, F58: its length alone bounds the walk."""
        await store.load_entities(
            {"id": Ref(f"e{i}"), "next": Ref(f"e{i + 1}")} | ({"end": MARKER} if i == 9 else {})
            for i in range(10)
        )

        path = "->".join(["next"] * 7)

        assert ids(await store.read(f"{path}->end")) == ["e2"]
        assert ids(await store.read("next->next->end")) == ["e7"]
        assert ids(await store.read(f"end or not {path}")) == [f"e{i}" for i in range(4, 10)]

    async def test_text_and_tree_say_the_same(self, store: StorageAdapter) -> None:
        """F50: whichever way it comes."""
        await store.load_entities(ENTITIES)

        for _, text, _found in CASES[::7]:
            assert await store.read(parse(text)) == await store.read(text)
