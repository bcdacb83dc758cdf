"""What only some backends offer. Answers never differ by backend."""

from __future__ import annotations

from enum import Enum
from typing import ClassVar

import pytest

__all__ = ["Capability", "Requiring"]


class Capability(Enum):
    """Something that a backend has or has not; its value says what in a sentence."""

    SHARED = "two adapters may use one storage at a time, and see each other's changes"
    DURABLE = "what was written is there after the storage was closed and opened again"


class Requiring:
    """Tests that are skipped, with the reason, where the backend does not offer `requires`."""

    requires: ClassVar[Capability]

    @pytest.fixture(autouse=True)
    def _offered(self, capabilities: frozenset[Capability]) -> None:
        if self.requires not in capabilities:
            pytest.skip(f"not offered: {self.requires.value}")
