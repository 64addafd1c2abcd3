"""The keys of ``[plugins.radius]`` that are about accounting."""

from typing import Annotated, Literal

from pydantic import Field

from poptrio_radius.config_values import Seconds, Section


class AccountingKeys(Section):
    """What `RadiusConfig` has for accounting."""

    accounting: bool = True
    """Send accounting records to the servers. A change needs a restart."""

    spool: str = "/var/lib/poptrio/accounting.sqlite"
    """File for the accounting records that no server has acknowledged yet, relative to the configuration file. Its
    folder must exist, and it belongs to one running server. A change needs a restart."""

    spool_max: Annotated[int, Field(ge=1)] = 100_000
    """How many records may wait in the spool. Beyond that the oldest interim records go; starts and stops never do. A
    record takes about 1 KiB of memory and disk."""

    spool_note_interval: Seconds = 60.0
    """Seconds after which the counters of all calls are written to the spool: so much a crash may lose of them."""

    accounting_on_off: bool = True
    """Send Accounting-On and Accounting-Off when the server starts and stops. Servers take them for the end of all
    calls of this NAS, so turn it off where several servers have the same ``nas_identifier``."""

    accounting_failure: Literal["ignore", "end-call"] = "ignore"
    """What happens to a call whose start no server has acknowledged in time: nothing, or it is ended. A reload with
    ``end-call`` ends no call that is up already."""

    accounting_failure_timeout: Seconds = 30.0
    """Seconds that are in time."""

    accounting_farewell: Seconds = 5.0
    """Seconds that the server, when it stops, waits for records to arrive; what has not is kept for the next start."""

    min_interim_interval: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 60.0
    """The least Acct-Interim-Interval, in seconds, that a server may ask for; shorter ones are taken for this."""
