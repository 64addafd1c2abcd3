"""TCP sockets that a service manager has opened for us, and which address of ``server.listen`` each is for."""

import socket
from collections.abc import Sequence
from ipaddress import IPv4Address

from poptrio.config import ListenAddress
from poptrio.errors import ConfigError, ConfigFault

_KEY = "server.listen"


def matched(listen: Sequence[ListenAddress], passed: Sequence[socket.socket]) -> dict[ListenAddress, socket.socket]:
    """Which of ``passed`` stands for which address. Raises `ConfigError` with a fault for each that stands for none."""
    found: dict[ListenAddress, socket.socket] = {}
    faults = []
    for one in passed:
        try:
            address = _address(one)
            if address not in listen:
                named = ", ".join(map(str, listen))
                raise ValueError(f"is for {address}, which is not in the list ({named}); name it here, or not there")
            if address in found:
                raise ValueError(f"is for {address}, as another one is; pass one of them")
            found[address] = one
        except ValueError as error:
            faults.append(ConfigFault(_KEY, f"a socket that the service manager has opened {error}"))
    if faults:
        raise ConfigError(*faults)
    return found


def _address(passed: socket.socket) -> ListenAddress:
    """Where it listens. Raises ValueError with the rest of a sentence if it cannot be used."""
    if passed.family != socket.AF_INET:
        address, port = passed.getsockname()[:2]
        raise ValueError(
            f"is for [{address}]:{port}, and PPTP is spoken over IPv4 here; write ListenStream=0.0.0.0:{port}"
        )
    if not passed.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
        raise ValueError("does not listen; write Accept=no")
    address, port = passed.getsockname()
    return ListenAddress(IPv4Address(address), port)
