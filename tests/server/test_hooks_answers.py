"""What the host makes of the answers of plugins about users and addresses: order, deadlines, failures, cancellation."""

import io
from ipaddress import IPv4Address

import pytest
import trio
from hook_plugins import ALICE, CALL, REQUEST, Allocator, Authenticator, addresses, authentication, lease
from structlog.testing import capture_logs

from poptrio.api import (
    AddressLease,
    CauseOfEnd,
    NoAddress,
    Reject,
    hookimpl,
)
from poptrio.server.hooks import Hooks


async def test_the_first_answer_counts_and_the_rest_is_not_asked():
    plugins = Authenticator(None), Authenticator(Reject(reason="no")), Authenticator(ALICE)
    answer = await authentication(*plugins).authenticate(CALL, REQUEST)
    assert answer.decision == Reject(reason="no")
    assert answer.plugin == "p1"
    assert answer.cause is CauseOfEnd.AUTHENTICATION_FAILED
    assert [plugin.asked for plugin in plugins] == [1, 1, 0]


async def test_an_accept_has_no_cause_of_end():
    answer = await authentication(Authenticator(ALICE)).authenticate(CALL, REQUEST)
    assert (answer.decision, answer.plugin, answer.cause) == (ALICE, "p0", None)


async def test_a_user_whom_nobody_knows_looks_like_a_wrong_password():
    answer = await authentication(Authenticator(), Authenticator()).authenticate(CALL, REQUEST)
    assert (answer.plugin, answer.cause) == ("", CauseOfEnd.AUTHENTICATION_FAILED)
    assert (answer.decision.code, answer.decision.message) == (691, "")
    assert answer.decision.reason == "no plugin knows the user 'alice'"


async def test_an_exception_refuses_and_no_other_plugin_is_asked():
    later = Authenticator(ALICE)
    with capture_logs() as logs:
        answer = await authentication(Authenticator(OSError("LDAP is down")), later).authenticate(CALL, REQUEST)
    assert isinstance(answer.decision, Reject)
    assert answer.cause is CauseOfEnd.AUTHENTICATION_UNAVAILABLE
    assert later.asked == 0
    assert [(entry["event"], entry["plugin"], entry["session"], entry["exc_info"]) for entry in logs] == [
        ("plugin failed", "p0", "s1", True)
    ]


class Stop(BaseException):
    """Neither an Exception nor one of Python's own."""


@pytest.mark.parametrize("raised", [SystemExit(1), GeneratorExit(), Stop(), BaseExceptionGroup("", [SystemExit(1)])])
async def test_a_plugin_cannot_stop_the_server(raised):
    with capture_logs() as logs:
        answer = await authentication(Authenticator(raised)).authenticate(CALL, REQUEST)
        assert isinstance(await addresses(Allocator(raised)).allocate_address(CALL, ALICE), NoAddress)
    assert answer.cause is CauseOfEnd.AUTHENTICATION_UNAVAILABLE
    assert [entry["event"] for entry in logs] == ["plugin failed"] * 2


@pytest.mark.parametrize("raised", [KeyboardInterrupt(), BaseExceptionGroup("", [KeyboardInterrupt(), Stop()])])
async def test_ctrl_c_goes_through_a_plugin(raised):
    with pytest.raises((KeyboardInterrupt, BaseExceptionGroup)) as caught:
        await authentication(Authenticator(raised)).authenticate(CALL, REQUEST)
    assert not isinstance(caught.value, BaseExceptionGroup) or caught.value.subgroup(Stop) is None


async def test_a_plugin_that_is_cancelled_while_its_own_tasks_fail(autojump_clock):
    class Forker:
        @hookimpl
        async def poptrio_authenticate(self):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self.fail)
                await trio.sleep_forever()

        async def fail(self):
            try:
                await trio.sleep_forever()
            finally:
                raise SystemExit(1)

    with trio.move_on_after(1) as scope:
        await authentication(Forker()).authenticate(CALL, REQUEST)
    assert scope.cancelled_caught


@pytest.mark.parametrize(
    ("code", "cause"),
    [
        (646, CauseOfEnd.RESTRICTED_HOURS),
        (647, CauseOfEnd.ACCOUNT_DISABLED),
        (648, CauseOfEnd.PASSWORD_EXPIRED),
        (649, CauseOfEnd.NO_DIAL_IN_PERMISSION),
        (691, CauseOfEnd.AUTHENTICATION_FAILED),
        (709, CauseOfEnd.CHANGING_PASSWORD_FAILED),
        (1, CauseOfEnd.AUTHENTICATION_FAILED),
    ],
)
async def test_the_code_of_a_reject_is_the_cause(code, cause):
    answer = await authentication(Authenticator(Reject(reason="so", code=code))).authenticate(CALL, REQUEST)
    assert answer.cause is cause
    assert code == 1 or cause.windows_errors == (code,)


@pytest.mark.parametrize("wrong", [True, "accept", lease(), NoAddress("x")])
async def test_an_answer_of_another_type_refuses(wrong):
    with capture_logs() as logs:
        answer = await authentication(Authenticator(wrong)).authenticate(CALL, REQUEST)
    assert answer.cause is CauseOfEnd.AUTHENTICATION_UNAVAILABLE
    assert logs[0]["event"] == "plugin answered with a wrong type"


async def test_a_plugin_has_its_timeout_and_no_more(autojump_clock):
    hooks = authentication(Authenticator(ALICE, delay=9.9))
    assert (await hooks.authenticate(CALL, REQUEST)).decision is ALICE
    with capture_logs() as logs:
        answer = await authentication(Authenticator(ALICE, delay=10.1)).authenticate(CALL, REQUEST)
    assert trio.current_time() == pytest.approx(9.9 + 10.0)
    assert answer.cause is CauseOfEnd.AUTHENTICATION_UNAVAILABLE
    assert answer.decision.reason == "plugin p0 did not answer in time"
    assert logs[0]["seconds"] == 10.0


