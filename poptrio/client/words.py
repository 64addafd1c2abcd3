"""Why a call ended, in the words of the end that dialled; the table of causes is in those of the server."""

from poptrio.errors import CauseOfEnd

_REFUSALS = {
    646: "the server refuses this user at this time of day",
    647: "the server says that the account is disabled",
    648: "the server says that the password has expired",
    649: "the server does not permit this user to dial in",
    691: "the server refuses user name or password",
    709: "the server could not change the password",
}
"""What the ``E=`` of an MS-CHAP Failure says (RFC 2759 §6)."""

_AS_CLIENT = {
    CauseOfEnd.CLIENT_HUNG_UP: "the server hung up",
    CauseOfEnd.LCP_ECHO_TIMEOUT: "the server stopped answering Echo-Requests",
    CauseOfEnd.AUTHENTICATION_TIMEOUT: "the server does not go on with authentication",
    CauseOfEnd.AUTHENTICATION_NOT_AGREED: "the server wants an authentication protocol that is not allowed here",
    CauseOfEnd.NETWORK_TIMEOUT: "the server stopped answering before it assigned an address",
}


def as_client(cause: CauseOfEnd, error_code: int | None) -> str:
    """The cause in the words of the client; ``error_code`` is the ``E=`` of the server's CHAP Failure, if it sent one.

    Without one, PAP, CHAP-MD5 or we ourselves were not satisfied; the detail that follows says so.
    """
    if cause is CauseOfEnd.AUTHENTICATION_FAILED:
        return _REFUSALS.get(error_code or 0, "authentication failed")
    return _AS_CLIENT.get(cause, cause.sentence)
