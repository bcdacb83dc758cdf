"""The Pythons of other versions on this machine."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

__all__ = ["pythons", "version_of"]


def pythons(version: str) -> Iterator[str]:
    """Yield what may be a Python of a version, such as "3.12": on the PATH, or pyenv's."""
    if on_path := shutil.which(f"python{version}"):
        yield on_path
    root = Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv")
    yield from map(str, sorted(root.glob(f"versions/{version}*/bin/python")))


def version_of(python: str) -> tuple[int, int] | None:
    """Return the version of a Python, None if it does not run: pyenv has shims that do not."""
    code = "import sys; print(*sys.version_info[:2])"
    done = subprocess.run([python, "-c", code], check=False, capture_output=True, text=True)
    if done.returncode:
        return None
    major, minor = done.stdout.split()
    return int(major), int(minor)
