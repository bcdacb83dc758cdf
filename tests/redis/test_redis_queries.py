"""Filters as queries of RediSearch: nothing means more than itself, nothing is cut short."""

from __future__ import annotations

import string
from typing import Any, Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hsorm.errors import StorageError
from hsorm.filter import parse, print_filter
from hsorm.filter.ast import MAX_TERMS, Cmp, CmpOp, Has, Path
from hsorm.kinds import MARKER, Entity, Number, Ref, Symbol, Uri
from hsorm.redis_ops import query, terms
from hsorm.redis_ops.index import TIMEOUT, search_rows
from hsorm.redis_ops.query import Answer, Plan, plan, questions
from hsorm.storage.redis import RedisAdapter
from hsorm.testing.conformance.examples import ids

_DIS: Final = Path(("dis",))
_SPECIAL: Final = [char for char in string.printable + "éß°²€\u00a0\u2028😀" if not char.isalnum()]

# ---- escaping -----------------------------------------------------------------------------------


async def test_every_special_character_means_itself(redis_store: RedisAdapter) -> None:
    """Alone, at either end, in between and doubled; as Str and as Uri."""
    texts = sorted(
        {
            form.format(char)
            for char in _SPECIAL
            for form in ("{0}", "{0}a", "a{0}", "a{0}b", "{0}{0}")
        }
        - {""}
    )
    entities: list[Entity] = [{"id": Ref(f"s{i}"), "dis": text} for i, text in enumerate(texts)]
    entities += [{"id": Ref(f"u{i}"), "dis": Uri(text)} for i, text in enumerate(texts)]
    await redis_store.load_entities(entities)

    for i, text in enumerate(texts):
        assert ids(await redis_store.read(Cmp(_DIS, CmpOp.EQ, text))) == [f"s{i}"], repr(text)
        assert ids(await redis_store.read(Cmp(_DIS, CmpOp.EQ, Uri(text)))) == [f"u{i}"], repr(text)


async def test_every_character_of_a_ref_means_itself(redis_store: RedisAdapter) -> None:
    """K20: `_ : - . ~` are those that are no letters and digits."""
    refs = ["a", "A", "a-", "-", "a.b", "a:b", "a~b", "_", "~", "a--b", "a_b", "ab"]
    await redis_store.load_entities(
        {"id": Ref(f"e.{ref}"), "to": Ref(ref), "many": [Ref(ref), Ref(f"{ref}~")]} for ref in refs
    )

    for ref in refs:
        assert ids(await redis_store.read(f"to == @{ref}")) == [f"e.{ref}"]
        assert f"e.{ref}" in ids(await redis_store.read(f"many == @{ref}"))
        assert ids(await redis_store.read(f"id == @e.{ref}")) == [f"e.{ref}"]


@given(st.text())
def test_an_escaped_text_holds_nothing_that_means_something(text: str) -> None:
    escaped = query.escape(text)

    assert escaped.replace("\\\\", "").replace("\\", "") or not text.strip("\\")
    plain = iter(escaped)
    for char in plain:
        if char == "\\":
            next(plain)
        else:
            assert char.isascii()
            assert char.isalnum() or char == "_"


@given(st.text(max_size=80), st.text(max_size=80))
def test_texts_share_a_token_only_if_they_are_the_same(one: str, other: str) -> None:
    assert (terms.encoded(one) == terms.encoded(other)) is (one == other)


@given(st.text(max_size=80))
def test_a_token_is_one_token(text: str) -> None:
    """No separator in it, no blank at an end, which RediSearch would cut off."""
    token = terms.value_token("dis", text)

    assert token is not None
    assert terms.SEPARATOR not in token
    assert token == token.strip()
    assert token.isascii()


async def test_a_short_text_is_not_its_hash(redis_store: RedisAdapter) -> None:
    hashed = terms.encoded("a,b")
    await redis_store.load_entities(
        [{"id": Ref("a"), "dis": "a,b"}, {"id": Ref("b"), "dis": hashed}]
    )

    assert ids(await redis_store.read(Cmp(_DIS, CmpOp.EQ, hashed))) == ["b"]
    assert ids(await redis_store.read(Cmp(_DIS, CmpOp.EQ, "a,b"))) == ["a"]


# ---- plans --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    [
        "site", "not site", "site and not equip", "siteRef == @a", "siteRef != @a",
        'dis == "a, b"', 'dis != "x"', "on == true", "def == ^hot-water", "^hot-water", "id == @a",
        "ahu or (vav and not fan)", "x == `http://a/`", "curStatus == \"ok\"", "Site",
        'siteRef->geoCity == "Oslo"', "equipRef->siteRef->site", "not equipRef->ahu",
    ],
)  # fmt: skip
def test_what_the_query_decides(text: str) -> None:
    node = parse(text)
    answers = {question.term: Answer(("a", "b"), odd=False) for question in questions(node)}

    made = plan(node, answers=answers)

    assert made.residual is None


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("site and area > 5", "area > 5"),
        ("area == 5kW", "area == 5kW"),
        ('site and dis < "b"', 'dis < "b"'),
        ("site or area > 5", "site or area > 5"),
        ("site and mod > 2024-01-01T00:00:00Z", "mod > 2024-01-01T00:00:00Z"),
        ("ahu and siteRef->area > 5", "siteRef->area > 5"),
    ],
)
def test_what_is_left(text: str, left: str) -> None:
    """Also of a path whose far side is unknown, or too much."""
    for answers in (
        {},
        {question.term: Answer(None, False) for question in questions(parse(text))},
    ):
        made = plan(parse(text), answers=answers)

        assert made.residual is not None
        assert print_filter(made.residual) == print_filter(parse(left))


