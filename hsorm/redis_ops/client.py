"""`Server`: the connections to a Redis server, or to the nodes of a cluster.

Commands go to the node that has their bucket. What only reads is repeated when a connection was
lost, with pauses; what writes never is, since nobody can tell whether it was done.
"""

from __future__ import annotations

import asyncio
import random
import re
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final, TypeAlias, TypeVar, cast

from redis import exceptions as driver
from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.maint_notifications import MaintNotificationsConfig

from hsorm.errors import HsormError, StorageError, StorageUnavailableError
from hsorm.redis_ops.keys import SLOTS, Bucket
from hsorm.redis_ops.scripts import Script
from hsorm.redis_ops.urls import safe_url

__all__ = ["Command", "Server", "redis_errors"]

Command: TypeAlias = Sequence[Any]
"""A command and its arguments."""

_T = TypeVar("_T")
_Address: TypeAlias = tuple[str, int]

_CONNECTIONS: Final = 32
_CONNECT_SECONDS: Final = 10
_ANSWER_SECONDS: Final = 120
_PAUSES: Final = (0.02, 0.1, 0.5)
"""Seconds between the attempts of what may be repeated."""

_MODULES: Final = (("FT.AGGREGATE", "RediSearch"), ("TS.ADD", "RedisTimeSeries"))


