"""Look-up by inner address, and which routes the kernel is given."""

import errno
from ipaddress import IPv4Address, IPv4Network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from poptrio.address_ranges import parse_ranges
from poptrio.datapath.userspace.inner_networks import InnerNetworks
from poptrio.datapath.userspace.routes import KernelRoutes, covering_routes


def nets(*texts: str) -> list[IPv4Network]:
    return [IPv4Network(text) for text in texts]


def packed(text: str) -> bytes:
    return IPv4Address(text).packed


# Look-up


def test_hosts_and_longest_prefix():
    networks = InnerNetworks()
    a, b, c = object(), object(), object()
    networks.replace(a, nets("10.90.0.2/32", "192.168.0.0/16"))
    networks.replace(b, nets("10.90.0.3/32", "192.168.7.0/24"))
    networks.replace(c, nets("192.168.7.7/32", "0.0.0.0/0"))
    expected = {"10.90.0.2": a, "10.90.0.3": b, "192.168.8.1": a, "192.168.7.1": b, "192.168.7.7": c, "8.8.8.8": c}
    assert {text: networks.find(packed(text)) for text in expected} == expected


def test_nothing_stays_behind():
    networks = InnerNetworks()
    path = object()
    networks.replace(path, nets("10.90.0.2/32", "192.168.0.0/16"))
    networks.replace(path, nets("10.90.0.4/32"))
    assert networks.find(packed("10.90.0.2")) is None
    assert networks.find(packed("192.168.1.1")) is None
    assert networks.find(packed("10.90.0.4")) is path
    networks.replace(path, ())
    assert (networks.hosts, networks._by_mask, networks._of_path, networks._claims) == ({}, {}, {}, {})


def test_the_newer_call_has_it_and_keeps_it_when_the_older_ends():
    networks = InnerNetworks()
    old, new = object(), object()
    for path in (old, new):
        networks.replace(path, nets("10.90.0.2/32", "192.168.0.0/16"))
    networks.replace(old, ())
    assert networks.find(packed("10.90.0.2")) is new
    assert networks.find(packed("192.168.3.4")) is new
    networks.replace(new, ())
    assert networks.find(packed("192.168.3.4")) is None


def test_the_older_call_has_it_again_when_the_newer_ends_first():
    networks = InnerNetworks()
    oldest, old, new = object(), object(), object()
    for path in (oldest, old, new):
        networks.replace(path, nets("10.90.0.2/32", "192.168.0.0/16"))
    networks.replace(new, nets("10.90.0.2/32"))
    assert networks.find(packed("10.90.0.2")) is new
    assert networks.find(packed("192.168.3.4")) is old
    networks.replace(old, ())
    networks.replace(new, ())
    assert networks.find(packed("10.90.0.2")) is oldest
    assert networks.find(packed("192.168.3.4")) is oldest


def test_a_call_that_says_the_same_again_does_not_become_the_newest():
    networks = InnerNetworks()
    old, new = object(), object()
    for path in (old, new, old):
        networks.replace(path, nets("10.90.0.2/32", "192.168.0.0/16", "192.168.0.0/16"))
    assert networks.find(packed("10.90.0.2")) is new
    assert networks.find(packed("192.168.3.4")) is new


@given(st.lists(st.tuples(st.integers(0, 3), st.sets(st.sampled_from(range(4))))))
def test_every_network_is_behind_its_newest_claimant(changes):
    known = nets("10.90.0.2/32", "10.90.0.3/32", "172.16.0.0/16", "192.168.0.0/24")
    networks, paths = InnerNetworks(), [object() for _ in range(4)]
    claims = {network: [] for network in known}
    for number, chosen in changes:
        path, wanted = paths[number], [known[index] for index in chosen]
        networks.replace(path, wanted)
        for network, claimants in claims.items():
            if network not in wanted and path in claimants:
                claimants.remove(path)
            elif network in wanted and path not in claimants:
                claimants.append(path)
        for network, claimants in claims.items():
            expected = claimants[-1] if claimants else None
            assert networks.find(network.network_address.packed) is expected


# Routes of the pool


