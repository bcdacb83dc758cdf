"""Give the tests real servers: `python scripts/servers.py start|stop|status`.

Runs on a bare Python 3.11 (standard library only), before anything is installed. For each of
PostgreSQL with TimescaleDB and PostGIS, plain PostgreSQL, Redis Stack and a Redis Cluster of three
nodes of it, it takes the first of:

1. the URL that somebody gives in `HSORM_TEST_POSTGRES_URL`, `HSORM_TEST_PLAIN_POSTGRES_URL`,
   `HSORM_TEST_REDIS_URL` or `HSORM_TEST_REDIS_CLUSTER_URL`;
2. the server that an earlier start left running;
3. a container, where a Docker engine answers;
4. a server from Debian's and PyPI's packages.

`start` writes the URLs to `.servers.env`. Exit code 0: all there. 3: some missing, with the reason.
`docs/servers.md` tells the rest.
"""

from __future__ import annotations

import argparse
import os
import sys
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

CHECKOUT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(CHECKOUT))

from scripts import servers_docker as docker  # noqa: E402
from scripts import servers_packages as packages  # noqa: E402
from scripts import servers_run as run  # noqa: E402
from scripts import servers_state as state  # noqa: E402
from scripts.servers_probe import describe  # noqa: E402
from scripts.servers_state import Kind, Running, ServersError, State  # noqa: E402

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

ENV_FILE = CHECKOUT / ".servers.env"
MISSING = 3
PORT_TRIES = 3
PORT_TAKEN = ("in use", "Failed listening on port")  # as PostgreSQL and as Redis say it


@dataclass(frozen=True, slots=True)
class Found:
    """What came of one kind of server: a URL and what answers there, or why there is none."""

    kind: Kind
    url: str = ""
    what: str = ""
    origin: str = ""
    reason: str = ""

    def __str__(self) -> str:
        """Return the line that the user sees."""
        if self.url:
            shown = f"{state.masked(self.url)} ({self.origin}) {self.what}"
            return f"servers: {self.kind.title}: {shown}"
        return f"servers: {self.kind.title}: MISSING: {self.reason}"


class Session:
    """One run of the script for one checkout: its folders and its state, saved at each change."""

    def __init__(self, cache_folder: Path, checkout: Path) -> None:
        self.cache = cache_folder
        self.folder = state.instance_dir(cache_folder, checkout)
        self.state = state.load_state(self.folder)

    def remember(self, server: Running) -> None:
        """Note a server that was started."""
        self._change(state.remember(self.state, server))

    def end(self, server: Running) -> None:
        """End a server that an earlier start made, and forget it."""
        if server.project:
            docker.docker_down(server)
        else:
            run.end(server)
        self._change(state.forget(self.state, server.kind))

    def _change(self, changed: State) -> None:
        self.state = changed
        state.save_state(self.folder, changed)


def start(session: Session) -> list[Found]:
    """Find or start each of the servers and write `.servers.env`."""
    packages.remove_leftovers(session.cache)
    found = []
    for kind in state.KINDS:
        found.append(_found(session, kind))
        print(found[-1], flush=True)
    urls = {one.kind.variable: one.url for one in found if one.url}
    missing = {one.kind.variable: one.reason for one in found if not one.url}
    state.write_atomically(ENV_FILE, state.env_text(urls, missing))
    return found


def status(session: Session) -> list[Found]:
    """Tell what is there, changing nothing."""
    found = [
        _existing(session, kind) or Found(kind, reason="not running (make servers starts it)")
        for kind in state.KINDS
    ]
    for one in found:
        print(one)
    return found


def stop(session: Session) -> list[Found]:
    """End what this checkout's starts made, and nothing else."""
    for server in session.state.running:
        session.end(server)
        print(f"servers: stopped {server.kind} ({server.url})", flush=True)
    ENV_FILE.unlink(missing_ok=True)
    return []


def _existing(session: Session, kind: Kind) -> Found | None:
    """Return the server that is given from outside or still running, if there is one."""
    if url := state.outside_url(kind, os.environ, session.state):
        try:
            return Found(kind, url, describe(kind.name, url), "given")
        except ServersError as exc:
            advice = f"start that server or unset {kind.variable}"
            return Found(kind, reason=f"given as {state.masked(url)}, but {exc}; {advice}")
    if server := session.state.find(kind.name):
        try:
            what = describe(kind.name, server.url)
        except ServersError:
            return None
        # The port may have gone to somebody else's server since.
        if server.project or all(map(state.alive, server.processes)):
            return Found(kind, server.url, what, "already running")
    return None


