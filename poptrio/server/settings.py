"""From the configuration to the settings of each part: the one place where a key meets what it sets."""

from poptrio.config import Config
from poptrio.datapath.base import ALL_CALL_IDS, CallIdSlice, PathSettings
from poptrio.datapath.userspace.path import UserspaceSettings
from poptrio.datapath.userspace.routes import covering_routes
from poptrio.protocols.gre import GreSettings
from poptrio.protocols.ppp.ccp import EncryptionPolicy
from poptrio.protocols.ppp.control_protocol import NegotiationSettings
from poptrio.protocols.ppp.lcp import AuthProtocol
from poptrio.protocols.ppp.session_events import SessionSettings
from poptrio.protocols.pptp.control import ControlSettings
from poptrio.server.limits import LimitSettings
from poptrio.tun_names import interface_of

STOP_TIMEOUT = 1.0
"""Seconds for a client's Stop-Control-Connection-Reply; the calls have said goodbye before."""


def session_settings(config: Config) -> SessionSettings:
    """How PPP sessions negotiate, from the configuration."""
    ppp = config.ppp
    return SessionSettings(
        name=config.server.host_name,
        mru=ppp.mtu,
        authentication=tuple(AuthProtocol.from_label(label) for label in ppp.authentication),
        encryption=EncryptionPolicy(ppp.encryption, ppp.encryption_bits, ppp.encryption_mode),
        negotiation=NegotiationSettings(ppp.restart_interval, ppp.max_configure, ppp.max_terminate, ppp.max_failure),
        lcp_echo_interval=ppp.lcp_echo_interval,
        lcp_echo_failures=ppp.lcp_echo_failures,
        establish_timeout=ppp.establish_timeout,
        authentication_interval=ppp.authentication_interval,
    )


def limit_settings(config: Config) -> LimitSettings:
    """What ends calls, and how often they report, where a plugin does not say, from the configuration."""
    return LimitSettings(
        session_timeout=config.ppp.session_timeout,
        idle_timeout=config.ppp.idle_timeout,
        interim_interval=config.accounting.interim_interval,
        interim_jitter=config.accounting.interim_jitter,
    )


def control_settings(config: Config) -> ControlSettings:
    """How control connections behave, from the configuration."""
    server = config.server
    return ControlSettings(
        host_name=server.host_name,
        start_timeout=server.start_timeout,
        call_timeout=server.call_timeout,
        echo_interval=server.echo_interval,
        echo_timeout=server.echo_timeout,
        stop_timeout=STOP_TIMEOUT,
    )


def userspace_settings(config: Config, call_ids: CallIdSlice = ALL_CALL_IDS) -> UserspaceSettings:
    """The sockets and the TUN of whoever has the calls with these Call IDs, from the configuration."""
    addresses = config.addresses
    return UserspaceSettings(
        listen=tuple(dict.fromkeys(listen.address for listen in config.server.listen)),
        interface=interface_of(config.server.interface, call_ids.worker),
        mtu=config.ppp.mtu,
        address=addresses.server,
        routes=covering_routes(addresses.all_ranges, addresses.server),
        gre=gre_settings(config),
        call_ids=call_ids,
    )


def path_settings(config: Config) -> PathSettings:
    """What of a data path can change while it runs, from the configuration."""
    addresses = config.addresses
    return PathSettings(
        mtu=config.ppp.mtu,
        routes=covering_routes(addresses.all_ranges, addresses.server),
        gre=gre_settings(config),
    )


def gre_settings(config: Config) -> GreSettings:
    """How patient GRE channels are, from the configuration."""
    gre = config.gre
    return GreSettings(
        reorder_packets=gre.reorder_packets, reorder_timeout=gre.reorder_timeout, ack_delay=gre.ack_delay
    )
