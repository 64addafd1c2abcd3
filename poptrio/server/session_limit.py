"""How many calls a user may have at the same time, and what happens to one more (``[sessions]``)."""

from collections.abc import Sequence

import trio

from poptrio.config import Sessions
from poptrio.decisions import Accept
from poptrio.errors import CauseOfEnd
from poptrio.server.sessions import LiveSessions, SessionCall

REPLACED_WAIT = 5.0
"""Seconds that a call waits at most for those that it replaces, so that their addresses are free again."""


class TooManySessions(Exception):
    """The user has so many calls that this one is refused; the text says how many."""


def take_place(call: SessionCall, accept: Accept, sessions: LiveSessions, settings: Sessions) -> Sequence[SessionCall]:
    """Count ``call`` for its user from now on, and return the older calls that had to end for it.

    Nothing is awaited in between, so that of two calls at the same instant one sees the other. Raises
    `TooManySessions`, and counts nothing, when there is no place and none may be made.
    """
    limit = settings.limit if accept.session_limit is None else accept.session_limit
    held = sessions.held_by(call.counted_names) if limit else []
    surplus = len(held) - limit + 1 if limit else 0
    if surplus > 0 and settings.at_limit == "refuse":
        raise TooManySessions(f"{accept.user} has {len(held)} of {limit} sessions")
    replaced = held[: max(0, surplus)]
    for older in replaced:
        older.end(CauseOfEnd.REPLACED, f"call {call.info.call_id} from {call.info.peer}")
    sessions.enter(call)
    return replaced


async def until_released(calls: Sequence[SessionCall]) -> None:
    """Wait until ``calls`` have given back what they held, or for `REPLACED_WAIT`."""
    if not calls:  # as nearly always
        return
    with trio.move_on_after(REPLACED_WAIT):
        for call in calls:
            await call.released.wait()
