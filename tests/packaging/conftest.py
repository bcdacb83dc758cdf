"""The wheel, the sdist, and environments with them, made once."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.packaging.environments import RUNNING, Environment, find_python, pip, run

CHECKOUT = Path(__file__).parents[2]

PYTHONS = ("3.11", "3.12", "3.13")
"""What the package says it runs on."""


@pytest.fixture(scope="session")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    pip(
        *("wheel", "--quiet", "--no-deps", "--no-build-isolation", "--wheel-dir", folder, CHECKOUT),
        cwd=folder,
    )
    (built,) = folder.glob("hsorm-*.whl")
    return built


@pytest.fixture(scope="session")
def sdist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sdist")
    run(sys.executable, "-m", "hatchling", "build", "-t", "sdist", "-d", folder, cwd=CHECKOUT)
    (built,) = folder.glob("hsorm-*.tar.gz")
    return built


@pytest.fixture(scope="session")
def plain(
    wheel: Path, tmp_path_factory: pytest.TempPathFactory
) -> Callable[[str], Environment | None]:
    """Gives an environment of a version, with the wheel and what it asks for: no extra, no driver.

    None where this machine has no such Python.
    """
    made: dict[str, Environment | None] = {}

    def install(python: str, version: str) -> Environment:
        folder = tmp_path_factory.mktemp("plain") / version
        environment = Environment.make(folder, python, version)
        environment.install(wheel)
        return environment

    def of(version: str) -> Environment | None:
        if version not in made:
            python = find_python(version)
            made[version] = None if python is None else install(python, version)
        return made[version]

    return of


@pytest.fixture(params=PYTHONS)
def each_plain(
    request: pytest.FixtureRequest, plain: Callable[[str], Environment | None]
) -> Environment:
    """An environment without extras, of each version that is on this machine."""
    found = plain(request.param)
    if found is None:
        pytest.skip(f"no Python {request.param} on the PATH or among pyenv's")
    return found


@pytest.fixture(scope="session")
def clean(plain: Callable[[str], Environment | None]) -> Environment:
    """An environment without extras, of the version that runs the tests."""
    found = plain(RUNNING)
    assert found is not None
    return found


@pytest.fixture(scope="session")
def with_extra(
    wheel: Path, clean: Environment, tmp_path_factory: pytest.TempPathFactory
) -> Callable[[str], Environment]:
    """Gives an environment with one extra alone."""
    made: dict[str, Environment] = {}

    def of(extra: str) -> Environment:
        if extra not in made:
            below = (clean, of("arrow")) if extra == "pandas" else (clean,)  # it is a part of it
            folder = tmp_path_factory.mktemp("extra") / extra
            made[extra] = Environment.make(folder, sys.executable, RUNNING, *below)
            made[extra].install(f"{wheel}[{extra}]")
        return made[extra]

    return of
