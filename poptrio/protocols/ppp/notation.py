"""PPP frames as readable lines, in the manner of pppd's log: ``LCP ConfReq 1 <mru 1400> <magic 0a0b0c0d>``.

A line is the protocol, the code, the Identifier, then what the packet carries: options in angle brackets, the text of
an answer, ``value=`` and ``name=`` of CHAP, ``user=`` and ``password=`` of PAP, ``identity=``, ``md5=`` and other types
of EAP, or octets in hexadecimal. What has no name here stands as numbers: ``<19 00>`` is option 19, ``8057 0101`` a
frame of protocol 0x8057, ``type13=00`` an EAP packet of type 13.
"""

from enum import Enum, auto
from ipaddress import IPv4Address

from poptrio.errors import MalformedPacket
from poptrio.hiding import HIDDEN
from poptrio.protocols.ppp.frames import LARGEST_FRAME, Packet, Protocol, split_frame
from poptrio.protocols.ppp.lcp import AuthProtocol
from poptrio.protocols.wire import Reader, type_length_values

CONFIGURE = ("ConfReq", "ConfAck", "ConfNak", "ConfRej")
TEXTS = ("Success", "Failure", "AuthAck", "AuthNak")
CODES: dict[int, dict[int, str]] = {
    number: dict(enumerate(names, start=1))
    for number, names in {
        Protocol.LCP: (
            *CONFIGURE, "TermReq", "TermAck", "CodeRej", "ProtRej",
            "EchoReq", "EchoRep", "DiscReq", "Ident", "TimeRem",
        ),
        Protocol.IPCP: (*CONFIGURE, "TermReq", "TermAck", "CodeRej"),
        Protocol.CCP: (*CONFIGURE, "TermReq", "TermAck", "CodeRej"),
        Protocol.CHAP: ("Challenge", "Response", "Success", "Failure"),
        Protocol.EAP: ("Request", "Response", "Success", "Failure"),
        Protocol.PAP: ("AuthReq", "AuthAck", "AuthNak"),
    }.items()
}  # fmt: skip
CODES[Protocol.CCP] |= {14: "ResetReq", 15: "ResetAck"}
CODES[Protocol.CHAP] |= {7: "ChangePw"}

EAP_TYPES = {1: "identity", 2: "notification", 3: "nak", 4: "md5", 26: "mschap-v2"}
"""Types of EAP by name; another is ``type13``."""

EAP_TEXTS = ("identity", "notification")

_SECRETIVE = (Protocol.PAP, Protocol.CHAP, Protocol.EAP)


class Form(Enum):
    """How the value of an option is written."""

    OCTETS = auto()
    NUMBER = auto()
    ADDRESS = auto()
    AUTHENTICATION = auto()


OPTIONS: dict[int, dict[int, tuple[str, Form]]] = {
    Protocol.LCP: {
        1: ("mru", Form.NUMBER),
        2: ("accm", Form.OCTETS),
        3: ("auth", Form.AUTHENTICATION),
        5: ("magic", Form.OCTETS),
        7: ("pfc", Form.OCTETS),
        8: ("acfc", Form.OCTETS),
    },
    Protocol.IPCP: {
        3: ("addr", Form.ADDRESS),
        129: ("dns1", Form.ADDRESS),
        130: ("wins1", Form.ADDRESS),
        131: ("dns2", Form.ADDRESS),
        132: ("wins2", Form.ADDRESS),
    },
    Protocol.CCP: {18: ("mppe", Form.OCTETS)},
}


def line_from_frame(frame: bytes, *, hide_secrets: bool = False) -> str:
    """The line that describes a PPP frame; ``hide_secrets`` leaves out what proves a password.

    Raises `MalformedPacket`.
    """
    number, information = split_frame(frame)
    if number not in CODES:
        return f"{number:04x} {information.hex()}".rstrip()
    protocol = Protocol(number)
    packet = Packet.decode(information, protocol.name)
    name = CODES[number].get(packet.code, str(packet.code))
    return f"{protocol.name} {name} {packet.identifier} {_text(protocol, name, packet.data, hide_secrets)}".rstrip()


def log_line(frame: bytes) -> str:
    """`line_from_frame` without secrets, for any octets: what makes no sense or is too large is told by its size."""
    if len(frame) > LARGEST_FRAME:
        return f"{len(frame)} octets"
    try:
        return line_from_frame(frame, hide_secrets=True)
    except MalformedPacket as error:
        return f"{len(frame)} octets, malformed: {error}"


def _text(protocol: Protocol, code: str, data: bytes, hide_secrets: bool) -> str:
    if code in CONFIGURE:
        return " ".join(_option_text(protocol, *option) for option in type_length_values(data, code))
    if code in TEXTS:
        return _shown(data[1:] if protocol is Protocol.PAP else data)
    if protocol is Protocol.EAP and code in ("Request", "Response"):
        return _eap_text(code, data, hide_secrets)
    if code in ("Challenge", "Response", "AuthReq"):
        return _proof_text(protocol, code, Reader(data, f"{protocol.name} {code}"), hide_secrets)
    if hide_secrets and protocol in _SECRETIVE:
        return HIDDEN
    if hide_secrets and code == "ProtRej" and int.from_bytes(data[:2], "big") in _SECRETIVE:
        return f"{data[:2].hex()}{HIDDEN}"  # it holds a copy of what was rejected
    return data.hex()


def _eap_text(code: str, data: bytes, hide_secrets: bool) -> str:
    kind = Reader(data, f"EAP {code}").u8()
    name = EAP_TYPES.get(kind, f"type{kind}")
    if name in EAP_TEXTS:
        return f"{name}={_shown(data[1:])}"
    return f"{name}={HIDDEN if hide_secrets and name != 'nak' else data[1:].hex()}"


def _proof_text(protocol: Protocol, code: str, reader: Reader, hide_secrets: bool) -> str:
    first = reader.take(reader.u8())
    if protocol is Protocol.PAP:
        password = _shown(reader.take(reader.u8()))
        return f"user={_shown(first)} password={HIDDEN if hide_secrets else password}"
    value = HIDDEN if hide_secrets and code == "Response" else first.hex()
    return f"value={value} name={_shown(reader.rest())}"


def _option_text(protocol: Protocol, kind: int, value: bytes) -> str:
    name, form = OPTIONS[protocol].get(kind, (str(kind), Form.OCTETS))
    text = value.hex()
    if form is Form.NUMBER and len(value) == 2:
        text = str(int.from_bytes(value, "big"))
    elif form is Form.ADDRESS and len(value) == 4:
        text = str(IPv4Address(value))
    elif form is Form.AUTHENTICATION:
        known = AuthProtocol.from_option(value)
        text = known.label if known else text
    elif form is not Form.OCTETS:
        name = str(kind)  # of a size that the option's own notation cannot say
    return f"<{name} {text}>".replace(" >", ">")


def _shown(octets: bytes) -> str:
    return octets.decode("utf-8", "backslashreplace")
