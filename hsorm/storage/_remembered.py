"""`Remembered`: results that are kept, so many and none that is large."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Generic, TypeVar

__all__ = ["Remembered"]

_Key = TypeVar("_Key")
_Result = TypeVar("_Result")


class Remembered(Generic[_Key, _Result]):
    """What was worked out, by what it was worked out for.

    `functools.lru_cache` bounds how many results there are, not how large they are: a thousand
    filters of half a megabyte are that much memory for good. Any thread may ask.

    Args:
        most: How many are kept; the oldest goes first.
        is_small: Whether something is small enough to be kept.
    """

    def __init__(self, most: int, is_small: Callable[[_Key, _Result], bool]) -> None:
        self._most, self._is_small = most, is_small
        self._kept: dict[_Key, _Result] = {}
        self._putting = threading.Lock()

    def __len__(self) -> int:
        return len(self._kept)

    def get(self, key: _Key) -> _Result | None:
        """Return what is kept, None where there is nothing."""
        return self._kept.get(key)

    def put(self, key: _Key, result: _Result) -> None:
        """Keep a result, if it is small."""
        if not self._is_small(key, result):
            return
        with self._putting:
            if len(self._kept) >= self._most:
                del self._kept[next(iter(self._kept))]
            self._kept[key] = result
