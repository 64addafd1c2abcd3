"""What a row is played on: the guest, one server, captures and clients, and what was seen with them."""

import sys
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import capture
import traffic
from backend import Backend
from capture import Capture, SetUp
from client import Negotiated, PppdClient, end_all_calls
from guest import Guest
from guest_server import GuestPoptrio
from network import Network
from server import Poptrio

MPPE_OVERHEAD = 4  # bytes: what pppd takes off its interface's MTU when MPPE is up
TRAFFIC_PROGRAM = Path(traffic.__file__).resolve()


class RowFailed(Exception):
    """What the row expects did not happen; the text says what did."""


@dataclass(slots=True)
class Outcome:
    """What was seen in one row, for its line of the table."""

    calls: list[Negotiated] = field(default_factory=list)
    set_ups: list[SetUp] = field(default_factory=list)
    note: str = ""


@dataclass(frozen=True, slots=True)
class Dial:
    """How the client of a row dials and what both sides should agree on; None where no call should come up."""

    ppp: Mapping[str, object]  # keys of the config's [ppp] table that differ from the defaults
    options: tuple[str, ...]  # pppd's, besides the common ones
    authentication: str = ""
    encryption: str = ""
    user: str = "alice"
    password: str | None = None  # None: the right one
    backend: Callable[[Path, str], Backend] | None = None  # None: chap-secrets
    tables: Mapping[str, Mapping[str, object]] = field(default_factory=dict)  # of the config, besides [ppp]


