"""``poptrio capture``: what passes in a call, as a file for Wireshark."""

import errno
import os
import stat
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Annotated, BinaryIO

import typer

from poptrio.cli.common import ExitCode
from poptrio.cli.managing import DEFAULT_SOCKET, Socket, asking, fail
from poptrio.cli.selecting import Call, User
from poptrio.observe import pcapng
from poptrio.observe.diagnosis import human_bytes
from poptrio.observe.log import escape

Whom = Annotated[
    str | None, typer.Argument(metavar="CALL-OR-USER", help="A Call ID if it is a number, else the user of a call.")
]
Write = Annotated[Path, typer.Option("--write", "-w", metavar="FILE", help="The file; `-` is standard output.")]
Wait = Annotated[bool, typer.Option("--wait", help="If the user has no call, wait for the next one.")]
Seconds = Annotated[
    float | None,
    typer.Option("--seconds", min=0.1, help="How long, and before that, how long to wait; 60 if nothing is said."),
]
Octets = Annotated[
    int | None,
    typer.Option("--octets", min=10_000, help="How large the file may be, 10,000,000 if nothing is said."),
]


def capture(
    write: Write,
    whom: Whom = None,
    user: User = None,
    call: Call = None,
    wait: Wait = False,
    seconds: Seconds = None,
    octets: Octets = None,
    socket: Socket = DEFAULT_SOCKET,
) -> None:
    """Capture what passes in one call, as pcapng with three interfaces: GRE as on the wire, PPP decrypted, IP inside.

    It ends after its time, with its size, with the call, or by Ctrl-C. The server logs who captures whom. Passwords
    that are sent in clear are masked, but what users do is readable: only you can read the file that is made.
    """
    if [whom, user, call].count(None) != 2:
        raise typer.BadParameter("say whom to capture, once: CALL-OR-USER, --user or --call")
    if whom is not None and whom.isascii() and whom.isdigit():
        call = int(whom)
        if call > 0xFFFF:
            raise typer.BadParameter(f"{whom} is no Call ID, which is at most 65535; for a user say --user {whom}")
    elif whom is not None:
        user = whom
    query = {
        "call": call,
        "user": user,
        "wait": "true" if wait else None,
        "seconds": seconds,
        "octets": octets,
    }
    seen = _Seen()
    with asking(socket) as client, client.stream("/v1/capture", **query) as response, _opened(write) as file:
        typer.echo("capturing; Ctrl-C ends it", err=True)
        try:
            for chunk in response.iter_bytes():
                file.write(chunk)
                file.flush()
                seen.feed(chunk)
        except KeyboardInterrupt:
            seen.why = seen.why or "interrupted"
    typer.echo(escape(seen.sentence()), err=True)
    if not seen.packets:
        raise typer.Exit(ExitCode.FAILED)


class _Seen:
    """What has gone into the file."""

    def __init__(self) -> None:
        self.packets: Counter[int] = Counter()
        self.dropped = 0
        self.octets = 0
        self.why = ""
        self._names: list[str] = []
        self._reader = pcapng.Reader()

    def feed(self, chunk: bytes) -> None:
        """More of it."""
        self.octets += len(chunk)
        try:
            for block in self._reader.feed(chunk):
                match block:
                    case pcapng.Description():
                        self._names.append(block.interface.name)
                    case pcapng.Packet():
                        self.packets[block.interface] += 1
                    case pcapng.Statistics():
                        self.dropped += block.dropped
                        self.why = block.comment.removeprefix("the capture ended: ")
        except ValueError as error:
            fail(str(error))

    def sentence(self) -> str:
        """What has become of the capture."""
        by_name = ", ".join(f"{name} {self.packets[number]}" for number, name in enumerate(self._names))
        lost = f", {self.dropped} dropped" if self.dropped else ""
        why = self.why or "the server broke off"
        return f"captured {self.packets.total()} packets ({by_name}), {human_bytes(self.octets)}{lost}: {why}"


@contextmanager
def _opened(path: Path) -> Iterator[BinaryIO]:
    """The file for a capture, which nobody else may read."""
    if str(path) == "-":
        if sys.stdout.isatty():
            raise typer.BadParameter("standard output is a terminal, which cannot show a capture; name a file")
        yield sys.stdout.buffer
        return
    try:
        descriptor = private_file(path)
    except OSError as error:
        fail(f"{path} cannot be written: {error.strerror}")
    with open(descriptor, "wb") as file:
        yield file


def private_file(path: Path) -> int:
    """A descriptor of the file ``path``, which only its owner can read. Raises OSError.

    An old file is replaced: whoever may read it, or has it open, sees nothing of the new one. Links are followed, so
    that `/dev/stdout` may be a file, and pipes and devices stay as they are.
    """
    with suppress(FileNotFoundError):
        if not stat.S_ISREG(path.lstat().st_mode):
            return _emptied(path)
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name[:100]}.")
    try:
        os.replace(name, path)
    except OSError:
        os.close(descriptor)
        os.unlink(name)
        raise
    return descriptor


def _emptied(path: Path) -> int:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        status = os.fstat(descriptor)
        if stat.S_ISREG(status.st_mode):
            if status.st_uid != os.geteuid():
                raise PermissionError(errno.EPERM, "it belongs to somebody else, who could read it; name another file")
            os.fchmod(descriptor, 0o600)
            os.ftruncate(descriptor, 0)
    except OSError:
        os.close(descriptor)
        raise
    return descriptor
