"""`load`, `read`, `get`, `nav` and `about`."""

from __future__ import annotations

import csv
import io
import re
from pathlib import Path

import pytest

from hsorm.codecs import hayson, zinc
from hsorm.codecs.files import read_entities
from hsorm.kinds import Entity, Grid, Number, Ref
from tests.cli.conftest import Hsorm

AHUS = {Ref("demo.ahu-1"), Ref("demo.ahu-2")}


# ---- load ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("format", ["json", "zinc", "trio"])
def test_load_stores_a_file_of_each_format(
    hsorm: Hsorm, url: str, files: dict[str, Path], entities: list[Entity], format: str
) -> None:
    result = hsorm("load", files[format], "--url", url)

    assert result.code == 0
    assert re.match(r"Loaded 490 entities from .* in [\d.]+ s into ", result.out)
    assert result.err == ""
    assert hsorm("read", "point and equipRef->ahu", "--count", "--url", url).out == "40\n"
    got = read_entities(hsorm("read", "id", "--json", "--url", url).out.encode())
    stored = {entity["id"]: {k: v for k, v in entity.items() if k != "mod"} for entity in got}
    assert stored == {entity["id"]: entity for entity in entities}


def test_load_takes_several_files_and_replaces_by_id(hsorm: Hsorm, tmp_path: Path) -> None:
    (tmp_path / "a.trio").write_text('id: @a\ndis: "Old"\n', "utf-8")
    (tmp_path / "b.trio").write_text('id: @a\ndis: "New"\n---\nid: @b\n', "utf-8")

    result = hsorm("load", "a.trio", "b.trio")

    assert result.code == 0
    assert "Loaded 2 entities from 2 files" in result.out
    assert "1 came more than once" in result.out
    assert "New" in hsorm("get", "a").out


def test_load_reads_standard_input_by_its_content(process: object, tmp_path: Path) -> None:
    done = process("load", "-", stdin=b'ver:"3.0"\nid,dis\n@a,"A"\n')  # type: ignore[operator]

    assert done.returncode == 0, done.stderr
    assert b"Loaded 1 entity from standard input" in done.stdout
    assert (tmp_path / "hsorm.db").exists()


def test_the_format_can_be_told(hsorm: Hsorm, tmp_path: Path) -> None:
    (tmp_path / "export.txt").write_text("id: @a\nsite\n", "utf-8")

    assert hsorm("load", "export.txt", "--format", "trio").code == 0
    assert hsorm("load", "export.txt", "--format", "zinc").code == 1


MALFORMED = {
    "cut.json": ('{"_kind": "grid", "cols": [{"name": "id"}],\n "rows": [{"id"', "line 2"),
    "wrong.zinc": ('ver:"3.0"\nid,dis\n@a,"A"\n@b,oops\n', "line 4"),
    "wrong.trio": ('id: @a\nsite\n---\nid: @b\ndis: "open\n', "line 5"),
    "empty.json": ("", "empty"),
    "noid.trio": ('dis: "Nobody"\nsite\n', "id"),
}


@pytest.mark.parametrize("name", MALFORMED)
def test_a_malformed_file_names_line_and_reason_and_loads_nothing(
    hsorm: Hsorm, loaded: str, files: dict[str, Path], tmp_path: Path, name: str
) -> None:
    text, place = MALFORMED[name]
    (tmp_path / name).write_text(text, "utf-8")
    (tmp_path / "good.trio").write_text("id: @good\nsite\n", "utf-8")

    result = hsorm("load", "good.trio", name, "--url", loaded)

    assert result.code == 1
    assert result.out == ""
    assert result.err.startswith(f"hsorm: {name}")
    assert place in result.err
    assert result.err.count("\n") == 1
    assert hsorm("read", "id", "--count", "--url", loaded).out == "490\n"


def test_an_entity_that_cannot_be_stored_names_its_file_and_loads_nothing(
    hsorm: Hsorm, loaded: str, tmp_path: Path
) -> None:
    rows: list[Entity] = [{"id": Ref("new")}, {"id": Ref("bad"), "dis": "a\0b"}]
    (tmp_path / "nul.json").write_text(hayson.dumps(Grid.of(rows)), "utf-8")

    result = hsorm("load", "nul.json", "--url", loaded)

    assert result.code == 1
    assert "nul.json" in result.err
    assert "@bad" in result.err
    assert hsorm("read", "id", "--count", "--url", loaded).out == "490\n"


