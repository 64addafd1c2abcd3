"""`Config`: the whole configuration, from a file or a text, or a `ConfigError` with all that is wrong with it."""

import tomllib
from collections.abc import Collection
from pathlib import Path
from typing import Any, Self

from pydantic import Field, PrivateAttr, ValidationError

from poptrio.config.cross_checks import cross_faults, named_plugins
from poptrio.config.faults import Fault, KeyPath, Places, explain, syntax_fault, without
from poptrio.config.insecure import insecure_settings
from poptrio.config.management import Management
from poptrio.config.observation import Capture, Log
from poptrio.config.sections import (
    Accounting,
    Addresses,
    Authentication,
    Gre,
    Ppp,
    Section,
    Server,
    Sessions,
)
from poptrio.errors import ConfigError, ConfigFault
from poptrio.observe.areas import all_areas
from poptrio.server_info import ServerInfo
from poptrio.sessions import NoSessions
from poptrio.sessions import Sessions as SessionsUp


class Config(Section):
    """All of ``config.toml``; every table and key may be left out."""

    server: Server = Field(default_factory=Server)
    gre: Gre = Field(default_factory=Gre)
    ppp: Ppp = Field(default_factory=Ppp)
    addresses: Addresses = Field(default_factory=Addresses)
    authentication: Authentication = Field(default_factory=Authentication)
    sessions: Sessions = Field(default_factory=Sessions)
    accounting: Accounting = Field(default_factory=Accounting)
    plugins: dict[str, dict[str, object]] = Field(default_factory=dict)
    """One free table for each plugin, [plugins.NAME], which the plugin itself checks. Relative files are relative to
    the configuration file."""

    management: Management = Field(default_factory=Management)
    log: Log = Field(default_factory=Log)
    capture: Capture = Field(default_factory=Capture)

    _folder: Path = PrivateAttr(default_factory=Path.cwd)
    _file: Path | None = PrivateAttr(default=None)

    @classmethod
    def load(cls, path: Path | str) -> Self:
        """Read the file ``path``. Raises `ConfigError` with every fault and its line."""
        path = Path(path)
        try:
            text = path.read_text("utf-8-sig")  # editors on Windows write a byte order mark
        except OSError as error:
            raise ConfigError(ConfigFault(str(path), f"cannot be read: {error.strerror}")) from error
        except UnicodeDecodeError as error:
            raise ConfigError(
                ConfigFault(str(path), f"octet {error.start} is not UTF-8, which TOML must be")
            ) from error
        config = cls.parse(text, name=str(path), folder=path.absolute().parent)
        config._file = path.absolute()
        return config

    @classmethod
    def parse(cls, text: str, *, name: str = "config.toml", folder: Path | None = None) -> Self:
        """Make a configuration of the TOML in ``text``.

        ``name`` stands for the file in faults; ``folder``, by default the working directory, is where relative files
        are. Raises `ConfigError` with every fault and its line.
        """
        try:
            table = tomllib.loads(text)
        except tomllib.TOMLDecodeError as error:
            raise ConfigError(syntax_fault(name, error)) from error
        except RecursionError:
            raise ConfigError(ConfigFault(name, "is no TOML: arrays or tables lie too deep in each other")) from None
        except ValueError:  # Python's limit for the digits of an integer (sys.set_int_max_str_digits)
            raise ConfigError(
                ConfigFault(name, "has a number with thousands of digits, which is none of ours")
            ) from None
        config, faults = cls._judge(table)
        if faults:
            raise ConfigError(*Places(name, text).locate(faults))
        if folder is not None:
            config._folder = folder
        return config

    @classmethod
    def _judge(cls, table: dict[str, Any]) -> tuple[Self, list[Fault]]:
        """Validate ``table``; where keys are faulty, then without them, so that the cross checks see the rest."""
        faults: list[Fault] = []
        try:
            config = cls.model_validate(table)
        except ValidationError as error:
            faults = explain(error, cls)
            config = cls.model_validate(without(table, faults))
        return config, faults + config.contradictions({fault.key_path[:2] for fault in faults})

    def contradictions(self, untrusted: Collection[KeyPath] = ()) -> list[Fault]:
        """Faults that no single key shows, except those about an ``untrusted`` key (its value is a stand-in)."""
        return cross_faults(
            self.server,
            self.ppp,
            self.addresses,
            self.authentication,
            self.accounting,
            self.plugins,
            self.log,
            set(untrusted),
        )

    @property
    def file(self) -> Path | None:
        """The configuration file, absolute; None where the configuration is not of a file."""
        return self._file

    @property
    def folder(self) -> Path:
        """The folder of the configuration file, to which relative files are relative; absolute."""
        return self._folder

    @property
    def log_areas(self) -> tuple[str, ...]:
        """Every area whose level can be set: poptrio's own, and the plugins."""
        return all_areas(named_plugins(self.authentication, self.addresses, self.accounting))

    def server_info(self, sessions: SessionsUp | None = None, *, continued: bool = False) -> ServerInfo:
        """What plugins may know of the server; ``sessions`` are its calls that are up, none where it does not run.

        ``continued`` is as in `ServerInfo`.
        """
        return ServerInfo(
            folder=self.folder,
            name=self.server.host_name,
            address=self.addresses.server,
            pool=self.addresses.pool,
            pools=self.addresses.pools,
            dns=self.ppp.dns,
            wins=self.ppp.wins,
            answer_timeout=self.authentication.timeout,
            accounting_timeout=self.accounting.timeout,
            sessions=sessions or NoSessions(),
            continued=continued,
        )

    def insecure_settings(self) -> tuple[str, ...]:
        """A sentence for each setting that weakens what little protection PPTP gives; for ``check`` and start-up."""
        return insecure_settings(self.ppp, self.authentication)
