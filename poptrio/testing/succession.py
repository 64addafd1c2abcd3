"""A server in memory that goes on with the calls of another one, as after `poptrio upgrade`."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import trio

from poptrio.server.hooks import Hooks
from poptrio.server.local_authority import LocalAuthority
from poptrio.server.server import Server
from poptrio.server.server_state import keep_server, restore_server
from poptrio.server.sessions import LiveSessions
from poptrio.testing.line import MemoryListener
from poptrio.testing.server import MemoryServer
from poptrio.upgrade.hand_over import stand_still
from poptrio.upgrade.messages import State, read_state, state_octets


@asynccontextmanager
async def successor_of(memory: MemoryServer, hooks: Hooks) -> AsyncIterator[Server]:
    """The server with the plugins of ``hooks`` that has all calls of ``memory`` until the block is left.

    ``memory`` stands still meanwhile and has nothing more to say, like a process that is gone.
    """
    old, now = memory.server, trio.current_time()
    old.pause()
    await stand_still(old)
    kept, streams = keep_server(old, trio.current_time())
    octets = state_octets(State(now, kept))
    for connection in old.connections:
        connection.abandon()
    for path in memory.network.server.calls.values():
        path._closed = True
    memory.network.server.calls.clear()
    config, sessions = old.config, LiveSessions()
    info = config.server_info(sessions, continued=True)
    async with hooks.lifespan(config.plugins, info), trio.open_nursery() as nursery:
        server = Server(config, LocalAuthority(config, hooks, sessions), memory.network.server)
        restore_server(server, read_state(octets).server, streams, trio.current_time())
        await nursery.start(server.run, [MemoryListener()])
        yield server
        server.stop()
