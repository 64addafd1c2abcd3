"""What a RADIUS server says in Microsoft's attributes (RFC 2548): errors, proofs and keys."""

import re
from dataclasses import dataclass

from poptrio.api import MppeKeys, mschap_v1_keys
from poptrio_radius.attributes import Attributes, BadAttribute
from poptrio_radius.hiding import reveal_password, reveal_salted

_ERROR = re.compile(r"E=(\d{1,10})")
_RETRY = re.compile(r"\bR=([01])")
_CHALLENGE = re.compile(r"\bC=([0-9A-Fa-f]{32}|[0-9A-Fa-f]{16})\b")
_MESSAGE = re.compile(r"\bM=(.*)", re.DOTALL)
_PROOF = re.compile(r"S=[0-9A-Fa-f]{40}")

_KEY_SIZE = 16
_WEAK_KEY_SIZE = 8


@dataclass(frozen=True, slots=True)
class MsChapError:
    """MS-CHAP-Error (RFC 2548 §2.1.5), taken apart as RFC 2759 §6 says. What is not there has its default."""

    code: int = 691
    retry: bool = False
    challenge: bytes = b""
    message: str = ""


def parse_error(value: bytes) -> MsChapError:
    """``value`` is the attribute's: an identifier, which some servers leave out, and text."""
    text = value.decode("utf-8", "replace")
    code, retry, challenge, message = (part.search(text) for part in (_ERROR, _RETRY, _CHALLENGE, _MESSAGE))
    return MsChapError(
        code=int(code[1]) if code else 691,
        retry=retry is not None and retry[1] == "1",
        challenge=bytes.fromhex(challenge[1]) if challenge else b"",
        message=message[1].rstrip("\0") if message else "",
    )


def parse_success(value: bytes) -> tuple[str, str]:
    """MS-CHAP2-Success (RFC 2548 §2.3.3) as the ``S=`` string and the message. Raises ValueError without the former."""
    text = value.decode("utf-8", "replace")
    proof, message = _PROOF.search(text), _MESSAGE.search(text)
    if proof is None:
        raise BadAttribute("MS-CHAP2-Success", "does not hold the proof that the client wants to see")
    return proof[0], message[1].rstrip("\0") if message else ""


def mppe_keys(attributes: Attributes, secret: bytes, authenticator: bytes, challenge: bytes) -> MppeKeys | None:
    """The keys of an Access-Accept, None where it has none.

    MS-MPPE-Send-Key is what we encrypt with (RFC 2548 §2.4.2); of the longer keys that EAP methods make, MPPE takes the
    first 16 octets (RFC 3079 §4). ``challenge`` is that of an MS-CHAPv1 Response: its keys are made of it and of hashes
    (MS-CHAP-MPPE-Keys; the server sends the hash of the NT hash, whatever RFC 2548 §2.4.1 says, and so does everybody).
    Raises ValueError when they cannot be understood.
    """
    sends, receives = attributes.octets("MS-MPPE-Send-Key"), attributes.octets("MS-MPPE-Recv-Key")
    if sends and receives:
        send = _salted_key("MS-MPPE-Send-Key", sends[0], secret, authenticator)
        receive = _salted_key("MS-MPPE-Recv-Key", receives[0], secret, authenticator)
        return MppeKeys(
            send=send, receive=receive, weak_send=send[:_WEAK_KEY_SIZE], weak_receive=receive[:_WEAK_KEY_SIZE]
        )
    hashes = attributes.octets("MS-CHAP-MPPE-Keys")
    return _v1_keys(hashes[0], secret, authenticator, challenge) if hashes and challenge else None


def _salted_key(name: str, value: bytes, secret: bytes, authenticator: bytes) -> bytes:
    try:
        key = reveal_salted(value, secret, authenticator)
    except ValueError as error:
        raise BadAttribute(name, str(error)) from None
    if len(key) < _KEY_SIZE:
        raise BadAttribute(name, f"is a key of {len(key)} octets where {_KEY_SIZE} are needed")
    return key[:_KEY_SIZE]


def _v1_keys(value: bytes, secret: bytes, authenticator: bytes, challenge: bytes) -> MppeKeys:
    if len(value) != 32:
        raise BadAttribute("MS-CHAP-MPPE-Keys", f"has {len(value)} octets where 32 are needed")
    plain = reveal_password(value, secret, authenticator)
    lm_key, nt_key = plain[:8], plain[8:24]
    return mschap_v1_keys(nt_key, lm_key if any(lm_key) else None, challenge)
