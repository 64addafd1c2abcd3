"""Who is let in at which door: the Unix socket for this machine, TCP with TLS and the token, and no foreign page."""

import errno
import os
import socket
import ssl
import stat
import subprocess
from contextlib import ExitStack, asynccontextmanager

import httpx
import pytest
import trio
from structlog.testing import capture_logs
from tcp_door import TOKEN
from trio.testing import MockClock

from poptrio.config import Config
from poptrio.errors import ConfigError
from poptrio.management.connection import HANDSHAKE_TIMEOUT
from poptrio.management.credentials import Credentials, read_token
from poptrio.management.doors import open_doors
from poptrio.management.guard import Guard
from poptrio.management.sockets import BACKLOG
from poptrio.observe.log_limit import MOST_LINES, LogLimit

PAGE = "http://localhost:8080"


@pytest.fixture
def mock_clock():
    """Virtual time that leaves the kernel a moment to move what was written to a socket."""
    return MockClock(autojump_threshold=0.02)


@asynccontextmanager
async def over_tls(server, tmp_path, token=None):
    trust = ssl.create_default_context(cafile=tmp_path / "certificate.pem")
    headers = {"authorization": token} if token is not None else {}
    url = f"https://localhost:{server.port}"
    async with httpx.AsyncClient(verify=trust, base_url=url, headers=headers, trust_env=False) as client:
        yield client


async def test_the_token_opens_over_tls(api, tls, tmp_path):
    async with api(management=tls) as server, over_tls(server, tmp_path, f"Bearer {TOKEN}") as client:
        assert (await client.get("/v1/stats")).json()["calls_total"] == 0
        with capture_logs() as logs:
            assert (await client.post("/v1/kick", json={"all": True})).json()["ended"] == 0
        assert [line["by"] for line in logs if line["event"] == "calls kicked"] == ["127.0.0.1 with the token"]


@pytest.mark.parametrize(
    ("given", "says"),
    [
        (None, "a token is needed"),
        ("", "a token is needed"),
        ("Bearer", "the token is wrong"),
        (f"Bearer {TOKEN}x", "the token is wrong"),
        (f"Bearer {TOKEN[:-1]}", "the token is wrong"),
        (f"Basic {TOKEN}", "the token is wrong"),
        (b"Bearer \xff\xfe", "the token is wrong"),
    ],
)
async def test_nothing_but_the_page_is_had_without_the_token(api, tls, tmp_path, given, says):
    async with api(management=tls) as server, over_tls(server, tmp_path, given) as client:
        for path in ("/v1/stats", "/v1/sessions/1", "/v1/events", "/openapi.json", "/none", "/page/", "/page/page.jsx"):
            answer = await client.get(path)
            assert answer.status_code == 401
            assert answer.json()["error"] == says
            assert "token_file" in answer.json()["remedy"]
            assert answer.headers["www-authenticate"] == "Bearer"


async def test_nothing_is_done_without_the_token(api, tls, tmp_path):
    async with api(management=tls) as server, over_tls(server, tmp_path) as client:
        for path in ("/v1/kick", "/v1/shutdown", "/"):
            assert (await client.post(path, json={"all": True})).status_code in (401, 405)
        assert not server.memory.server.stopping


async def test_the_page_asks_for_the_token_itself(api, tls, tmp_path):
    async with api(management=tls) as server, over_tls(server, tmp_path) as client:
        assert (await client.get("/")).status_code == 200
        assert (await client.get("/page/page.js")).status_code == 200


async def test_a_wrong_token_is_logged_once_for_each_connection(api, tls, tmp_path):
    async with api(management=tls) as server:
        with capture_logs() as logs:
            async with over_tls(server, tmp_path, "Bearer a wrong one") as client:
                for _ in range(3):
                    await client.get("/v1/stats")
            async with over_tls(server, tmp_path) as client:
                await client.get("/v1/stats")
        assert [line for line in logs if line["log_level"] == "warning"] == [
            {"event": "management token refused", "log_level": "warning", "by": "127.0.0.1"}
        ]


async def test_wrong_tokens_do_not_fill_the_log():
    allowed = LogLimit().allows
    with capture_logs() as logs:
        for _ in range(MOST_LINES + 10):
            guard = Guard(None, Credentials(None, TOKEN.encode()), "192.0.2.1 with the token", allowed)
            headers = [(b"authorization", b"Bearer wrong")]
            scope = {"type": "http", "http_version": "1.1", "method": "GET", "path": "/metrics", "headers": headers}
            await guard(scope, trio.sleep_forever, _nobody_hears)
    assert [line["event"] for line in logs] == ["management token refused"] * MOST_LINES


