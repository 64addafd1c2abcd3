"""From what happened to a call to the sentence that an operator reads, with the error number that Windows shows.

The cause alone is a table in `poptrio.errors`; here the facts of the call make it precise: which side GRE stopped at,
which name was seen, how far it came.
"""

from dataclasses import dataclass
from ipaddress import IPv4Address

from poptrio.errors import CauseOfEnd

WHOLE_SENTENCE = "the client "
"""A detail that begins so says everything itself; the control connection speaks like this."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CallFacts:
    """What is known when a call ends. ``gre_received`` and ``gre_sent`` are packets, ``detail`` continues the cause."""

    peer: IPv4Address
    cause: CauseOfEnd
    detail: str
    gre_received: int
    gre_sent: int
    acknowledged: int


def explain(facts: CallFacts) -> str:
    """One sentence, without a full stop: what happened and, where it is known, what to do."""
    sentence = _sentence(facts)
    if facts.detail.startswith(WHOLE_SENTENCE):
        sentence = facts.detail
    elif facts.detail:
        sentence += f": {facts.detail}"
    if facts.cause.windows_errors:
        sentence += f" (Windows shows error {' or '.join(map(str, facts.cause.windows_errors))})"
    return sentence


def _sentence(facts: CallFacts) -> str:
    if facts.cause is CauseOfEnd.NO_GRE:
        return (
            f"the control connection works, but no GRE packet ever arrived from {facts.peer}: protocol 47 is blocked, "
            "or the firewall lacks its PPTP helper"
        )
    if facts.cause is CauseOfEnd.LCP_TIMEOUT and not facts.acknowledged:
        return (
            f"GRE packets arrive from {facts.peer}, but it acknowledges none of the {facts.gre_sent} that were sent: "
            "protocol 47 is blocked on the way to the client"
        )
    return facts.cause.sentence


def human_bytes(count: int) -> str:
    """Octets as people read them, for instance ``3.2 MB``."""
    size = float(count)
    for unit in ("B", "kB", "MB", "GB"):
        if size < 1000:
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1000
    return f"{size:.1f} TB"


def human_seconds(seconds: float) -> str:
    """A duration as people read it, for instance ``2h03m``."""
    if seconds < 60:
        return f"{seconds:.1f}s"
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}h{minutes:02d}m" if hours else f"{minutes}m{rest:02d}s"
