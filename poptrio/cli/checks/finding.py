"""`Finding`: one line of ``poptrio check``."""

from dataclasses import dataclass
from enum import Enum


class Level(Enum):
    """How bad a finding is: a fault keeps the server or its calls from working, a warning may."""

    OK = "ok"
    WARNING = "warning"
    FAULT = "fault"


@dataclass(frozen=True, slots=True)
class Finding:
    """What was looked at, what was found there, and what to do about it (empty when there is nothing to do)."""

    level: Level
    subject: str
    sentence: str
    remedy: str = ""

    @classmethod
    def ok(cls, subject: str, sentence: str) -> "Finding":
        return cls(Level.OK, subject, sentence)

    @classmethod
    def warning(cls, subject: str, sentence: str, remedy: str) -> "Finding":
        return cls(Level.WARNING, subject, sentence, remedy)

    @classmethod
    def fault(cls, subject: str, sentence: str, remedy: str) -> "Finding":
        return cls(Level.FAULT, subject, sentence, remedy)
