"""Shows a tunnel: two network namespaces, `poptrio run` in one, `poptrio dial` in the other, and traffic in between.

    client namespace                                    server namespace
    192.0.2.2  ──────── veth: TCP 1723 and GRE ───────  192.0.2.1
    TUN 10.90.0.2  ════ tunnel: whatever is IP ═══════  TUN 10.90.0.1

Run as root by ``make demo``; needs iproute2, ping and Python. Nothing outside of the two namespaces is touched, and
nothing is left behind. Exit code 0 when everything worked, 1 when it did not, 2 when it cannot run here.
"""

import hashlib
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import trio
from rich.console import Console
from rich.text import Text

from poptrio.testing.namespaces import Namespace, join

POPTRIO = (sys.executable, "-m", "poptrio")
SERVER, CLIENT = "192.0.2.1", "192.0.2.2"
INNER_SERVER, INNER_CLIENT = "10.90.0.1", "10.90.0.2"
USER = "demo"

MARK = b"can-you-read-me?"
"""In every packet that is sent through the tunnel, so that we can look for it on the wire."""

PINGS = 5
PAYLOAD = MARK * (4_000_000 // len(MARK))
"""What is sent each way by TCP, in octets; every packet of it has `MARK` in it."""

STEP_TIMEOUT = 20.0
"""Seconds for each thing that is waited for; together they take less than ten."""

CONFIG = f"""\
[addresses]
server = "{INNER_SERVER}"
pool = ["{INNER_CLIENT}"]

[management]
socket = "poptrio.sock"
"""

ETH_P_ALL = 3
GRE, TCP = 47, 6

console = Console(highlight=False, soft_wrap=True)


class DemoFailed(Exception):
    """Something did not work; the text says what."""


@dataclass(slots=True)
class Host:
    """One end of the demo: its namespace, and the name of its end of the cable."""

    namespace: Namespace
    cable: str

    def listen_to(self, interface: str) -> socket.socket:
        """A socket that gets a copy of every packet of ``interface``."""
        with self.namespace.entered():
            copy = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK, socket.htons(ETH_P_ALL))
            copy.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8 << 20)
            copy.bind((interface, ETH_P_ALL))
        return copy


@dataclass(slots=True)
class Seen:
    """What a listener has seen on one interface."""

    packets: int = 0
    control: int = 0
    gre: int = 0
    readable: int = 0

    def count(self, packet: bytes) -> None:
        """One IPv4 packet; others do not count."""
        if len(packet) < 20 or packet[0] >> 4 != 4:
            return
        self.packets += 1
        self.control += packet[9] == TCP
        self.gre += packet[9] == GRE
        self.readable += MARK in packet


async def demo(server: Host, client: Host, folder: Path) -> None:
    """The whole story; raises `DemoFailed` where it ends badly."""
    wire, inside = Seen(), Seen()
    async with trio.open_nursery() as nursery:
        heading("The server starts")
        daemon = await start(nursery, server, {}, "run", str(folder / "config.toml"), stderr=subprocess.PIPE)
        log = lines_of(daemon.stderr)
        await line_with(log, "listening")
        good(f"poptrio run listens on {SERVER}, TCP port 1723")
        nursery.start_soon(listen, server.listen_to(server.cable), wire)
        nursery.start_soon(listen, server.listen_to("poptrio0"), inside)

        heading("The client calls")
        arguments = ("dial", SERVER, "--user", USER)
        password = {"POPTRIO_PASSWORD": read_password(folder)}
        call = await start(nursery, client, password, *arguments, stdout=subprocess.PIPE)
        steps = lines_of(call.stdout)
        await line_with(steps, "up: ", show=True)

        heading("Packets pass")
        await ping(client)
        await transfer(client, INNER_CLIENT, server, INNER_SERVER, "client to server")
        await transfer(server, INNER_SERVER, client, INNER_CLIENT, "server to client")

        heading("What the wire carried")
        report(wire, inside)

        heading("The client hangs up")
        call.send_signal(signal.SIGINT)
        await line_with(steps, "call ended", show=True)
        await ended(call, "poptrio dial")
        _, _, line = (await line_with(log, "call ended")).partition("] ")
        console.print(Text(f"  in the server's log: {line}", "dim"))
        daemon.send_signal(signal.SIGTERM)
        await ended(daemon, "poptrio run")
        if "poptrio0" in server.namespace.run("ip", "-brief", "link"):
            raise DemoFailed("the server has left its TUN behind")
        good("both programs have ended, the TUNs and their routes are gone")
        nursery.cancel_scope.cancel()


