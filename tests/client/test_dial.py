"""Our own client against our own server in memory: each step passes or fails in its own words."""

from dataclasses import replace
from ipaddress import IPv4Address, IPv4Network

import pytest
import trio
from structlog.testing import capture_logs
from trio.testing import memory_stream_pair

from poptrio.calls import AddressLease
from poptrio.client.call import GOODBYE_WAIT, INTERRUPTED
from poptrio.client.dial import DialSettings, dial, hold_call
from poptrio.client.steps import DialOutcome, Step
from poptrio.client.tcp import Line
from poptrio.datapath.memory import MemoryNetwork
from poptrio.decisions import Reject
from poptrio.errors import NoAddress
from poptrio.hookspecs import hookimpl
from poptrio.protocols.gre import call_id_of
from poptrio.protocols.ppp.authenticator import Credentials
from poptrio.protocols.ppp.ccp import EncryptionPolicy
from poptrio.protocols.ppp.control_protocol import NegotiationSettings
from poptrio.protocols.ppp.lcp import AuthProtocol
from poptrio.protocols.ppp.session_events import SessionSettings
from poptrio.protocols.pptp.messages import StartControlConnectionReply
from poptrio.testing.inner_packets import ipv4_packet
from poptrio.testing.line import MemoryLine
from poptrio.testing.server import CLIENT_ADDRESS, SERVER_ADDRESS, memory_server


class Report(list):
    """What `dial` reports."""

    def passed(self):
        return [report.step for report in self if report.passed]

    def failure(self):
        (failed,) = [report for report in self if not report.passed]
        assert failed is self[-1]
        return failed


@pytest.fixture
def report():
    return Report()


def settings(password="correct horse", **session):
    return DialSettings(
        host="vpn.example.org",
        credentials=Credentials("alice", password),
        session=SessionSettings(establish_timeout=20.0, **session),
    )


async def hold_over(stream, datapath, report, dial_settings, hold, stop=None):
    line = Line(stream, CLIENT_ADDRESS, SERVER_ADDRESS, 1723, trio.current_time())
    return await hold_call(dial_settings, report.append, line, datapath, hold, stop)


async def dial_in_memory(memory, report, hold=None, **kwargs):
    """Dial the server in ``memory`` instead of one behind sockets."""
    ours, theirs = memory_stream_pair()
    await memory._listener.connected.send(MemoryLine(theirs, CLIENT_ADDRESS, SERVER_ADDRESS))
    async with ours:
        return await hold_over(ours, memory.network.client(), report, settings(**kwargs), hold)


class Blocked:
    """A link through which GRE goes in one direction at most."""

    def __init__(self, *, to_server=False, to_client=False):
        self.open = {True: to_server, False: to_client}

    def delays(self, packet, *, to_server):
        assert call_id_of(packet, 0)
        return (0.0,) if self.open[to_server] else ()


async def test_all_steps_pass_and_packets_cross(report, autojump_clock):
    async def hold(tunnel):
        (ours,) = memory.server.registry.calls.values()
        tunnel.path.inject(ipv4_packet(tunnel.address, tunnel.server_address, b"ping"))
        await trio.sleep(5)
        assert len(ours.path.delivered) == 1
        assert (str(tunnel.address), tunnel.mtu) == ("10.90.0.2", 1396)

    async with memory_server() as memory:
        outcome = await dial_in_memory(memory, report, hold)
        assert (outcome.reached, outcome.why) == (True, "hung up")
        assert report.passed() == list(Step)
        assert all(step.seconds == 0 for step in report)
        await trio.sleep(1)
        assert memory.leftovers() == []


async def stay(tunnel):
    await trio.sleep_forever()


async def test_a_probe_hangs_up_at_once(report, autojump_clock):
    async with memory_server() as memory:
        outcome = await dial_in_memory(memory, report)
        assert outcome.reached
        assert trio.current_time() == 0


async def test_the_server_ends_a_call_that_is_up(report, autojump_clock):
    async with memory_server("[ppp]\nsession_timeout = 60.0") as memory:
        outcome = await dial_in_memory(memory, report, stay)
        why = "the server ended the call: session-timeout: the session timeout was reached"
        assert (outcome.reached, outcome.why) == (True, why)
        assert trio.current_time() == 60


async def test_tcp_closed_while_the_call_is_up(report, autojump_clock):
    async with memory_server() as memory:

        async def hold(tunnel):
            memory.scope.cancel()
            await trio.sleep_forever()

        outcome = await dial_in_memory(memory, report, hold)
        assert outcome.reached
        assert trio.current_time() < 10


