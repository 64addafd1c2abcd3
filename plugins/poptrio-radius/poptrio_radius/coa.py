"""The Dynamic Authorization Server (RFC 5176): takes Disconnect- and CoA-Requests on UDP and answers them.

`CoaServer.answer` is all of it but the socket: a datagram and where it came from in, the answer out. A packet that is
not from a listed address, not signed with its secret, or not of this time is dropped without an answer, as the RFC
wants. A packet that comes again gets the answer that it got the first time, and nothing is done twice.
"""

import socket
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv6Address, ip_address

import structlog
import trio

from poptrio.api import Session, Sessions
from poptrio_radius.attributes import Attributes, BadAttribute
from poptrio_radius.coa_requests import ErrorCause, Refused, read_request
from poptrio_radius.coa_sessions import carry_out
from poptrio_radius.packets import LONGEST_PACKET, BadPacket, Code, Packet, respond, verify_request
from poptrio_radius.seldom import Seldom

IpAddress = IPv4Address | IPv6Address

MOST_ANSWERS = 10_000
"""Answers that are remembered; when there are more, new requests are refused until the oldest are out of time."""

ADMIN_RESET = 6
"""Acct-Terminate-Cause (RFC 2866 §5.10)."""

ECHOED = ("State", "Proxy-State")
"""What is in the answer as it was in the request (RFC 5176 §3.6)."""

MOST_ECHOED = LONGEST_PACKET - 64
"""Octets of that, so that the answer has room for the rest."""

log = structlog.get_logger("poptrio.radius")


