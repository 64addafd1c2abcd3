"""The plugin takes another ``coa`` table and other keys for accounting while it runs, or nothing of them."""

import socket
from ipaddress import IPv4Address

import pytest
import trio
from peer import attributes
from radius_sessions import FakeSession, FakeSessions

from poptrio.api import AccountingKind, AccountingRecord, CauseOfEnd, ConfigError, ServerInfo
from poptrio_radius.accounting import AccountingSettings, StartWatch, open_accounting
from poptrio_radius.attributes import Attributes
from poptrio_radius.packets import Code, Request, verify_reply
from poptrio_radius.plugin import FIXED, Radius

SECRET = b"testing123"
SERVERS = [{"address": "127.0.0.1", "secret": "nobody asks"}]


def free_port():
    with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as probe:
        probe.bind(("::", 0))
        return probe.getsockname()[1]


def info(tmp_path, *sessions):
    return ServerInfo(
        folder=tmp_path, name="poptrio", address=IPv4Address("10.90.0.1"), pool=(), sessions=FakeSessions(*sessions)
    )


def table(coa=None, **keys):
    config = {"servers": SERVERS, "accounting": False, "status_server": False} | keys
    return config if coa is None else config | {"coa": coa}


def coa_at(port, host="127.0.0.1", secret="testing123", **keys):
    return {"listen": f"{host}:{port}", "clients": [{"address": "127.0.0.1", "secret": secret}]} | keys


async def disconnect(port, session, secret=SECRET):
    """Whether a Disconnect-Request to loopback ends the session; a port where nobody listens says so at once."""
    request = Request(Code.DISCONNECT_REQUEST, attributes(User_Name="anna")).encode(len(session.ended), secret)
    with trio.socket.socket(trio.socket.AF_INET, trio.socket.SOCK_DGRAM) as udp:
        await udp.connect(("127.0.0.1", port))
        await udp.send(request)
        try:
            answer = await udp.recv(4096)
        except ConnectionRefusedError:
            return False
    before = len(session.ended)
    assert verify_reply(answer, request, secret).code == Code.DISCONNECT_ACK
    return before > 0


class TestCoa:
    async def test_the_table_comes_changes_and_goes(self, tmp_path):
        radius, session, port = Radius(), FakeSession(), free_port()
        server = info(tmp_path, session)

        def reload(coa):
            radius.poptrio_reload(table(coa), server).commit()

        with trio.fail_after(5):
            async with radius.poptrio_lifespan(table(), server):
                assert not await disconnect(port, session)
                reload(coa_at(port))
                assert await disconnect(port, session)
                reload(coa_at(port, host="0.0.0.0", secret="another one"))  # beside the socket that it replaces
                assert await disconnect(port, session, b"another one")
                other = free_port()
                reload(coa_at(other))
                assert not await disconnect(port, session)
                assert await disconnect(other, session)
                reload(None)
                assert not await disconnect(other, session)
                assert len(session.ended) == 3
                (told,) = [one for one in radius.poptrio_measurements() if one.metric.name == "dynamic_authorizations"]
                assert told.value == 3

    async def test_an_unlisted_client_is_not_obeyed_any_more(self, tmp_path):
        radius, session, port = Radius(), FakeSession(), free_port()
        server = info(tmp_path, session)
        async with radius.poptrio_lifespan(table(coa_at(port)), server):
            other = coa_at(port, clients=[{"address": "192.0.2.9", "secret": "testing123"}])
            radius.poptrio_reload(table(other), server).commit()
            request = Request(Code.DISCONNECT_REQUEST, attributes(User_Name="anna")).encode(1, SECRET)
            assert radius._coa.server.answer(request, IPv4Address("127.0.0.1")) is None
            assert radius._coa.server.answer(request, IPv4Address("192.0.2.9")) is not None

    @pytest.mark.parametrize(
        ("bad", "key"),
        [
            ({"listen": "203.0.113.77:3799"}, "plugins.radius.coa.listen"),
            ({"clients": [{"address": "127.0.0.1", "secret": "file:missing"}]}, "plugins.radius.coa.clients"),
            ({"clients": []}, "plugins.radius.coa.clients"),
            ({"windw": 3}, "plugins.radius.coa.windw"),
        ],
    )
    async def test_a_bad_setting_is_named_and_nothing_is_changed(self, tmp_path, bad, key):
        radius, session, port = Radius(), FakeSession(), free_port()
        server = info(tmp_path, session)
        with trio.fail_after(5):
            async with radius.poptrio_lifespan(table(coa_at(port)), server):
                with pytest.raises(ConfigError) as refused:
                    radius.poptrio_reload(table(coa_at(free_port(), secret="new") | bad), server)
                assert key in str(refused.value)
                assert await disconnect(port, session)

    async def test_what_is_refused_elsewhere_leaves_the_port_to_others(self, tmp_path):
        radius, session, port, other = Radius(), FakeSession(), free_port(), free_port()
        server = info(tmp_path, session)
        with trio.fail_after(5):
            async with radius.poptrio_lifespan(table(coa_at(port)), server):
                radius.poptrio_reload(table(coa_at(other)), server).undo()
                with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as free:
                    free.bind(("127.0.0.1", other))
                radius.poptrio_reload(table(coa_at(port, host="0.0.0.0")), server).undo()
                assert await disconnect(port, session)
                with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as thief:
                    thief.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                    with pytest.raises(OSError, match="in use"):
                        thief.bind(("0.0.0.0", port))


