"""Areas of the log: the parts of poptrio whose level is set apart, and changed while it runs.

The area of a logger is what follows ``poptrio.`` in its name: the one of ``structlog.get_logger("poptrio.ppp")`` is
*ppp*. A plugin's area is the plugin's name. A logger of another name has no area of its own.
"""

import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Literal

Level = Literal["debug", "info", "warning", "error"]

AREAS = {
    "server": "start, stop, connections that are not taken, settings, and what is changed while it runs",
    "management": "what is asked of the API",
    "connection": "control connections; with debug, every control message",
    "call": "calls: up, ended, and their limits",
    "ppp": "negotiation; with debug, every control packet of PPP",
    "plugins": "plugins that fail, are slow or unavailable, and attempts that wait",
    "datapath": "sockets, TUN and routes, and errors while packets are moved",
    "workers": "worker processes",
    "upgrade": "hand-over to a new program",
}
"""The areas of poptrio itself, and what each logs."""

TRACE = "trace"
"""Where traces go: somebody has asked for them, so that they are logged at any level."""


@dataclass(frozen=True, slots=True)
class Levels:
    """The least urgent level that is logged: ``level``, and of some ``areas`` another one."""

    level: Level = "info"
    areas: Mapping[str, Level] = field(default_factory=dict)

    def of(self, area: str) -> Level:
        """The level of this area."""
        return "debug" if area == TRACE else self.areas.get(area, self.level)

    def threshold(self, area: str) -> int:
        """The same as a number of Python's own logging."""
        return logging.getLevelNamesMapping()[self.of(area).upper()]


def area_of(logger_name: str) -> str:
    """The area of a logger; empty if it has none."""
    package, _, rest = logger_name.partition(".")
    return rest.partition(".")[0] if package == "poptrio" else ""


def all_areas(plugins: Iterable[str]) -> tuple[str, ...]:
    """Every area there is in a server with these plugins."""
    return tuple(dict.fromkeys((*AREAS, *plugins)))
