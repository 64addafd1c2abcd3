"""What one connection of the API sends to a client that reads slowly, or no more."""

import pytest
import trio
from hypercorn.events import RawData

from poptrio.management.connection import SENT_AT_ONCE, WRITE_TIMEOUT, Connection

PIECE = bytes(range(256)) * 4096
"""As large as what a capture gives out at once."""


class Reader:
    """A stream whose other end takes ``seconds`` for `SENT_AT_ONCE` octets."""

    def __init__(self, seconds):
        self.seconds = seconds
        self.received = b""

    async def send_all(self, data):
        await trio.sleep(self.seconds * len(data) / SENT_AT_ONCE)
        self.received += data


@pytest.mark.parametrize(("seconds", "whole"), [(WRITE_TIMEOUT - 1, True), (WRITE_TIMEOUT + 1, False)])
async def test_who_reads_slowly_gets_all_of_it_and_who_stands_still_is_left(autojump_clock, seconds, whole):
    ours, theirs = trio.socket.socketpair()
    with ours, theirs:
        connection = Connection(None, ours, None)
        connection._stream = Reader(seconds)
        with connection._scope:
            await connection._send(RawData(PIECE))
            await trio.lowlevel.checkpoint()
        assert connection._scope.cancelled_caught is not whole
        assert connection._stream.received == (PIECE if whole else b"")
