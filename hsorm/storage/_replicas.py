"""Reads that a replica answers, where there is one."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any, Concatenate, ParamSpec, TypeVar

__all__ = ["may_lag"]

_P = ParamSpec("_P")
_R = TypeVar("_R")


def may_lag(
    method: Callable[Concatenate[Any, _P], _R],
) -> Callable[Concatenate[Any, _P], _R]:
    """Return a method that the replica of an adapter, `_replica`, answers where it has one.

    All that the method calls is answered there, too. What must see its own writes is not to call
    such a method.
    """

    @wraps(method)
    def answered(self: Any, /, *args: _P.args, **kwargs: _P.kwargs) -> _R:
        return method(self._replica or self, *args, **kwargs)

    return answered
