"""`ServerInfo`: what a plugin is told of the server that starts it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from ipaddress import IPv4Address
from pathlib import Path

from poptrio.sessions import NoSessions, Sessions


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerInfo:
    """What a plugin may know of the server that starts it.

    ``folder`` is that of the configuration file, where relative files are looked up; ``name`` what the server calls
    itself to clients; ``address`` its inner address; ``pool`` the texts of ``[addresses] pool``, ``pools`` those of
    ``[addresses.pools]`` by name; ``dns`` and ``wins`` the name servers that clients are told where a plugin names no
    others. ``answer_timeout`` and ``accounting_timeout`` are the seconds that a plugin has for an answer to a question
    and to a record. ``sessions`` are the calls that are up. ``continued``: another process of this server hands its
    calls over to this one (`poptrio upgrade`), so nothing begins: no call is new, none was cut off.
    ``rehearsal``: only whether you could start is asked (`poptrio check`), while this server may be running: write and
    send nothing, and take nothing that two processes cannot have.
    """

    folder: Path
    name: str
    address: IPv4Address
    pool: tuple[str, ...]
    pools: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    dns: tuple[IPv4Address, ...] = ()
    wins: tuple[IPv4Address, ...] = ()
    answer_timeout: float = 10.0
    accounting_timeout: float = 10.0
    continued: bool = False
    rehearsal: bool = False
    sessions: Sessions = field(default_factory=NoSessions, repr=False, compare=False)
