"""What the test servers' script remembers: folders, processes, the state file and `.servers.env`.

Everything here is plain values and files, so it can be tested without any server.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shlex
import subprocess
import tempfile
import time
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

__all__ = [
    "KINDS",
    "Kind",
    "Process",
    "Running",
    "ServersError",
    "State",
    "alive",
    "cache_dir",
    "env_text",
    "forget",
    "identify",
    "instance_dir",
    "load_state",
    "locked",
    "masked",
    "outside_url",
    "parse_env",
    "port_of",
    "remember",
    "save_state",
    "write_atomically",
]

FORMER_URLS_KEPT = 12
LOCK_SECONDS = 15 * 60


class ServersError(RuntimeError):
    """A server cannot be given; the text says why and what to do."""


@dataclass(frozen=True, slots=True)
class Kind:
    """One of the servers: its short name, the variable that carries its URL, and what it is."""

    name: str
    variable: str
    title: str


KINDS = (
    Kind("timescale", "HSORM_TEST_POSTGRES_URL", "PostgreSQL + TimescaleDB + PostGIS"),
    Kind("plain", "HSORM_TEST_PLAIN_POSTGRES_URL", "plain PostgreSQL"),
    Kind("redis", "HSORM_TEST_REDIS_URL", "Redis Stack"),
    Kind("cluster", "HSORM_TEST_REDIS_CLUSTER_URL", "Redis Cluster"),
)


@dataclass(frozen=True, slots=True)
class Process:
    """A process by number and birth: a number alone is given out again later."""

    pid: int
    birth: str


@dataclass(frozen=True, slots=True)
class Running:
    """A server that a start of ours left running.

    `process` is set for a server made from packages, `project` for one made by docker compose.
    `others` are the further processes of one that is several. `data` is its throw-away data folder.
    """

    kind: str
    url: str
    process: Process | None = None
    project: str = ""
    data: str = ""
    others: tuple[Process, ...] = ()

    @property
    def processes(self) -> tuple[Process, ...]:
        """All processes of this server."""
        return (*filter(None, (self.process,)), *self.others)


@dataclass(frozen=True, slots=True)
class State:
    """What one checkout has running, and the URLs that it handed out before."""

    running: tuple[Running, ...] = ()
    former: tuple[str, ...] = ()

    def find(self, kind: str) -> Running | None:
        """Return the server of this kind, if a start left one."""
        return next((server for server in self.running if server.kind == kind), None)

    def last_port(self, kind: str) -> int | None:
        """Return the port that this kind of server had last, so that a shell's URL stays right."""
        urls = [url for url in self.former if url.startswith(f"{kind} ")]
        return port_of(urls[-1].partition(" ")[2]) if urls else None

    def handed_out(self, url: str) -> bool:
        """Tell whether a start of ours made this URL, now or earlier."""
        return any(entry.partition(" ")[2] == url for entry in self.former)


def remember(state: State, server: Running) -> State:
    """Return the state with this server in it, in place of an older one of its kind."""
    entry = f"{server.kind} {server.url}"
    former = (*(known for known in state.former if known != entry), entry)
    others = tuple(known for known in state.running if known.kind != server.kind)
    return State((*others, server), former[-FORMER_URLS_KEPT:])


def forget(state: State, kind: str) -> State:
    """Return the state without the server of this kind; its URL stays among the former ones."""
    return replace(state, running=tuple(one for one in state.running if one.kind != kind))


def load_state(folder: Path) -> State:
    """Read the state file; one that is absent or damaged is an empty state."""
    try:
        raw = json.loads((folder / "state.json").read_text(encoding="utf-8"))
        return State(tuple(map(_running, raw["running"])), tuple(raw["former"]))
    except (OSError, ValueError, KeyError, TypeError):
        return State()


def _running(raw: dict[str, Any]) -> Running:
    process = Process(**raw["process"]) if raw["process"] else None
    others = tuple(Process(**one) for one in raw.get("others", ()))
    return Running(**{**raw, "process": process, "others": others})


def save_state(folder: Path, state: State) -> None:
    """Write the state file whole or not at all."""
    write_atomically(folder / "state.json", json.dumps(asdict(state), indent=1) + "\n")


