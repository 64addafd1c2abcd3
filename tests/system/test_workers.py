"""Worker processes on a real kernel: calls of several processes are those of one server.

    namespace server            namespaces one, two
      poptrio0, poptrio1          a TUN each, where a client has one
      192.0.2.1/24 ── bridge ──── 192.0.2.2/24, 192.0.2.3/24

The parent runs in this process, the workers and the clients in their own. Which worker has a call is seen by the
remainder of its Call ID.
"""

import json
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from functools import partial
from ipaddress import IPv4Address
from pathlib import Path

import pytest
import trio

from poptrio.api import Accept, hookimpl, verify
from poptrio.config import Config
from poptrio.runtime.exception_groups import leaves
from poptrio.server.sessions import LiveSessions
from poptrio.testing.namespaces import Namespace
from poptrio.testing.server import load
from poptrio.workers.parent import Parent
from poptrio.workers.processes import serve_with_workers

pytestmark = [
    pytest.mark.root,
    pytest.mark.slow,
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root for namespaces, raw sockets and /dev/net/tun"),
]

PATIENCE = 30.0
STATIC = IPv4Address("10.90.5.5")
PROGRAM = (sys.executable, "-m", "poptrio")


class Backend:
    """Knows everybody by the password "secret", gives "static" its address, and remembers all records."""

    def __init__(self) -> None:
        self.sessions = LiveSessions()
        self.asked = []
        self.records = []
        self._news = trio.Event()

    @hookimpl
    @asynccontextmanager
    async def poptrio_lifespan(self, config, server):
        self.sessions = server.sessions
        yield

    @hookimpl
    async def poptrio_authenticate(self, call, request):
        self.asked.append(call.call_id % 2)
        answer = verify(request, "secret")
        if isinstance(answer, Accept) and answer.user == "static":
            return replace(answer, framed_address=STATIC)
        return answer

    @hookimpl
    async def poptrio_account(self, record):
        self.records.append(record)
        news, self._news = self._news, trio.Event()
        news.set()

    def of(self, kind, user=None):
        return [one for one in self.records if one.kind.value == kind and user in (None, one.accept.user)]

    async def heard(self, kind, count, user=None):
        """The last record of this kind, when there are ``count`` of them."""
        while len(found := self.of(kind, user)) < count:
            await self._news.wait()
        return found[-1]


@dataclass
class Network:
    server: Namespace
    one: Namespace
    two: Namespace


@pytest.fixture
def network() -> Iterator[Network]:
    with Namespace("workers") as server, Namespace("one") as one, Namespace("two") as two:
        server.run("ip", "link", "add", "bridge", "type", "bridge")
        server.run("ip", "address", "add", "192.0.2.1/24", "dev", "bridge")
        server.run("ip", "link", "set", "bridge", "up")
        server.run("sysctl", "-q", "-w", "net.ipv4.ip_forward=1")
        for number, client in enumerate((one, two), start=2):
            client.run(
                *("ip", "link", "add", "eth0", "type", "veth", "peer", "name", f"to{number}", "netns", server.name)
            )
            client.run("ip", "address", "add", f"192.0.2.{number}/24", "dev", "eth0")
            client.run("ip", "link", "set", "eth0", "up")
            server.run("ip", "link", "set", f"to{number}", "master", "bridge", "up")
        yield Network(server, one, two)


@dataclass
class Running:
    parent: Parent
    backend: Backend
    network: Network
    nursery: trio.Nursery

    def workers(self) -> dict[int, int]:
        """The processes of the workers by number."""
        found = {}
        for line in subprocess.check_output(["pgrep", "-a", "-P", str(os.getpid())], text=True).splitlines():
            process, *command = line.split()
            if "poptrio.workers.worker" in command:
                found[int(command[-1])] = int(process)
        return found

    @asynccontextmanager
    async def client(self, namespace: Namespace, user: str, worker: int) -> AsyncIterator[None]:
        """A call with a TUN, which leads to all other clients; dials until the kernel's dice choose this worker."""
        on = 1 - worker
        while on != worker:
            calls = len(self.backend.of("start", user))
            options = ["--user", user, "--password", "secret", "--route", "10.90.0.0/16"]
            command = namespace.command(*PROGRAM, "dial", "192.0.2.1", *options)
            dial = partial(trio.run_process, command, stdout=subprocess.DEVNULL, check=False)
            process = await self.nursery.start(dial)
            on = (await self.backend.heard("start", calls + 1, user)).call.call_id % 2
            if on == worker:
                yield
            stops = len(self.backend.of("stop", user))
            process.terminate()
            await process.wait()
            await self.backend.heard("stop", stops + 1, user)

    async def load(self, calls: int, *options: str, user: str = "user%d") -> dict:
        """Many calls at once from one client address; what `poptrio load` says of them."""
        command = ["load", "192.0.2.1", "--user", user, "--password", "secret", "--calls", str(calls), "--json"]
        line = self.network.one.command(*PROGRAM, *command, *options)
        done = await trio.run_process(line, capture_stdout=True, check=False)
        return json.loads(done.stdout)


