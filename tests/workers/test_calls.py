"""Calls of two workers under one parent: limits, questions, sessions and accounting are those of one server."""

from ipaddress import IPv4Address

import pytest
import trio
from worker_backend import Backend, is_up, settle

from poptrio.api import Accept, Challenge, Quota, Reject, SessionChange, hookimpl
from poptrio.protocols.ppp.ccp import EncryptionPolicy
from poptrio.protocols.ppp.lcp import AuthProtocol
from poptrio.protocols.ppp.session_events import SessionSettings
from poptrio.workers.worker import REPORT_INTERVAL

OTHER = IPv4Address("203.0.113.10")


@pytest.fixture
def backend():
    return Backend()


async def test_calls_of_both_workers_are_up_and_accounted_and_leave_nothing(fleet, backend, autojump_clock):
    async with fleet("", [backend]) as workers:
        calls = [await workers.dial(number, user) for number, user in enumerate(("alice", "bob"))]
        await settle()
        assert [call.connected.peer_call_id % 2 for call in calls] == [0, 1]
        assert [session.accept.user for session in backend.sessions] == ["alice", "bob"]
        assert [session.address for session in backend.sessions] == [call.address for call in calls]
        assert len({call.address for call in calls}) == 2
        (start, _) = backend.of("start")
        assert (start.protocol, start.encryption) == ("mschap-v2", "MPPE-128 stateless")
        assert start.authenticated_by == "backend"
        for call in calls:
            await call.hang_up()
            await call.client.close()
        await settle()
        assert [record.cause.label for record in backend.of("stop")] == ["client-hung-up"] * 2
        assert workers.leftovers() == []
        assert workers.parent.stats.up == 2


async def test_the_journal_of_the_parent_hears_of_calls_of_all_workers(fleet, backend, autojump_clock):
    async with fleet("", [backend]) as workers:
        journal = workers.parent.authority.journal
        with journal.listener() as listener:
            up = await workers.dial(0)
            await workers.dial(1, "bob", "wrong")
            await settle()
            assert [call.steps.keys() for call in workers.parent.calls() if call.up_since is not None] == [
                {"lcp", "authentication", "encryption", "network"}
            ]
            await up.hang_up()
            await settle()
            heard = [await listener.next() for _ in range(5)]
        told = {(event.happening.value, event.seen_as) for event in heard}
        assert {("call-up", "alice"), ("call-down", "alice"), ("call-failed", "bob")} <= told
        assert [event.happening.value for event in heard].count("call-starting") == 2
        (failure,) = journal.failures
        assert (failure.cause.label, failure.seen_as) == ("authentication-failed", "bob")
        assert "bob" in failure.why


async def test_a_user_has_as_many_sessions_as_are_allowed_over_all_workers(fleet, backend, autojump_clock):
    async with fleet("[sessions]\nlimit = 1", [backend]) as workers:
        first = await workers.dial(0)
        second = await workers.dial(1)
        assert is_up(first)
        assert not is_up(second)
        await first.hang_up()
        await settle()
        assert is_up(await workers.dial(1))


async def test_a_newer_call_of_another_worker_replaces_the_older(fleet, backend, autojump_clock):
    async with fleet('[sessions]\nlimit = 1\nat_limit = "replace"', [backend]) as workers:
        first, second = await workers.dial(0), await workers.dial(1)
        await settle()
        assert is_up(second)
        assert second.address == first.address  # it was free in time
        assert [record.cause.label for record in backend.of("stop")] == ["replaced"]


async def test_too_many_calls_of_one_address(fleet, backend, log, autojump_clock):
    async with fleet("[server]\nmax_calls_per_address = 1", [backend]) as workers:
        assert is_up(await workers.dial(0))
        refused = await workers.dial(1)
        await settle()
        assert not is_up(refused)
        assert "1 calls from this address" in log.named("call refused")[0]["why"]
        assert len(backend.records) == 1
        assert is_up(await workers.dial(1, peer=OTHER))
        await trio.sleep(REPORT_INTERVAL)
        await settle()
        assert workers.parent.stats.refused == 1


async def test_too_many_strangers_of_all_workers(fleet, backend, log, autojump_clock):
    async with fleet("[server]\nmax_unauthenticated = 2", [backend]) as workers:
        clients = []
        for number in (0, 1, 1):
            clients.append(await workers.sides[number].memory.connect())
            await settle()
        assert [len(side.worker.server.connections) for side in workers.sides] == [1, 1]
        assert "2 unauthenticated connections" in log.named("connection refused")[0]["why"]
        for client in clients:
            await client.close()
        await settle()
        assert workers.leftovers() == []