async def test_only_the_plugins_of_the_list_are_asked():
    not_for_users, not_for_addresses = Allocator(ALICE), Allocator(lease())
    extra = {"a": not_for_addresses, "b": not_for_users}
    hooks = Hooks.load(["b"], ["a"], extra=extra)
    await hooks.authenticate(CALL, REQUEST)
    assert (not_for_users.asked, not_for_addresses.asked) == (1, 0)
    await hooks.allocate_address(CALL, ALICE)
    assert (not_for_users.asked, not_for_addresses.asked) == (1, 1)


async def test_trace_tells_plugin_answer_and_time_but_no_secret(monkeypatch, capsys):
    monkeypatch.setenv("POPTRIO_TRACE_HOOKS", "1")
    await authentication(Authenticator(), Authenticator(ALICE)).authenticate(CALL, REQUEST)
    first, second = capsys.readouterr().err.splitlines()
    assert first.startswith("hook poptrio_authenticate s1 p0: - ")
    assert second.startswith("hook poptrio_authenticate s1 p1: accept 'alice' ")
    assert second.endswith(" ms")
    assert "open sesame" not in first + second


async def test_what_a_plugin_says_forges_no_line_of_the_trace(monkeypatch, capsys):
    monkeypatch.setenv("POPTRIO_TRACE_HOOKS", "1")
    await addresses(Allocator(NoAddress("none\nhook forged\x1b[2J"))).allocate_address(CALL, ALICE)
    (line,) = capsys.readouterr().err.splitlines()
    assert r"no address: none\nhook forged\x1b[2J " in line


async def test_a_plugin_answers_also_where_nobody_reads_the_trace(monkeypatch):
    class Broken(io.StringIO):
        def write(self, text):
            raise BrokenPipeError

    monkeypatch.setenv("POPTRIO_TRACE_HOOKS", "1")
    monkeypatch.setattr("sys.stderr", Broken())
    answer = await authentication(Authenticator(ALICE)).authenticate(CALL, REQUEST)
    assert answer.decision is ALICE


async def test_no_trace_without_being_asked(monkeypatch, capsys):
    monkeypatch.delenv("POPTRIO_TRACE_HOOKS", raising=False)
    await authentication(Authenticator(ALICE)).authenticate(CALL, REQUEST)
    assert capsys.readouterr().err == ""


# Addresses.


async def test_the_first_lease_is_taken_and_released_once():
    released = []
    answer = await addresses(Allocator(None), Allocator(lease(released))).allocate_address(CALL, ALICE)
    assert (answer.address, answer.owner) == (IPv4Address("10.90.0.2"), "alice")
    assert released == []
    answer.release()
    answer.release()
    assert released == ["released"]


async def test_a_release_that_raises_is_logged_only():
    def release():
        raise RuntimeError("database is gone")

    answer = await addresses(Allocator(AddressLease(IPv4Address("10.90.0.2"), "alice", release))).allocate_address(
        CALL, ALICE
    )
    with capture_logs() as logs:
        answer.release()
    assert (logs[0]["event"], logs[0]["hook"], logs[0]["address"]) == ("plugin failed", "release", "10.90.0.2")


async def test_no_address_is_final_and_tells_why():
    later = Allocator(lease())
    answer = await addresses(Allocator(NoAddress("the pool is full")), later).allocate_address(CALL, ALICE)
    assert isinstance(answer, NoAddress)
    assert answer.reason == "the pool is full"
    assert later.asked == 0


async def test_nobody_has_an_address():
    answer = await addresses(Allocator(None)).allocate_address(CALL, ALICE)
    assert answer.reason == "no plugin of [addresses] plugins has an address for alice"


@pytest.mark.parametrize("wrong", [OSError("DHCP is down"), ALICE, IPv4Address("10.0.0.1")])
async def test_a_failing_address_plugin_gives_no_address(wrong):
    with capture_logs():
        answer = await addresses(Allocator(wrong), Allocator(lease())).allocate_address(CALL, ALICE)
    assert isinstance(answer, NoAddress)
    assert answer.reason.startswith("plugin p0 ")


async def test_a_slow_address_plugin_gives_no_address(autojump_clock):
    with capture_logs():
        answer = await addresses(Allocator(lease(), delay=3), timeout=2).allocate_address(CALL, ALICE)
    assert answer.reason == "plugin p0 did not answer in time"


class Shielded:
    """Reserves an address under a shield, as one does who must not leave a reservation behind."""

    @hookimpl
    async def poptrio_allocate_address(self):
        with trio.move_on_after(5, shield=True):
            await trio.sleep(1)
        return lease()


@pytest.mark.parametrize("seconds", [10.0, 0.5], ids=["cancelled call", "late as well"])
async def test_a_lease_that_exists_reaches_a_cancelled_caller(autojump_clock, seconds):
    hooks = addresses(Shielded(), timeout=seconds)
    answer = None
    with trio.move_on_after(0.1) as scope:
        answer = await hooks.allocate_address(CALL, ALICE)
        assert answer.address == IPv4Address("10.90.0.2")
        await trio.lowlevel.checkpoint()
    assert scope.cancelled_caught
    assert answer is not None


async def test_cancelling_a_call_cancels_its_hook(autojump_clock):
    with trio.move_on_after(0.1) as scope:
        await addresses(Allocator(lease(), delay=5)).allocate_address(CALL, ALICE)
    assert scope.cancelled_caught
    assert trio.current_time() == pytest.approx(0.1)
