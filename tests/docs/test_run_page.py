"""What runs the pages would notice that one is wrong."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.docs.pages import blocks_of
from tests.docs.run_page import check_printed, commands_of, run_command

PAGE = """
<!-- not run: needs
     a robot -->
```sh
robot
```

<!-- file: a.json -->
```json
{}
```

```console
$ hsorm refs
Every ref leads to an entity.
$ hsorm read site \\
    --count
1
```
"""


def test_a_comment_above_a_fence_says_what_becomes_of_a_block(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(PAGE, "utf-8")

    robot, file, console = blocks_of(page)

    assert (robot.is_run, robot.not_run) == (False, "needs a robot")
    assert (file.is_run, file.file) == (True, "a.json")
    assert console.line == PAGE.count("\n", 0, PAGE.index("$ hsorm refs")) + 1
    assert [(command.split(), expected) for command, expected in commands_of(console)] == [
        (["hsorm", "refs"], "Every ref leads to an entity.\n"),
        (["hsorm", "read", "site", "--count"], "1\n"),
    ]


def test_a_command_that_prints_something_else_is_an_error() -> None:
    check_printed("1 entity  \n", "1 entity\n", "hsorm read site")
    check_printed("a\nb\nc\n", "a\n…\nc\n", "hsorm read site")

    with pytest.raises(AssertionError, match="the page has:\n2 entities"):
        check_printed("1 entity\n", "2 entities\n", "hsorm read site")


def test_a_command_that_fails_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HSORM_URL", "sqlite:///nothing.db")

    with pytest.raises(AssertionError, match="exit code 1"):
        run_command("hsorm read site  # of no file")
    with pytest.raises(ValueError, match="only"):
        run_command("hsorm read site | head")
