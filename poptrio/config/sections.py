"""The tables of ``config.toml`` as pydantic models; the docstring under a key is its documentation, everywhere.

Defaults are a server that works with a chap-secrets file beside the configuration. All times are seconds.
"""

import itertools
import json
import os
from functools import cached_property
from ipaddress import IPv4Address
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field

from poptrio.address_ranges import AddressRange, parse_ranges
from poptrio.config.values import (
    AccountName,
    Count,
    CountOrNoLimit,
    HostName,
    InterfaceName,
    Ipv4,
    Listen,
    ListenAddress,
    Seconds,
    SecondsOrOff,
    Unique,
)
from poptrio.decisions import EapMethod, Encryption
from poptrio.tun_names import interface_of

AuthenticationProtocol = Literal["eap", "mschap-v2", "mschap-v1", "chap-md5", "pap"]
EncryptionMode = Literal["stateless", "stateful", "any"]
EncryptionBits = Literal[128, 56, 40]
Outcome = Literal["not-mine", "refused", "unavailable"]
"""What can become of a question to an authentication plugin, besides that it accepts the caller."""


def _pool_entry(value: str) -> str:
    parse_ranges([value])
    return value


def _workers(value: object) -> object:
    if value == "auto" or (isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= MOST_WORKERS):
        return value
    raise ValueError(f'{json.dumps(value, default=str)} is neither a number from 1 to {MOST_WORKERS} nor "auto"')


MOST_WORKERS = 64
Workers = Annotated[int | Literal["auto"], BeforeValidator(_workers)]

PoolRanges = Unique[Annotated[str, AfterValidator(_pool_entry)]]

DEFAULT_POOL = "default"
"""The name of the pool ``[addresses] pool``."""


class Section(BaseModel):
    """What every table has in common: nothing is converted, nothing unknown is accepted, nothing changes later."""

    model_config = ConfigDict(strict=True, frozen=True, extra="forbid", use_attribute_docstrings=True)


class Server(Section):
    """Control connections (RFC 2637 §2): where they are taken, how many, and how long each step may last."""

    listen: Annotated[Unique[Listen], Field(min_length=1)] = (ListenAddress(IPv4Address("0.0.0.0")),)
    """Addresses, as "address:port", on which control connections are taken; without a port it is 1723. GRE packets go
    out from the same local address as their control connection."""

    datapath: Literal["userspace", "kernel", "auto"] = "userspace"
    """What moves the packets: "userspace" is one TUN and raw GRE sockets, with PPP and MPPE inside poptrio; "kernel" is
    Linux' own PPTP, PPP and MPPE, with a network device for each call, and refuses to start where something of it is
    missing; "auto" takes "kernel" where that is the better one, and logs which it took and why."""

    interface: InterfaceName = "poptrio0"
    """Name of the TUN of the userspace data path, at most 15 octets. In the kernel data path, the names of the devices
    begin with its first 9 octets: poptrio0-17 is the device of the call with the Call ID 17."""

    workers: Workers = 1
    """Processes that share the listening port and the calls; "auto" is one for each core that poptrio may use. What is
    one for all calls (plugins, pools, limits, accounting) is in one more process then, their parent. The first has the
    TUN that interface names, the others count up: poptrio0, poptrio1 and so on."""

    host_name: HostName = "poptrio"
    """What we call ourselves: in Start-Control-Connection-Reply, as the name in CHAP challenges, and in the server
    column of chap-secrets."""

    user: AccountName = ""
    """User that the server becomes at its start, by name or number; the empty string stays who it is. It takes with it
    CAP_NET_ADMIN, CAP_NET_RAW and CAP_NET_BIND_SERVICE, can get no other right back, and must be able to read this file
    and those that it names."""

    group: AccountName = ""
    """Group that it becomes along with it; the empty string is the user's own."""

    max_calls: Annotated[Count, Field(le=60_000)] = 10_000
    """Calls at the same time. Call IDs have 16 bits and rest before they are used again, so 60000 is the end. Each
    control connection takes a file descriptor; where the limit of the process is lower, fewer calls are taken."""

    max_calls_per_address: CountOrNoLimit = 256
    """Calls at the same time from one client address, which clients behind one NAT gateway share; 0 is no limit."""

    max_unauthenticated: Count = 500
    """Control connections and calls at the same time that have not authenticated themselves yet; more are refused."""

    max_unauthenticated_per_address: Count = 64
    """The same, from one client address, which clients behind one NAT gateway share. A client that dials counts twice,
    once for its connection and once for its call."""

    start_timeout: Seconds = 10.0
    """Seconds from the TCP connection to Start-Control-Connection-Request."""

    call_timeout: Seconds = 30.0
    """Seconds from there to the first Outgoing-Call-Request, and from the end of the last call to the next request."""

    echo_interval: Seconds = 60.0
    """Seconds of silence on a control connection after which an Echo-Request is sent (RFC 2637 §3.1.4 says 60)."""

    echo_timeout: Seconds = 60.0
    """Seconds that a client has for its Echo-Reply before its calls are ended."""

    grace: Seconds = 5.0
    """Seconds that calls have to say goodbye when the server is stopped."""

    @property
    def worker_count(self) -> int:
        """How many processes have calls; "auto" is one for each core that this one may use (sched_getaffinity(2))."""
        return len(os.sched_getaffinity(0)) if self.workers == "auto" else self.workers

    @property
    def interfaces(self) -> tuple[str, ...]:
        """The TUNs of all workers."""
        return tuple(interface_of(self.interface, worker) for worker in range(self.worker_count))


