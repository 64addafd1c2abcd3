"""What an answer of the helper means for the call: the sentences of Samba, and the error numbers of RFC 2759 §6."""

from dataclasses import dataclass

from poptrio.api import Reject, Unavailable
from poptrio_ntlm_auth.line_protocol import Answer

RESTRICTED_HOURS, DISABLED, PASSWORD_EXPIRED, NO_DIALIN_PERMISSION, WRONG_PASSWORD = 646, 647, 648, 649, 691
"""``E=`` numbers of RFC 2759 §6."""


@dataclass(frozen=True, slots=True)
class _Row:
    """One status of Windows: how Samba's versions say it, in lower case, and the error number it comes to.

    ``code`` is None for a user whom the domain does not know, and 0 where nothing was judged.
    """

    status: str
    sentences: tuple[str, ...]
    code: int | None


_ROWS = (
    _Row("no_such_user", ("account does not exist", "no such user"), None),
    _Row("wrong_password", ("current password is not correct", "wrong password"), WRONG_PASSWORD),
    _Row("logon_failure", ("attempted logon is invalid", "logon failure"), WRONG_PASSWORD),
    _Row("account_locked_out", ("automatically locked", "account locked out"), DISABLED),
    _Row("account_disabled", ("currently disabled", "account disabled"), DISABLED),
    _Row("account_expired", ("user account has expired", "account expired"), DISABLED),
    _Row("password_expired", ("account password has expired", "password expired"), PASSWORD_EXPIRED),
    _Row("password_must_change", ("password must be changed", "password must change"), PASSWORD_EXPIRED),
    _Row("invalid_logon_hours", ("has time restrictions", "invalid logon hours"), RESTRICTED_HOURS),
    _Row("invalid_workstation", ("source workstation", "invalid workstation"), RESTRICTED_HOURS),
    _Row("account_restriction", ("user account restriction", "account restriction"), RESTRICTED_HOURS),
    _Row("logon_type_not_granted", ("type of logon", "logon type not granted"), NO_DIALIN_PERMISSION),
    _Row("authentication_firewall_failed", ("authentication firewall",), NO_DIALIN_PERMISSION),
    _Row("no_logon_servers", ("no logon servers",), 0),
    _Row("domain_controller_not_found", ("domain controller for this domain was not found",), 0),
    _Row("io_timeout", ("time-out period expired", "i/o timeout"), 0),
    _Row("network_unreachable", ("network is not reachable",), 0),
    _Row("access_denied", ("access denied", "access is denied"), 0),
    _Row("invalid_server_state", ("in the wrong state",), 0),
    _Row("no_trust_sam_account", ("computer account for this workstation trust",), 0),
    _Row("no_trust_lsa_secret", ("trust secret for the primary domain",), 0),
    _Row("trusted_relationship_failure", ("trust relationship between",), 0),
    _Row("winbind", ("reading winbind reply failed", "no username supplied", "parameter not found"), 0),
)


def failure(answer: Answer, *, ask_next: bool) -> Reject | Unavailable | None:
    """The decision about a user who was not authenticated; None for one whom the domain does not know."""
    said = answer.error.lower()
    for row in _ROWS:
        if f"nt_status_{row.status}" in said or any(sentence in said for sentence in row.sentences):
            return _decision(row, answer.error, ask_next)
    return Reject(reason=f"ntlm_auth: {answer.error}" if answer.error else "ntlm_auth refused name or password")


def _decision(row: _Row, error: str, ask_next: bool) -> Reject | Unavailable | None:
    if row.code is None:
        return None
    if row.code == 0:
        return Unavailable(reason=f"ntlm_auth could not ask the domain: {error}", ask_next=ask_next)
    return Reject(reason=f"ntlm_auth: {row.status.replace('_', ' ')}", code=row.code)