def _found(session: Session, kind: Kind) -> Found:
    if existing := _existing(session, kind):
        return existing
    reasons = []
    try:
        if server := session.state.find(kind.name):
            session.end(server)
        for origin, begin in _ways(session, kind):
            try:
                server = begin()
                return Found(kind, server.url, describe(kind.name, server.url), origin)
            except ServersError as exc:
                reasons.append(f"{origin}: {exc}")
                if left := session.state.find(kind.name):
                    session.end(left)
    except (ServersError, OSError) as exc:
        reasons.append(str(exc))
    reasons.append(f"set {kind.variable} to use a server of your own")
    return Found(kind, reason="; ".join(dict.fromkeys(reasons)))


def _ways(session: Session, kind: Kind) -> Iterator[tuple[str, Callable[[], Running]]]:
    """Give the ways to make a server of this kind, best first; a later one is for a failed one."""
    if _docker_answers():
        yield "docker", lambda: _by_docker(session, kind.name)
    match kind.name:
        case "timescale":
            yield "packages", lambda: _cluster(session, kind, packages.debian_tree(session.cache))
        case "plain":
            yield from _plain_ways(session, kind)
        case _:
            yield "packages", lambda: _redis(session, kind)


def _plain_ways(session: Session, kind: Kind) -> Iterator[tuple[str, Callable[[], Running]]]:
    if local := packages.machine_postgres(session.cache):
        yield "this machine's PostgreSQL", lambda: _cluster(session, kind, local)
    yield "packages", lambda: _cluster(session, kind, packages.plain_tree(session.cache))
    yield "apt", lambda: _cluster(session, kind, _installed(session))


def _installed(session: Session) -> packages.Postgres:
    if found := packages.machine_postgres(session.cache, install=True):
        return found
    raise ServersError("the installed package brings no PostgreSQL of 14 or later")


@cache
def _docker_answers() -> bool:
    return docker.engine_answers()


def _by_docker(session: Session, kind: str) -> Running:
    project = f"hsorm-test-{session.folder.name}-{kind}"
    ports = [run.free_port(session.state.last_port(kind))]
    ports += run.free_ports(docker.port_count(kind) - 1)
    server = docker.docker_up(kind, project, ports)
    session.remember(server)
    return server


def _cluster(session: Session, kind: Kind, programs: packages.Postgres) -> Running:
    return _on_free_port(
        session,
        kind.name,
        lambda port: run.start_postgres(
            kind.name, programs, session.folder, port, session.remember
        ),
    )


def _redis(session: Session, kind: Kind) -> Running:
    programs = packages.redis_stack(session.cache)
    start = run.start_redis_cluster if kind.name == "cluster" else run.start_redis
    return _on_free_port(
        session, kind.name, lambda port: start(programs, session.folder, port, session.remember)
    )


def _on_free_port(session: Session, kind: str, begin: Callable[[int], Running]) -> Running:
    """Start a server on its last port or another free one; a port can be taken meanwhile."""
    preferred = session.state.last_port(kind)
    for left in reversed(range(PORT_TRIES)):
        try:
            return begin(run.free_port(preferred))
        except ServersError as exc:
            if not left or not any(words in str(exc) for words in PORT_TAKEN):
                raise
            if server := session.state.find(kind):
                session.end(server)
            preferred = None
    raise ServersError("no port was free")


COMMANDS = {"start": start, "stop": stop, "status": status}


def main() -> int:
    """Run one command and return the exit code."""
    parser = argparse.ArgumentParser(description="Real servers for hsorm's tests.")
    parser.add_argument("command", choices=COMMANDS)
    command = parser.parse_args().command
    folder = state.cache_dir(os.environ, root=os.geteuid() == 0)
    try:
        state.instance_dir(folder, CHECKOUT).mkdir(parents=True, exist_ok=True)
        with state.locked(folder / "lock"):
            found = COMMANDS[command](Session(folder, CHECKOUT))
    except (ServersError, OSError) as exc:
        print(f"servers: {exc}", file=sys.stderr)
        return 1
    return 0 if all(one.url for one in found) else MISSING


if __name__ == "__main__":
    sys.exit(main())