class Watch(StartWatch):
    """``ended`` are the sessions that were ended, and when."""

    def __init__(self):
        self.ended = []
        self.begun = trio.current_time()
        super().__init__(30.0, self.end)

    def end(self, session_id):
        self.ended.append((session_id, round(trio.current_time() - self.begun, 3)))


class TestStartWatch:
    @pytest.fixture
    async def watch(self, nursery):
        watch = Watch()
        nursery.start_soon(watch.run)
        return watch

    async def test_each_has_its_time(self, watch, autojump_clock):
        watch.expect("a")
        await trio.sleep(10)
        watch.expect("b")
        watch.expect("c")
        await trio.sleep(10)
        watch.forget("b")
        await trio.sleep(100)
        watch.expect("d")
        await trio.sleep(100)
        assert watch.ended == [("a", 30), ("c", 40), ("d", 150)]

    @pytest.mark.parametrize(("seconds", "when"), [(5.0, 10), (20.0, 20), (60.0, 60)])
    async def test_another_time_counts_for_those_that_are_waited_for(self, watch, seconds, when, autojump_clock):
        watch.expect("a")
        await trio.sleep(10)
        watch.wait_for(seconds)
        await trio.sleep(100)
        assert watch.ended == [("a", when)]


class Accountant:
    """Accounting whose servers are silent unless ``up``."""

    def __init__(self, path, *sessions, **settings):
        self.settings = {"spool": path / "spool.sqlite", "limit": 100, "farewell": 0.5} | settings
        self.sessions = FakeSessions(*sessions)
        self.up = False
        self.sent = []
        self.writes = 0

    def opened(self):
        return open_accounting(
            AccountingSettings(**self.settings), self.send, lambda call: Attributes(), Attributes(), self.sessions,
            write=self.write,
        )  # fmt: skip

    async def send(self, request):
        await trio.sleep(0.01)
        if self.up:
            self.sent.append(request.attributes.number("Acct-Status-Type"))
        return self.up

    async def write(self, write, batch):
        await trio.lowlevel.checkpoint()
        self.writes += len(batch.sessions)
        write(batch)

    def configure(self, accounting, **settings):
        accounting.configure(AccountingSettings(**self.settings | settings))


def record(session, kind=AccountingKind.START):
    return AccountingRecord(
        kind=kind,
        call=session.call,
        accept=session.accept,
        address=session.address,
        timestamp=session.call.started,
        seconds=session.seconds,
        traffic=session.traffic,
        cause=CauseOfEnd.CLIENT_HUNG_UP if kind is AccountingKind.STOP else None,
    )