class Gre(Section):
    """Enhanced GRE (RFC 2637 §4): packets that overtake each other, and acknowledgements."""

    reorder_packets: Annotated[int, Field(ge=0, le=1024)] = 64
    """How many packets of a call may wait for one that was overtaken; 0 gives up every gap at once."""

    reorder_timeout: Annotated[float, Field(gt=0, le=1, allow_inf_nan=False)] = 0.03
    """Seconds they wait at most; after that the missing packet counts as lost."""

    ack_delay: Annotated[float, Field(gt=0, le=1, allow_inf_nan=False)] = 0.1
    """Seconds that an acknowledgement may wait for a data packet to travel with."""


class Ppp(Section):
    """PPP: what is asked of clients, what they are told, and how long they may take."""

    mtu: Annotated[int, Field(ge=576, le=1500)] = 1400
    """Largest IP packet inside the tunnel, in octets: what we ask for as MRU, and the most that is sent. With the outer
    headers, 1400 fits into paths of 1452 octets and more; Windows insists on 1396 to 1400."""

    clamp_mss: bool = True
    """Lower the maximum segment size in passing TCP handshakes to what fits into a call's MTU."""

    authentication: Annotated[Unique[AuthenticationProtocol], Field(min_length=1)] = ("mschap-v2",)
    """Authentication protocols, offered in this order: "eap", "mschap-v2", "mschap-v1", "chap-md5", "pap". The two of
    MS-CHAP yield keys for encryption, and EAP by some of its methods. All are broken or worse; MS-CHAPv2 is the least
    bad, and EAP as good as the method that a plugin speaks with the client."""

    eap_methods: Annotated[Unique[EapMethod], Field(min_length=1)] = ("mschap-v2", "md5")
    """EAP methods that poptrio may speak itself, where a plugin knows a password and leaves the talking to it: any of
    "mschap-v2" and "md5". MD5 yields no keys and is left out where encryption is required. The methods that a plugin
    speaks by itself are not limited by this."""

    encryption: Encryption = "require"
    """MPPE: "require" refuses calls without it and drops every clear-text packet, "prefer" asks for it and goes on
    without, "refuse" never encrypts."""

    encryption_bits: Annotated[Unique[EncryptionBits], Field(min_length=1)] = (128,)
    """Key lengths that may be agreed on: any of 128, 56 and 40."""

    encryption_mode: EncryptionMode = "any"
    """When MPPE changes its key: "stateless" with every packet, "stateful" every 256 packets, which loses more than the
    packet that the network lost; "any" asks for stateless and takes what the client insists on."""

    dns: Annotated[Unique[Ipv4], Field(max_length=2)] = ()
    """Name servers told to clients by IPCP (RFC 1877), at most two."""

    wins: Annotated[Unique[Ipv4], Field(max_length=2)] = ()
    """NetBIOS name servers told to clients by IPCP (RFC 1877), at most two."""

    establish_timeout: Seconds = 60.0
    """Seconds from Outgoing-Call-Request to a usable network; a call that takes longer is ended."""

    restart_interval: Seconds = 3.0
    """Restart timer: seconds until an unanswered Configure-Request, Terminate-Request or CHAP challenge is repeated
    (RFC 1661 §4.6)."""

    max_configure: Count = 10
    """Max-Configure: Configure-Requests without an answer before the protocol is given up (RFC 1661 §4.6)."""

    max_terminate: Count = 2
    """Max-Terminate: Terminate-Requests without an answer before the link counts as closed (RFC 1661 §4.6)."""

    max_failure: Count = 5
    """Max-Failure: Configure-Naks before an option that cannot be agreed on is rejected (RFC 1661 §4.6)."""

    lcp_echo_interval: SecondsOrOff = 30.0
    """Seconds of silence after which an LCP Echo-Request is sent; 0 is never. It also keeps NAT gateways from
    forgetting the call, which some do after 30 to 60 seconds."""

    lcp_echo_failures: Count = 4
    """LCP Echo-Requests in a row without an answer that end a call."""

    authentication_interval: SecondsOrOff = 0.0
    """Seconds between CHAP challenges during a call; 0 authenticates once only."""

    idle_timeout: SecondsOrOff = 0.0
    """Seconds without an IP packet in either direction that end a call; 0 is never. A plugin may decide otherwise."""

    session_timeout: SecondsOrOff = 0.0
    """Seconds after which a call is ended in any case; 0 is never. A plugin may decide otherwise."""


