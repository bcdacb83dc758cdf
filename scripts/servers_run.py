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
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from scripts.servers_packages import Postgres, RedisStack, remove_tree, unshare
from scripts.servers_probe import pg_query, redis_call, redis_cluster_info
from scripts.servers_state import Process, Running, ServersError, alive, identify

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

__all__ = [
    "CLUSTER_NODES",
    "end",
    "free_port",
    "free_ports",
    "postgres_settings",
    "start_postgres",
    "start_redis",
    "start_redis_cluster",
]

LOOPBACK = "127.0.0.1"
USER = "hsorm"
START_SECONDS = 60.0
CLUSTER_NODES, HASH_SLOTS = 3, 16384
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
    log = folder / "redis.log"
    started = _spawn_redis(programs, port, data, log, owner)
    server = Running("redis", f"redis://{LOOPBACK}:{port}", identify(started.pid), data=str(data))
    report(server)
    _await(started, log, lambda: redis_call(server.url, "PING"))
    return server


def start_redis_cluster(
    programs: RedisStack, folder: Path, port: int, report: Callable[[Running], None]
) -> Running:
    """Start a Redis Cluster of three primaries, without replicas; arguments as for `start_redis`.

    `port` is that of the first node, whose URL stands for the cluster.
    """
    owner = _user("nobody") if os.geteuid() == 0 else None
    data = _owned_folder("cluster", folder, owner)
    log = folder / "cluster.log"
    numbers = [port, *free_ports(2 * CLUSTER_NODES - 1)]
    nodes = list(zip(numbers[:CLUSTER_NODES], numbers[CLUSTER_NODES:], strict=True))
    server = Running("cluster", _redis_url(port), data=str(data))
    started = []
    for number, bus in nodes:
        started.append(_spawn_redis(programs, number, data, log, owner, bus=bus))
        processes = [one for child in started if (one := identify(child.pid))]
        server = replace(server, process=processes[0], others=tuple(processes[1:]))
        report(server)
    urls = [_redis_url(number) for number, _ in nodes]
    for child, url in zip(started, urls, strict=True):
        _await(child, log, partial(redis_call, url, "PING"))
    _join(nodes)
    for child, url in zip(started, urls, strict=True):
        _await(child, log, partial(_joined, url))
    return server


def _spawn_redis(
    programs: RedisStack,
    port: int,
    data: Path,
    log: Path,
    owner: pwd.struct_passwd | None,
    *,
    bus: int | None = None,
) -> subprocess.Popen[bytes]:
    """Start a server; with a port for the cluster's bus it is a node of a cluster."""
    command = [str(programs.server), "--port", str(port), "--bind", LOOPBACK, "--save", ""]
    command += ["--appendonly", "no", "--dir", str(data), "--daemonize", "no"]
    if bus is not None:
        command += ["--cluster-enabled", "yes", "--cluster-port", str(bus)]
        command += ["--cluster-config-file", f"nodes-{port}.conf"]
    for module in programs.modules:
        command += ["--loadmodule", str(module)]
    env = {"LD_LIBRARY_PATH": str(programs.libraries)}
    return _spawn(command, log, owner=owner, env=env)


def _join(nodes: Sequence[tuple[int, int]]) -> None:
    """Share the slots out among fresh nodes, given by port and bus port, and let them meet."""
    edges = [HASH_SLOTS * index // len(nodes) for index in range(len(nodes) + 1)]
    first = _redis_url(nodes[0][0])
    for index, (port, bus) in enumerate(nodes):
        url = _redis_url(port)
        redis_call(url, "CLUSTER", "SET-CONFIG-EPOCH", str(index + 1))
        redis_call(url, "CLUSTER", "ADDSLOTSRANGE", str(edges[index]), str(edges[index + 1] - 1))
        if index:
            redis_call(first, "CLUSTER", "MEET", LOOPBACK, str(port), str(bus))


def _joined(url: str) -> None:
    """Raise unless this node knows who serves each of the slots."""
    fields = redis_cluster_info(url)
    known = int(fields["cluster_known_nodes"]), int(fields["cluster_slots_ok"])
    if fields["cluster_state"] != "ok" or known != (CLUSTER_NODES, HASH_SLOTS):
        raise ServersError(f"the cluster is not whole: nodes and slots known: {known}")


def _redis_url(port: int) -> str:
    return f"redis://{LOOPBACK}:{port}"


def end(server: Running) -> None:
    """End the server's processes, those that are still the same, and remove its data.

    Raises:
        ServersError: A process does not end.
    """
    signals = REDIS_SIGNALS if server.kind in ("redis", "cluster") else POSTGRES_SIGNALS
    for process in server.processes:
        if not _ended(process, signals):
            raise ServersError(f"process {process.pid} ({server.kind}) does not end")
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


def free_ports(count: int) -> list[int]:
    """Return different loopback ports that nobody listens on."""
    with contextlib.ExitStack() as stack:
        socks = [stack.enter_context(socket.socket()) for _ in range(count)]
        for sock in socks:
            sock.bind((LOOPBACK, 0))
        return [int(sock.getsockname()[1]) for sock in socks]


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
