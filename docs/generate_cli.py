"""Write ``docs/reference/cli.md`` from the commands of `poptrio.cli`.

``python docs/generate_cli.py`` writes it; a test compares it, so that it cannot fall behind.
"""

import inspect
import re
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import typer

from poptrio.cli import app
from poptrio.cli.calling import PASSWORD_VARIABLE
from poptrio.cli.managing import SOCKET_VARIABLE
from poptrio.client.steps import Step

REFERENCE = Path(__file__).resolve().parent / "reference" / "cli.md"

INTRODUCTION = f"""\
# The command line

Every command with its arguments and options. This page is generated from `poptrio/cli/` by `make docs`;
`poptrio --help` and `poptrio COMMAND --help` say the same. `python -m poptrio` is the same as `poptrio`.

| exit code | says |
|---|---|
| 0 | done; for `check`, nothing is a fault; for `dial`, all steps were passed and nobody but you ended the call; for \
`load`, the same is true of every call |
| 1 | refused or failed; for `kick`, no call was ended; for `events`, the server went away |
| 2 | wrong arguments, or a configuration that cannot be used; nothing was started |

| environment variable | says |
|---|---|
| `{PASSWORD_VARIABLE}` | the password for `dial` and `load`, where other users of the machine cannot see it |
| `{SOCKET_VARIABLE}` | the socket of the server for all commands that have `--socket` |
| `POPTRIO_TRACE_HOOKS` | `1`: print every answer of a plugin to standard error |

Where `--json` is offered, standard output is JSON and nothing else, unless the arguments are wrong. Faults in a
configuration are `{{"faults": [{{"place": …, "message": …}}]}}`. `dial` without `--probe` prints two objects: one when
the call is up, and one when it has ended. A call that did not come up has `"reached": false`, and `failed_step` is
`null` where no step has failed: it was interrupted, or this machine does not let us dial. `load` prints one object,
with times in seconds; phases that did not happen are `null`. Where this machine does not let us dial, it prints none.
What the commands on a running server print is what the API answers: `sessions` and `failures` a list of objects,
`events` an object on each line. When the server cannot be asked, they print nothing there, a line on standard error,
and exit with 1.

`poptrio --install-completion` makes the shell complete commands and options, and after `--user`, `--call`,
`--address` and `--peer` what the server has at this moment (only words that no shell takes for anything else). The man
page `poptrio(1)` says what this page says; `pip` installs it.
"""

STEPS = """\
`dial` passes these steps in this order; `failed_step` in its JSON is one of these names:

| step | proves |
|---|---|
"""


def reference_page() -> str:
    """The text of ``docs/reference/cli.md``."""
    sections = [_section(path, command) for path, command in commands()]
    return "\n".join([INTRODUCTION, *sections])


def commands() -> Iterator[tuple[str, Any]]:
    """Every command that can be run, with the words that run it."""
    yield from _below("poptrio", typer.main.get_command(app))


def _below(path: str, command: Any) -> Iterator[tuple[str, Any]]:
    members = getattr(command, "commands", None)
    if members is None:
        yield path, command
        return
    for name, member in members.items():
        yield from _below(f"{path} {name}", member)


def _section(path: str, command: Any) -> str:
    arguments = [parameter for parameter in command.params if parameter.param_type_name == "argument"]
    options = [parameter for parameter in command.params if parameter.param_type_name == "option"]
    title = " ".join([path, *(argument.metavar for argument in arguments)])
    rows = [f"| `{argument.metavar}` | {_default(argument)} | {argument.help} |" for argument in arguments]
    rows += [f"| `{_option(option)}` | {_default(option)} | {option.help} |" for option in options]
    table = "\n".join(["| | default | |", "|---|---|---|", *rows])
    text = f"## {title}\n\n{_paragraphs(command.help)}\n\n{table}\n"
    if path == "poptrio dial":
        text += "\n" + STEPS + "".join(f"| `{step.label}` | {step.meaning} |\n" for step in Step)
    return text


def _option(option: Any) -> str:
    return option.opts[0] if option.is_flag else f"{option.opts[0]} {option.name.upper()}"


def _default(option: Any) -> str:
    if option.required:
        return "needed"
    return "" if option.default in (None, False, "") else f"`{option.default}`"


def _paragraphs(text: str) -> str:
    cleaned = re.sub(r"`{1,2}([^`]+)`{1,2}", r"`\1`", inspect.cleandoc(text))
    return "\n\n".join(textwrap.fill(part, 118, break_on_hyphens=False) for part in cleaned.split("\n\n"))


def main() -> None:
    """Write the page."""
    REFERENCE.write_text(reference_page(), "utf-8")


if __name__ == "__main__":
    main()
