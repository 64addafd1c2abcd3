"""What happens in a row: each scenario plays one kind of call from dial to end and says what it found.

A scenario gets a `Stage` with the guest, a server, a running capture and clients to dial with; it raises `RowFailed`
(or one of the errors of client, server and guest) when the row's expectation does not hold.
"""

import re
import statistics
import sys
import time
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import capture
import traffic
from capture import Capture, SetUp
from client import Negotiated, PppdClient, end_all_calls
from guest import Guest
from network import Network
from server import Poptrio

SERVER_SHARE_LIMIT = 0.030  # seconds of a set-up that may be the server's own, where it is measured
PAUSE = 0.150  # seconds: a server's share like this is no busy machine any more, but a pause
SET_UPS_MEASURED = 5
IDLE_TIME = 20.0  # seconds
SMALL_MTU = 600  # bytes
MPPE_OVERHEAD = 4  # bytes: what pppd takes off its interface's MTU when MPPE is up
HUNG_UP = "cause=client-hung-up"
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


class Stage:
    """Everything one row plays with. A context manager: server, capture and calls have ended on the way out."""

    def __init__(self, guest: Guest, folder: Path, secrets: Mapping[str, str], dial: Dial) -> None:
        self.guest = guest
        self.dial = dial
        self.outcome = Outcome()
        self.server = Poptrio(folder, secrets, dial.ppp)
        self.clients: list[PppdClient] = []
        self._folder = folder
        self._secrets = secrets
        self._captures: list[Capture] = []
        self._exits = ExitStack()

    def __enter__(self) -> "Stage":
        with ExitStack() as exits:
            exits.callback(end_all_calls, self.guest)
            exits.callback(self._end_clients)
            self.start_capture(Network.bridge)
            exits.callback(self._stop_captures)
            exits.enter_context(self.server)
            self._exits = exits.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._exits.close()

    def start_capture(self, interface: str) -> None:
        """Capture on an interface until the row ends."""
        running = Capture(interface, self._folder / f"{interface}.pcapng")
        running.__enter__()
        self._captures.append(running)

    def client(
        self, name: str = "call", *, user: str | None = None, own_control_connection: bool = False
    ) -> PppdClient:
        """A client as the row describes it, not yet started; its log is kept when the row has ended."""
        password = self.dial.password
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
        command = traffic.ping_command(inner, call.mtu, source=call.address)
        output = self.guest.run(" ".join(command)).output
        expect(traffic.all_returned(output), f"pings of {call.mtu} bytes to the server: {output}")

        largest = traffic.reported_mtu(traffic.ping(call.address, mtu, count=1)) or mtu
        expect(floor <= largest <= mtu, f"the server's MTU towards the client is {largest}, not {mtu}")
        output = traffic.ping(call.address, largest)
        expect(traffic.all_returned(output), f"pings of {largest} bytes to the client: {output}")

        transfer = traffic.TransferServer(inner)
        program = f"{sys.executable} -S -E -B {TRAFFIC_PROGRAM} {inner} {transfer.port} {call.address}"
        client_end = self.guest.run(program, timeout=2 * traffic.TIMEOUT)
        fault = transfer.fault()
        expect(client_end.status == 0, f"TCP transfer, client's end: {client_end.output.strip()}")
        expect(fault is None, f"TCP transfer, server's end: {fault}")

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
        self.outcome.set_ups = self.measured_set_ups()
        expect(
            len(self.outcome.set_ups) == len(self.outcome.calls),
            f"the capture shows {len(self.outcome.set_ups)} set-ups for {len(self.outcome.calls)} calls",
        )
        for set_up in self.outcome.set_ups:
            expect(set_up.server < PAUSE, f"{set_up.server * 1e3:.0f} ms of the set-up were the server's own")

    def control_connections(self) -> int:
        """How many control connections the capture has; ends the captures."""
        return capture.control_connections(self._captured())

    def measured_set_ups(self) -> list[SetUp]:
        """The set-ups that the capture has; ends the captures."""
        return list(capture.set_ups(self._captured(), self.server.address))

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


