"""A helper as a process: ntlm_auth, asked through its standard input and output."""

import os
import subprocess

import structlog
import trio

from poptrio_ntlm_auth.helpers import HelperDied
from poptrio_ntlm_auth.line_protocol import LONGEST_ANSWER, BadAnswer, ends

LONGEST_COMPLAINT = 512
"""Octets of a line on standard error that are logged."""

log = structlog.get_logger("poptrio.ntlm-auth")


class HelperProcess:
    """A running helper; `start_helper` makes one."""

    def __init__(self, process: trio.Process) -> None:
        assert process.stdin is not None
        assert process.stdout is not None
        self._process = process
        self._stdin, self._stdout = process.stdin, process.stdout

    async def ask(self, question: bytes) -> bytes:
        """See `Helper`."""
        answer = bytearray()
        try:
            await self._stdin.send_all(question)
            while not ends(answer):
                received = await self._stdout.receive_some()
                if not received:
                    raise HelperDied("ntlm_auth ended without an answer")
                answer += received
                if len(answer) > LONGEST_ANSWER:
                    raise BadAnswer("the helper's answer has no end")
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            raise HelperDied("ntlm_auth has ended") from None
        return bytes(answer)

    def kill(self) -> None:
        """See `Helper`; whoever looks after the process reaps it."""
        self._process.kill()


async def start_helper(arguments: list[str], nursery: trio.Nursery) -> HelperProcess:
    """Run ``arguments``; a task in ``nursery`` looks after the process. Raises `HelperDied` if it cannot be run."""
    try:
        process = await trio.lowlevel.open_process(
            arguments,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=os.environ | {"LC_ALL": "C"},  # its sentences are what tells one error from another
        )
    except OSError as error:
        raise HelperDied(f"cannot run {arguments[0]}: {error.strerror}") from None
    nursery.start_soon(_look_after, process)
    return HelperProcess(process)


async def _look_after(process: trio.Process) -> None:
    """Log what it complains of until it ends, then reap it. Cancelled, end it."""
    try:
        await _log_complaints(process)
    finally:
        process.kill()
        with trio.CancelScope(shield=True, deadline=trio.current_time() + 5):
            await process.wait()
            for stream in (process.stdin, process.stdout, process.stderr):
                if stream is not None:
                    await stream.aclose()


async def _log_complaints(process: trio.Process) -> None:
    assert process.stderr is not None
    async for octets in process.stderr:
        for line in octets[:LONGEST_COMPLAINT].splitlines():
            log.warning("ntlm_auth complains", line=line.decode("utf-8", "replace"))
