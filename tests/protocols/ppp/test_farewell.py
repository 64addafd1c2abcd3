"""What a peer says in its Terminate-Request, and that it reaches the cause of the end."""

import pytest

from poptrio.errors import CauseOfEnd
from poptrio.protocols.ppp.farewell import read_farewell
from poptrio.protocols.ppp.frames import Code, Packet, Protocol, build_frame

MAGIC = bytes.fromhex("1a2b3c4d")


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", ""),
        (b"User request", "'User request'"),
        (b"MPPE required but peer negotiation failed", "'MPPE required but peer negotiation failed'"),
        (MAGIC + bytes.fromhex("003ccd74") + (742).to_bytes(4, "big"), "Windows error 742"),
        (MAGIC + bytes.fromhex("003ccd74") + bytes(4), ""),
        (MAGIC + bytes.fromhex("003ccd75") + bytes(4), ""),
        (b"two\nlines", ""),
        (b"x" * 101, ""),
        ("gr\u00fc\u00dfe".encode(), ""),
    ],
)
def test_text_and_the_number_of_windows_are_read_anything_else_is_not_shown(data: bytes, said: str) -> None:
    assert read_farewell(data) == said


def test_it_reaches_the_cause_of_the_end(server) -> None:
    server.up()
    request = Packet(Code.TERMINATE_REQUEST, 9, MAGIC + bytes.fromhex("003ccd74000002e6"))
    server.hear_frames(build_frame(Protocol.LCP, request.encode()))
    assert (server.ended.cause, server.ended.detail) == (
        CauseOfEnd.CLIENT_HUNG_UP,
        "the peer said Windows error 742",
    )
