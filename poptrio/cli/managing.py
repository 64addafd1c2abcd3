"""What the commands on the management API share: the option ``--socket``, asking with readable errors, and tables.

Clients choose names and whoever kicks a reason: `printed` and `table` keep their control characters off the terminal.
"""

import os
import sys
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer
from rich.cells import cell_len
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table

from poptrio.cli.common import ExitCode, print_json
from poptrio.config.management import Management
from poptrio.observe.diagnosis import human_bytes
from poptrio.observe.log import escape

if TYPE_CHECKING:
    from poptrio.management.client import Client

SOCKET_VARIABLE = "POPTRIO_SOCKET"
"""The environment variable that names the socket where ``--socket`` does not."""

DEFAULT_SOCKET = Path(Management().socket)

LARGE = 500
"""Rows of a table that is not drawn but printed as it is: nobody looks at it without a pager."""

WIDE = 1000
"""Columns of a table that is not printed on a terminal: nothing is cut off."""

Socket = Annotated[
    Path,
    typer.Option(
        "--socket",
        envvar=SOCKET_VARIABLE,
        readable=False,
        help="The server's socket, `management.socket` in its configuration.",
    ),
]
Watch = Annotated[bool, typer.Option("--watch", help="Show it again and again, until Ctrl-C.")]
Interval = Annotated[float, typer.Option("--interval", min=0.1, help="Seconds between two looks of `--watch`.")]
DEFAULT_INTERVAL = 2.0


@contextmanager
def asking(path: Path) -> Iterator["Client"]:
    """A client of the server at the socket ``path``; what it cannot do is a line on standard error and exit code 1."""
    from poptrio.management.client import CannotAsk, Client  # loads an HTTP client that other commands do not need

    try:
        with Client(path) as client:
            yield client
    except CannotAsk as error:
        fail(str(error))
    except UnicodeEncodeError as error:
        fail(f"{error.object!r} cannot be asked for: it is not UTF-8")
    except BrokenPipeError:
        # Whoever reads has enough, for instance `head`; what Python flushes at its end must not fail again.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise typer.Exit(ExitCode.DONE) from None


def fail(sentence: str) -> NoReturn:
    """Say why on standard error, and exit with `ExitCode.FAILED`."""
    typer.echo(escape(sentence), err=True)
    raise typer.Exit(ExitCode.FAILED)


class _Console(Console):
    def on_broken_pipe(self) -> None:
        """Leave it to `asking`, as with everything else that is printed; rich would exit with 1."""
        raise BrokenPipeError


def console() -> Console:
    """Standard output for tables: text is taken as it is, and cut off by nothing but a terminal."""
    on_terminal = sys.stdout is not None and sys.stdout.isatty()  # None: whoever started us has closed it
    return _Console(highlight=False, markup=False, emoji=False, width=None if on_terminal else WIDE)


def table(*columns: str, right: Collection[str] = ()) -> Table:
    """An empty table without a frame; the columns in ``right`` hold numbers."""
    made = Table(box=None, pad_edge=False)
    for column in columns:
        made.add_column(column, justify="right" if column in right else "left", overflow="fold")
    return made


def printed(value: object) -> str:
    """``value`` as a table shows it: escaped, and a dash for nothing."""
    return escape(str(value)) if value not in (None, "") else "-"


def rate(octets: float) -> str:
    """Octets per second as people read them."""
    return f"{human_bytes(round(octets))}/s" if octets else "0"


def _parts(drawn: RenderableType) -> Sequence[RenderableType]:
    return drawn.renderables if isinstance(drawn, Group) else (drawn,)


def _lines(large: Table) -> Iterator[str]:
    """A table of `table` as plain lines; rich takes seconds for ten thousand rows."""
    columns = [[str(column.header), *map(str, column.cells)] for column in large.columns]
    padded = []
    for column, cells in zip(large.columns, columns, strict=True):
        widths = [cell_len(cell) for cell in cells]
        room = max(widths)
        blanks = [" " * (room - width) for width in widths]
        right = column.justify == "right"
        padded.append([blank + cell if right else cell + blank for blank, cell in zip(blanks, cells, strict=True)])
    return ("  ".join(row).rstrip() for row in zip(*padded, strict=True))


def counted(count: int, thing: str = "call") -> str:
    """So many of them in words: ``1 call``, ``2,000 calls``."""
    return f"1 {thing}" if count == 1 else f"{count:,} {thing}s"


def show(
    draw: Callable[[], RenderableType], record: Callable[[], object], *, as_json: bool, watch: bool, interval: float
) -> None:
    """Print what ``draw`` makes, with ``watch`` again every ``interval`` seconds until Ctrl-C.

    With ``as_json``, print what ``record`` makes as JSON, once.
    """
    if watch and as_json:
        raise typer.BadParameter("--watch shows a table; leave --json out")
    if as_json:
        print_json(record())
        return
    out = console()
    if not watch:
        for part in _parts(draw()):
            if isinstance(part, Table) and part.row_count > LARGE:
                typer.echo("\n".join(_lines(part)))
            else:
                out.print(part)
        return
    with suppress(KeyboardInterrupt):
        if not out.is_terminal:
            while True:
                out.print(draw())
                time.sleep(interval)
        with Live(draw(), console=out, auto_refresh=False, screen=True) as live:
            while True:
                time.sleep(interval)
                live.update(draw(), refresh=True)
