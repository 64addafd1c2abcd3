"""What the commands say when the server cannot be asked: one line, exit code 1, and what to do."""

import os
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from typer.testing import CliRunner

from poptrio.cli import app


def why_not(path: Path) -> str:
    """What ``poptrio sessions`` says of the socket ``path``."""
    result = CliRunner().invoke(app, ["sessions", "--json", "--socket", str(path)])
    assert (result.exit_code, result.stdout) == (1, ""), (result.stdout, result.exception)
    (line,) = result.stderr.splitlines()
    return line


@contextmanager
def answering(path: Path, answer: Callable[[socket.socket], None]) -> Iterator[None]:
    """Something listens at ``path``, reads a request of each connection, and does what ``answer`` does."""

    def serve() -> None:
        with suppress(OSError):
            while True:
                connection, _ = listener.accept()
                with connection:
                    if connection.recv(65536):  # nothing comes on the one that only looks whether we are there
                        answer(connection)

    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()
        thread = threading.Thread(target=serve)
        thread.start()
        yield
        listener.shutdown(socket.SHUT_RDWR)
        thread.join()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "poptrio.sock"


def test_no_socket(path: Path):
    assert why_not(path) == (
        f"{path}: there is no such socket: no server runs, or [management] socket names another path; "
        "--socket says which"
    )
    path.touch()
    assert "there is no such socket" in why_not(path / "below")


def test_no_server_any_more(path: Path):
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(str(path))
    assert why_not(path) == f"{path}: nobody listens: the server was killed; start it again"


@pytest.mark.parametrize("kind", ["file", "folder"])
def test_no_socket_but_a_file(path: Path, kind: str):
    path.touch() if kind == "file" else path.mkdir()
    assert why_not(path) == f"{path} is no socket of a server; --socket names it ([management] socket)"


def test_too_long_a_path(path: Path):
    for name in ("x" * 120, "x" * 4000, "x/" * 100):
        assert "AF_UNIX path too long; --socket names the server's" in why_not(path / name)


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to become somebody else")
@pytest.mark.parametrize("place", ["socket", "folder"])
def test_no_right(path: Path, place: str):
    with answering(path, lambda connection: None):
        for folder in path.parents[:-1]:
            if str(folder).startswith("/tmp/"):
                folder.chmod(0o755)
        path.chmod(0o777 if place == "folder" else 0o660)
        path.parent.chmod(0o700 if place == "folder" else 0o755)
        code = (
            "import os, sys; from poptrio.cli import main; import poptrio.management.client; "
            f"os.setgid(65534); os.setuid(65534); sys.argv = ['poptrio', 'sessions', '--socket', {str(path)!r}]; main()"
        )
        result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=30)
    assert result.returncode == 1, result.stderr
    assert result.stderr == (
        f"{path} may not be opened by this user: be root, or a member of the group in [management] group\n"
    )


@pytest.mark.parametrize(
    "answer",
    [
        b"220 mail.example ESMTP\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello",
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n[]",
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}",
        b'HTTP/1.1 200 OK\r\nContent-Length: 11\r\n\r\n{"x": "\xff\xfe"}',
        b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 5\r\n\r\nhello",
        b"HTTP/1.1 302 Found\r\nLocation: /elsewhere\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 404 Not Found\r\nContent-Length: 9\r\n\r\nnot found",
        b'HTTP/1.1 500 Oh\r\nContent-Length: 13\r\n\r\n{"error": {}}',
    ],
)
def test_no_poptrio(path: Path, answer: bytes):
    with answering(path, lambda connection: connection.sendall(answer)):
        assert why_not(path).startswith(f"{path}: what listens there does not answer as poptrio does; --socket names")


@pytest.mark.parametrize("answer", [b"", b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{"])
def test_a_server_that_goes_while_it_answers(path: Path, answer: bytes):
    with answering(path, lambda connection: connection.sendall(answer)):
        assert why_not(path) == (
            f"{path}: the server went away while it answered: it was stopped or killed; its log says which"
        )


def test_a_server_that_does_not_answer(path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("poptrio.management.client.TIMEOUT", 0.1)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen(5)
        assert why_not(path) == f"{path}: the server does not answer in time; its log may say why"


def test_a_server_that_lets_nobody_in(path: Path):
    with socket.socket(socket.AF_UNIX) as listener, socket.socket(socket.AF_UNIX) as first:
        listener.bind(str(path))
        listener.listen(0)
        first.connect(str(path))
        assert why_not(path) == (f"{path}: the server lets nobody in: it hangs, or too many ask; its log may say why")


@pytest.mark.parametrize(
    "words",
    [["sessions", "--user", "b\udcffb"], ["kick", "--call", "1", "--reason", "b\udcff"], ["pools", "--pool", "\udcff"]],
)
def test_what_is_no_utf_8_cannot_be_asked_for(path: Path, words: list[str]):
    with answering(path, lambda connection: None):
        result = CliRunner().invoke(app, [*words, "--socket", str(path)])
    assert (result.exit_code, result.stdout) == (1, ""), result.exception
    assert result.stderr.endswith("cannot be asked for: it is not UTF-8\n")
    assert "Traceback" not in result.stderr


def test_an_error_of_the_server_is_escaped(path: Path):
    body = b'{"error": "no \\u001b[2J", "remedy": "look at it"}'
    head = b"HTTP/1.1 409 No\r\nContent-Length: %d\r\n\r\n" % len(body)
    with answering(path, lambda connection: connection.sendall(head + body)):
        assert why_not(path) == "no \\x1b[2J: look at it"
