"""`watch`, `write`, `commit`, `tree` and `refs`, on each backend that keeps its data."""

from __future__ import annotations

import json
import os
import pty
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

import pytest

from hsorm.codecs import hayson, trio, zinc
from hsorm.kinds import MARKER, REMOVE, Grid, Number, Ref
from tests.cli.conftest import Hsorm

Process = Callable[..., CompletedProcess[bytes]]
PLANT = """id: @s
site
dis: "Office"
---
id: @ahu
equip
siteRef: @s
dis: "AHU"
---
id: @valve
point
writable
kind: "Number"
unit: "%"
equipRef: @ahu
dis: "Valve"
"""


@pytest.fixture
def store(loaded: str, hsorm: Hsorm, tmp_path: Path) -> str:
    """The URL of a database that holds, beside the building, a small one to change."""
    (tmp_path / "small.trio").write_text(PLANT, "utf-8")
    assert hsorm("load", "small.trio", "--url", loaded).code == 0
    return loaded


# ---- write --------------------------------------------------------------------------------------


def test_a_write_shows_the_array(hsorm: Hsorm, store: str) -> None:
    """W2, W3, W12."""
    hsorm("write", "valve", "10", "20%", "--who", "plan", "-u", store)

    result = hsorm("write", "@valve", "8", "50", "--who", "ann", "--for", "2hr", "-u", store)

    assert (result.code, result.err) == (0, "")
    header, *rows, note = result.out.splitlines()
    assert header.split() == ["level", "value", "who", "expires"]
    assert len(rows) == 17
    assert rows[7].split() == ["8", "(manual)", "50%", "ann", "in", "2:00:00"]
    assert rows[9].split() == ["10", "20%", "plan"]
    assert rows[16].split() == ["17", "(default)"]
    assert note == "In effect: 50%, from level 8 (manual)."
    assert hsorm("read", "writeVal == 50%", "-c", "-u", store).out == "1\n"


@pytest.mark.parametrize("word", ["null", "auto"])
def test_a_level_is_released(hsorm: Hsorm, store: str, word: str) -> None:
    """W3: and without a level the array is only shown."""
    hsorm("write", "valve", "8", "-5", "--who", "ann", "-u", store)
    assert "-5%" in hsorm("write", "valve", "-u", store).out

    result = hsorm("write", "valve", "8", word, "-u", store)

    assert result.code == 0, result.err
    assert result.out.splitlines()[-1] == "No level holds a value."
    rows = hayson.loads(hsorm("write", "valve", "--json", "-u", store).out).rows
    assert [row["level"] for row in rows] == [Number(n) for n in range(1, 18)]
    assert not any("val" in row for row in rows)


@pytest.mark.parametrize(
    ("args", "code", "text"),
    [
        (("valve", "18", "5"), 2, "less than or equal to 17"),
        (("valve", "x", "5"), 2, "valid integer"),
        (("valve", "8"), 2, "level 8 of what?"),
        (("valve", "8", "hot"), 2, "a text needs quotes"),
        (("valve", "8", "5", "--for", "soon"), 2, "--for 'soon' is no duration"),
        (("valve", "8", "5", "--for", "5m"), 2, "--for '5m' is no duration"),
        (("valve", "9", "5", "--for", "5min"), 2, "only level 8"),
        (("valve", "--who", "ann"), 2, "belong to a write"),
        (("valve", "8", "5", "--who", " "), 1, "say who writes"),
        (("valve", "8", "true"), 1, "the value is a Bool"),
        (("valve", "8", "5kW"), 1, "the value's unit is kW"),
        (("ahu", "8", "5"), 1, "the tag point is missing"),
        (("ahu",), 1, "the tag point is missing"),
        (("nobody", "8", "5"), 1, "no entity has the id @nobody"),
    ],
)
def test_a_wrong_write_is_one_line(
    hsorm: Hsorm, store: str, args: tuple[str, ...], code: int, text: str
) -> None:
    """W5: nothing is written."""
    result = hsorm("write", *args, "-u", store)

    assert (result.code, result.out) == (code, "")
    assert text in result.err
    assert result.err.count("\n") == 1
    assert hsorm("write", "valve", "-u", store).out.endswith("No level holds a value.\n")


# ---- commit -------------------------------------------------------------------------------------

