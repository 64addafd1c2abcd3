"""By the shortcut or the long way: what comes out, and what is remembered, is the same."""

from ipaddress import IPv4Address, IPv4Network

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from poptrio.crypto.mppe import MppeEncryptor
from poptrio.crypto.mppe_keys import MppeParameters
from poptrio.datapath.base import CallEndpoint, NetworkParameters
from poptrio.datapath.call_path import GreCallPath, Ports
from poptrio.datapath.path_state import state_of
from poptrio.datapath.shortcut import packets_from_network, packets_from_peers
from poptrio.datapath.userspace.path import UserspaceDataPath, UserspaceSettings
from poptrio.protocols.gre import GreSettings
from poptrio.testing.inner_packets import ipv4_packet

PEER, LOCAL, STRANGER = (IPv4Address(f"192.0.2.{host}") for host in (2, 1, 3))
CLIENT, SERVER = IPv4Address("10.90.0.2"), IPv4Address("10.90.0.1")
BEHIND = IPv4Address("10.77.0.9")
CALL_ID = 7
MTU = 100
STATELESS, STATEFUL = (MppeParameters(bits=128, stateless=mode, start_key=bytes(16)) for mode in (True, False))


class Call:
    """One call of a data path without sockets, and all that it did."""

    def __init__(self, parameters: MppeParameters | None, required: bool) -> None:
        self.did: list[object] = []
        self.data_path = UserspaceDataPath(UserspaceSettings(listen=(LOCAL,), interface=None, mtu=1500))
        ports = Ports(
            send_gre=lambda packet: self.did.append(("sent", packet)),
            deliver=lambda packet: self.did.append(("delivered", packet)),
            report=lambda packet: self.did.append(("reported", packet)),
            call_at=lambda time, wake: self.did.append(("wake at", time)),
            network_changed=lambda path, network: None,
            closed=lambda path: None,
        )
        endpoint = CallEndpoint(call_id=CALL_ID, peer_call_id=9, local=LOCAL, peer=PEER)
        self.path = GreCallPath(endpoint, self, ports, GreSettings())
        self.path.set_encryption(parameters, parameters)
        self.path.open_network(
            NetworkParameters(
                our_address=SERVER, peer_address=CLIENT, mtu=MTU, pfc=True, acfc=True, encryption_required=required
            )
        )
        self.data_path._calls[CALL_ID.to_bytes(2, "big")] = self.path
        self.data_path._networks.replace(self.path, [IPv4Network(CLIENT), IPv4Network("10.77.0.0/24")])

    def frame_arrived(self, frame: bytes, encrypted: bool) -> None:
        self.did.append(("frame", frame, encrypted))

    def decryption_lost(self) -> None:
        self.did.append("decryption lost")

    def path_failed(self, reason: str) -> None:
        self.did.append(("failed", reason))

    def from_peer(self, packets: list[bytes], now: float, *, shortcut: bool) -> None:
        if shortcut:
            packets_from_peers(packets, now, self.data_path._calls, self.data_path._gre_arrived)
        else:
            for packet in packets:
                self.data_path._gre_arrived(packet, now)

    def from_network(self, packets: list[bytes], now: float, *, shortcut: bool) -> None:
        if shortcut:
            packets_from_network(packets, now, self.data_path._networks.hosts, self.data_path._inner_arrived)
        else:
            for packet in packets:
                self.data_path._inner_arrived(packet, now)

    def stands(self, now: float) -> object:
        return self.did, state_of(self.path, now), self.path._wake_at, self.data_path.counters


