"""What clients of the API may do wrong, on purpose or not, through the real socket: it costs nobody else anything."""

import json
import socket
from contextlib import asynccontextmanager

import httpx
import pytest
import trio
from structlog.testing import capture_logs
from trio.testing import MockClock

from poptrio.management import http_server
from poptrio.management.app import BODY_TIMEOUT
from poptrio.management.connection import KEEP_ALIVE, WRITE_TIMEOUT, Connection
from poptrio.management.endpoint import Asked, Endpoint, Nothing, Stream
from poptrio.management.http_server import MOST_CONNECTIONS
from poptrio.testing.server import CLIENT_ADDRESS

GET = b"GET /v1/stats HTTP/1.1\r\nHost: localhost\r\n\r\n"
POST = b"POST /v1/kick HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"


@pytest.fixture
def mock_clock():
    """Virtual time that leaves the kernel a moment to move what was written to a socket."""
    return MockClock(autojump_threshold=0.02)


@pytest.fixture
def log_lines():
    """What is logged."""
    with capture_logs() as lines:
        yield lines


def connections(task=None):
    """How many connections the server has open."""
    task = task or trio.lowlevel.current_root_task()
    below = [child for nursery in task.child_nurseries for child in nursery.child_tasks]
    return task.name.endswith("_Entrance._serve") + sum(map(connections, below))


@asynccontextmanager
async def connected(server):
    stream = await trio.open_unix_socket(str(server.socket))
    async with stream:
        yield stream


async def whole(stream, *, within=2.0):
    """All that comes until the other end closes, which it must do in time."""
    answer = bytearray()
    with trio.fail_after(within):
        try:
            async for some in stream:
                answer += some
        except trio.BrokenResourceError:  # closed before it has read all
            pass
    return bytes(answer)


async def answered(stream, *, within=2.0):
    """One answer: its status, headers, and body."""
    buffer = bytearray()
    with trio.fail_after(within):
        while b"\r\n\r\n" not in buffer:
            some = await stream.receive_some()
            assert some, f"closed after {bytes(buffer)!r}"
            buffer += some
        head, _, rest = bytes(buffer).partition(b"\r\n\r\n")
        first, *lines = head.decode().split("\r\n")
        headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
        body = bytearray(rest)
        while len(body) < int(headers.get("content-length", 0)):
            body += await stream.receive_some()
    return int(first.split()[1]), headers, bytes(body)


async def until(condition, *, within=1.0):
    """Waits for ``condition``."""
    with trio.fail_after(within):
        while not condition():  # noqa: ASYNC110
            await trio.sleep(within / 100)


async def serves_others(server):
    """Somebody else is answered."""
    with trio.fail_after(1):
        assert (await server.get("/v1/stats"))["calls_total"] == 0


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (b"\0\1\2\3\r\n\r\n", 400),
        (b"GET\r\n\r\n", 400),
        (b"GET / HTTP/9.9\r\nHost: localhost\r\n\r\n", 505),
        (b"\x16\x03\x01\x02\0\x01\0\x01\xfc\x03\x03" + bytes(40) + b"\r\n\r\n", 400),
        (b"GET /v1/stats HTTP/1.1\r\n\r\n", 400),  # without a Host
        (b"GET /v1/stats HTTP/1.1\r\nHost: localhost\r\nHost: evil\r\n\r\n", 400),
        (b"GET /v1/stats HTTP/1.1\r\nHost : localhost\r\n\r\n", 400),
        (b"GET /v1/stats HTTP/1.1\r\nHost: localhost\r\nX: a\0b\r\n\r\n", 400),
        (b"GET /\xff HTTP/1.1\r\nHost: localhost\r\n\r\n", 400),
        (b"GET /%ff%00 HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n", 404),
        (b"GET http://evil/v1/stats HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n", 404),
        (b"GET /v1/stats/ HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n", 404),
        (b"GET /../../etc/passwd HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n", 404),
        (b"GET /page.js/../guard.py HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n", 404),
        (b"GET /v1/stats HTTP/1.1\r\nHost: localhost\r\nX: " + b"x" * 100_000, 431),
        (POST + b"Content-Length: -1\r\n\r\n", 400),
        (POST + b"Content-Length: 2, 3\r\n\r\n{}", 400),
        (POST + b"Content-Length: 2\r\nContent-Length: 3\r\n\r\n{}", 400),
        (POST + b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", 501),
        (POST + b"Transfer-Encoding: chunked\r\n\r\nnonsense\r\n", 400),
        (POST + b"Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET / HTTP/1.1\r\n\r\n", 400),
    ],
)
async def test_a_malformed_request_is_refused_and_the_connection_closed(api, request_, status):
    async with api() as server, connected(server) as stream:
        await stream.send_all(request_)
        answer = await whole(stream)
        assert answer.startswith(f"HTTP/1.1 {status} ".encode()), answer
        assert answer.count(b"HTTP/1.1 ") == 1
        await serves_others(server)


