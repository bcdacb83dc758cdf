"""hsorm's conformance kit over `JsonAdapter`: `pytest examples`."""

from __future__ import annotations

from json_adapter import JsonAdapter

from hsorm.storage.protocol import (
    Committer,
    EntityReader,
    HistoryReader,
    HistoryWriter,
    LiveWriter,
    Navigator,
)
from hsorm.testing.conformance import Capability, suite

globals().update(
    suite(
        lambda folder: JsonAdapter(folder / "plant.json"),
        name="JsonAdapter",
        offers=(
            *(EntityReader, Navigator, Committer, LiveWriter, HistoryReader, HistoryWriter),
            *("about", "connect", "close"),
        ),
        capabilities={Capability.DURABLE},
    )
)