def outer(gre: bytes, source: IPv4Address = PEER, options: int = 0, padding: int = 0) -> bytes:
    size = 20 + 4 * options
    header = bytes([0x40 | size // 4, 0]) + (size + len(gre)).to_bytes(2, "big") + bytes(5) + b"\x2f\0\0"
    return header + source.packed + LOCAL.packed + bytes(4 * options) + gre + bytes(padding)


def gre(frame: bytes, number: int, acknowledged: int | None = None, call_id: int = CALL_ID) -> bytes:
    kind = b"\x30\x01\x88\x0b" if acknowledged is None else b"\x30\x81\x88\x0b"
    head = kind + len(frame).to_bytes(2, "big") + call_id.to_bytes(2, "big") + number.to_bytes(4, "big")
    return head + (b"" if acknowledged is None else acknowledged.to_bytes(4, "big")) + frame


INNER = [
    ipv4_packet(CLIENT, SERVER, b"x"),
    ipv4_packet(BEHIND, SERVER, b"y" * 80),
    ipv4_packet(CLIENT, SERVER, bytes.fromhex("c0de01bb 11223344 00000000 6002faf0 0000 0000 020405b4"), protocol=6),
    ipv4_packet(CLIENT, SERVER, b"z") + b"padding",
    b"E",
    b"",
]
FRAMES = st.one_of(
    st.sampled_from([prefix + packet for prefix in (b"\x21", b"\0\x21", b"\xff\x03\0\x21") for packet in INNER]),
    st.sampled_from(
        [bytes.fromhex(frame) for frame in ("", "c021 0901 0008 00000000", "ff03 8021 0101 0004", "57 60")]
    ),
    st.binary(max_size=8),
)
STEPS = st.lists(
    st.tuples(
        st.one_of(st.none(), st.sampled_from(INNER), FRAMES),  # None: an acknowledgement alone
        st.booleans(),  # encrypted, where it is an inner packet
        st.sampled_from([1, 1, 1, 1, 0, 2, 5, -1]),  # how far the number is from the last one
        st.sampled_from([None, None, 0, 3, 0xFFFFFFFF]),  # what is acknowledged
        st.sampled_from([{}] * 6 + [{"source": STRANGER}, {"options": 1}, {"padding": 4}]),
        st.sampled_from([CALL_ID] * 6 + [8]),
        st.sampled_from([0.0, 0.01, 0.05]),  # seconds since the last one; those without a pause come at once
    ),
    max_size=40,
)


@pytest.mark.parametrize("required", [True, False])
@pytest.mark.parametrize("parameters", [None, STATELESS, STATEFUL])
@given(steps=STEPS)
@example(steps=[(INNER[0], True, 1, None, {}, CALL_ID, pause) for pause in [*[0.0] * 20, 0.01]])
def test_packets_from_peers(steps, parameters, required):
    short, long = Call(parameters, required), Call(parameters, required)
    encryptor = MppeEncryptor(parameters or STATELESS)
    number, now = -1, 0.0
    batch: list[bytes] = []
    for frame, encrypted, step, acknowledged, around, call_id, pause in steps:
        number += step
        if frame is None:
            packet = b"\x20\x81\x88\x0b\0\0" + call_id.to_bytes(2, "big") + (acknowledged or 0).to_bytes(4, "big")
        else:
            if encrypted:
                frame = b"\xfd" + encryptor.encrypt(b"\0\x21" + frame)
            packet = gre(frame, number & 0xFFFFFFFF, acknowledged, call_id)
        batch.append(outer(packet, **around))
        if pause:
            for call, shortcut in ((short, True), (long, False)):
                call.path.send_frame(b"\xc0\x21")  # something to acknowledge
                call.from_peer(batch, now, shortcut=shortcut)
                call.path.wake(now)
            assert short.stands(now) == long.stands(now)
            now += pause
            batch = []


TO_CLIENT = [
    ipv4_packet(SERVER, CLIENT, b"x"),
    ipv4_packet(SERVER, CLIENT, b"y" * (MTU - 20)),
    ipv4_packet(SERVER, CLIENT, b"y" * (MTU - 19)),
    ipv4_packet(SERVER, BEHIND, b"z"),
    ipv4_packet(SERVER, STRANGER, b"z"),
    ipv4_packet(SERVER, CLIENT, bytes.fromhex("01bbc0de 11223344 00000000 6002faf0 0000 0000 020405b4"), protocol=6),
    ipv4_packet(SERVER, CLIENT, b"z") + b"padding",
    b"\x46" + ipv4_packet(SERVER, CLIENT, b"zzzz")[1:],
    b"\x60" + bytes(50),
    b"E",
    b"",
]


@pytest.mark.parametrize("required", [True, False])
@pytest.mark.parametrize("parameters", [None, STATELESS, STATEFUL])
@given(packets=st.lists(st.sampled_from(TO_CLIENT), max_size=12), is_open=st.booleans())
def test_packets_from_network(packets, is_open, parameters, required):
    calls = Call(parameters, required), Call(parameters, required)
    for call, shortcut in zip(calls, (True, False), strict=True):
        if not is_open:
            call.path._network = None
        call.from_peer([outer(gre(b"\xc0\x21", 1))], 0.5, shortcut=shortcut)  # owes an acknowledgement now
        call.from_network(packets, 1.0, shortcut=shortcut)
    assert calls[0].stands(1.0) == calls[1].stands(1.0)


def test_a_fault_of_one_call_ends_that_call_only():
    broken, whole = Call(None, False), Call(None, False)
    broken.frame_arrived = None  # type: ignore[assignment]
    calls = {b"\0\7": broken.path, b"\0\x08": whole.path}
    lcp = b"\xc0\x21\x09\x01\0\x08" + bytes(4)
    packets = [outer(gre(lcp, 0)), outer(gre(lcp, 0, call_id=8))]
    packets_from_peers(packets, 0.0, calls, lambda packet, now: None)
    assert [what[0] for what in broken.did] == ["failed"]
    assert ("frame", lcp, False) in whole.did