# The scenarios.


def carries_traffic(stage: Stage) -> None:
    """A call comes up, carries traffic, and the client hangs up."""
    client, call = stage.dial_up()
    stage.carries(call)
    client.hang_up()


def carries_traffic_seen_inside(stage: Stage) -> None:
    """As `carries_traffic`, with a second capture on the server's TUN: what comes out of the tunnel is well-formed."""
    stage.start_capture(stage.server.interface)
    carries_traffic(stage)


def is_refused_a_login(stage: Stage) -> None:
    """Authentication fails: pppd says so and ends, and no call comes up."""
    client = stage.client()
    client.start()
    client.wait_exit()
    expect("authentication failed" in client.log(), "pppd did not say that authentication failed")
    stage.outcome.note = _failure_on_the_wire(client.log())
    stage.server.wait_for("cause=authentication-failed")


def looks_like_a_wrong_password(stage: Stage) -> None:
    """An unknown user and a wrong password get the same failure message, but for its challenge."""
    failures = []
    for name, user in (("unknown-user", stage.dial.user), ("wrong-password", "alice")):
        client = stage.client(name, user=user)
        client.start()
        client.wait_exit()
        failures.append(_failure_on_the_wire(client.log()))
    unknown_user, wrong_password = failures
    expect(unknown_user == wrong_password, f"unknown user: {unknown_user!r}, wrong password: {wrong_password!r}")
    stage.outcome.note = unknown_user


def is_refused_without_encryption(stage: Stage) -> None:
    """A client without MPPE never comes up where the server requires it."""
    client = stage.client()
    client.start()
    client.wait_exit(30.0)
    expect("remote IP address" not in client.log(), "the client came up without encryption")
    stage.outcome.note = _why(stage.server.wait_for("cause=encryption"))


def small_mtu(stage: Stage) -> None:
    """Client's MTU and MRU are small: what fits crosses, what does not is answered with fragmentation-needed."""
    client, call = stage.dial_up()
    output = traffic.ping(call.address, 1400, count=1)
    reported = traffic.reported_mtu(output)
    expect(reported is not None, f"a packet of 1400 bytes to the client got no fragmentation-needed: {output}")
    stage.outcome.note = f"fragmentation-needed says {reported}"
    stage.carries(call, SMALL_MTU)
    client.hang_up()


def client_sends_echoes(stage: Stage) -> None:
    """The client sends an LCP Echo-Request each second, and every one is answered."""
    _echoes(stage, request=r"sent \[LCP EchoReq id=(\S+)", reply=r"rcvd \[LCP EchoRep id=(\S+)")


def server_sends_echoes(stage: Stage) -> None:
    """The server sends an LCP Echo-Request each second, and takes the client's replies for what they are."""
    _echoes(stage, request=r"rcvd \[LCP EchoReq id=(\S+)", reply=r"sent \[LCP EchoRep id=(\S+)")


def idle(stage: Stage) -> None:
    """Nothing is sent for a while; the call is still there and carries traffic after it."""
    client, call = stage.dial_up()
    time.sleep(IDLE_TIME)
    expect(client.exit_status() is None, "the call ended while it was idle")
    stage.carries(call)
    client.hang_up()


def sets_up_without_a_pause(stage: Stage) -> None:
    """Several calls one after another: the server's share of their set-ups is small. The median, for fairness."""
    for number in range(SET_UPS_MEASURED):
        client = stage.client(f"call-{number}")
        client.start()
        stage.is_up(client)
        client.hang_up()
    shares = [set_up.server for set_up in stage.measured_set_ups()]
    median = statistics.median(shares)
    stage.outcome.note = f"median of the server's share: {median * 1e3:.1f} ms"
    expect(median < SERVER_SHARE_LIMIT, stage.outcome.note)


