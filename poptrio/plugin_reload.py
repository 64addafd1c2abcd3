"""`PluginReload`: what a plugin makes of new settings while the server runs."""

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class PluginReload:
    """The new settings of a plugin, judged and ready: ``commit`` puts them to use, at once, and cannot fail.

    ``restart`` are those keys of the plugin's table that it cannot change while it runs; it keeps the old values, and
    the operator is told where they differ.
    """

    commit: Callable[[], None]
    restart: tuple[str, ...] = ()
