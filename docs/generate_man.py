"""Write the man page ``docs/reference/poptrio.1`` from the commands of `poptrio.cli`.

``python docs/generate_man.py`` writes it; a test compares it, so that it cannot fall behind.
"""

import inspect
import re
import runpy
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from poptrio import __version__
from poptrio.cli import app
from poptrio.cli.calling import PASSWORD_VARIABLE
from poptrio.cli.managing import DEFAULT_SOCKET, SOCKET_VARIABLE

DOCS = Path(__file__).resolve().parent
PAGE = DOCS / "reference" / "poptrio.1"

EXIT_CODES = {
    "0": "Done.",
    "1": "Refused or failed; the line on standard error says why.",
    "2": "Wrong arguments, or a configuration that cannot be used; nothing was started.",
}
ENVIRONMENT = {
    SOCKET_VARIABLE: "The socket of the server, for all commands that have `--socket`.",
    PASSWORD_VARIABLE: "The password for `dial` and `load`, where other users of the machine cannot see it.",
    "POPTRIO_TRACE_HOOKS": "1: print every answer of a plugin to standard error.",
}
FILES = {
    str(DEFAULT_SOCKET): "The socket of a running server; whoever may open it may do everything.",
}


def man_page() -> str:
    """The text of ``docs/reference/poptrio.1``."""
    return "\n".join(_lines()) + "\n"


def _lines() -> Iterator[str]:
    commands = list(runpy.run_path(str(DOCS / "generate_cli.py"))["commands"]())
    yield '.\\" Written by docs/generate_man.py from the commands; run `make docs`.'
    yield f'.TH POPTRIO 1 "" "poptrio {__version__}" "User Commands"'
    yield ".SH NAME"
    yield "poptrio \\- PPTP server"
    yield ".SH SYNOPSIS"
    yield ".B poptrio"
    yield ".I COMMAND"
    yield "[\\fIOPTIONS\\fR]"
    yield ".SH DESCRIPTION"
    yield from _text(str(app.info.help))
    yield ".SH COMMANDS"
    for path, command in commands:
        yield from _command(path, command)
    for title, entries in (("EXIT STATUS", EXIT_CODES), ("ENVIRONMENT", ENVIRONMENT), ("FILES", FILES)):
        yield f".SH {title}"
        for name, text in entries.items():
            yield from (".TP", f".B {_plain(name)}", *_text(text))
    yield ".SH SEE ALSO"
    yield from _text("The documentation in `docs/`: `docs/reference/config.md` for every key of the configuration.")


def _command(path: str, command: Any) -> Iterator[str]:
    arguments = [parameter for parameter in command.params if parameter.param_type_name == "argument"]
    options = [parameter for parameter in command.params if parameter.param_type_name == "option"]
    title = " ".join([path, *(argument.metavar for argument in arguments), *(["[OPTIONS]"] if options else [])])
    yield f".SS {_plain(title)}"
    yield from _text(command.help)
    for argument in arguments:
        yield from (".TP", f".I {_plain(argument.metavar)}", *_text(argument.help))
    for option in options:
        yield from (".TP", _head(option), *_text(_help(option)))


def _head(option: Any) -> str:
    name = f"\\fB{_plain(option.opts[0])}\\fR"
    return name if option.is_flag else f"{name} \\fI{_plain(option.name.upper())}\\fR"


def _help(option: Any) -> str:
    """The sentence about it, and what counts without it."""
    if option.required:
        return f"{option.help} It is needed."
    return option.help if option.default in (None, False, "") else f"{option.help} Without it: `{option.default}`."


def _text(text: str) -> Iterator[str]:
    """Paragraphs, a sentence on a line as troff likes it, and what is code in bold."""
    for number, paragraph in enumerate(inspect.cleandoc(text).split("\n\n")):
        if number:
            yield ".PP"
        for sentence in re.split(r"(?<=[.;:]) ", " ".join(paragraph.split())):
            line = re.sub(r"`{1,2}([^`]+)`{1,2}", r"\\fB\1\\fR", _plain(sentence))
            yield f"\\&{line}" if line.startswith((".", "'")) else line


def _plain(text: str) -> str:
    """``text`` without anything that troff takes for more than text."""
    return text.replace("\\", "\\e").replace("-", "\\-").replace("…", "...").replace("→", "\\(->")


def main() -> None:
    """Write the page."""
    PAGE.write_text(man_page(), "utf-8")


if __name__ == "__main__":
    main()
