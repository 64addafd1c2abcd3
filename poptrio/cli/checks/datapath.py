"""Which data path the server would use here, and what is in the way of the kernel's."""

from collections.abc import Callable, Iterator

from poptrio.cli.checks.finding import Finding
from poptrio.config import Config
from poptrio.datapath.kernel.available import Needs, obstacles
from poptrio.errors import ConfigError
from poptrio.server.datapaths import choose


def datapath(config: Config, probe: Callable[[Needs], list[str]] = obstacles) -> Iterator[Finding]:
    """The choice that ``server.datapath`` comes to, or why it cannot be made."""
    try:
        choice = choose(config, probe)
    except ConfigError as error:
        for fault in error.faults:
            yield Finding.fault("datapath", fault.message, 'Or set server.datapath to "userspace", or to "auto"')
    else:
        yield Finding.ok("datapath", f"the data path is {choice.datapath}: {choice.why}")
