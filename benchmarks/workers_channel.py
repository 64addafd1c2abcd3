"""What one question of a worker to its parent costs: `python benchmarks/workers_channel.py [--json]`.

The question is that of a log-in, the answer an acceptance with keys; nobody is asked in between. A question alone wakes
both processes; several at once share that.
"""

import argparse
import functools
import json
import os
import resource
import socket
from dataclasses import asdict, dataclass
from time import perf_counter, process_time

import trio

from poptrio.crypto.mppe_keys import MppeKeys
from poptrio.decisions import Accept
from poptrio.protocols.ppp.auth_requests import MsChapV2Request
from poptrio.server.authentication import Answer
from poptrio.workers.channel import Channel, Question
from poptrio.workers.messages import LoggedIn, LogIn

AT_ONCE = (1, 10, 50)

REQUEST = MsChapV2Request(
    name="user1", username="user1", identifier=1, challenge=bytes(16), peer_challenge=bytes(16), nt_response=bytes(24)
)
QUESTION = LogIn(1, "0123456789abcdef", REQUEST, "", again=False)
ACCEPT = Accept(user="user1", mppe_keys=MppeKeys(bytes(16), bytes(16)), authenticator_response="S=" + "0" * 40)
ANSWER = LoggedIn(Answer(ACCEPT, "chap-secrets", None))


@dataclass(frozen=True, slots=True)
class Row:
    """Questions at once, and µs for each: of CPU where it is asked and where it is answered, and until it is."""

    at_once: int
    asking: float
    answering: float
    elapsed: float


def main() -> None:
    """Measure with few and many questions at once; print a table or JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--questions", type=int, default=5_000, help="questions per measurement")
    parser.add_argument("--json", action="store_true", help="print the numbers as JSON")
    arguments = parser.parse_args()
    rows = [measure(at_once, arguments.questions) for at_once in AT_ONCE]
    if arguments.json:
        print(json.dumps([asdict(row) for row in rows], indent=2))
        return
    print(f"{'at once':>8}{'asking µs':>12}{'answering µs':>14}{'elapsed µs':>12}")
    for row in rows:
        print(f"{row.at_once:>8}{row.asking:>12.1f}{row.answering:>14.1f}{row.elapsed:>12.1f}")


def measure(at_once: int, questions: int) -> Row:
    """Ask another process."""
    ours, theirs = socket.socketpair()
    before = _cpu_of_children()
    child = os.fork()
    if child == 0:
        ours.close()
        trio.run(_answer, theirs)
        os._exit(0)
    theirs.close()
    begun, cpu = perf_counter(), process_time()
    trio.run(functools.partial(_ask, ours, at_once, questions))
    elapsed, cpu = perf_counter() - begun, process_time() - cpu
    os.waitpid(child, 0)
    answering = _cpu_of_children() - before
    return Row(at_once, cpu / questions * 1e6, answering / questions * 1e6, elapsed / questions * 1e6)


def _cpu_of_children() -> float:
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


async def _ask(end: socket.socket, at_once: int, questions: int) -> None:
    async def ask() -> None:
        for _ in range(questions // at_once):
            await channel.ask(QUESTION)

    stream = _stream(end)
    channel = Channel(stream, _ignore, _ignore)
    async with stream, trio.open_nursery() as nursery:
        nursery.start_soon(channel.run)
        async with trio.open_nursery() as asking:
            for _ in range(at_once):
                asking.start_soon(ask)
        channel.finish()


async def _answer(end: socket.socket) -> None:
    def answer(question: Question) -> None:
        question.answer(ANSWER)

    await Channel(_stream(end), _ignore, answer).run()


def _stream(end: socket.socket) -> trio.SocketStream:
    return trio.SocketStream(trio.socket.from_stdlib_socket(end))


def _ignore(message: object) -> None:
    pass


if __name__ == "__main__":
    main()