class Doorman(Backend):
    @hookimpl
    def poptrio_admit(self, peer):
        return "not from there" if peer == OTHER else None


async def test_plugins_are_asked_before_a_connection_is_read(fleet, log, autojump_clock):
    async with fleet("", [Doorman()]) as workers:
        assert is_up(await workers.dial(0))
        await workers.sides[1].memory.connect(OTHER)
        await settle()
        assert not workers.sides[1].worker.server.connections
        assert log.named("connection refused")[0]["why"] == "not from there"


async def test_failures_at_one_worker_delay_attempts_at_another(fleet, backend, autojump_clock):
    async with fleet("[authentication]\nfailure_delay = 4.0", [backend]) as workers:
        assert not is_up(await workers.dial(0, password="wrong"))
        begun = trio.current_time()
        assert is_up(await workers.dial(1))
        assert trio.current_time() - begun >= 4.0


async def test_a_plugin_ends_and_changes_calls_of_workers(fleet, backend, autojump_clock):
    async with fleet("", [backend]) as workers:
        ended, changed = await workers.dial(0, "alice"), await workers.dial(1, "bob")
        await settle()
        of_alice, of_bob = backend.sessions
        of_alice.end(reason="told so")
        of_bob.change(SessionChange(session_timeout=20.0, quota=Quota(total=10_000)))
        with pytest.raises(ValueError, match="ending"):
            of_alice.change(SessionChange(idle_timeout=1.0))
        await settle()
        assert not is_up(ended)
        assert backend.of("stop")[0].cause.label == "admin-reset"
        assert is_up(changed)
        await trio.sleep(30)
        assert not is_up(changed)
        stop = backend.of("stop")[1]
        assert (stop.cause.label, stop.accept.quota) == ("session-timeout", Quota(total=10_000))


async def test_interim_records(fleet, autojump_clock):
    backend = Backend(interim_interval=60.0)
    async with fleet("[accounting]\ninterim_jitter = 0.0", [backend]) as workers:
        await workers.dial(0)
        await trio.sleep(130)
        assert [round(record.seconds) for record in backend.of("interim")] == [60, 120]


async def test_a_client_that_gives_up_ends_the_question_to_the_plugin(fleet, backend, autojump_clock):
    backend.pause = 8.0
    async with fleet("", [backend]) as workers:
        client = await workers.sides[0].memory.connect()
        await client.start()
        await client.request_call("alice", "correct horse")
        await trio.sleep(1.0)
        await client.close()
        await settle()
        assert backend.cancelled == 1
        assert workers.leftovers() == []


class Unspeakable:
    """What no pickle can carry."""

    def __reduce__(self):
        raise TypeError("not to be sent")


class Talker(Backend):
    """Wants a second password, and remembers something that cannot leave its process."""

    @hookimpl
    async def poptrio_authenticate(self, request):
        if isinstance(request.context, Unspeakable):
            return Accept(user=request.username, context=request.context)
        return Challenge(message="the second one", context=Unspeakable())


async def test_what_a_plugin_remembers_stays_with_the_parent(fleet, autojump_clock):
    config = '[ppp]\nauthentication = ["pap"]\nencryption = "refuse"'
    talker = Talker()
    settings = SessionSettings(authentication=(AuthProtocol.PAP,), encryption=EncryptionPolicy("refuse"))
    async with fleet(config, [talker]) as workers:
        call = await workers.dial(0, settings=settings, further_passwords=("two",))
        await settle()
        assert is_up(call)
        (session,) = talker.sessions
        assert isinstance(session.accept.context, Unspeakable)
        session.change(SessionChange(idle_timeout=900.0))
        await settle()
        assert is_up(call)
        (ours,) = workers.sides[0].worker.server.registry.calls.values()
        assert ours.accept.idle_timeout == 900.0


class SlowPool(Backend):
    @hookimpl
    async def poptrio_allocate_address(self, call, user):
        await trio.sleep(2.0)


async def test_an_address_that_takes_time_does_not_keep_a_client_from_hearing_of_its_success(fleet, autojump_clock):
    async with fleet("", {"slow": SlowPool(), "ip-pool": "ip-pool"}) as workers:
        call = await workers.dial(1)
        assert is_up(call)
        (ours,) = workers.sides[1].worker.server.registry.calls.values()
        assert ours.steps["authentication"] < 1.0 < ours.steps["network"]


async def test_no_address(fleet, backend, autojump_clock):
    async with fleet('[addresses]\npool = ["10.90.0.2"]', [backend]) as workers:
        assert is_up(await workers.dial(0, "alice"))
        assert not is_up(await workers.dial(1, "bob"))
        await settle()
        assert len(backend.of("start")) == 1


