"""A reload renews certificate, token and addresses of the API, or none of them; who is connected stays."""

import ssl
from contextlib import asynccontextmanager

import httpx
import pytest
import trio
from structlog.testing import capture_logs
from tcp_door import TOKEN, free_port, make_certificate

from poptrio.api import ConfigError, ConfigFault, hookimpl
from poptrio.config import Config
from poptrio.config.effects import Effect
from poptrio.management.credentials import read_tls, read_token, renew

NEW_TOKEN = "another token, as long as the first"


@asynccontextmanager
async def tls_stream(port):
    """A connection, whatever certificate is shown."""
    anybody = ssl.create_default_context()
    anybody.check_hostname, anybody.verify_mode = False, ssl.CERT_NONE
    async with await trio.open_tcp_stream("127.0.0.1", port) as tcp:
        stream = trio.SSLStream(tcp, anybody, server_hostname="localhost")
        await stream.do_handshake()
        yield stream


async def shown_at(port):
    """The certificate that a new connection sees."""
    async with tls_stream(port) as stream:
        return ssl.DER_cert_to_PEM_cert(stream.getpeercert(binary_form=True))


async def until(stream, words):
    """Read until ``words`` come."""
    octets = b""
    with trio.fail_after(5):
        while words not in octets:
            octets += await stream.receive_some()


async def is_answered(port):
    """Whether somebody listens there."""
    try:
        async with await trio.open_tcp_stream("127.0.0.1", port):
            return True
    except OSError:
        return False


@asynccontextmanager
async def client_of(port, tmp_path):
    trust = ssl.create_default_context(cafile=tmp_path / "certificate.pem")
    async with httpx.AsyncClient(verify=trust, base_url=f"https://localhost:{port}", trust_env=False) as client:
        yield client


async def status(client, token):
    return (await client.get("/v1/stats", headers={"authorization": f"Bearer {token}"})).status_code


async def reload(server, management, tmp_path):
    text = f'[management]\nsocket = "{server.socket}"\n{management}'
    return await server.memory.server.reloader.reload(lambda: Config.parse(text, folder=tmp_path))


def settings(changes):
    return {change.setting: change.effect for change in changes}


async def test_files_are_read_again_and_open_connections_stay(api, tls, tmp_path):
    old = (tmp_path / "certificate.pem").read_text()
    async with (
        api(management=tls) as server,
        client_of(server.port, tmp_path) as client,
        tls_stream(server.port) as events,
    ):
        request = f"GET /v1/events HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {TOKEN}\r\n\r\n"
        await events.send_all(request.encode())
        await until(events, b"events follow")
        assert (await status(client, TOKEN), await shown_at(server.port)) == (200, old)
        make_certificate(tmp_path, days=9)
        (tmp_path / "token").write_text(NEW_TOKEN)
        with capture_logs() as logs:
            report = await reload(server, tls, tmp_path)
        assert NEW_TOKEN not in str(logs)
        certificate, token = report.changes
        assert settings(report.changes) == dict.fromkeys(
            ("management.certificate", "management.token_file"), Effect.AT_ONCE
        )
        assert certificate.old.startswith('"certificate.pem" (valid until ')
        assert certificate.old != certificate.new
        assert token.old == token.new == '"(hidden)"'
        assert await shown_at(server.port) == (tmp_path / "certificate.pem").read_text() != old
        # The client trusts the old certificate only: this is the connection that was open before.
        assert (await status(client, NEW_TOKEN), await status(client, TOKEN)) == (200, 401)
        await server.memory.dial()
        await until(events, b"call-up")
        assert (await reload(server, tls, tmp_path)).changes == ()


async def test_addresses_come_and_go(api, tls, tmp_path):
    other = free_port()
    async with api() as server:
        report = await reload(server, tls, tmp_path)
        assert settings(report.changes) == {"management.listen": Effect.AT_ONCE}
        port = int(tls.rpartition(":")[2].rstrip('"]'))
        async with client_of(port, tmp_path) as client:
            assert await status(client, TOKEN) == 200
            await reload(server, f'listen = ["127.0.0.1:{other}"]', tmp_path)
            assert await status(client, TOKEN) == 200  # over the connection that is open
            assert not await is_answered(port)
            assert await shown_at(other)
            await reload(server, "", tmp_path)
            assert not await is_answered(other)
        assert await server.get("/v1/stats")


