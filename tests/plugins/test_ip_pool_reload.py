"""Pools that grow, shrink and move while calls have addresses, against a model that is a dictionary."""

from dataclasses import replace
from datetime import UTC, datetime
from ipaddress import IPv4Address
from pathlib import Path

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from poptrio.api import Accept, CallInfo, ConfigError, NoAddress, ServerInfo
from poptrio.plugins.ip_pool import IpPool

SERVER = ServerInfo(folder=Path("/"), name="s", address=IPv4Address("10.0.0.1"), pool=("10.0.0.1-4",))
CALL = CallInfo(
    session_id="s",
    call_id=1,
    peer_call_id=2,
    peer=IPv4Address("203.0.113.9"),
    server=IPv4Address("192.0.2.1"),
    started=datetime(2025, 1, 1, tzinfo=UTC),
)
RANGES = ["10.0.0.1-4", "10.0.0.3-6", "10.0.0.5-8", "10.0.0.2", "10.0.0.8", "10.0.0.2-8"]
APART = [
    ("10.0.0.1-4", "10.0.0.5-8"),
    ("10.0.0.5-8", "10.0.0.1-4"),
    ("10.0.0.2-6", "10.0.0.7"),
    ("10.0.0.7", "10.0.0.8"),
]


def addresses_of(text):
    first, _, last = text.removeprefix("10.0.0.").partition("-")
    numbers = range(int(first), int(last or first) + 1)
    return {IPv4Address(f"10.0.0.{number}") for number in numbers} - {SERVER.address}


class ReloadMachine(RuleBasedStateMachine):
    """An address is given to one user at a time, out of the pool as it is now, and none is lost."""

    def __init__(self):
        super().__init__()
        self.plugin = IpPool()
        self.plugin.poptrio_reload({}, SERVER).commit()
        self.pools = {"default": addresses_of(SERVER.pool[0])}
        self.leases = []

    def held(self):
        return {lease.address for lease in self.leases}

    def ask(self, user, **accept):
        question = self.plugin.poptrio_allocate_address(CALL, Accept(user=user, **accept))
        try:
            question.send(None)
        except StopIteration as answered:  # it waits for nothing
            return answered.value
        raise AssertionError("it waits")

    @rule(pool=st.sampled_from(RANGES))
    def one_pool(self, pool):
        self.plugin.poptrio_reload({}, replace(SERVER, pool=(pool,))).commit()
        self.pools = {"default": addresses_of(pool)}

    @rule(both=st.sampled_from(APART))
    def two_pools(self, both):
        pool, gold = both
        self.plugin.poptrio_reload({}, replace(SERVER, pool=(pool,), pools={"gold": (gold,)})).commit()
        self.pools = {"default": addresses_of(pool), "gold": addresses_of(gold)}

    @rule()
    def a_bad_pool(self):
        with pytest.raises(ConfigError):
            self.plugin.poptrio_reload({}, replace(SERVER, pool=("10.0.0.1",)))

    @rule(user=st.sampled_from("abc"), pool=st.sampled_from([None, "gold"]))
    def allocate(self, user, pool):
        pool_now = self.pools.get(pool or "default")
        if pool_now is None:
            assert self.ask(user, framed_pool=pool) is None
            return
        try:
            lease = self.ask(user, framed_pool=pool)
        except NoAddress:
            assert pool_now <= self.held()
        else:
            assert lease.address in pool_now - self.held()
            self.leases.append(lease)

    @rule(user=st.sampled_from("abc"), last=st.integers(2, 9))
    def allocate_static(self, user, last):
        address = IPv4Address(f"10.0.0.{last}")
        if address in {lease.address for lease in self.leases if lease.owner != user}:
            with pytest.raises(NoAddress):
                self.ask(user, framed_address=address)
        else:
            self.leases.append(self.ask(user, framed_address=address))

    @precondition(lambda self: self.leases)
    @rule(data=st.data())
    def release(self, data):
        self.leases.pop(data.draw(st.integers(0, len(self.leases) - 1))).release()

    @invariant()
    def counts_agree(self):
        for name, addresses in self.pools.items():
            assert self.plugin._pools[name]._held_of_pool == len(self.held() & addresses)


TestReload = ReloadMachine.TestCase
