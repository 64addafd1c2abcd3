"""What is said on the `Channel`: JSON with a version, so that a program that does not know it says no, and no more.

Octets are hexadecimal. Text of clients may have octets that are no UTF-8, which JSON cannot say: then all texts stand
in it in another form, which ``escaped`` tells.
"""

import dataclasses
import json
from collections.abc import Callable
from ipaddress import IPv4Address, IPv4Network
from typing import Any, TypeVar

from pydantic import ConfigDict, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass
from pydantic_core import PydanticSerializationError

from poptrio.server.server_state import KeptServer

VERSION = 1
"""Of everything here. A change that another program would misunderstand is a new version."""

_JSON = ConfigDict(ser_json_bytes="hex", val_json_bytes="hex", ser_json_inf_nan="constants", extra="forbid")


class OtherVersion(Exception):
    """The message is of another version, or of a program that does not keep to this one."""


@dataclass(config=_JSON, frozen=True)
class Hello:
    """What the old program has that is no call's, with a descriptor for each, in this order.

    ``listen``: listening sockets by address and port; ``gre``: GRE sockets by local address; the TUN ``interface``;
    ``doors``: sockets of the management API by what names them. ``address`` is our inner address, ``routes`` the
    standing routes through the TUN, ``rc4`` the provider that wrote key streams down. ``waited_for``: when the old
    program leaves, something of it stays that waits for the new one.
    """

    program: str
    listen: list[str]
    gre: list[IPv4Address]
    interface: str
    doors: list[str]
    address: IPv4Address
    routes: list[IPv4Network]
    rc4: str
    waited_for: bool


@dataclass(config=_JSON, frozen=True)
class State:
    """The connections and calls, with a descriptor for each connection. ``at`` is CLOCK_MONOTONIC, in seconds."""

    at: float
    server: KeptServer
    escaped: bool = False


_HELLO = TypeAdapter(Hello)
_STATE = TypeAdapter(State)


def hello_octets(hello: Hello) -> bytes:
    """``hello`` on the wire."""
    return json.dumps({"version": VERSION, "hello": json.loads(_HELLO.dump_json(hello))}).encode()


def read_hello(octets: bytes) -> Hello:
    """Raises `OtherVersion`."""
    try:
        message = json.loads(octets)
        version = message["version"]
        if version != VERSION:
            raise OtherVersion(f"calls come in version {version} of the language, this program has version {VERSION}")
        return _HELLO.validate_json(json.dumps(message["hello"]))
    except (ValueError, KeyError, TypeError, ValidationError) as error:
        raise OtherVersion(f"the other program's greeting makes no sense: {_first(error)}") from error


def state_octets(state: State) -> bytes:
    """``state`` on the wire."""
    try:
        return _STATE.dump_json(state)
    except PydanticSerializationError:
        return _STATE.dump_json(State(state.at, _texts(state.server, _escape), escaped=True))


def read_state(octets: bytes) -> State:
    """Raises `OtherVersion`."""
    try:
        state = _STATE.validate_json(octets)
    except ValidationError as error:
        raise OtherVersion(f"the other program's calls make no sense: {_first(error)}") from error
    return State(state.at, _texts(state.server, _unescape)) if state.escaped else state


def _first(error: Exception) -> str:
    if not isinstance(error, ValidationError):
        return str(error)
    fault = error.errors(include_input=False, include_url=False)[0]
    return f"{'.'.join(map(str, fault['loc']))}: {fault['msg']}"


T = TypeVar("T")


def _texts(value: T, change: Callable[[str], str]) -> T:
    """``value`` with every text in it changed."""
    whole: Any = value
    match whole:
        case str():
            whole = change(whole)
        case list() | tuple() | frozenset():
            whole = type(whole)(_texts(part, change) for part in whole)
        case dict():
            whole = {_texts(key, change): _texts(part, change) for key, part in whole.items()}
        case _ if dataclasses.is_dataclass(whole) and not isinstance(whole, type):
            parts = {part.name: _texts(getattr(whole, part.name), change) for part in dataclasses.fields(whole)}
            whole = dataclasses.replace(whole, **parts)
    changed: T = whole
    return changed


def _escape(text: str) -> str:
    return text.encode("utf-8", "surrogatepass").decode("latin-1")


def _unescape(text: str) -> str:
    return text.encode("latin-1").decode("utf-8", "surrogatepass")