class TestAccounting:
    async def test_whether_a_call_is_ended_counts_for_starts_from_then_on(self, tmp_path, autojump_clock):
        calls = [FakeSession(session_id=name) for name in "abcd"]
        accountant = Accountant(tmp_path, *calls, failure_timeout=30.0)
        async with accountant.opened() as accounting:
            accounting.take(record(calls[0]))
            accountant.configure(accounting, failure="end-call", failure_timeout=5.0)
            accounting.take(record(calls[1]))
            await trio.sleep(60)
            accounting.take(record(calls[2]))
            accountant.configure(accounting, failure="ignore")
            accounting.take(record(calls[3]))
            await trio.sleep(60)
        assert [len(call.ended) for call in calls] == [0, 1, 0, 0]

    async def test_counters_are_noted_at_the_new_interval(self, tmp_path, autojump_clock):
        call = FakeSession()
        accountant = Accountant(tmp_path, call, note_interval=1000.0)
        async with accountant.opened() as accounting:
            await accounting.account(record(call))
            await trio.sleep(500)
            before = accountant.writes
            accountant.configure(accounting, note_interval=10.0)
            await trio.sleep(105)
            assert accountant.writes - before == 10

    async def test_a_smaller_spool_gives_interims_up_at_once(self, tmp_path, autojump_clock):
        calls = [FakeSession(session_id=str(number)) for number in range(10)]
        accountant = Accountant(tmp_path, *calls)
        async with accountant.opened() as accounting:
            for call in calls:
                await accounting.account(record(call, AccountingKind.INTERIM))
            accountant.configure(accounting, limit=4)
            assert (len(accounting.spool.backlog), accounting.spool.limit) == (4, 4)
            assert accounting.spool.dropped == 6
            accountant.configure(accounting, limit=100)
            for call in calls[:6]:
                await accounting.account(record(call, AccountingKind.START))
            assert len(accounting.spool.backlog) == 10

    async def test_the_farewell_is_the_new_one(self, tmp_path, autojump_clock):
        accountant = Accountant(tmp_path, on_off=False)
        async with accountant.opened() as accounting:
            await accounting.account(record(FakeSession()))
            accountant.configure(accounting, farewell=7.0, on_off=True)
            begun = trio.current_time()
        assert trio.current_time() - begun == pytest.approx(7.0)

    async def test_accounting_off_is_sent_as_configured_last(self, tmp_path, autojump_clock):
        accountant = Accountant(tmp_path, on_off=True)
        accountant.up = True
        async with accountant.opened() as accounting:
            await trio.sleep(1)
            accountant.configure(accounting, on_off=False)
        assert accountant.sent == [7]


async def test_the_plugin_hands_on_what_can_change_and_names_the_rest(tmp_path):
    radius, server = Radius(), info(tmp_path)
    begin = table(accounting=True, spool="one.sqlite", accounting_on_off=False, accounting_farewell=0.01)
    async with radius.poptrio_lifespan(begin, server):
        new = begin | {
            "spool": "two.sqlite", "spool_max": 7, "spool_note_interval": 8.0, "accounting_failure": "end-call",
            "accounting_failure_timeout": 9.0,
        }  # fmt: skip
        servers = radius.servers
        reload = radius.poptrio_reload(new, server)
        assert radius._accounting.settings.limit == 100_000
        reload.commit()
        settings = radius._accounting.settings
        assert (settings.limit, settings.note_interval, settings.failure_timeout) == (7, 8.0, 9.0)
        assert (settings.failure, settings.spool) == ("end-call", tmp_path / "one.sqlite")
        assert radius.servers is servers
        radius.poptrio_reload(new | {"min_interim_interval": 5.0}, server).commit()
        assert radius.servers is not servers
        assert reload.restart == FIXED == ("accounting", "spool", "nas_identifier", "nas_ip_address")
