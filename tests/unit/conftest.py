"""Fixtures of the pure layers."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

# Shared machines pause now and then, so no example has a deadline, and the number of examples keeps
# the whole suite quick; HYPOTHESIS_PROFILE=thorough looks longer.
_CALM = [HealthCheck.too_slow]
settings.register_profile("quick", deadline=None, max_examples=60, suppress_health_check=_CALM)
settings.register_profile("thorough", deadline=None, max_examples=2000)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "quick"))

_DATA = Path(__file__).resolve().parents[3] / "shared" / "data"


@pytest.fixture(scope="session")
def building() -> Path:
    """The folder with the public example building; it stands beside the checkout, not in it."""
    if not (_DATA / "alpha.json").is_file():
        pytest.skip("the example building (alpha.json, .zinc, .trio) is not beside the checkout")
    return _DATA
