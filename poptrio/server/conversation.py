"""Which plugin talks with a client: the answer to a question of its own goes to it, and to no other."""

from dataclasses import dataclass, field, replace

from poptrio.protocols.ppp.auth_requests import AuthRequest


@dataclass(frozen=True, slots=True)
class Conversation:
    """Which ``plugin`` talks with the client called ``name``, and the ``context`` that it wants to remember.

    Nobody else is asked until the client has proved itself or begins as somebody else. After that it is the plugin that
    accepted it, whatever name the client answers a later challenge with.
    """

    plugin: str = ""
    name: str | None = None
    context: object = field(default=None, repr=False, compare=False)

    def asks(self, request: AuthRequest) -> str:
        """The one plugin that ``request`` is for, empty for all."""
        return self.plugin if self.name in (None, request.name) else ""

    def continued_by(self, request: AuthRequest) -> AuthRequest:
        """``request`` with what its plugin wants to remember, if it is for that plugin."""
        return replace(request, context=self.context) if self.asks(request) else request
