"""200 callers at once while every answer takes two seconds: all get in, and a call that is up feels nothing of it."""

import random
from ipaddress import IPv4Address

import trio
from peer import SECRET, Peer, answers

from poptrio.api import hookimpl
from poptrio.protocols.ppp.ccp import EncryptionPolicy
from poptrio.protocols.ppp.lcp import AuthProtocol
from poptrio.protocols.ppp.session_events import SessionSettings
from poptrio.testing.server import memory_server
from poptrio_radius.authentication import Authentication
from poptrio_radius.channels import Channels
from poptrio_radius.config import RadiusConfig
from poptrio_radius.server import Patience, Server
from poptrio_radius.server_pool import ServerPool

CALLERS = 200
PAP = SessionSettings(authentication=(AuthProtocol.PAP,), encryption=EncryptionPolicy("refuse"))
CONFIG = '[ppp]\nauthentication = ["pap"]\nencryption = "refuse"\n[server]\nmax_unauthenticated = 1000\n'


class Asks:
    """The plugin's authentication, with a scripted server."""

    def __init__(self, authentication):
        self._authentication = authentication

    @hookimpl
    async def poptrio_authenticate(self, call, request):
        return await self._authentication.decide(call, request)


async def test_all_get_in_and_nobody_else_notices(nursery, autojump_clock):
    config = RadiusConfig.model_validate({"servers": [{"address": "127.0.0.1", "secret": "testing123"}]})
    peer, rng, patience = Peer(nursery, answers(after=2.0)), random.Random(1), Patience(timeout=3.0, tries=3)
    server = Server("server", "authentication", Channels(peer.open_link, SECRET, nursery), patience, rng)
    plugin = Asks(Authentication(config, ServerPool([server], patience, "listed", rng), 10.0))
    calls, echoes = [], []
    async with memory_server(CONFIG, {"asks": plugin}) as memory:
        up = await memory.dial("first", settings=PAP)
        (ours,) = memory.server.registry.calls.values()

        async def dial(number):
            address = IPv4Address("198.51.100.0") + number
            calls.append((await memory.dial(f"user{number}", peer=address, settings=PAP), trio.current_time()))

        async with trio.open_nursery() as dialing:
            begun = trio.current_time()
            for number in range(CALLERS):
                dialing.start_soon(dial, number)
            for _ in range(20):
                before = len(ours.path.delivered)
                up.send_ip(bytes(100))
                await trio.sleep(0.1)
                echoes.append(len(ours.path.delivered) - before)
    assert sum(call.address is not None for call, _ in calls) == CALLERS
    assert max(when for _, when in calls) - begun < 3.0
    assert echoes == [1] * 20
    assert len(peer.requests) == CALLERS + 1
