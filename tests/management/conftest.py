"""A server in memory whose API is served on a real Unix socket."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import pytest
import trio
from tcp_door import TOKEN, free_port, make_certificate

from poptrio.config import Config
from poptrio.datapath.memory import Link
from poptrio.management.doors import Doors, open_doors
from poptrio.management.serving import manage
from poptrio.server.reload import Reloading
from poptrio.testing.server import MemoryServer, memory_server


class Api:
    """The API of ``memory``, asked over its socket; cancel ``served`` to serve it no more.

    ``port`` is that of TCP on loopback, or 0.
    """

    def __init__(
        self, memory: MemoryServer, client: httpx.AsyncClient, socket: Path, served: trio.CancelScope, port: int
    ) -> None:
        self.memory = memory
        self.client = client
        self.socket = socket
        self.served = served
        self.port = port

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
def tls(tmp_path: Path) -> str:
    """The rest of ``[management]`` for TCP, with a certificate for localhost; the files are made."""
    (tmp_path / "token").write_text(TOKEN + "\n")
    (tmp_path / "token").chmod(0o600)
    make_certificate(tmp_path)
    return f'listen = ["127.0.0.1:{free_port()}"]'


@pytest.fixture
def api(tmp_path: Path):
    """Opens a server with its API: ``async with api(config, plugins) as server``."""

    @asynccontextmanager
    async def opened(
        config: str = "", plugins: object = (), link: Link | None = None, management: str = ""
    ) -> AsyncIterator[Api]:
        path = tmp_path / "poptrio.sock"
        doors_config = Config.parse(f'{config}\n[management]\nsocket = "{path}"\n{management}', folder=tmp_path)
        with open_doors(doors_config) as doors:
            port = doors.open[1].listener.getsockname()[1] if len(doors.open) > 1 else 0
            async with memory_server(config, plugins, link=link) as memory, trio.open_nursery() as nursery:
                served = trio.CancelScope()
                memory.server.reloader.reloading = Reloading(doors_config, prepare_doors=doors.prepare)
                await nursery.start(_serve, memory, doors, served)
                transport = httpx.AsyncHTTPTransport(uds=str(path))
                async with httpx.AsyncClient(transport=transport, base_url="http://localhost", timeout=20) as client:
                    yield Api(memory, client, path, served, port)
                nursery.cancel_scope.cancel()

    return opened


async def _serve(memory: MemoryServer, doors: Doors, served: trio.CancelScope, *, task_status) -> None:
    with served:
        await manage(memory.server, doors, task_status=task_status)
