"""What an expert would do with redis-py for the same answers: pipelines of the same commands."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, Final

from redis.asyncio import Redis

__all__ = ["Hand"]

_HASHES, _SAMPLES = 1_000, 1_000
"""So many commands of a pipeline, and samples of one TS.MADD: no others were faster."""

_SERIES: Final = "{hand}:h"


class Hand:
    """Raw redis-py against a server that is empty but for what this wrote."""

    def __init__(self, client: Redis) -> None:
        self.client = client

    async def load(self, hashes: Sequence[tuple[str, dict[Any, Any]]]) -> None:
        """Write hashes, each by HSET: the index takes them in at once."""
        for first in range(0, len(hashes), _HASHES):
            async with self.client.pipeline(transaction=False) as pipe:
                for key, fields in hashes[first : first + _HASHES]:
                    pipe.hset(key, mapping=fields)
                await pipe.execute()

    async def empty_series(self) -> None:
        """Make the series anew."""
        await self.client.delete(_SERIES)
        await self._run("TS.CREATE", _SERIES, "DUPLICATE_POLICY", "LAST")

    async def write(self, stamps: Sequence[int], values: Sequence[float]) -> None:
        """Write samples by pipelined TS.MADD."""
        async with self.client.pipeline(transaction=False) as pipe:
            for first in range(0, len(stamps), _SAMPLES):
                words: list[Any] = []
                part = slice(first, first + _SAMPLES)
                for stamp, value in zip(stamps[part], values[part], strict=True):
                    words += (_SERIES, stamp, value)
                pipe.execute_command("TS.MADD", *words)
            await pipe.execute()

    async def read(self) -> Any:
        """Read all samples, as the driver gives them."""
        return await self._run("TS.RANGE", _SERIES, "-", "+")

    async def rollup(self, step: int) -> Any:
        """Average all samples by the server."""
        return await self._run("TS.RANGE", _SERIES, "-", "+", "AGGREGATION", "avg", step)

    async def _run(self, *words: Any) -> Any:
        return await self.client.execute_command(*words)  # type: ignore[no-untyped-call]

    async def search(self, words: Sequence[Any]) -> list[Any]:
        """Run a search command and decode the JSON documents that it returns."""
        answer = await self._run(*words)
        return [json.loads(text) for row in _rows(answer) for text in row]


def _rows(answer: Any) -> list[list[bytes]]:
    """Return the texts of each row, those that are not empty."""
    return [list(filter(None, row[b"extra_attributes"].values())) for row in answer[b"results"]]
