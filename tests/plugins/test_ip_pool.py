"""The ip-pool plugin: who gets which address, and what a refusal says."""

import random
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from poptrio.api import Accept, CallInfo, ConfigError, NoAddress, ServerInfo, parse_ranges
from poptrio.plugins.ip_pool import Holder, Pool
from poptrio.server.hooks import Hooks


def call(session_id="s1"):
    return CallInfo(
        session_id=session_id,
        call_id=1,
        peer_call_id=2,
        peer=IPv4Address("203.0.113.9"),
        server=IPv4Address("198.51.100.1"),
        started=datetime(2025, 1, 1, tzinfo=UTC),
    )


@asynccontextmanager
async def running(*pool, server="10.0.0.1", config=None, pools=None):
    """Ask like a call does: a user and what was decided about it; the answer is the lease, or the reason as text."""
    hooks = Hooks.load([], ["ip-pool"])
    info = ServerInfo(folder=Path("/"), name="poptrio", address=IPv4Address(server), pool=pool, pools=pools or {})

    async def ask(user, session_id="s1", **decided):
        answer = await hooks.allocate_address(call(session_id), Accept(user=user, **decided))
        return answer.reason if isinstance(answer, NoAddress) else answer

    async with hooks.lifespan({"ip-pool": config or {}}, info):
        yield ask


def pool_of(*texts, server="10.0.0.1"):
    return Pool(parse_ranges(texts), IPv4Address(server))


def addresses_of(pool, count, user="user"):
    return [str(pool.allocate(Holder(f"{user}{number}", "s")).address) for number in range(count)]


@pytest.mark.parametrize(
    ("texts", "addresses"),
    [
        (["10.0.0.2-10.0.0.4"], ["10.0.0.2", "10.0.0.3", "10.0.0.4"]),
        (["10.0.0.234-236"], ["10.0.0.234", "10.0.0.235", "10.0.0.236"]),
        (["10.0.0.9, 10.0.0.7"], ["10.0.0.9", "10.0.0.7"]),
        (["10.0.0.8/30"], ["10.0.0.9", "10.0.0.10"]),
        (["10.0.0.0/30", "10.0.1.1"], ["10.0.0.2", "10.0.1.1"]),  # without the server's own address
        (["10.0.0.1-3"], ["10.0.0.2", "10.0.0.3"]),
    ],
)
def test_the_pool_is_what_the_texts_say(texts, addresses):
    pool = pool_of(*texts)
    assert addresses_of(pool, len(addresses)) == addresses
    with pytest.raises(NoAddress, match=f"pool default is full: {len(addresses)} of {len(addresses)} addresses"):
        pool.allocate(Holder("late", "s"))


@pytest.mark.parametrize(
    ("texts", "sentence"),
    [
        (["10.0.0.2-9", "10.0.0.9-12"], "share 10.0.0.9"),
        (["10.0.0.9-2"], "backwards"),
        (["tunnel"], "is not an IPv4 address"),
        (["10.0.0.1"], "holds no address besides 10.0.0.1, which is the server's own"),
        ([], "holds no address besides"),
    ],
)
async def test_a_pool_that_cannot_be_used_keeps_the_server_from_starting(texts, sentence):
    with pytest.raises(ConfigError, match=f"^addresses.pool: .*{sentence}"):
        async with running(*texts):
            pytest.fail("must not start")


async def test_the_plugin_has_no_keys():
    with pytest.raises(ConfigError, match=r"^plugins\.ip-pool\.pool: unknown"):
        async with running("10.0.0.2", config={"pool": []}):
            pytest.fail("must not start")


async def test_a_lease_has_its_owner_and_comes_back():
    async with running("10.0.0.2") as ask:
        lease = await ask("alice")
        assert (lease.address, lease.owner) == (IPv4Address("10.0.0.2"), "alice")
        assert isinstance(await ask("bob"), str)
        lease.release()
        assert (await ask("bob")).address == IPv4Address("10.0.0.2")


def test_a_second_release_does_not_take_the_address_from_its_next_owner():
    pool = pool_of("10.0.0.2")
    first = pool.allocate(Holder("alice", "s1"))
    first.release()
    pool.allocate(Holder("alice", "s2"))
    first.release()
    with pytest.raises(NoAddress):
        pool.allocate(Holder("bob", "s3"))


