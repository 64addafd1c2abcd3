"""What an endpoint of the API is: a row of method, path and handler, whose annotations say what is asked and answered.

A handler is ``async def handler(asked: Asked, ask: Model) -> Model``. The fields of ``Model`` are the parameters in the
path and the query, for methods with a body its JSON object. Its docstring is the description of the endpoint.
"""

from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal, get_type_hints

from pydantic import BaseModel, ConfigDict, model_validator

from poptrio.management.rates import Rates
from poptrio.observe.metrics import Exposer
from poptrio.server.operated import Operated
from poptrio.upgrade.hand_over import Upgrade


class Ask(BaseModel):
    """What is asked of an endpoint; nothing unknown is accepted."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


class Answer(BaseModel):
    """What an endpoint answers. Octets of a client's name that are no UTF-8 are escaped in it, as in the log."""

    model_config = ConfigDict(frozen=True, use_attribute_docstrings=True)

    @model_validator(mode="before")
    @classmethod
    def _of_unicode(cls, values: Any) -> Any:
        return {name: _as_unicode(value) for name, value in values.items()} if isinstance(values, dict) else values


def _as_unicode(value: Any) -> Any:
    """``value``, where it is text without the surrogates that stand for such octets: JSON cannot have them."""
    match value:
        case str():
            return value if value.isascii() else value.encode("utf-8", "backslashreplace").decode()
        case tuple():
            return tuple(map(_as_unicode, value))
        case dict():
            return {_as_unicode(name): _as_unicode(each) for name, each in value.items()}
        case _:
            return value


class Nothing(Ask):
    """There is nothing to ask for."""


class ApiError(Exception):
    """The answer is this HTTP ``status`` with a ``sentence`` and, where something can be done, a ``remedy``."""

    def __init__(self, status: int, sentence: str, remedy: str = "") -> None:
        super().__init__(sentence)
        self.status = status
        self.sentence = sentence
        self.remedy = remedy


@dataclass(frozen=True, slots=True)
class Manager:
    """What all requests have in common: the server that is operated, the rates of its calls, its metrics' text, and
    how to upgrade it."""

    server: Operated
    rates: Rates
    upgrade: Upgrade | None = None
    exposer: Exposer = field(default_factory=Exposer)


@dataclass(frozen=True, slots=True)
class Asked:
    """One request: ``manager`` can answer it, ``by`` says for the log who asks, ``accept`` is its Accept header."""

    manager: Manager
    by: str
    accept: str = ""

    @property
    def server(self) -> Operated:
        """The server that is operated."""
        return self.manager.server


@dataclass(frozen=True, slots=True)
class Text:
    """An answer that is not JSON: ``media_type`` and the whole of it."""

    media_type: str
    content: bytes


@dataclass(frozen=True, slots=True)
class Stream:
    """An answer that goes on: ``chunks`` as they come, until the client has enough."""

    media_type: str
    chunks: AsyncIterator[bytes]


Method = Literal["GET", "POST", "PUT", "DELETE"]
Handler = Callable[[Asked, Any], Awaitable[Answer | Text | Stream]]


@dataclass(frozen=True)
class Endpoint:
    """One row of the API. ``media_type`` is that of its good answer."""

    method: Method
    path: str
    handler: Handler
    media_type: str = "application/json"

    @cached_property
    def _types(self) -> dict[str, Any]:
        return get_type_hints(self.handler)

    @property
    def name(self) -> str:
        """What it is called in the description."""
        return self.handler.__name__

    @property
    def description(self) -> str:
        """What it does."""
        return (self.handler.__doc__ or "").strip()

    @property
    def ask(self) -> type[Ask]:
        """The model of what is asked."""
        kind: type[Ask] = next(kind for name, kind in self._types.items() if name not in ("asked", "return"))
        return kind

    @property
    def answer(self) -> type[Answer] | None:
        """The model of the answer; None where it is not JSON."""
        kind = self._types["return"]
        return kind if isinstance(kind, type) and issubclass(kind, Answer) else None

    @property
    def has_body(self) -> bool:
        """Whether what is asked stands in the body."""
        return self.method != "GET"
