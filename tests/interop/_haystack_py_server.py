"""haystack-py's server on a storage of ours, in a process of its own: it wants Python 3.13.

Arguments: the URL of the storage, and a file of Hayson with the entities to begin with. Prints the
port; ends with its standard input.
"""

from __future__ import annotations

import asyncio
import sys
import threading
import time
from pathlib import Path
from typing import Any

import uvicorn
from hs_py.fastapi_server import create_fastapi_app
from hs_py.storage.protocol import StorageAdapter

from hsorm.cli.serve import listen
from hsorm.codecs import hayson
from hsorm.interop.haystack_py import HaystackPyStorage, to_hs, uncached
from hsorm.storage.factory import open_storage


class Seeded(HaystackPyStorage):
    entities: list[Any]

    async def start(self) -> None:
        await super().start()
        assert await self.load_entities(to_hs(self.entities)) == len(self.entities)


async def main(url: str, entities: list[Any]) -> None:
    storage = Seeded(open_storage(url))
    storage.entities = entities
    assert isinstance(storage, StorageAdapter)  # which is checked at run time
    # Without users: phable cannot log in to it, for it takes a token as the standard's 64 letters
    # and keeps the first of a handshake, where this server gives others with each step.
    app = uncached(create_fastapi_app(storage=storage))
    listening = listen("127.0.0.1", 0)
    server = uvicorn.Server(uvicorn.Config(app, log_level="warning", lifespan="on", ws="none"))
    threading.Thread(target=end_with_input, args=(server,), daemon=True).start()
    await server.serve([listening])


def end_with_input(server: uvicorn.Server) -> None:
    while not server.started:
        time.sleep(0.01)
    print(server.servers[0].sockets[0].getsockname()[1], flush=True)
    sys.stdin.read()
    server.should_exit = True


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], hayson.loads(Path(sys.argv[2]).read_text("utf-8"))))