class Refuses(Backend):
    @hookimpl
    async def poptrio_authenticate(self, request):
        return Reject(reason="no")


async def test_a_refusal(fleet, autojump_clock):
    async with fleet("", [Refuses()]) as workers:
        call = await workers.dial(0)
        assert not is_up(call)
        await call.client.close()
        await settle()
        assert workers.leftovers() == []


async def test_calls_of_a_lost_worker_are_accounted_and_give_everything_back(fleet, backend, log, autojump_clock):
    config = '[server]\nmax_calls_per_address = 2\n[addresses]\npool = ["10.90.0.2-10.90.0.3"]\n[sessions]\nlimit = 1'
    async with fleet(config, [backend]) as workers:
        lost, other = await workers.dial(0, "alice"), await workers.dial(1, "bob")
        client = await workers.sides[0].memory.connect()
        lost.send_ip(b"x" * 100)
        await trio.sleep(REPORT_INTERVAL + 1.0)
        workers.sides[0].kill()
        await settle()
        (stop,) = backend.of("stop")
        assert (stop.accept.user, stop.cause.label, stop.traffic.packets_in) == ("alice", "worker-lost", 1)
        assert workers.sides[0].lost == 1
        assert is_up(other)
        await workers.replace(0)
        (resting,) = [call_id for _, call_id in workers.sides[0].worker.server.registry.call_ids._resting]
        assert resting == lost.connected.peer_call_id
        again = await workers.dial(0, "alice")
        assert is_up(again)
        assert again.address == lost.address
        (line,) = [entry for entry in log.named("call ended") if entry["cause"] == "worker-lost"]
        assert (line["user"], line["address"], line["received"]) == ("alice", str(lost.address), "120 B")
        for call in (again, other):
            await call.hang_up()
            await call.client.close()
        await client.close()
        await settle()
        assert workers.leftovers() == []


async def test_a_worker_is_lost_while_a_plugin_is_asked(fleet, backend, autojump_clock):
    backend.pause = 8.0
    async with fleet("", [backend]) as workers:
        client = await workers.sides[0].memory.connect()
        await client.start()
        await client.request_call("alice", "correct horse")
        await trio.sleep(1.0)
        workers.sides[0].kill()
        await settle()
        assert backend.cancelled == 1
        assert backend.records == []
        await workers.replace(0)
        assert workers.leftovers() == []


async def test_a_stop_says_goodbye_and_accounts_for_everything(fleet, backend, log, autojump_clock):
    async with fleet("", [backend]) as workers:
        calls = [await workers.dial(number, user) for number, user in enumerate(("alice", "bob"))]
        await settle()
        workers.parent.stop()
        await settle()
        assert [call.over.is_set() for call in calls] == [True, True]
        assert [record.cause.label for record in backend.of("stop")] == ["server-shutdown"] * 2
        assert workers.parent.call_count == 0
    assert [entry["cause"] for entry in log.named("call ended")] == ["server-shutdown"] * 2


class NeverEnds(Backend):
    @hookimpl
    async def poptrio_account(self, record):
        self.records.append(record)
        await trio.sleep_forever()


async def test_a_second_stop_waits_for_nobody(fleet, autojump_clock):
    stubborn = NeverEnds()
    async with fleet("[accounting]\ntimeout = 1000.0\n[server]\ngrace = 100.0", [stubborn]) as workers:
        await workers.dial(0)
        await settle()
        begun = trio.current_time()
        workers.parent.stop()
        await settle()
        workers.parent.stop()
        await settle()
        assert [record.kind.value for record in stubborn.records] == ["start", "stop"]
        assert not list(stubborn.sessions)
        assert trio.current_time() - begun < 1.0


async def test_a_bug_in_what_is_told_costs_no_other_call_anything(fleet, backend, log, monkeypatch, autojump_clock):
    async with fleet("", [backend]) as workers:
        before = await workers.dial(0, "alice")
        with monkeypatch.context() as patch:
            patch.setattr(workers.authority, "came_up", None)
            await workers.dial(0, "bob")
        assert [entry["log_level"] for entry in log.named("internal error")] == ["error"]
        assert workers.parent.stats.internal_errors == 1
        assert is_up(before)
        assert is_up(await workers.dial(0, "carol"))


async def test_a_bug_in_a_question_ends_its_call_only(fleet, backend, log, monkeypatch, autojump_clock):
    async with fleet("", [backend]) as workers:
        before = await workers.dial(0, "alice")
        with monkeypatch.context() as patch:
            patch.setattr(workers.authority, "log_in", None)
            assert not is_up(await workers.dial(1, "bob"))
        await settle()
        assert log.named("internal error")
        assert is_up(before)
        assert is_up(await workers.dial(1, "bob"))