DIFFS: list[dict[str, Any]] = [
    {"op": "add", "id": Ref("ahu-2"), "changes": {"equip": MARKER, "siteRef": Ref("s")}},
    {"op": "update", "id": Ref("ahu"), "changes": {"dis": REMOVE, "area": Number(5, "m²")},
     "force": MARKER},
    {"op": "remove", "id": Ref("valve"), "force": MARKER},
]  # fmt: skip
WRITERS: dict[str, Callable[[Any], str]] = {
    "json": lambda rows: json.dumps([json.loads(hayson.dumps(row)) for row in rows]),
    "grid.json": lambda rows: hayson.dumps(Grid.of(rows)),
    "zinc": zinc.dumps,
    "trio": trio.dumps,
}


@pytest.mark.parametrize("form", WRITERS)
def test_a_commit_of_each_format(hsorm: Hsorm, store: str, tmp_path: Path, form: str) -> None:
    """C1: an addition, an update and a removal in one batch; a line for each."""
    (tmp_path / f"diffs.{form}").write_text(WRITERS[form](DIFFS), "utf-8")

    result = hsorm("commit", f"diffs.{form}", "-u", store)

    assert (result.code, result.err) == (0, "")
    assert result.out.splitlines() == [
        "Added @ahu-2.", "Updated @ahu: area, dis.", "Removed @valve."
    ]  # fmt: skip
    assert hsorm("read", "equip and siteRef==@s", "-c", "-u", store).out == "2\n"
    assert hsorm("read", "area == 5m² and not dis", "-c", "-u", store).out == "1\n"
    assert hsorm("get", "valve", "-u", store).code == 1


def test_a_commit_from_standard_input(process: Process, store: str) -> None:
    """An array is not needed for one; --json tells the entity before and after (C14)."""
    diff = {"op": "update", "id": "@valve", "changes": {"curVal": 3}, "transient": True}
    live = json.dumps({**diff, "force": True}).encode()

    done = process("commit", "-", "--json", "-u", store, stdin=live)

    assert (done.returncode, done.stderr) == (0, b"")
    (row,) = hayson.loads(done.stdout).rows
    assert (row["op"], row["id"].val, row["mod"]) == ("update", "valve", row["old"]["mod"])
    assert ("curVal" in row["old"], row["new"]["curVal"]) == (False, Number(3))


def test_a_conflict_shows_both_sides(hsorm: Hsorm, store: str, tmp_path: Path) -> None:
    """C4: and nothing of the batch is committed."""
    old = "2020-01-01T00:00:00Z"
    diffs = [
        {"op": "add", "id": "x"},
        {"op": "update", "id": "s", "changes": {"dis": "Mine", "area": 7}, "mod": old},
    ]
    (tmp_path / "c.json").write_text(json.dumps(diffs), "utf-8")

    result = hsorm("commit", "c.json", "-u", store)

    assert (result.code, result.out) == (1, "")
    first, *sides = result.err.splitlines()
    assert first.startswith("hsorm: @s was changed by someone else")
    assert sides == ["  area: stored (none), yours 7", "  dis: stored Office, yours Mine"]
    assert hsorm("get", "x", "-u", store).code == 1


def test_a_removal_in_conflict_shows_what_is_stored(
    hsorm: Hsorm, store: str, tmp_path: Path
) -> None:
    """C4."""
    text = '{"op": "remove", "id": "s", "mod": "2020-01-01T00:00:00Z"}'
    (tmp_path / "c.json").write_text(text, "utf-8")

    result = hsorm("commit", "c.json", "-u", store)

    assert result.code == 1
    assert "dis: Office" in result.err
    assert result.err.endswith("  yours a removal\n")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "the file is empty"),
        ("[", "line 1"),
        ("[]", "an empty batch"),
        ("[5]", "diff 1: '5' is no dict"),
        ('[{"op": "remove", "id": "s"}]', "diff 1 (@s): the remove says not"),
        ('[{"op": "put", "id": "s"}]', "'op' is 'put'"),
        ('[{"op": "add", "dis": "X"}]', "'dis' is nothing of a diff"),
        ('[{"op": "add", "changes": 5}]', "'changes' is no dict"),
        ('[{"op": "add", "id": 5}]', "'id' is 5"),
        ('[{"op": "remove", "id": "s", "mod": "now"}]', "'mod' is now"),
        ('[{"op": "remove", "id": "s", "mod": "2020-01-01T00:00:00"}]', "'mod' is 2020"),
        ('[{"op": "remove", "id": "s", "force": "yes"}]', "'force' is yes"),
        ('[{"op": "update", "id": "s", "changes": {"a": 1}}]', "says not what it is based on"),
        ('[{"op": "update", "id": "s", "force": true, "changes": {"hisSize": 1}}]', "'hisSize'"),
        ('[{"op": "remove", "id": "nobody", "force": true}]', "no entity has the id @nobody"),
        ('[{"op": "add", "id": "s"}]', "@s exists already"),
        ('[{"op": "add", "id": "n"}, {"op": "add", "id": "n"}]', "twice"),
    ],
)
def test_a_wrong_commit_is_one_line(
    hsorm: Hsorm, store: str, tmp_path: Path, text: str, expected: str
) -> None:
    """C1, C2, C4, C6, C8: it says which diff and why, and changes nothing."""
    before = hsorm("get", "s", "--json", "-u", store).out
    (tmp_path / "wrong.json").write_text(text, "utf-8")

    result = hsorm("commit", "wrong.json", "-u", store)

    assert (result.code, result.out) == (1, "")
    assert expected in result.err
    assert result.err.count("\n") == 1
    assert hsorm("get", "s", "--json", "-u", store).out == before
    assert hsorm("get", "n", "-u", store).code == 1


