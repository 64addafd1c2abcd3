"""The configuration: one strict pydantic model per table of ``config.toml``, a docstring under every key.

`Config.load` reads a file and reports everything that is wrong with it at once. The reference page and the annotated
``config.toml`` are generated from the docstrings.
"""

from poptrio.config.config import Config
from poptrio.config.sections import (
    Addresses,
    Authentication,
    AuthenticationProtocol,
    EncryptionMode,
    Gre,
    Log,
    Ppp,
    Server,
)
from poptrio.config.values import ListenAddress

__all__ = [
    "Addresses",
    "Authentication",
    "AuthenticationProtocol",
    "Config",
    "EncryptionMode",
    "Gre",
    "ListenAddress",
    "Log",
    "Ppp",
    "Server",
]
