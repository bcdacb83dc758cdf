"""`his export` and `his import` of CSV, Zinc and Parquet."""

from __future__ import annotations

import datetime as dt
import shutil
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from hsorm.codecs import zinc
from hsorm.kinds import Ref
from tests.cli.conftest import Hsorm
from tests.cli.test_cli_history import DAY, FAN, MODE, TEMP, val_of

IDS = (TEMP, FAN, MODE)


@pytest.fixture
def filled(hsorm: Hsorm, loaded: str, tmp_path: Path) -> str:
    (tmp_path / "in.csv").write_text(
        f"ts,{TEMP},{FAN},{MODE}\n"
        "2024-03-08 08:00,70.25,true,heating\n"
        "2024-03-08 08:15,NA,,\n"
        '2024-03-08 08:30,-INF,false,"""NA"""\n',
        "utf-8",
    )
    assert hsorm("his", "import", "in.csv", "-u", loaded).code == 0
    return loaded


def _all(hsorm: Hsorm, url: str) -> list[list[object]]:
    return [val_of(hsorm, url, id) for id in IDS]


@pytest.mark.parametrize("file", ["out.csv", "out.zinc", "out.parquet"])
def test_what_is_exported_is_imported_again(hsorm: Hsorm, filled: str, file: str) -> None:
    before = _all(hsorm, filled)

    out = hsorm("his", "export", *IDS, DAY, "-o", file, "-u", filled)
    for id in IDS:
        for minute in (0, 15, 30):
            ts = f"2024-03-08T08:{minute:02}:00-05:00"
            hsorm("his", "write", id, ts, "R", "-u", filled)
    assert _all(hsorm, filled) == [[], [], []]
    first = hsorm("his", "import", file, "-u", filled)
    again = hsorm("his", "import", file, "-u", filled)

    assert (out.code, out.out) == (0, f"Exported 7 items of 3 points into {file}.\n")
    assert first == again == (0, "Wrote 7 items of 3 points.\n", "")
    assert _all(hsorm, filled) == before


def test_export_of_everything_goes_to_standard_output(hsorm: Hsorm, filled: str) -> None:
    result = hsorm("his", "export", TEMP, FAN, "-u", filled)

    assert result.out.splitlines() == [
        f"ts,{TEMP},{FAN}",
        "2024-03-08T08:00:00-05:00 New_York,70.25,true",
        "2024-03-08T08:15:00-05:00 New_York,NA,",
        "2024-03-08T08:30:00-05:00 New_York,-INF,false",
    ]