@pytest.mark.parametrize(
    ("pool", "routes"),
    [
        ("10.90.0.2-10.90.15.254", ["10.90.0.0/20"]),
        ("10.90.0.0/24", ["10.90.0.0/24"]),
        ("10.90.0.1-10.90.0.254", ["10.90.0.0/24"]),
        ("10.90.0.0-10.90.0.255", ["10.90.0.0/24"]),
        ("10.90.0.5", ["10.90.0.5/32"]),
        ("10.90.0.3-10.90.0.6", ["10.90.0.3/32", "10.90.0.4/31", "10.90.0.6/32"]),
        ("192.168.1.100-192.168.1.103", ["192.168.1.100/30"]),
        (
            "192.168.1.100-192.168.1.110",
            ["192.168.1.100/30", "192.168.1.104/30", "192.168.1.108/31", "192.168.1.110/32"],
        ),
        ("10.90.0.2-10.90.0.254,10.90.1.0-10.90.1.255", ["10.90.0.0/23"]),
        ("10.90.0.2-254,172.16.0.0/30", ["10.90.0.0/24", "172.16.0.0/30"]),
    ],
)
def test_routes_of_a_pool(pool, routes):
    assert covering_routes(parse_ranges([pool]), IPv4Address("10.90.0.1")) == tuple(nets(*routes))


@given(st.integers(0, 2**12), st.integers(0, 600), st.integers(-3, 610))
def test_routes_hold_the_pool_and_little_else(start, size, server_offset):
    first = IPv4Address("10.0.0.0") + start
    last = first + size
    server = first + server_offset
    routes = covering_routes([(first, last)], server)
    inside = {int(address) for route in routes for address in route}
    pool = set(range(int(first), int(last) + 1))
    assert pool <= inside
    edges = {int(address) for route in routes for address in (route.network_address, route.broadcast_address)}
    assert inside - pool <= edges | {int(server)}


# Routes of single calls


class Kernel:
    def __init__(self) -> None:
        self.routes: list[IPv4Network] = []
        self.refused: IPv4Network | None = None

    def add(self, network: IPv4Network) -> None:
        assert network not in self.routes
        if network == self.refused:
            raise OSError(errno.EEXIST, "exists")
        self.routes.append(network)

    def remove(self, network: IPv4Network) -> None:
        self.routes.remove(network)


@pytest.fixture
def kernel() -> Kernel:
    return Kernel()


@pytest.fixture
def routes(kernel: Kernel) -> KernelRoutes:
    return KernelRoutes(nets("10.90.0.0/20"), kernel.add, kernel.remove)


def test_the_pool_costs_no_route(kernel, routes):
    routes.replace("call", nets("10.90.0.7/32", "10.90.1.0/24"))
    assert kernel.routes == []


def test_a_route_lives_as_long_as_some_call_needs_it(kernel, routes):
    routes.replace("one", nets("192.168.0.0/24", "172.16.0.5/32"))
    routes.replace("two", nets("192.168.0.0/24"))
    assert kernel.routes == nets("192.168.0.0/24", "172.16.0.5/32")
    routes.replace("one", ())
    assert kernel.routes == nets("192.168.0.0/24")
    routes.replace("two", nets("192.168.1.0/24"))
    assert kernel.routes == nets("192.168.1.0/24")
    routes.replace("two", ())
    routes.replace("two", ())
    assert kernel.routes == []


def test_a_refused_route_leaves_the_books_in_order(kernel, routes):
    routes.replace("one", nets("192.168.2.0/24"))
    kernel.refused = IPv4Network("192.168.1.0/24")
    with pytest.raises(OSError, match="exists"):
        routes.replace("two", nets("192.168.0.0/24", "192.168.1.0/24", "192.168.2.0/24"))
    routes.replace("two", ())
    assert kernel.routes == nets("192.168.2.0/24")


def test_routes_that_have_gone_are_restored():
    there = set()
    asked = []

    def add(network):
        asked.append(network)
        if network in there:
            raise FileExistsError(errno.EEXIST, "there is one already")
        there.add(network)

    routes = KernelRoutes(nets("10.90.0.0/24"), add, there.remove)
    routes.add_standing()
    routes.replace("call", nets("10.90.0.2/32", "192.168.7.0/24"))
    asked.clear()
    assert routes.restore() == []
    assert asked == nets("10.90.0.0/24")  # one question, however many calls have routes
    there.clear()
    assert routes.restore() == nets("10.90.0.0/24", "192.168.7.0/24")
    assert there == set(nets("10.90.0.0/24", "192.168.7.0/24"))