@asynccontextmanager
async def running(network: Network, config: str = "") -> AsyncIterator[Running]:
    settings = Config.parse('[server]\nworkers = 2\nlisten = ["192.0.2.1"]\n' + config)
    backend = Backend()
    with network.server.entered(), trio.fail_after(PATIENCE):
        async with trio.open_nursery() as nursery:
            serve = partial(serve_with_workers, settings, hooks=load([backend], settings))
            parent = await nursery.start(serve)
            yield Running(parent, backend, network, nursery)
            parent.stop()


def tuns(namespace: Namespace) -> list[str]:
    return [link["ifname"] for link in json.loads(namespace.run("ip", "-json", "link", "show", "type", "tun") or "[]")]


async def until(condition: Callable[[], bool]) -> None:
    """Wait for what another process does, and nobody signals."""
    while not condition():  # noqa: ASYNC110
        await trio.sleep(0.05)


async def ping(namespace: Namespace, address: IPv4Address) -> bool:
    done = await trio.run_process(
        namespace.command("ping", "-c1", "-W2", str(address)), capture_stdout=True, check=False
    )
    return done.returncode == 0


async def test_both_workers_take_calls_and_all_is_given_back(network):
    async with running(network) as server:
        assert sorted(tuns(network.server)) == ["poptrio0", "poptrio1"]
        result = await server.load(40, "--packets", "400", "--seconds", "1")
        assert (result["set_ups"]["up"], result["failures"], result["packets"]["lost"]) == (40, [], 0)
        assert {record.call.call_id % 2 for record in server.backend.of("start")} == {0, 1}
        await server.backend.heard("stop", 40)
        assert all(record.cause.label == "client-hung-up" for record in server.backend.of("stop"))
        assert all(record.interface == f"poptrio{record.call.call_id % 2}" for record in server.backend.records)
        assert {record.mtu for record in server.backend.records} == {1396}
        assert sum(record.traffic.packets_in for record in server.backend.of("stop")) == result["packets"]["sent"]
        await until(lambda: not list(server.backend.sessions))  # a call gives its place back after its last record
        assert server.parent.call_count == 0
        assert (server.parent.counts._calls_of, server.parent.counts._strangers) == ({}, 0)
        assert " 10.90.0." not in network.server.run("ip", "route").replace(" 10.90.0.0/20", "")
    assert tuns(network.server) == []


async def test_limits_are_those_of_all_workers(network):
    async with running(network, "max_calls_per_address = 12\n[sessions]\nlimit = 5") as server:
        result = await server.load(20)
        assert result["set_ups"]["up"] == 12
        result = await server.load(10, user="alice")
        assert result["set_ups"]["up"] == 5
        assert set(server.backend.asked) == {0, 1}


async def test_clients_of_two_workers_reach_each_other(network):
    async with (
        running(network) as server,
        server.client(network.one, "alice", 0),
        server.client(network.two, "bob", 1),
    ):
        (of_bob,) = server.backend.sessions.of_user("bob")
        (of_alice,) = server.backend.sessions.of_user("alice")
        assert await ping(network.one, of_bob.address)
        assert await ping(network.two, of_alice.address)


async def test_a_static_address_is_where_its_newest_call_is_whichever_worker_has_it(network):
    async with running(network) as server, server.client(network.one, "static", 0):
        assert await ping(network.server, STATIC)
        async with server.client(network.two, "static", 1):
            assert [session.address for session in server.backend.sessions] == [STATIC, STATIC]
            assert await ping(network.server, STATIC)
            newest = network.server.run("ip", "route", "get", str(STATIC))
            assert "dev poptrio1" in newest
        assert await ping(network.server, STATIC)
        assert "dev poptrio0" in network.server.run("ip", "route", "get", str(STATIC))


async def test_a_worker_that_is_killed_is_replaced_and_its_calls_are_accounted(network):
    config = '[addresses]\npool = ["10.90.0.2-10.90.0.21"]'
    async with running(network, config) as server:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(server.load, 20, "--hold", "2")
            await server.backend.heard("start", 20)
            on_first = [record for record in server.backend.of("start") if record.call.call_id % 2 == 0]
            os.kill(server.workers()[0], signal.SIGKILL)
            await server.backend.heard("stop", len(on_first))
            lost = {record.call.call_id: record.cause.label for record in server.backend.of("stop")}
            assert lost == {record.call.call_id: "worker-lost" for record in on_first}
            assert server.parent.call_count == 20 - len(on_first)
        await server.backend.heard("stop", 20)
        await until(lambda: len(server.parent.links) == len(tuns(network.server)) == 2)
        while len({record.call.call_id % 2 for record in server.backend.of("start")[20:]}) < 2:
            result = await server.load(20)  # every address of the pool
            assert (result["set_ups"]["up"], result["failures"]) == (20, [])
            await server.backend.heard("stop", len(server.backend.of("start")))
        assert len(server.workers()) == 2


