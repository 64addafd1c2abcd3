"""A server that has everything in one process, as operators act on it."""

import os
from collections.abc import Sequence

import trio

from poptrio.config import Config
from poptrio.datapath.base import DataPath, Preparation
from poptrio.errors import ConfigError, ConfigFault
from poptrio.protocols.ppp.lcp import RandomBytes
from poptrio.server.local_authority import LocalAuthority
from poptrio.server.registry import CallIds
from poptrio.server.reload import Ready, Reloader, Reloading
from poptrio.server.server import Server


class OneProcess(Server):
    """A server with its ``authority`` beside its calls; ``listeners`` are its own."""

    authority: LocalAuthority
    listeners: Sequence[trio.SocketListener] = ()

    def __init__(
        self,
        config: Config,
        authority: LocalAuthority,
        datapath: DataPath,
        call_ids: CallIds | None = None,
        random: RandomBytes = os.urandom,
    ) -> None:
        super().__init__(config, authority, datapath, call_ids, random)
        self.reloader = Reloader(self, Reloading(config))

    async def drain(self, seconds: float | None = None) -> None:
        """Take no new calls, and stop when those that are left are over, or are ended after ``seconds``."""
        self.begin_drain(seconds)

    async def cancel_drain(self) -> bool:
        """Take calls again; whether the server was draining."""
        return self.end_drain()

    async def get_ready(self, config: Config) -> Ready:
        """Get ready for ``config``. Raises `ConfigError` when the kernel refuses something."""
        try:
            return _Ready(self.prepare(config))
        except OSError as error:
            raise ConfigError(ConfigFault("the data path", error.strerror or str(error))) from error


class _Ready:
    def __init__(self, preparation: Preparation) -> None:
        self._preparation = preparation

    async def commit(self) -> None:
        self._preparation.commit()

    def undo(self) -> None:
        self._preparation.undo()