class Addresses(Section):
    """Inner addresses: ours, and who decides which one a call gets."""

    server: Ipv4 = IPv4Address("10.90.0.1")
    """Our end of every call."""

    pool: PoolRanges = ("10.90.0.2-10.90.15.254",)
    """Addresses for clients: ranges "10.0.0.2-10.0.0.254" (short "10.0.0.2-254"), networks "10.0.0.0/24" (without
    network and broadcast address), and single addresses. They are routed to the TUN."""

    pools: dict[str, Annotated[PoolRanges, Field(min_length=1)]] = Field(default_factory=dict)
    """More pools by name, for instance gold = ["10.91.0.2-10.91.0.254"]: an authentication plugin can say from which
    one a user gets an address. The pool above is called default."""

    plugins: Unique[str] = ("ip-pool",)
    """Plugins that are asked for an address, in this order; the first that has one wins."""

    @cached_property
    def pool_ranges(self) -> tuple[AddressRange, ...]:
        """The pool as first and last addresses."""
        return parse_ranges(self.pool)

    @cached_property
    def ranges_by_pool(self) -> dict[str, tuple[AddressRange, ...]]:
        """Every pool as first and last addresses, the default one first."""
        return {DEFAULT_POOL: self.pool_ranges} | {name: parse_ranges(texts) for name, texts in self.pools.items()}

    @cached_property
    def all_ranges(self) -> tuple[AddressRange, ...]:
        """The first and last addresses of all pools together."""
        return tuple(itertools.chain.from_iterable(self.ranges_by_pool.values()))


class Domain(Section):
    """What is different for the users of one domain, whose name it stands under; case does not matter."""

    plugins: Unique[str] = ()
    """Plugins that are asked about these users, in this order, instead of those of [authentication]. Their names
    are then counted apart from equal ones in other domains."""

    rename: str = ""
    """What the domain is called before anything else looks at it; its own table then counts. Empty: as it is."""


class Authentication(Section):
    """Who decides who may call, and what a failure costs."""

    plugins: Annotated[Unique[str], Field(min_length=1)] = ("chap-secrets",)
    """Plugins that are asked who is calling, in this order."""

    fall_through: Unique[Outcome] = ("not-mine",)
    """After which answers the next plugin is asked: "not-mine" (it does not know the user), "refused" (it does, and
    says no), "unavailable" (it cannot tell, failed, or did not answer in time). If nobody accepts the caller, the first
    refusal counts, else the first plugin that could not tell. The last two weaken what the first plugin says."""

    strip_domain: bool = True
    """Look DOMAIN\\user up as user. The log always shows both."""

    strip_realm: bool = False
    """Look user@realm up as user. The realm is the domain in either case."""

    default_domain: str = ""
    """Domain of users who name none; they are looked up under it where strip_domain is false."""

    allowed_domains: Unique[str] = ()
    """Domains whose users may call, "" standing for names without a domain; case does not matter. The others are
    refused like a wrong password, without asking a plugin. The empty list allows all."""

    domains: dict[str, Domain] = Field(default_factory=dict)
    """Tables [authentication.domains.NAME] for the users of single domains."""

    timeout: Seconds = 10.0
    """Seconds that a plugin has for one answer; a plugin that takes longer counts as failed."""

    failure_delay: SecondsOrOff = 0.5
    """Seconds that an attempt waits after a failed one from the same address or for the same user, behind those that
    wait already. The delay doubles with each further failure. A success ends it for the user and takes back one failure
    of the address; other addresses and users do not wait. 0 waits for nothing."""

    failure_delay_max: SecondsOrOff = 8.0
    """The most that it grows to."""

    @cached_property
    def plugins_by_domain(self) -> dict[str, tuple[str, ...]]:
        """The plugins of each domain that has its own."""
        return {name: domain.plugins for name, domain in self.domains.items() if domain.plugins}


class Sessions(Section):
    """How many calls one user may have. They are counted over all names of the user that the plugin tells."""

    limit: CountOrNoLimit = 0
    """Calls of one user at the same time; 0 is no limit. A plugin may decide otherwise."""

    at_limit: Literal["refuse", "replace"] = "refuse"
    """What happens to one more: "refuse" refuses it, "replace" ends the user's oldest call for it."""


class Accounting(Section):
    """What plugins are told of calls that are up."""

    plugins: Unique[str] = ()
    """Plugins that are told, besides those that are asked something and want to be told, too."""

    timeout: Seconds = 10.0
    """Seconds that each plugin has for one record."""

    interim_interval: SecondsOrOff = 0.0
    """Seconds between records on the way; 0 is none. A plugin may decide otherwise."""

    interim_jitter: Annotated[
        float, Field(ge=0, le=0.5, allow_inf_nan=False, json_schema_extra={"unit": "fraction"})
    ] = 0.1
    """By which part of it each interval is made longer or shorter at random, so that calls that came up together do
    not report together for ever."""
