"""Start and end the servers as containers of `docker-compose.yml`, where Docker runs."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

from scripts.servers_state import Running, ServersError

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["SERVICES", "container_url", "docker_down", "docker_up", "engine_answers"]

COMPOSE_FILE = Path(__file__).resolve().parent.parent / "docker-compose.yml"
# Kind of server: service of the compose file and the variable with its port on the host.
SERVICES = {
    "timescale": ("timescale", "HSORM_TIMESCALE_PORT"),
    "plain": ("postgres", "HSORM_POSTGRES_PORT"),
    "redis": ("redis", "HSORM_REDIS_PORT"),
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
    if kind == "redis":
        return f"redis://127.0.0.1:{port}"
    return f"postgresql://hsorm:hsorm@127.0.0.1:{port}/hsorm"


def docker_up(kind: str, project: str, port: int) -> Running:
    """Start one service in a project of its own and wait until it is healthy.

    Raises:
        ServersError: Docker refuses, or the service does not become healthy in time.
    """
    service, variable = SERVICES[kind]
    server = Running(kind, container_url(kind, port), project=project)
    print(f"servers: docker compose up {service} (downloads the image if needed)", flush=True)
    try:
        command = [*_compose(project), "up", "--detach", "--wait", service]
        _run(command, UP_SECONDS, {variable: str(port)})
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
