"""Soak hsorm: processes that write and watch one database, some killed; then prove it lost nothing.

`python -m benchmarks.soak --seconds 300`: on SQLite, and on servers of its own, of PostgreSQL and
of Redis, that are stopped at once, as by a crash, every while. `--url` takes a PostgreSQL database
that is there instead, where single connections are ended. docs/reliability.md tells what is proven.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

import psycopg

from benchmarks._soak_check import check
from benchmarks._soak_work import HISTORY, HISTORY_BEGINS, SHARED, state_of
from hsorm import MARKER, Number, Ref, open_storage
from scripts import servers_packages, servers_run, servers_state
from scripts.own_redis import DURABLE, OwnRedis, stack_here
from scripts.servers_probe import pg_query

ROLES: Final = [("write", n) for n in range(3)] + [("poll", n) for n in range(2)] + [("feed", 0)]
OWN: Final = [f"own{writer}-{i}" for writer in range(3) for i in range(4)]
_BACKENDS: Final = ("sqlite", "postgres", "redis")
_KILL_SECONDS: Final = 4.0
_CRASH_SECONDS: Final = 20.0
_END_SECONDS: Final = 60.0


class Crew:
    """The processes at work."""

    def __init__(self, url: str, folder: Path) -> None:
        self.url, self.folder = url, folder
        self.born = dict.fromkeys(ROLES, 0)
        self.killed = 0
        self.at_work = {role: self._start(role) for role in ROLES}

    def _start(self, role: tuple[str, int]) -> subprocess.Popen[bytes]:
        self.born[role] += 1
        name, number = role
        args = [self.url, name, str(number), str(self.born[role]), str(self.folder)]
        with (self.folder / "stderr").open("ab") as output:
            return subprocess.Popen(
                [sys.executable, "-m", "benchmarks._soak_work", *args], stderr=output
            )

    def kill_one(self) -> None:
        """End a process by force and start its successor."""
        role = random.choice(ROLES)
        self.at_work[role].kill()
        self.at_work[role].wait()
        self.killed += 1
        self.at_work[role] = self._start(role)

    def failed(self) -> list[str]:
        """Return those that ended by themselves."""
        return [f"{role} ended: {p.poll()}" for role, p in self.at_work.items() if p.poll()]

    def stop(self, which: str) -> None:
        (self.folder / f"stop-{which}").touch()
        for (name, _), process in self.at_work.items():
            if (name == "write") == (which == "writers"):
                process.wait(_END_SECONDS)

    def end(self) -> None:
        for process in self.at_work.values():
            process.kill()
            process.wait()


async def _prepare(url: str) -> None:
    writable = {"point": MARKER, "writable": MARKER, "kind": "Number", "soak": MARKER}
    async with open_storage(url) as store:
        await store.load_entities(
            {"id": Ref(id), **writable, "n": Number(0), "odd": MARKER} for id in SHARED
        )
        point = {"point": MARKER, "his": MARKER, "kind": "Number", "tz": "UTC"}
        await store.load_entities({"id": Ref(id), **point} for id in HISTORY)


async def _note_final(url: str, folder: Path) -> None:
    """Write what is stored at the end to the last log."""
    async with open_storage(url) as opened:
        store = opened
        found = await store.read_by_ids([*SHARED, *OWN])
        rows = {id: state_of(one) for id, one in zip([*SHARED, *OWN], found, strict=True)}
        odd = [one["id"].val for one in found if one and "odd" in one and "trash" not in one]
        arrays = {}
        for id in SHARED:
            levels = await store.point_array(id)
            arrays[id] = [row["val"].val if "val" in row else None for row in levels]
        history = {}
        for id in HISTORY:
            items = await store.his_read(id, f"{HISTORY_BEGINS:%Y-%m-%d},2009-12-31")
            history[id] = Counter(int(item["val"].val) for item in items)
    final = {"what": "final", "rows": {**rows, "_odd": odd}, "arrays": arrays, "history": history}
    (folder / "final.log").write_text(json.dumps(final) + "\n")


def soak(url: str, folder: Path, seconds: float, disturb: Callable[[], None]) -> list[str]:
    """Let the crew work for so long; return what is wrong."""
    asyncio.run(_prepare(url))
    crew = Crew(url, folder)
    disturbed = 0
    try:
        end = time.monotonic() + seconds
        next_crash = time.monotonic() + min(_CRASH_SECONDS, seconds / 3)
        while (left := end - time.monotonic()) > 0 and not crew.failed():
            time.sleep(min(left, _KILL_SECONDS * random.uniform(0.5, 1.5)))
            crew.kill_one()
            if time.monotonic() > next_crash:
                disturb()
                disturbed += 1
                next_crash = time.monotonic() + min(_CRASH_SECONDS, seconds / 3)
        wrong = crew.failed()
        crew.stop("writers")
        crew.stop("readers")
    finally:
        crew.end()
    asyncio.run(_note_final(url, folder))
    found, counts = check(folder)
    wrong += found
    print(
        f"{seconds:.0f} s, {crew.killed} processes killed, {disturbed} times the server; ", end=""
    )
    print(", ".join(f"{what} {count}" for what, count in sorted(counts.items())))
    return wrong


def end_connections(url: str) -> None:
    """End half of the connections of hsorm to a database."""
    ours = "datname = current_database() AND application_name = 'hsorm' AND random() < 0.5"
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE {ours}")


class Server:
    """A PostgreSQL of the soak's own."""

    def __init__(self, folder: Path) -> None:
        programs = servers_packages.machine_postgres(folder)
        if programs is None:
            raise SystemExit("this machine has no PostgreSQL: give --url")
        self._postgres = str(programs.programs / "postgres")
        self._log = folder / "plain.log"
        self._running = servers_run.start_postgres(
            "plain", programs, folder, servers_run.free_port(), lambda running: None
        )
        self.url = self._running.url
        self._again: subprocess.Popen[bytes] | None = None
        # Servers for tests may lose the last commits when they crash; this one may not. The machine
        # does not crash, so nothing has to reach the disk.
        pg_query(self.url, "ALTER SYSTEM SET synchronous_commit = on")
        pg_query(self.url, "ALTER SYSTEM SET full_page_writes = on")
        pg_query(self.url, "SELECT pg_reload_conf()")

    @property
    def owner(self) -> int:
        """The id of the user that the server runs as."""
        return Path(str(self._running.data)).stat().st_uid

    def crash(self) -> None:
        """Stop the server at once, as `pg_ctl stop -m immediate` does, and start it again."""
        self._quit()
        data = str(self._running.data)
        owner = Path(data).stat()
        root = os.geteuid() == 0
        with self._log.open("ab") as output:
            self._again = subprocess.Popen(
                [self._postgres, "-D", data],
                stdout=output,
                stderr=subprocess.STDOUT,
                cwd="/",
                user=owner.st_uid if root else None,
                group=owner.st_gid if root else None,
                extra_groups=[] if root else None,
            )

    def _quit(self) -> None:
        if self._again is not None:
            self._again.send_signal(signal.SIGQUIT)
            self._again.wait()
        elif self._running.process:
            os.kill(self._running.process.pid, signal.SIGQUIT)
            while servers_state.alive(self._running.process):
                with suppress(ChildProcessError):
                    os.waitpid(self._running.process.pid, os.WNOHANG)
                time.sleep(0.05)

    def end(self) -> None:
        self._quit()
        servers_packages.remove_tree(Path(str(self._running.data)))