FAILURES = {
    "refused": (
        "[server]\nmax_calls = 1",
        {},
        Step.CONTROL,
        "the server refuses the call: general-error (2), no-resource (4)",
    ),
    "wrong password": (
        "",
        {"password": "wrong"},
        Step.AUTHENTICATION,
        "the server refuses user name or password: E=691",
    ),
    "no common authentication": (
        '[ppp]\nauthentication = ["chap-md5"]\nencryption = "refuse"',
        {},
        Step.LCP,
        "the server ended the call: authentication-not-agreed: the client accepts none of the configured",
    ),
    "no encryption": (
        '[ppp]\nencryption = "refuse"',
        {},
        Step.ENCRYPTION,
        "client and server could not agree on MPPE",
    ),
    "other bits": (
        "[ppp]\nencryption_bits = [40]",
        {},
        Step.ENCRYPTION,
        "client and server could not agree on MPPE",
    ),
}


@pytest.mark.parametrize("name", FAILURES)
async def test_each_step_fails_in_its_own_words(name, report, autojump_clock):
    config, changes, step, why = FAILURES[name]
    async with memory_server(config) as memory:
        if name == "refused":
            assert (await memory.dial()).address is not None
        outcome = await dial_in_memory(memory, report, **changes)
        failed = report.failure()
        assert failed.step is step
        assert failed.detail.startswith(why)
        assert (outcome.reached, outcome.why) == (False, failed.detail)
        assert report.passed() == list(Step)[: list(Step).index(step)]
        await trio.sleep(1)


class NoAddresses:
    """A pool that is empty, once somebody has waited for encryption."""

    @hookimpl
    async def poptrio_allocate_address(self):
        await trio.sleep(0.5)
        raise NoAddress("all gone")


async def test_no_address(report, autojump_clock):
    async with memory_server(plugins=[NoAddresses()]) as memory:
        await dial_in_memory(memory, report)
        assert report.failure().step is Step.ADDRESSES
        assert report.failure().seconds == 0.5
        assert report.failure().detail.startswith("the server ended the call: address-unavailable")


class FullPool:
    @hookimpl
    async def poptrio_allocate_address(self):
        raise NoAddress("all gone")


async def test_a_full_pool_is_no_matter_of_encryption(report, autojump_clock):
    """Whatever was not negotiated when the server hung up: its Call-Disconnect-Notify says what was wrong."""
    async with memory_server(plugins=[FullPool()]) as memory:
        await dial_in_memory(memory, report)
        assert report.failure().step is Step.ADDRESSES
        assert report.failure().detail.startswith("the server ended the call: address-unavailable")


@pytest.mark.parametrize(
    ("code", "why"),
    [
        (646, "the server refuses this user at this time of day: E=646"),
        (647, "the server says that the account is disabled: E=647"),
        (648, "the server says that the password has expired: E=648"),
        (649, "the server does not permit this user to dial in: E=649"),
        (691, "the server refuses user name or password: E=691"),
        (709, "the server could not change the password: E=709"),
        (12345, "authentication failed: E=12345"),
    ],
)
async def test_every_number_of_a_refusal_in_its_own_words(code, why, report, autojump_clock):
    class Refuses:
        @hookimpl
        async def poptrio_authenticate(self):
            return Reject(reason="no", code=code)

    async with memory_server(plugins=[Refuses()]) as memory:
        await dial_in_memory(memory, report)
        assert report.failure().step is Step.AUTHENTICATION
        assert report.failure().detail.startswith(why)


class RefusingPath:
    """A data path whose kernel refuses the address or a route."""

    def __init__(self, datapath):
        self._datapath = datapath

    def open_call(self, endpoint, owner):
        self._path = self._datapath.open_call(endpoint, owner)
        self._owner = owner
        return self

    def __getattr__(self, name):
        return getattr(self._path, name)

    def open_network(self, network):
        self._owner.path_failed("poptrio-dial: route 10.90.0.1/32 was refused")


async def test_a_route_that_the_kernel_refuses_fails_once_and_hangs_up(report, autojump_clock):
    async with memory_server() as memory:
        ours, theirs = memory_stream_pair()
        await memory._listener.connected.send(MemoryLine(theirs, CLIENT_ADDRESS, SERVER_ADDRESS))
        async with ours:
            datapath = RefusingPath(memory.network.client())
            outcome = await hold_over(ours, datapath, report, settings(), stay)
        assert outcome == DialOutcome(False, "poptrio-dial: route 10.90.0.1/32 was refused")
        assert report.failure().step is Step.ADDRESSES
        assert report.passed() == list(Step)[:-1]
        await trio.sleep(1)
        assert memory.leftovers() == []


