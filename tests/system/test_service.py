"""`poptrio run` under a service manager, on a real kernel: told, watched, passed its sockets, another user, killed.

namespace server             namespace client
  192.0.2.1/24 ──── cable ──── 192.0.2.2/24
  TUN poptrio0
"""

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pytest
import trio

from poptrio.management.client import Client
from poptrio.runtime.privileges import Account
from poptrio.testing.namespaces import Namespace, join

pytestmark = [pytest.mark.root, pytest.mark.slow]

PATIENCE = 30.0
PYTHON = [sys.executable]
THREE = f"{1 << 10 | 1 << 12 | 1 << 13:016x}"


async def until(condition):
    """Wait for what another process does, and nobody signals."""
    while not condition():  # noqa: ASYNC110
        await trio.sleep(0.02)


@dataclass
class Service:
    """A server's namespace, a client's, and the folder of its configuration."""

    namespace: Namespace
    client: Namespace
    folder: Path

    def configure(self, text: str = "") -> Path:
        config = self.folder / "config.toml"
        config.write_text(f'{text}\n[management]\nsocket = "{self.socket}"\n')
        (self.folder / "chap-secrets").write_text("alice * secret *\n")
        (self.folder / "chap-secrets").chmod(0o600)
        return config

    @property
    def socket(self) -> Path:
        return self.folder / "api"

    def start(self, *command: str, **environment: str) -> "Running":
        log = self.folder / "log"
        with log.open("wb") as stderr:
            process = subprocess.Popen(
                self.namespace.command(*command), stderr=stderr, start_new_session=True, env=os.environ | environment
            )
        return Running(process, log)

    async def dial(self) -> str:
        """What `poptrio dial` says of a whole call."""
        options = ["--user", "alice", "--password", "secret", "--probe"]
        command = self.client.command(*PYTHON, "-m", "poptrio", "dial", "192.0.2.1", *options)
        return (await trio.run_process(command, capture_stdout=True, check=False)).stdout.decode()

    def traces(self) -> dict[str, object]:
        """What a server could leave behind: devices, addresses, routes of all tables, rules, nftables."""
        asked = {
            "links": ("ip", "-json", "link"),
            "addresses": ("ip", "-json", "address"),
            "routes": ("ip", "-json", "route", "show", "table", "all"),
            "rules": ("ip", "-json", "rule"),
        }
        found = {kind: json.loads(self.namespace.run(*command) or "[]") for kind, command in asked.items()}
        if shutil.which("nft"):
            found["nftables"] = self.namespace.run("nft", "list", "ruleset")
        return found


@dataclass
class Running:
    process: subprocess.Popen
    log: Path

    async def says(self, what: str, times: int = 1) -> str:
        await until(lambda: self.log.read_text().count(what) >= times or self.process.poll() is not None)
        text = self.log.read_text()
        assert text.count(what) >= times, text
        return text

    async def ended(self) -> int:
        return await trio.to_thread.run_sync(partial(self.process.wait, PATIENCE))

    def processes(self) -> list[int]:
        listed = subprocess.run(["ps", "-o", "pid=,stat=", "-s", str(self.process.pid)], capture_output=True, text=True)
        return [int(line.split()[0]) for line in listed.stdout.splitlines() if " Z" not in line]


@pytest.fixture
def service() -> Iterator[Service]:
    folder = Path(tempfile.mkdtemp(prefix="poptrio-service-"))  # not below pytest's own, which is root's only
    folder.chmod(0o755)
    with Namespace("service") as namespace, Namespace("client") as client:
        # Addresses of IPv6 come and change by themselves, and what is there is compared.
        namespace.run("sysctl", "-q", "-w", "net.ipv6.conf.all.disable_ipv6=1")
        join(namespace, "192.0.2.1", client, "192.0.2.2")
        service = Service(namespace, client, folder)
        try:
            yield service
        finally:
            for listed in namespace_processes(namespace):
                os.kill(listed, signal.SIGKILL)
            shutil.rmtree(folder)


def namespace_processes(namespace: Namespace) -> list[int]:
    return [int(pid) for pid in subprocess.check_output(["ip", "netns", "pids", namespace.name], text=True).split()]


