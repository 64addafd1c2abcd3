"""Logs: structlog to standard error, as readable lines or as JSON, safe against what peers put into their names.

A client chooses its user name, host name and vendor; none of them may forge a line, a field or a terminal command. So
every value that is not printable is escaped here, once, for all log calls. Values under a secret's name are hidden.
"""

import logging
import re
import sys
from collections.abc import Mapping
from typing import Literal

import structlog
from structlog.dev import Column, ConsoleRenderer, KeyValueColumnFormatter
from structlog.typing import EventDict, Processor, WrappedLogger

Level = Literal["debug", "info", "warning", "error"]
Format = Literal["console", "json"]

HIDDEN = "(hidden)"
LONGEST_VALUE = 2000
"""Characters of one value; what a peer chose may be far longer, and says no more."""

_SECRET_NAMES = frozenset({"password", "passwords", "secret", "secrets", "key", "keys"})


def configure(level: Level, format: Format) -> None:
    """Log from ``level`` upwards to standard error in ``format``; takes the place of any earlier configuration.

    What libraries log through Python's own logging (Trio reports failing accepts there) takes the same way, from
    "warning" upwards.
    """
    threshold = logging.getLevelNamesMapping()[level.upper()]
    renderer = _renderer(format)
    structlog.configure(
        processors=[structlog.contextvars.merge_contextvars, *_common_processors(), renderer],
        wrapper_class=structlog.make_filtering_bound_logger(threshold),
        logger_factory=structlog.PrintLoggerFactory(file=sys.stderr),
    )
    handler = logging.StreamHandler(sys.stderr)
    strip = structlog.stdlib.ProcessorFormatter.remove_processors_meta
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(foreign_pre_chain=_common_processors(), processors=[strip, renderer])
    )
    logging.root.handlers = [handler]
    logging.root.setLevel(max(threshold, logging.WARNING))


def _common_processors() -> list[Processor]:
    return [
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
        make_safe,
    ]


def _renderer(format: Format) -> Processor:
    if format == "json":
        return structlog.processors.JSONRenderer(ensure_ascii=False)
    colors = sys.stderr.isatty()
    styles = ConsoleRenderer.get_default_column_styles(colors=colors)
    levels = ConsoleRenderer.get_default_level_styles(colors=colors)
    return ConsoleRenderer(
        columns=[
            Column("timestamp", _value_column(styles.timestamp, styles.reset)),
            Column("level", structlog.dev.LogLevelColumnFormatter(levels, styles.reset, width=7)),
            Column("event", _value_column(styles.bright, styles.reset)),
            Column("", KeyValueColumnFormatter(styles.kv_key, styles.kv_value, styles.reset, value_repr=_quoted)),
        ],
        sort_keys=False,
    )


def _value_column(style: str, reset: str) -> KeyValueColumnFormatter:
    return KeyValueColumnFormatter(key_style=None, value_style=style, reset_style=reset, value_repr=str)


def make_safe(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """The structlog processor that hides secrets and escapes everything else; only a traceback keeps its lines."""
    traceback = event.pop("exception", None)
    safe = _safe_mapping(event)
    if traceback is not None:
        # Indented, so that no line of an exception's text can pass for a line of the log.
        safe["exception"] = "\n".join(f"    {escape(line)}" for line in str(traceback).splitlines())
    return safe


def escape(text: str) -> str:
    """``text`` with every character that is not printable (controls, separators, surrogates) as a backslash escape."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape", "surrogatepass").decode() for c in text)


def _safe_mapping(mapping: Mapping[str, object]) -> dict[str, object]:
    return {
        escape(str(name)): HIDDEN if str(name).rpartition("_")[2].lower() in _SECRET_NAMES else _safe(value)
        for name, value in mapping.items()
    }


def _safe(value: object) -> object:
    match value:
        case None | bool() | int() | float():
            return value
        case str():
            return _bounded(value)
        case dict():
            return _safe_mapping(value)
        case list() | tuple() | set() | frozenset():
            return [_safe(item) for item in value]
        case _:
            return _bounded(str(value))


def _bounded(text: str) -> str:
    left_out = len(text) - LONGEST_VALUE
    return escape(text) if left_out <= 0 else f"{escape(text[:LONGEST_VALUE])}… ({left_out} more)"


def _quoted(value: object) -> str:
    """The value as it stands after ``name=``: in quotes where it could be taken for more than one value."""
    text = str(value)
    if re.fullmatch(r"""[^\s"=]+""", text):
        return text
    # Backslashes too, or one before a quote of the name would undo the escape of that quote.
    return '"' + re.sub(r"""["\\]""", r"\\\g<0>", text) + '"'
