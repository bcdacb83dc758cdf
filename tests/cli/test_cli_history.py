"""`his read`, `write`, `import` and `plot`."""

from __future__ import annotations

import asyncio
import datetime as dt
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess
from zoneinfo import ZoneInfo

import pytest

from hsorm.cli._plot import Series, path_of
from hsorm.cli.his import plot_series
from hsorm.codecs import hayson, zinc
from hsorm.kinds import Number, Ref
from hsorm.storage import open_storage
from tests.cli.conftest import Hsorm

POWER, TEMP, FAN, MODE = (
    "demo.elec-main.power",
    "demo.vav-1-1.zone-temp",
    "demo.ahu-1.fan-status",
    "demo.ahu-1.mode",
)
DAY = "2024-03-08"


def val_of(hsorm: Hsorm, url: str, id: str, range: str = DAY) -> list[object]:
    return [
        row["val"]
        for row in zinc.loads(hsorm("his", "read", id, range, "--zinc", "-u", url).out).rows
    ]


# ---- write and read -----------------------------------------------------------------------------


def test_what_is_written_is_read(hsorm: Hsorm, loaded: str) -> None:
    for id, ts, value in (
        (TEMP, "2024-03-08T08:00:00-05:00", "72.5°F"),
        (TEMP, "2024-03-08 08:15 New_York", "-5"),
        (TEMP, "2024-03-08T13:30:00Z", "NA"),
        (FAN, "2024-03-08T08:00:00-05:00 New_York", "true"),
        (MODE, "2024-03-08T08:00:00-05:00", '"cooling"'),
    ):
        result = hsorm("his", "write", id, ts, value, "--url", loaded)
        assert (result.code, result.err) == (0, "")
        assert result.out.startswith("Wrote ")
    # The time is told as `his read` tells it: in the zone of the point.
    assert result.out == f"Wrote cooling at 2024-03-08T08:00:00-05:00 New_York into @{MODE}.\n"

    table = hsorm("his", "read", TEMP, DAY, "--url", loaded).out
    assert table.splitlines() == [
        "ts                                     val",
        "2024-03-08T08:00:00-05:00 New_York  72.5°F",
        "2024-03-08T08:15:00-05:00 New_York    -5°F",
        "2024-03-08T08:30:00-05:00 New_York      NA",
        "3 items",
    ]
    assert val_of(hsorm, loaded, FAN) == [True]
    assert val_of(hsorm, loaded, MODE) == ["cooling"]


def test_remove_deletes_an_item(hsorm: Hsorm, loaded: str) -> None:
    hsorm("his", "write", TEMP, "2024-03-08T13:00:00Z", "70", "--url", loaded)

    result = hsorm("his", "write", TEMP, "2024-03-08T13:00:00Z", "R", "--url", loaded)

    assert result.out == f"Deleted what @{TEMP} had at 2024-03-08T08:00:00-05:00 New_York.\n"
    empty = hsorm("his", "read", TEMP, DAY, "-u", loaded).out
    assert empty == f"No history in {DAY}, nor at any other time.\n"


def test_a_range_without_history_says_when_there_is_some(hsorm: Hsorm, loaded: str) -> None:
    hsorm("his", "write", TEMP, "2024-03-08T13:00:00Z", "70", "--url", loaded)

    result = hsorm("his", "read", TEMP, "2024-03-09", "--url", loaded)

    at = "2024-03-08T08:00:00-05:00 New_York"
    assert result.out == f"No history in 2024-03-09. There is some from {at} to {at}.\n"


def test_now_is_a_time(hsorm: Hsorm, plant: str) -> None:
    assert hsorm("his", "write", TEMP, "now", "71", "-u", plant).code == 0
    since = (dt.datetime.now(dt.UTC) - dt.timedelta(minutes=5)).strftime("%Y-%m-%dT%H:%M:%SZ")
    assert val_of(hsorm, plant, TEMP, since) == [Number(71, "°F")]


@pytest.mark.parametrize(
    ("id", "ts", "value", "code", "says"),
    [
        (TEMP, "2024-03-08T08:00:00", "5", 2, "neither an offset nor a zone"),
        (TEMP, "yesterday", "5", 2, "no dateTime"),
        (TEMP, "2024-02-30T08:00:00Z", "5", 2, "calendar"),
        (TEMP, "2024-03-08 08:00 Nowhere", "5", 2, "Nowhere"),
        (TEMP, "2024-03-10 02:30 New_York", "5", 2, "skip"),
        (TEMP, "now", "oops", 2, "quotes"),
        (TEMP, "now", "5°C", 1, "units are not converted"),
        (TEMP, "now", '"warm"', 1, "kind is Number"),
        ("demo.nope", "now", "5", 1, "no entity has the id @demo.nope"),
        ("demo.ahu-1", "now", "5", 1, "history of @demo.ahu-1"),
    ],
)
def test_a_bad_item_is_one_clear_error(
    hsorm: Hsorm, loaded: str, id: str, ts: str, value: str, code: int, says: str
) -> None:
    result = hsorm("his", "write", id, ts, value, "--url", loaded)

    assert (result.code, result.out) == (code, "")
    assert says in result.err
    assert result.err.count("\n") == 1


