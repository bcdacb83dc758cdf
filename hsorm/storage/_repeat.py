"""`repeated`: the one place where a transaction is run again."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

from hsorm.errors import StorageError
from hsorm.storage._dberrors import sqlstate_of

__all__ = ["ATTEMPTS", "repeated"]

_log = logging.getLogger(__name__)

_T = TypeVar("_T")

ATTEMPTS: Final = 4
"""How often a transaction of our own is run at the most."""

_CLASHES: Final = ("40P01", "40001")  # deadlock, serialization failure


async def repeated(run: Callable[[], Awaitable[_T]], attempts: int = ATTEMPTS) -> _T:
    """Run a transaction, and run it again where it clashed with another one.

    Writers of ours lock in order of id, so they never do; whoever deletes or writes by SQL of their
    own may. What clashed was rolled back, so that nothing is done twice. A lost connection is no
    reason: nobody knows then what was done.

    Args:
        run: The whole transaction, with nothing in it that it would find used up the next time.
        attempts: How often at the most.
    """
    for attempt in range(1, attempts):
        try:
            return await run()
        except StorageError as exc:
            if sqlstate_of(exc) not in _CLASHES:
                raise
            _log.info("attempt %d clashed with another transaction: %s", attempt, exc)
        await asyncio.sleep(random.uniform(0, 0.05 * 2**attempt))  # noqa: S311 - no secret
    return await run()
