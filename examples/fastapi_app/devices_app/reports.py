"""What works over any storage: in a request `bind(session)`, in tests one without a database."""

from __future__ import annotations

from hsorm.storage import StorageAdapter

_POWER = 'point and his and kind == "Number" and unit == "kW"'


async def daily_peaks(store: StorageAdapter, range: str) -> dict[str, dict[str, float]]:
    """Return the greatest power of each point on each day that has any, in kW, by id and date."""
    points = await store.read(_POWER)
    ids = [point["id"].val for point in points]
    days = await store.his_rollup(ids, range, "1day", "max", tz="UTC")
    return {
        id: {str(item["ts"].date()): item["val"].val for item in items}
        for id, items in days.items()
        if items
    }
