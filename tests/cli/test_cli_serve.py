"""`hsorm serve`: a process that serves, and what it refuses to be."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from phable import HaystackClient

from hsorm.cli.serve import listen
from tests.cli.conftest import Hsorm
from tests.interop.serving import call

SITE = 'id: @s\nsite\ndis: "Office"\n'


@pytest.fixture
def url(tmp_path: Path, hsorm: Hsorm) -> str:
    (tmp_path / "site.trio").write_text(SITE, "utf-8")
    assert hsorm("load", "site.trio", "-u", "sqlite:///plant.db").code == 0
    return "sqlite:///plant.db"


@contextmanager
def serving(*args: str, **environment: str) -> Iterator[tuple[str, subprocess.Popen[str]]]:
    """Run `hsorm serve` on a free port until the block ends, and give its address."""
    with subprocess.Popen(
        [sys.executable, "-m", "hsorm", "serve", "--port", "0", *args],
        stdout=subprocess.PIPE,
        env={**os.environ, **environment},
        text=True,
    ) as process:
        try:
            assert process.stdout is not None
            line = process.stdout.readline()
            yield line.partition(" at ")[2].partition(" ")[0].rstrip("/"), process
        finally:
            process.send_signal(signal.SIGINT)


def test_a_storage_is_served_until_ctrl_c(hsorm: Hsorm, url: str) -> None:
    with serving("-u", url) as (uri, process):
        assert HaystackClient(uri, "any").read("site")["dis"] == "Office"
        # A page in a browser of this machine may send requests here under a name of its own.
        assert call(f"{uri}/about", host="evil.example").status == 403
        assert call(f"{uri}/load", "[]", content_type="application/json").status == 404
        taken = hsorm("serve", "--port", uri.split(":")[2].split("/")[0], "-u", url)
        assert (taken.code, "in use" in taken.err) == (1, True)
    assert process.returncode == 130


@pytest.mark.parametrize(("ending", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, -15)])
def test_the_storage_is_closed_at_the_end(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], ending: signal.Signals, code: int
) -> None:
    with serving("-u", f"sqlite:///{tmp_path}/new.db", "--load") as (uri, process):
        assert call(f"{uri}/read?filter=site").status == 200
        process.send_signal(ending)
        assert process.wait(60) == code
    assert [file.name for file in tmp_path.iterdir()] == ["new.db"]  # without what SQLite has open
    assert capfd.readouterr().err == ""


def test_a_client_that_stalls_does_not_hold_the_end(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    with serving("-u", f"sqlite:///{tmp_path}/new.db", "--load") as (uri, process):
        host, port = uri.split("/")[2].split(":")
        with socket.create_connection((host, int(port))) as client:
            lines = ("POST /haystack/read HTTP/1.1", f"Host: {host}", "Content-Type: text/zinc")
            client.sendall("\r\n".join((*lines, "Content-Length: 9", "", "ver")).encode())
            assert call(f"{uri}/about").status == 200  # by now the server waits for the rest
            process.send_signal(signal.SIGINT)
            assert process.wait(60) == 130
    assert "Traceback" not in capfd.readouterr().err


def test_a_token_is_asked_for_and_writing_refused() -> None:
    options = ("-u", "sqlite:///new.db", "--read-only", "--load", "--host", "0.0.0.0")  # noqa: S104 - what is tried
    with serving(*options, HSORM_TOKEN="t0ken") as (uri, _):
        uri = uri.replace("0.0.0.0", "127.0.0.1")  # noqa: S104 - as above
        headers = {"authorization": "Bearer t0ken"}
        assert call(f"{uri}/about").status == 401
        assert call(f"{uri}/about", **headers).status == 200
        assert call(f"{uri}/load", "[]", content_type="application/json", **headers).status == 403


def test_other_machines_are_not_served_without_a_token(hsorm: Hsorm, url: str) -> None:
    result = hsorm("serve", "--host", "0.0.0.0", "-u", url)  # noqa: S104 - what is tried

    assert result.code == 2
    assert "HSORM_TOKEN" in result.err
    blank = hsorm("serve", "--token", "a b", "-u", url)
    assert (blank.code, "no blank" in blank.err) == (2, True)


def test_answers_do_not_wait_for_each_other() -> None:
    """Asyncio turns Nagle's algorithm off only where a socket says that it is TCP."""
    with listen("127.0.0.1", 0) as listening:
        assert listening.proto == socket.IPPROTO_TCP
