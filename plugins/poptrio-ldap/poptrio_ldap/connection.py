"""One LDAP connection by ldap3: opened with TLS, searched, bound. Blocks; for one thread at a time.

ldap3's SYNC strategy has no thread and no state of its own between operations, which is what a pool wants; its pools
and its ServerPool would hide which server failed, and retry without an end.
"""

import math
import ssl
from dataclasses import dataclass, field
from typing import Any

import ldap3
from ldap3.core.exceptions import LDAPExceptionError

from poptrio_ldap.directory import BindResult, DirectoryUnavailable, Entry, Search
from poptrio_ldap.password_policy import CONTROL, policy_error
from poptrio_ldap.pool import ConnectionLost, Purpose

SUCCESS, SIZE_LIMIT_EXCEEDED, BUSY, UNAVAILABLE = 0, 4, 51, 52
"""Result codes of RFC 4511 §4.1.9."""


@dataclass(frozen=True, slots=True)
class LdapServer:
    """How to reach one server. ``tls`` is None for clear text; ``timeout`` is seconds for each step.

    ``bind_dn`` and ``bind_password`` are the service account, both empty for anonymous searches.
    """

    url: str
    tls: ssl.SSLContext | None
    timeout: float
    bind_dn: str = ""
    bind_password: bytes = field(default=b"", repr=False)

    def open(self, purpose: Purpose) -> "LdapConnection":
        """A new connection, under TLS if that is wanted, and bound as the service account to search."""
        connection = LdapConnection(self)
        if purpose is Purpose.SEARCH and self.bind_dn:
            answer = connection.bind(self.bind_dn, self.bind_password)
            if answer.code != SUCCESS:
                connection.close()
                raise DirectoryUnavailable(
                    f"{self.url} refuses the service account {self.bind_dn}: {answer.diagnostic or answer.code}"
                )
        return connection


class LdapConnection:
    """An open connection. Whatever goes wrong with it raises `ConnectionLost`."""

    def __init__(self, server: LdapServer) -> None:
        self._ldap = _ldap3_connection(server)
        self._timeout = server.timeout
        try:
            self._open(start_tls=server.tls is not None and not server.url.startswith("ldaps:"))
        except (LDAPExceptionError, OSError) as error:
            self.close()
            raise ConnectionLost(_sentence(error)) from None

    def search(self, search: Search) -> list[Entry]:
        """The entries found; references to other servers are not followed."""
        self._operate(
            self._ldap.search,
            search.base,
            search.filter,
            attributes=list(search.attributes) or [ldap3.NO_ATTRIBUTES],
            size_limit=search.limit,
            time_limit=math.ceil(self._timeout),
        )
        if self._ldap.result["result"] not in (SUCCESS, SIZE_LIMIT_EXCEEDED):
            raise DirectoryUnavailable(f"the search below {search.base!r} failed: {_words(self._ldap.result)}")
        return [_entry(found) for found in self._ldap.response if found["type"] == "searchResEntry"]

    def bind(self, dn: str, password: bytes) -> BindResult:
        """Try ``password`` for ``dn``; neither may be empty (ValueError), see RFC 4513 §5.1.2."""
        if not dn or not password:
            raise ValueError("a bind without a name or a password proves nothing")
        self._ldap.user, self._ldap.password, self._ldap.authentication = dn, password, ldap3.SIMPLE
        try:
            self._operate(self._ldap.bind, read_server_info=False, controls=[(CONTROL, False, None)])
            result = self._ldap.result
        finally:
            self._ldap.user = self._ldap.password = None
        if result["result"] in (BUSY, UNAVAILABLE):
            raise ConnectionLost(_words(result))
        policy = result.get("controls", {}).get(CONTROL)
        error = policy_error(bytes(policy["value"] or b"")) if policy is not None else None
        return BindResult(result["result"], _words(result) if result["result"] != SUCCESS else "", error)

    def close(self) -> None:
        """Drop the connection, without the courtesy of an unbind: the other side may be gone."""
        self._ldap.strategy.close()
        if self._ldap.socket is not None:  # ldap3 forgets it when opening failed half-way
            self._ldap.socket.close()

    def _open(self, *, start_tls: bool) -> None:
        self._ldap.open(read_server_info=False)
        self._ldap.socket.settimeout(self._timeout)
        if start_tls:
            self._ldap.start_tls(read_server_info=False)

    def _operate(self, operation: Any, *args: Any, **kwargs: Any) -> None:
        try:
            operation(*args, **kwargs)
        except (LDAPExceptionError, OSError) as error:
            raise ConnectionLost(_sentence(error)) from None


class _Tls(ldap3.Tls):  # type: ignore[misc]  # ldap3 has no types
    """TLS as Python's ssl checks it: ldap3's own check of names uses what Python 3.12 has removed."""

    def __init__(self, context: ssl.SSLContext) -> None:
        super().__init__(validate=context.verify_mode)
        self._context = context

    def wrap_socket(self, connection: Any, do_handshake: bool = False) -> None:
        """The handshake has the timeout of the socket."""
        host = connection.server.host
        wrapped = self._context.wrap_socket(connection.socket, server_hostname=host)
        try:
            wrapped.getpeername()
        except OSError:  # the other side was gone before the handshake, which Python then leaves out
            wrapped.close()
            raise
        connection.socket = wrapped


def _ldap3_connection(server: LdapServer) -> Any:
    """Not opened yet. No schema is read and no name checked: that would cost a search for every connection."""
    ldap_server = ldap3.Server(
        server.url,
        tls=_Tls(server.tls) if server.tls is not None else None,
        connect_timeout=server.timeout,
        get_info=ldap3.NONE,
    )
    return ldap3.Connection(
        ldap_server,
        client_strategy=ldap3.SYNC,
        receive_timeout=math.ceil(server.timeout),  # ldap3 wants whole seconds
        auto_referrals=False,  # would bind elsewhere with the user's password
        auto_escape=False,
        check_names=False,
        read_only=True,
    )


def _entry(found: Any) -> Entry:
    return Entry(
        found["dn"], {name.lower(): tuple(values) for name, values in found["raw_attributes"].items() if values}
    )


def _words(result: Any) -> str:
    """The code's name and what the server says about it, in one line."""
    message = " ".join(str(result["message"]).replace("\0", " ").split())
    return f"{result['description']} ({message})" if message else str(result["description"])


def _sentence(error: Exception) -> str:
    """ldap3's message, or the name of the error where it has none."""
    return " ".join(str(error).split()) or type(error).__name__
