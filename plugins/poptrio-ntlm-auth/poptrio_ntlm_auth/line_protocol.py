"""``ntlm-server-1``, the lines that Samba's ntlm_auth speaks with RADIUS servers and us (its manual page).

Each side says ``Parameter: value`` or ``Parameter:: BASE64`` in lines, and ``.`` in a line of its own at the end.
Whatever a client chose goes in BASE64, so that nothing in it can end a line.
"""

import binascii
import re
from base64 import b64decode, b64encode
from dataclasses import dataclass, field

END = b".\n"
"""The line that ends a question and an answer."""

LONGEST_ANSWER = 64 * 1024
"""Octets after which an answer is none."""

_SESSION_KEY = re.compile(r"[0-9A-Fa-f]{32}")


class BadAnswer(ValueError):
    """The helper said something that is no answer; it is out of step and must go."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What the helper found: ``error`` is its sentence, in English, when it was not authenticated.

    ``user_session_key`` is the MD4 of the NT hash, 16 octets, where it was asked for and is known.
    """

    authenticated: bool
    user_session_key: bytes | None = field(default=None, repr=False)
    error: str = ""


def challenge_question(
    user: bytes, domain: bytes, challenge: bytes, nt_response: bytes, lm_response: bytes = b""
) -> bytes:
    """Judge an NT response of 24 octets to a ``challenge`` of 8; an empty ``domain`` is the helper's own."""
    lines = _who(user, domain)
    lines.append(b"LANMAN-Challenge: " + binascii.hexlify(challenge))
    if lm_response:
        lines.append(b"LANMAN-Response: " + binascii.hexlify(lm_response))
    lines.append(b"NT-Response: " + binascii.hexlify(nt_response))
    lines.append(b"Request-User-Session-Key: Yes")
    return b"\n".join(lines) + b"\n" + END


def password_question(user: bytes, domain: bytes, password: bytes) -> bytes:
    """Judge a password, which must not be empty."""
    return b"\n".join([*_who(user, domain), b"Password:: " + b64encode(password)]) + b"\n" + END


def read_answer(octets: bytes) -> Answer:
    """The answer in ``octets``, all lines up to `END`. Raises `BadAnswer`."""
    fields = _fields(octets)
    error = fields.get("authentication-error") or fields.get("error", "")
    verdict = fields.get("authenticated", "" if error == "" else "No")
    if verdict not in ("Yes", "No"):
        raise BadAnswer("the helper does not say whether the user is authenticated")
    key = fields.get("user-session-key")
    if key is not None and not _SESSION_KEY.fullmatch(key):
        raise BadAnswer("the helper gave a session key that is no key")
    return Answer(verdict == "Yes", None if key is None else bytes.fromhex(key), error)


def ends(octets: bytes | bytearray) -> bool:
    """Whether the answer in ``octets`` is complete.

    Samba ends some answers twice; the second end may arrive late, in front of the next answer, and is passed over.
    """
    while octets.startswith(END):
        octets = octets[len(END) :]
    return octets.endswith(b"\n" + END)


def _who(user: bytes, domain: bytes) -> list[bytes]:
    lines = [b"Username:: " + b64encode(user)]
    if domain:  # the helper takes an empty value for a fault
        lines.append(b"NT-Domain:: " + b64encode(domain))
    return lines


def _fields(octets: bytes) -> dict[str, str]:
    """The values by the lower-case name of the parameter. A parameter that comes twice is a fault."""
    fields: dict[str, str] = {}
    if not ends(octets):
        raise BadAnswer("the helper's answer has no end")
    for line in octets.splitlines():
        if line == b".":
            continue
        name, colon, value = line.partition(b":")
        if not colon:
            raise BadAnswer("the helper said a line that is none of its protocol")
        key = name.strip().lower().decode("ascii", "replace")
        if key in fields:
            raise BadAnswer(f"the helper said {key} twice")
        fields[key] = _value(value).decode("utf-8", "replace")
    return fields


def _value(value: bytes) -> bytes:
    if not value.startswith(b":"):
        return value.strip()
    try:
        return b64decode(value[1:].strip(), validate=True)
    except binascii.Error:
        raise BadAnswer("the helper said something that is not base64") from None