def test_outputs_for_machines_read_back(hsorm: Hsorm, plant: str) -> None:
    for minute in (0, 15):
        hsorm(
            "his", "write", TEMP, f"2024-03-08T08:{minute:02}:00-05:00", f"7{minute}", "-u", plant
        )
    zone = ZoneInfo("America/New_York")
    wanted = [
        {"ts": dt.datetime(2024, 3, 8, 8, minute, tzinfo=zone), "val": Number(val, "°F")}
        for minute, val in ((0, 70), (15, 715))
    ]

    json = hayson.loads(hsorm("his", "read", TEMP, DAY, "--json", "-u", plant).out)
    text = hsorm("his", "read", TEMP, DAY, "--csv", "-u", plant).out

    assert json.meta == {"id": Ref(TEMP)}
    assert list(json.rows) == wanted
    assert (
        list(zinc.loads(hsorm("his", "read", TEMP, DAY, "--zinc", "-u", plant).out).rows) == wanted
    )
    assert text == (
        f"ts,{TEMP}\n2024-03-08T08:00:00-05:00 New_York,70\n"
        "2024-03-08T08:15:00-05:00 New_York,715\n"
    )


# ---- import -------------------------------------------------------------------------------------


def test_wide_csv_is_imported(hsorm: Hsorm, loaded: str, tmp_path: Path) -> None:
    (tmp_path / "wide.csv").write_text(
        f"ts,{TEMP},@{FAN},{MODE}\n"
        "2024-03-08 08:00,70.5,true,heating\n"
        '2024-03-08T13:15:00Z,71.5°F,,"with, comma"\n'
        '2024-03-08T08:30:00-05:00,NA,false,"""NA"""\n',
        "utf-8",
    )

    result = hsorm("his", "import", "wide.csv", "--url", loaded)

    assert (result.code, result.out, result.err) == (0, "Wrote 8 items of 3 points.\n", "")
    again = hsorm("his", "import", "wide.csv", "--url", loaded)
    assert again.out == result.out
    temps = val_of(hsorm, loaded, TEMP)
    assert temps[:2] == [Number(70.5, "°F"), Number(71.5, "°F")]
    assert len(temps) == 3
    assert val_of(hsorm, loaded, FAN) == [True, False]
    assert val_of(hsorm, loaded, MODE) == ["heating", "with, comma", "NA"]


def test_long_csv_is_imported(hsorm: Hsorm, plant: str, tmp_path: Path) -> None:
    (tmp_path / "long.csv").write_text(
        f"id;ts;val\n{TEMP};2024-03-08 08:00;70\n\n@{FAN};2024-03-08 08:00;T\n"
        f"{TEMP};2024-03-08 08:15;71\n{TEMP};2024-03-08 08:15;R\n",
        "utf-8-sig",
    )

    assert hsorm("his", "import", "long.csv", "-u", plant).code == 0
    assert val_of(hsorm, plant, TEMP) == [Number(70, "°F")]
    assert val_of(hsorm, plant, FAN) == [True]


def test_naive_times_of_the_repeated_hour_follow_their_order(
    hsorm: Hsorm, plant: str, tmp_path: Path
) -> None:
    rows = "".join(
        f"2024-11-03 {hour:02}:{minute:02},{at}\n"
        for at, (hour, minute) in enumerate([(0, 30), (1, 0), (1, 30), (1, 0), (1, 30), (2, 0)])
    )
    (tmp_path / "fall.csv").write_text(f"ts,{TEMP}\n{rows}", "utf-8")

    hsorm("his", "import", "fall.csv", "-u", plant)

    assert [val.val for val in val_of(hsorm, plant, TEMP, "2024-11-03")] == [0, 1, 2, 3, 4, 5]  # type: ignore[attr-defined]


