"""Start and end the servers that are made from packages.

A cluster is always made anew (a few seconds): its data is for throwing away and its settings give
up safety for speed, so nothing that a killed machine left behind is ever trusted. `stop` removes
the data.
"""

from __future__ import annotations

import contextlib
import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

from scripts.servers_packages import Postgres, RedisStack, remove_tree, unshare
from scripts.servers_probe import pg_query, redis_call
from scripts.servers_state import Process, Running, ServersError, alive, identify

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

__all__ = ["end", "free_port", "postgres_settings", "start_postgres", "start_redis"]

LOOPBACK = "127.0.0.1"
USER = "hsorm"
START_SECONDS = 60.0
# Fast shutdown, then at once, then by force; Redis knows the first two as well.
POSTGRES_SIGNALS = ((signal.SIGINT, 15.0), (signal.SIGQUIT, 5.0), (signal.SIGKILL, 5.0))
REDIS_SIGNALS = ((signal.SIGTERM, 10.0), (signal.SIGKILL, 5.0))


def start_postgres(
    kind: str, programs: Postgres, folder: Path, port: int, report: Callable[[Running], None]
) -> Running:
    """Make a cluster and start its server.

    Args:
        kind: Which of the servers this is; TimescaleDB is preloaded for `timescale`.
        programs: PostgreSQL, on this machine or in an unpacked tree.
        folder: Where the log goes and, for a server of this machine, the data.
        port: A free port.
        report: Called as soon as there is a process, so that it is never forgotten.

    Raises:
        ServersError: The cluster or the server does not come up; the text names the log.
    """
    # In a tree root is dropped inside it, after chroot; a server of this machine starts without it.
    owner = _user("postgres") if os.geteuid() == 0 and not programs.tree else None
    data = _data_folder(kind, programs, folder, owner)
    log = folder / f"{kind}.log"
    inside = Path("/") / data.relative_to(programs.tree) if programs.tree else data
    password = data.with_name(f"{data.name}.password")
    password.write_text(f"{USER}\n", encoding="ascii")
    try:
        _init_cluster(programs, inside, owner, log)
    finally:
        password.unlink()
    settings = postgres_settings(port, preload=kind == "timescale")
    with (data / "postgresql.conf").open("a", encoding="ascii") as file:
        file.writelines(f"{name} = '{value}'\n" for name, value in settings.items())
    command = [str(programs.programs / "postgres"), "-D", str(inside)]
    started = _spawn(_wrapped(programs, command), log, owner=owner)
    url = f"postgresql://{USER}:{USER}@{LOOPBACK}:{port}"
    server = Running(kind, f"{url}/{USER}", identify(started.pid), data=str(data))
    report(server)
    _await(started, log, lambda: pg_query(f"{url}/postgres", "SELECT 1"))
    pg_query(f"{url}/postgres", f"CREATE DATABASE {USER}")
    return server


def postgres_settings(port: int, *, preload: bool) -> dict[str, str]:
    """Return the settings of a throw-away test cluster."""
    settings = {
        "listen_addresses": LOOPBACK,
        "port": str(port),
        "unix_socket_directories": "",
        "fsync": "off",
        "synchronous_commit": "off",
        "full_page_writes": "off",
        "shared_buffers": "256MB",
        "max_wal_size": "2GB",
        "max_connections": "200",
        # A statement over a hypertable locks each of its chunks.
        "max_locks_per_transaction": "512",
    }
    if preload:
        settings |= {
            "shared_preload_libraries": "timescaledb",
            "timescaledb.telemetry_level": "off",
            # Every database with the extension keeps one worker; tests make many databases.
            "max_worker_processes": "64",
        }
    return settings


def start_redis(
    programs: RedisStack, folder: Path, port: int, report: Callable[[Running], None]
) -> Running:
    """Start Redis Stack without persistence; arguments as for `start_postgres`."""
    owner = _user("nobody") if os.geteuid() == 0 else None
    data = _owned_folder("redis", folder, owner)
    command = [str(programs.server), "--port", str(port), "--bind", LOOPBACK, "--save", ""]
    command += ["--appendonly", "no", "--dir", str(data), "--daemonize", "no"]
    for module in programs.modules:
        command += ["--loadmodule", str(module)]
    log = folder / "redis.log"
    env = {"LD_LIBRARY_PATH": str(programs.libraries)}
    started = _spawn(command, log, owner=owner, env=env)
    server = Running("redis", f"redis://{LOOPBACK}:{port}", identify(started.pid), data=str(data))
    report(server)
    _await(started, log, lambda: redis_call(server.url, "PING"))
    return server


def end(server: Running) -> None:
    """End the server's process, if it is still the same one, and remove its data.

    Raises:
        ServersError: The process does not end.
    """
    signals = REDIS_SIGNALS if server.kind == "redis" else POSTGRES_SIGNALS
    if server.process and not _ended(server.process, signals):
        raise ServersError(f"process {server.process.pid} ({server.kind}) does not end")
    if server.data:
        remove_tree(Path(server.data))


def _ended(process: Process, signals: Sequence[tuple[signal.Signals, float]]) -> bool:
    for number, seconds in signals:
        if not alive(process):
            return True
        with contextlib.suppress(ProcessLookupError):
            os.kill(process.pid, number)
        deadline = time.monotonic() + seconds
        while alive(process) and time.monotonic() < deadline:
            time.sleep(0.05)
    return not alive(process)


