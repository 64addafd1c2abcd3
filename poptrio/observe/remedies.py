"""What an operator can do about each `CauseOfEnd`; empty where nothing is wrong, or the log's sentence says it all."""

from poptrio.errors import CauseOfEnd

_REMEDIES = {
    CauseOfEnd.CONTROL_CONNECTION_LOST: "nothing, if the client lost its line; else look for firewalls that forget TCP "
    "connections, and lower server.echo_interval",
    CauseOfEnd.CONTROL_ECHO_TIMEOUT: "nothing, if the client lost its line; else raise server.echo_timeout",
    CauseOfEnd.LCP_ECHO_TIMEOUT: "nothing, if the client lost its line; else look for a NAT gateway that forgets GRE, "
    "and lower ppp.lcp_echo_interval",
    CauseOfEnd.NO_GRE: "let IP protocol 47 through on every firewall on the way, and load its PPTP helper "
    "(nf_conntrack_pptp) where addresses are translated",
    CauseOfEnd.LCP_TIMEOUT: "let IP protocol 47 through in both directions, also from this server to the client",
    CauseOfEnd.LCP_LOOPBACK: "look at the client's address translation: our packets come back to us",
    CauseOfEnd.LCP_NOT_AGREED: "compare ppp.authentication with what the client allows; a trace of the call shows both",
    CauseOfEnd.AUTHENTICATION_NOT_AGREED: "allow MS-CHAPv2 on the client, or add to ppp.authentication what it can do",
    CauseOfEnd.AUTHENTICATION_FAILED: "check name and password; `seen_as` is the name as the client sent it",
    CauseOfEnd.RESTRICTED_HOURS: "change the account's hours where it is kept",
    CauseOfEnd.ACCOUNT_DISABLED: "enable the account where it is kept",
    CauseOfEnd.PASSWORD_EXPIRED: "set a new password where the account is kept",
    CauseOfEnd.NO_DIAL_IN_PERMISSION: "allow the account to dial in where it is kept",
    CauseOfEnd.TOO_MANY_SESSIONS: 'end the other call, raise sessions.limit, or set sessions.at_limit = "replace"',
    CauseOfEnd.CHANGING_PASSWORD_FAILED: "the back end's log says which rule the new password broke",
    CauseOfEnd.AUTHENTICATION_TIMEOUT: "have the user look for a dialogue that waits for a password",
    CauseOfEnd.AUTHENTICATION_UNAVAILABLE: "look at the back end of the authentication plugin: it did not answer",
    CauseOfEnd.ENCRYPTION_NOT_AGREED: "require or allow MPPE on the client, or widen ppp.encryption_bits and "
    "ppp.encryption_mode",
    CauseOfEnd.ENCRYPTION_LOST: "a trace of the call shows who gave MPPE up",
    CauseOfEnd.TOO_MANY_CALLS: "raise server.max_calls or server.max_calls_per_address if the machine can bear it",
    CauseOfEnd.ADDRESS_UNAVAILABLE: "add addresses to the pool (addresses.pool, addresses.pools) and reload",
    CauseOfEnd.NETWORK_NOT_AGREED: "let the client take its address from the server",
    CauseOfEnd.NETWORK_TIMEOUT: "nothing, if the client gave up; else a trace of the call shows what it waits for",
    CauseOfEnd.ACCOUNTING_UNAVAILABLE: "look at the accounting server: it did not answer",
    CauseOfEnd.DATA_PATH_FAILED: "`poptrio check` says what the machine lacks; the log says what went wrong",
    CauseOfEnd.WORKER_LOST: "the line `worker lost` in the log says how the process ended; it is replaced by itself",
    CauseOfEnd.PROTOCOL_ERROR: "a trace of the call shows what the client sent",
    CauseOfEnd.INTERNAL_ERROR: "report the traceback in the log as a bug",
}


def remedy(cause: CauseOfEnd | None) -> str:
    """What to do about calls that end for this reason; empty when there is nothing to do."""
    return _REMEDIES.get(cause, "") if cause is not None else ""
