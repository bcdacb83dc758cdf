"""hsorm's conformance kit over `JsonAdapter`: `pytest examples`."""

from __future__ import annotations

from json_adapter import JsonAdapter

from hsorm.storage.protocol import EntityReader, EntityWriter
from hsorm.testing.conformance import Capability, suite

globals().update(
    suite(
        lambda folder: JsonAdapter(folder / "plant.json"),
        name="JsonAdapter",
        offers=(EntityReader, EntityWriter, "close", "nav", "his_read", "his_write"),
        capabilities={Capability.DURABLE},
    )
)
