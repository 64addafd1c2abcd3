"""Servers that cannot be handed over say so before anything is touched."""

from pathlib import Path

import pytest
import trio

from poptrio.config import Config
from poptrio.datapath.userspace.path import UserspaceDataPath, UserspaceSettings
from poptrio.server.local_authority import LocalAuthority
from poptrio.testing.server import SERVER_ADDRESS, load, memory_server
from poptrio.upgrade.hand_over import Upgrade, UpgradeFailed
from poptrio.workers.parent import Parent


async def refusal(server):
    upgrade = Upgrade(Path("config.toml"), command=["/bin/false"])
    with pytest.raises(UpgradeFailed) as caught:
        await anext(upgrade.hand_over(server))
    return str(caught.value)


@pytest.fixture
def userspace():
    return UserspaceDataPath(UserspaceSettings(listen=(SERVER_ADDRESS,), interface=None, mtu=1400))


async def test_a_server_with_workers():
    async with trio.open_nursery() as nursery:
        authority = LocalAuthority(config := Config(), load([], config))
        assert "workers" in await refusal(Parent(config, authority, nursery))


async def test_a_data_path_that_is_not_our_own():
    async with memory_server() as memory:
        assert "kernel's data path" in await refusal(memory.server)


async def test_a_server_that_drains_or_stops(userspace, autojump_clock):
    async with memory_server() as memory:
        await memory.dial()
        path, memory.server.datapath = memory.server.datapath, userspace
        await memory.server.drain()
        assert "`poptrio drain --cancel`" in await refusal(memory.server)
        await memory.server.cancel_drain()
        memory.server.stop()
        assert await refusal(memory.server) == "the server is stopping"
        memory.server.datapath = path