class Dropped(Exception):
    """The packet gets no answer; the text says why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CoaSettings:
    """``clients`` are the secrets by address; ``window`` is how many seconds an Event-Timestamp may be off.

    ``nas_address`` is our NAS-IP-Address where it is configured.
    """

    clients: Mapping[IpAddress, bytes] = field(repr=False)
    nas_identifier: str
    nas_address: IPv4Address | None = None
    window: float = 300.0
    require_event_timestamp: bool = False
    require_message_authenticator: bool = False
    min_interim_interval: float = 60.0


class CoaServer:
    """Answers requests about ``sessions``; ``clock`` is wall-clock time in Unix seconds.

    ``results`` counts requests by what was wanted, "disconnect" or "change", and what came of it; those that got no
    answer as "unknown" and "dropped", those that came again as "unknown" and "repeated".
    """

    def __init__(
        self,
        settings: CoaSettings,
        sessions: Sessions,
        *,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._settings = settings
        self._sessions = sessions
        self._clock = clock
        self.results: Counter[tuple[str, str]] = Counter()
        self._answers: dict[tuple[IpAddress, int, bytes], tuple[float, bytes]] = {}  # with the time of their end
        self._seldom = Seldom(clock)
        self._earliest = float("-inf")

    def configure(self, settings: CoaSettings) -> None:
        """Answer as ``settings`` say from now on. What was obeyed before is not obeyed again, whatever the window."""
        before, self._settings = self._settings, settings
        if settings.window > before.window:
            now = self._clock()
            # Of what is forgotten already nothing is newer than this.
            self._earliest = max(self._earliest, now - before.window)
            remembered = now + 2 * settings.window
            self._answers = {key: (max(until, remembered), answer) for key, (until, answer) in self._answers.items()}

    def answer(self, datagram: bytes, source: IpAddress) -> bytes | None:
        """The answer to what came from ``source``, or None where there is none to be given."""
        try:
            secret = self._settings.clients.get(source)
            if secret is None:
                raise Dropped("its sender is not listed")
            request = self._verified(datagram, secret)
        except (Dropped, BadPacket) as dropped:
            why = str(dropped)
            self.results["unknown", "dropped"] += 1
            if (count := self._seldom.due(why)) is not None:
                log.warning("dynamic authorization dropped", client=str(source), why=why, count=count)
            return None
        self._forget_old_answers()
        key = (source, request.identifier, request.authenticator)
        if key in self._answers:
            self.results["unknown", "repeated"] += 1
        else:
            answer = self._decide(request, secret, str(source))
            if len(self._answers) >= MOST_ANSWERS:
                return answer
            # A request is of this time as long as its timestamp is in the window, which may be ahead of us as well.
            self._answers[key] = (self._clock() + 2 * self._settings.window, answer)
        return self._answers[key][1]

    def _verified(self, datagram: bytes, secret: bytes) -> Packet:
        """The request, if it is one. Raises `Dropped` and `BadPacket`."""
        settings = self._settings
        request = verify_request(datagram, secret, require_message_authenticator=settings.require_message_authenticator)
        if request.code not in (Code.DISCONNECT_REQUEST, Code.COA_REQUEST):
            raise Dropped("it is no request")
        if sum(len(value) + 2 for name in ECHOED for value in request.attributes.octets(name)) > MOST_ECHOED:
            raise Dropped("its Proxy-State does not fit into an answer")
        try:
            timestamp = request.attributes.number("Event-Timestamp")
        except BadAttribute as error:
            raise Dropped(str(error)) from None
        if timestamp is None and settings.require_event_timestamp:
            raise Dropped("it has no Event-Timestamp")
        if timestamp is not None and not self._is_of_this_time(timestamp):
            raise Dropped("its Event-Timestamp is not of this time")
        return request

    def _is_of_this_time(self, timestamp: int) -> bool:
        return abs(timestamp - self._clock()) <= self._settings.window and timestamp >= self._earliest

    def _forget_old_answers(self) -> None:
        now = self._clock()
        while self._answers:
            key, (until, _) = next(iter(self._answers.items()))
            if until >= now:
                return
            del self._answers[key]

    def _decide(self, request: Packet, secret: bytes, client: str) -> bytes:
        """Carry out the request, or refuse it."""
        disconnect = request.code == Code.DISCONNECT_REQUEST
        kind = "disconnect" if disconnect else "change"
        answer = Attributes()
        try:
            done = self._carry_out(request, client)
        except Refused as refused:
            self.results[kind, "refused"] += 1
            code = Code.DISCONNECT_NAK if disconnect else Code.COA_NAK
            answer.add("Error-Cause", refused.error_cause)
            cause = refused.error_cause.value
            log.warning("dynamic authorization refused", client=client, kind=kind, error_cause=cause, why=str(refused))
        else:
            self.results[kind, "done"] += 1
            code = Code.DISCONNECT_ACK if disconnect else Code.COA_ACK
            if disconnect:
                answer.add("Acct-Terminate-Cause", ADMIN_RESET)
            named = [session.call.session_id for session in done]
            log.info("dynamic authorization", client=client, kind=kind, sessions=named)
        for name in ECHOED:
            for value in request.attributes.octets(name):
                answer.add(name, value)
        return respond(request, code, answer, secret)

    def _carry_out(self, request: Packet, client: str) -> list[Session]:
        settings = self._settings
        if len(self._answers) >= MOST_ANSWERS:  # it could be replayed
            raise Refused(ErrorCause.RESOURCES_UNAVAILABLE, "too many requests came lately")
        wish = read_request(
            request.code,
            request.attributes,
            min_interim_interval=settings.min_interim_interval,
        )
        return carry_out(
            wish,
            self._sessions,
            nas_identifier=settings.nas_identifier,
            nas_address=settings.nas_address,
            client=client,
        )


class CoaListener:
    """The socket on ``address`` and ``port``. Raises OSError when they cannot be had.

    One that will take the place of ``other`` may have its port, if not its address.
    """

    def __init__(self, address: IpAddress, port: int, server: CoaServer, other: "CoaListener | None" = None) -> None:
        self._address = (str(address), port)
        self._family = socket.AF_INET if isinstance(address, IPv4Address) else socket.AF_INET6
        self._server = server
        self._closed = False
        self._socket = self._bound(other)

    def is_at(self, address: IpAddress, port: int) -> bool:
        """Whether this is where it listens."""
        return self._address == (str(address), port)

    def _bound(self, other: "CoaListener | None" = None) -> trio.socket.SocketType:
        udp = socket.socket(self._family, socket.SOCK_DGRAM)
        try:
            with ExitStack() as stack:
                for one in (udp, other._socket) if other is not None else ():  # 0.0.0.0 can be had beside 127.0.0.1
                    one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, True)
                    # Only in this moment, or somebody else could have it as well.
                    stack.callback(one.setsockopt, socket.SOL_SOCKET, socket.SO_REUSEADDR, False)
                udp.bind(self._address)
            return trio.socket.from_stdlib_socket(udp)
        except BaseException:
            udp.close()
            raise

    @contextmanager
    def let_go(self) -> Iterator[None]:
        """Let another process have the port; when the context is left, it is ours again."""
        self._socket.close()
        try:
            yield
        finally:
            self._socket = self._bound()

    def close(self) -> None:
        """Answer no more."""
        self._closed = True
        self._socket.close()

    async def run(self) -> None:
        """Answer, until closed."""
        while not self._closed:
            try:
                await self._answer()
            except trio.ClosedResourceError:  # also when let go of, and had again
                await trio.lowlevel.checkpoint()

    async def _answer(self) -> None:
        udp = self._socket
        datagram, source = await udp.recvfrom(LONGEST_PACKET + 1)
        answer = self._server.answer(datagram, _address(source[0]))
        if answer is None:
            return
        try:
            await udp.sendto(answer, source)
        except OSError as error:
            log.warning("dynamic authorization not answered", client=source[0], why=str(error))


def _address(text: str) -> IpAddress:
    """The address of a client; one that came as IPv4 to an IPv6 socket is IPv4."""
    address = ip_address(text.partition("%")[0])
    return (address.ipv4_mapped or address) if isinstance(address, IPv6Address) else address
