"""Starting a server with real sockets: what goes wrong leaves nothing open, and says why."""

import socket
from contextlib import asynccontextmanager
from functools import partial

import pytest
import trio
from tcp_door import free_port

from poptrio.api import hookimpl
from poptrio.config import Config
from poptrio.datapath.base import Preparation
from poptrio.errors import ConfigError
from poptrio.runtime.exception_groups import leaves
from poptrio.server import datapaths
from poptrio.server import serve as module
from poptrio.server.serve import listening, serve, serve_until_signalled
from poptrio.testing.server import OneUser, load


def config_for(*ports, interface="poptrio0"):
    listen = ", ".join(f'"127.0.0.1:{port}"' for port in ports)
    return Config.parse(f'[server]\nlisten = [{listen}]\ninterface = "{interface}"')


async def test_all_busy_ports_are_named_and_the_others_let_go():
    port = free_port()
    with socket.socket() as busy, socket.socket() as busy_too:
        for taken in (busy, busy_too):
            taken.bind(("127.0.0.1", 0))
            taken.listen()
        config = config_for(port, *(taken.getsockname()[1] for taken in (busy, busy_too)))
        with pytest.raises(ConfigError) as caught:
            async with listening(config):
                pass
    assert len(caught.value.faults) == 2
    assert "cannot be listened on: Address already in use" in str(caught.value)
    async with listening(config_for(port)):
        pass


class Watched(OneUser):
    """A plugin that knows whether it is alive."""

    def __init__(self):
        super().__init__()
        self.log = []

    @hookimpl
    @asynccontextmanager
    async def poptrio_lifespan(self):
        self.log.append("entered")
        try:
            yield
        finally:
            self.log.append("left")


async def test_a_data_path_that_cannot_start_closes_the_rest():
    port, plugin = free_port(), Watched()
    config = config_for(port, interface="lo")  # no TUN, whoever asks
    with pytest.raises((OSError, ExceptionGroup)) as caught:
        await serve(config, hooks=load([plugin]))
    assert all(isinstance(error, OSError) for error in leaves(caught.value))
    assert plugin.log == ["entered", "left"]
    async with listening(config_for(port)):
        pass


async def test_a_busy_port_is_found_before_the_data_path_is_touched(monkeypatch):
    monkeypatch.setattr(datapaths.UserspaceDataPath, "run", None)  # would raise TypeError
    with socket.socket() as busy:
        busy.bind(("127.0.0.1", 0))
        busy.listen()
        with pytest.raises((ConfigError, ExceptionGroup)) as caught:
            await serve(config_for(busy.getsockname()[1]), hooks=load([]))
    (error,) = leaves(caught.value)
    assert isinstance(error, ConfigError)


class Signals:
    """Signals as a test sends them."""

    def __init__(self, *numbers):
        self.numbers = numbers

    def __call__(self, *wanted):
        assert set(self.numbers) <= set(wanted)
        return self

    def __enter__(self):
        return self._deliver()

    def __exit__(self, *error):
        pass

    async def _deliver(self):
        for number in self.numbers:
            await trio.testing.wait_all_tasks_blocked()
            yield number
        await trio.sleep_forever()


class NeverStarts:
    @hookimpl
    @asynccontextmanager
    async def poptrio_lifespan(self):
        await trio.sleep_forever()
        yield


async def test_one_signal_is_enough_during_the_start(monkeypatch, autojump_clock):
    monkeypatch.setattr(module, "load_hooks", lambda config: load([NeverStarts()]))
    monkeypatch.setattr(trio, "open_signal_receiver", Signals(module.signal.SIGHUP, module.signal.SIGTERM))
    with trio.fail_after(5):
        await serve_until_signalled(config_for(free_port()))


class QuietDataPath:
    """A data path without sockets."""

    def __init__(self, settings):
        self._running = trio.CancelScope()

    async def run(self, task_status=trio.TASK_STATUS_IGNORED):
        with self._running:
            task_status.started()
            await trio.sleep_forever()

    def close(self):
        self._running.cancel()

    def prepare(self, settings):
        return Preparation(lambda: None, lambda: None)


class NeverEnds(Watched):
    @hookimpl
    def poptrio_reload(self):
        self.log.append("reload")

    @hookimpl
    @asynccontextmanager
    async def poptrio_lifespan(self):
        try:
            yield
        finally:
            self.log.append("ending")
            await trio.sleep_forever()


async def test_reload_stop_and_a_second_stop_that_waits_for_no_plugin(monkeypatch, autojump_clock):
    plugin = NeverEnds()
    monkeypatch.setattr(module, "load_hooks", lambda config: load([plugin]))
    monkeypatch.setattr(datapaths, "UserspaceDataPath", QuietDataPath)
    numbers = (module.signal.SIGHUP, module.signal.SIGTERM, module.signal.SIGTERM)
    monkeypatch.setattr(trio, "open_signal_receiver", Signals(*numbers))
    monkeypatch.setattr(module.garbage, "settle", lambda: plugin.log.append("settled"))
    with trio.fail_after(5):
        await serve_until_signalled(config_for(free_port()))
    assert plugin.log == ["settled", "reload", "ending"]


@pytest.mark.parametrize("number", [module.signal.SIGHUP, module.signal.SIGUSR2, module.signal.SIGTERM])
async def test_what_comes_during_the_start_is_obeyed_after_it(number, monkeypatch, autojump_clock):
    plugin = Watched()
    monkeypatch.setattr(module, "load_hooks", lambda config: load([plugin]))
    monkeypatch.setattr(datapaths, "UserspaceDataPath", QuietDataPath)
    monkeypatch.setattr(trio, "open_signal_receiver", Signals(number))
    monkeypatch.setattr(module, "_reload", lambda server: done("reload"))

    async def done(what):
        plugin.log.append(what)

    async def slow(config, *, hooks, task_status):
        await trio.sleep(1)  # the signal has come
        await serve(config, hooks=hooks, task_status=task_status)

    with trio.move_on_after(5) as scope:
        upgrade = partial(done, "upgrade")
        await serve_until_signalled(
            config_for(free_port()), slow, upgrade=lambda server: upgrade(), has_calls=lambda: True
        )
    done_first = {module.signal.SIGHUP: ["reload"], module.signal.SIGUSR2: ["upgrade"], module.signal.SIGTERM: []}
    assert plugin.log == ["entered", *done_first[number], "left"]
    assert scope.cancelled_caught == (number != module.signal.SIGTERM)


async def test_a_stop_ends_serve_without_calls(monkeypatch, autojump_clock):
    plugin = Watched()
    monkeypatch.setattr(datapaths, "UserspaceDataPath", QuietDataPath)
    async with trio.open_nursery() as nursery:
        server = await nursery.start(partial(serve, config_for(free_port()), hooks=load([plugin])))
        server.stop()
    assert plugin.log == ["entered", "left"]
