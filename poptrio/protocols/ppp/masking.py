"""PPP frames without the passwords that stand in them in clear, for captures: same length, asterisks instead.

Those are PAP's (RFC 1334 §2.2.1), one-time passwords and those of Generic Token Card in EAP (RFC 3748 §5.5, §5.6, also
as Expanded Types, §5.7), the hashes in MS-CHAP's first way to change a password, whose key is the challenge (RFC 2433
§9.7), and copies of such packets in LCP's Protocol-Reject (RFC 1661 §5.7). Answers to challenges are no passwords, and
stay.
"""

from poptrio.protocols.ppp.frames import ADDRESS_AND_CONTROL, Code, Protocol

HEADER = 4
"""Octets of code, Identifier and length."""

PAP_REQUEST = 1
EAP_RESPONSE = 2
EAP_PASSWORD_TYPES = (5, 6)
"""One-Time Password and Generic Token Card."""

EAP_EXPANDED = b"\xfe\0\0\0\0\0\0"
"""An Expanded Type of IETF, whose number follows in the last octet."""

CHANGE_PASSWORD_1 = 5

_SECRETIVE = (Protocol.PAP, Protocol.EAP, Protocol.CHAP)


def without_passwords(frame: bytes) -> bytes:
    """``frame``, with or without address and control; never raises, whatever it holds."""
    start = 2 if frame[:2] == ADDRESS_AND_CONTROL else 0
    protocol = int.from_bytes(frame[start : start + 2], "big")
    information = start + 2
    secret = _secret_begins(protocol, frame[information:])
    if secret is None:
        return frame
    end = min(information + secret, len(frame))
    return frame[:end] + b"*" * (len(frame) - end)


def _secret_begins(protocol: int, packet: bytes) -> int | None:
    """Where in a packet the password begins, which reaches to its end; None if there is none."""
    if protocol == Protocol.PAP and packet[:1] == bytes((PAP_REQUEST,)):
        name_length = packet[HEADER] if len(packet) > HEADER else 0
        password = HEADER + 1 + name_length  # its length stands here
        return password + 1 if password < len(packet) else HEADER
    if protocol == Protocol.EAP and packet[:1] == bytes((EAP_RESPONSE,)):
        kind = packet[HEADER:].removeprefix(EAP_EXPANDED)
        at = len(packet) - len(kind) + 1
        return at if kind[:1] in map(_octet, EAP_PASSWORD_TYPES) else None
    if protocol == Protocol.CHAP and packet[:1] == bytes((CHANGE_PASSWORD_1,)):
        return HEADER
    if protocol == Protocol.LCP and packet[:1] == bytes((Code.PROTOCOL_REJECT,)):
        rejected = int.from_bytes(packet[HEADER : HEADER + 2], "big")
        return HEADER + 2 if rejected in _SECRETIVE else None
    return None


def _octet(number: int) -> bytes:
    return bytes((number,))
