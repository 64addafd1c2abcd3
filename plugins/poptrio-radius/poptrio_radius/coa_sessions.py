"""Disconnect and Change-of-Authorization carried out on the sessions that a request names (RFC 5176 §3)."""

from collections.abc import Iterable
from ipaddress import IPv4Address

from poptrio.api import CauseOfEnd, Session, Sessions
from poptrio_radius.coa_requests import SESSION_ATTRIBUTES, ErrorCause, Refused, Wish


def carry_out(
    wish: Wish, sessions: Sessions, *, nas_identifier: str, nas_address: IPv4Address | None, client: str
) -> list[Session]:
    """Do what ``wish`` asks for, and return the sessions that it was done to. Raises `Refused`, and does nothing then.

    A disconnection ends every session that matches. A change wants exactly one, because it must happen whole or not
    at all. ``nas_address`` is our NAS-IP-Address, None where each session has the one that its client called.
    """
    if wish.nas_identifier not in (None, nas_identifier):
        raise Refused(ErrorCause.NAS_IDENTIFICATION_MISMATCH, f"NAS-Identifier {wish.nas_identifier} is not ours")
    if nas_address is not None and wish.nas_address not in (None, nas_address):
        raise Refused(ErrorCause.NAS_IDENTIFICATION_MISMATCH, f"NAS-IP-Address {wish.nas_address} is not ours")
    found = find(wish, sessions)
    if not found:
        raise Refused(ErrorCause.SESSION_CONTEXT_NOT_FOUND, "no session is like that")
    if nas_address is None and wish.nas_address is not None:
        found = [session for session in found if session.call.server == wish.nas_address]
        if not found:
            raise Refused(ErrorCause.NAS_IDENTIFICATION_MISMATCH, f"NAS-IP-Address {wish.nas_address} is not theirs")
    if wish.change is None:
        for session in found:
            session.end(CauseOfEnd.ADMIN_RESET, f"disconnected by {client}")
        return found
    if len(found) > 1:
        sentence = f"{len(found)} sessions are like that, and one must be meant"
        raise Refused(ErrorCause.MULTIPLE_SESSION_SELECTION_UNSUPPORTED, sentence)
    try:
        found[0].change(wish.change)
    except ValueError as error:
        raise Refused(ErrorCause.INVALID_ATTRIBUTE_VALUE, str(error)) from None
    return found


def find(wish: Wish, sessions: Sessions) -> list[Session]:
    """The sessions that match every identification in ``wish``."""
    return [
        session
        for session in _candidates(wish, sessions)
        if all(SESSION_ATTRIBUTES[name](session) == value for name, value in wish.session.items())
    ]


def _candidates(wish: Wish, sessions: Sessions) -> Iterable[Session]:
    """Few of them where there is a way to find them; those of the user if one is named."""
    if wish.user is not None:
        return list(sessions.of_user(wish.user))
    session_id = wish.session.get("Acct-Session-Id")
    if isinstance(session_id, str):
        session = sessions.find(session_id)
        return [] if session is None else [session]
    return list(sessions)