@pytest.mark.parametrize("id", [TEMP, FAN, MODE])
def test_csv_that_was_read_can_be_imported(
    hsorm: Hsorm, plant: str, tmp_path: Path, id: str
) -> None:
    values = {TEMP: ["70.25", "NA", "-INF"], FAN: ["true", "NA"], MODE: ['"NA"', '" x"', "NA"]}[id]
    for minute, value in enumerate(values):
        assert (
            hsorm("his", "write", id, f"2024-03-08T08:{minute:02}:00Z", value, "-u", plant).code
            == 0
        )
    before = val_of(hsorm, plant, id)
    assert len(before) == len(values)
    (tmp_path / "out.csv").write_text(
        hsorm("his", "read", id, DAY, "--csv", "-u", plant).out, "utf-8"
    )
    for minute in range(len(values)):
        hsorm("his", "write", id, f"2024-03-08T08:{minute:02}:00Z", "R", "-u", plant)
    assert val_of(hsorm, plant, id) == []

    assert hsorm("his", "import", "out.csv", "-u", plant).code == 0

    assert val_of(hsorm, plant, id) == before


BAD_CSV = {
    "no header": ("2024-03-08 08:00,5\n", "line 1", "header"),
    "empty": ("", "", "empty"),
    "short row": (f"ts,{TEMP},{FAN}\n2024-03-08 08:00,5\n", "line 2", "2 cells"),
    "bad time": (f"ts,{TEMP}\n2024-03-08 08:00,5\n8 March,6\n", "line 3", "'8 March'"),
    "skipped time": (f"ts,{TEMP}\n2024-03-10 02:30,5\n", "line 2", "skip"),
    "bad value": (f"ts,{TEMP}\n2024-03-08 08:00,5\n2024-03-08 09:00,1.2.3\n", "line 3", "1.2.3"),
    "wrong unit": (f"ts,{TEMP}\n2024-03-08 08:00,5kW\n", "line 2", "kW"),
    "wrong kind": (f"ts,{FAN}\n2024-03-08 08:00,1\n", "line 2", "kind"),
    "too early": (f"ts,{TEMP}\n1912-03-08 08:00,1\n", "line 2", "1950"),
    "unknown point": (f"ts,{TEMP},nope\n2024-03-08 08:00,5,6\n", "line 2", "@nope"),
    "no history": ("ts,demo.ahu-1\n2024-03-08 08:00,5\n", "line 2", "@demo.ahu-1"),
    "twice": (f"ts,{TEMP},{TEMP}\n2024-03-08 08:00,5,6\n", "line 1", "two columns"),
    "no value": (f"id,ts,val\n{TEMP},2024-03-08 08:00,\n", "line 2", "empty"),
    "open quote": (f'ts,{TEMP}\n2024-03-08 08:00,"5\n', "line 2", "CSV"),
}


@pytest.mark.parametrize("case", BAD_CSV)
def test_a_bad_row_names_line_and_reason_and_nothing_is_written(
    hsorm: Hsorm, loaded: str, tmp_path: Path, case: str
) -> None:
    text, place, reason = BAD_CSV[case]
    (tmp_path / "bad.csv").write_text(text, "utf-8")

    result = hsorm("his", "import", "bad.csv", "--url", loaded)

    assert (result.code, result.out) == (1, "")
    assert result.err.startswith("hsorm: bad.csv")
    assert place in result.err
    assert reason in result.err
    assert result.err.count("\n") == 1
    assert val_of(hsorm, loaded, TEMP) == []


def test_import_reads_standard_input(
    process: Callable[..., CompletedProcess[bytes]], hsorm: Hsorm, plant: str
) -> None:
    done = process(
        "his", "import", "-", "-u", plant, stdin=f"ts,{TEMP}\n2024-03-08 08:00,5\n".encode()
    )

    assert (done.returncode, done.stdout) == (0, b"Wrote 1 item of 1 point.\n")
    assert len(val_of(hsorm, plant, TEMP)) == 1


# ---- plot ---------------------------------------------------------------------------------------


@pytest.fixture
def filled(hsorm: Hsorm, plant: str, tmp_path: Path) -> str:
    start = dt.datetime(2024, 3, 8, tzinfo=ZoneInfo("America/New_York"))
    rows = "".join(
        f"{(start + dt.timedelta(minutes=15 * at)).isoformat()},{60 + at % 30},"
        f"{str(at % 48 > 20).lower()},{at}\n"
        for at in range(96)
    )
    (tmp_path / "day.csv").write_text(f"ts,{TEMP},{FAN},{POWER}\n{rows}", "utf-8")
    assert hsorm("his", "import", "day.csv", "-u", plant).code == 0
    return plant


def test_plot_has_title_unit_and_axis(hsorm: Hsorm, filled: str) -> None:
    result = hsorm("his", "plot", TEMP, DAY, "-u", filled)

    assert (result.code, result.err) == (0, "")
    assert "Harbor House VAV 1-1 Zone Air Temp (°F)" in result.out
    assert "Fri 08" in result.out
    assert "12:00" in result.out
    assert max(map(len, result.out.splitlines())) <= 120


def test_plots_of_several_points_share_an_axis_by_unit(hsorm: Hsorm, filled: str) -> None:
    out = hsorm("his", "plot", TEMP, POWER, FAN, DAY, "-u", filled).out

    assert out.count("┌") == 3
    assert "true┤" in out
    assert "false┤" in out


