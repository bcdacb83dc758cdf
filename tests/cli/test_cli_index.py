"""`hsorm db index`."""

from __future__ import annotations

import pytest

from hsorm.kinds import Entity
from hsorm.ops.search import compile_search, search_words
from tests.cli.conftest import Hsorm


def test_indexes_are_made_and_dropped(loaded: str, hsorm: Hsorm) -> None:
    made = hsorm("db", "index", "area:number", "dis:string", "--url", loaded)
    again = hsorm("db", "index", "area:number", "--url", loaded)
    plan = hsorm("read", "area > 1", "--explain", "--url", loaded)
    dropped = hsorm("db", "index", "area:number", "dis:string", "--drop", "--url", loaded)
    nothing = hsorm("db", "index", "area:number", "--drop", "--url", loaded)

    assert made == (0, "Made entities_area_number_ix.\nMade entities_dis_string_ix.\n", "")
    assert again == (0, "Nothing to do.\n", "")
    assert plan.code == 0
    if loaded.startswith("sqlite"):
        assert "entities_area_number_ix" in plan.out
    assert dropped.out == "Dropped entities_area_number_ix.\nDropped entities_dis_string_ix.\n"
    assert nothing == (0, "Nothing to do: there are none of these.\n", "")


@pytest.mark.parametrize(
    ("given", "told"),
    [
        (["area"], "area: write the tag and its kind, as in area:number"),
        (
            ["area:size"],
            "area: an index is of kind number, string, date or datetime, not 'size'",
        ),
        (["Area:number"], "'Area' is no name of a tag"),
        (["a; drop:number"], "'a; drop' is no name of a tag"),
        (["area:number", "area:date"], "area is given twice, with different kinds"),
    ],
)
def test_a_wrong_declaration_is_told(
    loaded: str, hsorm: Hsorm, given: list[str], told: str
) -> None:
    result = hsorm("db", "index", *given, "--url", loaded)

    assert (result.code, result.out) == (2, "")
    assert told in result.err


def test_there_must_be_a_database(hsorm: Hsorm) -> None:
    missing = hsorm("db", "index", "area:number", "--url", "sqlite:///none.db")
    memory = hsorm("db", "index", "area:number", "--url", "memory://")

    assert missing.code == 1
    assert "there is no file none.db" in missing.err
    assert memory.code == 2


def test_a_search_finds_words(loaded: str, hsorm: Hsorm, entities: list[Entity]) -> None:
    found = hsorm("read", "point", "--search", "DISCH ahu-1", "--cols", "id", "--csv", "-u", loaded)
    counted = hsorm("read", "point", "--search", "DISCH ahu-1", "--count", "--url", loaded)
    explained = hsorm("read", "point", "--search", "disch", "--explain", "--url", loaded)
    long = hsorm("read", "point", "--search", "x" * 201, "--url", loaded)

    assert found.code == 0
    finds = compile_search(search_words("DISCH ahu-1"))
    expected = sorted(e["id"].val for e in entities if "point" in e and finds(e))
    assert expected
    assert [line.lstrip("@").split(" ")[0] for line in found.out.splitlines()[1:]] == expected
    assert counted.out == f"{len(expected)}\n"
    told = "search, on each entity found: disch" if loaded.startswith("redis") else "[dD][iI][sS]"
    assert told in explained.out
    assert (long.code, long.out) == (1, "")
    assert "too long a search: 201 characters, and 200 are the most" in long.err


def test_searches_are_indexed(loaded: str, hsorm: Hsorm) -> None:
    made = hsorm("db", "index", "--search", "--url", loaded)
    again = hsorm("db", "index", "--search", "--url", loaded)
    dropped = hsorm("db", "index", "--search", "--drop", "--url", loaded)
    nothing = hsorm("db", "index", "--search", "--drop", "--url", loaded)

    if loaded.startswith("redis"):
        assert made.code == dropped.code == 1
        assert "a search index is for" in made.err
        return
    assert made == (0, "Made entities_search_ix.\n", "")
    assert again == (0, "Nothing to do.\n", "")
    assert dropped == (0, "Dropped entities_search_ix.\n", "")
    assert nothing == (0, "Nothing to do: there are none of these.\n", "")


def test_an_index_over_nothing(hsorm: Hsorm) -> None:
    result = hsorm("db", "index", "--url", "sqlite:///none.db")

    assert result.code == 2
    assert "which tags?" in result.err