def free_port(preferred: int | None = None) -> int:
    """Return a loopback port that nobody listens on, the preferred one when it is free."""
    for port in filter(None, (preferred,)):
        with socket.socket() as sock, contextlib.suppress(OSError):
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            sock.bind((LOOPBACK, port))
            return port
    with socket.socket() as sock:
        sock.bind((LOOPBACK, 0))
        return int(sock.getsockname()[1])


def _data_folder(
    kind: str, programs: Postgres, folder: Path, owner: pwd.struct_passwd | None
) -> Path:
    """Make an empty data folder that the server's user owns and can reach."""
    if programs.tree:
        data = Path(tempfile.mkdtemp(prefix=f"{kind}-", dir=programs.tree / "var/lib/postgresql"))
        uid, gid = _ids_in(programs.tree)
        os.chown(data, uid, gid)
        return data
    return _owned_folder(kind, folder, owner)


def _owned_folder(kind: str, folder: Path, owner: pwd.struct_passwd | None) -> Path:
    data = Path(tempfile.mkdtemp(prefix=f"{kind}-", dir=folder))
    if owner:
        closed = [str(one) for one in data.parents if not one.stat().st_mode & 0o001]
        if closed:
            raise ServersError(
                f"user {owner.pw_name} cannot enter {closed[0]}; move HSORM_CACHE_DIR"
            )
        os.chown(data, owner.pw_uid, owner.pw_gid)
    return data


def _ids_in(tree: Path) -> tuple[int, int]:
    lines = (tree / "etc/passwd").read_text(encoding="utf-8").splitlines()
    fields = next(line.split(":") for line in lines if line.startswith("postgres:"))
    return int(fields[2]), int(fields[3])


def _user(name: str) -> pwd.struct_passwd:
    """Return a user of this machine; `postgres` is made when it is missing (it refuses root)."""
    with contextlib.suppress(KeyError):
        return pwd.getpwnam(name)
    if program := shutil.which("useradd"):
        command = [program, "--system", "--user-group", "--no-create-home", name]
        subprocess.run(command, check=False, capture_output=True)
    try:
        return pwd.getpwnam(name)
    except KeyError as exc:
        raise ServersError(f"there is no user {name} and it cannot be made") from exc


def _init_cluster(
    programs: Postgres, data: Path, owner: pwd.struct_passwd | None, log: Path
) -> None:
    command = [str(programs.programs / "initdb"), "-D", str(data), "--username", USER]
    command += ["--auth", "scram-sha-256", "--encoding", "UTF8", "--no-sync", "--no-instructions"]
    command += ["--locale", "C.UTF-8", f"--pwfile={data}.password"]
    if programs.version >= 15:
        # Words sort as people sort them, as in the official images: a query that needs code
        # points has to say so, and a test on a "C" cluster would not notice when it does not.
        command += ["--locale-provider", "icu", "--icu-locale", "en-US"]
    with log.open("wb") as output:
        done = subprocess.run(
            _wrapped(programs, command),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            check=False,
            timeout=START_SECONDS,
            cwd="/",
            env=_environment(),
            user=owner.pw_uid if owner else None,
            group=owner.pw_gid if owner else None,
            extra_groups=[] if owner else None,
        )
    if done.returncode != 0:
        raise ServersError(f"initdb failed ({done.returncode}): {_last_line(log)}; see {log}")


def _wrapped(programs: Postgres, command: list[str]) -> list[str]:
    """Return the command as it runs: in its tree, as its user, with proc and shared memory there.

    Each program replaces the one before it, so the process keeps the number it started with.
    """
    if programs.tree is None:
        return command
    tree = str(programs.tree)
    drop = ["setpriv", "--reuid", "postgres", "--regid", "postgres", "--clear-groups"]
    inner = ["chroot", tree, *drop, *command]
    own_mounts = unshare()
    if not own_mounts:
        return inner  # the tree's own folders serve as well, a little slower
    mounts = 'mount -t proc proc "$0/proc"; mount -t tmpfs -o mode=1777 tmpfs "$0/dev/shm"; '
    return [*own_mounts, "sh", "-c", mounts + 'exec "$@"', tree, *inner]


def _environment() -> dict[str, str]:
    # Nothing of the caller's: a PGDATA or LC_ALL of a shell must not steer the server.
    return {"PATH": "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin", "LANG": "C.UTF-8"}


def _spawn(
    command: list[str],
    log: Path,
    *,
    owner: pwd.struct_passwd | None,
    env: dict[str, str] | None = None,
) -> subprocess.Popen[bytes]:
    with log.open("ab") as output:
        return subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            cwd="/",
            env={**_environment(), **(env or {})},
            start_new_session=True,
            user=owner.pw_uid if owner else None,
            group=owner.pw_gid if owner else None,
            extra_groups=[] if owner else None,
        )


def _await(started: subprocess.Popen[bytes], log: Path, ask: Callable[[], object]) -> None:
    """Wait until the server answers; one that ended or hangs is an error with its last words."""
    deadline = time.monotonic() + START_SECONDS
    while True:
        try:
            ask()
        except (OSError, ServersError) as exc:
            if started.poll() is not None:
                raise ServersError(f"the server ended: {_last_line(log)}; see {log}") from exc
            if time.monotonic() > deadline:
                raise ServersError(f"no answer in {START_SECONDS} s ({exc}); see {log}") from exc
            time.sleep(0.05)
        else:
            return


def _last_line(log: Path) -> str:
    lines = log.read_text(encoding="utf-8", errors="replace").split("\n")
    return next((line.strip() for line in reversed(lines) if line.strip()), "it says nothing")
