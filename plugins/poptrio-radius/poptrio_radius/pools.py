"""From the configuration to servers: secrets read, certificates loaded, pools made."""

import random
import ssl
from functools import partial
from pathlib import Path

import trio

from poptrio.api import ConfigFault
from poptrio_radius.channels import Channels
from poptrio_radius.config import RadiusConfig, ServerConfig
from poptrio_radius.links import OpenLink, open_udp
from poptrio_radius.radsec import open_radsec, tls_context
from poptrio_radius.server import Patience, Purpose, Server
from poptrio_radius.server_pool import ServerPool
from poptrio_radius.session_attributes import nas_attributes


class PoolMaker:
    """Makes the pools of ``config``. ``faults`` are what is wrong with secrets and certificates, all together."""

    def __init__(self, config: RadiusConfig, folder: Path, place: str) -> None:
        self.faults: list[ConfigFault] = []
        self._config = config
        self._folder = folder
        self._place = place
        self._secrets: dict[ServerConfig, bytes] = {}
        self._contexts: dict[ServerConfig, ssl.SSLContext] = {}
        for key, servers in (("servers", config.servers), ("accounting_servers", config.accounting_servers)):
            for server in servers:
                self._prepare(key, server)

    def same_secrets(self, other: "PoolMaker") -> bool:
        """Whether secrets are the same; certificates may be other ones wherever there are any."""
        return not self._contexts and self._secrets == other._secrets

    def pool(self, purpose: Purpose, nursery: trio.Nursery) -> ServerPool:
        """The pool for ``purpose``; readers and probes run in ``nursery``."""
        config = self._config
        servers = config.servers
        if purpose == "accounting" and config.accounting_servers:
            servers = config.accounting_servers
        patience = Patience(
            timeout=config.timeout,
            tries=config.tries,
            dead_time=config.dead_time,
            probe_interval=config.probe_interval,
        )
        rng = random.Random()
        made = [self._server(server, purpose, patience, rng, nursery) for server in servers]
        if config.status_server:
            for server in made:
                nursery.start_soon(server.probe)
        return ServerPool(made, patience, config.order, rng)

    def _server(
        self, config: ServerConfig, purpose: Purpose, patience: Patience, rng: random.Random, nursery: trio.Nursery
    ) -> Server:
        port, open_link = self._way(config, purpose)
        channels = Channels(
            open_link,
            self._secrets[config],
            nursery,
            require_message_authenticator=self._config.require_message_authenticator,
        )
        host = f"[{config.address}]" if config.address.version == 6 else str(config.address)
        return Server(
            f"{host}:{port}",
            purpose,
            channels,
            patience,
            rng,
            weight=config.weight,
            probe_attributes=nas_attributes(self._config),
        )

    def _way(self, config: ServerConfig, purpose: Purpose) -> tuple[int, OpenLink]:
        if config.tls is not None:
            return config.tls.port, partial(open_radsec, config, self._contexts[config])
        port = config.auth_port if purpose == "authentication" else config.acct_port
        return port, partial(open_udp, config.address, port)

    def _prepare(self, key: str, server: ServerConfig) -> None:
        try:
            self._secrets[server] = server.shared_secret.resolve(self._folder).encode()
        except ValueError as error:
            self._fault(key, server, "secret", error)
        if server.tls is None:
            return
        try:
            self._contexts[server] = tls_context(server.tls, self._folder)
        except (OSError, ssl.SSLError) as error:
            self._fault(key, server, "tls", error)

    def _fault(self, key: str, server: ServerConfig, part: str, error: Exception) -> None:
        self.faults.append(ConfigFault(f"{self._place}.{key}", f"{server.address}: {part}: {error}"))
