"""Environments of their own, on each Python of this machine, with nothing of the checkout."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Final

from benchmarks._pythons import pythons, version_of

__all__ = ["RUNNING", "Environment", "find_python", "pip", "run"]

RUNNING: Final = f"{sys.version_info[0]}.{sys.version_info[1]}"
"""The version that runs the tests."""

# Nothing of the checkout is to be found in an environment that is clean. And nothing is to be
# compiled anew by each command, whatever this process does.
_APART: Final = ("PYTHONPATH", "PYTHONDONTWRITEBYTECODE", "HSORM_URL")
_ENVIRONMENT: Final = {name: val for name, val in os.environ.items() if name not in _APART}


def ask(*command: str | Path, cwd: Path) -> subprocess.CompletedProcess[str]:
    """Run a command as a user of the package would."""
    return subprocess.run(
        [str(part) for part in command],
        cwd=cwd,
        env=_ENVIRONMENT,
        capture_output=True,
        text=True,
        check=False,
    )


def run(*command: str | Path, cwd: Path) -> str:
    """Run a command that is to succeed, and return what it printed."""
    done = ask(*command, cwd=cwd)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def pip(*arguments: str | Path, cwd: Path) -> None:
    """Run pip of the Python that runs the tests, which can install for the others, too."""
    run(sys.executable, "-m", "pip", *arguments, cwd=cwd)


@cache
def find_python(version: str) -> str | None:
    """Return the Python of a version, None where this machine has none."""
    if version == RUNNING:
        return sys.executable
    wanted = tuple(map(int, version.split(".")))
    return next((python for python in pythons(version) if version_of(python) == wanted), None)


@dataclass(frozen=True, slots=True)
class Environment:
    """An environment, and those that it stands on.

    Attributes:
        folder: Where it is.
        version: Of its Python.
        below: Their packages are in it, too, so that each is installed once.
    """

    folder: Path
    version: str
    below: tuple[Environment, ...] = ()

    @classmethod
    def make(cls, folder: Path, python: str, version: str, *below: Environment) -> Environment:
        """Make an environment, without a pip of its own, which would take as long as the rest."""
        run(python, "-m", "venv", "--without-pip", folder, cwd=folder.parent)
        made = cls(folder, version, below)
        paths = "".join(f"{each.packages}\n" for each in below)
        (made.packages / "below.pth").write_text(paths, "utf-8")
        return made

    @property
    def bin(self) -> Path:
        """The folder of its commands."""
        return self.folder / ("Scripts" if os.name == "nt" else "bin")

    @property
    def packages(self) -> Path:
        """The folder of its packages."""
        if os.name == "nt":
            return self.folder / "Lib" / "site-packages"
        return self.folder / "lib" / f"python{self.version}" / "site-packages"

    def install(self, *wanted: str | Path) -> None:
        """Install what is wanted and not there; only what is imported is compiled."""
        options = ("--quiet", "--no-compile", "--disable-pip-version-check")
        pip("--python", self.bin / "python", "install", *options, *wanted, cwd=self.folder)

    def ask(self, *arguments: str | Path, cwd: Path) -> subprocess.CompletedProcess[str]:
        """Run its Python."""
        return ask(self.bin / "python", *arguments, cwd=cwd)

    def run(self, *arguments: str | Path, cwd: Path) -> str:
        """Run its Python, which is to succeed."""
        return run(self.bin / "python", *arguments, cwd=cwd)
