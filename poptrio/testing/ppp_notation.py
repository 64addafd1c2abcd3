"""PPP frames from lines: the inverse of `protocols.ppp.notation`, in which the conversations of tests are written."""

import re
from ipaddress import IPv4Address

from poptrio.protocols.ppp.frames import Packet, Protocol, build_frame
from poptrio.protocols.ppp.lcp import AuthProtocol
from poptrio.protocols.ppp.notation import CODES, CONFIGURE, EAP_TEXTS, EAP_TYPES, OPTIONS, TEXTS, Form


def frame_from_line(line: str) -> bytes:
    """The PPP frame that a line describes, with address and control."""
    name, _, rest = line.partition(" ")
    if name not in Protocol.__members__:
        return build_frame(int(name, 16), bytes.fromhex(rest))
    protocol = Protocol[name]
    code_name, identifier, data = (*rest.split(" ", 2), "")[:3]
    codes = {name: code for code, name in CODES[protocol].items()}
    code = codes.get(code_name) or int(code_name)
    return build_frame(protocol, Packet(code, int(identifier), _data(protocol, code_name, data)).encode())


def _data(protocol: Protocol, code: str, text: str) -> bytes:
    if code in CONFIGURE:
        return b"".join(_option(protocol, option) for option in re.findall(r"<([^>]*)>", text))
    if code in TEXTS:
        return _sized(text.encode()) if protocol is Protocol.PAP else text.encode()
    if protocol is Protocol.EAP and code in ("Request", "Response"):
        return _eap(text)
    if code in ("Challenge", "Response", "AuthReq"):
        (_, first), (_, second) = (word.split("=", 1) for word in text.split(" ", 1))
        if protocol is Protocol.PAP:
            return _sized(first.encode()) + _sized(second.encode())
        return _sized(bytes.fromhex(first)) + second.encode()
    return bytes.fromhex(text)


def _eap(text: str) -> bytes:
    name, _, value = text.partition("=")
    kinds = {name: kind for kind, name in EAP_TYPES.items()}
    kind = kinds[name] if name in kinds else int(name.removeprefix("type"))
    return bytes((kind,)) + (value.encode() if name in EAP_TEXTS else bytes.fromhex(value))


def _option(protocol: Protocol, text: str) -> bytes:
    name, _, value = text.partition(" ")
    named = {name: (kind, form) for kind, (name, form) in OPTIONS[protocol].items()}
    kind, form = named.get(name) or (int(name), Form.OCTETS)
    octets = _value(form, value)
    return bytes((kind, len(octets) + 2)) + octets


def _value(form: Form, text: str) -> bytes:
    """The octets of an option's value; what the option's own notation cannot say is in hexadecimal."""
    known = {protocol.label: protocol.option_value for protocol in AuthProtocol}
    if form is Form.NUMBER:
        return int(text).to_bytes(2, "big")
    if form is Form.ADDRESS and "." in text:
        return IPv4Address(text).packed
    if form is Form.AUTHENTICATION and text in known:
        return known[text]
    return bytes.fromhex(text)


def _sized(octets: bytes) -> bytes:
    return bytes((len(octets),)) + octets
