"""Ask a PostgreSQL or Redis server what it is, with the standard library alone.

The script runs before any driver is installed and on machines without psql or redis-cli, so it
speaks just enough of both protocols: log in, one simple query, the text of the answer.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import secrets
import socket
import ssl
import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import SplitResult, parse_qs, unquote, urlsplit

from scripts.servers_state import ServersError

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["describe", "pg_query", "pg_rows", "redis_call", "redis_cluster_info", "scram_final"]

TIMEOUT_SECONDS = 5.0
OLDEST_POSTGRES = 14
REDIS_MODULES = ("search", "timeseries", "ReJSON")
FACTS = """
SELECT current_setting('server_version'), current_setting('server_version_num'),
  (SELECT default_version FROM pg_available_extensions WHERE name = 'timescaledb'),
  (SELECT default_version FROM pg_available_extensions WHERE name = 'postgis'),
  current_setting('timescaledb.disable_load', true)
"""
Row = tuple[str | None, ...]


@dataclass(slots=True)
class _Wire:
    """A socket that reads whole pieces."""

    sock: socket.socket

    def read(self, size: int) -> bytes:
        data = b""
        while len(data) < size:
            piece = self.sock.recv(size - len(data))
            if not piece:
                raise ServersError("the server closed the connection")
            data += piece
        return data

    def line(self) -> bytes:
        data = b""
        while not data.endswith(b"\r\n"):
            data += self.read(1)
        return data[:-2]


def describe(kind: str, url: str) -> str:
    """Return version and extensions of the server at this URL.

    Raises:
        ServersError: It does not answer, or it is not what this kind of server must be.
    """
    try:
        return _DESCRIBE[kind](url)
    except (OSError, ValueError, IndexError, struct.error) as exc:
        raise ServersError(f"no answer: {exc}") from exc


def pg_query(url: str, sql: str) -> list[Row]:
    """Run one statement and return its rows as text.

    Raises:
        ServersError: The server refuses the login or the statement.
        OSError: Nothing answers there.
    """
    parts = urlsplit(url)
    if parts.scheme.partition("+")[0] not in ("postgresql", "postgres"):
        raise ServersError("the URL does not begin with postgresql://")
    with _pg_connect(parts) as sock:
        wire = _Wire(sock)
        _pg_login(wire, parts)
        sock.sendall(_message(b"Q", sql.encode() + b"\0"))
        return pg_rows(lambda: _pg_message(wire))


def pg_rows(receive: Callable[[], tuple[bytes, bytes]]) -> list[Row]:
    """Collect the rows of an answer, up to the message that ends it."""
    rows: list[Row] = []
    failure: ServersError | None = None
    while True:
        kind, body = receive()
        match kind:
            case b"D":
                rows.append(_row(body))
            case b"E":
                failure = ServersError(_pg_error(body))
            case b"Z":
                if failure:
                    raise failure
                return rows


def _row(body: bytes) -> Row:
    values: list[str | None] = []
    at = 2
    for _ in range(struct.unpack_from("!H", body)[0]):
        (size,) = struct.unpack_from("!i", body, at)
        at += 4
        values.append(None if size < 0 else body[at : at + size].decode())
        at += max(size, 0)
    return tuple(values)


def _pg_connect(parts: SplitResult) -> socket.socket:
    options = parse_qs(parts.query)
    host = options.get("host", [parts.hostname or "127.0.0.1"])[0]
    port = parts.port or 5432
    if host.startswith("/"):
        sock = socket.socket(socket.AF_UNIX)
        sock.settimeout(TIMEOUT_SECONDS)
        sock.connect(f"{host}/.s.PGSQL.{port}")
        return sock
    sock = socket.create_connection((host, port), TIMEOUT_SECONDS)
    if options.get("sslmode", [""])[0] in ("require", "verify-ca", "verify-full"):
        sock.sendall(struct.pack("!II", 8, 80877103))
        if sock.recv(1) != b"S":
            raise ServersError("the URL asks for TLS and the server has none")
        return _tls(sock, host)
    return sock


def _tls(sock: socket.socket, host: str) -> socket.socket:
    # This only looks whether a server is there; the certificate is the driver's to judge.
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context.wrap_socket(sock, server_hostname=host)


def _message(kind: bytes, body: bytes) -> bytes:
    return kind + struct.pack("!I", len(body) + 4) + body


def _pg_message(wire: _Wire) -> tuple[bytes, bytes]:
    head = wire.read(5)
    return head[:1], wire.read(struct.unpack("!I", head[1:])[0] - 4)


def _pg_error(body: bytes) -> str:
    fields = {part[:1]: part[1:].decode(errors="replace") for part in body.split(b"\0") if part}
    return fields.get(b"M", "the server reports an error")


def _pg_login(wire: _Wire, parts: SplitResult) -> None:
    user = unquote(parts.username or "postgres")
    database = unquote(parts.path.lstrip("/")) or user
    words = ["user", user, "database", database, "application_name", "hsorm servers", ""]
    body = struct.pack("!I", 196608) + "\0".join(words).encode() + b"\0"
    wire.sock.sendall(struct.pack("!I", len(body) + 4) + body)
    password = unquote(parts.password or "")
    while True:
        kind, body = _pg_message(wire)
        if kind == b"E":
            raise ServersError(_pg_error(body))
        if kind == b"R" and (code := struct.unpack_from("!I", body)[0]) != 0:
            _pg_authenticate(wire, code, body[4:], user, password)
        if kind == b"Z":
            return


def _pg_authenticate(wire: _Wire, code: int, data: bytes, user: str, password: str) -> None:
    match code:
        case 3:
            wire.sock.sendall(_message(b"p", password.encode() + b"\0"))
        case 5:
            inner = hashlib.md5((password + user).encode(), usedforsecurity=False).hexdigest()
            outer = hashlib.md5(inner.encode() + data[:4], usedforsecurity=False).hexdigest()
            wire.sock.sendall(_message(b"p", b"md5" + outer.encode() + b"\0"))
        case 10:
            _scram(wire, password)
        case _:
            raise ServersError(f"the server wants a way to log in that is not known here ({code})")


def _scram(wire: _Wire, password: str) -> None:
    nonce = base64.b64encode(secrets.token_bytes(18)).decode()
    first = f"n,,n=,r={nonce}".encode()
    wire.sock.sendall(_message(b"p", b"SCRAM-SHA-256\0" + struct.pack("!I", len(first)) + first))
    kind, body = _pg_message(wire)
    if kind == b"E":
        raise ServersError(_pg_error(body))
    wire.sock.sendall(_message(b"p", scram_final(password, nonce, body[4:].decode()).encode()))
    kind, body = _pg_message(wire)
    if kind == b"E":
        raise ServersError(_pg_error(body))


def scram_final(password: str, nonce: str, challenge: str, user: str = "") -> str:
    """Return the client's last message of SCRAM-SHA-256 (RFC 7677) to the server's challenge."""
    fields = dict(part.split("=", 1) for part in challenge.split(","))
    salt, rounds = base64.b64decode(fields["s"]), int(fields["i"])
    salted = hashlib.pbkdf2_hmac("sha256", password.encode(), salt, rounds)
    client_key = hmac.digest(salted, b"Client Key", "sha256")
    proofless = f"c=biws,r={fields['r']}"
    said = f"n={user},r={nonce},{challenge},{proofless}".encode()
    signature = hmac.digest(hashlib.sha256(client_key).digest(), said, "sha256")
    proof = bytes(a ^ b for a, b in zip(client_key, signature, strict=True))
    return f"{proofless},p={base64.b64encode(proof).decode()}"


def _describe_postgres(url: str) -> tuple[str, str | None, str | None]:
    version, number, timescale, postgis, preloaded = pg_query(url, FACTS)[0]
    if int(number or 0) // 10000 < OLDEST_POSTGRES:
        raise ServersError(f"PostgreSQL {version} is older than {OLDEST_POSTGRES}")
    # "17.5 (Debian 17.5-1)" and the like: the first word is enough.
    name = f"PostgreSQL {(version or '').split()[0]}"
    # The preloaded loader makes this setting known; without it CREATE EXTENSION fails.
    offered = timescale and f"TimescaleDB {timescale}{'' if preloaded else ' (not preloaded)'}"
    return name, offered, postgis and f"PostGIS {postgis}"


def _describe_timescale(url: str) -> str:
    version, timescale, postgis = _describe_postgres(url)
    if not timescale or "not preloaded" in timescale:
        raise ServersError(f"{version} answers but does not offer TimescaleDB")
    return ", ".join([version, timescale, postgis or "without PostGIS"])


def _describe_plain(url: str) -> str:
    version, timescale, postgis = _describe_postgres(url)
    if timescale:
        raise ServersError(f"{version} answers but offers TimescaleDB: it is not plain")
    return ", ".join([version, "without TimescaleDB", postgis or "without PostGIS"])


def _describe_redis(url: str) -> str:
    info = str(redis_call(url, "INFO", "server"))
    fields = dict(line.partition(":")[::2] for line in info.splitlines())
    found = _module_versions(redis_call(url, "MODULE", "LIST"))
    if lacking := [name for name in REDIS_MODULES if name not in found]:
        raise ServersError(f"it answers but lacks the modules {', '.join(lacking)}")
    modules = [f"{name} {found[name]}" for name in REDIS_MODULES]
    return ", ".join([f"Redis {fields.get('redis_version')}", *modules])


def _describe_cluster(url: str) -> str:
    what = _describe_redis(url)
    fields = redis_cluster_info(url)
    if fields.get("cluster_state") != "ok":
        raise ServersError(f"it answers but the cluster's state is {fields.get('cluster_state')}")
    return f"{what}, {fields['cluster_size']} primaries"


def redis_cluster_info(url: str) -> dict[str, str]:
    """Return what a node of a Redis Cluster says of the cluster.

    Raises:
        ServersError: It belongs to no cluster.
        OSError: Nothing answers there.
    """
    info = str(redis_call(url, "CLUSTER", "INFO"))
    return dict(line.partition(":")[::2] for line in info.splitlines())


def _module_versions(listing: object) -> dict[str, str]:
    rows = listing if isinstance(listing, list) else []
    pairs = [dict(zip(row[::2], row[1::2], strict=False)) for row in rows]
    return {str(one["name"]): _dotted(int(one["ver"])) for one in pairs}


def _dotted(number: int) -> str:
    return f"{number // 10000}.{number // 100 % 100}.{number % 100}"


def redis_call(url: str, *words: str) -> object:
    """Send one command and return the answer: str, int, None or a list of these.

    Raises:
        ServersError: The server answers with an error.
        OSError: Nothing answers there.
    """
    parts = urlsplit(url)
    if parts.scheme not in ("redis", "rediss"):
        raise ServersError("the URL does not begin with redis://")
    host = parts.hostname or "127.0.0.1"
    plain = socket.create_connection((host, parts.port or 6379), TIMEOUT_SECONDS)
    with _tls(plain, host) if parts.scheme == "rediss" else plain as sock:
        wire = _Wire(sock)
        if parts.password:
            user = [unquote(parts.username)] if parts.username else []
            _redis_send(wire, "AUTH", *user, unquote(parts.password))
        return _redis_send(wire, *words)


def _redis_send(wire: _Wire, *words: str) -> object:
    encoded = [word.encode() for word in words]
    pieces = [b"$%d\r\n%s\r\n" % (len(word), word) for word in encoded]
    wire.sock.sendall(b"*%d\r\n" % len(words) + b"".join(pieces))
    return _redis_read(wire)


def _redis_read(wire: _Wire) -> object:
    line = wire.line()
    kind, rest = line[:1], line[1:].decode()
    match kind:
        case b"+":
            return rest
        case b":":
            return int(rest)
        case b"$":
            return None if rest == "-1" else wire.read(int(rest) + 2)[:-2].decode(errors="replace")
        case b"*":
            return [_redis_read(wire) for _ in range(int(rest))]
        case b"-":
            raise ServersError(rest)
        case _:
            raise ServersError("that is not a Redis server")


_DESCRIBE: dict[str, Callable[[str], str]] = {
    "timescale": _describe_timescale,
    "plain": _describe_plain,
    "redis": _describe_redis,
    "cluster": _describe_cluster,
}