@pytest.fixture
def program(network: Network, tmp_path: Path) -> Iterator[tuple[Network, subprocess.Popen, Path]]:
    """`poptrio run` with two workers, as a service manager starts it."""
    (tmp_path / "config.toml").write_text('[server]\nworkers = 2\n[management]\nsocket = "poptrio.sock"\n')
    (tmp_path / "chap-secrets").write_text("alice * secret *\n")
    (tmp_path / "chap-secrets").chmod(0o600)
    log = tmp_path / "log"
    with log.open("wb") as stderr:
        command = network.server.command(*PROGRAM, "run", str(tmp_path / "config.toml"))
        process = subprocess.Popen(command, stderr=stderr, start_new_session=True)
    try:
        yield network, process, log
    finally:
        process.kill()
        process.wait()


def processes_of(session: int) -> list[str]:
    """What runs in the session of a process."""
    listed = subprocess.run(["ps", "-o", "stat=,args=", "-s", str(session)], capture_output=True, text=True)
    return [line for line in listed.stdout.splitlines() if not line.startswith("Z")]


async def hold_calls(network: Network, calls: int, nursery: trio.Nursery, log: Path) -> None:
    options = ["--user", "alice", "--password", "secret", "--calls", str(calls), "--hold", "60", "--json"]
    command = network.one.command(*PROGRAM, "load", "192.0.2.1", *options)
    await nursery.start(partial(trio.run_process, command, stdout=subprocess.DEVNULL, check=False))
    await until(lambda: log.read_text().count("call up") == calls)


async def test_sigterm_to_the_whole_group_says_goodbye_and_leaves_nothing(program):
    network, process, log = program
    with trio.fail_after(PATIENCE):
        await until(lambda: "listening" in log.read_text())
        async with trio.open_nursery() as nursery:
            await hold_calls(network, 10, nursery, log)
            os.killpg(process.pid, signal.SIGUSR2)
            await until(lambda: "upgrade failed" in log.read_text())  # for several workers there is none
            os.killpg(process.pid, signal.SIGTERM)  # as a terminal or systemd does: workers obey their parent only
            assert await trio.to_thread.run_sync(process.wait) == 0
            nursery.cancel_scope.cancel()
    text = log.read_text()
    assert text.count("cause=server-shutdown") == 10
    assert "worker lost" not in text
    assert text.splitlines()[-1].split("]")[1].strip() == "stopped"
    assert (processes_of(process.pid), tuns(network.server)) == ([], [])


async def test_workers_do_not_outlive_a_parent_that_is_killed(program):
    network, process, log = program
    with trio.fail_after(PATIENCE):
        await until(lambda: "listening" in log.read_text())
        async with trio.open_nursery() as nursery:
            await hold_calls(network, 4, nursery, log)
            process.kill()
            await until(lambda: not processes_of(process.pid) and not tuns(network.server))
            nursery.cancel_scope.cancel()


async def test_a_busy_port_is_found_before_a_worker_is_started(network):
    with network.server.entered(), trio.fail_after(PATIENCE):
        listener = trio.socket.socket()
        listener.setsockopt(trio.socket.SOL_SOCKET, trio.socket.SO_REUSEPORT, 1)
        await listener.bind(("192.0.2.1", 1723))
        listener.listen()
        settings = Config.parse('[server]\nworkers = 2\nlisten = ["192.0.2.1"]')
        with listener, pytest.raises(ExceptionGroup) as caught:
            await serve_with_workers(settings, hooks=load([Backend()], settings))
        assert "192.0.2.1:1723 cannot be listened on" in str(next(leaves(caught.value)))


async def test_a_worker_that_cannot_start_says_why(network):
    with network.server.entered(), trio.fail_after(PATIENCE):
        network.server.run("ip", "link", "add", "poptrio1", "type", "bridge")
        settings = Config.parse('[server]\nworkers = 2\nlisten = ["192.0.2.1"]')
        with pytest.raises(ExceptionGroup) as caught:
            await serve_with_workers(settings, hooks=load([Backend()], settings))
        assert "the TUN poptrio1 cannot be made" in str(next(leaves(caught.value)))
        assert tuns(network.server) == []
