"""A Redis server of one's own: to be connected to in odd ways, and to be killed."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path

from scripts import servers_packages, servers_state
from scripts.servers_packages import RedisStack
from scripts.servers_probe import redis_call
from scripts.servers_run import free_port
from scripts.servers_state import ServersError

__all__ = ["DURABLE", "OwnRedis", "stack_here"]

DURABLE = ("--appendonly", "yes", "--appendfsync", "always")
"""Settings of a server that has on disk what it has acknowledged."""

_LOOPBACK = "127.0.0.1"
_SECONDS = 30.0


def stack_here() -> RedisStack | None:
    """Return Redis Stack's programs if `make servers` has fetched them, without fetching them."""
    cache = servers_state.cache_dir(os.environ, root=os.geteuid() == 0)
    return (
        servers_packages.redis_stack(cache) if (cache / servers_packages.REDIS).is_dir() else None
    )


class OwnRedis:
    """A server that only its maker uses.

    Args:
        folder: Where its data and its log go.
        stack: The programs.
        options: Settings as words of the command line.
        modules: Whether it has Redis Stack's modules.
        tls: Options that replace the port by one for TLS: `--tls-cert-file` and so on.
    """

    def __init__(
        self,
        folder: Path,
        stack: RedisStack,
        *options: str,
        modules: bool = True,
        tls: Sequence[str] = (),
    ) -> None:
        self.port = free_port()
        self._log = folder / "redis.log"
        port = ["--port", "0", "--tls-port", str(self.port), *tls] if tls else []
        self._command = [str(stack.server), *(port or ["--port", str(self.port)])]
        self._command += ["--bind", _LOOPBACK, "--save", "", "--dir", str(folder), *options]
        for module in stack.modules if modules else ():
            self._command += ["--loadmodule", str(module)]
        self._env = {"PATH": "/usr/bin:/bin", "LD_LIBRARY_PATH": str(stack.libraries)}
        self.url = f"{'rediss' if tls else 'redis'}://{_LOOPBACK}:{self.port}"
        self._process = self._started()

    def _started(self) -> subprocess.Popen[bytes]:
        with self._log.open("ab") as output:
            return subprocess.Popen(
                self._command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=self._env,
            )

    def wait(self) -> None:
        """Wait until it serves.

        Raises:
            ServersError: It does not come up; the text names the log.
        """
        deadline = time.monotonic() + _SECONDS
        while True:
            try:
                redis_call(self.url, "PING")
            except (OSError, ServersError) as exc:
                if "NOAUTH" in str(exc):
                    return
                if self._process.poll() is not None or time.monotonic() > deadline:
                    raise ServersError(f"no answer: {exc}; see {self._log}") from exc
                time.sleep(0.05)
            else:
                return

    def crash(self) -> None:
        """Kill it as `kill -9` does, and start it again over the same data."""
        self.end()
        self._process = self._started()

    def end(self) -> None:
        """Kill it."""
        self._process.kill()
        self._process.wait()
