"""Choices, protocol pieces and clean-up of the servers' script that need no server."""

from __future__ import annotations

import socket
import struct
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from scripts import servers, servers_docker, servers_packages, servers_probe, servers_run
from scripts.servers_state import KINDS, Running, ServersError, State, identify, remember

TIMESCALE, PLAIN, REDIS = KINDS
ROOT = Path(__file__).resolve().parents[2]
Reply = Callable[[], tuple[bytes, bytes]]


def _closed_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


def _session(tmp_path: Path) -> servers.Session:
    session = servers.Session(tmp_path, tmp_path / "checkout")
    session.folder.mkdir(parents=True)
    return session


def _answers(*messages: tuple[bytes, bytes]) -> Reply:
    waiting = iter(messages)
    return lambda: next(waiting)


def test_a_given_url_that_does_not_answer_is_missing_and_nothing_else_is_tried(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(REDIS.variable, f"redis://:secret@127.0.0.1:{_closed_port()}")
    found = servers._found(_session(tmp_path), REDIS)
    assert not found.url
    assert "no answer" in found.reason
    assert f"unset {REDIS.variable}" in found.reason
    assert "secret" not in str(found)


@pytest.mark.parametrize(
    ("kind", "url", "says"),
    [
        ("redis", "http://127.0.0.1:1", "redis://"),
        ("plain", "mysql://127.0.0.1:1", "postgresql://"),
        ("plain", "postgresql://127.0.0.1:port/x", "no answer"),
    ],
)
def test_a_url_of_another_kind_is_an_error(kind: str, url: str, says: str) -> None:
    with pytest.raises(ServersError, match=says):
        servers_probe.describe(kind, url)


def test_the_order_is_docker_then_packages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    session = _session(tmp_path)
    for answers, first in ((True, ["docker"]), (False, [])):
        monkeypatch.setattr(servers, "_docker_answers", lambda answers=answers: answers)
        for kind in (TIMESCALE, REDIS):
            ways = [origin for origin, _ in servers._ways(session, kind)]
            assert ways == [*first, "packages"]
        plain = [origin for origin, _ in servers._ways(session, PLAIN)]
        assert plain[: len(first)] == first
        assert plain[-2:] == ["packages", "apt"]


def test_no_docker_program_means_no_engine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    assert not servers_docker.engine_answers()


def test_a_running_server_that_does_not_answer_is_ended_with_its_data(tmp_path: Path) -> None:
    session = _session(tmp_path)
    data = tmp_path / "data"
    (data / "base").mkdir(parents=True)
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    try:
        url = f"redis://127.0.0.1:{_closed_port()}"
        server = Running("redis", url, identify(child.pid), data=str(data))
        session.remember(server)
        assert servers._existing(session, REDIS) is None
        session.end(server)
        assert child.wait(5) != 0
    finally:
        child.kill()
        child.wait()
    assert not data.exists()
    assert servers.Session(tmp_path, tmp_path / "checkout").state.running == ()


def test_a_process_that_only_has_the_number_is_left_alone() -> None:
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    try:
        known = identify(child.pid)
        assert known is not None
        older = type(known)(known.pid, f"{known.birth}0")
        servers_run.end(Running("plain", "postgresql://127.0.0.1:1/d", older))
        time.sleep(0.1)
        assert child.poll() is None
    finally:
        child.kill()
        child.wait()


def test_a_last_port_is_used_again_when_it_is_free() -> None:
    port = _closed_port()
    assert servers_run.free_port(port) == port
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        sock.listen()
        taken = int(sock.getsockname()[1])
        assert servers_run.free_port(taken) != taken


def test_every_cluster_listens_on_loopback_only_and_only_one_preloads() -> None:
    plain = servers_run.postgres_settings(5, preload=False)
    assert (plain["listen_addresses"], plain["unix_socket_directories"]) == ("127.0.0.1", "")
    assert "shared_preload_libraries" not in plain
    preloaded = servers_run.postgres_settings(5, preload=True)
    assert preloaded["timescaledb.telemetry_level"] == "off"


def test_a_build_that_fails_twice_leaves_nothing(tmp_path: Path) -> None:
    tries: list[Path] = []

    def build(scratch: Path, log: Path) -> None:
        tries.append(scratch)
        (scratch / "half").write_text("x", encoding="utf-8")
        raise ServersError(f"cut off; see {log}")

    with pytest.raises(ServersError, match="cut off"):
        servers_packages._built(tmp_path / "tree.1", build)
    assert len(tries) == 2
    assert list(tmp_path.iterdir()) == []


def test_a_build_takes_its_place_when_it_is_whole(tmp_path: Path) -> None:
    target = tmp_path / "tree.1"

    def build(scratch: Path, log: Path) -> None:
        assert not target.exists()
        (scratch / "whole").write_text(log.name, encoding="utf-8")

    servers_packages._built(target, build)
    assert (target / "whole").read_text(encoding="utf-8") == "tree.log"
    assert list(tmp_path.iterdir()) == [target]


def test_leftovers_of_a_killed_start_go_and_finished_folders_stay(tmp_path: Path) -> None:
    (tmp_path / "tree.1.part-abc" / "etc").mkdir(parents=True)
    (tmp_path / "tree.1").mkdir()
    servers_packages.remove_leftovers(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["tree.1"]


def test_a_step_that_takes_too_long_ends_with_its_children(tmp_path: Path) -> None:
    log = tmp_path / "log"
    script = "sleep 60 & echo $!; wait"
    with pytest.raises(ServersError, match=f"took more than 1 s; see {log}"):
        servers_packages._step("", ["sh", "-c", script], log, 1)
    child = int(log.read_text(encoding="utf-8").splitlines()[-1])
    deadline = time.monotonic() + 5
    while identify(child) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert identify(child) is None


def test_the_scram_proof_is_that_of_rfc_7677() -> None:
    challenge = "r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,"
    challenge += "s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096"
    last = servers_probe.scram_final("pencil", "rOprNGfwEbeRWgbNEkqO", challenge, user="user")
    assert last.endswith(",p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=")


def test_rows_are_read_with_nulls_and_an_error_waits_for_the_end() -> None:
    row = struct.pack("!Hi2si", 2, 2, b"ab", -1)
    assert servers_probe.pg_rows(_answers((b"D", row), (b"Z", b"I"))) == [("ab", None)]
    with pytest.raises(ServersError, match="no such thing"):
        servers_probe.pg_rows(_answers((b"E", b"SERROR\0Mno such thing\0\0"), (b"Z", b"I")))


def test_the_script_runs_with_nothing_installed(tmp_path: Path) -> None:
    """`-S` and `-I` leave out every site folder: what remains is the standard library."""
    command = [sys.executable, "-I", "-S", str(ROOT / "scripts/servers.py"), "--help"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "start" in done.stdout


def test_state_is_saved_at_each_change(tmp_path: Path) -> None:
    session = _session(tmp_path)
    server = Running("plain", "postgresql://127.0.0.1:1/d")
    session.remember(server)
    again = servers.Session(tmp_path, tmp_path / "checkout")
    assert again.state == remember(State(), server)