def test_names_in_a_file_are_mapped_to_points(hsorm: Hsorm, plant: str, tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("ts,T1\n2024-03-08 08:00,70\n", "utf-8")
    (tmp_path / "b.csv").write_text("ts,val\n2024-03-08 09:00,71\n", "utf-8")
    stamp = dt.datetime(2024, 3, 8, 15, tzinfo=dt.UTC)
    columns = {"ts": pa.array([stamp]), "T1": pa.array([72]), "F1": pa.array([True])}
    pq.write_table(pa.table(columns), tmp_path / "c.parquet")

    result = hsorm(
        "his", "import", "a.csv", "b.csv", "c.parquet", "--id", TEMP, "-u", plant,
        "--map", f"T1={TEMP}", "--map", f"F1=@{FAN}",
    )  # fmt: skip

    assert result == (0, "Wrote 4 items of 2 points.\n", "")
    assert [val.val for val in val_of(hsorm, plant, TEMP)] == [70, 71, 72]  # type: ignore[attr-defined]
    assert val_of(hsorm, plant, FAN) == [True]


def test_zinc_of_one_point(hsorm: Hsorm, filled: str, tmp_path: Path) -> None:
    text = hsorm("his", "read", TEMP, DAY, "--zinc", "-u", filled).out
    (tmp_path / "one.zinc").write_text(text, "utf-8")

    assert zinc.loads(text).meta["id"] == Ref(TEMP)
    assert hsorm("his", "import", "one.zinc", "-u", filled).out == "Wrote 3 items of 1 point.\n"


def test_a_bad_row_is_named_and_nothing_of_its_file_is_written(
    hsorm: Hsorm, plant: str, tmp_path: Path
) -> None:
    (tmp_path / "good.csv").write_text(f"ts,{TEMP}\n2024-03-08 08:00,70\n", "utf-8")
    grid = 'ver:"3.0" id:@%s\nts,val\n2024-03-08T14:00:00Z UTC,71\n2024-03-08T15:00:00Z UTC,T\n'
    (tmp_path / "bad.zinc").write_text(grid % TEMP, "utf-8")
    stamps = [dt.datetime(2024, 3, 8, hour, tzinfo=dt.UTC) for hour in (16, 17)]
    columns = {"id": [TEMP, FAN], "ts": stamps, "val": [1.0, 2.0]}
    pq.write_table(pa.table(columns), tmp_path / "bad.parquet")
    (tmp_path / "none.parquet").write_text("no Parquet", "utf-8")

    for file, says in (
        ("bad.zinc", "bad.zinc: row 2, @"),
        ("bad.parquet", "bad.parquet, row 2: @"),
        ("none.parquet", "no Parquet"),
    ):
        result = hsorm("his", "import", "good.csv", file, "-u", plant)
        assert (result.code, result.out) == (1, "")
        assert says in result.err
        assert "imported before it: good.csv" in result.err

    assert [val.val for val in val_of(hsorm, plant, TEMP)] == [70]  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("args", "says"),
    [
        (("import", "x.csv", "--map", "T1"), "NAME=ID"),
        (("export", TEMP, "-o", "x.xls"), ".parquet"),
    ],
)
def test_wrong_options(hsorm: Hsorm, plant: str, args: tuple[str, ...], says: str) -> None:
    result = hsorm("his", *args, "-u", plant)

    assert (result.code, result.out) == (2, "")
    assert says in result.err


@pytest.mark.parametrize(
    "rows",
    [
        "2024-03-08T14:00:00Z UTC,71,T\n2024-03-08T14:15:00Z UTC,,NA\n",
        "2024-03-08T09:00:00-05:00 New_York,71.5°F,N\n2024-03-08T09:15:00-05:00 New_York,NaN,F\n",
        "2024-03-08T14:00:00Z,-INF,F\n2024-03-08T14:15:00.25Z,1e3°F,\n",
        '2024-03-08T14:00:00Z,1,N\n2024-03-08T14:15:00Z,{"_":1},N\n',
        "2024-03-08T14:00:00Z,1°C,N\n",
        "2024-03-08T14:00:00Z,1,N\n\n2024-03-08T14:15:00Z,2,N\n",
        "2024-03-08T14:00:00 New_York,1,N\n",
        "2024-03-08T14:00:00Z,1,N,N\n",
        "2024-03-08T14:00:00Z Nowhere,1,N\n",
        "2024-03-08 14:00:00Z,1,N\n",
        "2024-02-30T14:00:00Z,1,N\n",
        "1949-02-03T14:00:00Z,1,N\n",
        "2024-03-08T14:00:00Z,R,N\n2024-03-08T14:00:00Z,2,N\n",
        "",
    ],
)
def test_zinc_is_the_same_with_arrow_and_without(
    hsorm: Hsorm, plant: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rows: str
) -> None:
    text = f'ver:"3.0"\nts,v0 id:@{TEMP},v1 id:@{FAN}\n{rows}'
    (tmp_path / "a.zinc").write_text(text, "utf-8")

    shutil.copy(tmp_path / "plant.db", tmp_path / "other.db")

    with_arrow = hsorm("his", "import", "a.zinc", "-u", plant)
    monkeypatch.setattr("hsorm.cli.his.find_spec", lambda name: None)
    without = hsorm("his", "import", "a.zinc", "-u", f"sqlite:///{tmp_path}/other.db")

    assert with_arrow == without
    for id in (TEMP, FAN):
        assert val_of(hsorm, plant, id) == val_of(hsorm, f"sqlite:///{tmp_path}/other.db", id)
