"""The plugin takes another table while it runs, or nothing of it; its servers are scripted."""

import threading
from ipaddress import IPv4Address

import pytest
import trio
from fake_directory import SUCCESS, entry

from poptrio.api import Accept, ConfigError, ServerInfo, Unavailable
from poptrio.config import Config
from poptrio.testing.requests import pap_request
from poptrio.testing.server import memory_server
from poptrio_ldap import opening
from poptrio_ldap.directory import BindResult
from poptrio_ldap.plugin import Ldap

ALICE = pap_request("alice", "correct horse")


async def until(condition):
    """Wait for what a thread does."""
    with trio.fail_after(5):
        while not condition():  # noqa: ASYNC110 - a thread signals nothing
            await trio.sleep(0.001)


class Network:
    """The servers that the plugin can reach: ``opened`` and ``closed`` connections and ``searches`` by URL.

    Those in ``slow`` do not answer before it is set. Names of users end with the URL of who was asked.
    """

    def __init__(self):
        self.opened, self.closed, self.searches = [], [], []
        self.accounts = []
        self.slow = {}
        self.asked = trio.Event()
        self.token = trio.lowlevel.current_trio_token()

    async def all_closed(self):
        """Until the threads have closed what was open."""
        await until(lambda: sorted(self.closed) == sorted(self.opened))


class Connection:
    def __init__(self, network, url):
        self.network, self.url = network, url

    def search(self, search):
        self.network.searches.append((self.url, search.filter))
        if search.filter == "(objectClass=*)":
            return []
        self.network.token.run_sync_soon(self.network.asked.set)
        if self.url in self.network.slow:
            assert self.network.slow[self.url].wait(5)
        return [entry("uid=alice", uid=f"alice of {self.url}")]

    def bind(self, dn, password):
        return BindResult(SUCCESS)

    def close(self):
        self.network.closed.append(self.url)


@pytest.fixture
async def network(monkeypatch):
    network = Network()

    class Server:
        def __init__(self, *, url, tls, timeout, bind_dn, bind_password):
            self.url = url
            network.accounts.append((url, bind_dn, bind_password, timeout))

        def open(self, purpose):
            network.opened.append(self.url)
            return Connection(network, self.url)

    monkeypatch.setattr(opening, "LdapServer", Server)
    return network


def table(**keys):
    return {"servers": ["ldap://a"], "base": "dc=org", "user_attribute": "uid"} | keys


def info(folder, timeout=10.0):
    return ServerInfo(folder=folder, name="poptrio", address=IPv4Address("10.90.0.1"), pool=(), answer_timeout=timeout)


async def asked(ldap):
    decision = await ldap.poptrio_authenticate(ALICE)
    assert isinstance(decision, Accept)
    return decision.user


async def test_who_is_being_asked_answers_and_the_next_question_goes_elsewhere(network, tmp_path):
    ldap, answers = Ldap(), []
    network.slow["ldap://a"] = threading.Event()
    server = info(tmp_path)
    async with ldap.poptrio_lifespan(table(), server), trio.open_nursery() as nursery:

        async def ask():
            answers.append(await asked(ldap))

        nursery.start_soon(ask)
        await network.asked.wait()
        ldap.poptrio_reload(table(servers=["ldap://b"]), server).commit()
        assert await asked(ldap) == "alice of ldap://b"
        assert answers == []
        network.slow["ldap://a"].set()
    assert answers == ["alice of ldap://a"]
    await network.all_closed()


async def test_connections_stay_where_they_lead_to_the_same(network, tmp_path):
    ldap, server = Ldap(), info(tmp_path)
    domains = {"office": {"servers": ["ldap://o"]}}
    async with ldap.poptrio_lifespan(table(domains=domains), server):
        await asked(ldap)
        before = len(network.opened)
        ldap.poptrio_reload(table(domains=domains, filter="(cn={user})"), server).commit()
        await asked(ldap)
        assert len(network.opened) == before
        assert network.searches[-1] == ("ldap://a", "(cn=alice)")
        ldap.poptrio_reload(table(domains={"office": {"servers": ["ldap://p"]}}), server).commit()
        await asked(ldap)
        assert (len(network.opened), network.closed) == (before, [])
        ldap.poptrio_reload(table(timeout=1.0), server).commit()
        await asked(ldap)
        assert len(network.opened) > before
        assert network.accounts[-1] == ("ldap://a", "", b"", 1.0)
    await network.all_closed()


