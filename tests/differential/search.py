"""Running hypothesis again and again: until enough cases were looked at, or the time is over."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final, TypeVar

from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

from tests.backends import PLANNERS

__all__ = ["SECONDS", "Search"]

_Example = TypeVar("_Example")

SECONDS: Final = float(os.environ.get("HSORM_FUZZ_SECONDS") or 0)
"""How long all searches together may take; 0 bounds them by the number of cases instead."""

_CASES: Final = int(os.environ.get("HSORM_FUZZ_CASES") or 2_000)
_SEED: Final = int(os.environ.get("HSORM_FUZZ_SEED") or 0)
_SEARCHES: Final = len(PLANNERS) + 1
_WORKERS: Final = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT") or 1)
# Beyond ten hypothesis goes on with copies of what it has, in which the same filters come again.
_WORLDS_AT_A_TIME: Final = 10


@dataclass
class Search:
    """Looks for an example that fails.

    Attributes:
        cases: How many cases were looked at; who looks at them counts.
        share: What this search asks for of the usual number of cases.
    """

    share: float = 1.0
    cases: int = 0
    _start: float = field(default_factory=time.monotonic)

    def run(self, strategy: st.SearchStrategy[_Example], look: Callable[[_Example], None]) -> None:
        """Call `look` with examples until it fails, which is shrunk, or there were enough."""
        number = _SEED
        while not self._is_over():
            examples = settings(
                database=None,
                deadline=None,
                max_examples=_WORLDS_AT_A_TIME,
                phases=(Phase.generate, Phase.shrink),
                print_blob=False,
                suppress_health_check=list(HealthCheck),
            )
            try:
                examples(seed(number)(given(strategy)(look)))()
            except BaseException as exc:
                exc.add_note(f"seed {number}, after {self.cases:,} cases")
                raise
            number += 1

    def _is_over(self) -> bool:
        if SECONDS:
            return time.monotonic() - self._start > SECONDS * _WORKERS / _SEARCHES
        return self.cases >= _CASES * self.share
