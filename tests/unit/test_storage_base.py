"""`hsorm.storage.base`: what an adapter of somebody else's has to write."""

from __future__ import annotations

import pytest

from hsorm.storage.base import Entities, History


@pytest.mark.parametrize(
    ("base", "calls"), [(Entities, ("_fetch", "_keep")), (History, ("_his_items", "_his_store"))]
)
def test_what_is_left_out_is_named(base: type, calls: tuple[str, str]) -> None:
    """At once, and not by a change that is kept nowhere."""
    unwritten = type("Unwritten", (base,), {})

    with pytest.raises(TypeError, match=".*".join(calls)):
        unwritten()
