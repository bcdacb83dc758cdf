"""`hsorm demo`, and what it says to type next."""

from __future__ import annotations

import shlex
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from hsorm.cli.app import run
from tests.cli.conftest import Hsorm


@pytest.fixture
def toured(hsorm: Hsorm) -> str:
    result = hsorm("demo", "--days", "3")

    assert (result.code, result.err) == (0, "")
    return result.out


def test_the_tour_shows_counts_filters_tree_and_plots(toured: str) -> None:
    assert "490 entities: 1 site, 4 floors, 24 rooms, 52 equips, 408 points." in toured
    assert "$ hsorm read 'ahu or siteMeter'" in toured
    assert "@demo.elec-main" in toured
    assert "├── AHU-1  @demo.ahu-1" in toured
    assert "Harbor House Main Elec Meter Power (kW)" in toured
    assert "Zone Air Temp (°F)" in toured
    assert max(map(len, toured.splitlines())) <= 140


def test_what_to_type_next_works(toured: str, hsorm: Hsorm) -> None:
    commands = [line for line in toured.splitlines() if " -u sqlite:///demo.db " in line]
    assert len(commands) >= 5

    for line in commands:
        words = shlex.split(line)
        result = hsorm(*words[words.index("-u") :])
        assert (result.code, result.err) == (0, ""), line
        assert result.out


def test_the_filters_of_the_tour_give_what_it_shows(toured: str, hsorm: Hsorm) -> None:
    commands = [line for line in toured.splitlines() if line.startswith("$ hsorm read")]

    for line in commands:
        result = hsorm(*shlex.split(line)[2:], "-u", "sqlite:///demo.db")
        assert result.out in toured


def test_a_second_run_replaces_its_own_file(hsorm: Hsorm, tmp_path: Path) -> None:
    assert hsorm("demo", "--days", "1").code == 0
    assert hsorm("demo", "--days", "2", "--seed", "7").code == 0

    assert hsorm("read", "id", "-c", "-u", "sqlite:///demo.db").out == "490\n"
    assert [path.name for path in tmp_path.iterdir()] == ["demo.db"]


def test_other_peoples_files_are_left_alone(hsorm: Hsorm, tmp_path: Path) -> None:
    (tmp_path / "own.trio").write_text("id: @own\nsite\n", "utf-8")
    hsorm("load", "own.trio", "-u", "sqlite:///demo.db")
    before = (tmp_path / "demo.db").read_bytes()

    refused = hsorm("demo", "--days", "1")
    assert refused.code == 1
    assert "--force" in refused.err
    assert (tmp_path / "demo.db").read_bytes() == before
    (tmp_path / "notes.db").write_text("my notes", "utf-8")
    assert hsorm("demo", "--days", "1", "--file", "notes.db").code == 1
    assert (tmp_path / "notes.db").read_text("utf-8") == "my notes"

    assert hsorm("demo", "--days", "1", "--force").code == 0
    assert hsorm("read", "id", "-c", "-u", "sqlite:///demo.db").out == "490\n"


def test_a_demo_file_with_ones_own_entities_is_left_alone(hsorm: Hsorm, tmp_path: Path) -> None:
    hsorm("demo", "--days", "1")
    (tmp_path / "own.trio").write_text("id: @own\nsite\n", "utf-8")
    hsorm("load", "own.trio", "-u", "sqlite:///demo.db")

    assert hsorm("demo", "--days", "1").code == 1
    assert hsorm("read", "id", "-c", "-u", "sqlite:///demo.db").out == "491\n"


def test_the_file_may_have_any_name(hsorm: Hsorm, tmp_path: Path) -> None:
    file = tmp_path / "my plant's 100%.db"

    result = hsorm("demo", "--days", "1", "--file", file)

    assert result.code == 0
    line = next(line for line in result.out.splitlines() if line.endswith("about"))
    words = shlex.split(line)
    assert hsorm(*words[words.index("-u") :]).code == 0
    with closing(sqlite3.connect(file)) as connection:
        assert connection.execute("SELECT count(*) FROM entities").fetchone() == (490,)


def test_a_folder_that_is_not_there_is_one_line(hsorm: Hsorm) -> None:
    result = hsorm("demo", "--days", "1", "--file", "no/such/demo.db")

    assert (result.code, result.out) == (1, "")
    assert result.err == "hsorm: no/such/demo.db: there is no folder no/such\n"


@pytest.mark.parametrize("width", [80, 100, 120])
def test_the_demo_fits_its_terminal(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], width: int
) -> None:
    monkeypatch.setenv("COLUMNS", str(width))

    assert run(["demo", "--days", "1"]) == 0

    lines = capsys.readouterr().out.splitlines()
    wide = [line for line in lines if len(line) > width and not line.startswith("$")]
    assert all(" -u sqlite:///demo.db " in line for line in wide)
