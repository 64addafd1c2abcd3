"""The host of the plugins: loading and its faults, order, deadlines, failures, cancellation."""

import io
import sys
import textwrap
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from ipaddress import IPv4Address
from pathlib import Path

import pytest
import trio
from structlog.testing import capture_logs

from poptrio.api import (
    Accept,
    AccountingKind,
    AccountingRecord,
    AddressLease,
    CallInfo,
    CauseOfEnd,
    ConfigError,
    ConfigFault,
    NoAddress,
    PapRequest,
    PluginReload,
    Reject,
    ServerInfo,
    Traffic,
    hookimpl,
)
from poptrio.server.hooks import Hooks

CALL = CallInfo(
    session_id="s1",
    call_id=1,
    peer_call_id=2,
    peer=IPv4Address("203.0.113.9"),
    server=IPv4Address("198.51.100.1"),
    started=datetime(2025, 1, 1, tzinfo=UTC),
)
REQUEST = PapRequest(name="alice", username="alice", password="open sesame")
ALICE = Accept(user="alice")
SERVER = ServerInfo(folder=Path("/"), name="poptrio", address=IPv4Address("10.90.0.1"), pool=("10.90.0.2-3",))


class Authenticator:
    """Answers with what it was given, after ``delay`` seconds; an exception is raised."""

    def __init__(self, answer=None, delay=0.0):
        self.answer, self.delay, self.asked = answer, delay, 0

    @hookimpl
    async def poptrio_authenticate(self):
        self.asked += 1
        await trio.sleep(self.delay)
        if isinstance(self.answer, BaseException):
            raise self.answer
        return self.answer


class Allocator(Authenticator):
    """The same for addresses; as an authenticator it has no opinion."""

    @hookimpl
    async def poptrio_allocate_address(self, user):
        assert user is ALICE
        return await self.poptrio_authenticate()


def authentication(*plugins, timeout=10.0):
    extra = {f"p{number}": plugin for number, plugin in enumerate(plugins)}
    return Hooks.load(list(extra), extra=extra, timeout=timeout)


def addresses(*plugins, timeout=10.0):
    extra = {f"p{number}": plugin for number, plugin in enumerate(plugins)}
    return Hooks.load([], list(extra), extra=extra, timeout=timeout)


def lease(released=None):
    callback = (lambda: None) if released is None else (lambda: released.append("released"))
    return AddressLease(IPv4Address("10.90.0.2"), "alice", callback)


def faults_of(*plugins):
    with pytest.raises(ConfigError) as caught:
        authentication(*plugins)
    return [str(fault) for fault in caught.value.faults]


# Loading.


def test_own_plugins_are_installed_like_foreign_ones():
    rows = Hooks.load(["chap-secrets"], ["ip-pool"]).table()
    assert [(row.name, row.distribution) for row in rows] == [("chap-secrets", "poptrio"), ("ip-pool", "poptrio")]
    assert rows[0].version
    asked = ("poptrio_lifespan", "poptrio_authenticate", "poptrio_reload")
    assert rows[0].hooks == (*asked, "poptrio_measurements", "poptrio_health")
    asked = ("poptrio_lifespan", "poptrio_allocate_address", "poptrio_keep_address", "poptrio_reload")
    assert rows[1].hooks == (*asked, "poptrio_health", "poptrio_pools")


def test_each_server_has_its_own_object_of_a_plugin_class():
    class Counting(Authenticator):
        made = 0

        def __init__(self):
            super().__init__()
            type(self).made += 1

    authentication(Counting)
    authentication(Counting)
    assert Counting.made == 2


def install(folder, monkeypatch, name, entry, code, distribution=None):
    """Put a distribution with one module and one entry point on the path."""
    distribution = distribution or name
    info = folder / f"{distribution.replace('-', '_')}-1.5.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {distribution}\nVersion: 1.5\n")
    (info / "entry_points.txt").write_text(f"[poptrio]\n{name} = {entry}\n")
    module = entry.partition(":")[0]
    (folder / f"{module}.py").write_text(textwrap.dedent(code))
    monkeypatch.syspath_prepend(folder)
    monkeypatch.delitem(sys.modules, module, raising=False)


