"""`paused_gc`: long answers are built without the garbage collector looking on."""

from __future__ import annotations

import gc
import threading
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["paused_gc"]


@contextmanager
def paused_gc() -> Iterator[None]:
    """Keep the garbage collector from looking at a long answer again and again while it is built.

    A list or dict is made for each item, and the collector goes through all of them every time
    their number has grown by a quarter: that is up to half of the time of a read. Nothing that is
    made there refers to itself.
    """
    global _pauses, _paused
    with _pausing:
        if _pauses == 0:
            _paused = gc.isenabled()
            gc.disable()
        _pauses += 1
    try:
        yield
    finally:
        with _pausing:
            _pauses -= 1
            if _pauses == 0 and _paused:
                gc.enable()


_pausing = threading.Lock()
_pauses = 0
"""So many are under way: of several tasks, or of several loops in threads of their own."""
_paused = False
