"""Run the blocks of one page in the current folder: `python -m tests.docs.run_page PAGE REPORT`.

Python shares one namespace. Commands of `hsorm` run in this process, for starting a hundred of them
would take a minute. Of a console block what follows a command is what it must print; a line of `…`
stands for any lines. SQL runs on a database with our tables. The report gets the place of each
block once it has run.
"""

from __future__ import annotations

import io
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from types import ModuleType
from typing import Any, Final

import psycopg

from hsorm.cli.app import run
from tests.docs.pages import Block, blocks_of

_OPERATORS: Final = "<>|&;"


def main(page: str, report: str) -> None:
    """Run a page; an exception tells where it stopped."""
    # SQLAlchemy looks for the names of annotations in the module of a class.
    main_module = sys.modules["__main__"] = ModuleType("__main__")
    names = vars(main_module)
    for block in blocks_of(Path(page)):
        if block.is_run:
            try:
                run_block(block, names)
            except BaseException as exc:
                exc.add_note(f"in {block.place}")
                raise
            with Path(report).open("a") as out:
                print(block.place, file=out)


def run_block(block: Block, names: dict[str, Any]) -> None:
    """Run one block."""
    if block.file is not None:
        Path(block.file).write_text(block.code, "utf-8")
    elif block.language == "python":
        # Empty lines above it, so that a traceback shows the line of the page.
        source = "\n" * (block.line - 1) + block.code
        exec(compile(source, block.page, "exec", dont_inherit=True), names)  # noqa: S102 - our own
    elif block.language == "sql":
        run_hsorm(["-u", os.environ["DATABASE_URL"], "db", "upgrade"])
        with psycopg.connect(os.environ["DATABASE_URL"]) as connection:
            connection.execute(block.code)
    else:
        for command, expected in commands_of(block):
            printed = run_command(command)
            if block.language == "console":
                check_printed(printed, expected, command)


def commands_of(block: Block) -> Iterator[tuple[str, str]]:
    """Yield the commands of a block, each with what follows it in a console block."""
    text = block.code.replace("\\\n", " ")
    if block.language == "console":
        for part in re.split(r"^\$ ", text, flags=re.MULTILINE)[1:]:
            command, _, expected = part.partition("\n")
            yield command, expected
    else:
        yield from ((line, "") for line in text.splitlines() if line.split("#")[0].strip())


def run_command(line: str) -> str:
    """Run `hsorm` (with `<` and `>`), `pytest` or `export NAME=value`; return what it printed."""
    lexer = shlex.shlex(line, posix=True, punctuation_chars=_OPERATORS)
    lexer.whitespace_split = True
    words = [os.path.expandvars(word) for word in lexer]
    match words:
        case ["export", assignment]:
            name, _, os.environ[name] = assignment.partition("=")
            return ""
        case ["hsorm", *args] if "|" not in words:
            return run_hsorm(args)
        case ["pytest", *args]:
            return run_pytest(args)
    raise ValueError(f"only `hsorm`, `pytest` and `export` can be run here: {line}")


def run_hsorm(args: list[str]) -> str:
    """Run `hsorm` with arguments; it has to succeed."""
    stdin = b""
    if "<" in args:
        args, stdin = _until(args, "<"), Path(args[-1]).read_bytes()
    target = Path(args[-1]) if ">" in args else None
    out, err = (io.TextIOWrapper(io.BytesIO(), "utf-8") for _ in range(2))
    keyboard, sys.stdin = sys.stdin, io.TextIOWrapper(io.BytesIO(stdin), "utf-8")
    try:
        with redirect_stdout(out), redirect_stderr(err):
            code = run(_until(args, ">"))
    finally:
        sys.stdin = keyboard
    printed = _text_of(out)
    assert code == 0, f"hsorm {shlex.join(args)}: exit code {code}\n{printed}{_text_of(err)}"
    if target is None:
        return printed
    target.write_text(printed, "utf-8")
    return ""


def run_pytest(args: list[str]) -> str:
    """Run tests that are on the page, in a process of their own; they have to pass."""
    # The root keeps the configuration of whoever runs us out.
    command = [sys.executable, "-m", "pytest", "--rootdir", ".", "-c", os.devnull, *args]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def _until(args: list[str], operator: str) -> list[str]:
    return args[: args.index(operator)] if operator in args else args


def _text_of(stream: io.TextIOWrapper) -> str:
    stream.flush()
    stream.seek(0)
    return stream.read()


def check_printed(printed: str, expected: str, command: str) -> None:
    """Compare what a command printed with what its page says."""
    shown = [line.rstrip() for line in expected.strip("\n").splitlines()]
    lines = "\n".join(line.rstrip() for line in printed.strip("\n").splitlines())
    pattern = "\n".join(".*" if line == "…" else re.escape(line) for line in shown)
    if not re.fullmatch(pattern, lines, re.DOTALL):
        raise AssertionError(f"{command}\nprinted:\n{lines}\nthe page has:\n{expected}")


if __name__ == "__main__":
    main(*sys.argv[1:])
