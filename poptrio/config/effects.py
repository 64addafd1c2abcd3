"""When a change of each configuration key counts in a server that runs, as data; a test fails for a key without."""

from enum import Enum

from poptrio.config.faults import KeyPath


class Effect(Enum):
    """When the new value of a key counts, after a reload."""

    AT_ONCE = "at once"
    """For whatever is decided from then on, also about calls that are up."""

    NEW_CALLS = "new calls"
    """For calls, and control connections, that begin from then on; others keep what they have."""

    RESTART = "restart"
    """After a restart only; until then the old value stays."""


_AT_ONCE, _NEW_CALLS, _RESTART = Effect.AT_ONCE, Effect.NEW_CALLS, Effect.RESTART

EFFECTS = {
    "server": {
        "listen": _RESTART,
        "datapath": _RESTART,
        "interface": _RESTART,
        "workers": _RESTART,
        "user": _RESTART,
        "group": _RESTART,
        "host_name": _NEW_CALLS,
        "max_calls": _AT_ONCE,
        "max_calls_per_address": _AT_ONCE,
        "max_unauthenticated": _AT_ONCE,
        "max_unauthenticated_per_address": _AT_ONCE,
        "start_timeout": _NEW_CALLS,
        "call_timeout": _NEW_CALLS,
        "echo_interval": _NEW_CALLS,
        "echo_timeout": _NEW_CALLS,
        "grace": _AT_ONCE,
    },
    "gre": {
        "reorder_packets": _NEW_CALLS,
        "reorder_timeout": _NEW_CALLS,
        "ack_delay": _NEW_CALLS,
    },
    "ppp": {
        "mtu": _NEW_CALLS,
        "clamp_mss": _NEW_CALLS,
        "authentication": _NEW_CALLS,
        "eap_methods": _NEW_CALLS,
        "encryption": _NEW_CALLS,
        "encryption_bits": _NEW_CALLS,
        "encryption_mode": _NEW_CALLS,
        "dns": _NEW_CALLS,
        "wins": _NEW_CALLS,
        "establish_timeout": _NEW_CALLS,
        "restart_interval": _NEW_CALLS,
        "max_configure": _NEW_CALLS,
        "max_terminate": _NEW_CALLS,
        "max_failure": _NEW_CALLS,
        "lcp_echo_interval": _NEW_CALLS,
        "lcp_echo_failures": _NEW_CALLS,
        "authentication_interval": _NEW_CALLS,
        "idle_timeout": _NEW_CALLS,
        "session_timeout": _NEW_CALLS,
    },
    "addresses": {
        "server": _RESTART,
        "pool": _NEW_CALLS,
        "pools": _NEW_CALLS,
        "plugins": _AT_ONCE,
    },
    "authentication": {
        "plugins": _AT_ONCE,
        "fall_through": _AT_ONCE,
        "strip_domain": _AT_ONCE,
        "strip_realm": _AT_ONCE,
        "default_domain": _AT_ONCE,
        "allowed_domains": _AT_ONCE,
        "domains": _AT_ONCE,
        "timeout": _AT_ONCE,
        "failure_delay": _AT_ONCE,
        "failure_delay_max": _AT_ONCE,
    },
    "sessions": {
        "limit": _NEW_CALLS,
        "at_limit": _NEW_CALLS,
    },
    "accounting": {
        "plugins": _AT_ONCE,
        "timeout": _AT_ONCE,
        "interim_interval": _NEW_CALLS,
        "interim_jitter": _NEW_CALLS,
    },
    "management": {
        "socket": _RESTART,
        "group": _RESTART,
        "listen": _AT_ONCE,
        "token_file": _AT_ONCE,
        "certificate": _AT_ONCE,
        "key": _AT_ONCE,
    },
    "log": {
        "level": _AT_ONCE,
        "areas": _AT_ONCE,
        "format": _AT_ONCE,
        "output": _RESTART,
    },
    "capture": {
        "enabled": _AT_ONCE,
        "max_octets": _AT_ONCE,
        "max_seconds": _AT_ONCE,
    },
}
"""By table and key. Tables of plugins are not here: each plugin says what it can change (``poptrio_reload``)."""

PLUGIN_LISTS: tuple[KeyPath, ...] = (
    ("authentication", "plugins"),
    ("authentication", "domains"),
    ("addresses", "plugins"),
    ("accounting", "plugins"),
)
"""Keys that name plugins. Their order counts at once; a plugin more or less needs a restart, and the key with it."""


def effect_of(key_path: KeyPath) -> Effect:
    """When a change of the key counts, unless something beside it says otherwise."""
    table, *keys = key_path
    return _AT_ONCE if table == "plugins" else EFFECTS[table][keys[0]]
