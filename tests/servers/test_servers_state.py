"""The parts of the servers' script that are values and files: no server is needed or imitated."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
import threading
from dataclasses import replace
from pathlib import Path

import pytest

from scripts import servers_state as state
from scripts.servers_state import KINDS, Process, Running, State

TIMESCALE, PLAIN, REDIS, _ = KINDS
SERVER = Running("redis", "redis://127.0.0.1:7001", Process(41, "boot 5"), data="/d")


def test_env_file_has_one_export_per_server_and_says_what_is_missing() -> None:
    urls = {PLAIN.variable: "postgresql://hsorm:hsorm@127.0.0.1:5/hsorm"}
    text = state.env_text(urls, {REDIS.variable: "no apt;\nset it"})
    assert text.splitlines()[1:] == [
        "export HSORM_TEST_PLAIN_POSTGRES_URL=postgresql://hsorm:hsorm@127.0.0.1:5/hsorm",
        "# HSORM_TEST_REDIS_URL: no apt; set it",
    ]


@pytest.mark.parametrize(
    "url",
    [
        "redis://127.0.0.1:6379",
        "postgresql://u:p%20w@h:5/d?sslmode=require&application_name=a",
        "postgresql://u:it's $HOME `id`@h/d",
    ],
)
def test_env_file_gives_the_url_back_to_python_and_to_a_shell(url: str, tmp_path: Path) -> None:
    text = state.env_text({TIMESCALE.variable: url}, {})
    assert state.parse_env(text) == {TIMESCALE.variable: url}
    (tmp_path / "env").write_text(text, encoding="utf-8")
    script = f'. ./env; printf %s "${TIMESCALE.variable}"'
    done = subprocess.run(["sh", "-c", script], capture_output=True, text=True, cwd=tmp_path)
    assert done.stdout == url


def test_state_survives_a_round_trip_and_knows_its_servers(tmp_path: Path) -> None:
    container = Running("plain", "postgresql://h:5/d", project="hsorm-test")
    noted = state.remember(state.remember(State(), SERVER), container)
    state.save_state(tmp_path, noted)
    assert state.load_state(tmp_path) == noted
    assert noted.find("redis") == SERVER
    assert noted.find("timescale") is None
    assert [path.name for path in tmp_path.iterdir()] == ["state.json"]
    assert stat.S_IMODE((tmp_path / "state.json").stat().st_mode) == 0o600


@pytest.mark.parametrize("text", ["", "{", "[]", '{"running": [{"kind": 1}], "former": []}'])
def test_a_damaged_state_file_is_an_empty_state(text: str, tmp_path: Path) -> None:
    (tmp_path / "state.json").write_text(text, encoding="utf-8")
    assert state.load_state(tmp_path) == State()


def test_a_state_file_of_before_there_were_clusters_is_read(tmp_path: Path) -> None:
    state.save_state(tmp_path, state.remember(State(), SERVER))
    path = tmp_path / "state.json"
    raw = json.loads(path.read_text("utf-8"))
    del raw["running"][0]["others"]
    path.write_text(json.dumps(raw), "utf-8")
    assert state.load_state(tmp_path).running == (SERVER,)


def test_a_restarted_server_replaces_the_old_one_of_its_kind() -> None:
    newer = replace(SERVER, url="redis://127.0.0.1:7002")
    noted = state.remember(state.remember(State(), SERVER), newer)
    assert noted.running == (newer,)
    assert noted.last_port("redis") == 7002
    assert noted.last_port("plain") is None


def test_forgotten_servers_urls_stay_ours_up_to_a_limit() -> None:
    noted = state.forget(state.remember(State(), SERVER), "redis")
    assert noted.running == ()
    assert noted.handed_out(SERVER.url)
    for port in range(50):
        noted = state.remember(noted, replace(SERVER, url=f"redis://127.0.0.1:{port}"))
    assert len(noted.former) == state.FORMER_URLS_KEPT
    assert noted.handed_out("redis://127.0.0.1:49")
    assert not noted.handed_out(SERVER.url)


def test_a_url_counts_as_given_only_when_it_is_not_our_own() -> None:
    noted = state.forget(state.remember(State(), SERVER), "redis")
    given = {REDIS.variable: "redis://elsewhere:1", PLAIN.variable: " "}
    assert state.outside_url(REDIS, given, noted) == "redis://elsewhere:1"
    assert state.outside_url(PLAIN, given, noted) is None
    assert state.outside_url(TIMESCALE, given, noted) is None
    # What a shell still has from sourcing .servers.env, after that server was stopped.
    assert state.outside_url(REDIS, {REDIS.variable: SERVER.url}, noted) is None


def test_a_process_is_known_by_number_and_birth() -> None:
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    try:
        known = state.identify(child.pid)
        assert known is not None
        assert state.alive(known)
        assert not state.alive(replace(known, birth=f"{known.birth}1"))
        me = state.identify(os.getpid())
        assert me is not None
        assert me.birth != known.birth
    finally:
        child.kill()
    # Dead but not yet waited for: a zombie counts as ended.
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
    assert not state.alive(known)
    child.communicate()
    assert not state.alive(known)
    assert not state.alive(None)


def test_a_lock_makes_the_second_one_wait(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    order: list[str] = []

    def second() -> None:
        with state.locked(tmp_path / "lock"):
            order.append("second")

    with state.locked(tmp_path / "lock"):
        thread = threading.Thread(target=second)
        thread.start()
        thread.join(0.5)
        assert thread.is_alive()
        order.append("first")
    thread.join(10)
    assert order == ["first", "second"]
    assert "waiting" in capsys.readouterr().out


def test_writing_leaves_the_old_text_when_it_fails(tmp_path: Path) -> None:
    path = tmp_path / "file"
    state.write_atomically(path, "old")
    with pytest.raises(UnicodeEncodeError):
        state.write_atomically(path, "\ud800")
    assert path.read_text(encoding="utf-8") == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_the_cache_folder_is_chosen_from_the_environment() -> None:
    assert state.cache_dir({"HSORM_CACHE_DIR": "/c"}, root=True) == Path("/c")
    assert state.cache_dir({"XDG_CACHE_HOME": "/x"}, root=True) == Path("/var/cache/hsorm/servers")
    assert state.cache_dir({"XDG_CACHE_HOME": "/x"}, root=False) == Path("/x/hsorm/servers")
    assert state.cache_dir({}, root=False) == Path.home() / ".cache/hsorm/servers"


def test_each_checkout_has_its_own_folder(tmp_path: Path) -> None:
    one, two = (state.instance_dir(tmp_path, tmp_path / name) for name in ("a", "b"))
    assert one != two
    assert one == state.instance_dir(tmp_path, tmp_path / "b" / ".." / "a")


def test_a_foreign_password_is_not_shown() -> None:
    assert state.masked("postgresql://u:secret@h/d") == "postgresql://u:***@h/d"
    assert state.masked("postgresql://hsorm:hsorm@h/d") == "postgresql://hsorm:hsorm@h/d"
    assert state.masked("redis://h:1") == "redis://h:1"
