"""What only the kernel's data path has: its kernel must not send in clear, and gives calls up where it cannot go on."""

import os
from ipaddress import IPv4Address

import pytest
import trio

from poptrio.crypto.mppe_keys import MppeParameters
from poptrio.testing.inner_packets import ipv4_packet

pytestmark = pytest.mark.root

SERVER, CLIENT = IPv4Address("10.90.0.1"), IPv4Address("10.90.0.2")
STRANGER = IPv4Address("203.0.113.9")
TO_SERVER = MppeParameters(bits=128, stateless=True, start_key=bytes(range(16)))
TO_CLIENT = MppeParameters(bits=128, stateless=True, start_key=bytes(range(16, 32)))
STATEFUL = MppeParameters(bits=128, stateless=False, start_key=bytes(range(16)))
MARKER = ipv4_packet(SERVER, CLIENT, b"marker")
BACK_MARKER = ipv4_packet(CLIENT, SERVER, b"marker")
CONFIGURE_REQUEST, TERMINATE_REQUEST, TERMINATE_ACK = 1, 5, 6
RESET_REQUEST, RESET_ACK = 14, 15


@pytest.fixture(params=["kernel"])
def medium(request: pytest.FixtureRequest, kernel_is_able: None) -> str:
    return request.param


async def up(pair, to_server=TO_SERVER, to_client=TO_CLIENT) -> None:
    """A call with encryption required at both ends, over which a packet has passed each way."""
    await pair.encrypt(to_server, to_client)
    pair.open(encryption_required=True)
    await crosses(pair)


async def crosses(pair) -> None:
    pair.server.inject(MARKER)
    assert await pair.client.receive() == MARKER
    pair.client.inject(BACK_MARKER)
    assert await pair.server.receive() == BACK_MARKER


def ccp(code: int, data: bytes = b"") -> bytes:
    return b"\x80\xfd" + bytes((code, 1)) + (4 + len(data)).to_bytes(2, "big") + data


@pytest.mark.parametrize("code", [CONFIGURE_REQUEST, TERMINATE_REQUEST, TERMINATE_ACK])
async def test_ccp_in_clear_does_not_make_the_kernel_send_in_clear(pair, code):
    await up(pair)
    frame = ccp(code, b"\x12\x06\x01\x00\x00\x40" if code == CONFIGURE_REQUEST else b"")
    pair.client.path.send_frame(b"\xff\x03" + frame)
    assert await pair.server.owner.frame() == (frame, False)  # the session hears of it, and decides
    await crosses(pair)
    assert pair.client.path.counters.clear_text == 0


@pytest.mark.parametrize("code", [CONFIGURE_REQUEST, TERMINATE_REQUEST, TERMINATE_ACK])
async def test_ccp_inside_mppe_ends_the_call(pair, code):
    await up(pair)
    pair.client.path.send_frame(b"\xfd" + pair.client.path._encryptor.encrypt(ccp(code)))
    with trio.fail_after(5):
        while not pair.server.owner.failures:  # noqa: ASYNC110 - the owner sets no event
            await trio.sleep(0.001)
    assert "inside MPPE" in pair.server.owner.failures[0]
    assert pair.server.owner.frames() == []


@pytest.mark.parametrize("beginning", ["0021", "21", "ff030021", "ff0321"])
async def test_clear_text_is_dropped_however_it_is_written(pair, beginning):
    await up(pair)
    before = pair.server.path.counters.packets_in
    pair.client.path.send_frame(bytes.fromhex(beginning) + BACK_MARKER)
    pair.client.path.send_frame(bytes.fromhex(beginning) + ipv4_packet(CLIENT, SERVER, b"in clear"))
    await crosses(pair)
    await trio.sleep(0.1)
    assert pair.server.path.counters.packets_in == before + 1


async def test_other_network_protocols_are_dropped_in_mppe_too(pair):
    await up(pair)
    pair.client.path.send_frame(b"\xfd" + pair.client.path._encryptor.encrypt(b"\x00\x57\x60" + bytes(39)))
    await crosses(pair)
    assert pair.server.owner.frames() == []


async def test_a_configure_ack_that_is_injected_changes_nothing(pair):
    await up(pair)
    pair.client.path.send_frame(b"\xff\x03" + ccp(2, b"\x12\x06\x00\x00\x00\x40"))
    await pair.server.owner.frame()
    await crosses(pair)


