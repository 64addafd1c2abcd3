"""The password policy control (draft-behera-ldap-password-policy §6): why a bind failed, of servers that can say so."""

CONTROL = "1.3.6.1.4.1.42.2.27.8.5.1"
"""The control's OID, for the request (which has no value) and the response."""

PASSWORD_EXPIRED = 0
ACCOUNT_LOCKED = 1
CHANGE_AFTER_RESET = 2

_SEQUENCE = 0x30
_ERROR = 0x81


def policy_error(value: bytes) -> int | None:
    """The error in the value of a response control, or None when there is none, or when the value makes no sense.

    ``PasswordPolicyResponseValue ::= SEQUENCE { warning [0] CHOICE {...} OPTIONAL, error [1] ENUMERATED OPTIONAL }``
    """
    content = _content(value, _SEQUENCE)
    while content:
        tag, length = content[0], content[1] if len(content) > 1 else 0
        if tag == _ERROR and length == 1 and len(content) >= 3:
            return content[2]
        content = content[2 + length :]
    return None


def _content(value: bytes, tag: int) -> bytes:
    """What is in the one element of ``value``; all lengths of this control fit one octet."""
    if len(value) < 2 or value[0] != tag or value[1] != len(value) - 2:
        return b""
    return value[2:]