async def test_files_are_read_again(network, tmp_path):
    ldap, server, secret = Ldap(), info(tmp_path), tmp_path / "secret"
    secret.write_text("old")
    account = table(bind_dn="cn=poptrio", bind_password="file:secret")
    async with ldap.poptrio_lifespan(account, server):
        secret.write_text("new")
        reload = ldap.poptrio_reload(account, server)
        assert [password for _, _, password, _ in network.accounts] == [b"old"]  # nothing before the commit
        reload.commit()
        assert [password for _, _, password, _ in network.accounts] == [b"old", b"new"]


async def test_the_new_directory_is_looked_at(network, tmp_path):
    ldap, server = Ldap(), info(tmp_path)
    async with ldap.poptrio_lifespan(table(), server):
        ldap.poptrio_reload(table(servers=["ldap://b"]), server).commit()
        await until(lambda: ("ldap://b", "(objectClass=*)") in network.searches)


async def test_the_time_for_answers_is_the_new_one(network, tmp_path, autojump_clock):
    ldap = Ldap()
    async with ldap.poptrio_lifespan(table(), info(tmp_path)):
        network.slow["ldap://a"] = threading.Event()
        ldap.poptrio_reload(table(unavailable="next"), info(tmp_path, timeout=20.0)).commit()
        assert await ldap.poptrio_authenticate(ALICE) == Unavailable(
            reason="the directory did not answer within 18 seconds", ask_next=True
        )
        network.slow["ldap://a"].set()


@pytest.mark.parametrize(
    ("bad", "key"),
    [
        ({"ca_file": "missing.pem"}, "plugins.ldap.ca_file"),
        ({"ca_file": "empty.pem"}, "plugins.ldap.ca_file"),
        ({"bind_dn": "cn=x", "bind_password": "file:missing"}, "plugins.ldap.bind_password"),
        (
            {"domains": {"o": {"servers": ["ldap://o"], "bind_dn": "cn=x", "bind_password": "file:missing"}}},
            "plugins.ldap.domains.o.bind_password",
        ),
        ({"servers": ["http://a"]}, "plugins.ldap.servers"),
        ({"timeuot": 3}, "plugins.ldap.timeuot"),
    ],
)
async def test_a_bad_setting_is_named_and_nothing_is_changed(network, tmp_path, bad, key):
    (tmp_path / "empty.pem").touch()
    ldap, server = Ldap(), info(tmp_path)
    async with ldap.poptrio_lifespan(table(), server):
        with pytest.raises(ConfigError) as refused:
            ldap.poptrio_reload(table(filter="(cn={user})") | bad, server)
        assert key in str(refused.value)
        assert await asked(ldap) == "alice of ldap://a"
        assert network.searches[-1] == ("ldap://a", "(uid=alice)")


LDAP = '[authentication]\nplugins = ["ldap"]\n[plugins.ldap]\nbase = "dc=org"\nservers = '


async def test_a_server_lists_what_changed_or_changes_nothing(network, tmp_path):
    async with memory_server(f'{LDAP}["ldap://a"]', {"ldap": Ldap()}, folder=tmp_path) as memory:

        async def reload(text):
            return await memory.server.reloader.reload(lambda: Config.parse(text, folder=tmp_path))

        report = await reload(f'{LDAP}["ldap://b"]\ntimeout = 1.0')
        changed = ["plugins.ldap.servers", "plugins.ldap.timeout"]
        assert [change.setting for change in report.changes] == changed
        assert report.needs_restart == ()
        report = await reload(f'{LDAP}["ldap://c"]\nca_file = "missing.pem"\n[server]\nmax_calls = 3')
        assert [fault.place for fault in report.faults] == ["plugins.ldap.ca_file"]
        assert memory.server.config.server.max_calls != 3
        assert [url for url, *_ in network.accounts] == ["ldap://a", "ldap://b"]
