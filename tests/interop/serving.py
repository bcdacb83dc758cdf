"""An ASGI application on a real socket, in a thread and an event loop of its own."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import secrets
import ssl
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Final

import uvicorn
from starlette.requests import Request
from starlette.responses import Response

from hsorm.cli.serve import listen
from hsorm.interop.server import Authorize
from hsorm.kinds import MARKER, Entity, Number, Ref

__all__ = ["BUILDING", "NO_TLS", "Answer", "Scram", "call", "points", "running"]

NO_TLS: Final = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
"""What phable takes without TLS, too; else it reads all of the machine's authorities each time."""

BUILDING: Final[list[Entity]] = [
    {
        "id": Ref("site"),
        "dis": "Office",
        "site": MARKER,
        "geoCity": "Oslo",
        "area": Number(9, "m²"),
    },
    {"id": Ref("ahu"), "dis": "AHU", "equip": MARKER, "ahu": MARKER, "siteRef": Ref("site")},
]


def points(*names: str) -> list[Entity]:
    """Return points with history, that can be written as well."""
    shared = {
        **dict.fromkeys(("point", "his", "writable"), MARKER),
        "kind": "Number",
        "unit": "kW",
        "tz": "New_York",
        "equipRef": Ref("ahu"),
    }
    return [{"id": Ref(name), "dis": name.title(), **shared} for name in names]


@contextmanager
def running(app: Any) -> Iterator[str]:
    """Serve an application and give its address; an error in its beginning is raised here."""
    listening = listen("127.0.0.1", 0)
    config = uvicorn.Config(app, log_level="error", ws="none", lifespan="on")
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, args=([listening],))
    thread.start()
    try:
        while not server.started and thread.is_alive():
            time.sleep(0.01)
        assert server.started, "the application did not begin: see the log"
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join()
        listening.close()


@dataclass(frozen=True)
class Answer:
    """What came back."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def text(self) -> str:
        return self.body.decode()

    @property
    def json(self) -> Any:
        return json.loads(self.body)


def call(
    url: str,
    body: bytes | str | None = None,
    **headers: str,
) -> Answer:
    """Send a request: GET without a body, POST with one; `content_type` is `Content-Type`."""
    data = body.encode() if isinstance(body, str) else body
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    request = urllib.request.Request(url, data, named)
    if data is not None and "content-type" not in named:
        request.add_header("Content-Type", "")  # or urllib says that it is a form
    try:
        with urllib.request.urlopen(request, timeout=60) as found:
            return Answer(found.status, _lower(found.headers), found.read())
    except urllib.error.HTTPError as exc:
        with exc:
            return Answer(exc.code, _lower(exc.headers), exc.read())


def _lower(headers: Any) -> dict[str, str]:
    return {name.lower(): value for name, value in headers.items()}


# ---- logging in ---------------------------------------------------------------------------------


@dataclass
class Scram:
    """SCRAM-SHA-256 of one user, as much of it as a host needs for Haystack clients to log in."""

    username: str
    password: str
    tokens: set[str] = field(default_factory=set)
    _shaken: dict[str, str] = field(default_factory=dict)

    @property
    def authorize(self) -> Authorize:
        return self._authorize

    async def _authorize(self, request: Request, op: str) -> str | Response:
        scheme, _, rest = request.headers.get("authorization", "").partition(" ")
        given = dict(part.strip().split("=", 1) for part in rest.split(",") if "=" in part)
        if scheme == "BEARER" and given["authToken"] in self.tokens:
            return self.username
        if scheme == "HELLO":
            return _asked("hash=SHA-256, handshakeToken=aaaa")
        if scheme == "SCRAM":
            return self._step(_text(given["data"]))
        return _asked("hash=SHA-256")

    def _step(self, message: str) -> Response:
        salt, rounds = b"salt", 4096
        if message.startswith("n,,"):
            nonce = message.rpartition("r=")[2] + secrets.token_hex(8)
            first = f"r={nonce},s={base64.b64encode(salt).decode()},i={rounds}"
            self._shaken[nonce] = f"{message[3:]},{first}"
            return _asked(f"hash=SHA-256, handshakeToken=aaaa, data={_base64(first)}")
        without, _, proof = message.partition(",p=")
        told = f"{self._shaken.pop(without.rpartition('r=')[2])},{without}".encode()
        salted = hashlib.pbkdf2_hmac("sha256", self.password.encode(), salt, rounds)
        key = _hmac(salted, b"Client Key")
        signature = _hmac(hashlib.sha256(key).digest(), told)
        if _bytes(proof) != bytes(a ^ b for a, b in zip(key, signature, strict=True)):
            return Response(status_code=403)
        self.tokens.add(token := secrets.token_hex(8))
        final = base64.b64encode(_hmac(_hmac(salted, b"Server Key"), told)).decode()
        info = f"authToken={token}, hash=SHA-256, data={_base64(f'v={final}')}"
        return Response(headers={"Authentication-Info": info})


def _asked(what: str) -> Response:
    return Response(status_code=401, headers={"WWW-Authenticate": f"SCRAM {what}"})


def _hmac(key: bytes, message: bytes) -> bytes:
    return hmac.new(key, message, "sha256").digest()


def _base64(text: str) -> str:
    return base64.b64encode(text.encode()).decode().rstrip("=")


def _bytes(text: str) -> bytes:
    return base64.b64decode(text + "=" * (-len(text) % 4))


def _text(text: str) -> str:
    return _bytes(text).decode()
