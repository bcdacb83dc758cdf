"""Listening to PostgreSQL's notifications."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import Any

from sqlalchemy.ext.asyncio import AsyncConnection

from hsorm.storage._dberrors import database_errors
from hsorm.storage._listener import Listen, Tell

__all__ = ["listen_to"]


def listen_to(
    connect: Callable[[], AbstractAsyncContextManager[AsyncConnection]], channel: str, url: str
) -> Listen:
    """Return what listens to a channel, on a connection of its own.

    Args:
        connect: Takes a connection from the pool, which does not get it back.
        channel: The channel that the triggers notify.
        url: Where that is, for messages.
    """

    async def listen(tell: Tell) -> None:
        with database_errors(url):
            async with connect() as connection:
                pooled = await connection.get_raw_connection()
                driver = pooled.driver_connection
                # Its place in the pool is for who reads and writes; there may be but one.
                pooled.detach()
                await _listen_on(driver, channel, tell)

    return listen


async def _listen_on(driver: Any, channel: str, tell: Tell) -> None:
    """Listen until the connection is lost."""
    lost = asyncio.Event()

    def on_lost(connection: Any) -> None:
        lost.set()

    driver.add_termination_listener(on_lost)
    await driver.add_listener(channel, tell)
    tell()  # what has changed before is to be looked for
    try:
        await lost.wait()
    finally:
        driver.remove_termination_listener(on_lost)
        if not driver.is_closed():
            await driver.remove_listener(channel, tell)
