"""The tables about what an operator sees of a running server: the log, and captures of calls."""

from typing import Literal

from pydantic import Field

from poptrio.config.sections import Section
from poptrio.config.values import Count, Seconds
from poptrio.observe.areas import Level, Levels


class Log(Section):
    """What is logged, where to, and how."""

    level: Level = "info"
    """The least urgent level that is logged. "debug" shows every control message and PPP control packet."""

    areas: dict[str, Level] = Field(default_factory=dict)
    """Other levels for single areas, for instance radius = "debug". The reference of the log lists the
    areas; every plugin is one, too."""

    format: Literal["console", "json"] = "console"
    """"console" is one readable line per event, "json" one JSON object per line. The journal always gets fields."""

    output: Literal["stderr", "journald"] = "stderr"
    """"stderr" is standard error; where that is systemd's journal, lines have their priority. "journald" sends records
    to the journal by its own protocol, every field apart."""

    @property
    def levels(self) -> Levels:
        """The levels of all areas."""
        return Levels(self.level, self.areas)


class Capture(Section):
    """What may be captured of a call, by `poptrio capture`: its packets, also decrypted."""

    enabled: bool = True
    """Whether at all."""

    max_octets: Count = 100_000_000
    """The largest file, in octets."""

    max_seconds: Seconds = 3600.0
    """The longest time, in seconds."""
