"""Start and end the servers as containers of `docker-compose.yml`, where Docker runs."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

from scripts.servers_state import Running, ServersError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = ["SERVICES", "container_url", "docker_down", "docker_up", "engine_answers", "port_count"]

COMPOSE_FILE = Path(__file__).resolve().parent.parent / "docker-compose.yml"
# Kind of server: service of the compose file and the variables with its ports on the host.
SERVICES = {
    "timescale": ("timescale", ("HSORM_TIMESCALE_PORT",)),
    "plain": ("postgres", ("HSORM_POSTGRES_PORT",)),
    "redis": ("redis", ("HSORM_REDIS_PORT",)),
    "cluster": ("redis-cluster", tuple(f"HSORM_REDIS_CLUSTER_PORT_{n}" for n in (1, 2, 3))),
}
ENGINE_SECONDS, UP_SECONDS, DOWN_SECONDS = 10, 900, 120


def engine_answers() -> bool:
    """Tell whether there is an engine, not only a client, and the compose command."""
    try:
        for command in (["docker", "info"], ["docker", "compose", "version"]):
            _run(command, ENGINE_SECONDS, {})
    except (OSError, ServersError):
        return False
    return True


def container_url(kind: str, port: int) -> str:
    """Return the URL of a container whose port is published on this host's loopback."""
    if kind in ("redis", "cluster"):
        return f"redis://127.0.0.1:{port}"
    return f"postgresql://hsorm:hsorm@127.0.0.1:{port}/hsorm"


def port_count(kind: str) -> int:
    """Return how many ports on the host a service takes."""
    return len(SERVICES[kind][1])


def docker_up(kind: str, project: str, ports: Sequence[int]) -> Running:
    """Start one service in a project of its own and wait until it is healthy.

    Args:
        kind: Which of the servers this is.
        project: The name that keeps it apart from other starts.
        ports: As many free ports as `port_count` says.

    Raises:
        ServersError: Docker refuses, or the service does not become healthy in time.
    """
    service, variables = SERVICES[kind]
    server = Running(kind, container_url(kind, ports[0]), project=project)
    print(f"servers: docker compose up {service} (downloads the image if needed)", flush=True)
    try:
        command = [*_compose(project), "up", "--detach", "--wait", service]
        _run(command, UP_SECONDS, dict(zip(variables, map(str, ports), strict=True)))
    except ServersError:
        docker_down(server)
        raise
    return server


def docker_down(server: Running) -> None:
    """Remove the server's container with its data."""
    _run([*_compose(server.project), "down", "--volumes"], DOWN_SECONDS, {})


def _compose(project: str) -> list[str]:
    return ["docker", "compose", "--project-name", project, "--file", str(COMPOSE_FILE)]


def _run(command: list[str], seconds: int, env: Mapping[str, str]) -> None:
    try:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            timeout=seconds,
            env={**os.environ, **env},
        )
    except subprocess.TimeoutExpired as exc:
        raise ServersError(f"{' '.join(command[:3])} took more than {seconds} s") from exc
    if done.returncode != 0:
        last = (done.stderr.strip() or done.stdout.strip() or "it says nothing").splitlines()[-1]
        raise ServersError(f"{' '.join(command[:3])} failed: {last}")
