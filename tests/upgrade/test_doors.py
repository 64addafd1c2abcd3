"""The sockets of the management API in a new program whose configuration names others."""

import socket
from contextlib import ExitStack

import pytest

from poptrio.config import Config
from poptrio.management.doors import open_doors
from poptrio.upgrade.take_over import TakeOver


def config(folder, name):
    return Config.parse(f'[management]\nsocket = "{name}"', folder=folder)


@pytest.fixture
def program(tmp_path):
    """A new program that has inherited the socket old.sock, and the end of its predecessor, which keeps its own."""
    with ExitStack() as stack:
        (door,) = stack.enter_context(open_doors(config(tmp_path, "old.sock"))).open
        _, its = (stack.enter_context(end) for end in socket.socketpair())
        heir = TakeOver(its.detach())
        stack.callback(heir._channel.close)
        heir.doors = {door.name: stack.enter_context(door.listener.dup())}
        yield heir


def doors_of(heir, config, stack):
    doors = stack.enter_context(open_doors(config, heir.doors, lambda: True))
    heir.wants(doors.sockets())
    return doors.open


def answers(path):
    with socket.socket(socket.AF_UNIX) as client:
        return client.connect_ex(str(path)) == 0


def test_a_socket_of_another_name_takes_the_place_of_the_old_one(program, tmp_path):
    with ExitStack() as stack:
        (door,) = doors_of(program, config(tmp_path, "new.sock"), stack)
        (old,) = program.doors.values()
        assert old.fileno() == -1
        assert answers(tmp_path / "old.sock")  # until everything is ours
        program._remove_old_files()
        assert not (tmp_path / "old.sock").exists()
        assert answers(tmp_path / "new.sock")
        assert door.listener.fileno() != -1


def test_a_socket_whose_file_somebody_has_removed_is_made_anew(program, tmp_path):
    (tmp_path / "old.sock").unlink()
    with ExitStack() as stack:
        doors_of(program, config(tmp_path, "old.sock"), stack)
        (old,) = program.doors.values()
        assert old.fileno() == -1
        program._remove_old_files()
        assert answers(tmp_path / "old.sock")


def test_the_same_socket_stays(program, tmp_path):
    with ExitStack() as stack:
        (door,) = doors_of(program, config(tmp_path, "old.sock"), stack)
        assert door.listener is program.doors[door.name]
        program._remove_old_files()
        assert answers(tmp_path / "old.sock")