async def test_a_route_around_the_server_is_refused(report, autojump_clock):
    async with memory_server() as memory:
        ours, theirs = memory_stream_pair()
        await memory._listener.connected.send(MemoryLine(theirs, CLIENT_ADDRESS, SERVER_ADDRESS))
        around = replace(settings(), routes=(IPv4Network("192.0.2.0/24"),))
        async with ours:
            outcome = await hold_over(ours, memory.network.client(), report, around, stay)
        assert not outcome.reached
        assert report.failure().step is Step.ADDRESSES
        assert "the route 192.0.2.0/24 holds 192.0.2.1, the server itself" in outcome.why


@pytest.mark.parametrize(("after", "outcome"), [(5.0, (True, "hung up")), (0.2, (False, INTERRUPTED))])
async def test_it_hangs_up_when_it_is_told_to(after, outcome, report, log_of_ends, autojump_clock):
    class Slow:
        @hookimpl
        async def poptrio_allocate_address(self):
            await trio.sleep(1.0)
            return AddressLease(IPv4Address("10.90.0.9"), "alice", lambda: None)

    stop = trio.Event()
    async with memory_server(plugins=[Slow()]) as memory:
        ours, theirs = memory_stream_pair()
        await memory._listener.connected.send(MemoryLine(theirs, CLIENT_ADDRESS, SERVER_ADDRESS))
        async with trio.open_nursery() as nursery, ours:

            @nursery.start_soon
            async def tell():
                await trio.sleep(after)
                stop.set()

            ended = await hold_over(ours, memory.network.client(), report, settings(), stay, stop)
        assert (ended.reached, ended.why) == outcome
        assert all(step.passed for step in report)
        assert trio.current_time() <= after + GOODBYE_WAIT
        await trio.sleep(2)
        assert memory.leftovers() == []
    assert "the client hung up" in log_of_ends()[0]


async def test_interrupted_while_tcp_connects(report, autojump_clock, monkeypatch):
    async def connects(*args, **kwargs):
        await trio.sleep_forever()

    monkeypatch.setattr(trio, "open_tcp_stream", connects)
    stop = trio.Event()
    stop.set()
    outcome = await dial(settings(), report.append, stop=stop)
    assert outcome == DialOutcome(False, INTERRUPTED)
    assert report == []


async def test_an_address_of_ipv6_is_not_connected_to(report):
    outcome = await dial(replace(settings(), host="::1"), report.append)
    assert report.failure().step is Step.TCP
    assert not outcome.reached


async def test_no_gre_at_all(report, autojump_clock):
    async with memory_server(link=Blocked()) as memory:
        outcome = await dial_in_memory(memory, report)
        assert report.failure().step is Step.GRE
        assert outcome.why == (
            "no GRE packet came from 192.0.2.1: protocol 47 is blocked, or a firewall lacks its PPTP helper"
        )
        assert report.failure().seconds <= 20


async def test_gre_only_from_the_server(report, log_of_ends, autojump_clock):
    async with memory_server("[server]\ncall_timeout = 60.0", link=Blocked(to_client=True)) as memory:
        outcome = await dial_in_memory(memory, report)
        assert report.failure().step is Step.GRE
        assert outcome.why.startswith("GRE packets come from 192.0.2.1, but it acknowledges none of ours")
        await trio.sleep(60)
    assert "no GRE packet ever arrived from 203.0.113.9" in log_of_ends()[0]


async def test_gre_only_from_the_client(report, log_of_ends, autojump_clock):
    config = "[ppp]\nmax_configure = 3"
    async with memory_server(config, link=Blocked(to_server=True)) as memory:
        outcome = await dial_in_memory(memory, report)
        assert report.failure().step is Step.GRE
        assert outcome.why.startswith(("no GRE packet came", "the server ended the call: lcp-timeout"))
        await trio.sleep(60)
    assert "it acknowledges none of the" in log_of_ends()[0]


@pytest.fixture
def log_of_ends():
    with capture_logs() as entries:
        yield lambda: [entry["why"] for entry in entries if entry["event"] == "call ended"]


