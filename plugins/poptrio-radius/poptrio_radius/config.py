"""``[plugins.radius]``: one strict pydantic model per table, a docstring under every key. All times are seconds."""

from typing import Annotated, Literal, Self

from pydantic import Field, Strict, model_validator

from poptrio.api import Secret
from poptrio_radius.accounting_config import AccountingKeys
from poptrio_radius.coa_config import CoaConfig
from poptrio_radius.config_values import Address, AttributeText, Ipv4, Port, Seconds, Section

RADSEC_PORT = 2083
"""TCP port of RADIUS over TLS (RFC 6614 §2.1)."""

RADSEC_SECRET = "radsec"
"""What authenticators are made with where TLS does the work (RFC 6614 §2.3)."""


class TlsConfig(Section):
    """``tls`` of a server: RADIUS over TLS (RadSec, RFC 6614) instead of UDP. The server's certificate is checked."""

    port: Port = RADSEC_PORT
    """TCP port, for authentication and accounting."""

    server_name: str | None = None
    """Name that the server's certificate must have; without it, the server's address."""

    ca: str | None = None
    """File with the certificates that may sign the server's, relative to the configuration file; without it, those
    that the system trusts."""

    certificate: str | None = None
    """File with our own certificate and its chain, in PEM, where the server wants one."""

    key: str | None = None
    """File with the key of ``certificate``; without it, it is in the same file."""

    @model_validator(mode="after")
    def _key_belongs_to_a_certificate(self) -> Self:
        if self.key is not None and self.certificate is None:
            raise ValueError('"key" is of no use without "certificate"')
        return self


class ServerConfig(Section):
    """One entry of ``servers``."""

    address: Address
    """IPv4 or IPv6 address."""

    auth_port: Port = 1812
    """UDP port for authentication."""

    acct_port: Port = 1813
    """UDP port for accounting."""

    secret: Secret | None = None
    """The shared secret. With ``tls`` it need not be given; it is ``radsec`` then."""

    weight: Annotated[int, Field(ge=1, le=1000)] = 1
    """Share of the requests, with ``order = "weighted"``."""

    tls: TlsConfig | None = None
    """RADIUS over TLS instead of UDP."""

    @model_validator(mode="after")
    def _secret_unless_tls(self) -> Self:
        if self.secret is None and self.tls is None:
            raise ValueError(f'{self.address} needs a "secret"')
        return self

    @property
    def shared_secret(self) -> Secret:
        """``secret``, or RFC 6614's."""
        return Secret(RADSEC_SECRET) if self.secret is None else self.secret


Servers = Annotated[tuple[ServerConfig, ...], Strict(False)]


class RadiusConfig(AccountingKeys):
    """``[plugins.radius]``: RADIUS servers and what is asked of them."""

    servers: Annotated[Servers, Field(min_length=1)]
    """The servers for authentication, and for accounting unless ``accounting_servers`` has others."""

    accounting_servers: Servers = ()
    """Servers for accounting where they are not the same."""

    order: Literal["listed", "weighted"] = "listed"
    """Which server is asked first: the first that is alive, or each as often as its ``weight`` says. The others follow
    in the order of the list."""

    timeout: Seconds = 3.0
    """Seconds for one try."""

    tries: Annotated[int, Field(ge=1, le=20)] = 3
    """How often a request is sent to one server before the next one is asked. All tries together end before
    ``[authentication] timeout``, and each server gets its share of it."""

    dead_time: Seconds = 60.0
    """Seconds for which a server that did not answer is passed over. After that one request tries it."""

    status_server: bool = True
    """Ask dead servers whether they are back by Status-Server (RFC 5997)."""

    probe_interval: Seconds = 10.0
    """Seconds between two Status-Server requests to a dead server, more or less by a quarter at random."""

    unavailable: Literal["reject", "next"] = "reject"
    """What happens to a caller when no server answers: refused, or the next plugin is asked."""

    require_message_authenticator: bool = True
    """Drop answers to Access-Requests over UDP that have no Message-Authenticator. Turn it off only for servers that
    cannot send one, and mend them: anybody between us and them can forge an Access-Accept then (CVE-2024-3596)."""

    nas_identifier: AttributeText = "poptrio"
    """NAS-Identifier in every request. A change needs a restart."""

    nas_ip_address: Ipv4 | None = None
    """NAS-IP-Address in every request; without it, the outer address of ours that the client called. A change needs a
    restart."""

    user_name: Literal["looked-up", "as-sent"] = "looked-up"
    """Which name is asked for: the one that ``[authentication]`` makes of what the client sent, without its domain if
    ``strip_domain`` says so, or the one that the client sent, with the domain. For EAP it is always the latter."""

    netmask_routes: bool = True
    """Let a Framed-IP-Netmask that comes with a Framed-IP-Address lead that whole network to the client (RFC 2865
    §5.9). Turn it off where netmasks are in the database out of habit."""

    challenge_memory: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 120.0
    """Seconds for which a challenge to a PAP user is remembered after the client hung up, so that the next call of the
    same user from the same address is its answer; 0 is never."""

    coa: CoaConfig | None = None
    """``[plugins.radius.coa]``: obey Disconnect- and CoA-Requests (RFC 5176); without the table, none."""
