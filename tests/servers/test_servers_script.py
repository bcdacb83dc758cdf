"""Choices, protocol pieces and clean-up of the servers' script that need no server."""

from __future__ import annotations

import os
import socket
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from scripts import (
    servers,
    servers_docker,
    servers_packages,
    servers_probe,
    servers_run,
    servers_state,
)
from scripts.servers_state import (
    KINDS,
    Kind,
    Running,
    ServersError,
    State,
    identify,
    parse_env,
    remember,
)

TIMESCALE, PLAIN, REDIS, CLUSTER = KINDS
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
        for kind in (TIMESCALE, REDIS, CLUSTER):
            ways = [origin for origin, _ in servers._ways(session, kind)]
            assert ways == [*first, "packages"]
        plain = [origin for origin, _ in servers._ways(session, PLAIN)]
        assert plain[: len(first)] == first
        assert plain[-2:] == ["packages", "apt"]


def test_no_docker_program_means_no_engine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    assert not servers_docker.engine_answers()


def test_a_running_server_that_does_not_answer_is_ended_with_its_data(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(REDIS.variable, raising=False)  # one that is given comes first
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


def test_a_server_of_several_processes_is_ended_whole_and_is_gone_when_one_is(
    tmp_path: Path,
) -> None:
    session = _session(tmp_path)
    command = [sys.executable, "-c", "import time; time.sleep(60)"]
    children = [subprocess.Popen(command) for _ in range(3)]
    try:
        first, *others = (identify(child.pid) for child in children)
        url = f"redis://127.0.0.1:{_closed_port()}"
        server = Running("cluster", url, first, others=tuple(filter(None, others)))
        session.remember(server)
        kept = servers.Session(tmp_path, tmp_path / "checkout").state.find("cluster")
        assert kept == server
        assert len(kept.processes) == 3
        session.end(kept)
        assert all(child.wait(5) != 0 for child in children)
    finally:
        for child in children:
            child.kill()
            child.wait()


def test_free_ports_are_different() -> None:
    assert len(set(servers_run.free_ports(20))) == 20


# The script leaves its servers running on purpose, and so never waits for them.
@pytest.mark.filterwarnings("ignore:subprocess .* is still running:ResourceWarning")
def test_a_cluster_takes_its_slots_and_ends_with_its_processes(tmp_path: Path) -> None:
    """Starts one of its own: three processes, a second or two."""
    cache = servers_state.cache_dir(os.environ, root=os.geteuid() == 0)
    if not (cache / servers_packages.REDIS).is_dir():
        pytest.skip("no Redis Stack from packages here: make servers without Docker fetches it")
    noted: list[Running] = []
    folder = Path(tempfile.mkdtemp(prefix="cluster-test-", dir=cache))
    folder.chmod(0o711)
    try:
        programs = servers_packages.redis_stack(cache)
        cluster = servers_run.start_redis_cluster(
            programs, folder, servers_run.free_port(), noted.append
        )
        assert [len(one.processes) for one in noted] == [1, 2, 3]
        assert noted[-1] == cluster
        assert "3 primaries" in servers_probe.describe("cluster", cluster.url)
        with pytest.raises(ServersError, match="CROSSSLOT"):
            servers_probe.redis_call(cluster.url, "MSET", "a", "1", "b", "2")
        servers_run.end(cluster)
        assert not any(map(servers_state.alive, cluster.processes))
        assert not Path(cluster.data).exists()
    finally:
        for one in noted[-1:]:
            servers_run.end(one)
        servers_packages.remove_tree(folder)


def test_one_server_is_no_cluster() -> None:
    url = os.environ.get(REDIS.variable) or _noted(REDIS)
    if not url:
        pytest.skip(f"{REDIS.variable} is not set: make servers")
    with pytest.raises(ServersError, match="cluster support disabled"):
        servers_probe.describe("cluster", url)


def _noted(kind: Kind) -> str | None:
    path = ROOT / ".servers.env"
    return parse_env(path.read_text("utf-8")).get(kind.variable) if path.is_file() else None


def test_every_container_gets_its_ports() -> None:
    assert set(servers_docker.SERVICES) == {kind.name for kind in KINDS}
    compose = (ROOT / "docker-compose.yml").read_text(encoding="utf-8")
    for kind, (service, variables) in servers_docker.SERVICES.items():
        assert f"\n  {service}:\n" in compose
        assert servers_docker.port_count(kind) == len(variables)
        assert all(f"127.0.0.1:${{{name}:-" in compose for name in variables)


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
