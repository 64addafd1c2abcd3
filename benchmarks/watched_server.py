"""`poptrio run`, with a watch over the event loop: for benchmarks.

    python benchmarks/watched_server.py CONFIG

On SIGUSR1 it prints one JSON object on standard output: the longest time in seconds for which the loop was busy without
looking at its sockets since the last time, how many calls are up, have ended, and what the data path counted.
"""

import functools
import json
import signal
import sys
import time
from pathlib import Path
from typing import Any

import trio

from poptrio.cli.descriptors import raise_limit
from poptrio.config import Config
from poptrio.management.doors import open_doors
from poptrio.management.serving import manage
from poptrio.observe.log import configure
from poptrio.server import serve as module


class Watch(trio.abc.Instrument):
    """The longest time from one wait for sockets to the next."""

    def __init__(self) -> None:
        self.longest = 0.0
        self._begun = time.perf_counter()

    def after_io_wait(self, timeout: float) -> None:
        """The loop goes to work."""
        self._begun = time.perf_counter()

    def before_io_wait(self, timeout: float) -> None:
        """It has done everything."""
        self.longest = max(self.longest, time.perf_counter() - self._begun)


async def main(config: Config) -> None:
    """Serve, and report on demand."""
    watch = Watch()
    servers: list[module.OneProcess] = []

    class WatchedServer(module.OneProcess):
        def __init__(self, *arguments: Any, **options: Any) -> None:
            super().__init__(*arguments, **options)
            servers.append(self)

    module.OneProcess = WatchedServer  # type: ignore[misc]

    async def report() -> None:
        with trio.open_signal_receiver(signal.SIGUSR1) as signals:
            async for _ in signals:
                (server,) = servers
                counters = server.datapath.counters
                ended = {cause.label: count for cause, count in server.stats.ended.items()}
                facts = {
                    "longest_pause": watch.longest,
                    "calls": len(server.registry.calls),
                    "up": server.stats.up,
                    "ended": ended,
                    "no_such_call": counters.no_such_call,
                    "wrong_source": counters.wrong_source,
                }
                watch.longest = 0.0
                print(json.dumps(facts), flush=True)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(report)
        trio.lowlevel.add_instrument(watch)
        with open_doors(config) as doors:
            await module.serve_until_signalled(config, manage=functools.partial(manage, doors=doors))
        nursery.cancel_scope.cancel()


if __name__ == "__main__":
    path = Path(sys.argv[1])
    settings = Config.parse(path.read_text("utf-8"), folder=path.parent)
    raise_limit()
    configure(settings.log.level, settings.log.format)
    trio.run(main, settings)