async def test_control_frames_do_not_count_as_packets(pair):
    await up(pair)
    for number in range(5):
        pair.client.path.send_frame(b"\xff\x03\x80\x21\x09" + bytes([number]) + bytes(100))
        await pair.server.owner.frame()
        pair.server.path.send_frame(b"\xff\x03\x80\x21\x09" + bytes([number]) + bytes(100))
        await pair.client.owner.frame()
    await trio.sleep(0.1)
    counters = pair.server.path.counters
    assert (counters.packets_in, counters.packets_out) == (1, 1)
    assert (counters.bytes_in, counters.bytes_out) == (len(BACK_MARKER), len(MARKER))


async def test_a_foreign_source_is_not_activity(pair):
    await up(pair)
    await trio.sleep(0.1)
    before = pair.server.path.counters.last_received
    await trio.sleep(1.1)  # the kernel counts in whole seconds
    pair.client.inject(ipv4_packet(STRANGER, SERVER, b"as a stranger"))
    await trio.sleep(0.2)
    assert pair.server.path.counters.last_received - before < 1.0


async def test_a_gap_in_stateful_mppe_is_closed_by_a_reset(pair):
    await up(pair, STATEFUL, STATEFUL)
    pair.client.path._encryptor.encrypt(b"\x00\x21 lost on the way")
    pair.client.inject(BACK_MARKER)
    with trio.fail_after(5):
        while not pair.server.owner.lost:  # noqa: ASYNC110 - the owner sets no event
            await trio.sleep(0.001)
    assert pair.server.path.counters.undecryptable == 1
    pair.client.path.reset_encryption()
    pair.client.path.send_frame(b"\xff\x03" + ccp(RESET_ACK))
    assert await pair.server.owner.frame() == (ccp(RESET_ACK), False)
    await crosses(pair)
    assert pair.server.owner.lost == 1


@pytest.mark.parametrize("acknowledged", [True, False])
async def test_a_reset_request_of_the_client_is_obeyed(pair, acknowledged):
    await up(pair, STATEFUL, STATEFUL)
    pair.client.path._decryptor.decrypt(bytes.fromhex("9fff") + bytes(30))  # its place is lost
    pair.server.path.reset_encryption()
    if acknowledged:
        pair.server.path.send_frame(b"\xff\x03" + ccp(RESET_ACK))
        await pair.client.owner.frame()
    await crosses(pair)


async def test_a_client_that_calls_again_with_its_call_id_ends_its_earlier_call(pair):
    endpoint = pair.server.path.endpoint
    with pair.namespace.entered(), pytest.raises(OSError, match="Call ID"):
        pair.server.data_path.open_call(
            type(endpoint)(0x99, endpoint.peer_call_id, endpoint.local, endpoint.peer), None
        )
    assert pair.server.owner.failures == ["its client calls again, with the same Call ID"]
    await pair.open_again()


async def test_a_device_that_is_deleted_ends_its_call(pair):
    await up(pair)
    pair.namespace.run("ip", "link", "delete", "poptrio0-81")
    with trio.fail_after(5):
        while not pair.server.owner.failures:  # noqa: ASYNC110 - the owner sets no event
            await trio.sleep(0.001)
    assert "poptrio0-81 is gone" in pair.server.owner.failures[0]


async def test_nothing_is_left_when_the_data_path_ends(pair):
    await up(pair)
    assert "poptrio0-81" in pair.namespace.run("ip", "link")
    assert "10.90.0.2 dev poptrio0-81" in pair.namespace.run("ip", "route")
    descriptors = len(os.listdir("/proc/self/fd"))
    pair.server.path.close()
    with trio.fail_after(5):
        while "poptrio0-81" in pair.namespace.run("ip", "link"):  # noqa: ASYNC110 - so do they devices
            await trio.sleep(0.01)
        assert "10.90.0.2" not in pair.namespace.run("ip", "route")
        while len(os.listdir("/proc/self/fd")) > descriptors - 3:  # noqa: ASYNC110 - other threads close them
            await trio.sleep(0.01)


async def test_a_device_is_made_for_who_needs_one(pair):
    pair.client.path.send_frame(b"\xff\x03\xc0\x21\x09\x01\x00\x08" + bytes(4))
    await pair.server.owner.frame()
    assert "poptrio0-81" not in pair.namespace.run("ip", "link")


async def test_fifty_six_bits_end_the_call(pair):
    pair.server.path.set_encryption(None, MppeParameters(bits=56, stateless=True, start_key=bytes(8)))
    assert pair.server.owner.failures == ["the kernel's MPPE has no 56 bits, only 128 and 40"]