async def test_a_foreign_module_is_loaded_by_its_entry_point(tmp_path, monkeypatch):
    code = """
        from poptrio.api import Reject, hookimpl

        @hookimpl
        async def poptrio_authenticate():
            return Reject(reason="from far away")
    """
    install(tmp_path, monkeypatch, "far-away", "poptrio_far_away", code)
    hooks = Hooks.load(["far-away"])
    assert [(row.distribution, row.version) for row in hooks.table()] == [("far-away", "1.5")]
    answer = await hooks.authenticate(CALL, REQUEST)
    assert (answer.decision, answer.plugin) == (Reject(reason="from far away"), "far-away")


def test_a_plugin_that_is_not_installed_names_the_nearest_and_all():
    with pytest.raises(ConfigError) as caught:
        Hooks.load(["chap-secret"], ["nothing-like-it"])
    first, second = map(str, caught.value.faults)
    assert first.startswith('authentication.plugins: no plugin "chap-secret" is installed (installed are chap-secrets')
    assert first.endswith('; did you mean "chap-secrets"?')
    assert "chap-secrets, ip-pool" in first
    assert second.startswith('addresses.plugins: no plugin "nothing-like-it" is installed (installed are ')


def test_a_plugin_that_does_not_import_is_a_fault_with_its_exception(tmp_path, monkeypatch):
    install(tmp_path, monkeypatch, "broken", "poptrio_broken", "import a_module_that_nobody_has")
    with pytest.raises(ConfigError, match="plugin broken: it cannot be loaded: ModuleNotFoundError: No module named"):
        Hooks.load(["broken"])


def test_a_plugin_class_that_raises_is_a_fault():
    class Broken:
        def __init__(self):
            raise RuntimeError("not today")

    assert faults_of(Broken) == ["plugin p0: it cannot be loaded: RuntimeError: not today"]


def test_two_distributions_with_one_plugin_name_are_a_fault(tmp_path, monkeypatch):
    for number in (1, 2):
        folder = tmp_path / str(number)
        folder.mkdir()
        install(folder, monkeypatch, "twin", f"poptrio_twin_{number}", "", distribution=f"twin-{number}")
    with pytest.raises(ConfigError, match='several distributions offer a plugin "twin": twin-1, twin-2'):
        Hooks.load(["twin"])


def test_a_misspelt_hook_names_the_nearest():
    class Misspelt(Authenticator):
        @hookimpl
        async def poptrio_authentcate(self): ...

    assert faults_of(Misspelt()) == [
        'plugin p0: poptrio_authentcate is no hook of poptrio; did you mean "poptrio_authenticate"?'
    ]


def test_a_hook_of_a_later_poptrio_may_be_marked_as_optional():
    class Modern(Authenticator):
        @hookimpl(optionalhook=True)
        async def poptrio_of_the_future(self): ...

    authentication(Modern())


def test_a_hook_under_another_name_is_found_by_its_specname():
    class Renamed:
        @hookimpl(specname="poptrio_authenticate")
        async def decide(self): ...

    assert authentication(Renamed()).table()[0].hooks == ("poptrio_authenticate",)


def test_a_forgotten_marker_is_a_fault():
    class Unmarked(Authenticator):
        def poptrio_admit(self, peer): ...

    assert faults_of(Unmarked()) == ["plugin p0: poptrio_admit lacks the @hookimpl marker and would never be called"]


def test_a_plugin_without_hooks_is_a_fault():
    assert faults_of(object()) == ["plugin p0: it implements no hook; mark its functions with @hookimpl"]


def test_wrong_arguments_are_faults():
    class Wrong:
        @hookimpl
        async def poptrio_authenticate(self, cal, request=None): ...

        @hookimpl
        def poptrio_reload(self, *, force): ...

        @hookimpl
        def poptrio_admit(self, *peer, **more): ...

    sentences = faults_of(Wrong())
    assert sentences[0] == (
        "plugin p0: the argument peer of poptrio_admit must be a plain one without default, or it is never passed"
    )
    assert sentences[1].startswith('plugin p0: poptrio_authenticate has no argument cal; did you mean "call"?')
    assert "the argument request of poptrio_authenticate must be a plain one without default" in sentences[2]
    assert sentences[3] == "plugin p0: poptrio_reload has no argument force; there are: config, server"


def test_async_where_it_must_not_be_and_not_where_it_must_are_faults():
    class Mixed:
        @hookimpl
        def poptrio_authenticate(self): ...

        @hookimpl
        async def poptrio_admit(self): ...

        @hookimpl
        async def poptrio_lifespan(self):
            yield

    assert faults_of(Mixed()) == [
        "plugin p0: poptrio_admit must not be an async function",
        "plugin p0: poptrio_authenticate must be an async function",
        "plugin p0: poptrio_lifespan must not be an async function; decorate it with @asynccontextmanager",
    ]


