"""What operators and signals act on: a server of one process, or the parent of several."""

from collections.abc import Sequence
from typing import Protocol

from poptrio.config import Config
from poptrio.server.call_events import ObservedCall
from poptrio.server.local_authority import LocalAuthority
from poptrio.server.shared import Stats


class Operated(Protocol):
    """A server that runs. ``authority`` has its plugins, sessions, and its journal."""

    config: Config
    authority: LocalAuthority
    stats: Stats

    @property
    def stopping(self) -> bool:
        """Whether it was told to stop."""

    @property
    def call_count(self) -> int:
        """How many calls it has."""

    def calls(self) -> Sequence[ObservedCall]:
        """All calls, in whatever state, roughly in the order in which they began."""

    def stop(self) -> None:
        """Stop with goodbyes; the second time at once."""