def test_the_same_user_gets_the_same_address_while_it_is_free():
    pool = pool_of("10.0.0.2-4")
    pool.allocate(Holder("alice", "s")).release()
    bob = pool.allocate(Holder("bob", "s"))
    alice = pool.allocate(Holder("alice", "s"))
    assert (str(bob.address), str(alice.address)) == ("10.0.0.3", "10.0.0.2")


def test_others_get_never_used_addresses_first_and_then_the_longest_released():
    pool = pool_of("10.0.0.2-4")
    leases = {user: pool.allocate(Holder(user, "s")) for user in ("alice", "bob")}
    leases["bob"].release()
    leases["alice"].release()
    assert addresses_of(pool, 3) == ["10.0.0.4", "10.0.0.3", "10.0.0.2"]


def test_who_lost_the_address_to_another_is_no_longer_remembered_for_it():
    pool = pool_of("10.0.0.2")
    pool.allocate(Holder("alice", "s")).release()
    bob = pool.allocate(Holder("bob", "s"))
    with pytest.raises(NoAddress):
        pool.allocate(Holder("alice", "s"))
    bob.release()
    assert str(pool.allocate(Holder("alice", "s")).address) == "10.0.0.2"


def test_two_calls_of_one_user_have_two_addresses():
    pool = pool_of("10.0.0.2-3")
    leases = [pool.allocate(Holder("alice", f"s{number}")) for number in range(2)]
    assert leases[0].address != leases[1].address
    for lease in leases:
        lease.release()
    again = [str(pool.allocate(Holder("alice", "s")).address) for _ in range(2)]
    assert again == ["10.0.0.3", "10.0.0.2"]


async def test_a_full_pool_says_who_is_on_it():
    async with running("10.0.0.2-3") as ask:
        await ask("alice")
        await ask("outside", framed_address=IPv4Address("10.9.9.9"))
        await ask("bob")
        assert await ask("carol") == "pool default is full: 2 of 2 addresses, held by alice, bob"


def test_a_full_pool_names_ten_at_most():
    pool = pool_of("10.0.0.2-21")
    addresses_of(pool, 20, user="u")
    with pytest.raises(NoAddress, match=r"20 of 20 addresses, held by u0, u1, .*, u9 and 10 more$"):
        pool.allocate(Holder("late", "s"))


# What the authentication plugin decided.


async def test_a_static_address_is_given_in_the_pool_and_outside():
    async with running("10.0.0.2-3") as ask:
        assert (await ask("alice", framed_address=IPv4Address("10.0.0.2"))).address == IPv4Address("10.0.0.2")
        assert (await ask("bob", framed_address=IPv4Address("10.7.7.7"))).address == IPv4Address("10.7.7.7")
        assert (await ask("carol")).address == IPv4Address("10.0.0.3")
        assert isinstance(await ask("dave"), str)


@pytest.mark.parametrize("address", ["255.255.255.254", "255.255.255.255"])
async def test_the_special_addresses_mean_the_pool(address):
    async with running("10.0.0.2") as ask:
        assert (await ask("alice", framed_address=IPv4Address(address))).address == IPv4Address("10.0.0.2")


async def test_a_static_address_in_use_is_a_conflict_that_names_the_call():
    alice = IPv4Address("10.0.0.9")
    async with running("10.0.0.2") as ask:
        lease = await ask("alice", "s1", framed_address=alice)
        assert await ask("bob", "s2", framed_address=alice) == "address 10.0.0.9 of bob is in use by call s1 of alice"
        lease.release()
        assert (await ask("bob", "s4", framed_address=alice)).address == alice


async def test_calls_of_one_user_share_a_static_address_until_the_last_has_ended():
    """Who lost power dials again long before the old call has timed out."""
    alice = IPv4Address("10.0.0.2")
    async with running("10.0.0.2") as ask:
        older = await ask("alice", "s1", framed_address=alice)
        newer = await ask("alice", "s2", framed_address=alice)
        assert older.address == newer.address == alice
        older.release()
        older.release()
        assert await ask("bob", "s3", framed_address=alice) == "address 10.0.0.2 of bob is in use by call s2 of alice"
        assert await ask("bob", "s3") == "pool default is full: 1 of 1 addresses, held by alice"
        newer.release()
        assert (await ask("bob", "s4")).address == alice


