"""A server in memory whose API is served on a real Unix socket."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import pytest
import trio

from poptrio.config import Config
from poptrio.management.doors import open_doors
from poptrio.management.http_server import Door
from poptrio.management.serving import manage
from poptrio.testing.server import MemoryServer, memory_server


class Api:
    """The API of ``memory``, asked over its socket; cancel ``served`` to serve it no more."""

    def __init__(self, memory: MemoryServer, client: httpx.AsyncClient, socket: Path, served: trio.CancelScope) -> None:
        self.memory = memory
        self.client = client
        self.socket = socket
        self.served = served

    async def get(self, path: str, status: int = 200, **query: object) -> dict:
        """What a GET says."""
        return self._json(await self.client.get(path, params=query), status)

    async def post(self, path: str, status: int = 200, **body: object) -> dict:
        """What a POST with a JSON body says."""
        return self._json(await self.client.post(path, json=body), status)

    @staticmethod
    def _json(response: httpx.Response, status: int) -> dict:
        assert response.status_code == status, response.text
        return response.json()


@pytest.fixture
def api(tmp_path: Path):
    """Opens a server with its API: ``async with api(config, plugins) as server``."""

    @asynccontextmanager
    async def opened(config: str = "", plugins: object = ()) -> AsyncIterator[Api]:
        socket = tmp_path / "poptrio.sock"
        doors_config = Config.parse(f'[management]\nsocket = "{socket}"')
        with open_doors(doors_config) as doors:
            async with memory_server(config, plugins) as memory, trio.open_nursery() as nursery:
                served = trio.CancelScope()
                await nursery.start(_serve, memory, doors, served)
                transport = httpx.AsyncHTTPTransport(uds=str(socket))
                async with httpx.AsyncClient(transport=transport, base_url="http://localhost", timeout=20) as client:
                    yield Api(memory, client, socket, served)
                nursery.cancel_scope.cancel()

    return opened


async def _serve(memory: MemoryServer, doors: list[Door], served: trio.CancelScope, *, task_status) -> None:
    with served:
        await manage(memory.server, doors, task_status=task_status)
