"""What an `env.py` of a host does to the process that runs it is undone."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import pytest


@pytest.fixture(autouse=True)
def _loggers_as_before() -> Iterator[None]:
    """That of `alembic init` sets logging up anew, and switches off all loggers that are there."""
    root, known = logging.getLogger(), logging.root.manager.loggerDict
    before = {name: one.disabled for name, one in known.items() if isinstance(one, logging.Logger)}
    level, handlers = root.level, list(root.handlers)
    yield
    root.setLevel(level)
    root.handlers[:] = handlers
    for name, was in before.items():
        logging.getLogger(name).disabled = was