@pytest.mark.parametrize(
    ("spoil", "key"),
    [
        (lambda folder: (folder / "token").write_text("short"), "management.token_file"),
        (lambda folder: (folder / "key.pem").write_text("no key"), "management.certificate"),
        (lambda folder: (folder / "certificate.pem").unlink(), "management.certificate"),
    ],
)
async def test_one_fault_refuses_all(api, tls, tmp_path, spoil, key):
    port, pem = free_port(), (tmp_path / "certificate.pem").read_text()
    async with api(management=tls) as server, client_of(server.port, tmp_path) as client:
        spoil(tmp_path)
        report = await reload(server, f'listen = ["127.0.0.1:{port}"]\n[server]\nmax_calls = 3', tmp_path)
        assert [fault.place for fault in report.faults] == [key]
        assert server.memory.server.config.server.max_calls != 3
        assert not await is_answered(port)
        assert (await status(client, TOKEN), await shown_at(server.port)) == (200, pem)


class Refusing:
    """Agrees to no reload, and accepts nobody."""

    @hookimpl
    async def poptrio_authenticate(self, request):
        return None

    @hookimpl
    def poptrio_reload(self, config):
        raise ConfigError(ConfigFault("plugins.refusing", "no"))


async def test_a_plugin_that_refuses_keeps_everything_as_it_is(api, tls, tmp_path):
    port, pem = free_port(), (tmp_path / "certificate.pem").read_text()
    async with api(plugins={"refusing": Refusing()}, management=tls) as server, client_of(server.port, tmp_path) as who:
        make_certificate(tmp_path)
        (tmp_path / "token").write_text("short")
        report = await reload(server, f'{tls[:-1]}, "127.0.0.1:{port}"]', tmp_path)
        assert [fault.place for fault in report.faults] == ["plugins.refusing", "management.token_file"]
        (tmp_path / "token").write_text(NEW_TOKEN)
        report = await reload(server, f'{tls[:-1]}, "127.0.0.1:{port}"]', tmp_path)
        assert [fault.place for fault in report.faults] == ["plugins.refusing"]
        assert not await is_answered(port)
        assert (await status(who, TOKEN), await shown_at(server.port)) == (200, pem)


async def test_an_address_in_the_way_is_named(api, tls, tmp_path):
    async with api(management=tls) as server:
        report = await reload(server, f'listen = ["0.0.0.0:{server.port}"]', tmp_path)
        assert [fault.place for fault in report.faults] == ["management.listen"]
        assert f"127.0.0.1:{server.port} of this server may be in the way" in report.faults[0].message


async def test_the_unix_socket_needs_a_restart(api, tmp_path):
    async with api() as server:
        text = '[management]\nsocket = "other.sock"\ngroup = "root"'
        report = await server.memory.server.reloader.reload(lambda: Config.parse(text, folder=tmp_path))
        assert [change.setting for change in report.needs_restart] == ["management.socket", "management.group"]
        assert server.memory.server.config.management.socket == str(server.socket)


class TestAfterPrivilegesAreDropped:
    """What root could read at the start, the user that the server has become may not."""

    @pytest.fixture
    def config(self, tls, tmp_path):
        return Config.parse(f'[server]\nuser = "nobody"\n[management]\n{tls}', folder=tmp_path)

    @staticmethod
    def unreadable(config):
        raise ConfigError(ConfigFault("management", "no")) from PermissionError(13, "Permission denied")

    def test_an_unchanged_file_is_no_matter(self, config):
        held = read_tls(config)
        renewal = renew(held, self.unreadable, config)
        assert (renewal.held, renewal.changes, renewal.restart) == (held, (), frozenset())

    def test_another_file_needs_a_restart(self, config, tmp_path):
        held = read_tls(config)
        (tmp_path / "certificate.pem").write_text("a longer or shorter one")
        renewal = renew(held, self.unreadable, config)
        assert renewal.held is held
        assert settings(renewal.changes) == {"management.certificate": Effect.RESTART}
        assert renewal.changes[0].new == '"certificate.pem" (another one, and the user nobody cannot read it)'

    def test_what_cannot_even_be_looked_at_is_told(self, config, tmp_path):
        held = read_token(config)
        (tmp_path / "token").unlink()
        assert settings(renew(held, self.unreadable, config).changes) == {"management.token_file": Effect.RESTART}

    def test_another_name_needs_a_restart(self, config, tmp_path):
        held = read_token(config)
        new = Config.parse('[server]\nuser = "nobody"\n[management]\ntoken_file = "other"', folder=tmp_path)
        assert renew(held, self.unreadable, new).restart == {("management", "token_file")}

    def test_without_another_user_it_is_a_fault(self, tls, tmp_path):
        config = Config.parse(f"[management]\n{tls}", folder=tmp_path)
        with pytest.raises(ConfigError):
            renew(read_token(config), self.unreadable, config)
        with pytest.raises(ConfigError):
            renew(None, self.unreadable, config)
