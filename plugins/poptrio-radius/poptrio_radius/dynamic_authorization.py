"""``[plugins.radius.coa]`` in a server that runs: the DM/CoA server and its socket, and what a reload makes of them."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import trio

from poptrio.api import ConfigError, ConfigFault, PluginReload, Sessions
from poptrio_radius.coa import CoaListener, CoaServer, CoaSettings
from poptrio_radius.coa_config import CoaConfig, UdpAddress
from poptrio_radius.config import RadiusConfig


def read_coa(config: RadiusConfig, folder: Path, place: str, faults: list[ConfigFault]) -> CoaSettings | None:
    """What the DM/CoA server needs to know; None where nothing is to be obeyed, or with ``faults`` where a secret
    cannot be had.
    """
    coa = config.coa
    if coa is None:
        return None
    clients = {}
    for client in coa.clients:
        try:
            clients[client.address] = client.secret.resolve(folder).encode()
        except ValueError as error:
            faults.append(ConfigFault(f"{place}.coa.clients", f"{client.address}: secret: {error}"))
    return CoaSettings(
        clients=clients,
        nas_identifier=config.nas_identifier,
        nas_address=config.nas_ip_address,
        window=coa.window,
        require_event_timestamp=coa.require_event_timestamp,
        require_message_authenticator=coa.require_message_authenticator,
        min_interim_interval=config.min_interim_interval,
    )


class DynamicAuthorization:
    """Obeys requests about ``sessions`` on a socket that is read in ``nursery``, as soon as it is configured.

    ``server`` is None until then, and stays when nothing is to be obeyed any more: it remembers what it has obeyed.
    """

    def __init__(self, sessions: Sessions, nursery: trio.Nursery) -> None:
        self.server: CoaServer | None = None
        self._sessions = sessions
        self._nursery = nursery
        self._listener: CoaListener | None = None

    def prepare(self, coa: CoaConfig | None, settings: CoaSettings | None, place: str) -> PluginReload:
        """Get ready for ``settings``, where ``coa`` wants it. Raises `ConfigError` when the address cannot be had."""
        if coa is None or settings is None:
            return PluginReload(self.close)
        server = self.server or CoaServer(settings, self._sessions)
        listener, opened = self._listener, None
        if listener is None or not listener.is_at(coa.listen.address, coa.listen.port):
            opened = self._opened(coa.listen, server, place)

        def commit() -> None:
            self.server = server
            server.configure(settings)
            if opened is not None:
                self.close()
                self._listener = opened
                self._nursery.start_soon(opened.run)

        return PluginReload(commit, undo=opened.close if opened is not None else lambda: None)

    def close(self) -> None:
        """Obey nobody."""
        if self._listener is not None:
            self._listener.close()
            self._listener = None

    @contextmanager
    def let_go(self) -> Iterator[None]:
        """Let another process have the port; when the context is left, it is ours again."""
        if self._listener is None:
            yield
        else:
            with self._listener.let_go():
                yield

    def _opened(self, listen: UdpAddress, server: CoaServer, place: str) -> CoaListener:
        try:
            return CoaListener(listen.address, listen.port, server, self._listener)
        except OSError as error:
            raise ConfigError(ConfigFault(f"{place}.coa.listen", f"{listen}: {error.strerror}")) from None