def test_options_that_change_the_order_are_faults():
    class First:
        @hookimpl(tryfirst=True)
        async def poptrio_authenticate(self): ...

    assert "the configuration sets the order" in faults_of(First())[0]


def test_a_list_of_which_no_plugin_has_the_hook_is_a_fault():
    with pytest.raises(ConfigError, match=r"authentication\.plugins: none of these plugins has the hook poptrio_auth"):
        Hooks.load(["ip-pool"], ["ip-pool"])
    with pytest.raises(ConfigError, match=r"addresses\.plugins: none of these plugins has the hook poptrio_allocate"):
        Hooks.load(["chap-secrets"], ["chap-secrets"])


def test_the_faults_of_all_plugins_come_together():
    assert len(faults_of(object(), object())) == 2


# Authentication.


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


# Accounting, admission, reload.


class Accountant:
    def __init__(self, delay=0.0, failure=None):
        self.delay, self.failure, self.records = delay, failure, []

    @hookimpl
    async def poptrio_account(self, record):
        await trio.sleep(self.delay)
        if self.failure:
            raise self.failure
        self.records.append(record)


async def test_accounting_reaches_all_at_once_whatever_one_does(autojump_clock):
    plugins = Accountant(3), Accountant(failure=OSError("down")), Accountant(4), Accountant(11)
    record = AccountingRecord(
        kind=AccountingKind.START,
        call=CALL,
        accept=ALICE,
        address=IPv4Address("10.90.0.2"),
        seconds=0.0,
        traffic=Traffic(),
        timestamp=datetime(2026, 1, 1, tzinfo=UTC),
    )
    extra = {"auth": Authenticator(), **{f"p{number}": plugin for number, plugin in enumerate(plugins)}}
    hooks = Hooks.load(list(extra), extra=extra)
    with capture_logs() as logs:
        await hooks.account(record)
    assert trio.current_time() == pytest.approx(10)
    assert [len(plugin.records) for plugin in plugins] == [1, 0, 1, 0]
    assert [entry["plugin"] for entry in logs] == ["p1", "p3"]


class Doorkeeper(Authenticator):
    @hookimpl
    def poptrio_admit(self, peer):
        if isinstance(self.answer, BaseException):
            raise self.answer
        return self.answer


@pytest.mark.parametrize(
    ("answers", "reason"),
    [
        ((None, None), None),
        ((None, "blocked", "later"), "blocked"),
        (("",), "plugin p0 gave no reason"),
        ((OSError("no list"), None), "plugin p0 failed"),
        ((False,), "plugin p0 answered with a bool, which is no answer to poptrio_admit"),
    ],
)
def test_admission(answers, reason):
    with capture_logs():
        assert authentication(*map(Doorkeeper, answers)).admit(IPv4Address("203.0.113.9")) == reason


def test_reload_reaches_all_whatever_one_does():
    reloaded = []

    class Reloading(Authenticator):
        @hookimpl
        def poptrio_reload(self):
            reloaded.append(self)
            if len(reloaded) == 1:
                raise OSError("file is gone")

    with capture_logs() as logs:
        prepared = authentication(Reloading(), Reloading()).prepare_reload({}, SERVER, ["p1"])
        assert (reloaded, prepared.faults) == ([], [])  # they act when all others have agreed
        prepared.commit()
    assert len(reloaded) == 2
    assert [entry["event"] for entry in logs] == ["plugin failed"]
    assert prepared.restart == {("plugins", "p1")}  # whoever wants no settings cannot take new ones


class Judging(Authenticator):
    """Takes settings that have no key "bad"; cannot change "fixed"."""

    def __init__(self):
        super().__init__()
        self.size = 0

    @hookimpl
    def poptrio_reload(self, config):
        if "bad" in config:
            raise ConfigError(ConfigFault("plugins.p.bad", "is bad"))
        if "bug" in config:
            return config["bug"] + 1
        return PluginReload(lambda: setattr(self, "size", config["size"]), restart=("fixed",))


def test_plugins_judge_first_and_change_only_when_all_agree():
    good, other = Judging(), Judging()
    hooks = authentication(good, other)
    prepared = hooks.prepare_reload({"p0": {"size": 1}, "p1": {"size": 2}}, SERVER, ())
    assert (good.size, other.size) == (0, 0)
    prepared.commit()
    assert (good.size, other.size) == (1, 2)
    assert prepared.restart == {("plugins", "p0", "fixed"), ("plugins", "p1", "fixed")}


