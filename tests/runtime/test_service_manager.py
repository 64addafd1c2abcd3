"""What a service manager hears: datagrams of sd_notify, to path and abstract sockets, and signs of life of the loop."""

import os
import socket
from functools import partial

import pytest
import trio

from poptrio.runtime import service_manager
from poptrio.runtime.service_manager import keep_informed, notify, watchdog_interval


@pytest.fixture(params=["path", "abstract"])
def manager(request, tmp_path, monkeypatch):
    """A socket as a service manager's, which NOTIFY_SOCKET names."""
    name = f"{tmp_path}/notify"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(name if request.param == "path" else f"\0{name}")
        listener.setblocking(False)
        monkeypatch.setenv("NOTIFY_SOCKET", name if request.param == "path" else f"@{name}")
        yield listener


def heard(listener):
    news = []
    while True:
        try:
            news.append(listener.recv(4096).decode().splitlines())
        except BlockingIOError:
            return news


def test_every_moment_of_a_server_is_told(manager):
    service_manager.ready()
    service_manager.reloading()
    service_manager.main_process_is(4711)
    service_manager.stopping()
    ready, (reloading, monotonic), successor, stopping = heard(manager)
    assert ready == ["READY=1", f"MAINPID={os.getpid()}"]
    assert reloading == "RELOADING=1"
    assert int(monotonic.removeprefix("MONOTONIC_USEC=")) > 0
    assert successor == ["MAINPID=4711"]
    assert stopping[0] == "STOPPING=1"


@pytest.mark.parametrize("address", ["", "relative", "vsock:2:1"])
def test_without_a_service_manager_nothing_is_sent(address):
    assert not notify("READY=1", environment={"NOTIFY_SOCKET": address})
    assert not notify("READY=1", environment={})


def test_a_service_manager_that_is_gone_stops_nobody(tmp_path):
    assert not notify("READY=1", environment={"NOTIFY_SOCKET": f"{tmp_path}/nobody"})


def test_a_full_queue_is_not_waited_for(manager):
    while notify("STATUS=" + "x" * 1000):
        pass
    assert len(heard(manager)) >= 1


@pytest.mark.parametrize(
    ("environment", "seconds"),
    [
        ({"WATCHDOG_USEC": "30000000"}, 30.0),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": str(os.getpid())}, 30.0),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "1"}, None),
        ({"WATCHDOG_USEC": "0"}, None),
        ({"WATCHDOG_USEC": "soon"}, None),
        ({}, None),
    ],
)
def test_who_is_watched_and_how_closely(environment, seconds):
    assert watchdog_interval(environment) == seconds


def test_a_successor_is_watched_too():
    ours = {"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "1", "HOME": "/"}
    theirs = service_manager.environment_of_successor(ours)
    assert (watchdog_interval(theirs), theirs["HOME"]) == (30.0, "/")


async def test_signs_of_life_come_twice_as_often_as_wanted_and_the_status_when_it_changes(
    manager, monkeypatch, autojump_clock
):
    monkeypatch.setenv("WATCHDOG_USEC", "4000000")
    calls = [0]
    async with trio.open_nursery() as nursery:
        nursery.start_soon(keep_informed, lambda: f"{calls[0]} calls")
        await trio.sleep(3)
        calls[0] = 2
        await trio.sleep(2)
        nursery.cancel_scope.cancel()
    assert heard(manager) == [["WATCHDOG=1", "STATUS=0 calls"], ["WATCHDOG=1"], ["WATCHDOG=1", "STATUS=2 calls"]]


async def test_without_a_watchdog_only_changes_are_told(manager, autojump_clock):
    with trio.move_on_after(100):
        await keep_informed(partial(str, "no calls"))
    assert heard(manager) == [["STATUS=no calls"]]


async def test_nobody_listens_and_the_task_ends(autojump_clock, monkeypatch):
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    await keep_informed(lambda: "")
