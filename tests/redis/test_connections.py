"""Servers that let in by TLS or by an ACL, lack a module, or come and go."""

from __future__ import annotations

import datetime as dt
import re
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeAlias

import pytest
from redis.asyncio import Redis

from hsorm import MARKER, Number, Ref, open_storage
from hsorm.errors import StorageError, StorageUnavailableError
from hsorm.storage.redis import RedisAdapter
from scripts.own_redis import DURABLE, OwnRedis, stack_here

Start: TypeAlias = Callable[..., OwnRedis]
POINT = {"id": Ref("p"), "point": MARKER, "his": MARKER, "kind": "Number", "tz": "Oslo"}
ITEM = {"ts": dt.datetime(2024, 1, 1, 12, tzinfo=dt.UTC), "val": Number(5)}


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Start a server of the test's own."""
    stack = stack_here()
    if stack is None:
        pytest.skip("no Redis Stack from packages here: make servers without Docker fetches it")
    started: list[OwnRedis] = []

    def begin(*options: str, **more: object) -> OwnRedis:
        started.append(OwnRedis(tmp_path, stack, *options, **more))  # type: ignore[arg-type]
        started[-1].wait()
        return started[-1]

    yield begin
    for server in started:
        server.end()


async def _works(store: RedisAdapter) -> None:
    """Use all that an application uses."""
    await store.load_entities([POINT])
    assert [one["id"] for one in await store.read("point")] == [Ref("p")]
    await store.his_write("p", [ITEM])
    assert len(await store.his_read("p", "2024-01-01")) == 1
    watch = await store.watch_sub(None, ["p"])
    assert watch.watch_id is not None
    await store.set_live("p", {"curVal": Number(1)})
    assert [one["id"] for one in await store.watch_poll(watch.watch_id)] == [Ref("p")]
    await store.delete("p")


# ---- TLS ----------------------------------------------------------------------------------------


@pytest.fixture
def certificate(tmp_path: Path) -> tuple[Path, Path]:
    """A certificate for 127.0.0.1 that is its own authority, and its key."""
    cert, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2"]
    command += ["-keyout", str(key), "-out", str(cert), "-subj", "/CN=127.0.0.1"]
    command += ["-addext", "subjectAltName=IP:127.0.0.1"]
    subprocess.run(command, check=True, capture_output=True)
    return cert, key


@pytest.fixture
def tls_server(start: Start, certificate: tuple[Path, Path]) -> OwnRedis:
    cert, key = certificate
    options = ["--tls-cert-file", str(cert), "--tls-key-file", str(key)]
    return start(tls=[*options, "--tls-ca-cert-file", str(cert), "--tls-auth-clients", "no"])


async def test_a_server_with_tls_whose_authority_is_known(
    tls_server: OwnRedis, certificate: tuple[Path, Path]
) -> None:
    url = f"{tls_server.url}?ssl_ca_certs={certificate[0]}"

    async with open_storage(url) as store:
        assert isinstance(store, RedisAdapter)
        await _works(store)


async def test_a_certificate_that_nobody_vouches_for_is_refused(tls_server: OwnRedis) -> None:
    with pytest.raises(StorageUnavailableError, match="certificate"):
        await RedisAdapter(tls_server.url).connect()


# ---- ACL ----------------------------------------------------------------------------------------

DOCS = Path(__file__).parents[2] / "docs" / "redis.md"


def _rights() -> list[str]:
    """Return the rights that docs/redis.md says a user needs."""
    found = re.search(
        r"ACL SETUSER hsorm on >password (.*?)```", DOCS.read_text("utf-8"), re.DOTALL
    )
    assert found is not None
    return found[1].replace("plant", "hsorm").split()


@pytest.fixture
async def acl_server(start: Start) -> OwnRedis:
    server = start()
    async with Redis.from_url(server.url) as admin:
        rights = _rights()
        few = [right for right in rights if right != "+ts.create"]
        users = [("app", "on", ">secret", *rights), ("few", "on", ">secret", *few)]
        for words in (*users, ("default", "off")):
            await admin.execute_command("ACL", "SETUSER", *words)  # type: ignore[no-untyped-call]
    return server


async def test_a_user_with_the_rights_that_the_docs_name(acl_server: OwnRedis) -> None:
    url = acl_server.url.replace("//", "//app:secret@")

    async with RedisAdapter(url, index_tags={"area": "number"}) as store:
        await _works(store)
        assert (await store.about())["backend"] == "redis"


async def test_a_user_without_the_right_is_told_so(acl_server: OwnRedis) -> None:
    url = acl_server.url.replace("//", "//app:secret@")

    with pytest.raises(StorageError, match=r"docs/redis\.md"):
        await RedisAdapter(url, prefix="another").connect()


async def test_a_user_without_a_right_inside_of_a_script_is_told_so(acl_server: OwnRedis) -> None:
    async with RedisAdapter(acl_server.url.replace("//", "//few:secret@")) as store:
        await store.load_entities([POINT])
        with pytest.raises(StorageError, match=r"ts\.create.*docs/redis\.md"):
            await store.his_write("p", [ITEM])


@pytest.mark.parametrize("login", ["", "app:wrong@"])
async def test_who_is_not_let_in_is_told_so_without_the_password(
    acl_server: OwnRedis, login: str
) -> None:
    with pytest.raises(StorageUnavailableError) as caught:
        await RedisAdapter(acl_server.url.replace("//", f"//{login}")).connect()
    assert "wrong" not in str(caught.value).replace("WRONGPASS", "")


# ---- modules ------------------------------------------------------------------------------------


async def test_a_server_without_modules_is_an_error_that_says_which_and_how(start: Start) -> None:
    with pytest.raises(StorageError, match=r"no RediSearch.*Redis Stack") as caught:
        await RedisAdapter(start(modules=False).url).connect()
    assert "--loadmodule" in str(caught.value)


# ---- coming and going ---------------------------------------------------------------------------


async def test_what_was_acknowledged_outlives_a_server_that_is_killed(start: Start) -> None:
    """With the append-only file flushed at each write; see docs/redis.md."""
    server = start(*DURABLE)
    async with RedisAdapter(server.url) as store:
        await store.load_entities([POINT])
        await store.his_write("p", [ITEM])
        watch = await store.watch_sub(None, ["p"])
        await store.set_live("p", {"curVal": Number(1)})

        server.crash()
        server.wait()

        assert (await store.read_by_id("p"))["curVal"] == Number(1)
        assert [item["val"] for item in await store.his_read("p", "2024-01-01")] == [Number(5)]
        assert watch.watch_id is not None
        assert len(await store.watch_poll(watch.watch_id)) == 1


async def test_a_server_that_is_gone_is_an_error_and_no_partial_answer(start: Start) -> None:
    server = start()
    async with RedisAdapter(server.url) as store:
        await store.load_entities([POINT])

        server.end()

        with pytest.raises(StorageUnavailableError):
            await store.read("point")
        with pytest.raises(StorageUnavailableError):
            await store.his_read("p", "2024-01-01")
