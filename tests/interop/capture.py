"""What was on the wire: dumpcap at the server's side, and what tshark makes of it."""

import signal
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

OUTGOING_CALL_REQUEST = 7  # RFC 2637 §2.7
OUTGOING_CALL_REPLY = 8
START_CONTROL_CONNECTION_REQUEST = 1
IPCP = 0x8021
EAP = 0xC227
CONFIGURE_REQUEST = 1
CONFIGURE_ACK = 2

FIELDS = (
    "frame.time_epoch", "ip.src", "pptp.control_message_type", "pptp.call_id", "pptp.peer_call_id",
    "gre.key.call_id", "gre.key.payload_length", "ppp.protocol", "ppp.code",
)  # fmt: skip
MALFORMED = "_ws.malformed || _ws.expert.severity >= 8388608"  # 8388608: PI_ERROR


class Capture:
    """A running dumpcap; a context manager that stops it on the way out."""

    def __init__(self, interface: str, file: Path) -> None:
        self._interface = interface
        self.file = file
        self._process: subprocess.Popen[str] | None = None

    def __enter__(self) -> "Capture":
        self._process = subprocess.Popen(
            ["setpriv", "--pdeathsig", "KILL", "dumpcap", "-q", "-i", self._interface, "-w", str(self.file)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        assert self._process.stderr is not None
        for line in self._process.stderr:  # ends when dumpcap does
            if line.startswith("File:"):
                return self
        raise OSError(f"dumpcap cannot capture on {self._interface}")

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> None:
        """End the capture; the file is complete then. A second time does nothing."""
        process, self._process = self._process, None
        if process is None:
            return
        time.sleep(0.3)  # the kernel hands over a block that is not full after 250 ms
        process.send_signal(signal.SIGINT)
        try:
            process.communicate(timeout=10.0)
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()


@dataclass(frozen=True, slots=True)
class SetUp:
    """How long one call took from Outgoing-Call-Request to the last IPCP Configure-Ack, in seconds.

    ``server`` is the server's share: the sum of all silences that ended with a packet of the server. The rest is the
    client's own time.
    """

    total: float
    server: float


@dataclass(frozen=True, slots=True)
class Packet:
    """What the set-up times need of one captured packet."""

    time: float
    source: str
    control_messages: tuple[int, ...]
    call_ids: tuple[int, ...]
    peer_call_ids: tuple[int, ...]
    gre_call_id: int | None
    gre_payload_length: int
    ppp_protocol: int | None
    ppp_code: int | None


def malformed(file: Path) -> str:
    """The packets that tshark finds malformed or in error, a line each; empty when there is none."""
    return _tshark(file, "-Y", MALFORMED)


def matching(file: Path, display_filter: str) -> str:
    """The packets that a display filter of tshark matches, a line each."""
    return _tshark(file, "-Y", display_filter)


def read_packets(file: Path) -> list[Packet]:
    """The control messages and the unencrypted GRE packets of a capture."""
    arguments = ["-Y", "pptp || (gre && ppp.protocol != 0x00fd)", "-T", "fields"]
    for field in FIELDS:
        arguments += ["-e", field]
    return [_packet(line) for line in _tshark(file, *arguments).splitlines()]


def control_connections(packets: list[Packet]) -> int:
    """How many Start-Control-Connection-Requests there are."""
    return sum(packet.control_messages.count(START_CONTROL_CONNECTION_REQUEST) for packet in packets)


def set_ups(packets: list[Packet], server: str, client: str) -> Iterator[SetUp]:
    """The set-up time of each call of ``client`` that came up, in the order of their Outgoing-Call-Requests."""
    for index, request in enumerate(packets):
        if request.source == client and OUTGOING_CALL_REQUEST in request.control_messages:
            exchange = list(_exchange(packets[index:], request.call_ids[0], server))
            silences = [
                (
                    client if _was_waiting(exchange[: number + 1], after, server) else after.source,
                    after.time - before.time,
                )
                for number, (before, after) in enumerate(pairwise(exchange))
            ]
            if silences:
                yield SetUp(
                    total=exchange[-1].time - request.time,
                    server=sum(length for source, length in silences if source == server),
                )


def _was_waiting(before: list[Packet], packet: Packet, server: str) -> bool:
    """Whether the server repeats a request because its Restart timer ran out: it had waited for the client.

    pptp-linux now and then leaves a packet lying until the next one comes. Two packets of EAP in a row from the server
    are always a request and its repetition.
    """
    if packet.ppp_protocol == before[-1].ppp_protocol == EAP:
        return before[-1].source == packet.source == server
    repeats = [
        earlier
        for earlier in before
        if (earlier.source, earlier.ppp_protocol, earlier.ppp_code) == (server, packet.ppp_protocol, packet.ppp_code)
    ]
    return packet.ppp_code == CONFIGURE_REQUEST and before[-1].source == packet.source == server and bool(repeats)


def _exchange(packets: list[Packet], client_call_id: int, server: str) -> Iterator[Packet]:
    """The packets of one call from its request to the later of the two first IPCP Acks; nothing if it never came up."""
    server_call_id = None
    exchange = [packets[0]]
    acked_by: set[str] = set()
    for packet in packets[1:]:
        if OUTGOING_CALL_REPLY in packet.control_messages and client_call_id in packet.peer_call_ids:
            server_call_id = packet.call_ids[packet.peer_call_ids.index(client_call_id)]
            exchange.append(packet)
        elif packet.gre_payload_length and packet.gre_call_id == (
            client_call_id if packet.source == server else server_call_id
        ):
            exchange.append(packet)
            if (packet.ppp_protocol, packet.ppp_code) == (IPCP, CONFIGURE_ACK):
                acked_by.add(packet.source)
                if len(acked_by) == 2:
                    yield from exchange
                    return


def _tshark(file: Path, *arguments: str) -> str:
    # -n: no look-ups of names. stderr has tshark's warning about running as root.
    done = subprocess.run(
        ["tshark", "-n", "-r", str(file), *arguments], capture_output=True, text=True, check=False, timeout=60.0
    )
    if done.returncode != 0:
        raise OSError(f"tshark could not read {file}: {done.stderr.strip()}")
    return done.stdout


def _packet(line: str) -> Packet:
    time_, source, types, call_ids, peer_call_ids, gre_call_id, gre_length, protocol, code = line.split("\t")
    return Packet(
        time=float(time_),
        source=source,
        control_messages=_numbers(types),
        call_ids=_numbers(call_ids),
        peer_call_ids=_numbers(peer_call_ids),
        gre_call_id=next(iter(_numbers(gre_call_id)), None),
        gre_payload_length=next(iter(_numbers(gre_length)), 0),
        ppp_protocol=next(iter(_numbers(protocol)), None),
        ppp_code=next(iter(_numbers(code)), None),
    )


def _numbers(text: str) -> tuple[int, ...]:
    return tuple(int(number, 0) for number in text.split(",") if number)