def client_hangs_up(stage: Stage) -> None:
    """pppd hangs up; the server says so, and the same user can dial again."""
    client, call = stage.dial_up()
    stage.carries(call)
    client.hang_up()
    stage.outcome.note = _why(stage.server.wait_for(HUNG_UP))
    again = stage.client("again")
    again.start()
    second = stage.is_up(again)
    expect(second.address == call.address, f"the second call got {second.address}, not {call.address} again")
    again.hang_up()


def client_vanishes(stage: Stage) -> None:
    """pppd and pptp are killed without a word; the server ends the call, and the same user can dial again."""
    stage.dial_up()
    end_all_calls(stage.guest)
    stage.outcome.note = _why(stage.server.wait_for("cause="))
    again = stage.client("again")
    again.start()
    stage.carries(stage.is_up(again))
    again.hang_up()


def server_hangs_up(stage: Stage) -> None:
    """SIGTERM: the server says goodbye by LCP, the client ends, and no device or route stays."""
    client, call = stage.dial_up()
    stage.carries(call)
    stage.server.terminate()
    client.wait_for(r"rcvd \[LCP TermReq")
    client.wait_exit()
    stage.server.wait_stopped()


def three_calls_on_one_connection(stage: Stage) -> None:
    """Three calls of one machine at once, over the control connection that pptp shares among them."""
    _three_calls(stage, shared=True)
    seen = stage.control_connections()
    expect(seen == 1, f"the calls used {seen} control connections, not one")
    stage.outcome.note = "one control connection"


def three_calls_on_three_connections(stage: Stage) -> None:
    """Three calls of one machine at once, each with a control connection of its own."""
    _three_calls(stage, shared=False)
    seen = stage.control_connections()
    expect(seen == 3, f"the calls used {seen} control connections, not three")
    stage.outcome.note = "three control connections"


def _three_calls(stage: Stage, *, shared: bool) -> None:
    clients = [stage.client(f"call-{number}", own_control_connection=not shared) for number in (1, 2, 3)]
    clients[0].start()
    if shared:  # the first makes the connection that the others find
        clients[0].wait_for("Connect:")
    for client in clients[1:]:
        client.start()
    calls = [stage.is_up(client) for client in clients]
    expect(len({call.address for call in calls}) == 3, "the calls do not have three addresses")
    for call in calls:
        stage.carries(call)
    clients[0].hang_up()
    for client, call in zip(clients[1:], calls[1:], strict=True):
        expect(client.exit_status() is None, "a call ended with the hang-up of another")
        expect(traffic.all_returned(traffic.ping(call.address, call.mtu)), "a call was dead after another hung up")
        client.hang_up()


def _echoes(stage: Stage, *, request: str, reply: str) -> None:
    """Watch five seconds of echoes in pppd's log, by their patterns, on a call that has nothing else to do."""
    client, call = stage.dial_up()
    time.sleep(5.0)
    log = client.log()
    requests, replies = set(re.findall(request, log)), set(re.findall(reply, log))
    stage.outcome.note = f"{len(replies)} of {len(requests)} Echo-Requests answered"
    # One fewer of each: a request may be due, or on its way, when the log is read.
    expect(len(requests) >= 4 and len(requests - replies) <= 1, f"in 5 s: {stage.outcome.note}")
    stage.carries(call)
    client.hang_up()


def _why(log_line: str) -> str:
    """The sentence of the server's line about the end of a call."""
    sentence = re.search(r'why="([^"]*)"', log_line)
    return sentence[1] if sentence else log_line


def _failure_on_the_wire(pppd_log: str) -> str:
    """The server's failure message without its challenge, which is random."""
    message = re.search(r'rcvd \[(?:CHAP Failure|PAP AuthNak) [^"]*"(.*)"\]', pppd_log)
    return re.sub(r"C=[0-9A-Fa-f]+", "C=…", message[1]) if message else "no failure message"
