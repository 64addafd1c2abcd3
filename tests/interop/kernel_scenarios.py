"""What is to be shown of the kernel's data path alone: no clear text, nothing left behind, no call stalls another."""

import re
import socket
import struct
import sys
import time
from pathlib import Path

import capture
import traffic
from crowd import Crowd
from network import Network
from stage import Negotiated, Stage, expect

from poptrio.datapath.packets import checksum

FIRST_SEQUENCE_NUMBER = 100_000  # above all that the client has used
CALLERS = 6
LOAD_SECONDS = 8.0
PINGS = 120
CHECKOUT = Path(__file__).resolve().parent.parent.parent
CONTRACT_TIMEOUT = 300.0  # seconds; a minute on an idle machine
PING_INTERVAL = 0.05
LONGEST_ROUND_TRIP = 1000.0  # milliseconds, in a guest in which six clients come and go
IPV4_SPELLINGS = ("0021", "21", "ff030021", "ff0321")
CCP = "ff0380fd"
REPEATED_REQUEST = bytes.fromhex("0101000a120601000040")  # MPPE-128 stateless, as it was agreed on
TERMINATE_REQUEST = bytes.fromhex("05010004")


class Injector:
    """Somebody on the way who knows the call's numbers and sends in the client's name."""

    def __init__(self, call_id: int) -> None:
        self._call_id = call_id
        self._sequence = FIRST_SEQUENCE_NUMBER
        self._raw = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW)

    def send(self, frame: bytes, *, acknowledged: bool = False) -> None:
        """One enhanced GRE packet (RFC 2637 §4.1)."""
        self._sequence += 1
        version = 0x81 if acknowledged else 0x01
        gre = struct.pack(">BBHHHI", 0x30, version, 0x880B, len(frame), self._call_id, self._sequence)
        gre += bytes(4) if acknowledged else b""
        header = struct.pack(">BBHHHBBH", 0x45, 0, 20 + len(gre) + len(frame), 0, 0, 64, socket.IPPROTO_GRE, 0)
        ends = socket.inet_aton(Network.guest_address) + socket.inet_aton(Network.server_address)
        self._raw.sendto(header + ends + gre + frame, (Network.server_address, 0))

    def send_clear_pings(self, call: Negotiated) -> int:
        """A ping of the client in clear, in every way to write it; returns how many."""
        for spelling in IPV4_SPELLINGS:
            for acknowledged in (False, True):
                self.send(bytes.fromhex(spelling) + _ping(call), acknowledged=acknowledged)
        return 2 * len(IPV4_SPELLINGS)


def clear_text_is_dropped(stage: Stage) -> None:
    """Where encryption is required, no injected clear text arrives, and injected CCP makes the server send none."""
    client, call = stage.dial_up()
    injector, device = _injector(stage)
    before = _received(stage, device)
    sent = injector.send_clear_pings(call)
    time.sleep(0.5)
    arrived = _received(stage, device) - before
    expect(arrived == 0, f"{arrived} of {sent} packets in clear were taken")
    injector.send(bytes.fromhex(CCP) + REPEATED_REQUEST)
    time.sleep(0.2)
    traffic_sent = _sent(stage, device)
    stage.ping(call.address, 100, count=5)  # in vain: the client's numbers are all below the injected ones now
    expect(_sent(stage, device) >= traffic_sent + 5, "the server sent nothing")
    injector.send(bytes.fromhex(CCP) + TERMINATE_REQUEST)
    stage.server.wait_for("cause=")
    client.end()
    stage.outcome.note = f"none of {sent} taken, none sent after injected CCP"
    stage.at_end(lambda file: expect(not _clear_from_server(file), "the server sent IP in clear"))


def clear_text_arrives(stage: Stage) -> None:
    """The same packets where encryption is refused: they arrive, so it was not the injection that failed."""
    client, call = stage.dial_up()
    injector, device = _injector(stage)
    before = _received(stage, device)
    sent = injector.send_clear_pings(call)
    time.sleep(0.5)
    arrived = _received(stage, device) - before
    expect(arrived == sent, f"only {arrived} of {sent} packets in clear were taken")
    client.hang_up()
    stage.outcome.note = f"{arrived} of {sent} taken"


