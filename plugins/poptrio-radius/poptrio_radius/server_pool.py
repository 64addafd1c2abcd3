"""`ServerPool`: one request, asked of one server after the other, until a verified reply comes or time is over."""

import random
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Literal

import trio

from poptrio_radius.channels import Answer, Transmission
from poptrio_radius.packets import Packet, Request
from poptrio_radius.server import Patience, Server

NO_ANSWER = "no answer"

Order = Literal["listed", "weighted"]


class NoReply(Exception):
    """No server answered; the text is a sentence for the log."""


@dataclass(frozen=True, slots=True)
class Reply:
    """A verified reply of ``server``; values in it are hidden with ``request_authenticator``."""

    packet: Packet
    server: Server
    request_authenticator: bytes = field(repr=False)


class ServerPool:
    """The servers for one purpose, in the order of the configuration."""

    def __init__(self, servers: Sequence[Server], patience: Patience, order: Order, rng: random.Random) -> None:
        self.servers = tuple(servers)
        self._patience = patience
        self._order = order
        self._rng = rng

    async def ask(self, request: Request, deadline: float, only: Server | None = None) -> Reply:
        """The answer to ``request``, before ``deadline`` on trio's clock.

        Each server that is asked has its share of the time that is left, so that the last one gets its chance. Answers
        of servers that were asked before are still welcome. With ``only`` no other is asked: nobody else knows what a
        State means. Raises `NoReply`, or ValueError when the request does not fit into a packet.
        """
        answer = Answer()
        asked: dict[Transmission, Server] = {}
        reasons: list[str] = []
        candidates = self._candidates() if only is None else [only]
        with ExitStack() as transmissions:
            for place, server in enumerate(candidates):
                now = trio.current_time()
                if now >= deadline:
                    break
                until = now + (deadline - now) / (len(candidates) - place)
                reason = await self._ask_one(server, request, until, answer, asked, transmissions)
                if answer.packet is not None and answer.transmission is not None:
                    sender = asked[answer.transmission]
                    return Reply(answer.packet, sender, answer.transmission.raw[4:20])
                reasons.append(f"{server.name}: {reason}")
        raise NoReply("; ".join(reasons) or "there was no time to ask anybody")

    async def _ask_one(
        self,
        server: Server,
        request: Request,
        until: float,
        answer: Answer,
        asked: dict[Transmission, Server],
        transmissions: ExitStack,
    ) -> str:
        """Ask one server, and say what is wrong with it if it does not answer before ``until``."""
        began = trio.current_time()
        reason = NO_ANSWER
        server.trying(begins=True)
        try:
            with trio.move_on_at(until):
                transmission = await server.channels.begin(request, answer)
                transmissions.callback(transmission.close)
                asked[transmission] = server
                await self._send_until_answered(transmission, answer)
        except OSError as error:
            reason = error.strerror or str(error)
        finally:
            server.trying(begins=False)
        waited = trio.current_time() - began
        if answer.packet is None and (reason != NO_ANSWER or waited >= self._patience.timeout):
            server.silent(began, reason)
        return reason

    async def _send_until_answered(self, transmission: Transmission, answer: Answer) -> None:
        tries = 1 if transmission.reliable else self._patience.tries
        seconds = self._patience.timeout * self._patience.tries / tries
        for _ in range(tries):
            await transmission.send()
            with trio.move_on_after(seconds):
                await answer.wait(transmission)
            if answer.packet is not None:
                return
            if transmission.broken:
                raise ConnectionResetError("the connection was lost")

    def _candidates(self) -> list[Server]:
        """Who is asked, in order; when all are dead, all of them: a caller is not refused unasked."""
        now = trio.current_time()
        servers = [server for server in self.servers if server.takes_a_request(now)] or list(self.servers)
        if self._order == "weighted":
            first = self._rng.choices(servers, [server.weight for server in servers])[0]
            servers.sort(key=lambda server: server is not first)
        if len(servers) > 1 and servers[0].recovering(now):
            servers.append(servers.pop(0))
        return servers
