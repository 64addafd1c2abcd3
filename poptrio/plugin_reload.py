"""`PluginReload`: what a plugin makes of new settings while the server runs."""

from collections.abc import Callable
from dataclasses import dataclass


def _nothing() -> None:
    """Nothing is held that would have to be given up."""


@dataclass(frozen=True, slots=True)
class PluginReload:
    """The new settings of a plugin, judged and ready: ``commit`` puts them to use, at once, and cannot fail.

    Where somebody else refuses the reload, ``undo`` is called instead: it gives up what was opened for it, a socket for
    instance. ``restart`` are those keys of the plugin's table that it cannot change while it runs; it keeps the old
    values, and the operator is told where they differ.
    """

    commit: Callable[[], None]
    restart: tuple[str, ...] = ()
    undo: Callable[[], None] = _nothing