# The parts of the story.


async def ping(client: Host) -> None:
    """A few pings of 1,000 octets to the server's inner address."""
    command = client.namespace.command(
        *("ping", "-c", str(PINGS), "-i", "0.2", "-W", "2", "-s", "1000", "-p", MARK.hex(), INNER_SERVER)
    )
    with deadline("the pings"):
        result = await trio.run_process(command, capture_stdout=True, capture_stderr=True, check=False)
    output = result.stdout.decode()
    if result.returncode or f" {PINGS} received" not in output:
        raise DemoFailed(f"pings were lost: {' '.join(output.split())}")
    times = output.splitlines()[-1].partition(" = ")[2]
    good(f"{PINGS} pings of 1000 octets, {PINGS} answers: min/avg/max/mdev {times}")


async def transfer(source: Host, source_address: str, sink: Host, sink_address: str, direction: str) -> None:
    """`PAYLOAD` over one TCP connection from ``source`` to ``sink``, compared at the end."""
    with sink.namespace.entered():
        listener = trio.socket.socket()
    with source.namespace.entered():
        sender = trio.socket.socket()
    with listener, sender, deadline(f"the transfer from {direction}"):
        await listener.bind((sink_address, 5001))
        listener.listen(1)
        await sender.bind((source_address, 0))
        begun = trio.current_time()
        await sender.connect((sink_address, 5001))
        receiver, _ = await listener.accept()
        arrived = hashlib.sha256()
        async with trio.open_nursery() as nursery, trio.SocketStream(receiver) as stream:
            nursery.start_soon(send_payload, trio.SocketStream(sender))
            async for chunk in stream:
                arrived.update(chunk)
        seconds = trio.current_time() - begun
    if arrived.digest() != hashlib.sha256(PAYLOAD).digest():
        raise DemoFailed(f"what was sent from {direction} arrived damaged")
    megabits = len(PAYLOAD) * 8 / seconds / 1e6
    good(f"{len(PAYLOAD) / 1e6:.1f} MB by TCP from {direction}: SHA-256 equal, {megabits:.0f} Mbit/s")


async def send_payload(stream: trio.SocketStream) -> None:
    """All of it, then the end of the stream."""
    async with stream:
        await stream.send_all(PAYLOAD)


def report(wire: Seen, inside: Seen) -> None:
    """Compare what passed between the machines with what passed inside of the tunnel."""
    if not inside.readable:
        raise DemoFailed(
            "not even the packets inside of the tunnel had the marked text: the comparison is worth nothing"
        )
    console.print(f"  inside:  {inside.packets} packets, of which {inside.readable} with the text {MARK.decode()!r}")
    console.print(f"  outside: {wire.gre} GRE packets, {wire.control} of the control connection (TCP)")
    if wire.readable:
        raise DemoFailed(f"{wire.readable} packets outside had the text in clear")
    good(f"none of the {wire.packets} packets outside has it: MPPE-128 encrypts them")


# Processes, and what they say.


async def start(
    nursery: trio.Nursery, host: Host, extra: dict[str, str], *arguments: str, **pipes: int
) -> trio.Process:
    """Run poptrio in a host's namespace, in a session of its own so that Ctrl-C reaches only us."""
    environment = os.environ | {"COLUMNS": "120", "PYTHONUNBUFFERED": "1"} | extra
    run = partial(trio.run_process, check=False, start_new_session=True, env=environment, **pipes)
    process: trio.Process = await nursery.start(run, host.namespace.command(*POPTRIO, *arguments))
    return process


async def lines_of(stream: trio.abc.ReceiveStream | None) -> AsyncIterator[str]:
    """The lines of a process as they come."""
    assert stream is not None
    rest = b""
    async for chunk in stream:
        *lines, rest = (rest + chunk).split(b"\n")
        for line in lines:
            yield line.decode(errors="replace").rstrip()


async def line_with(lines: AsyncIterator[str], text: str, *, show: bool = False) -> str:
    """Read on to the line with ``text``; ``show`` prints everything on the way."""
    heard = []
    with deadline(f'the line "{text}"'):
        async for line in lines:
            heard.append(line)
            if show:
                console.print(Text(f"  {line}", "green" if line.startswith("✓") else ""))
            if text in line:
                return line
    raise DemoFailed(f'a program ended before it said "{text}"; it said: {" / ".join(heard) or "nothing"}')


