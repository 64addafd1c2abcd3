"""Logs: structlog to standard error or the journal, as readable lines or as JSON, safe against what peers choose.

A client chooses its user name, host name and vendor; none of them may forge a line, a field or a terminal command. So
every value that is not printable is escaped here, once, for all log calls. Secrets are hidden (`poptrio.hiding`).

Levels belong to areas (`poptrio.observe.areas`) and change while the server runs. A logger, however it was made and
bound, ends in the one `_Sink` of its area and looks at a number there, so that a change counts at once for all of them
and what is not logged costs a comparison.
"""

import logging
import re
import sys
from collections.abc import Callable, Mapping
from typing import Any, Literal

import structlog
from structlog.dev import ColumnStyles, ConsoleRenderer
from structlog.typing import EventDict, Processor, WrappedLogger

from poptrio.errors import ConfigError, ConfigFault
from poptrio.hiding import HIDDEN, hidden_in_addresses, names_a_secret
from poptrio.observe import journald
from poptrio.observe.areas import Level, Levels, area_of

Format = Literal["console", "json"]
Output = Literal["stderr", "journald"]

LONGEST_VALUE = 2000
"""Characters of one value; what a peer chose may be far longer, and says no more."""

_NO_FIELDS = frozenset({"event", "exception"})
"""What a line has besides its fields."""

_PLAIN = re.compile(r"""[^\s"=]+""")
"""A value that cannot be taken for more than one."""


class _Sink:
    """Where all loggers of an area end: ``threshold`` is its level as a number, the methods write what is rendered."""

    __slots__ = ("critical", "debug", "error", "info", "threshold", "warning")

    def __init__(self, threshold: int, write: Callable[[str], None]) -> None:
        self.threshold = threshold
        self.debug = self.info = self.warning = self.error = self.critical = write


class _StandardError:
    """Standard error as it is now. Whoever logs goes on where it takes nothing: its disk is full, its reader is gone.

    How many records it did not take is said when it takes one again.
    """

    def __init__(self) -> None:
        self._file = sys.stderr
        self._lost = 0

    def write(self, line: str) -> None:
        """Write ``line`` and its end."""
        try:
            if self._lost:
                self._file.write(f"{self._lost} records of the log lost: standard error did not take them\n")
            self._file.write(line + "\n")
            self._file.flush()
        except (OSError, ValueError):  # ValueError: it was closed
            self._lost += 1
        else:
            self._lost = 0


class _Sinks:
    """The sinks of all areas, and the levels that they obey."""

    def __init__(self) -> None:
        self.levels = Levels()
        self._write: Callable[[str], None] = _StandardError().write
        self._by_area: dict[str, _Sink] = {}
        self._by_logger: dict[str, _Sink] = {}

    def __call__(self, logger_name: str = "") -> _Sink:
        """The sink of a logger: structlog's ``logger_factory``."""
        sink = self._by_logger.get(logger_name)
        if sink is None:
            area = area_of(logger_name)
            if area not in self._by_area:
                self._by_area[area] = _Sink(self.levels.threshold(area), self._write)
            sink = self._by_logger[logger_name] = self._by_area[area]
        return sink

    def begin(self, levels: Levels, write: Callable[[str], None]) -> None:
        """From now on loggers write there."""
        self._write = write
        self._by_area, self._by_logger = {}, {}
        self.obey(levels)

    def obey(self, levels: Levels) -> None:
        """From now on, also for loggers that exist."""
        self.levels = levels
        for area, sink in self._by_area.items():
            sink.threshold = levels.threshold(area)
        logging.root.setLevel(max(levels.threshold(""), logging.WARNING))


def _bound_logger() -> type[structlog.typing.FilteringBoundLogger]:
    """structlog's bound logger, whose methods look at the threshold of their sink each time."""
    every = structlog.make_filtering_bound_logger(logging.DEBUG)

    def method(name: str, level: int) -> Callable[..., Any]:
        log_it = getattr(every, name)

        def log_if_wanted(self: Any, event: str, *args: Any, **fields: Any) -> Any:
            return None if self._logger.threshold > level else log_it(self, event, *args, **fields)

        return log_if_wanted

    levels = {"debug": 10, "info": 20, "warning": 30, "warn": 30, "error": 40}
    return type("AreaBoundLogger", (every,), {name: method(name, level) for name, level in levels.items()})


_sinks = _Sinks()
_AreaBoundLogger = _bound_logger()


