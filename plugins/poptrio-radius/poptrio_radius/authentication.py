"""Authentication: one request of a client to one Access-Request, one reply to one decision.

Only a reply that the pool has verified comes here. Whatever in it cannot be used refuses the call, with a sentence.
"""

from dataclasses import replace

import trio

from poptrio.api import (
    Accept,
    AuthRequest,
    CallInfo,
    Challenge,
    EapRequest,
    MsChapV1Request,
    MsChapV2ChangePasswordRequest,
    MsChapV2Request,
    PapRequest,
    Reject,
    Unavailable,
)
from poptrio_radius.attributes import Attributes
from poptrio_radius.authorization import authorize
from poptrio_radius.challenges import ChallengeMemory, Conversation
from poptrio_radius.config import RadiusConfig
from poptrio_radius.credentials import credentials, user_name
from poptrio_radius.mschap_answers import MsChapError, mppe_keys, parse_error, parse_success
from poptrio_radius.packets import Code, Request
from poptrio_radius.server_pool import NoReply, Reply, ServerPool
from poptrio_radius.session_attributes import call_attributes

MARGIN = 0.1
"""Of the time for an answer: what is left for us, so that we, and not the server, say that nobody answered."""

PASSWORD_EXPIRED = 648
"""``ERROR_PASSWD_EXPIRED`` (RFC 2759 §6)."""

Answer = Accept | Reject | Challenge | Unavailable


class Authentication:
    """Asks ``pool``, within ``answer_timeout`` seconds for each question; ``memory`` are challenges of before."""

    def __init__(
        self, config: RadiusConfig, pool: ServerPool, answer_timeout: float, memory: ChallengeMemory | None = None
    ) -> None:
        self._config = config
        self._pool = pool
        self._time = answer_timeout * (1 - MARGIN)
        self.memory = memory or ChallengeMemory(config.challenge_memory, trio.current_time)

    async def decide(self, call: CallInfo, request: AuthRequest) -> Answer:
        """Ask a server who the caller is and what it may."""
        deadline = trio.current_time() + self._time
        name = user_name(request, as_sent=self._config.user_name == "as-sent")
        conversation = self._conversation(call, request, name)
        try:
            question = self._question(call, request, name, conversation)
            reply = await self._pool.ask(question, deadline, only=conversation.server if conversation else None)
        except NoReply as error:
            return Unavailable(f"no RADIUS server answered: {error}", ask_next=self._config.unavailable == "next")
        except ValueError as error:
            return Reject(reason=f"cannot be asked by RADIUS: {error}")
        return self._answer(call, request, name, reply)

    def _conversation(self, call: CallInfo, request: AuthRequest, name: str) -> Conversation | None:
        if isinstance(request.context, Conversation):
            self.memory.take(name, call.peer)  # the client did not hang up after all
            return request.context
        return self.memory.take(name, call.peer) if isinstance(request, PapRequest) else None

    def _question(self, call: CallInfo, request: AuthRequest, name: str, conversation: Conversation | None) -> Request:
        """The Access-Request. Raises ValueError when something does not fit."""
        attributes = Attributes()
        attributes.add("User-Name", name)
        attributes.extend(credentials(request))
        attributes.extend(call_attributes(call, self._config))
        if conversation is not None:
            attributes.add("State", conversation.state)
        return Request(Code.ACCESS_REQUEST, attributes)

    def _answer(self, call: CallInfo, request: AuthRequest, name: str, reply: Reply) -> Answer:
        try:
            match reply.packet.code:
                case Code.ACCESS_ACCEPT:
                    return _accept(request, name, reply, self._config)
                case Code.ACCESS_CHALLENGE:
                    return self._challenge(call, request, name, reply)
                case _:
                    return _reject(request, reply.packet.attributes)
        except ValueError as error:
            return Reject(reason=f"{reply.server.name} sent what cannot be used: {error}")

    def _challenge(self, call: CallInfo, request: AuthRequest, name: str, reply: Reply) -> Challenge | Reject:
        attributes = reply.packet.attributes
        conversation = Conversation(attributes.joined("State"), reply.server)
        eap = attributes.joined("EAP-Message")
        if isinstance(request, EapRequest) and eap:
            return Challenge(eap=eap, context=conversation)
        if isinstance(request, PapRequest):
            self.memory.remember(name, call.peer, conversation)
            return Challenge(message=_message(attributes), context=conversation)
        return Reject(reason=f"{reply.server.name} asks for more, which {request.protocol} has no way to say")


def _accept(request: AuthRequest, name: str, reply: Reply, config: RadiusConfig) -> Accept:
    """The decision of an Access-Accept. Raises ValueError when something in it cannot be used."""
    attributes = reply.packet.attributes
    user = attributes.text("User-Name") or name
    names = dict.fromkeys((name, request.username, request.name))
    accept = Accept(
        user=user,
        aliases=tuple(other for other in names if other != user),
        message=_message(attributes),
        eap=attributes.joined("EAP-Message"),
    )
    if isinstance(request, MsChapV2Request | MsChapV2ChangePasswordRequest):
        proof, message = parse_success(attributes.joined("MS-CHAP2-Success"))
        accept = replace(accept, authenticator_response=proof, message=message or accept.message)
    challenge = request.challenge if isinstance(request, MsChapV1Request) else b""
    keys = mppe_keys(attributes, reply.server.secret, reply.request_authenticator, challenge)
    accept = authorize(replace(accept, mppe_keys=keys), attributes, config)
    if accept.reauthenticate and "State" in attributes:  # RFC 2865 §5.24
        accept = replace(accept, context=Conversation(attributes.joined("State"), None))
    return accept


def _reject(request: AuthRequest, attributes: Attributes) -> Reject:
    """The decision of an Access-Reject."""
    said = MsChapError()
    if errors := attributes.octets("MS-CHAP-Error"):
        said = parse_error(errors[0])
    message = _message(attributes)
    code = f", E={said.code}" if errors else ""
    return Reject(
        reason=f"the RADIUS server refused{code}" + (f": {message or said.message}" if message or said.message else ""),
        code=said.code,
        message=said.message or message,
        retry=said.retry or (said.code == PASSWORD_EXPIRED and isinstance(request, MsChapV2Request)),
        challenge=said.challenge if len(said.challenge) == _challenge_size(request) else b"",
        eap=attributes.joined("EAP-Message"),
    )


def _challenge_size(request: AuthRequest) -> int:
    return 8 if isinstance(request, MsChapV1Request) else 16


def _message(attributes: Attributes) -> str:
    """What the user shall read (RFC 2865 §5.18)."""
    return "\n".join(attributes.texts("Reply-Message"))