async def ended(process: trio.Process, name: str) -> None:
    """Wait for the end of a process that was told to go."""
    with deadline(f"the end of {name}"):
        if await process.wait() != 0:
            raise DemoFailed(f"{name} ended with exit code {process.returncode}")


async def listen(copy: socket.socket, seen: Seen) -> None:
    """Count what passes until cancelled, or until the interface is gone."""
    with copy, suppress(OSError):
        while True:
            await trio.lowlevel.wait_readable(copy)
            try:
                for _ in range(64):
                    seen.count(copy.recv(65535))
            except BlockingIOError:
                continue


@contextmanager
def deadline(what: str) -> Iterator[None]:
    """Give ``what`` no more than `STEP_TIMEOUT`."""
    with trio.move_on_after(STEP_TIMEOUT) as scope:
        yield
    if scope.cancelled_caught:
        raise DemoFailed(f"{what} took more than {STEP_TIMEOUT:.0f} s")


# The set-up.


def write_configuration(folder: Path) -> None:
    """A configuration with one address to give, and one user with a random password."""
    (folder / "config.toml").write_text(CONFIG)
    (folder / "chap-secrets").touch(mode=0o600)
    (folder / "chap-secrets").write_text(f"{USER} * {secrets.token_hex(12)} *\n")


def read_password(folder: Path) -> str:
    """The password that was written."""
    return (folder / "chap-secrets").read_text().split()[2]


def cable_of(namespace: Namespace) -> str:
    """The name of the one interface that a fresh namespace has beside the loopback."""
    with namespace.entered():
        (name,) = {name for _, name in socket.if_nameindex()} - {"lo"}
    return name


def heading(text: str) -> None:
    """A chapter of the story."""
    console.print(f"\n[bold]{text}[/]")


def good(text: str) -> None:
    """Something worked."""
    console.print(Text(f"✓ {text}", "green"))


def what_is_missing() -> str | None:
    """Why the demo cannot run here, with the remedy; None when it can."""
    if os.geteuid() != 0:
        return "it builds network namespaces, which only root may: sudo make demo"
    for program, package in (("ip", "iproute2"), ("ping", "iputils-ping")):
        if shutil.which(program) is None:
            return f"the program {program} is not there: apt-get install {package}"
    if not Path("/dev/net/tun").exists():
        return "/dev/net/tun is not there: modprobe tun, or give the container --device=/dev/net/tun"
    return None


async def run_until_signal() -> None:
    """The demo between two fresh namespaces; Ctrl-C and SIGTERM end it, and everything is taken down in any case."""
    label = f"demo-{os.getpid()}"
    with ExitStack() as resources:
        folder = Path(resources.enter_context(tempfile.TemporaryDirectory(prefix="poptrio-demo-")))
        write_configuration(folder)
        server, client = (resources.enter_context(Namespace(f"{label}-{end}")) for end in ("server", "client"))
        join(server, SERVER, client, CLIENT)
        console.print(f"Two machines, connected by a cable: {server.name} ({SERVER}) and {client.name} ({CLIENT})")
        async with trio.open_nursery() as nursery:
            nursery.start_soon(fail_on_signal)
            await demo(Host(server, cable_of(server)), Host(client, cable_of(client)), folder)
            nursery.cancel_scope.cancel()


async def fail_on_signal() -> None:
    """Ctrl-C and SIGTERM are failures like others, so that all programs are stopped in order."""
    with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
        async for number in signals:
            raise DemoFailed(f"interrupted by {signal.Signals(number).name}")


def main() -> int:
    """Run the demo and return the exit code."""
    missing = what_is_missing()
    if missing is not None:
        console.print(f"The demo cannot run here: {missing}")
        return 2
    begun = time.monotonic()
    failures: list[Exception] = []
    try:
        trio.run(run_until_signal, strict_exception_groups=True)
    except* (DemoFailed, OSError, subprocess.CalledProcessError) as group:
        failures = list(leaves(group))
    for failure in failures:
        console.print(Text(f"✗ {failure}", "bold red"))
    if not failures:
        console.print(f"\n[bold green]It works[/] ({time.monotonic() - begun:.1f} s). Both namespaces are gone again.")
    return 1 if failures else 0


def leaves(group: BaseExceptionGroup[Exception]) -> Iterator[Exception]:
    """The exceptions in a group of groups."""
    for member in group.exceptions:
        if isinstance(member, BaseExceptionGroup):
            yield from leaves(member)
        else:
            yield member


if __name__ == "__main__":
    sys.exit(main())
