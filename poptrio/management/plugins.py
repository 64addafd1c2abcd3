"""Endpoints about plugins and what they keep: their health, and the pools of addresses with who holds what."""

import itertools
from datetime import UTC, datetime
from ipaddress import IPv4Address
from typing import Annotated, Any

from pydantic import Field

from poptrio.management.endpoint import Answer, ApiError, Ask, Asked, Nothing
from poptrio.management.paging import LARGEST_PAGE
from poptrio.measurements import PoolState

MOST_ADDRESSES = 1 << 32
"""As many as no pool has more of."""


class PluginHealth(Answer):
    """Whether a plugin can do its work."""

    ok: bool
    sentence: str
    remedy: str
    """What to do where it cannot."""
    details: dict[str, str | int | float | bool | None]
    """Further facts, as the plugin tells them."""


class PluginView(Answer):
    """One plugin, in the order in which they are asked."""

    name: str
    distribution: str
    version: str
    hooks: tuple[str, ...]
    health: PluginHealth
    last_success: datetime | None
    """When it last gave an answer, a refusal included."""
    last_failure: datetime | None
    """When it last failed to give one."""
    last_error: str
    """What was wrong then."""


class PluginList(Answer):
    """All plugins."""

    plugins: tuple[PluginView, ...]


class PoolView(Answer):
    """One pool of inner addresses."""

    plugin: str
    pool: str
    size: int
    """Addresses that calls can have."""
    held: int
    free: int


class PoolList(Answer):
    """All pools."""

    pools: tuple[PoolView, ...]


class PoolQuery(Ask):
    """Which pool, and which page of those who hold its addresses."""

    pool: str
    plugin: str = ""
    """Needed where two plugins have a pool of the same name."""
    user: str = ""
    """Only addresses of this user."""
    offset: Annotated[int, Field(ge=0, le=MOST_ADDRESSES)] = 0
    limit: Annotated[int, Field(ge=1, le=LARGEST_PAGE)] = 100


class LeaseView(Answer):
    """An address that a call holds."""

    address: IPv4Address
    user: str
    session_id: str


class PoolPage(PoolView):
    """One pool, with a page of who holds what."""

    leases: tuple[LeaseView, ...]
    more: bool
    """Whether there are further ones behind this page."""


async def list_plugins(asked: Asked, query: Nothing) -> PluginList:
    """The plugins, their hooks and versions, and how they are."""
    hooks = asked.server.authority.hooks
    views = []
    for plugin in hooks.table():
        health, tally = hooks.reports.health_of(plugin.name), hooks.tallies[plugin.name]
        view = PluginView(
            name=plugin.name,
            distribution=plugin.distribution,
            version=plugin.version,
            hooks=plugin.hooks,
            health=PluginHealth(
                ok=health.ok, sentence=health.sentence, remedy=health.remedy, details=dict(health.details)
            ),
            last_success=_time(tally.last_success),
            last_failure=_time(tally.last_failure),
            last_error=tally.last_error,
        )
        views.append(view)
    return PluginList(plugins=tuple(views))


async def list_pools(asked: Asked, query: Nothing) -> PoolList:
    """The pools of inner addresses, and how full they are. Addresses outside of all pools are seen in sessions only."""
    pools = asked.server.authority.hooks.reports.pools()
    return PoolList(pools=tuple(PoolView(**_facts(plugin, pool)) for plugin, pool in pools))


async def show_pool(asked: Asked, query: PoolQuery) -> PoolPage:
    """One pool, and who holds which of its addresses, a page at a time."""
    pools = asked.server.authority.hooks.reports.pools()
    found = [(plugin, pool) for plugin, pool in pools if pool.name == query.pool and query.plugin in ("", plugin)]
    if not found:
        known = ", ".join(sorted(pool.name for _, pool in pools)) or "none"
        raise ApiError(404, f"there is no pool {query.pool}", f"there are: {known}")
    if len(found) > 1:
        names = ", ".join(plugin for plugin, _ in found)
        raise ApiError(409, f"several plugins have a pool {query.pool}", f"add plugin: {names}")
    (plugin, pool), end = found[0], query.offset + query.limit
    leases = (lease for lease in pool.leases() if query.user in ("", lease.user))
    page = list(itertools.islice(leases, query.offset, end + 1))
    return PoolPage(
        **_facts(plugin, pool),
        leases=tuple(
            LeaseView(address=lease.address, user=lease.user, session_id=lease.session_id)
            for lease in page[: query.limit]
        ),
        more=len(page) > query.limit,
    )


def _facts(plugin: str, pool: PoolState) -> dict[str, Any]:
    return {"plugin": plugin, "pool": pool.name, "size": pool.size, "held": pool.held, "free": pool.free}


def _time(unix_seconds: float) -> datetime | None:
    return datetime.fromtimestamp(unix_seconds, UTC) if unix_seconds else None
