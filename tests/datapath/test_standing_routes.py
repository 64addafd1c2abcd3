"""Standing routes that come and go while calls are up: none is missing that a call needs, none stays for nobody."""

import errno
from ipaddress import IPv4Network

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from poptrio.datapath.userspace.routes import KernelRoutes


def nets(*texts):
    return [IPv4Network(text) for text in texts]


class Kernel:
    """Routes by network and metric, as Linux has them."""

    def __init__(self):
        self.routes = []
        self.refused = None

    def add(self, network, metric=0):
        if (network, metric) in self.routes or network == self.refused:
            raise FileExistsError(errno.EEXIST, "exists")
        self.routes.append((network, metric))

    def remove(self, network, metric=0):
        self.routes.remove((network, metric))

    def networks(self):
        return {network for network, _ in self.routes}

    def leads(self, network):
        return any(network.subnet_of(route) for route in self.networks())


@pytest.fixture
def kernel():
    return Kernel()


@pytest.fixture
def routes(kernel):
    found = KernelRoutes(nets("10.90.0.0/24"), kernel.add, kernel.remove)
    found.add_standing()
    return found


def test_new_routes_are_there_before_anybody_needs_them_and_old_ones_as_long_as_somebody_does(kernel, routes):
    routes.replace("old", nets("10.90.0.7/32"))
    change = routes.prepare_standing(nets("10.91.0.0/24"))
    assert kernel.networks() == set(nets("10.90.0.0/24", "10.91.0.0/24"))
    change.commit()
    routes.replace("new", nets("10.91.0.7/32"))
    assert kernel.networks() == set(nets("10.90.0.0/24", "10.91.0.0/24"))
    routes.replace("old", ())
    assert kernel.networks() == set(nets("10.91.0.0/24"))


def test_who_inherits_the_device_knows_the_old_ones_too(kernel, routes):
    routes.replace("call", nets("10.90.0.7/32"))
    routes.prepare_standing(nets("10.91.0.0/24")).commit()
    heir = KernelRoutes(dict.fromkeys([*nets("10.91.0.0/24"), *routes.standing]), kernel.add, kernel.remove)
    heir.add_standing(inherited=True)
    heir.replace("call", nets("10.90.0.7/32"))
    heir.settled()
    heir.prepare_standing(nets("10.90.0.0/24")).commit()
    assert kernel.networks() == set(nets("10.90.0.0/24"))


def test_a_route_that_nobody_needs_goes_at_once(kernel, routes):
    routes.prepare_standing(nets("10.91.0.0/24")).commit()
    assert kernel.networks() == set(nets("10.91.0.0/24"))


def test_what_was_prepared_is_undone(kernel, routes):
    routes.prepare_standing(nets("10.91.0.0/24", "10.92.0.0/24")).undo()
    assert kernel.networks() == set(nets("10.90.0.0/24"))


def test_a_refused_route_changes_nothing(kernel, routes):
    kernel.refused = IPv4Network("10.92.0.0/24")
    with pytest.raises(OSError, match="exists"):
        routes.prepare_standing(nets("10.91.0.0/24", "10.92.0.0/24"))
    assert kernel.networks() == set(nets("10.90.0.0/24"))


def test_each_of_several_tuns_has_its_own(kernel):
    def at(metric, operation):
        return lambda network: operation(network, metric)

    routes = KernelRoutes(
        nets("10.90.0.0/24"),
        kernel.add,
        kernel.remove,
        add_standing=at(2, kernel.add),
        remove_standing=at(2, kernel.remove),
        every=True,
    )
    routes.add_standing()
    (own,) = nets("10.90.0.7/32")
    routes.replace("old", [own])
    routes.prepare_standing(nets("10.91.0.0/24")).commit()
    assert kernel.routes == [(own, 0), (IPv4Network("10.91.0.0/24"), 2)]  # the call has its own route anyway
    routes.replace("old", ())
    assert kernel.networks() == set(nets("10.91.0.0/24"))


STANDING = [nets("10.0.0.0/29"), nets("10.0.0.0/30"), nets("10.0.0.4/32"), nets("10.0.0.8/29"), nets("10.0.0.0/28"), []]


class RoutesMachine(RuleBasedStateMachine):
    """Whatever comes first: every call is reached, and there is no route without a reason."""

    def __init__(self):
        super().__init__()
        self.kernel = Kernel()
        self.standing = STANDING[0]
        self.routes = KernelRoutes(self.standing, self.kernel.add, self.kernel.remove)
        self.routes.add_standing()
        self.needs = {}

    @rule(standing=st.sampled_from(STANDING), agreed=st.booleans())
    def reload(self, standing, agreed):
        change = self.routes.prepare_standing(standing)
        if agreed:
            change.commit()
            self.standing = standing
        else:
            change.undo()

    @rule(user=st.integers(0, 3), last=st.integers(1, 14))
    def call(self, user, last):
        self.needs[user] = [IPv4Network(f"10.0.0.{last}/32")]
        self.routes.replace(user, self.needs[user])

    @rule(user=st.integers(0, 3))
    def end(self, user):
        self.needs.pop(user, None)
        self.routes.replace(user, ())

    @invariant()
    def routes_are_those_that_are_needed(self):
        needed = [network for networks in self.needs.values() for network in networks]
        assert all(map(self.kernel.leads, needed))
        assert set(self.standing) <= self.kernel.networks()
        for route in self.kernel.networks() - set(self.standing):
            assert any(network.subnet_of(route) for network in needed)


TestRoutes = RoutesMachine.TestCase