def test_a_file_that_is_not_there_is_one_line(hsorm: Hsorm) -> None:
    result = hsorm("load", "nowhere.json")

    assert (result.code, result.out) == (1, "")
    assert result.err == "hsorm: nowhere.json: No such file or directory\n"
    assert not Path("hsorm.db").exists()


# ---- read ---------------------------------------------------------------------------------------


def test_read_shows_a_table(hsorm: Hsorm, loaded: str) -> None:
    result = hsorm("read", "ahu", "--url", loaded)

    assert result.code == 0
    assert result.err == ""
    header, first, second, note = result.out.splitlines()
    assert header.split()[:2] == ["id", "dis"]
    assert first.startswith("@demo.ahu-1  Harbor House AHU-1")
    assert second.startswith("@demo.ahu-2  Harbor House AHU-2")
    assert note.startswith("2 entities · ")
    assert all(len(line) <= 120 for line in (header, first, second))


def test_a_table_shows_markers_refs_and_units(hsorm: Hsorm, plant: str) -> None:
    out = hsorm("read", "vav", "--cols", "id,vav,equipRef,airFlowMax", "-u", plant).out

    assert re.search(r"^@demo\.vav-1-1 +✓ +@demo\.ahu-1 +\d+cfm$", out, re.MULTILINE)


def test_a_table_stops_at_fifty_rows_and_says_so(hsorm: Hsorm, plant: str) -> None:
    lines = hsorm("read", "point", "-u", plant).out.splitlines()

    assert len(lines) == 1 + 50 + 1
    assert "The first 50 of 408 entities; all: --limit 408" in lines[-1]
    assert len(hsorm("read", "point", "--limit", "408", "-u", plant).out.splitlines()) == 410