async def test_a_failed_step_is_reported_when_it_fails_not_after_the_goodbye(report, autojump_clock):
    link = Blocked(to_server=True, to_client=True)

    class CutsTheLine:
        @hookimpl
        async def poptrio_authenticate(self):
            link.open = dict.fromkeys(link.open, False)
            await trio.sleep_forever()

    config = "[authentication]\ntimeout = 60.0"
    async with memory_server(config, link=link, plugins=[CutsTheLine()]) as memory:
        outcome = await dial_in_memory(memory, report)
        assert not outcome.reached
        assert report.failure().step is Step.AUTHENTICATION
        assert report.failure().seconds + 1 <= trio.current_time()  # it has waited for a Terminate-Ack


async def scripted(report, *answers, close=False, dial_settings=None):
    """Dial a server that says ``answers`` whatever it is asked, then nothing, or closes."""
    ours, theirs = memory_stream_pair()

    async def serve():
        await theirs.receive_some()
        for answer in answers:
            await theirs.send_all(answer)
        if close:
            await theirs.aclose()

    async with trio.open_nursery() as nursery, ours:
        nursery.start_soon(serve)
        return await hold_over(ours, MemoryNetwork().client(), report, dial_settings or settings(), None)


def start_reply(**changes):
    fields = {
        "result_code": 1,
        "error_code": 0,
        "framing_capabilities": 3,
        "bearer_capabilities": 3,
        "maximum_channels": 0,
        "firmware_revision": 1,
        "host_name": "",
        "vendor_name": "",
    }
    return StartControlConnectionReply(**(fields | changes)).encode()


@pytest.mark.parametrize(
    ("answers", "close", "why", "seconds"),
    [
        ([], False, "the server did not start the control connection in time", 10),
        ([], True, "the server closed TCP before the control connection was established", 0),
        ([b"HTTP/1.1 400 Bad Request\r\n\r\n"], False, "the server broke the protocol: Magic Cookie is", 0),
        ([start_reply(result_code=4)], False, "the server refuses control connections: not-authorized (4)", 0),
        ([start_reply()], False, "the server did not answer within 15 s", 17),  # and no Stop-Control-Connection-Reply
        ([start_reply()], True, "the server closed TCP without a goodbye", 0),
    ],
)
async def test_the_control_connection_fails(answers, close, why, seconds, report, autojump_clock):
    outcome = await scripted(report, *answers, close=close)
    assert not outcome.reached
    assert outcome.why.startswith(why)
    assert (report.failure().step, report.failure().seconds) == (Step.CONTROL, seconds)


async def test_nobody_listens(report):
    listener, *_ = await trio.open_tcp_listeners(0, host="127.0.0.1")
    port = listener.socket.getsockname()[1]
    await listener.aclose()
    outcome = await dial(DialSettings(host="127.0.0.1", port=port, credentials=Credentials("a", "b")), report.append)
    assert report.failure().step is Step.TCP
    assert outcome.why == f"127.0.0.1, TCP port {port}: connection refused, no PPTP server listens there"


async def test_an_unreachable_data_path_is_an_os_error(report, monkeypatch):
    async def run(self, task_status=trio.TASK_STATUS_IGNORED):
        raise PermissionError(1, "raw sockets need CAP_NET_RAW")

    monkeypatch.setattr("poptrio.client.dial.UserspaceDataPath.run", run)
    (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
    async with listener:
        port = listener.socket.getsockname()[1]
        with pytest.raises(PermissionError, match="CAP_NET_RAW"):
            await dial(DialSettings(host="127.0.0.1", port=port, credentials=Credentials("a", "b")), report.append)


def test_secrets_are_not_shown():
    assert "horse" not in repr(settings())


@pytest.mark.parametrize("protocol", ["mschap-v2", "mschap-v1", "chap-md5", "pap"])
async def test_every_authentication_protocol(protocol, report, autojump_clock):
    keys = protocol.startswith("mschap")
    policy = EncryptionPolicy("prefer" if keys else "refuse")
    config = f'[ppp]\nauthentication = ["{protocol}"]\nencryption = "{policy.policy}"'
    kinds = (AuthProtocol.from_label(protocol),)
    async with memory_server(config) as memory:
        outcome = await dial_in_memory(memory, report, authentication=kinds, encryption=policy)
        assert outcome.reached
        (encryption,) = [step.detail for step in report if step.step is Step.ENCRYPTION]
        assert encryption == ("MPPE-128 stateless" if keys else "none")


async def test_the_terms_of_a_client_that_repeats_quickly(report, autojump_clock):
    fast = NegotiationSettings(restart_interval=0.5, max_configure=2)
    async with memory_server(link=Blocked()) as memory:
        await dial_in_memory(memory, report, negotiation=fast)
        assert report.failure().seconds <= 2