def killed(stage: Stage) -> None:
    """SIGKILL with a call up leaves no device and no route; the next start doubles no filter rule."""
    stage.dial_up()
    stage.server.kill()
    deadline = time.monotonic() + 5.0
    while stage.server.run("ip", "-brief", "link").count(stage.server.interface) and time.monotonic() < deadline:
        time.sleep(0.1)
    stage.server.check_nothing_left()
    left = _rules(stage)
    stage.end_calls()
    stage.server.start()
    expect(_rules(stage) == left == 1, f"{_rules(stage)} rules after the restart, {left} before")
    again = stage.client("again")
    again.start()
    stage.carries(stage.is_up(again))
    again.hang_up()
    stage.at_end(lambda file: expect(_rules(stage) == 0, "the filter rules were left behind"))
    stage.outcome.note = "no device, no route, one rule"


def hang_ups_under_load(stage: Stage) -> None:
    """Clients come and go all the time; the packets of a call that stays do not wait for their devices to close."""
    client, call = stage.dial_up()
    with Crowd("alice", stage.secret, callers=CALLERS, seconds=LOAD_SECONDS, seed=1) as crowd:
        time.sleep(1.0)
        options = f"-n -q -i {PING_INTERVAL} -c {PINGS} -W 2 {call.address}"
        output = stage.server.run("ping", *options.split())
        report = crowd.report()
    expect(report.failures == 0, f"{report.failures} calls failed")
    expect(traffic.all_returned(output), f"packets were lost: {output}")
    longest = float(re.findall(r"= [\d.]+/[\d.]+/([\d.]+)/", output)[0])
    stage.outcome.note = f"{len(report.calls)} calls came and went; longest round trip {longest:.0f} ms"
    expect(longest < LONGEST_ROUND_TRIP, stage.outcome.note)
    client.hang_up()


def keeps_the_contract(stage: Stage) -> None:
    """The tests of the data path's contract, and those of what only the kernel's has, in the server's guest."""
    stage.server.run("mkdir", "-p", "/run/netns")
    options = f"-p no:cacheprovider -q --rootdir={CHECKOUT} {CHECKOUT / 'tests/datapath'} -k kernel"
    pytest = f"{sys.executable} -B -m pytest {options}"
    output = stage.server.run("cd", f"{CHECKOUT};", *pytest.split(), timeout=CONTRACT_TIMEOUT)
    summary = output.strip().splitlines()[-1]
    expect(" passed" in summary and "failed" not in summary and "error" not in summary, output)
    stage.outcome.note = summary


def _injector(stage: Stage) -> tuple[Injector, str]:
    call_id = int(re.findall(r"call=(\d+)", stage.server.wait_for("call up"))[0])
    return Injector(call_id), f"{stage.server.interface}-{call_id}"


def _received(stage: Stage, device: str) -> int:
    return int(stage.server.run("cat", f"/sys/class/net/{device}/statistics/rx_packets"))


def _sent(stage: Stage, device: str) -> int:
    return int(stage.server.run("cat", f"/sys/class/net/{device}/statistics/tx_packets"))


def _rules(stage: Stage) -> int:
    """How many rules of the server's are in FORWARD; the guest's kernel has iptables only."""
    rules = stage.server.run("iptables-legacy", "--table", "mangle", "--list-rules", "FORWARD")
    return rules.count("-j poptrio_")


def _clear_from_server(file: Path) -> str:
    from_server = f"gre && ip.src == {Network.server_address} && ppp.protocol == 0x0021"
    return capture.matching(file, from_server)


def _ping(call: Negotiated) -> bytes:
    """An ICMP echo request (RFC 792) from the client to the server, inside."""
    message = struct.pack(">BBHHH", 8, 0, 0, 1, 1) + bytes(56)
    message = message[:2] + struct.pack(">H", checksum(message)) + message[4:]
    ends = socket.inet_aton(call.address) + socket.inet_aton(call.server_address)
    header = struct.pack(">BBHHHBBH", 0x45, 0, 20 + len(message), 1, 0, 64, socket.IPPROTO_ICMP, 0) + ends
    return header[:10] + struct.pack(">H", checksum(header)) + header[12:] + message
