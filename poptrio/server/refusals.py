"""Why connections and calls are refused, as the few labels that a metric may have instead of sentences."""

import re

from poptrio.server.call_rate import TOO_FAST

STOPPING = "the server is stopping"
UPGRADING = "the server is being upgraded"
NO_CALL_ID = "no Call ID is free"
WRONG_REQUEST = "a client may only send Outgoing-Call-Request"
"""How the sentence begins about a call that a client offers to take."""

DRAINING = "the server is draining"
"""How the sentence begins while no new calls are taken."""

BY_PLUGIN = "plugin"
"""The label for whatever sentence a plugin gives."""

_LABELS = {TOO_FAST: "too-fast", STOPPING: "stopping", UPGRADING: "upgrading", NO_CALL_ID: "no-call-id"}
_BEGINNINGS = {WRONG_REQUEST: "wrong-request", DRAINING: "draining"}
_LIMIT = re.compile(r"\(server\.(\w+)\)")
_LIMITS = {
    key: key.replace("_", "-")
    for key in ("max_calls", "max_calls_per_address", "max_unauthenticated", "max_unauthenticated_per_address")
}

LABELS = (*_LIMITS.values(), *_LABELS.values(), *_BEGINNINGS.values(), BY_PLUGIN)
"""All that there are."""


def label_of(why: str) -> str:
    """The label of the sentence ``why``; a limit's is its key in the configuration."""
    if (label := _LABELS.get(why)) is not None:
        return label
    for beginning, label in _BEGINNINGS.items():
        if why.startswith(beginning):
            return label
    limit = _LIMIT.search(why)
    return _LIMITS.get(limit[1], BY_PLUGIN) if limit is not None else BY_PLUGIN
