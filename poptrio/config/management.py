"""The table ``[management]``."""

from poptrio.config.sections import Section
from poptrio.config.values import ListenWithPort, Unique

MOST_CONNECTIONS = 200
"""Connections of one socket of the API at the same time."""


class Management(Section):
    """The management API: what `poptrio sessions` and its like, the page and Prometheus speak with."""

    socket: str = "/run/poptrio.sock"
    """Unix socket of the API, relative to the configuration file; "" is none. Whoever may open it (its owner and group,
    mode 0660) may do everything."""

    group: str = ""
    """Group that may open the socket; "" leaves it with the group of the process."""

    listen: Unique[ListenWithPort] = ()
    """Addresses, as "address:port", on which the API is served over TCP too, with TLS and a token only."""

    token_file: str = "token"
    """File with the token that whoever asks over TCP must send, relative to the configuration file: 16 octets at least,
    and not readable by everybody. A reload reads it again."""

    certificate: str = "certificate.pem"
    """File with the certificate of the API over TCP, and those that it is signed with. A reload reads it and its key
    again, and shows it to whoever connects from then on."""

    key: str = "key.pem"
    """File with the private key to it, without a passphrase."""