class Server:
    """A server or a cluster; connects when first asked.

    Args:
        url: `redis://…` or `rediss://…`, with parameters of the driver.
    """

    def __init__(self, url: str) -> None:
        self.url = safe_url(url)
        self._url = url
        self._first: Redis | None = None
        self._nodes: dict[_Address, Redis] = {}
        self._owners: list[_Address] = []
        """The node of each slot; empty on a single server."""

    # ---- life -----------------------------------------------------------------------------------

    async def connect(self) -> None:
        """Connect, see whether it is a cluster, and whether the modules are there.

        Raises:
            StorageUnavailableError: There is no server, or it lets nobody in.
            StorageError: A module is missing; the error says which, and where to get it.
        """
        with redis_errors(self.url):
            await self._anew(self._look_at_cluster)
            await self._check_modules()

    async def _look_at_cluster(self) -> None:
        first = self._seed()
        await first.ping()
        try:
            slots = await _ask(first, "CLUSTER", "SLOTS")
        except driver.ResponseError as exc:
            if "cluster support disabled" not in str(exc):
                raise
            self._owners = []
            return
        owners: list[_Address | None] = [None] * SLOTS
        for begin, end, primary, *_ in slots:
            owners[begin : end + 1] = [_address(primary, first)] * (end - begin + 1)
        if None in owners:
            raise StorageUnavailableError(self.url, "the cluster does not cover all slots")
        self._owners = cast("list[_Address]", owners)

    async def _check_modules(self) -> None:
        node = next(iter(self.nodes()))
        names = [command for command, _ in _MODULES]
        try:
            known = await _ask(node, "COMMAND INFO", *names)
        except driver.NoPermissionError:
            return  # who may not ask, will see
        for (_, module), info in zip(_MODULES, known, strict=True):
            if not info:
                raise missing_module(self.url, module)

    def _seed(self) -> Redis:
        if self._first is None:
            pool = BlockingConnectionPool.from_url(self._url, **_options(self._url))
            self._first = Redis.from_pool(pool)
        return self._first

    async def close(self) -> None:
        """Close all connections; closing twice is harmless."""
        nodes, self._nodes = list(self._nodes.values()), {}
        if self._first is not None:
            nodes.append(self._first)
            self._first = None
        for node in nodes:
            await node.aclose()

    # ---- nodes ----------------------------------------------------------------------------------

    @property
    def is_cluster(self) -> bool:
        """Whether there are several nodes."""
        return bool(self._owners)

    def owners(self) -> list[str]:
        """Return a name for the node of each slot; one for all on a single server."""
        return [f"{host}:{port}" for host, port in self._owners] or ["the server"]

    def node(self, bucket: Bucket) -> Redis:
        """Return the client of the node that has a bucket."""
        return self.node_of(bucket.slot)

    def node_of(self, slot: int) -> Redis:
        """Return the client of the node that has a slot."""
        if not self._owners:
            return self._seed()
        return self._node_at(self._owners[slot])

    def nodes(self) -> Iterator[Redis]:
        """Return the clients of all primaries."""
        if not self._owners:
            yield self._seed()
        for address in dict.fromkeys(self._owners):
            yield self._node_at(address)

    def _node_at(self, address: _Address) -> Redis:
        if address not in self._nodes:
            pool = self._seed().connection_pool
            kept = {**pool.connection_kwargs, "host": address[0], "port": address[1]}
            kept.pop("path", None)
            made = BlockingConnectionPool(
                connection_class=pool.connection_class,
                max_connections=_CONNECTIONS,
                timeout=_CONNECT_SECONDS,
                **kept,
            )
            self._nodes[address] = Redis.from_pool(made)
        return self._nodes[address]

    def checked_out(self) -> int:
        """Return how many connections somebody has taken and not given back."""
        nodes = [*self._nodes.values(), *([self._first] if self._first else [])]
        return sum(len(node.connection_pool._in_use_connections) for node in nodes)

    # ---- commands -------------------------------------------------------------------------------

    async def read(self, bucket: Bucket, *command: Any) -> Any:
        """Run a command that only reads."""

        async def once() -> Any:
            return await _ask(self.node(bucket), *command)

        with redis_errors(self.url):
            return await self._anew(once)

    async def write(self, bucket: Bucket, *command: Any) -> Any:
        """Run a command once."""

        async def once() -> Any:
            return await _ask(self.node(bucket), *command)

        with redis_errors(self.url):
            return await self._where_it_is(once)

    async def read_all(
        self,
        bucket: Bucket,
        commands: Sequence[Command],
        *,
        at_once: bool = False,
        raises: bool = True,
    ) -> list[Any]:
        """Run commands that only read, in one round trip; `at_once` lets nothing come between.

        Without `raises` the error that there is no such series is its answer.
        """

        async def once() -> list[Any]:
            node = self.node(bucket)
            return await _pipelined(node, commands, at_once=at_once, raises=raises)

        with redis_errors(self.url):
            return await self._anew(once)

    async def write_all(self, bucket: Bucket, commands: Sequence[Command]) -> list[Any]:
        """Run commands once, in one round trip."""

        async def once() -> list[Any]:
            return await _pipelined(self.node(bucket), commands, at_once=False)

        with redis_errors(self.url):
            return await self._where_it_is(once)

    async def run(self, bucket: Bucket, script: Script, *args: Any, reads: bool = False) -> Any:
        """Run a script on a bucket: once, or as what only `reads`."""

        async def once() -> Any:
            node = self.node(bucket)
            try:
                return await _ask(node, "EVALSHA", script.sha, 1, bucket.base, *args)
            except driver.NoScriptError:  # then nothing was done
                return await _ask(node, "EVAL", script.source, 1, bucket.base, *args)

        with redis_errors(self.url):
            return await (self._anew(once) if reads else self._where_it_is(once))

    # ---- repeating ------------------------------------------------------------------------------

    async def _anew(self, once: Callable[[], Awaitable[_T]]) -> _T:
        """Do something, again where a connection was lost or the server is not ready yet."""
        for pause in _PAUSES:
            try:
                return await self._where_it_is(once)
            except (driver.ConnectionError, driver.TimeoutError, OSError) as exc:
                if _is_refused(exc):
                    raise
                await asyncio.sleep(pause * random.uniform(0.5, 1))  # noqa: S311 - no secret
                await self._refresh()
        return await self._where_it_is(once)

    async def _where_it_is(self, once: Callable[[], Awaitable[_T]]) -> _T:
        """Do something; where the slot has moved to another node, nothing was done: go there."""
        for pause in _PAUSES:
            try:
                return await once()
            except (driver.MovedError, driver.AskError, driver.TryAgainError):
                await asyncio.sleep(pause)
                await self._refresh()
        return await once()

    async def _refresh(self) -> None:
        """Look again which node has which slot."""
        if not self._owners:
            return
        for node in (self._seed(), *self._nodes.values()):
            try:
                slots = await _ask(node, "CLUSTER", "SLOTS")
            except (driver.RedisError, OSError):
                continue  # one that answers will be among them
            owners = list(self._owners)
            for begin, end, primary, *_ in slots:
                owners[begin : end + 1] = [_address(primary, node)] * (end - begin + 1)
            self._owners = owners
            return


async def _heeded(ask: Callable[[], Awaitable[_T]]) -> _T:
    """Wait for the driver, and raise the cancellation that it may lose on the way.

    It sends under `wait_for`, which until Python 3.12 swallows a cancellation that comes as the
    sending ends, or that came while the task was running (Ctrl-C).
    """
    task = asyncio.current_task()
    before = 0 if task is None else task.cancelling()
    if before:
        await asyncio.sleep(0)  # here comes what is still to come
    found = await ask()
    if task is not None and task.cancelling() > before:
        raise asyncio.CancelledError
    return found