@contextmanager
def _server() -> Iterator[Server]:
    with tempfile.TemporaryDirectory(prefix="hsorm-soak-") as name:
        Path(name).chmod(0o755)  # the server runs as a user of its own
        server = Server(Path(name))
        try:
            yield server
        finally:
            server.end()


@contextmanager
def own_redis() -> Iterator[OwnRedis]:
    """Lend a Redis that has on disk what it has acknowledged."""
    stack = stack_here()
    if stack is None:
        raise SystemExit("no Redis Stack from packages here: make servers fetches it")
    with tempfile.TemporaryDirectory(prefix="hsorm-soak-") as name:
        server = OwnRedis(Path(name), stack, *DURABLE)
        try:
            server.wait()
            yield server
        finally:
            server.end()


def _report(backend: str, seconds: float, url: str, disturb: Callable[[], None]) -> bool:
    folder = Path(tempfile.mkdtemp(prefix=f"hsorm-soak-{backend}-"))
    path = url or f"sqlite:///{folder}/soak.db"
    print(f"{backend}: ", end="", flush=True)
    wrong = soak(path, folder, seconds, disturb)
    print(f"{backend}: {len(wrong)} wrong; logs in {folder}")
    for text in wrong[:20]:
        print(f"  {text}")
    return not wrong


def main() -> int:
    parser = argparse.ArgumentParser(description="Soak hsorm and prove that nothing is lost.")
    parser.add_argument("--seconds", type=float, default=300.0, help="for each backend")
    parser.add_argument("--backend", choices=_BACKENDS, action="append")
    parser.add_argument("--url", help="a PostgreSQL database to use instead of an own server")
    given = parser.parse_args()
    backends = given.backend or _BACKENDS
    good = True
    if "sqlite" in backends:
        good &= _report("sqlite", given.seconds, "", lambda: None)
    if "postgres" in backends and given.url:
        good &= _report("postgres", given.seconds, given.url, lambda: end_connections(given.url))
    elif "postgres" in backends:
        with _server() as server:
            good &= _report("postgres", given.seconds, server.url, server.crash)
    if "redis" in backends:
        with own_redis() as redis:
            good &= _report("redis", given.seconds, redis.url, redis.crash)
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