@pytest.mark.parametrize("size", [1, 10_000, 65_000])
async def test_what_is_no_http_at_all_gets_no_traceback(api, size, log_lines):
    async with api() as server, connected(server) as stream:
        await stream.send_all(bytes(range(1, 256)) * (size // 255 + 1) + b"\r\n\r\n")
        assert (await whole(stream)).startswith(b"HTTP/1.1 4")
        await serves_others(server)
    assert not [line for line in log_lines if line["event"] == "internal error"]


@pytest.mark.parametrize(
    ("body", "status", "says"),
    [
        (b"{", 400, "not JSON"),
        (b"[" * 60_000, 400, "not JSON"),
        (b'{"call": ' + b"9" * 60_000 + b"}", 400, "not JSON"),
        (b"\xff\xfe{}", 400, "not JSON"),
        (b"[1]", 422, "must be a JSON object"),
        (b'{"user": 1}', 422, "user"),
        (b'{"user": "a", "\\ud800": 1}', 422, "unicode"),
        (b'{"user": "a", "reason": "\\ud800"}', 422, "reason"),
        (b'{"user": "a", "' + b"k" * 60_000 + b'": 1}', 422, "kkk"),
        (b'{"call": 99999}', 422, "call"),
        (b'{"call": 1e400}', 422, "call"),
        (b'{"all": true, "reason": "' + b"r" * 501 + b'"}', 422, "reason"),
    ],
)
async def test_a_bad_body_is_refused_with_a_sentence(api, body, status, says):
    async with api() as server:
        answer = await server.client.post("/v1/kick", content=body, headers={"content-type": "application/json"})
        assert answer.status_code == status, answer.text
        assert says in answer.json()["error"]
        assert len(answer.content) < 4000
        assert server.memory.server.stats.internal_errors == 0


@pytest.mark.parametrize("head", [b"Content-Length: 10485760\r\n\r\n", b"Transfer-Encoding: chunked\r\n\r\n"])
@pytest.mark.parametrize(
    ("start", "status"), [(POST, 413), (POST.replace(b"kick", b"none"), 404), (POST.replace(b"local", b"evil"), 403)]
)
async def test_a_body_of_10_mb_is_not_read(api, head, start, status):
    async with api() as server, connected(server) as stream:
        sent = 0
        piece = b"10000\r\n" + b" " * 65536 + b"\r\n" if b"chunked" in head else b" " * 65536

        async def send():
            nonlocal sent
            try:
                await stream.send_all(start + head)
                for _ in range(160):
                    await stream.send_all(piece)
                    sent += len(piece)
            except trio.BrokenResourceError:  # as it should be
                pass

        async with trio.open_nursery() as nursery:
            nursery.start_soon(send)
            answer = await whole(stream)
        assert answer.startswith(f"HTTP/1.1 {status} ".encode()), answer
        assert b"\r\nconnection: close\r\n" in answer.lower()
        assert sent < 4 * 1024 * 1024
        await serves_others(server)


async def test_pipelined_requests_are_answered_in_their_order(api):
    async with api() as server, connected(server) as stream:
        await stream.send_all(GET + GET.replace(b"stats", b"sessions") + GET.replace(b"/v1/stats", b"/none"))
        assert json.loads((await answered(stream))[2])["calls_total"] == 0
        assert json.loads((await answered(stream))[2])["sessions"] == []
        assert (await answered(stream))[0] == 404


async def test_upgrades_are_not_done(api):
    """Neither HTTP/2, with its own ways to be misused, nor WebSocket."""
    async with api() as server:
        upgrade = GET[:-2] + b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\n\r\n"
        async with connected(server) as stream:
            await stream.send_all(upgrade)
            assert (await answered(stream))[0] == 200
        async with connected(server) as stream:
            await stream.send_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes(9))
            assert (await whole(stream)).startswith(b"HTTP/1.1 505 ")
        socket = b"Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: "
        async with connected(server) as stream:
            await stream.send_all(GET[:-2] + socket + b"dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n")
            assert (await answered(stream))[0] == 200


@pytest.mark.parametrize("path", ["/", "/v1/stats", "/v1/events", "/openapi.json"])
async def test_head_is_the_head_of_get_and_ends(api, path):
    async with api() as server, connected(server) as stream:
        await stream.send_all(f"HEAD {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode() + GET)
        with trio.fail_after(2):
            head = b""
            while b'"calls_total"' not in head:
                head += await stream.receive_some()
        assert head.count(b"HTTP/1.1 200 ") == 2
        _, _, second = head.partition(b"\r\n\r\n")
        assert second.startswith(b"HTTP/1.1 200 "), "HEAD has no body"
        assert not server.memory.authority.journal.heard


@pytest.mark.parametrize("path", ["/", "/v1/stats", "/v1/kick"])
async def test_options_allow_nothing_to_other_origins(api, path):
    async with api() as server:
        headers = {"origin": "http://localhost", "access-control-request-method": "POST"}
        answer = await server.client.options(path, headers=headers)
        assert answer.status_code == 405
        assert answer.headers["allow"] in ("GET, HEAD", "HEAD, GET", "POST")
        assert not [name for name in answer.headers if name.startswith("access-control")]


async def test_who_hears_events_and_goes_is_forgotten_at_once(api):
    async with api() as server:
        journal = server.memory.authority.journal
        async with connected(server) as stream:
            await stream.send_all(GET.replace(b"stats", b"events"))
            assert (await answered(stream))[0] == 200
            await until(lambda: journal.heard)
        await until(lambda: not journal.heard)


async def test_who_hears_events_and_has_asked_for_more_is_forgotten_too(api, mock_clock):
    """Its second request waits, so that nobody sees that it is gone until the next write."""
    async with api() as server:
        journal = server.memory.authority.journal
        async with connected(server) as stream:
            await stream.send_all(GET.replace(b"stats", b"events") + GET)
            assert (await answered(stream))[0] == 200
            await until(lambda: journal.heard)
        await until(lambda: not journal.heard and not connections(), within=60)


async def test_who_does_not_read_events_costs_nobody_anything_and_is_dropped(api, mock_clock):
    async with api() as server:
        journal = server.memory.authority.journal
        async with connected(server) as stream:
            await stream.send_all(GET.replace(b"stats", b"events"))
            await until(lambda: journal.heard)
            for number in range(5000):
                journal.refused(CLIENT_ADDRESS, f"number {number}: {'why ' * 100}")
            await serves_others(server)
            await until(lambda: not journal.heard and connections() == 1, within=WRITE_TIMEOUT + 5)


async def test_who_does_not_read_holds_up_no_stop(api):
    with trio.fail_after(WRITE_TIMEOUT / 2):
        async with api() as server:
            stream = await trio.open_unix_socket(str(server.socket))
            for number in range(1000):
                server.memory.authority.journal.refused(CLIENT_ADDRESS, f"number {number}: {'why ' * 100}")
            await stream.send_all(b"GET /v1/failures?limit=1000 HTTP/1.1\r\nHost: localhost\r\n\r\n" * 20)
            await serves_others(server)
            stopping = trio.current_time()
        assert trio.current_time() - stopping < 1
        await stream.aclose()


async def test_a_body_that_never_comes_is_waited_for_only_so_long(api, mock_clock):
    async with api() as server, connected(server) as stream:
        await stream.send_all(POST + b"Content-Length: 10\r\n\r\n{")
        status, headers, _ = await answered(stream, within=BODY_TIMEOUT + 1)
        assert (status, headers["connection"]) == (408, "close")
        assert await whole(stream) == b""


@pytest.mark.parametrize("said", [b"", b"GET / HTTP/1.1\r\nHo", GET])
async def test_an_idle_connection_is_closed(api, mock_clock, said):
    async with api() as server, connected(server) as stream:
        await stream.send_all(said)
        before = trio.current_time()
        await whole(stream, within=KEEP_ALIVE + 1)
        assert trio.current_time() - before == pytest.approx(KEEP_ALIVE, abs=1)


async def test_idle_connections_make_room_for_whoever_asks(api, monkeypatch):
    monkeypatch.setattr(http_server, "MOST_CONNECTIONS", 5)
    async with api() as server:
        journal = server.memory.authority.journal
        async with connected(server) as listening:
            await listening.send_all(GET.replace(b"stats", b"events"))
            assert (await answered(listening))[0] == 200
            idle = [await trio.open_unix_socket(str(server.socket)) for _ in range(20)]
            await serves_others(server)
            assert journal.heard, "who is being answered stays"
            assert connections() <= 5
            assert await whole(idle[0]) == b""
            for stream in idle:
                await stream.aclose()


async def test_a_connection_that_is_ended_while_its_answer_begins_raises_nothing():
    """As one that has to make room does: half an answer is no reason for another one."""

    async def app(scope, receive, send):
        connection.end()
        await send({"type": "http.response.start", "status": 200, "headers": []})

    ours, theirs = socket.socketpair()
    with theirs:
        ours.setblocking(False)
        connection = Connection(app, trio.socket.from_stdlib_socket(ours), None)
        theirs.send(GET)
        with trio.fail_after(2):
            await connection.run()


async def test_many_connections_are_served(api):
    async with api() as server:
        streams = [await trio.open_unix_socket(str(server.socket)) for _ in range(MOST_CONNECTIONS - 1)]
        for stream in streams[:: MOST_CONNECTIONS // 10]:
            await stream.send_all(GET)
            assert (await answered(stream))[0] == 200
        await serves_others(server)
        for stream in streams:
            await stream.aclose()


async def test_a_client_that_resets_leaves_no_line(api, log_lines):
    async with api() as server:
        for said in (b"", b"GET", GET, GET * 3, POST + b"Content-Length: 5\r\n\r\n{"):
            with socket.socket(socket.AF_UNIX) as one:
                one.connect(str(server.socket))
                one.sendall(said)
        await until(lambda: not connections())
        await serves_others(server)
    assert not [line for line in log_lines if line["event"] == "internal error"]


async def failing_stream(asked: Asked, query: Nothing) -> Stream:
    """A stream with a bug in it."""

    async def chunks():
        yield b"the beginning"
        raise RuntimeError("a bug")

    return Stream("text/plain", chunks())


async def test_a_bug_in_the_middle_of_an_answer_is_logged_and_ends_the_connection(api, monkeypatch):
    monkeypatch.setattr("poptrio.management.app.ENDPOINTS", [Endpoint("GET", "/v1/bug", failing_stream, "text/plain")])
    async with api() as server:
        with capture_logs() as logs, pytest.raises(httpx.RemoteProtocolError):
            await server.client.get("/v1/bug")
        assert [(entry["event"], entry["endpoint"]) for entry in logs] == [("internal error", "/v1/bug")]
        assert server.memory.server.stats.internal_errors == 1