@pytest.mark.parametrize(
    ("address", "sentence"),
    [
        ("10.0.0.1", "address 10.0.0.1 of alice is the server's own"),
        ("0.0.0.0", "address 0.0.0.0 of alice is none that a client can have"),
        ("127.0.0.1", "address 127.0.0.1 of alice is none that a client can have"),
        ("224.0.0.5", "address 224.0.0.5 of alice is none that a client can have"),
    ],
)
async def test_static_addresses_that_cannot_be(address, sentence):
    async with running("10.0.0.2") as ask:
        assert await ask("alice", framed_address=IPv4Address(address)) == sentence


def test_a_static_address_of_the_pool_is_not_given_twice_afterwards():
    pool = pool_of("10.0.0.2-3")
    pool.allocate_static(IPv4Address("10.0.0.2"), Holder("alice", "s")).release()
    assert addresses_of(pool, 2) == ["10.0.0.3", "10.0.0.2"]
    with pytest.raises(NoAddress):
        pool.allocate(Holder("late", "s"))


async def test_the_pool_has_a_name_and_no_other_is_ours():
    async with running("10.0.0.2") as ask:
        assert (await ask("alice", framed_pool="default")).address == IPv4Address("10.0.0.2")
        assert "in the pool 'office'" in await ask("bob", framed_pool="office")


@pytest.mark.parametrize(
    ("networks", "addresses"),
    [
        (["10.0.0.4/31"], ["10.0.0.4", "10.0.0.5"]),  # part of the pool
        (["10.0.0.0/30"], ["10.0.0.2", "10.0.0.3"]),  # only the pool's part of it
        (["10.5.0.0/30"], ["10.5.0.1", "10.5.0.2"]),  # outside: its hosts
        (["10.5.0.4/31"], ["10.5.0.4", "10.5.0.5"]),
        (["10.0.0.7/32", "0.0.0.0/0"], ["10.0.0.7", "10.0.0.2", "10.0.0.3"]),
    ],
)
async def test_a_restricted_user_gets_an_address_from_its_networks(networks, addresses):
    async with running("10.0.0.2-8") as ask:
        framed = tuple(map(IPv4Network, networks))
        leases = [await ask("alice", framed_networks=framed) for _ in addresses]
        assert [str(lease.address) for lease in leases] == addresses
        leases[1].release()
        assert (await ask("alice", framed_networks=framed)).address == leases[1].address


async def test_a_restricted_user_finds_nothing_free():
    async with running("10.0.0.2-8") as ask:
        await ask("alice", framed_networks=(IPv4Network("10.0.0.2/32"),))
        reason = await ask("bob", framed_networks=(IPv4Network("10.0.0.2/32"), IPv4Network("10.0.0.1/32")))
        assert reason == "no address of 10.0.0.2/32, 10.0.0.1/32, to which bob is restricted, is free"


# Named pools.


async def test_each_pool_is_sticky_and_full_by_itself():
    async with running("10.0.0.2-3", pools={"gold": ("10.1.0.2-3",)}) as ask:
        alice = await ask("alice", framed_pool="gold")
        bob = await ask("bob", framed_pool="gold")
        assert [str(lease.address) for lease in (alice, bob)] == ["10.1.0.2", "10.1.0.3"]
        assert await ask("carol", framed_pool="gold") == "pool gold is full: 2 of 2 addresses, held by alice, bob"
        assert str((await ask("carol")).address) == "10.0.0.2"
        bob.release()
        alice.release()
        assert (await ask("alice", framed_pool="gold")).address == alice.address
        assert "in the pool 'silver'" in await ask("dave", framed_pool="silver")


async def test_a_static_address_belongs_to_the_pool_that_has_it():
    gold = IPv4Address("10.1.0.2")
    async with running("10.0.0.2-3", pools={"gold": ("10.1.0.2-3",)}) as ask:
        lease = await ask("alice", framed_address=gold)
        assert str((await ask("bob", framed_pool="gold")).address) == "10.1.0.3"
        lease.release()
        assert (await ask("carol", framed_pool="gold")).address == gold