# ---- tree, refs ---------------------------------------------------------------------------------


def test_the_tree(hsorm: Hsorm, store: str) -> None:
    lines = hsorm("tree", "s", "-u", store).out.splitlines()

    assert [line.split("@")[-1].split()[0] for line in lines] == ["s", "ahu", "valve"]
    assert len(hsorm("tree", "s", "--no-points", "-u", store).out.splitlines()) == 2
    whole = hsorm("tree", "-u", store).out
    kinds = "site or space or floor or equip or point"
    count = hsorm("read", kinds, "-c", "-u", store).out
    assert sum("@" in line for line in whole.splitlines()) == int(count) > 490
    unknown = hsorm("tree", "nobody", "-u", store)
    assert unknown == (1, "", "hsorm: no entity has the id @nobody\n")


def test_children_keep_their_order(hsorm: Hsorm, tmp_path: Path) -> None:
    rows = "".join(f'---\nid: @e{n}\nequip\nsiteRef: @s\ndis: "E {n}"\n' for n in (2, 10, 1))
    (tmp_path / "a.trio").write_text(f"id: @s\nsite\n{rows}", "utf-8")

    result = hsorm("tree", "--from", "a.trio")

    assert [line.split("@")[-1] for line in result.out.splitlines()] == ["s", "e1", "e2", "e10"]


def test_refs_that_lead_nowhere(hsorm: Hsorm, store: str, tmp_path: Path) -> None:
    """C11: the exit code tells it too."""
    fine = hsorm("refs", "-u", store)
    (tmp_path / "x.trio").write_text("id: @x\nsiteRef: @gone\nlist: [@s,@off]\n", "utf-8")
    hsorm("load", "x.trio", "-u", store)

    result = hsorm("refs", "-u", store)

    assert fine == (0, "Every ref leads to an entity.\n", "")
    assert (result.code, result.err) == (1, "")
    assert [line.split() for line in result.out.splitlines()[1:-1]] == [
        ["@x", "list", "@off"], ["@x", "siteRef", "@gone"]
    ]  # fmt: skip
    rows = hayson.loads(hsorm("refs", "--json", "--from", "x.trio").out).rows
    assert [(row["tag"], row["ref"].val) for row in rows] == [
        ("list", "off"), ("list", "s"), ("siteRef", "gone")
    ]  # fmt: skip


# ---- watch --------------------------------------------------------------------------------------


class Watching:
    """`hsorm watch` in a process of its own; its lines as they come."""

    def __init__(self, running: subprocess.Popen[str]) -> None:
        self.running, self.lines = running, list[str]()
        self._more = threading.Condition()
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        assert self.running.stdout is not None
        for line in self.running.stdout:
            with self._more:
                self.lines.append(line.rstrip("\n"))
                self._more.notify_all()

    def until(self, count: int) -> list[str]:
        """Return the lines as soon as there are so many."""
        with self._more:
            assert self._more.wait_for(lambda: len(self.lines) >= count, 30), self.lines
            return list(self.lines)


@contextmanager
def watching(*args: str) -> Iterator[Watching]:
    command = [sys.executable, "-m", "hsorm", "watch", *args]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True) as running:
        try:
            yield Watching(running)
        finally:
            running.kill()


