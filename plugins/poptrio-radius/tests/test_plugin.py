"""The plugin whole: a server in memory, calls, and a RADIUS server of the test's on loopback UDP, IPv4 and IPv6."""

import contextlib
import socket
import sqlite3
from dataclasses import replace

import pytest
import trio
from peer import SECRET, attributes
from trio.testing import wait_all_tasks_blocked

from poptrio.api import ConfigError
from poptrio.config import Config
from poptrio.protocols.ppp.ccp import EncryptionPolicy
from poptrio.protocols.ppp.lcp import AuthProtocol
from poptrio.protocols.ppp.session_events import SessionSettings
from poptrio.testing.server import load, memory_server
from poptrio.testing.succession import successor_of
from poptrio_radius.packets import Code, parse, respond
from poptrio_radius.plugin import Radius
from poptrio_radius.spool_file import SpoolError, SpoolFile

PAP = SessionSettings(authentication=(AuthProtocol.PAP,), encryption=EncryptionPolicy("refuse"))
CONFIG = """
[ppp]
authentication = ["pap"]
encryption = "refuse"

[authentication]
plugins = ["radius"]

[plugins.radius]
servers = [{{ address = "{address}", auth_port = {port}, acct_port = {port}, secret = "file:secret" }}]
spool = "accounting.sqlite"
"""


class UdpServer:
    """Accepts everybody and acknowledges everything; ``requests`` are what came, ``deaf`` takes no accounting."""

    def __init__(self, address):
        self.address = address
        family = trio.socket.AF_INET6 if ":" in address else trio.socket.AF_INET
        self.socket = trio.socket.socket(family, trio.socket.SOCK_DGRAM)
        self.requests = []
        self.deaf = False
        self.came = trio.Event()

    async def run(self):
        await self.socket.bind((self.address, 0))
        with contextlib.suppress(trio.ClosedResourceError):
            while True:
                datagram, source = await self.socket.recvfrom(4096)
                await self._answer(parse(datagram), source)

    async def _answer(self, request, source):
        if request.code == Code.ACCOUNTING_REQUEST and self.deaf:
            return
        self.requests.append(request)
        code = Code.ACCESS_ACCEPT if request.code == Code.ACCESS_REQUEST else Code.ACCOUNTING_RESPONSE
        await self.socket.sendto(respond(request, code, attributes(), SECRET), source)
        self.came.set()

    @property
    def port(self):
        return self.socket.getsockname()[1]

    def accounted(self):
        """Acct-Status-Types by their numbers, in order."""
        return [
            request.attributes.number("Acct-Status-Type")
            for request in self.requests
            if request.code == Code.ACCOUNTING_REQUEST
        ]

    async def until_accounted(self, *kinds):
        with trio.move_on_after(5):
            while self.accounted() != list(kinds):
                self.came = trio.Event()
                await self.came.wait()
        assert self.accounted() == list(kinds)


START, STOP, ON, OFF = 1, 2, 7, 8


@pytest.fixture(params=["127.0.0.1", "::1"])
async def radius(request, nursery, tmp_path):
    (tmp_path / "secret").write_bytes(SECRET + b"\n")
    server = UdpServer(request.param)
    nursery.start_soon(server.run)
    await wait_all_tasks_blocked()
    yield server
    server.socket.close()


def config(radius):
    return CONFIG.format(address=radius.address, port=radius.port)


async def test_a_call_from_log_in_to_bill(radius, tmp_path):
    async with memory_server(config(radius), {"radius": Radius()}, folder=tmp_path) as memory:
        await radius.until_accounted(ON)
        call = await memory.dial(settings=PAP)
        assert call.address is not None
        await radius.until_accounted(ON, START)
        call.send_ip(bytes(100))
        await call.hang_up()
        await radius.until_accounted(ON, START, STOP)
    assert radius.accounted() == [ON, START, STOP, OFF]
    stop = radius.requests[-2].attributes
    assert stop.number("Acct-Input-Octets") == 120
    assert stop.text("User-Name") == "alice"


async def test_what_nobody_took_is_sent_at_the_next_start(radius, tmp_path):
    settings = config(radius) + "accounting_farewell = 0.1\n"
    async with memory_server(settings, {"radius": Radius()}, folder=tmp_path) as memory:
        await radius.until_accounted(ON)
        radius.deaf = True
        call = await memory.dial(settings=PAP)
        await call.hang_up()
    assert radius.accounted() == [ON]
    radius.deaf = False
    async with memory_server(settings, {"radius": Radius()}, folder=tmp_path):
        await radius.until_accounted(ON, START, STOP, ON)


@pytest.mark.parametrize(
    ("broken", "words"),
    [
        ('spool = "no/such/folder/x.sqlite"', "plugins.radius.spool"),
        ('coa = { listen = "203.0.113.77:3799", clients = [{ address = "127.0.0.1", secret = "x" }] }', "coa.listen"),
        ('accounting_servers = [{ address = "127.0.0.1", secret = "file:missing" }]', "file"),
        ("timeuot = 3", 'did you mean "timeout"'),
    ],
)
async def test_a_fault_names_its_place_and_nothing_is_left_running(radius, broken, words, tmp_path):
    text = config(radius)
    text = text.replace(
        'spool = "accounting.sqlite"', broken if broken.startswith("spool") else f'spool = "s"\n{broken}'
    )
    with pytest.raises(ConfigError) as caught:
        async with memory_server(text, {"radius": Radius()}, folder=tmp_path):
            pass
    assert words in str(caught.value)


