"""``poptrio run``: the server, until a signal stops it."""

import os
import sys
from collections.abc import Iterator
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeVar

import structlog
import trio
import typer

import poptrio
from poptrio.cli.checks import Level, Machine, capabilities
from poptrio.cli.common import ConfigFile, ExitCode, load_config, report_faults
from poptrio.cli.descriptors import fitted, raise_limit, within
from poptrio.config import Config
from poptrio.errors import ConfigError, ConfigFault
from poptrio.observe.log import configure, escape
from poptrio.runtime.activation import MANAGEMENT, passed_sockets
from poptrio.runtime.held_signals import held
from poptrio.runtime.privileges import Account, become

if TYPE_CHECKING:
    from poptrio.upgrade.take_over import TakeOver

log = structlog.get_logger("poptrio.server")


def run(
    config_file: ConfigFile,
    take_over: Annotated[
        int | None,
        typer.Option(metavar="FD", hidden=True, help="Take the calls of the server over that started this one."),
    ] = None,
) -> None:
    """Run the server until SIGTERM or Ctrl-C; a second one stops it at once.

    SIGHUP reloads the configuration. SIGUSR2 starts the program anew without dropping a call, as `poptrio upgrade`.
    """
    successor = None
    if take_over is not None:
        from poptrio.upgrade.take_over import TakeOver

        successor = TakeOver(take_over)
    with held(), nullcontext() if successor is None else successor.or_give_up():
        config = Config.load(config_file) if successor is not None else load_config(config_file)
        try:
            configure(**config.log.model_dump())
        except ConfigError as error:  # there is no journal
            _for_the_old_program(successor, error)
            report_faults(error.faults)
            raise typer.Exit(ExitCode.USAGE) from None
        _refuse_without_rights(config)
        exit_code = _serve(config, config_file, raise_limit(), successor)
    if exit_code is not ExitCode.DONE:
        raise typer.Exit(exit_code)


def _refuse_without_rights(config: Config) -> None:
    """Say which rights are missing in a sentence, instead of failing at the first socket that needs one."""
    missing = [finding for finding in capabilities(Machine(), config) if finding.level is Level.FAULT]
    for finding in missing:
        typer.echo(f"{finding.sentence}. {finding.remedy}.", err=True)
    if missing:
        raise typer.Exit(ExitCode.FAILED)


def _become_user(config: Config, config_file: Path) -> None:
    """Drop privileges where the configuration says so. Raises `ConfigError` or OSError if that cannot be.

    Before there is any thread, process or data path; what remains suffices for all of them. The sockets of the API are
    there already: /run and private keys are usually root's.
    """
    user, group = config.server.user, config.server.group
    if not user:
        return
    try:
        account = Account.find(user, group)
    except LookupError as error:
        raise ConfigError(ConfigFault("server.user", str(error))) from None
    if not account.is_ours:
        become(account)
        log.info("privileges dropped", user=account.user, uid=account.uid, gid=account.gid)
    if not os.access(config_file, os.R_OK):
        why = f"{user} cannot read {config_file}, and SIGHUP reads it again"
        remedy = f"let it belong to a group of that user, and chmod g+r {config_file}"
        raise ConfigError(ConfigFault("server.user", f"{why}; {remedy}"))
    for file in (sys.executable, os.__file__, poptrio.__file__):  # modules are loaded later, and workers started
        if not os.access(file, os.R_OK):
            why = f"{user} cannot read {file}, without which poptrio cannot go on"
            raise ConfigError(ConfigFault("server.user", f"{why}; install both where that user may read"))


def _refuse_strange_sockets() -> None:
    """Raises `ConfigError` for sockets of the service manager that nobody here asks for."""
    known = "TCP sockets are those of server.listen, and the Unix socket of the API is called management"
    names = passed_sockets().strangers(MANAGEMENT)
    if names:
        raise ConfigError(*(ConfigFault("LISTEN_FDS", f'what is the socket "{name}" for? {known}') for name in names))


def _serve(config: Config, config_file: Path, descriptors: int, successor: "TakeOver | None") -> ExitCode:
    # Only this command needs the server; the others start without loading all of it.
    from poptrio.management.doors import open_doors
    from poptrio.management.serving import manage
    from poptrio.server.datapaths import decided
    from poptrio.server.reload import Reloading
    from poptrio.server.serve import Serve, serve, serve_until_signalled
    from poptrio.upgrade.hand_over import Upgrade
    from poptrio.workers.processes import serve_with_workers

    exit_code = ExitCode.DONE
    requested = config
    workers = config.server.worker_count
    try:
        _refuse_strange_sockets()
        if successor is None:
            opened = open_doors(config)
        else:
            successor.begin(config)
            opened = open_doors(config, successor.doors, lambda: successor.taken_over)
        with opened as doors, nullcontext() if successor is None else successor.or_give_up():
            if successor is not None:
                successor.wants(doors.sockets())
            _become_user(config, config_file)
            config = fitted(decided(config), descriptors, workers)
            run: Serve | None = None
            if workers > 1:
                run = partial(serve_with_workers, of_worker=partial(within, limit=descriptors))
            fit = partial(fitted, limit=descriptors, processes=workers)
            reloading = Reloading(requested, fit, doors.prepare)
            if successor is not None:
                run = partial(serve, inherited=successor)
            upgrade = Upgrade(
                config_file,
                doors.sockets,
                waited_for=successor is not None and successor.waited_for,
            )
            operators = partial(manage, doors=doors, upgrade=upgrade)

            def has_calls() -> bool:
                return successor is not None and successor.taken_over

            trio.run(serve_until_signalled, config, run, operators, reloading, upgrade.run, has_calls)
    except* ConfigError as group:  # what only shows at start-up: plugins and their tables, listen addresses
        _for_the_old_program(successor, group)
        for error in _leaves(group):
            report_faults(error.faults)
        exit_code = ExitCode.USAGE
    except* OSError as group:
        _for_the_old_program(successor, group)
        for os_error in _leaves(group):
            log.debug("operating system refused", exc_info=os_error)
            typer.echo(escape(f"poptrio cannot go on: {os_error}. `poptrio check` says what is in the way."), err=True)
        exit_code = ExitCode.FAILED
    return exit_code


def _for_the_old_program(successor: "TakeOver | None", error: Exception) -> None:
    """Where another program hands over and goes on, it has the log."""
    if successor is not None and not successor.taken_over:
        raise error


E = TypeVar("E", bound=Exception)


def _leaves(group: ExceptionGroup[E]) -> Iterator[E]:
    for member in group.exceptions:
        if isinstance(member, ExceptionGroup):
            yield from _leaves(member)
        else:
            yield member