class Manager:
    """The socket of a service manager."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._socket = trio.socket.socket(trio.socket.AF_UNIX, trio.socket.SOCK_DGRAM)
        self.news: list[str] = []

    async def bind(self) -> None:
        await self._socket.bind(str(self.path))

    async def hears(self, what: str) -> None:
        """Wait until this was told, after what was waited for before."""
        while True:
            while self.news:
                if self.news.pop(0) == what:
                    return
            self.news = (await self._socket.recv(4096)).decode().splitlines()

    def close(self) -> None:
        self._socket.close()


async def test_a_service_manager_is_told_of_every_moment(service):
    config = service.configure()
    manager = Manager(service.folder / "notify")
    await manager.bind()
    with trio.fail_after(PATIENCE):
        environment = {"NOTIFY_SOCKET": str(manager.path), "WATCHDOG_USEC": "500000"}
        server = service.start(*PYTHON, "-m", "poptrio", "run", str(config), **environment)
        for news in ("READY=1", f"MAINPID={server.process.pid}", "WATCHDOG=1", "STATUS=0 calls", "WATCHDOG=1"):
            await manager.hears(news)
        server.process.send_signal(signal.SIGHUP)
        for news in ("RELOADING=1", "READY=1"):
            await manager.hears(news)
        load = ["load", "192.0.2.1", "--user", "alice", "--password", "secret", "--calls", "1", "--hold", "60"]
        async with trio.open_nursery() as nursery:
            command = service.client.command(*PYTHON, "-m", "poptrio", *load)
            nursery.start_soon(partial(trio.run_process, command, stdout=subprocess.DEVNULL, check=False))
            await manager.hears("STATUS=1 call")
            server.process.terminate()
            await manager.hears("STOPPING=1")
            assert await server.ended() == 0
            nursery.cancel_scope.cancel()
    manager.close()


needs_socket_activate = pytest.mark.skipif(
    shutil.which("systemd-socket-activate") is None, reason="systemd-socket-activate is missing (Debian: systemd)"
)


def activated(service: Service, config: Path, port: int = 1723) -> Running:
    """systemd opens the sockets, and starts the server when somebody connects."""
    listen = ["-l", f"192.0.2.1:{port}", "-l", str(service.socket), "--fdname=pptp:management"]
    return service.start("systemd-socket-activate", *listen, *PYTHON, "-m", "poptrio", "run", str(config))


@needs_socket_activate
@pytest.mark.parametrize("workers", [1, 2])
async def test_sockets_of_systemd_are_taken_and_outlive_the_server(service, workers):
    config = service.configure(f'[server]\nlisten = ["192.0.2.1"]\nworkers = {workers}')
    with trio.fail_after(PATIENCE):
        server = activated(service, config)
        await until(service.socket.exists)
        assert "all steps passed" in await service.dial()
        with Client(service.socket) as client:
            assert (await trio.to_thread.run_sync(client.get, "/v1/stats")) is not None
        if workers > 1:
            listening = service.namespace.run("ss", "--listening", "--tcp", "--numeric", "--no-header")
            assert listening.count("192.0.2.1:1723") == 1
        server.process.terminate()
        assert await server.ended() == 0
    assert service.socket.is_socket()


@needs_socket_activate
async def test_a_socket_that_is_not_in_the_configuration_is_said(service):
    config = service.configure('[server]\nlisten = ["192.0.2.1"]')
    with trio.fail_after(PATIENCE):
        server = activated(service, config, port=1724)
        await until(service.socket.exists)
        with socket.socket(socket.AF_UNIX) as somebody:
            somebody.connect(str(service.socket))
            assert await server.ended() == 2
    assert "is for 192.0.2.1:1724, which is not in the list (192.0.2.1:1723)" in server.log.read_text()


CONFINED = """
mount --bind {folder} {folder}
mount -o remount,bind,ro /
mount -t proc -o hidepid=invisible,subset=pid proc /proc
exec "$@"
"""
HARDENED = """
import ctypes, sys
PR_SET_MDWE, PR_MDWE_REFUSE_EXEC_GAIN = 65, 1
if ctypes.CDLL(None).prctl(PR_SET_MDWE, PR_MDWE_REFUSE_EXEC_GAIN, 0, 0, 0) != 0:
    print("this kernel cannot refuse executable memory", file=sys.stderr)