def test_an_index_decides_what_it_is_over() -> None:
    indexes = terms.check_indexes({"area": "number", "installed": "date", "lastTs": "datetime"})

    decided = [
        plan(parse(text), indexes).residual is None
        for text in (
            "area > 5kW", "area <= 5", "area != 5", "installed < 2024-01-01",
            "lastTs >= 2024-01-01T00:00:00Z", "installed < 5", "other > 5",
        )
    ]  # fmt: skip

    assert decided == [True, True, True, True, True, False, False]


def test_a_query_stays_within_what_redisearch_can_parse() -> None:
    """Deeper, the whole filter is left; of the longest nothing is."""
    deep = parse("a and (b or " * 60 + "c" + ")" * 60)
    long = parse(" or ".join(f"a{i}" for i in range(MAX_TERMS)))

    assert plan(deep) == Plan("*", deep)
    assert plan(long).residual is None


async def test_deep_and_long_filters_are_answered(redis_store: RedisAdapter) -> None:
    await redis_store.load_entities([{"id": Ref("x"), "a": MARKER, "c": MARKER, "a7": MARKER}])
    deep = "a and (b or " * 60 + "a and c" + ")" * 60

    assert ids(await redis_store.read(deep)) == ["x"]
    assert await redis_store.read_count(" or ".join(f"a{i}" for i in range(MAX_TERMS))) == 1
    assert await redis_store.read_count(" and ".join(["a"] * MAX_TERMS)) == 1


async def test_explain_says_what_is_exact_and_what_is_left(redis_store: RedisAdapter) -> None:
    await redis_store.load_entities(
        [{"id": Ref("s"), "site": MARKER}, {"id": Ref("a"), "ahu": MARKER, "siteRef": Ref("s")}]
    )

    told = await redis_store.explain("ahu and siteRef->site and area > 5", 3, search="x")
    exact = await redis_store.explain("ahu and siteRef->site", 3)
    nothing = await redis_store.explain("Spec")

    assert "residual, on each entity found: area > 5" in told.plan
    assert "search, on each entity found: x" in told.plan
    assert {"exact: ahu", "exact: siteRef->site"} <= set(told.plan)
    assert told.sql.startswith("FT.AGGREGATE ")
    assert "SORTBY id LIMIT 0 3" in exact.sql
    assert not [line for line in exact.plan if "residual" in line]
    assert nothing.sql == "nothing matches"


async def test_paths_are_answered_by_one_query_more(redis_store: RedisAdapter) -> None:
    """Not by a look at each of the 2,000 refs; and an exact count reads no entity."""
    sites = [{"id": Ref(f"s{i}"), "site": MARKER, "geoCity": f"c{i % 7}"} for i in range(20)]
    equips = [{"id": Ref(f"e{i}"), "siteRef": Ref(f"s{i % 20}")} for i in range(2_000)]
    await redis_store.load_entities([*sites, *equips])
    asked: list[Any] = []
    read_all = redis_store.server.read_all

    async def counted(*args: Any, **options: Any) -> list[Any]:
        answers = await read_all(*args, **options)
        asked.append(answers)
        return answers

    redis_store.server.read_all = counted  # type: ignore[method-assign]
    count = await redis_store.read_count('siteRef->geoCity == "c3"')

    assert count == 300
    assert len(asked) <= 6
    assert "tags" not in str(asked)


# ---- whole answers ------------------------------------------------------------------------------


async def test_more_than_ten_thousand_arrive_whole(redis_store: RedisAdapter) -> None:
    """RediSearch gives 10 rows unless told otherwise, and half a second of rows."""
    await redis_store.load_entities(
        {"id": Ref(f"e{i:05}"), "n": Number(i), "even": MARKER} if i % 2 == 0
        else {"id": Ref(f"e{i:05}"), "n": Number(i)}
        for i in range(12_000)
    )  # fmt: skip

    found = await redis_store.read("n")
    left = await redis_store.read("n >= 11000")

    assert ids(found) == [f"e{i:05}" for i in range(12_000)]
    assert len(left) == 1_000
    assert ids(await redis_store.read("even", 11)) == [f"e{i:05}" for i in range(0, 22, 2)]
    assert await redis_store.read_count("not even") == 6_000
    bucket = redis_store.layout.buckets[0]
    cut = ("FT.AGGREGATE", bucket.alias, "*", "LOAD", 1, "@tags", "TIMEOUT", 1, "DIALECT", 2)
    answer = await redis_store.server.read(bucket, *cut)  # ten times what a millisecond is for
    with pytest.raises(StorageError, match="cut short"):
        search_rows(answer)
    assert TIMEOUT > 3_600_000


@pytest.mark.parametrize("protocol", [2, 3])
async def test_the_shapes_of_both_protocols(redis_url: str, protocol: int) -> None:
    async with RedisAdapter(f"{redis_url}&protocol={protocol}") as store:
        await store.load_entities(
            [
                {"id": Ref("a"), "x": MARKER, "def": Symbol("hot-water"), "curVal": Number(1)},
                {"id": Ref("b"), "x": MARKER},
            ]
        )

        assert ids(await store.read("x")) == ["a", "b"]
        assert ids(await store.read("x", 1)) == ["a"]
        assert await store.read_count(Has(Path(("x",)))) == 2
        assert (await store.read("curVal == 1"))[0]["def"] == Symbol("hot-water")
        assert (await store.explain("x")).plan
        assert (await store.about())["entities"] == Number(2)
