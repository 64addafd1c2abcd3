"""The hooks: what poptrio asks its plugins, as pluggy specifications under the prefix ``poptrio_``.

A plugin implements any of these functions, marked with ``@hookimpl``, in a module or a class that the entry-point group
``poptrio`` names. Arguments are matched by name, and an implementation may leave out those that it does not need.
"""

from collections.abc import Iterable, Mapping
from contextlib import AbstractAsyncContextManager, AbstractContextManager
from ipaddress import IPv4Address

import pluggy

from poptrio.calls import AccountingRecord, AddressLease, CallInfo
from poptrio.decisions import Accept, Decision
from poptrio.measurements import Health, Measurement, PoolState
from poptrio.plugin_reload import PluginReload
from poptrio.protocols.ppp.auth_requests import AuthRequest
from poptrio.server_info import ServerInfo

PROJECT = "poptrio"
"""The entry-point group, and the project name of pluggy's markers."""

PREFIX = "poptrio_"
"""What the name of every hook begins with."""

hookspec = pluggy.HookspecMarker(PROJECT)
hookimpl = pluggy.HookimplMarker(PROJECT)


@hookspec
def poptrio_lifespan(config: Mapping[str, object], server: ServerInfo) -> AbstractAsyncContextManager[None] | None:
    """Hold resources for the life of the server: files, sockets, caches.

    Called once, before the server listens, with the plugin's own ``[plugins.NAME]`` table (empty when there is none).
    The context is entered in the order of the configuration and left in reverse, after the last call has ended. Write
    it as an async generator under ``@hookimpl`` and ``@asynccontextmanager``. Raise `ConfigError` to refuse to start;
    the faults of all plugins are reported together.
    """


@hookspec
async def poptrio_authenticate(call: CallInfo, request: AuthRequest) -> Decision | None:
    """Decide who is calling.

    Called once per authentication attempt, in the order of ``[authentication] plugins`` (or of the caller's domain),
    one plugin after the other. Return None when the user is not yours: the next plugin is asked. `Accept` and `Reject`
    are final. `Challenge` asks the client for more and `LocalEap` for an EAP method of poptrio's own; the answer goes
    to the same plugin, and to no other. `Unavailable` says that nobody can tell now. When every plugin returns None the
    call is refused as if the password were wrong. An exception, an answer of another type, or none within
    ``[authentication] timeout`` is like `Unavailable`, refuses the call and is logged: a broken directory must not open
    the door.
    """


@hookspec
async def poptrio_allocate_address(call: CallInfo, user: Accept) -> AddressLease | None:
    """Find an inner address for an authenticated call.

    Called in the order of ``[addresses] plugins``, one plugin after the other; the first lease is taken. Return None
    when another plugin should try, raise `NoAddress` with a sentence for the log when there is none to be had. The
    lease's ``release`` is called exactly once, synchronously, when the call ends. A plugin that waits after it has
    reserved an address must release it again when it is cancelled there; from its return on, the lease is the call's.
    """


@hookspec
def poptrio_keep_address(call: CallInfo, user: Accept, address: IPv4Address) -> AddressLease | None:
    """Take the inner address of a call again that has had it since before this process (`poptrio upgrade`).

    Called once for each call that is up, after your lifespan was entered with `ServerInfo.continued` and before
    anything else is asked, in the order of ``[addresses] plugins``; the first lease is taken. Return None when the
    address is not yours. The call has the address and keeps it, also where you would not give it any more. Must not
    block: all calls wait. A server with a plugin that allocates addresses and has not this hook cannot be upgraded.
    """


@hookspec
def poptrio_hand_over() -> AbstractContextManager[None] | None:
    """Let go of what two processes cannot have at the same time: another process of this server takes over.

    Write it as a generator under ``@hookimpl`` and ``@contextmanager``. The context is entered while nothing else runs
    in this process and before the other one enters your lifespan, so be quick: all calls wait. When the other process
    has taken over, this one ends then and there: neither this context nor your lifespan is left. When it does not come
    up, the context is left, you take up again what you let go of, and everything goes on as if nothing had been.
    Without this hook your lifespan is entered in the other process while it is still entered in this one.
    """


@hookspec
async def poptrio_account(record: AccountingRecord) -> None:
    """Take note of a call's start, its traffic so far, or its end.

    Every plugin is called, whichever list names it, all at the same time, each with a deadline of its own; one that is
    asked nothing belongs into ``[accounting] plugins``. Exceptions and late answers are
    logged and change nothing. A call that ends while its Start or an interim record waits cancels the hook: note down
    what must not be lost before you wait for anything.
    """


@hookspec
def poptrio_admit(peer: IPv4Address) -> str | None:
    """Say whether a client may connect at all, before anything is read from it.

    Return a sentence to refuse, which is logged, or None. Must not block: the whole server waits. An exception refuses.
    """


@hookspec
def poptrio_reload(config: Mapping[str, object], server: ServerInfo) -> PluginReload | None:
    """Take new settings while the server runs: the operator has sent SIGHUP, or changed the configuration.

    Called with the new table and the new `ServerInfo`, also where they are the old ones: files that they name, of
    secrets for instance, are to be read again. Judge first: raise `ConfigError` when anything is wrong, and change
    nothing; then nothing changes anywhere. Return a `PluginReload` whose ``commit`` puts the new settings to use; it is
    called when everybody agrees, and otherwise its ``undo`` is. Must not block: the whole server waits.

    A plugin that takes neither argument is called when everybody has agreed; its exceptions are logged. Changes in its
    table need a restart.
    """


@hookspec
def poptrio_measurements() -> Iterable[Measurement] | None:
    """Tell what you have counted since the start, and what you hold now.

    Called whenever somebody asks for the server's metrics, every few seconds. Must not block and must be quick: keep
    plain numbers, and make measurements of them here. The names of all metrics get ``poptrio_`` and the name of the
    plugin in front. Exceptions are logged, and cost the plugin's own metrics only.
    """


@hookspec
def poptrio_health() -> Health | None:
    """Say whether you can do your work now, from what you know: nobody shall be asked for it.

    Must not block. A plugin without this hook, or that returns None, is judged by its last answers. An exception is
    logged, and is no good health.
    """


@hookspec
def poptrio_pools() -> Iterable[PoolState] | None:
    """Tell which pools of inner addresses you have, how full they are, and who holds what.

    Must not block, and must not take longer for many addresses: who holds what is asked for by calling
    ``PoolState.leases``, and only as far as somebody looks. Exceptions are logged.
    """