def test_plot_as_png(hsorm: Hsorm, filled: str, tmp_path: Path) -> None:
    result = hsorm("his", "plot", TEMP, FAN, DAY, "--png", "day.png", "-u", filled)

    assert result == (0, "Plotted 2 points into day.png\n", "")
    assert (tmp_path / "day.png").read_bytes().startswith(b"\x89PNG")


def test_texts_are_bands_of_states(hsorm: Hsorm, filled: str, tmp_path: Path) -> None:
    for hour, mode in ((8, '"heating"'), (12, '"cooling"'), (16, "NA"), (20, '"off $x$"')):
        assert hsorm("his", "write", MODE, f"2024-03-08 {hour:02}:00 New_York", mode, "-u", filled)

    shown = hsorm("his", "plot", MODE, DAY, "-u", filled)
    saved = hsorm("his", "plot", TEMP, MODE, FAN, DAY, "--png", "day.svg", "-u", filled)

    _, band, legend = shown.out.splitlines()
    assert (shown.code, shown.err) == (0, "")
    assert 0 < band.index("▓") < len(band) / 2
    assert " " in band
    assert legend.split("  ")[:3] == ["█ heating", "▓ cooling", "▒ off $x$"]
    assert saved == (0, "Plotted 3 points into day.svg\n", "")
    assert "<svg" in (tmp_path / "day.svg").read_text("utf-8")


def test_a_long_history_is_rolled_up_and_keeps_its_extremes(
    hsorm: Hsorm, plant: str, tmp_path: Path
) -> None:
    start = dt.datetime(2024, 3, 1, tzinfo=dt.UTC)
    rows = "".join(
        f"{(start + dt.timedelta(minutes=at)).isoformat()},{999 if at == 5_000 else at % 7}\n"
        for at in range(10_000)
    )
    (tmp_path / "long.csv").write_text(f"ts,{TEMP}\n{rows}", "utf-8")
    assert hsorm("his", "import", "long.csv", "-u", plant).code == 0

    async def read() -> Series:
        async with open_storage(plant) as store:
            (one,) = await plot_series(store, [TEMP], "2024-03-01,2024-03-31")
            return one

    one = asyncio.run(read())
    assert 400 < len(one.points) < 2_000
    assert max(value for _, value in one.points) == 999
    assert one.points == sorted(one.points)


@pytest.mark.parametrize(
    ("args", "code", "says"),
    [
        ((TEMP, "2024-13-01"), 2, "range"),
        ((TEMP, DAY, "--days", "3"), 2, "choose one"),
        (("demo.nope", DAY), 1, "@demo.nope"),
        ((TEMP, "2023-03-08"), 1, "no history to plot"),
        ((TEMP, DAY, "--png", "no/such/folder.png"), 1, "No such file"),
    ],
)
def test_a_bad_plot_is_one_clear_error(
    hsorm: Hsorm, filled: str, args: tuple[str, ...], code: int, says: str
) -> None:
    result = hsorm("his", "plot", *args, "-u", filled)

    assert (result.code, result.out) == (code, "")
    assert says in result.err


@pytest.mark.parametrize("values", [(1e308, -1e308), ("INF", "-INF"), ("NaN", "NA"), (5e-324, 0)])
def test_no_value_is_too_large_or_too_small_to_plot(
    hsorm: Hsorm, filled: str, values: tuple[object, object]
) -> None:
    for minute, value in enumerate(values):
        hsorm("his", "write", TEMP, f"2024-03-08T09:0{minute}:00-05:00", value, "-u", filled)

    assert hsorm("his", "plot", TEMP, DAY, "-u", filled).code == 0


def series(
    values: list[float], *, is_bool: bool = False, gaps: frozenset[int] = frozenset()
) -> Series:
    points = [(60.0 * at, value) for at, value in enumerate(values)]
    return Series("x", None, is_bool, ZoneInfo("UTC"), points, gaps)


def test_bools_are_steps() -> None:
    path, broken = path_of(series([0, 0, 1, 0], is_bool=True), 100)

    assert path == [(0, 0), (60, 0), (60, 0), (120, 0), (120, 1), (180, 1), (180, 0)]
    assert broken == []


def test_a_gap_breaks_the_line_and_long_series_keep_their_extremes() -> None:
    values = [0.0] * 1000
    values[333], values[777] = 9.0, -9.0

    path, broken = path_of(series(values, gaps=frozenset({500})), 100)

    assert len(path) <= 110
    assert {9.0, -9.0} <= {value for _, value in path}
    (gap,) = broken
    assert path[gap - 1][0] < 500 * 60 <= path[gap][0]