async def test_no_secret_is_in_a_fault(radius, tmp_path):
    text = config(radius).replace('"file:secret"', '"topsecret", tries = "topsecret"')
    with pytest.raises(ConfigError) as caught:
        async with memory_server(text, {"radius": Radius()}, folder=tmp_path):
            pass
    assert "secret =" not in str(caught.value)


async def test_another_server_and_secret_while_calls_are_up(radius, nursery, tmp_path):
    async with memory_server(config(radius), {"radius": Radius()}, folder=tmp_path) as memory:
        call = await memory.dial(settings=PAP)
        await radius.until_accounted(ON, START)
        other = UdpServer(radius.address)
        nursery.start_soon(other.run)
        await wait_all_tasks_blocked()
        text = f'{config(other)}timeout = 1.0\nnas_identifier = "other"'
        report = await memory.server.reloader.reload(lambda: Config.parse(text, folder=tmp_path))
        assert [change.setting for change in report.changes] == ["plugins.radius.servers", "plugins.radius.timeout"]
        assert [change.setting for change in report.needs_restart] == ["plugins.radius.nas_identifier"]
        await call.hang_up()
        await other.until_accounted(STOP)
        assert (await memory.dial(settings=PAP)).address is not None
        assert [request.code for request in other.requests].count(Code.ACCESS_REQUEST) == 1
        (tmp_path / "secret").unlink()
        report = await memory.server.reloader.reload(lambda: Config.parse(text, folder=tmp_path))
        assert "cannot read the secret" in str(report.faults[0])
        assert (await memory.dial(settings=PAP)).address is not None
    other.socket.close()


async def settled(plugin):
    """Everything that a server has taken is known to be there."""
    with trio.fail_after(5):
        await plugin._accounting.spool.wait_until_empty()


async def test_a_server_that_takes_over_sends_no_start_and_loses_no_stop(radius, tmp_path):
    old, soon = Radius(), "[server]\ngrace = 1.0\n"  # nobody answers the old one's goodbyes
    async with memory_server(
        soon + config(radius) + "accounting_farewell = 0.1\n", {"radius": old}, folder=tmp_path
    ) as memory:
        call = await memory.dial(settings=PAP)
        await radius.until_accounted(ON, START)
        await settled(old)
        with memory.authority.hooks.handed_over():
            async with successor_of(memory, load({"radius": Radius()})) as server:
                assert server.call_count == 1
                call.send_ip(bytes(100))
                await call.hang_up()
                await radius.until_accounted(ON, START, STOP)
                start, stop = (request.attributes for request in radius.requests[-2:])
                assert stop.text("Acct-Session-Id") == start.text("Acct-Session-Id")
                assert stop.number("Acct-Input-Octets") == 120
            assert radius.accounted() == [ON, START, STOP, OFF]  # the successor's end


async def test_records_that_wait_are_handed_over(radius, tmp_path):
    async with memory_server(
        config(radius) + "accounting_farewell = 0.1", {"radius": Radius()}, folder=tmp_path
    ) as memory:
        await radius.until_accounted(ON)
        radius.deaf = True
        await memory.dial(settings=PAP)
        await wait_all_tasks_blocked(0.01)
        with memory.authority.hooks.handed_over():
            file = SpoolFile(tmp_path / "accounting.sqlite")
            (record,), (session,) = file.records(), file.open_sessions()
            assert (record.kind.value, record.session_id) == ("start", session.session_id)
            file.close()


async def test_records_that_cannot_be_written_are_not_handed_over(radius, tmp_path, monkeypatch):
    async with memory_server(config(radius), {"radius": Radius()}, folder=tmp_path) as memory:
        await radius.until_accounted(ON)
        call = await memory.dial(settings=PAP)
        with monkeypatch.context() as full:
            full.setattr(SpoolFile, "write", lambda *_: raises(sqlite3.OperationalError("database or disk is full")))
            with pytest.raises(sqlite3.OperationalError), memory.authority.hooks.handed_over():
                pytest.fail("nobody may have the spool")
        await call.hang_up()
        await radius.until_accounted(ON, START, STOP)


def raises(error):
    raise error


async def test_accounting_goes_on_where_nobody_took_over(radius, tmp_path):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    coa = f'coa = {{ listen = "127.0.0.1:{port}", clients = [{{ address = "127.0.0.1", secret = "x" }}] }}'
    async with memory_server(config(radius) + coa, {"radius": Radius()}, folder=tmp_path) as memory:
        call = await memory.dial(settings=PAP)
        await radius.until_accounted(ON, START)
        with memory.authority.hooks.handed_over():
            SpoolFile(tmp_path / "accounting.sqlite").close()  # it can be had, and so can the port
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
                other.bind(("127.0.0.1", port))
        with pytest.raises(SpoolError, match="in use"):
            SpoolFile(tmp_path / "accounting.sqlite")
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other, pytest.raises(OSError, match="in use"):
            other.bind(("127.0.0.1", port))
        await call.hang_up()
        await radius.until_accounted(ON, START, STOP)


async def test_a_check_beside_a_server_that_runs_takes_and_sends_nothing(radius, tmp_path):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as taken:
        taken.bind(("127.0.0.1", 0))
        coa = f"""
[plugins.radius.coa]
listen = "127.0.0.1:{taken.getsockname()[1]}"
clients = [{{ address = "127.0.0.1", secret = "file:secret" }}]
"""
        spool = SpoolFile(tmp_path / "accounting.sqlite")
        text = config(radius) + coa
        server = replace(Config.parse(text, folder=tmp_path).server_info(), rehearsal=True)
        settings = Config.parse(text)
        async with load({"radius": Radius()}, settings).lifespan(settings.plugins, server):
            await wait_all_tasks_blocked()
        spool.close()
    assert radius.requests == []