def write_atomically(path: Path, text: str) -> None:
    """Write a text file that only its owner can read, so that a reader never sees half of it."""
    descriptor, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def outside_url(kind: Kind, environ: Mapping[str, str], state: State) -> str | None:
    """Return the URL that somebody gives for this server, if any.

    A URL that we handed out ourselves does not count: it is in the environment of every shell
    that has sourced `.servers.env`, also after that server is gone.
    """
    url = environ.get(kind.variable, "").strip()
    return url if url and not state.handed_out(url) else None


def env_text(urls: Mapping[str, str], missing: Mapping[str, str]) -> str:
    """Return the text of `.servers.env`.

    Args:
        urls: URL by variable name.
        missing: Reason by variable name, for the servers that there are not.
    """
    lines = ["# Written by scripts/servers.py start; read it with: . ./.servers.env"]
    lines += [f"export {name}={shlex.quote(url)}" for name, url in urls.items()]
    lines += [f"# {name}: {' '.join(reason.split())}" for name, reason in missing.items()]
    return "\n".join(lines) + "\n"


def parse_env(text: str) -> dict[str, str]:
    """Read the `export NAME=url` lines of `.servers.env` back."""
    words = [shlex.split(line, comments=True) for line in text.splitlines()]
    exports = [line[1] for line in words if len(line) == 2 and line[0] == "export"]
    return {name: url for name, _, url in (one.partition("=") for one in exports)}


def masked(url: str) -> str:
    """Return the URL for showing: a password other than the test servers' own is hidden."""
    password = urlsplit(url).password
    return url if password in (None, "hsorm") else url.replace(f":{password}@", ":***@", 1)


def port_of(url: str) -> int | None:
    """Return the port of a URL, or nothing when it has none."""
    try:
        return urlsplit(url).port
    except ValueError:
        return None


def identify(pid: int) -> Process | None:
    """Return the living process with this number; nothing when there is none or it is a zombie."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except FileNotFoundError:
        return None if Path("/proc/self/stat").exists() else _identify_by_ps(pid)
    except OSError:
        return None
    # The second field is the command in brackets and may itself hold brackets and spaces.
    fields = stat.rpartition(")")[2].split()
    return None if fields[0] in "ZX" else Process(pid, f"{boot} {fields[19]}")


def _identify_by_ps(pid: int) -> Process | None:
    command = ["ps", "-o", "stat=,lstart=", "-p", str(pid)]
    answer = subprocess.run(command, capture_output=True, text=True, check=False)
    status, _, birth = answer.stdout.strip().partition(" ")
    return Process(pid, birth.strip()) if birth and not status.startswith("Z") else None


def alive(process: Process | None) -> bool:
    """Tell whether exactly this process still lives (not another that got its number)."""
    return process is not None and identify(process.pid) == process


def cache_dir(environ: Mapping[str, str], *, root: bool) -> Path:
    """Return the folder for downloads, unpacked trees and data folders.

    Root's home is often closed to the user that PostgreSQL runs as, hence /var/cache there.
    """
    if chosen := environ.get("HSORM_CACHE_DIR"):
        return Path(chosen).expanduser().absolute()
    if root:
        return Path("/var/cache/hsorm/servers")
    base = environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(base).absolute() / "hsorm" / "servers"


def instance_dir(cache: Path, checkout: Path) -> Path:
    """Return the folder of one checkout's servers: two checkouts never stop each other's."""
    digest = hashlib.sha256(str(checkout.resolve()).encode()).hexdigest()[:12]
    return cache / "run" / digest


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold the lock file, so that one start or stop runs at a time; waits at most 15 minutes."""
    with path.open("w") as file:
        deadline = time.monotonic() + LOCK_SECONDS
        waiting = False
        while not _try_lock(file.fileno()):
            if not waiting:
                print("servers: another start or stop is running, waiting for it", flush=True)
            waiting = True
            if time.monotonic() > deadline:
                raise ServersError(f"{path} stays locked; end the process that holds it")
            time.sleep(0.2)
        yield


def _try_lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
