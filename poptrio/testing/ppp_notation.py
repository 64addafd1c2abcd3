"""PPP frames as readable lines, in the manner of pppd's log, and back: ``LCP ConfReq 1 <mru 1400> <magic 0a0b0c0d>``.

A line is the protocol, the code, the Identifier, then what the packet carries: options in angle brackets, the text of
an answer, ``value=`` and ``name=`` of CHAP, ``user=`` and ``password=`` of PAP, or octets in hexadecimal. What has no
name here stands as numbers: ``<19 00>`` is option 19, ``8057 0101`` a frame of protocol 0x8057.
"""

import contextlib
import re
from collections.abc import Callable
from ipaddress import IPv4Address

from poptrio.protocols.ppp.frames import Packet, Protocol, build_frame, split_frame
from poptrio.protocols.ppp.lcp import AuthProtocol
from poptrio.protocols.wire import type_length_values

_CONFIGURE = ("ConfReq", "ConfAck", "ConfNak", "ConfRej")
_CODES: dict[int, dict[int, str]] = {
    number: dict(enumerate(names, start=1))
    for number, names in {
        Protocol.LCP: (
            *_CONFIGURE, "TermReq", "TermAck", "CodeRej", "ProtRej",
            "EchoReq", "EchoRep", "DiscReq", "Ident", "TimeRem",
        ),
        Protocol.IPCP: (*_CONFIGURE, "TermReq", "TermAck", "CodeRej"),
        Protocol.CCP: (*_CONFIGURE, "TermReq", "TermAck", "CodeRej"),
        Protocol.CHAP: ("Challenge", "Response", "Success", "Failure"),
        Protocol.PAP: ("AuthReq", "AuthAck", "AuthNak"),
    }.items()
}  # fmt: skip
_CODES[Protocol.CCP] |= {14: "ResetReq", 15: "ResetAck"}
_TEXTS = ("Success", "Failure", "AuthAck", "AuthNak")

_Codec = tuple[Callable[[str], bytes], Callable[[bytes], str]]
_HEX: _Codec = (bytes.fromhex, bytes.hex)
_NUMBER: _Codec = (lambda text: int(text).to_bytes(2, "big"), lambda value: str(int.from_bytes(value, "big")))
_ADDRESS: _Codec = (lambda text: IPv4Address(text).packed, lambda value: str(IPv4Address(value)))
_AUTH: _Codec = (
    lambda text: AuthProtocol.from_label(text).option_value,
    lambda value: next(protocol.label for protocol in AuthProtocol if protocol.option_value == value),
)
_OPTIONS: dict[int, dict[str, tuple[int, _Codec]]] = {
    Protocol.LCP: {
        "mru": (1, _NUMBER),
        "accm": (2, _HEX),
        "auth": (3, _AUTH),
        "magic": (5, _HEX),
        "pfc": (7, _HEX),
        "acfc": (8, _HEX),
    },
    Protocol.IPCP: {
        "addr": (3, _ADDRESS),
        "dns1": (129, _ADDRESS),
        "wins1": (130, _ADDRESS),
        "dns2": (131, _ADDRESS),
        "wins2": (132, _ADDRESS),
    },
    Protocol.CCP: {"mppe": (18, _HEX)},
}


def frame_from_line(line: str) -> bytes:
    """The PPP frame that a line describes, with address and control."""
    name, _, rest = line.partition(" ")
    if name not in Protocol.__members__:
        return build_frame(int(name, 16), bytes.fromhex(rest))
    protocol = Protocol[name]
    code_name, identifier, data = (*rest.split(" ", 2), "")[:3]
    codes = {name: code for code, name in _CODES[protocol].items()}
    code = codes.get(code_name) or int(code_name)
    return build_frame(protocol, Packet(code, int(identifier), _data(protocol, code_name, data)).encode())


def line_from_frame(frame: bytes) -> str:
    """The line that describes a PPP frame. Raises `MalformedPacket`."""
    number, information = split_frame(frame)
    if number not in _CODES:
        return f"{number:04x} {information.hex()}".rstrip()
    protocol = Protocol(number)
    packet = Packet.decode(information, protocol.name)
    name = _CODES[number].get(packet.code, str(packet.code))
    return f"{protocol.name} {name} {packet.identifier} {_text(protocol, name, packet.data)}".rstrip()


def _data(protocol: Protocol, code: str, text: str) -> bytes:
    if code in _CONFIGURE:
        return b"".join(_option(protocol, option) for option in re.findall(r"<([^>]*)>", text))
    if code in _TEXTS:
        return _sized(text.encode()) if protocol is Protocol.PAP else text.encode()
    if code in ("Challenge", "Response", "AuthReq"):
        (_, first), (_, second) = (word.split("=", 1) for word in text.split(" ", 1))
        if protocol is Protocol.PAP:
            return _sized(first.encode()) + _sized(second.encode())
        return _sized(bytes.fromhex(first)) + second.encode()
    return bytes.fromhex(text)


def _text(protocol: Protocol, code: str, data: bytes) -> str:
    if code in _CONFIGURE:
        return " ".join(_option_text(protocol, *option) for option in type_length_values(data, code))
    if code in _TEXTS:
        return data[1 if protocol is Protocol.PAP else 0 :].decode()
    if code in ("Challenge", "Response", "AuthReq"):
        first, rest = data[1 : 1 + data[0]], data[1 + data[0] :]
        if protocol is Protocol.PAP:
            return f"user={first.decode()} password={rest[1:].decode()}"
        return f"value={first.hex()} name={rest.decode()}"
    return data.hex()


def _option(protocol: Protocol, text: str) -> bytes:
    name, _, value = text.partition(" ")
    kind, codec = _OPTIONS[protocol].get(name) or (int(name), _HEX)
    try:
        octets = codec[0](value)
    except (ValueError, StopIteration):
        octets = bytes.fromhex(value)
    return bytes((kind, len(octets) + 2)) + octets


def _option_text(protocol: Protocol, kind: int, value: bytes) -> str:
    name, text = str(kind), value.hex()
    for known_name, (known, codec) in _OPTIONS[protocol].items():
        if known == kind:
            with contextlib.suppress(ValueError, StopIteration):
                text = codec[1](value)
            if _option(protocol, f"{known_name} {text}")[2:] == value:
                name = known_name
            else:
                text = value.hex()  # of a size that the option's own notation cannot say
    return f"<{name} {text}>".replace(" >", ">")


def _sized(octets: bytes) -> bytes:
    return bytes((len(octets),)) + octets
