"""Sockets that a service manager passes: found by name or kind, once, and hidden from children."""

import os
import socket

import pytest

from poptrio.runtime.activation import PassedSockets


@pytest.fixture
def passed():
    """Three descriptors in a row, as a service manager passes them: a TCP listener, a Unix one, a file."""
    first = 200
    tcp, unix = socket.create_server(("127.0.0.1", 0)), socket.socket(socket.AF_UNIX)
    with tcp, unix, open(os.devnull) as file:
        for number, one in enumerate((tcp, unix, file)):
            os.dup2(one.fileno(), first + number)
    environment = {
        "LISTEN_PID": str(os.getpid()),
        "LISTEN_FDS": "3",
        "LISTEN_FDNAMES": "pptp:management:a-file",
        "HOME": "/",
    }
    yield first, environment
    for number in range(3):
        try:
            os.close(first + number)
        except OSError:
            continue  # it was a socket, which has an owner


def test_sockets_are_found_by_name_and_by_kind_once(passed):
    first, environment = passed
    sockets = PassedSockets.of(environment, first=first)
    assert environment == {"HOME": "/"}
    assert not os.get_inheritable(first)
    assert sockets.strangers("management") == []
    assert sockets.strangers() == ["management"]
    (unix,) = sockets.take("management")
    (tcp,) = sockets.take_tcp()
    with unix, tcp:
        assert (unix.family, tcp.fileno()) == (socket.AF_UNIX, first)
    assert sockets.take("management") == sockets.take_tcp() == []


def test_what_was_meant_for_another_process_is_left_alone(passed):
    first, environment = passed
    environment["LISTEN_PID"] = "1"
    assert PassedSockets.of(environment, first=first).take_tcp() == []
    assert "LISTEN_FDS" not in environment
    os.fstat(first)


@pytest.mark.parametrize("count", ["", "many", "-1"])
def test_a_count_that_is_none_passes_nothing(count):
    environment = {"LISTEN_PID": str(os.getpid()), "LISTEN_FDS": count}
    assert PassedSockets.of(environment).take_tcp() == []


def test_a_socket_without_a_name_is_unknown(passed):
    first, environment = passed
    environment["LISTEN_FDNAMES"] = "pptp"
    sockets = PassedSockets.of(environment, first=first)
    assert sockets.strangers("management") == ["unknown"]
    for one in (*sockets.take("unknown"), *sockets.take_tcp()):
        one.close()