from poptrio.cli import main
main()
"""


@pytest.mark.skipif(
    not (shutil.which("strace") and shutil.which("systemd-analyze")),
    reason="needs strace and systemd-analyze (Debian: strace, systemd)",
)
async def test_what_the_unit_takes_away_is_not_needed(service):
    """ProcSubset, ProtectProc, ProtectSystem and MemoryDenyWriteExecute are in force, SystemCallFilter is compared."""
    trace = service.folder / "trace"
    confine = ["unshare", "--mount", "sh", "-ec", CONFINED.format(folder=service.folder), "sh"]
    follow = ["strace", "--follow-forks", "--quiet=all", "--output", str(trace)]
    with trio.fail_after(PATIENCE):
        server = service.start(*confine, *follow, *PYTHON, "-c", HARDENED, "run", str(service.configure()))
        await server.says("listening")
        assert "all steps passed" in await service.dial()
        with Client(service.socket) as client:
            await trio.to_thread.run_sync(client.get, "/v1/stats")
            with client.stream("/metrics") as metrics:
                assert "process_start_time_seconds" in metrics.read().decode()
        for process in server.processes()[1:]:
            os.kill(process, signal.SIGTERM)
        assert await server.ended() == 0
    made = set(re.findall(r"^\d+ +(?:<\.\.\. )?([a-z]\w*)(?:\(| resumed)", trace.read_text(errors="replace"), re.M))
    assert {"setsockopt", "ioctl", "sendto", "epoll_wait"} <= made
    assert made - filtered_in() == set()


def filtered_in() -> set[str]:
    """The system calls that SystemCallFilter of the unit allows; @default is always among them."""
    listed = subprocess.check_output(["systemd-analyze", "syscall-filter"], text=True, stderr=subprocess.DEVNULL)
    groups: dict[str, list[str]] = {}
    for block in listed.split("\n\n"):
        name, *calls = [line.strip() for line in block.strip().splitlines() if not line.strip().startswith("#")] or [""]
        groups[name] = calls

    def members(name: str) -> set[str]:
        return set().union(*map(members, groups[name])) if name.startswith("@") else {name}

    unit = (Path(__file__).parents[2] / "poptrio" / "system" / "poptrio.service").read_text()
    allowed = members("@default")
    for value in re.findall(r"^SystemCallFilter=(.*)$", unit, re.M):
        named = set().union(*map(members, value.removeprefix("~").split()))
        allowed = allowed - named if value.startswith("~") else allowed | named
    return allowed | members("@default")


def status_of(process: int) -> dict[str, str]:
    lines = Path(f"/proc/{process}/status").read_text().splitlines()
    return {name: value.strip() for name, _, value in (line.partition(":") for line in lines)}


@pytest.mark.parametrize("workers", [1, 2])
async def test_it_becomes_another_user_who_can_all_that_it_needs(service, python_for_all, workers):
    config = service.configure(f'[server]\nworkers = {workers}\nuser = "nobody"')
    nobody = Account.find("nobody")
    secrets = service.folder / "chap-secrets"
    os.chown(secrets, nobody.uid, nobody.gid)
    before = service.traces()
    with trio.fail_after(PATIENCE):
        server = service.start(*python_for_all, "-m", "poptrio", "run", str(config))
        text = await server.says("listening")
        assert f"uid={nobody.uid}" in text
        for process in server.processes():
            status = status_of(process)
            assert status["Uid"].split() == [str(nobody.uid)] * 4
            assert (status["CapEff"], status["CapBnd"], status["NoNewPrivs"]) == (THREE, THREE, "1")
        assert len(server.processes()) == (1 if workers == 1 else workers + 1)
        assert "all steps passed" in await service.dial()
        server.process.send_signal(signal.SIGHUP)
        await server.says("secrets file read again")
        if workers > 1:
            worker = next(pid for pid in server.processes() if pid != server.process.pid)
            os.kill(worker, signal.SIGKILL)
            await until(lambda: len(server.processes()) == workers + 1 and not Path(f"/proc/{worker}").exists())
            await until(lambda: service.traces()["links"][-1]["ifname"].startswith("poptrio"))
            assert "all steps passed" in await service.dial()
        server.process.terminate()
        assert await server.ended() == 0
    assert service.traces() == before


@pytest.mark.parametrize(
    ("user", "mode", "status", "why"),
    [
        ("poptrio-nobody", 0o644, 2, 'there is no user "poptrio-nobody"; make one: useradd'),
        ("nobody", 0o600, 2, "nobody cannot read {config}, and SIGHUP reads it again"),
        ("nobody", 0o644, 2, "chap-secrets: cannot be read: Permission denied"),
    ],
)
async def test_what_that_user_cannot_do_is_said_at_the_start(service, python_for_all, user, mode, status, why):
    config = service.configure(f'[server]\nuser = "{user}"')
    config.chmod(mode)
    with trio.fail_after(PATIENCE):
        server = service.start(*python_for_all, "-m", "poptrio", "run", str(config))
        assert await server.ended() == status
    assert why.format(config=config) in server.log.read_text()


@pytest.mark.parametrize("workers", [1, 2])
async def test_after_kill_9_nothing_is_left_and_it_starts_again(service, workers):
    config = service.configure(f"[server]\nworkers = {workers}")
    before = service.traces()
    with trio.fail_after(PATIENCE):
        server = service.start(*PYTHON, "-m", "poptrio", "run", str(config))
        await server.says("listening")
        load = ["load", "192.0.2.1", "--user", "alice", "--password", "secret", "--calls", "3", "--hold", "60"]
        async with trio.open_nursery() as nursery:
            command = service.client.command(*PYTHON, "-m", "poptrio", *load)
            nursery.start_soon(partial(trio.run_process, command, stdout=subprocess.DEVNULL, check=False))
            await server.says("call up", 3)
            assert service.traces() != before
            server.process.kill()
            await server.ended()
            await until(lambda: not server.processes())
            nursery.cancel_scope.cancel()
        await until(lambda: service.traces() == before)
        server = service.start(*PYTHON, "-m", "poptrio", "run", str(config))
        await server.says("listening")
        assert "all steps passed" in await service.dial()
        assert "address=10.90.0.2 " in await server.says("call up")  # the first of the pool again: no lease is left
        server.process.terminate()
        assert await server.ended() == 0
    assert service.traces() == before
    assert not service.socket.exists()