def test_a_watch_sees_what_another_process_does(hsorm: Hsorm, store: str) -> None:
    """P6, P9: an object a line; Ctrl-C ends it quietly and closes the watch."""
    with watching("equipRef==@ahu", "--json", "-u", store) as watch:
        watch.until(1)
        hsorm("write", "valve", "8", "50", "--who", "ann", "-u", store)
        watch.until(2)
        (Path("d.json")).write_text('{"op": "remove", "id": "valve", "force": true}', "utf-8")
        hsorm("commit", "d.json", "-u", store)
        lines = [hayson.loads(line) for line in watch.until(3)]
        watch.running.send_signal(signal.SIGINT)
        code = watch.running.wait(30)
        assert watch.running.stderr is not None
        err = watch.running.stderr.read()

    assert [line["id"].val for line in lines] == ["valve"] * 3
    assert ("writeVal" in lines[0], lines[1]["writeVal"]) == (False, Number(50, "%"))
    assert set(lines[2]) == {"id", "removed"}
    assert (code, err) == (130, "")


def test_a_watch_on_ids_in_lines(hsorm: Hsorm, store: str, tmp_path: Path) -> None:
    """OC 23: what does not exist is reported once it does."""
    with watching("@valve", "@later", "-u", store) as watch:
        assert watch.until(1)[0].endswith("  @valve  Valve")
        hsorm("write", "valve", "8", "50", "--who", "ann", "-u", store)
        assert watch.until(2)[1].endswith("  @valve  writeLevel: 8  writeVal: 50%")
        (tmp_path / "later.trio").write_text('id: @later\ndis: "Now"\n', "utf-8")
        hsorm("load", "later.trio", "-u", store)
        assert watch.until(3)[2].endswith("  @later  Now")


def test_a_watch_ends_by_itself(process: Process, store: str) -> None:
    started = time.monotonic()
    done = process(
        "watch", 'site and dis=="Office"', "--cols", "dis,area", "--for", "1s", "-u", store
    )

    assert (done.returncode, done.stderr) == (0, b"")
    assert done.stdout.decode().endswith("  @s  dis: Office  area:\n")
    assert time.monotonic() - started < 30


def test_a_reader_that_goes_away_is_no_error(store: str) -> None:
    script = f'"{sys.executable}" -m hsorm watch id --json --for 1s -u "{store}" | head -1'
    done = subprocess.run(["sh", "-c", script], capture_output=True, text=True, check=False)

    assert (done.stdout.count("\n"), done.stderr) == (1, "")


def test_on_a_terminal_it_is_a_table(store: str, hsorm: Hsorm) -> None:
    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "hsorm", "watch", "@valve", "--for", "3s", "-u", store]
    env = {**os.environ, "TERM": "xterm", "COLUMNS": "100", "LINES": "20"}
    with subprocess.Popen(command, stdout=theirs, stderr=theirs, env=env) as running:
        os.close(theirs)
        shown = b""
        written = False
        while True:
            try:
                part = os.read(ours, 10_000)
            except OSError:  # the other end is closed
                break
            if not part:
                break
            shown += part
            if not written and b"Ctrl-C ends" in shown:
                written = True
                hsorm("write", "valve", "8", "50", "--who", "ann", "-u", store)
    os.close(ours)

    assert running.returncode == 0
    before, _, after = shown.decode().partition("Ctrl-C ends")
    assert "Valve" in before
    assert ("writeVal" in before, "writeVal" in after) == (False, True)
    assert "50%" in after


@pytest.mark.parametrize(
    ("args", "text"),
    [
        (("a", "b"), "one filter, in quotes"),
        (("@a", "b"), "'b' among ids"),
        (("site and",), "filter, column"),
        (("site", "--for", "0s"), "--for '0s' is no duration"),
        (("site", "--cols", "A-B"), "is no tag name"),
        ((), "FILTER"),
    ],
)
def test_a_wrong_watch(hsorm: Hsorm, plant: str, args: tuple[str, ...], text: str) -> None:
    result = hsorm("watch", *args, "-u", plant)

    assert (result.code, result.out) == (2, "")
    assert text in result.err


@pytest.mark.parametrize(
    "args",
    [
        ("watch", "site", "--for", "1s"), ("write", "valve"), ("tree",), ("refs",),
        ("write", "valve", "8", "5"),
    ],
)  # fmt: skip
def test_nothing_is_made_on_the_way(hsorm: Hsorm, tmp_path: Path, args: tuple[str, ...]) -> None:
    result = hsorm(*args)

    assert (result.code, result.out) == (1, "")
    assert "there is no file hsorm.db" in result.err
    assert not (tmp_path / "hsorm.db").exists()
