"""How long goodbyes may take: to clients, and the last records to plugins."""

from collections.abc import Iterator
from contextlib import contextmanager

import trio


class Goodbyes:
    """Goodbyes of one server, each for ``grace`` seconds, until nobody wants to wait any more."""

    def __init__(self, grace: float) -> None:
        self.grace = grace
        self._impatient = False
        self.scopes: set[trio.CancelScope] = set()

    @contextmanager
    def one(self) -> Iterator[None]:
        """Shield a goodbye from cancellation for the grace period, or not at all once nobody wants to wait."""
        with trio.move_on_after(self.grace, shield=True) as scope:
            if self._impatient:
                scope.cancel()
            self.scopes.add(scope)
            try:
                yield
            finally:
                self.scopes.discard(scope)

    def end(self) -> None:
        """From now on nobody waits for a goodbye."""
        self._impatient = True
        for scope in tuple(self.scopes):
            scope.cancel()
