"""Waiting for changes: a cancellation that comes with one is not lost."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from hsorm.storage._listener import Listener, Tell
from hsorm.storage._memory_log import ChangeLog


async def cancelled_beside(wait: Awaitable[None], change: Callable[[], None], turns: int) -> None:
    """Cancel who waits, so many turns of the loop behind the change."""
    waiting = asyncio.ensure_future(wait)
    await asyncio.sleep(0.02)
    change()
    for _ in range(turns):
        await asyncio.sleep(0)
    if waiting.cancel():  # else it was over
        with pytest.raises(asyncio.CancelledError):
            await waiting


@pytest.mark.parametrize("turns", range(4))
async def test_in_a_stream(turns: int) -> None:
    begun: asyncio.Future[Tell] = asyncio.get_running_loop().create_future()

    async def listen(tell: Tell) -> None:
        begun.set_result(tell)
        await asyncio.Event().wait()

    async with Listener(listen).wake() as wake:
        tell = await begun

        await cancelled_beside(wake.wait(60), tell, turns)


@pytest.mark.parametrize("turns", range(4))
async def test_in_memory(turns: int) -> None:
    log = ChangeLog()

    await cancelled_beside(log.wait(0, 60), lambda: log.note("a"), turns)


async def test_a_driver_that_loses_one_holds_nobody_up() -> None:
    begun, lost = asyncio.Event(), 0

    async def listen(tell: Tell) -> None:
        nonlocal lost
        begun.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            lost += 1
            await asyncio.Event().wait()

    async with asyncio.timeout(10), Listener(listen).wake():
        await begun.wait()

    assert lost == 1
