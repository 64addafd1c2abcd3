"""RadSec: RADIUS over TLS (RFC 6614), one stream that carries packet after packet."""

import ssl
from pathlib import Path

import trio

from poptrio_radius.config import ServerConfig, TlsConfig
from poptrio_radius.packets import HEADER, LONGEST_PACKET

CONNECT_TIMEOUT = 5.0
"""Seconds for the TCP connection and the TLS handshake together."""

_CHUNK = 4096

Stream = trio.SSLStream[trio.SocketStream]


class RadSecLink:
    """One TLS connection. Whatever is wrong with it is an OSError, and the end of it."""

    reliable = True

    def __init__(self, stream: Stream) -> None:
        self._stream = stream
        self._sending = trio.Lock()
        self._buffer = bytearray()

    async def send(self, packet: bytes) -> None:
        """Send one packet, after those that others are sending."""
        async with self._sending:
            try:
                await self._stream.send_all(packet)
            except (trio.BrokenResourceError, trio.ClosedResourceError) as error:
                raise _gone(error) from error
            except trio.Cancelled:
                self.close()  # half a packet may be on its way
                raise

    async def receive(self) -> bytes:
        """The next packet. A Length that cannot be is the end: nobody knows where the next packet begins."""
        header = await self._read(4)
        length = int.from_bytes(header[2:4], "big")
        if not HEADER.size <= length <= LONGEST_PACKET:
            self.close()
            raise OSError(f"the server sent a packet with a length of {length}")
        packet = await self._read(length)
        del self._buffer[:length]
        return packet

    def close(self) -> None:
        """Close the connection at once."""
        self._stream.transport_stream.socket.close()

    async def _read(self, octets: int) -> bytes:
        """The first ``octets`` of what has not been taken out of the buffer."""
        while len(self._buffer) < octets:
            try:
                received = await self._stream.receive_some(_CHUNK)
            except (trio.BrokenResourceError, trio.ClosedResourceError) as error:
                raise _gone(error) from error
            if not received:
                raise ConnectionResetError("the server closed the TLS connection")
            self._buffer += received
        return bytes(self._buffer[:octets])


def _gone(error: Exception) -> OSError:
    """What trio says of a connection, as the sentence that the log shows."""
    cause = error.__cause__
    return ConnectionResetError(f"the TLS connection is broken: {cause if cause else error}")


async def open_radsec(config: ServerConfig, context: ssl.SSLContext) -> RadSecLink:
    """Connect to the server and check who it is. Raises OSError, also when its certificate is not good."""
    tls = config.tls
    assert tls is not None, "a server without tls is asked over UDP"
    with trio.move_on_after(CONNECT_TIMEOUT):
        stream = await trio.open_tcp_stream(str(config.address), tls.port)
        secure: Stream = trio.SSLStream(stream, context, server_hostname=tls.server_name or str(config.address))
        try:
            await secure.do_handshake()
        except trio.BrokenResourceError as error:
            stream.socket.close()
            raise _gone(error) from error
        except BaseException:
            stream.socket.close()
            raise
        return RadSecLink(secure)
    raise TimeoutError(f"no TLS connection within {CONNECT_TIMEOUT:g} seconds")


def tls_context(tls: TlsConfig, folder: Path) -> ssl.SSLContext:
    """What the server must show, and what we show it. Raises OSError or ssl.SSLError when a file cannot be used."""
    context = ssl.create_default_context(cafile=None if tls.ca is None else str(folder / tls.ca))
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if tls.certificate is not None:
        key = None if tls.key is None else str(folder / tls.key)
        context.load_cert_chain(str(folder / tls.certificate), key)
    return context