async def _nobody_hears(message):
    pass


async def test_a_token_may_have_any_octets(api, tls, tmp_path):
    (tmp_path / "token").write_text("wörter, die niemand errät")
    async with api(management=tls) as server, over_tls(server, tmp_path) as client:
        given = {"authorization": b"Bearer " + (tmp_path / "token").read_bytes()}
        assert (await client.get("/v1/stats", headers=given)).status_code == 200


@pytest.mark.parametrize(
    "said", [b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n", bytes(300), b"\x16\x03\x01\xff\xff" * 50]
)
async def test_what_is_no_tls_is_closed_without_an_answer(api, tls, tmp_path, said):
    async with api(management=tls) as server:
        with capture_logs() as logs, trio.fail_after(2):
            stream = await trio.open_tcp_stream("127.0.0.1", server.port)
            async with stream:
                await stream.send_all(said)
                answer = b""
                try:
                    async for some in stream:
                        answer += some
                except trio.BrokenResourceError:
                    pass
        assert b"HTTP" not in answer
        assert logs == []
        async with over_tls(server, tmp_path, f"Bearer {TOKEN}") as client:
            assert (await client.get("/v1/stats")).status_code == 200


async def test_who_says_nothing_to_tls_is_closed(api, tls, mock_clock):
    async with api(management=tls) as server:
        stream = await trio.open_tcp_stream("127.0.0.1", server.port)
        async with stream:
            with trio.fail_after(HANDSHAKE_TIMEOUT + 1):
                assert await stream.receive_some() == b""


async def test_connections_over_tcp_shut_out_nobody_at_the_unix_socket(api, tls):
    async with api(management=tls) as server:
        idle = [await trio.open_tcp_stream("127.0.0.1", server.port) for _ in range(250)]
        with trio.fail_after(2):
            assert (await server.get("/v1/stats"))["calls_total"] == 0
        for stream in idle:
            await stream.aclose()


@pytest.mark.parametrize("host", ["localhost", "localhost:8080", "LOCALHOST", "127.0.0.1:8080", "[::1]:8080", "[::1]"])
async def test_the_unix_socket_is_asked_for_this_machine(api, host):
    async with api() as server:
        assert (await server.client.get("/v1/stats", headers={"host": host})).status_code == 200


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:8080", "localhost.evil.example", "poptrio", "10.0.0.1", "["]
)
async def test_a_name_that_somebody_has_pointed_here_is_refused(api, host):
    """DNS rebinding: a foreign page whose name leads to this machine now."""
    async with api() as server:
        answer = await server.client.get("/v1/stats", headers={"host": host})
        assert (answer.status_code, answer.json()["remedy"]) == (403, "ask for localhost")


FOREIGN = [
    {"sec-fetch-site": "cross-site"},
    {"sec-fetch-site": "same-site"},  # another port of localhost
    {"origin": "https://evil.example"},
    {"origin": "null"},
    {"origin": "http://localhost:3000", "host": "localhost:8080"},
    {"origin": "http://[", "host": "localhost:8080"},
    {"sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate", "sec-fetch-dest": "iframe"},
    {"sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate", "sec-fetch-dest": "document"},
]


@pytest.mark.parametrize("headers", FOREIGN, ids=str)
async def test_a_foreign_page_can_do_nothing(api, headers):
    async with api() as server:
        for path in ("/v1/shutdown", "/v1/kick", "/"):  # a form needs no body, and no permission of ours
            answer = await server.client.post(path, headers=headers)
            assert answer.status_code == 403, path
        for path in ("/v1/sessions", "/v1/events", "/openapi.json", "/page/page.js"):
            assert (await server.client.get(path, headers=headers)).status_code == 403, path
        assert not server.memory.server.stopping


async def test_what_a_form_can_send_is_no_order(api):
    async with api() as server:
        for kind in ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x"):
            answer = await server.client.post("/v1/kick", content=b'{"all": true}', headers={"content-type": kind})
            assert answer.status_code == 415


async def test_a_link_to_the_page_may_stand_anywhere(api):
    async with api() as server:
        headers = {"sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate", "sec-fetch-dest": "document"}
        assert (await server.client.get("/", headers=headers)).status_code == 200


async def test_our_own_page_may_ask(api):
    async with api() as server:
        headers = {"sec-fetch-site": "same-origin", "origin": PAGE, "host": "localhost:8080"}
        answer = await server.client.post("/v1/kick", json={"all": True}, headers=headers)
        assert answer.status_code == 200


@pytest.mark.parametrize("path", ["/", "/v1/stats", "/none", "/openapi.json", "/page/page.css"])
async def test_answers_cannot_be_used_elsewhere(api, path):
    async with api() as server:
        headers = (await server.client.get(path)).headers
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["cross-origin-resource-policy"] == "same-origin"
        assert headers["cache-control"] == ("no-cache" if path in ("/", "/page/page.css") else "no-store")


@pytest.mark.parametrize(
    ("spoil", "key", "says"),
    [
        (lambda folder: (folder / "token").unlink(), "token_file", "cannot be read"),
        (lambda folder: (folder / "token").write_text("short"), "token_file", "shorter than 16"),
        (lambda folder: (folder / "token").chmod(0o644), "token_file", "chmod"),
        (lambda folder: (folder / "certificate.pem").unlink(), "certificate", "cannot be used"),
        (lambda folder: (folder / "key.pem").write_text("no key"), "certificate", "cannot be used"),
        (lambda folder: lock(folder / "key.pem"), "certificate", "passphrase"),
    ],
)
def test_a_door_that_cannot_be_opened_says_why(tls, tmp_path, spoil, key, says):
    spoil(tmp_path)
    config = Config.parse(f'[management]\nsocket = ""\n{tls}', folder=tmp_path)
    with pytest.raises(ConfigError) as refused, open_doors(config):
        pass
    assert f"management.{key}" in str(refused.value)
    assert says in str(refused.value)


def lock(key):
    """Give a key a passphrase."""
    command = ["openssl", "ec", "-in", key, "-out", key.with_suffix(".locked"), "-aes128", "-passout", "pass:secret"]
    subprocess.run(command, check=True, capture_output=True)
    key.with_suffix(".locked").rename(key)


def test_a_server_with_whom_nobody_more_can_connect_is_another_server_all_the_same(tmp_path):
    config = _on(tmp_path)
    with open_doors(config), ExitStack() as stack:
        for _ in range(BACKLOG + 2):  # one more than there is room for
            waiting = stack.enter_context(socket.socket(socket.AF_UNIX))
            waiting.setblocking(False)
            full = waiting.connect_ex(str(tmp_path / "poptrio.sock"))
        assert full == errno.EAGAIN
        with pytest.raises(ConfigError, match="another server listens on it"), open_doors(config):
            pass
        assert (tmp_path / "poptrio.sock").is_socket()


def test_what_was_inherited_and_is_not_named_any_more_is_closed(tls, tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as inherited:
        name = f"127.0.0.1:{inherited.getsockname()[1]}"
        named = Config.parse(f'[management]\nsocket = ""\nlisten = ["{name}"]', folder=tmp_path)
        with open_doors(named, {name: inherited}) as doors:
            assert doors.sockets() == {name: inherited}
    with socket.create_server(("127.0.0.1", 0)) as inherited, open_doors(_on(tmp_path), {"127.0.0.1:1": inherited}):
        assert inherited.fileno() == -1


def test_mode_and_group_are_given_to_the_socket_and_not_to_what_took_its_place(tmp_path, monkeypatch):
    secret = tmp_path / "shadow"
    secret.touch(mode=0o600)
    path = tmp_path / "poptrio.sock"

    class Replaced(socket.socket):
        def bind(self, address):
            super().bind(address)
            path.unlink()
            path.symlink_to(secret)

    monkeypatch.setattr(socket, "socket", Replaced)
    with pytest.raises(ConfigError, match="its group cannot be set"), open_doors(_on(tmp_path)):
        pass
    assert stat.S_IMODE(secret.stat().st_mode) == 0o600


def _on(folder):
    return Config.parse('[management]\nsocket = "poptrio.sock"\n', folder=folder)


def test_a_pipe_in_place_of_the_token_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "token")
    config = Config.parse(
        '[management]\nlisten = ["127.0.0.1:1"]\ntoken_file = "token"\ncertificate = "c"\nkey = "k"', folder=tmp_path
    )
    with pytest.raises(ConfigError, match="token cannot be read: it is no regular file"):
        read_token(config)
