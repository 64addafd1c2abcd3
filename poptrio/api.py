"""What a plugin may import: the marker for its hooks, every type they meet, and the helpers that they need most.

The hooks themselves are described in `poptrio.hookspecs`.
"""

from collections.abc import Callable, Mapping
from typing import TypeVar, TypeVarTuple

import trio
from pydantic import BaseModel, ValidationError

from poptrio.address_ranges import AddressRange, address_count, parse_ranges, range_text
from poptrio.calls import AccountingKind, AccountingRecord, AddressLease, CallInfo, Traffic
from poptrio.config.faults import explain
from poptrio.config.secrets import Secret
from poptrio.crypto.keys import mschap_v1_keys
from poptrio.crypto.mppe_keys import MppeKeys
from poptrio.decisions import (
    Accept,
    Challenge,
    Decision,
    EapMethod,
    Encryption,
    LocalEap,
    Quota,
    Rate,
    RateLimit,
    Reject,
    Unavailable,
)
from poptrio.errors import CauseOfEnd, ConfigError, ConfigFault, NoAddress
from poptrio.hookspecs import hookimpl
from poptrio.measurements import Health, Histogram, Measurement, Metric, PoolLease, PoolState
from poptrio.password_change import new_password_of
from poptrio.plugin_reload import PluginReload
from poptrio.protocols.ppp.auth_requests import (
    AuthRequest,
    ChapMd5Request,
    EapRequest,
    MsChapV1Request,
    MsChapV2ChangePasswordRequest,
    MsChapV2Request,
    PapRequest,
)
from poptrio.protocols.ppp.proof import CannotVerify
from poptrio.regular_file import read_regular
from poptrio.server_info import ServerInfo
from poptrio.sessions import NoSessions, Session, SessionChange, Sessions
from poptrio.verify import accept_judged, ntlm_challenge, reject_unknown, verify

__all__ = [
    "Accept",
    "AccountingKind",
    "AccountingRecord",
    "AddressLease",
    "AddressRange",
    "AuthRequest",
    "CallInfo",
    "CannotVerify",
    "CauseOfEnd",
    "Challenge",
    "ChapMd5Request",
    "ConfigError",
    "ConfigFault",
    "Decision",
    "EapMethod",
    "EapRequest",
    "Encryption",
    "Health",
    "Histogram",
    "LocalEap",
    "Measurement",
    "Metric",
    "MppeKeys",
    "MsChapV1Request",
    "MsChapV2ChangePasswordRequest",
    "MsChapV2Request",
    "NoAddress",
    "NoSessions",
    "PapRequest",
    "PluginReload",
    "PoolLease",
    "PoolState",
    "Quota",
    "Rate",
    "RateLimit",
    "Reject",
    "Secret",
    "ServerInfo",
    "Session",
    "SessionChange",
    "Sessions",
    "Traffic",
    "Unavailable",
    "accept_judged",
    "address_count",
    "hookimpl",
    "mschap_v1_keys",
    "new_password_of",
    "ntlm_challenge",
    "parse_ranges",
    "range_text",
    "read_config",
    "read_regular",
    "reject_unknown",
    "run_blocking",
    "verify",
]

ModelT = TypeVar("ModelT", bound=BaseModel)
ResultT = TypeVar("ResultT")
ArgsT = TypeVarTuple("ArgsT")


async def run_blocking(
    function: Callable[[*ArgsT], ResultT],
    *args: *ArgsT,
    limiter: trio.CapacityLimiter | None = None,
) -> ResultT:
    """Call ``function(*args)`` in a thread, so that a library that blocks does not stop the server.

    Give each backend its own ``limiter``, or a slow one takes the threads of all. When the hook is cancelled or out of
    time the thread is left to finish by itself, its result is dropped, and it counts for the limiter until then.
    """
    return await trio.to_thread.run_sync(function, *args, limiter=limiter, abandon_on_cancel=True)


def read_config(model: type[ModelT], config: Mapping[str, object], place: str) -> ModelT:
    """Make a pydantic ``model`` of the table that `poptrio_lifespan` was given.

    ``place`` names the table in faults (``plugins.radius``). Raises `ConfigError` with every fault; let the model
    forbid extra keys, so that a misspelt one is among them.
    """
    try:
        return model.model_validate(dict(config))
    except ValidationError as error:
        faults = explain(error, model)
        raise ConfigError(
            *(ConfigFault(".".join((place, *fault.key_path)), fault.sentence) for fault in faults)
        ) from None
