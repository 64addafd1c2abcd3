"""Sockets of a service manager instead of our own: each must be for an address that the configuration names."""

import socket

import pytest
import trio

from poptrio.config import Config
from poptrio.errors import ConfigError
from poptrio.server.serve import listening


def config_for(*ports):
    listen = ", ".join(f'"127.0.0.1:{port}"' for port in ports)
    return Config.parse(f"[server]\nlisten = [{listen}]")


def port_of(listener):
    return listener.getsockname()[1]


async def test_a_passed_socket_is_taken_and_the_other_address_is_bound():
    passed = socket.create_server(("127.0.0.1", 0))
    with socket.create_server(("127.0.0.1", 0)) as probe:
        free = port_of(probe)
    async with listening(config_for(free, port_of(passed)), passed=[passed]) as (bound, taken):
        assert taken.socket.fileno() == passed.fileno()
        assert bound.socket.getsockname()[1] == free
        stream = await trio.open_tcp_stream(*passed.getsockname())
        async with stream, await taken.accept() as accepted:
            assert accepted.socket.getpeername() == stream.socket.getsockname()
    assert passed.fileno() == -1


def made(family, address, *, listens=True):
    passed = socket.socket(family)
    passed.bind((address, 0))
    if listens:
        passed.listen()
    return passed


@pytest.mark.parametrize(
    ("make", "why"),
    [
        (lambda: made(socket.AF_INET, "127.0.0.2"), "is for 127.0.0.2:{port}, which is not in the list (127.0.0.1:9)"),
        (lambda: made(socket.AF_INET6, "::"), "is for [::]:{port}, and PPTP is spoken over IPv4 here; write Listen"),
        (lambda: made(socket.AF_INET, "127.0.0.1", listens=False), "does not listen; write Accept=no"),
    ],
)
async def test_a_socket_that_stands_for_nothing_is_a_fault_and_closed(make, why):
    passed = make()
    why = why.format(port=port_of(passed))
    with pytest.raises(ConfigError) as caught:
        async with listening(config_for(9), passed=[passed]):
            pass
    (fault,) = caught.value.faults
    assert fault.place == "server.listen"
    assert why in fault.message
    assert passed.fileno() == -1


async def test_two_sockets_for_one_address_are_a_fault():
    passed = socket.create_server(("127.0.0.1", 0))
    with pytest.raises(ConfigError, match="as another one is"):
        async with listening(config_for(port_of(passed)), passed=[passed, passed.dup()]):
            pass
