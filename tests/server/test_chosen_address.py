"""Where the client may choose its address: it gets the one that it asks for, if that is free and one for clients."""

from dataclasses import replace
from ipaddress import IPv4Address

import pytest

from poptrio.api import Accept, hookimpl, verify
from poptrio.protocols.ppp.ipcp import IpAddressOption, Ipcp
from poptrio.testing.server import memory_server


class Free:
    """Lets everybody choose who knows the password."""

    @hookimpl
    async def poptrio_authenticate(self, request):
        answer = verify(request, "correct horse")
        return replace(answer, client_chooses_address=True) if isinstance(answer, Accept) else answer


@pytest.fixture
def wishing(monkeypatch):
    def wish(address):
        def as_client(settings):
            option = IpAddressOption(IPv4Address(address), None)
            option._fixed = False  # it asks, and takes what it is told
            return Ipcp(option, [], settings)

        monkeypatch.setattr(Ipcp, "as_client", as_client)

    return wish


@pytest.mark.parametrize(
    ("wish", "address"),
    [
        ("10.90.3.4", "10.90.3.4"),
        ("0.0.0.0", "10.90.0.2"),
        ("192.168.1.1", "10.90.0.2"),
        ("8.8.8.8", "10.90.0.2"),
        ("10.90.0.1", "10.90.0.2"),
        ("255.255.255.255", "10.90.0.2"),
    ],
)
async def test_a_wish_among_the_addresses_for_clients_is_granted(wish, address, wishing, autojump_clock):
    wishing(wish)
    async with memory_server("", [Free()]) as memory:
        call = await memory.dial()
        assert str(call.address) == address


async def test_an_address_that_another_user_has_is_not_given_twice(wishing, autojump_clock):
    wishing("10.90.3.4")
    async with memory_server("", [Free()]) as memory:
        first, second = await memory.dial("alice"), await memory.dial("bob")
        assert str(first.address) == "10.90.3.4"
        assert second.address not in (None, first.address)
