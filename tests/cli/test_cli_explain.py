"""`read --explain`: the SQL of a filter, what is bound in it, and the plan."""

from __future__ import annotations

from pathlib import Path

import pytest

from hsorm import open_storage
from hsorm.storage.protocol import Explainer
from tests.cli.conftest import Hsorm


def test_explain_shows_sql_parameters_and_plan(
    hsorm: Hsorm, url: str, files: dict[str, Path]
) -> None:
    assert hsorm("load", files["json"], "--url", url).code == 0

    result = hsorm("read", 'ahu and dis == "so named"', "--explain", "--url", url)

    assert result.code == 0
    if url.startswith("redis"):
        assert result.out.startswith("FT.AGGREGATE ")
        assert 'exact: dis == "so named"' in result.out
        return
    sql, params, plan = (
        result.out.replace("\nParameters\n", "\0").replace("\nPlan\n", "\0").split("\0")
    )
    assert sql.startswith("SELECT entities.id")
    assert "so named" in params
    assert "so named" not in sql
    assert "entities" in plan


def test_explain_reads_nothing_and_keeps_the_limit(hsorm: Hsorm, plant: str) -> None:
    result = hsorm("read", "site", "--explain", "--limit", "3", "--url", plant)

    assert "Harbor House" not in result.out
    assert "LIMIT" in result.out


def test_a_file_in_memory_has_no_plan(hsorm: Hsorm, files: dict[str, Path]) -> None:
    result = hsorm("read", "site", "--explain", "--from", files["json"])

    assert result.code == 2
    assert "no plan" in result.err


async def test_which_backends_explain(tmp_path: Path) -> None:
    async with (
        open_storage("memory://") as memory,
        open_storage(f"sqlite:///{tmp_path}/a.db") as file,
    ):
        assert not isinstance(memory, Explainer)
        assert isinstance(file, Explainer)
        explained = await file.explain("a->b->c", 5)

    assert explained.plan
    with pytest.raises(AttributeError):
        explained.sql = ""  # type: ignore[misc]
