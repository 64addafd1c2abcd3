"""Whom a `Load` calls, from where and as whom, and the sockets that it needs for it."""

import errno
import re
import socket
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from ipaddress import IPv4Address

import trio

from poptrio.client.call import CallSettings
from poptrio.client.load import Load, LoadSettings
from poptrio.client.load_report import LoadReport
from poptrio.client.tcp import Line, connect_from, resolve
from poptrio.client.traffic import Traffic
from poptrio.datapath.userspace.path import UserspaceDataPath, UserspaceSettings
from poptrio.protocols.ppp.authenticator import Credentials
from poptrio.protocols.ppp.session_events import SessionSettings
from poptrio.runtime.exception_groups import leaves

_ANY = IPv4Address("0.0.0.0")
_NUMBER = re.compile(r"%(0[1-9])?d")


class UserPattern:
    """User names with a number in them: ``user%d`` is user1, user2, …, ``user%05d`` is user00001; or one name for all.

    Raises ValueError with a sentence for more than one number.
    """

    def __init__(self, text: str) -> None:
        before, *numbers = _NUMBER.split(text)
        if len(numbers) > 2:
            raise ValueError(f"{text!r} has more than one number")
        self._before = before
        self._after = numbers[1] if numbers else None
        self._digits = int(numbers[0] or 0) if numbers else 0

    def name(self, number: int) -> str:
        """The name of the call with this number, from 0; user names count from 1."""
        return self._before if self._after is None else f"{self._before}{number + 1:0{self._digits}}{self._after}"


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadTarget:
    """The server, and who calls it. ``sources`` are addresses of this machine, used in turn; none: the usual one."""

    host: str
    port: int
    users: UserPattern
    password: str = field(repr=False)
    session: SessionSettings
    sources: Sequence[IPv4Address] = ()


async def load(target: LoadTarget, settings: LoadSettings, begins: Callable[[Load], None]) -> LoadReport:
    """Run a load; ``begins`` gets it when it begins, to watch and to interrupt it.

    Raises OSError, with a sentence for the user, where the server's name leads nowhere, a source is no address of this
    machine, or a raw socket is not allowed.
    """
    check_sources(target.sources[: settings.calls])
    peer = await resolve(target.host, target.port)
    sources = target.sources

    async def connect(number: int) -> Line:
        source = sources[number % len(sources)] if sources else None
        return await connect_from(source, peer, target.port, settings.timeout)

    def settings_of(number: int) -> CallSettings:
        credentials = Credentials(target.users.name(number), target.password)
        return CallSettings(credentials=credentials, session=target.session)

    traffic = Traffic(settings.packets, settings.size)
    datapath = UserspaceDataPath(
        UserspaceSettings(listen=(_ANY,), interface=None, mtu=target.session.mru), traffic.packet_arrived
    )
    run = Load(settings, settings_of, connect, datapath, traffic)
    failures: list[OSError] = []
    try:
        async with trio.open_nursery() as nursery:
            await nursery.start(datapath.run)
            begins(run)
            report = await run.run()
            datapath.close()
    except* OSError as errors:
        failures += (error for error in leaves(errors) if isinstance(error, OSError))
    if failures:
        raise failures[0]
    return report


def check_sources(sources: Sequence[IPv4Address]) -> None:
    """Raises OSError with a sentence for the first of ``sources`` that is no address of this machine."""
    for source in sources:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            try:
                probe.bind((str(source), 0))
            except OSError as error:
                if error.errno != errno.EADDRNOTAVAIL:
                    raise
                remedy = f"give it one (ip address add {source}/32 dev lo), and the server a route to it"
                raise OSError(error.errno, f"{source} is no address of this machine: {remedy}") from error
