"""The seam between calls and whatever moves their packets: two small protocols and the values they exchange.

A `DataPath` exists once per server; it opens a `CallPath` per call. The path hands control frames (everything that is
not a network packet) to its `CallOwner` synchronously, in the order in which they arrived among the data packets,
because the first data packet of a fast client follows the last Ack of IPCP within microseconds. In-memory twin:
`datapath.memory`; one contract test runs over all of them.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv4Network
from typing import Protocol

from poptrio.crypto.mppe_keys import MppeParameters
from poptrio.protocols.gre import GreSettings


@dataclass(frozen=True, slots=True)
class CallIdSlice:
    """Those Call IDs that leave the remainder ``worker`` when they are divided by ``workers``: one process's share."""

    worker: int = 0
    workers: int = 1


ALL_CALL_IDS = CallIdSlice()


@dataclass(frozen=True, slots=True)
class CallEndpoint:
    """The outer end of a call: GRE packets with ``call_id`` from ``peer`` are its; ours carry ``peer_call_id``.

    ``local`` is the local address of the control connection, from which our GRE packets must come.
    """

    call_id: int
    peer_call_id: int
    local: IPv4Address
    peer: IPv4Address


@dataclass(frozen=True, slots=True)
class NetworkParameters:
    """What IPCP, LCP and CCP settled that the data path must know.

    ``peer_address`` is the inner address of the other side and the only source it may use; None in the client role,
    where the other side is a gateway to anything. ``mtu`` is the largest inner IP packet in octets that may be sent.
    ``pfc`` and ``acfc``: the peer accepts compressed protocol and address-and-control fields (RFC 1661 §6.5, §6.6).
    ``encryption_required``: clear-text packets are dropped and counted in both directions.
    """

    our_address: IPv4Address
    peer_address: IPv4Address | None
    mtu: int
    pfc: bool
    acfc: bool
    encryption_required: bool
    clamp_mss: bool = True
    routes: tuple[IPv4Network, ...] = ()


@dataclass(slots=True)
class PathCounters:
    """What a call's path counts; plain integers that only grow.

    ``lost`` are sequence numbers that were given up, ``late`` those of them that came after all, ``duplicate`` came
    twice, ``reordered`` out of order but in time; ``acknowledged`` are data packets of ours that the peer says have
    arrived or been passed by later ones. ``bytes_*`` and ``packets_*`` count inner IP packets that passed, *in* from
    the peer. ``clear_text`` and ``foreign_source`` are packets dropped by encryption enforcement and ingress filter,
    ``no_network`` came before or after IPCP was up, ``undecryptable`` did not decrypt, ``too_big`` did not fit into
    the call's MTU and could not be fragmented, ``malformed`` made no sense, ``send_failed`` the kernel did not take.
    ``last_received`` and ``last_sent`` are when the last IP packet passed, on Trio's clock; 0.0 before the first.
    """

    gre_received: int = 0
    gre_sent: int = 0
    acknowledged: int = 0
    lost: int = 0
    late: int = 0
    duplicate: int = 0
    reordered: int = 0
    bytes_in: int = 0
    bytes_out: int = 0
    packets_in: int = 0
    packets_out: int = 0
    clear_text: int = 0
    foreign_source: int = 0
    no_network: int = 0
    undecryptable: int = 0
    too_big: int = 0
    malformed: int = 0
    send_failed: int = 0
    last_received: float = field(default=0.0)
    last_sent: float = field(default=0.0)


@dataclass(slots=True)
class DataPathCounters:
    """What belongs to no call.

    ``no_such_call`` had a Call ID that nobody has, ``wrong_source`` came from an address that is not the call's peer,
    ``malformed`` was too short for a Call ID, ``no_such_address`` went to an inner address that no call has,
    ``receive_failed`` are errors of receiving.
    """

    no_such_call: int = 0
    wrong_source: int = 0
    malformed: int = 0
    no_such_address: int = 0
    receive_failed: int = 0


class CallOwner(Protocol):
    """What a call path tells its call; every method returns at once and never raises."""

    def frame_arrived(self, frame: bytes, encrypted: bool) -> None:
        """A PPP frame that is not a network packet, without address and control, the protocol field first."""

    def decryption_lost(self) -> None:
        """Stateful MPPE lost its place; CCP must send a Reset-Request (RFC 3078 §8). Told at most once per loss."""

    def path_failed(self, reason: str) -> None:
        """The path cannot move packets any more (for instance: the TUN is gone)."""


class CallPath(Protocol):
    """One call's way through the data path."""

    @property
    def counters(self) -> PathCounters:
        """As they are now. Ask for them anew each time: a path in the kernel brings them up to date for it."""

    def send_frame(self, frame: bytes) -> None:
        """Send one complete PPP control frame, address and control included where they are due, never encrypted."""

    def set_encryption(self, send: MppeParameters | None, receive: MppeParameters | None) -> None:
        """Use these MPPE parameters from now on. Unchanged ones keep their state; None ends that direction."""

    def reset_encryption(self) -> None:
        """The peer sent a CCP Reset-Request: the next stateful packet is FLUSHED with re-initialised tables."""

    def open_network(self, network: NetworkParameters) -> None:
        """IPCP is up: let IP packets pass. May be called again with other parameters."""

    def close_network(self) -> None:
        """IPCP is down: drop IP packets, forget the address and its routes."""

    def close(self) -> None:
        """Forget the call; idempotent, synchronous, cannot fail."""


@dataclass(frozen=True, slots=True)
class PathSettings:
    """What of a data path can change while it runs.

    ``mtu`` is the largest inner IP packet in octets of any call, ``routes`` the inner networks of all clients, ``gre``
    how patient the GRE channels of new calls are.
    """

    mtu: int
    routes: tuple[IPv4Network, ...] = ()
    gre: GreSettings = field(default_factory=GreSettings)


@dataclass(frozen=True, slots=True)
class Preparation:
    """Something that is ready to be changed: one of these is called, once. Neither can fail."""

    commit: Callable[[], None]
    undo: Callable[[], None]


class DataPath(Protocol):
    """Moves the packets of all calls."""

    counters: DataPathCounters

    def prepare(self, settings: PathSettings) -> Preparation:
        """Get ready for other settings; new routes are there when this returns. Calls that are up keep theirs.

        Raises OSError, with nothing changed, when the kernel refuses something.
        """

    def open_call(self, endpoint: CallEndpoint, owner: CallOwner) -> CallPath:
        """Start to take GRE packets of this call.

        Raises OSError when the kernel refuses what it needs. It may refuse for a moment the Call ID of a path that has
        just been closed.
        """

    def interface_of(self, call_id: int) -> str:
        """The name of the network device through which the inner packets of this call go; empty where there is none."""