def configure(
    level: Level, format: Format, *, areas: Mapping[str, Level] | None = None, output: Output = "stderr"
) -> None:
    """Log from ``level`` upwards, of ``areas`` from another one; takes the place of any earlier configuration.

    ``format`` is that of standard error; the journal gets fields. What libraries log through Python's own logging (Trio
    reports failing accepts there) takes the same way, from "warning" upwards. Raises `ConfigError` if there is no
    journal.
    """
    if output == "journald":
        if not journald.SOCKET.is_socket():
            why = f'"journald" is not possible: there is no {journald.SOCKET}; use "stderr"'
            raise ConfigError(ConfigFault("log.output", why))
        write: Callable[[str], None] = journald.Journal(journald.SOCKET).write
        renderer = _journal_renderer()
    else:
        write = _StandardError().write
        renderer = _renderer(format, colors=sys.stderr.isatty())
        if journald.is_our_stderr():
            renderer = _with_priority(renderer)
    structlog.configure(
        processors=[structlog.contextvars.merge_contextvars, *_common_processors(), renderer],
        wrapper_class=_AreaBoundLogger,
        logger_factory=_sinks,
    )
    handler = _Handler(write)
    strip = structlog.stdlib.ProcessorFormatter.remove_processors_meta
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(foreign_pre_chain=_common_processors(), processors=[strip, renderer])
    )
    logging.root.handlers = [handler]
    _sinks.begin(Levels(level, areas or {}), write)


def set_levels(levels: Levels) -> None:
    """Log from these levels upwards, at once, whatever loggers there are."""
    _sinks.obey(levels)


class _Handler(logging.Handler):
    """What libraries log goes where our own records go."""

    def __init__(self, write: Callable[[str], None]) -> None:
        super().__init__()
        self._write = write

    def emit(self, record: logging.LogRecord) -> None:
        """Write one record."""
        try:
            self._write(self.format(record))
        except Exception:  # noqa: BLE001 - whoever logs must not suffer from it; this is logging's own way to say so
            self.handleError(record)


def _common_processors() -> list[Processor]:
    return [
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
        make_safe,
    ]


def _with_priority(renderer: Processor) -> Processor:
    """Lines as the journal wants them on standard error, with their priority in front (sd-daemon(3))."""

    def render(logger: WrappedLogger, method: str, event: EventDict) -> str:
        priority = f"<{journald.PRIORITIES.get(event.get('level', ''), 6)}>"
        return "\n".join(priority + line for line in str(renderer(logger, method, event)).split("\n"))

    return render


def _journal_renderer() -> Processor:
    """Records for the journal, which has times and levels of its own: a readable line, and all fields."""
    styles = ConsoleRenderer.get_default_column_styles(colors=False)

    def render(logger: WrappedLogger, method: str, event: EventDict) -> str:
        level = str(event.pop("level", method))
        event.pop("timestamp", None)
        return journald.entry(_line(event, styles), level, event)

    return render


def _renderer(format: Format, *, colors: bool) -> Processor:
    if format == "json":
        return structlog.processors.JSONRenderer(ensure_ascii=False)
    styles = ConsoleRenderer.get_default_column_styles(colors=colors)
    level_styles = ConsoleRenderer.get_default_level_styles(colors=colors)
    levels = {level: f"[{style}{level:9}{styles.reset}]" for level, style in level_styles.items()}

    def render(logger: WrappedLogger, method: str, event: EventDict) -> str:
        time, level = event.pop("timestamp", ""), event.pop("level", method)
        return f"{styles.timestamp}{time}{styles.reset} {levels[level]} {_line(event, styles)}"

    return render


def _line(event: EventDict, styles: ColumnStyles) -> str:
    """``event name=value …``, and a traceback on lines of its own."""
    name, value, reset = styles.kv_key, styles.kv_value, styles.reset
    fields = [f" {name}{key}{reset}={value}{_quoted(event[key])}{reset}" for key in event if key not in _NO_FIELDS]
    line = f"{styles.bright}{event['event']}{reset}{''.join(fields)}"
    return line if "exception" not in event else f"{line}\n{event['exception']}"


def make_safe(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """The structlog processor that hides secrets and escapes everything else; only a traceback keeps its lines."""
    traceback = event.pop("exception", None)
    safe = _safe_mapping(event)
    if traceback is not None:
        # Indented, so that no line of an exception's text can pass for a line of the log.
        safe["exception"] = "\n".join(
            f"    {escape(line)}" for line in hidden_in_addresses(str(traceback)).splitlines()
        )
    return safe


def escape(text: str) -> str:
    """``text`` with every character that is not printable (controls, separators, surrogates) as a backslash escape."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape", "surrogatepass").decode() for c in text)


def _safe_mapping(mapping: Mapping[str, object]) -> dict[str, object]:
    return {escape(str(name)): HIDDEN if names_a_secret(str(name)) else _safe(value) for name, value in mapping.items()}


def _safe(value: object) -> object:
    match value:
        case str():
            return _bounded(value)
        case None | bool() | int() | float():
            return value
        case dict():
            return _safe_mapping(value)
        case list() | tuple() | set() | frozenset():
            return [_safe(item) for item in value]
        case _:
            return _bounded(str(value))


def _bounded(text: str) -> str:
    text = hidden_in_addresses(text)
    left_out = len(text) - LONGEST_VALUE
    return escape(text) if left_out <= 0 else f"{escape(text[:LONGEST_VALUE])}… ({left_out} more)"


def _quoted(value: object) -> str:
    """The value as it stands after ``name=``: in quotes unless it is `_PLAIN`."""
    text = str(value)
    if _PLAIN.fullmatch(text):
        return text
    # Backslashes too, or one before a quote of the name would undo the escape of that quote.
    return '"' + re.sub(r"""["\\]""", r"\\\g<0>", text) + '"'
