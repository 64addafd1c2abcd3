"""From what happened to a call to the sentence that an operator reads, with the error number that Windows shows.

The cause alone is a table in `poptrio.errors`; here the facts of the call make it precise: which side GRE stopped at,
which name was seen, how far it came.
"""

from dataclasses import dataclass
from ipaddress import IPv4Address

from poptrio.errors import CauseOfEnd

HUNG_UP = frozenset({CauseOfEnd.CLIENT_HUNG_UP, CauseOfEnd.CONTROL_CONNECTION_LOST})
"""How a client goes that has waited long enough for GRE: this says who ended the call, not why it did not work."""

ENOUGH_PACKETS = 2
ENOUGH_SECONDS = 2.0
"""After so many packets of ours and so long, silence means something: clients may be slow, and paths long."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CallFacts:
    """What is known when a call ends.

    ``cause`` is what ended it; ``sentence``, unless empty, says so better than the cause's own, and ``detail``
    continues either. ``gre_received`` and ``gre_sent`` are packets, ``acknowledged`` those of ours that arrived;
    ``link_up`` tells whether LCP ever came up, ``seconds`` how old the call is.
    """

    peer: IPv4Address
    cause: CauseOfEnd
    detail: str
    sentence: str = ""
    gre_received: int
    gre_sent: int
    acknowledged: int
    link_up: bool
    seconds: float


def refined(facts: CallFacts) -> CauseOfEnd:
    """The cause that helps an operator: where GRE or LCP never worked, that, whoever lost patience first."""
    cause = facts.cause
    if facts.link_up or cause not in HUNG_UP | {CauseOfEnd.NO_GRE}:
        return cause
    if cause is CauseOfEnd.NO_GRE:
        return CauseOfEnd.LCP_TIMEOUT if facts.gre_received else cause
    if facts.gre_sent < ENOUGH_PACKETS or facts.seconds < ENOUGH_SECONDS:
        return cause
    if not facts.gre_received:
        return CauseOfEnd.NO_GRE
    return cause if facts.acknowledged else CauseOfEnd.LCP_TIMEOUT


def explain(facts: CallFacts) -> str:
    """One sentence, without a full stop: what happened and, where it is known, what to do."""
    cause = refined(facts)
    sentence = facts.sentence or _sentence(facts, cause)
    if cause is not facts.cause and facts.cause in HUNG_UP:
        sentence = f"{_sentence(facts, cause)}; {facts.sentence or facts.cause.sentence}"
    if facts.detail:
        sentence += f": {facts.detail}"
    if cause.windows_errors:
        sentence += f" (Windows shows error {' or '.join(map(str, cause.windows_errors))})"
    return sentence


def _sentence(facts: CallFacts, cause: CauseOfEnd) -> str:
    if cause is CauseOfEnd.NO_GRE:
        return (
            f"the control connection works, but no GRE packet ever arrived from {facts.peer}: protocol 47 is blocked, "
            "or the firewall lacks its PPTP helper"
        )
    if cause is CauseOfEnd.LCP_TIMEOUT and not facts.acknowledged:
        return (
            f"GRE packets arrive from {facts.peer}, but it acknowledges none of the {facts.gre_sent} that were sent: "
            "protocol 47 is blocked on the way to the client"
        )
    if cause is CauseOfEnd.LCP_TIMEOUT and facts.cause is CauseOfEnd.NO_GRE:
        return f"GRE passes in both directions, but {facts.peer} sends no LCP through it: its PPP does not run"
    return cause.sentence


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