async def _ask(node: Redis, *command: Any) -> Any:
    return await _heeded(lambda: node.execute_command(*command))  # type: ignore[no-untyped-call]


async def _pipelined(
    node: Redis, commands: Sequence[Command], *, at_once: bool, raises: bool = True
) -> list[Any]:
    async with node.pipeline(transaction=at_once) as pipe:
        for command in commands:
            pipe.execute_command(*command)
        # Raised by the driver, an error would hold the whole command, and so what was in it.
        answers: list[Any] = await _heeded(lambda: pipe.execute(raise_on_error=False))
    for answer in answers:
        if isinstance(answer, Exception) and (raises or not _is_no_series(answer)):
            raise answer
    return answers


def _is_no_series(exc: Exception) -> bool:
    """Tell whether a command about a series was answered that there is none."""
    return isinstance(exc, driver.ResponseError) and "does not exist" in str(exc)


def _options(url: str) -> dict[str, Any]:
    """Return what the driver is told unless the URL says otherwise."""
    options: dict[str, Any] = {
        "retry": Retry(NoBackoff(), 0),  # it would repeat what writes, too
        "maint_notifications_config": MaintNotificationsConfig(enabled=False),
    }
    defaults = {
        "max_connections": _CONNECTIONS,
        "timeout": _CONNECT_SECONDS,
        "socket_connect_timeout": _CONNECT_SECONDS,
        "socket_timeout": _ANSWER_SECONDS,
    }
    return options | {name: val for name, val in defaults.items() if f"{name}=" not in url}


def _address(node: Sequence[Any], asked: Redis) -> _Address:
    host = node[0].decode() if isinstance(node[0], bytes) else node[0]
    # A node that knows no name of its own is where it was asked.
    return host or asked.connection_pool.connection_kwargs["host"], int(node[1])


# ---- errors -------------------------------------------------------------------------------------


@contextmanager
def redis_errors(url: str) -> Iterator[None]:
    """Turn what the driver raises inside into `StorageError`s and the like."""
    try:
        yield
    except HsormError:
        raise
    except driver.RedisError as exc:
        raise _translated(url, exc) from exc
    except (OSError, TimeoutError) as exc:
        raise StorageUnavailableError(url, _first_line(exc)) from exc


def missing_module(url: str, module: str) -> StorageError:
    """Return the error of a server without a module."""
    library = {"RediSearch": "redisearch.so", "RedisTimeSeries": "redistimeseries.so"}[module]
    return StorageError(
        f"the server at {url} has no {module}: use Redis Stack 7.4 or Redis 8, or load the module "
        f"with `redis-server --loadmodule …/{library}`"
    )


_NOT_NOW: Final = (
    driver.ConnectionError, driver.TimeoutError, driver.ReadOnlyError, driver.ClusterDownError,
    driver.MasterDownError,
)  # fmt: skip


def _translated(url: str, exc: driver.RedisError) -> HsormError:
    text = _first_line(exc)
    if isinstance(exc, driver.NoPermissionError) or "has no permissions" in text:
        return StorageError(f"{text}; docs/redis.md says what the user of an ACL needs")
    if isinstance(exc, _NOT_NOW) or _is_refused(exc):
        return StorageUnavailableError(url, text)
    if "unknown command" in text:
        for prefix, module in (("FT.", "RediSearch"), ("TS.", "RedisTimeSeries")):
            if f"'{prefix}" in text:
                return missing_module(url, module)
    if isinstance(exc, driver.OutOfMemoryError):
        return StorageError(f"{text}: raise maxmemory, or delete something")
    return StorageError(text)


def _is_refused(exc: BaseException) -> bool:
    """Tell whether a server does not let us in, whatever is tried."""
    return isinstance(exc, (driver.AuthenticationError, driver.AuthorizationError)) or str(
        exc
    ).startswith(("NOAUTH", "WRONGPASS", "invalid username-password", "Authentication"))


_OF_PIPELINE: Final = re.compile(
    r".*of pipeline caused error: \(?['\"]?(.*?)['\"]?,?\)?", re.DOTALL
)


def _first_line(exc: BaseException) -> str:
    text = str(exc) or type(exc).__name__
    # The driver puts the whole command before the error of one in a pipeline.
    if found := _OF_PIPELINE.fullmatch(text):
        text = found[1]
    return text.splitlines()[0].strip().rstrip(".")