async def test_networks_find_their_pool_unless_it_is_named():
    networks = (IPv4Network("10.1.0.0/30"),)
    async with running("10.0.0.2-3", pools={"gold": ("10.1.0.2-3",)}) as ask:
        lease = await ask("alice", framed_networks=networks)
        assert str(lease.address) == "10.1.0.2"
        assert str((await ask("bob", framed_pool="gold", framed_networks=networks)).address) == "10.1.0.3"


async def test_what_is_outside_of_all_pools_is_held_once():
    outside = IPv4Address("10.7.7.7")
    async with running("10.0.0.2-3", pools={"gold": ("10.1.0.2-3",)}) as ask:
        await ask("alice", framed_address=outside)
        reason = await ask("bob", framed_pool="gold", framed_networks=(IPv4Network(outside),))
        assert reason == "no address of 10.7.7.7/32, to which bob is restricted, is free"


async def test_the_faults_of_all_pools_come_together():
    with pytest.raises(ConfigError) as caught:
        async with running("10.0.0.1", pools={"gold": ("10.1.0.9-2",), "fine": ("10.2.0.2",)}):
            pytest.fail("must not start")
    assert [fault.place for fault in caught.value.faults] == ["addresses.pool", "addresses.pools.gold"]


# Size.


def test_a_huge_pool_costs_what_is_used():
    pool = pool_of("10.0.0.0/8")
    leases = [pool.allocate(Holder(f"user{number}", "s")) for number in range(1000)]
    for lease in leases:
        lease.release()
    assert (len(pool._waiting), len(pool._last), len(pool._held.holders)) == (1000, 1000, 0)


def test_what_is_remembered_of_users_is_bounded_by_the_pool():
    pool = pool_of("10.0.0.2-9")
    chance = random.Random(1)
    leases = []
    for number in range(2000):
        if len(leases) == 8 or (leases and chance.random() < 0.5):
            leases.pop(chance.randrange(len(leases))).release()
        leases.append(pool.allocate(Holder(f"user{number}", "s")))
    assert len(pool._last) <= len(pool._waiting) <= 8


class PoolMachine(RuleBasedStateMachine):
    """No two users ever hold one address, none is lost, whatever the order of things."""

    def __init__(self):
        super().__init__()
        self.pool = pool_of("10.0.0.1-5", "10.0.0.8/31")
        self.addresses = {IPv4Address(f"10.0.0.{last}") for last in (2, 3, 4, 5, 8, 9)}
        self.leases = []

    def took(self, lease):
        assert lease.address not in self.held()
        self.leases.append(lease)

    def held(self):
        return {lease.address for lease in self.leases}

    @rule(user=st.sampled_from("abc"))
    def allocate(self, user):
        if self.addresses <= self.held():
            with pytest.raises(NoAddress):
                self.pool.allocate(Holder(user, "s"))
        else:
            self.took(self.pool.allocate(Holder(user, "s")))
            assert self.leases[-1].address in self.addresses

    @rule(user=st.sampled_from("abc"), last=st.integers(1, 12))
    def allocate_static(self, user, last):
        address = IPv4Address(f"10.0.0.{last}")
        if last == 1 or address in {lease.address for lease in self.leases if lease.owner != user}:
            with pytest.raises(NoAddress):
                self.pool.allocate_static(address, Holder(user, "s"))
        else:
            self.leases.append(self.pool.allocate_static(address, Holder(user, "s")))

    @rule(user=st.sampled_from("abc"), network=st.sampled_from(["10.0.0.0/29", "10.0.0.8/30", "10.0.0.12/30"]))
    def allocate_from(self, user, network):
        try:
            lease = self.pool.allocate_from((IPv4Network(network),), Holder(user, "s"))
        except NoAddress:
            assert not {a for a in self.addresses if a in IPv4Network(network)} - self.held()
        else:
            assert lease.address in IPv4Network(network)
            self.took(lease)

    @precondition(lambda self: self.leases)
    @rule(data=st.data())
    def release(self, data):
        self.leases.pop(data.draw(st.integers(0, len(self.leases) - 1))).release()

    @invariant()
    def counts_agree(self):
        assert set(map(IPv4Address, self.pool._held.holders)) == self.held()
        assert self.pool._held_of_pool == len(self.held() & self.addresses)


TestPoolMachine = PoolMachine.TestCase
TestPoolMachine.settings = settings(derandomize=True, max_examples=30, stateful_step_count=30, deadline=None)
