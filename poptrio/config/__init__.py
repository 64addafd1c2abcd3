"""The configuration: one strict pydantic model per table of ``config.toml``, a docstring under every key.

`Config.load` reads a file and reports everything that is wrong with it at once. The reference page and the annotated
``config.toml`` are generated from the docstrings.
"""

from poptrio.config.config import Config
from poptrio.config.observation import Capture, Log
from poptrio.config.sections import (
    Accounting,
    Addresses,
    Authentication,
    AuthenticationProtocol,
    Domain,
    EncryptionMode,
    Gre,
    Outcome,
    Ppp,
    Server,
    Sessions,
)
from poptrio.config.values import ListenAddress

__all__ = [
    "Accounting",
    "Addresses",
    "Authentication",
    "AuthenticationProtocol",
    "Capture",
    "Config",
    "Domain",
    "EncryptionMode",
    "Gre",
    "ListenAddress",
    "Log",
    "Outcome",
    "Ppp",
    "Server",
    "Sessions",
]