def test_a_table_fits_its_terminal(
    hsorm: Hsorm, plant: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for width in (40, 80, 100):
        monkeypatch.setenv("COLUMNS", str(width))
        table = hsorm("read", "point", "-u", plant).out.splitlines()[:-1]

        assert max(map(len, table)) <= width
        assert any("@demo.vav-1-1" in line or "@demo.ahu-1" in line for line in table)

        with monkeypatch.context() as terminal:
            terminal.setenv("FORCE_COLOR", "1")
            colored = hsorm("read", "point", "-u", plant).out
        assert "\x1b[" in colored
        shown = re.sub(r"\x1b\[[0-9;]*m", "", colored).splitlines()
        assert max(map(len, shown[:-1])) <= width
        assert shown[0].split() == table[0].split()


def test_data_cannot_send_control_sequences(hsorm: Hsorm, tmp_path: Path) -> None:
    row: Entity = {"id": Ref("a"), "dis": "\x1b[31mred\nsecond [bold]line"}
    (tmp_path / "a.json").write_text(hayson.dumps(Grid.of([row])), "utf-8")
    hsorm("load", "a.json")

    for command in (("read", "id"), ("get", "a"), ("nav",)):
        assert "\x1b" not in hsorm(*command).out
    assert "[bold]line" in hsorm("read", "id").out


@pytest.mark.parametrize("format", ["json", "zinc", "trio"])
def test_outputs_for_machines_read_back(
    hsorm: Hsorm, loaded: str, entities: list[Entity], format: str
) -> None:
    text = hsorm("read", "point", f"--{format}", "--url", loaded).out

    got = {entity["id"]: entity for entity in read_entities(text.encode(), format=format)}
    wanted = {entity["id"]: entity for entity in entities if "point" in entity}
    for entity in got.values():
        del entity["mod"]
    assert got == wanted


def test_json_is_one_grid(hsorm: Hsorm, plant: str) -> None:
    grid = hayson.loads(hsorm("read", "ahu", "--json", "-u", plant).out)

    assert isinstance(grid, Grid)
    assert {row["id"] for row in grid.rows} == AHUS


def test_csv_has_a_header_and_every_row(hsorm: Hsorm, plant: str) -> None:
    rows = list(csv.DictReader(io.StringIO(hsorm("read", "point", "--csv", "-u", plant).out)))

    assert len(rows) == 408
    row = next(row for row in rows if row["id"] == "@demo.vav-1-1.zone-temp")
    assert row["zone"] == "✓"
    assert row["unit"] == "°F"
    assert row["chilled"] == ""


def test_count_limit_sort_and_columns(hsorm: Hsorm, loaded: str) -> None:
    def ids(*args: str) -> list[str]:
        out = hsorm("read", "equip and hvac", "--cols", "id,dis", "--csv", "-u", loaded, *args).out
        return [line.split(",")[0] for line in out.splitlines()[1:]]

    every = ids()

    assert every == sorted(every)
    assert ids("--limit", "3") == every[:3]
    assert ids("--limit", "0") == []
    assert sorted(ids("--sort", "dis")) == every
    assert hsorm("read", "equip and hvac", "-c", "-u", loaded).out == f"{len(every)}\n"


def test_nothing_found_is_no_error(hsorm: Hsorm, plant: str) -> None:
    assert hsorm("read", "nosuchtag", "-u", plant) == (0, "Nothing matches.\n", "")
    assert hsorm("read", "ahu", "--limit", "0", "-u", plant) == (0, "0 of 2 entities.\n", "")
    assert hayson.loads(hsorm("read", "nosuchtag", "--json", "-u", plant).out) == Grid()


def test_files_are_queried_in_memory_without_a_database(
    hsorm: Hsorm, files: dict[str, Path], tmp_path: Path
) -> None:
    for format, file in files.items():
        result = hsorm("read", "point and equipRef->ahu", "--count", "--from", file)
        assert (result.code, result.out) == (0, "40\n"), format
    assert hsorm("get", "demo.ahu-1", "--from", files["zinc"], "-u", "memory://").code == 0
    assert "AHU-1" in hsorm("nav", "--from", files["trio"]).out
    assert "memory" in hsorm("about", "--from", files["trio"]).out
    assert list(tmp_path.iterdir()) == []


# ---- get, nav, about ----------------------------------------------------------------------------


def test_get_shows_all_tags(hsorm: Hsorm, loaded: str) -> None:
    result = hsorm("get", "@demo", "demo.ahu-1", "--url", loaded)

    assert result.code == 0
    assert "@demo  Harbor House\n" in result.out
    assert "geoCoord           C(42.3602,-71.0499)" in result.out
    assert re.search(r"markers +ahu .*vavZone", result.out)


def test_get_of_an_unknown_id_fails_and_shows_the_others(hsorm: Hsorm, loaded: str) -> None:
    result = hsorm("get", "demo.ahu-1", "@nope", "--url", loaded)

    assert result.code == 1
    assert "@demo.ahu-1" in result.out
    assert result.err == "hsorm: no entity has the id @nope\n"


@pytest.mark.parametrize("format", ["json", "zinc", "trio"])
def test_get_for_machines_reads_back(hsorm: Hsorm, plant: str, format: str) -> None:
    text = hsorm("get", "demo.ahu-2", "demo.ahu-1", f"--{format}", "-u", plant).out

    assert {entity["id"] for entity in read_entities(text.encode(), format=format)} == AHUS


def test_nav_walks_from_the_sites(hsorm: Hsorm, loaded: str) -> None:
    roots = hsorm("nav", "--depth", "1", "--url", loaded)
    tree = hsorm("nav", "--url", loaded)
    ahu = hsorm("nav", "demo.ahu-1", "--depth", "1", "--url", loaded)

    assert roots.out == "Harbor House  @demo\n"
    assert len(tree.out.splitlines()) == 1 + 52
    assert "├── AHU-1  @demo.ahu-1\n" in tree.out
    assert len(ahu.out.splitlines()) == 1 + 20
    assert hsorm("nav", "demo", "--depth", "2", "-u", loaded).out.count("\n") > 300


def test_nav_ends_at_an_entity_that_is_its_own_site(hsorm: Hsorm, tmp_path: Path) -> None:
    (tmp_path / "loop.trio").write_text("id: @a\nsite\nequip\nsiteRef: @a\n", "utf-8")

    result = hsorm("nav", "--depth", "500", "--from", "loop.trio")

    assert result.code == 0
    assert len(result.out.splitlines()) == 2


def test_about_says_where_and_how_much(hsorm: Hsorm, loaded: str) -> None:
    out = hsorm("about", "--url", loaded).out

    assert re.search(r"^entities +490$", out, re.MULTILINE)
    assert re.search(r"^backend +(sqlite|postgresql|timescale|redis)$", out, re.MULTILINE)
    assert zinc.dumps_value(Number(490)) in out