class Stage:
    """Everything one row plays with. A context manager: server, capture and calls have ended on the way out."""

    def __init__(
        self, guest: Guest, folder: Path, secrets: Mapping[str, str], dial: Dial, server_guest: Guest | None = None
    ) -> None:
        self.guest = guest
        self.dial = dial
        self.outcome = Outcome()
        self.backend = dial.backend(folder, secrets["alice"]) if dial.backend else Backend()
        self.server = (
            Poptrio(folder, secrets, self._tables())
            if server_guest is None
            else GuestPoptrio(server_guest, folder, secrets, self._tables())
        )
        self.clients: list[PppdClient] = []
        self._folder = folder
        self._secrets = secrets
        self._captures: list[Capture] = []
        self._last_looks: list[Callable[[Path], None]] = []
        self._exits = ExitStack()

    def __enter__(self) -> "Stage":
        with ExitStack() as exits:
            exits.callback(end_all_calls, self.guest)
            exits.callback(self._end_clients)
            exits.callback(self._stop_captures)
            self.start_capture(Network.bridge)
            exits.enter_context(self.backend)
            exits.enter_context(self.server)
            self._exits = exits.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._exits.close()

    def _tables(self) -> dict[str, Mapping[str, object]]:
        """The server's configuration: what the back end needs, with what the row says."""
        tables: dict[str, Mapping[str, object]] = {"ppp": self.dial.ppp}
        for source in (self.backend.tables, self.dial.tables):
            for name, table in source.items():
                tables[name] = {**tables.get(name, {}), **table}
        return tables

    def start_capture(self, interface: str) -> None:
        """Capture on an interface until the row ends."""
        running = Capture(interface, self._folder / f"{interface}.pcapng")
        running.__enter__()
        self._captures.append(running)

    def client(
        self,
        name: str = "call",
        *,
        user: str | None = None,
        password: str | None = None,
        own_control_connection: bool = False,
    ) -> PppdClient:
        """A client as the row describes it, not yet started; its log is kept when the row has ended."""
        password = password or self.dial.password
        client = PppdClient(
            self.guest,
            self.server.address,
            name=name,
            user=user or self.dial.user,
            password=self._secrets["alice"] if password is None else password,
            options=self.dial.options,
            own_control_connection=own_control_connection,
        )
        self.clients.append(client)
        return client

    @property
    def secret(self) -> str:
        """The password of the row's user."""
        return self._secrets["alice"]

    def end_calls(self) -> None:
        """No call is left in the guest; the clients' logs are kept."""
        self._end_clients()
        end_all_calls(self.guest)

    def dial_up(self) -> tuple[PppdClient, Negotiated]:
        """Dial with one client, wait until it is up and check what was agreed."""
        client = self.client()
        client.start()
        return client, self.is_up(client)

    def is_up(self, client: PppdClient) -> Negotiated:
        """Wait until a client is up; what was agreed must be what the row names."""
        call = client.wait_up()
        self.outcome.calls.append(call)
        for what, seen, expected in (
            ("authentication", call.authentication, self.dial.authentication),
            ("encryption", call.encryption, self.dial.encryption),
            ("server's address", call.server_address, Poptrio.inner_address),
        ):
            if seen != expected:
                raise RowFailed(f"{what} is {seen}, not {expected}")
        return call

    def carries(self, call: Negotiated, mtu: int = 1400) -> None:
        """Full-size pings with don't-fragment both ways, and a megabyte of TCP each way.

        ``mtu`` is what the row expects in both directions; MPPE may take its four bytes off it.
        """
        floor = mtu - MPPE_OVERHEAD
        expect(floor <= call.mtu <= mtu, f"the client's MTU is {call.mtu}, not {mtu}")
        inner = self.server.inner_address
        command = " ".join(traffic.ping_command(inner, call.mtu, source=call.address))
        output = traffic.answered(lambda: self.guest.run(command).output)
        expect(traffic.all_returned(output), f"pings of {call.mtu} bytes to the server: {output}")

        largest = traffic.reported_mtu(self.ping(call.address, mtu, count=1)) or mtu
        expect(floor <= largest <= mtu, f"the server's MTU towards the client is {largest}, not {mtu}")
        output = traffic.answered(lambda: self.ping(call.address, largest))
        expect(traffic.all_returned(output), f"pings of {largest} bytes to the client: {output}")

        transfer = self.server.transfer()
        program = f"{sys.executable} -S -E -B {TRAFFIC_PROGRAM} {inner} {transfer.port} {call.address}"
        client_end = self.guest.run(program, timeout=2 * traffic.TIMEOUT)
        fault = transfer.fault()
        expect(client_end.status == 0, f"TCP transfer, client's end: {client_end.output.strip()}")
        expect(fault is None, f"TCP transfer, server's end: {fault}")

    def at_end(self, look: Callable[[Path], None]) -> None:
        """Have ``look`` see the file of the capture when it is complete."""
        self._last_looks.append(look)

    def ping(self, target: str, mtu: int, *, count: int = 3) -> str:
        """Ping from the server's side; returns ping's output and errors."""
        return self.server.run(*traffic.ping_command(target, mtu, count=count))

    def finish(self) -> None:
        """After the scenario: the server ends cleanly, nothing captured is malformed, the set-ups were fast."""
        self.server.terminate()
        self.server.wait_stopped()
        self.server.check_log()
        self._end_clients()
        self._stop_captures()
        for finished in self._captures:
            faults = capture.malformed(finished.file)
            expect(not faults, f"tshark finds faults in {finished.file.name}: {faults.strip()}")
        for look in self._last_looks:
            look(self._captures[0].file)
        self.outcome.set_ups = self.measured_set_ups()
        expect(
            len(self.outcome.set_ups) == len(self.outcome.calls),
            f"the capture shows {len(self.outcome.set_ups)} set-ups for {len(self.outcome.calls)} calls",
        )
        for set_up in self.outcome.set_ups:
            expect(
                set_up.server < self.server.pause, f"{set_up.server * 1e3:.0f} ms of the set-up were the server's own"
            )

    def control_connections(self) -> int:
        """How many control connections the capture has; ends the captures."""
        return capture.control_connections(self._captured())

    def measured_set_ups(self) -> list[SetUp]:
        """The set-ups that the capture has; ends the captures."""
        return list(capture.set_ups(self._captured(), self.server.address, Network.guest_address))

    def _captured(self) -> list[capture.Packet]:
        self._stop_captures()
        return capture.read_packets(self._captures[0].file)

    def _end_clients(self) -> None:
        while self.clients:
            client = self.clients.pop()
            (self._folder / f"pppd-{client.name}.log").write_text(client.log())
            client.end()

    def _stop_captures(self) -> None:
        for running in self._captures:
            running.stop()


def expect(condition: bool, otherwise: str) -> None:
    """Raise `RowFailed` with ``otherwise`` unless ``condition`` holds."""
    if not condition:
        raise RowFailed(otherwise)