def test_faults_of_all_plugins_come_together():
    with capture_logs() as logs:
        prepared = authentication(*(Judging() for _ in range(3))).prepare_reload(
            {"p0": {"bad": True}, "p1": {"bug": "x"}, "p2": {"bug": 1}}, SERVER, ()
        )
    assert list(map(str, prepared.faults)) == [
        "plugins.p.bad: is bad",
        'plugin p1: it cannot judge its settings: TypeError: can only concatenate str (not "int") to str',
        "plugin p2: it answered poptrio_reload with a int, which is no answer to it",
    ]
    assert [entry["event"] for entry in logs] == ["plugin failed", "plugin answered with a wrong type"]


# Lifespans.


class Living(Authenticator):
    def __init__(self, diary, name):
        super().__init__()
        self.diary, self.name = diary, name

    @hookimpl
    @asynccontextmanager
    async def poptrio_lifespan(self, config, server):
        self.diary.append(f"{self.name} enters with {dict(config)} at {server.name}")
        if "fault" in config:
            raise ConfigError(ConfigFault(f"plugins.{self.name}.fault", "is wrong"))
        if "error" in config:
            raise OSError("cannot bind")
        async with trio.open_nursery():
            yield
        self.diary.append(f"{self.name} leaves")


def living():
    diary = []
    extra = {name: Living(diary, name) for name in ("one", "two", "three")}
    return diary, Hooks.load(["one", "two"], ["three"], extra={**extra, "three": AddressesAndLife(diary, "three")})


class AddressesAndLife(Living):
    @hookimpl
    async def poptrio_allocate_address(self): ...


async def test_lifespans_are_entered_in_order_and_left_in_reverse():
    diary, hooks = living()
    async with hooks.lifespan({"two": {"key": 1}}, SERVER):
        assert diary == ["one enters with {} at poptrio", "two enters with {'key': 1} at poptrio", *diary[2:]]
        diary.clear()
    assert diary == ["three leaves", "two leaves", "one leaves"]


async def test_the_faults_of_all_lifespans_come_together_and_who_entered_leaves():
    diary, hooks = living()
    configs = {"one": {"fault": 1}, "three": {"error": 1}, "tree": {}}
    with capture_logs() as logs, pytest.raises(ConfigError) as caught:
        async with hooks.lifespan(configs, SERVER):
            pytest.fail("must not start")
    assert [str(fault) for fault in caught.value.faults] == [
        'plugins.tree: no list of plugins names this one; did you mean "three"?',
        "plugins.one.fault: is wrong",
        "plugin three: it cannot start: OSError: cannot bind",
    ]
    assert diary[-1] == "two leaves"
    assert len(logs) == 1


async def test_a_table_for_a_plugin_that_takes_none_is_a_fault():
    hooks = authentication(Authenticator())
    with pytest.raises(ConfigError, match=r"plugins\.p0: this plugin takes no configuration"):
        async with hooks.lifespan({"p0": {"key": 1}}, SERVER):
            pytest.fail("must not start")
    async with hooks.lifespan({"p0": {}}, SERVER):
        pass


async def test_a_lifespan_may_be_nothing():
    class Lifeless(Authenticator):
        @hookimpl
        def poptrio_lifespan(self):
            return None

    async with authentication(Lifeless()).lifespan({}, SERVER):
        pass


async def test_a_fault_that_a_lifespan_raises_inside_of_a_nursery_is_reported_as_it_is():
    class Plugin:
        @hookimpl
        @asynccontextmanager
        async def poptrio_lifespan(self):
            async with trio.open_nursery():
                raise ConfigError(ConfigFault("plugins.p.spool", "the disk is gone"))
                yield

        @hookimpl
        async def poptrio_authenticate(self):
            return None

    hooks = Hooks.load(["p"], extra={"p": Plugin()})
    with pytest.raises(ConfigError) as caught:
        async with hooks.lifespan({}, SERVER):
            pass
    assert str(caught.value) == "plugins.p.spool: the disk is gone"


def test_a_plugin_that_is_only_told_must_want_to_be():
    with pytest.raises(ConfigError, match=r"accounting\.plugins: none of these plugins has the hook poptrio_account"):
        Hooks.load([], [], ["ip-pool"])
    (plugin,) = Hooks.load([], [], ["scripts"]).table()
    assert (plugin.name, plugin.distribution) == ("scripts", "poptrio")
