"""Whether a user whose password is right may call now, by what his entry says and by what a bind was answered."""

import re
from datetime import UTC, datetime, timedelta

from poptrio.api import Reject
from poptrio_ldap.directory import BindResult, DirectoryUnavailable, Entry
from poptrio_ldap.password_policy import ACCOUNT_LOCKED, CHANGE_AFTER_RESET, PASSWORD_EXPIRED

RESTRICTED_HOURS, DISABLED, PASSWORD_HAS_EXPIRED, NO_DIALIN_PERMISSION, WRONG_PASSWORD = 646, 647, 648, 649, 691
"""``E=`` numbers of RFC 2759 §6."""

ATTRIBUTES = (
    "sambaAcctFlags",
    "sambaKickoffTime",
    "userAccountControl",
    "msNPAllowDialin",
    "pwdAccountLockedTime",
    "shadowExpire",
)
"""What `refusal` looks at, of Samba, Active Directory, OpenLDAP's password policy, and RFC 2307."""

_AD_DISABLED, _AD_PASSWORD_EXPIRED = 0x2, 0x800000
_LOCKED_FOR_GOOD = "000001010000Z"
_KICKOFF_NEVER = 0x7FFFFFFF

_AD_SUB_CODE = re.compile(r"\bdata ([0-9a-f]+)\b")
_AD_SUB_CODES = {
    "525": (WRONG_PASSWORD, "no such user"),
    "52e": (WRONG_PASSWORD, "wrong password"),
    "530": (RESTRICTED_HOURS, "not permitted at this time"),
    "531": (RESTRICTED_HOURS, "not permitted from this workstation"),
    "532": (PASSWORD_HAS_EXPIRED, "the password has expired"),
    "533": (DISABLED, "the account is disabled"),
    "568": (DISABLED, "the user is in too many groups"),
    "701": (DISABLED, "the account has expired"),
    "773": (PASSWORD_HAS_EXPIRED, "the password must be changed"),
    "775": (DISABLED, "the account is locked"),
}
"""Windows' error numbers in hexadecimal, which Active Directory puts into the text of its answer."""

_POLICY_ERRORS = {
    PASSWORD_EXPIRED: (PASSWORD_HAS_EXPIRED, "the password has expired"),
    ACCOUNT_LOCKED: (DISABLED, "the account is locked"),
    CHANGE_AFTER_RESET: (PASSWORD_HAS_EXPIRED, "the password must be changed"),
}

_SUCCESS = 0
_REFUSALS = (19, 32, 48, 49, 50, 53)
"""constraintViolation, noSuchObject, inappropriateAuthentication, invalidCredentials, insufficientAccessRights,
unwillingToPerform: answers that are about this user (RFC 4511 §4.1.9). Any other is about the server."""


def refusal_of_bind(answer: BindResult) -> Reject | None:
    """None if the password was right and is good to use. Raises `DirectoryUnavailable` where nothing was judged."""
    if answer.policy_error in _POLICY_ERRORS:
        code, reason = _POLICY_ERRORS[answer.policy_error]
        return Reject(reason=reason, code=code)
    if answer.code == _SUCCESS:
        return None
    if answer.code not in _REFUSALS:
        raise DirectoryUnavailable(f"the bind as the user was answered {answer.diagnostic}")
    match = _AD_SUB_CODE.search(answer.diagnostic)
    if match is not None and match[1] in _AD_SUB_CODES:
        code, reason = _AD_SUB_CODES[match[1]]
        return Reject(reason=reason, code=code)
    return Reject(reason=f"the directory refused the bind: {answer.diagnostic}")


def refusal(entry: Entry, now: datetime) -> Reject | None:
    """Why the account may not be used at ``now`` (with a time zone), or None. To be asked after the password."""
    flags = entry.text("sambaAcctFlags") or ""
    control = _number(entry, "userAccountControl") or 0
    if "D" in flags:
        return Reject(reason="sambaAcctFlags says that the account is disabled", code=DISABLED)
    if "L" in flags:
        return Reject(reason="sambaAcctFlags says that the account is locked", code=DISABLED)
    if control & _AD_DISABLED:
        return Reject(reason="userAccountControl says that the account is disabled", code=DISABLED)
    if control & _AD_PASSWORD_EXPIRED:
        return Reject(reason="userAccountControl says that the password has expired", code=PASSWORD_HAS_EXPIRED)
    if entry.text("pwdAccountLockedTime") == _LOCKED_FOR_GOOD:
        return Reject(reason="pwdAccountLockedTime says that the account is locked", code=DISABLED)
    if (entry.text("msNPAllowDialin") or "").upper() == "FALSE":
        return Reject(reason="msNPAllowDialin is FALSE", code=NO_DIALIN_PERMISSION)
    return _expiry(entry, now)


def _expiry(entry: Entry, now: datetime) -> Reject | None:
    """shadowExpire counts days since 1970, of which it is the first that is too late; sambaKickoffTime seconds."""
    age = now - datetime(1970, 1, 1, tzinfo=UTC)
    days, seconds = _number(entry, "shadowExpire"), _number(entry, "sambaKickoffTime")
    if days is not None and 0 <= days <= age // timedelta(days=1):
        return Reject(reason="shadowExpire says that the account has expired", code=DISABLED)
    if seconds is not None and 0 < seconds < _KICKOFF_NEVER and seconds <= age / timedelta(seconds=1):
        return Reject(reason="sambaKickoffTime says that the account has expired", code=DISABLED)
    return None


def _number(entry: Entry, attribute: str) -> int | None:
    """The attribute as an integer; None when there is none, or it is none."""
    text = entry.text(attribute)
    return int(text) if text is not None and re.fullmatch(r"-?[0-9]{1,20}", text) else None
