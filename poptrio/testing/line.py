"""TCP in memory, as a server sees it: a listener, and the server's end of a connection, which can be broken."""

from ipaddress import IPv4Address
from typing import Self, cast

import trio


class MemoryListener(trio.abc.Listener[trio.SocketStream]):
    """Where the server accepts what is put into ``connected``."""

    def __init__(self) -> None:
        self.connected, self._to_accept = trio.open_memory_channel[MemoryLine](0)

    async def accept(self) -> trio.SocketStream:
        """As `trio.abc.Listener`."""
        # A server asks nothing of a SocketStream that the line does not have.
        return cast("trio.SocketStream", await self._to_accept.receive())

    async def aclose(self) -> None:
        """As `trio.abc.AsyncResource`."""
        self._to_accept.close()


class MemoryLine(trio.abc.Stream):
    """The server's end of a TCP connection: a memory stream with two addresses, which can be reset."""

    def __init__(self, stream: trio.abc.Stream, peer: IPv4Address, local: IPv4Address) -> None:
        self._stream = stream
        self._peer = peer
        self._local = local
        self._is_reset = False
        self._is_stalled = False

    @property
    def socket(self) -> Self:
        """Who knows the addresses, as `trio.SocketStream` says it."""
        return self

    def getpeername(self) -> tuple[str, int]:
        """The client's address and a port."""
        return str(self._peer), 49152

    def getsockname(self) -> tuple[str, int]:
        """The server's address and port."""
        return str(self._local), 1723

    async def reset(self) -> None:
        """From now on every operation of the server's fails, as after TCP's RST."""
        self._is_reset = True
        await self._stream.aclose()

    def stall(self) -> None:
        """From now on the server cannot send anything, as to a client that does not read."""
        self._is_stalled = True

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        """As `trio.abc.SendStream`."""
        self._fail_if_reset()
        if self._is_stalled:
            await trio.sleep_forever()
        await self._stream.send_all(data)

    async def wait_send_all_might_not_block(self) -> None:
        """As `trio.abc.SendStream`."""
        await self._stream.wait_send_all_might_not_block()

    async def receive_some(self, max_bytes: int | None = None) -> bytes | bytearray:
        """As `trio.abc.ReceiveStream`."""
        try:
            return await self._stream.receive_some(max_bytes)
        except trio.ClosedResourceError:
            self._fail_if_reset()
            raise

    async def aclose(self) -> None:
        """As `trio.abc.AsyncResource`."""
        await self._stream.aclose()

    def _fail_if_reset(self) -> None:
        if self._is_reset:
            raise trio.BrokenResourceError("connection reset by peer")
