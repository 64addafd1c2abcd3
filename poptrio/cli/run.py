"""``poptrio run``: the server, until a signal stops it."""

import os
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import TypeVar

import structlog
import trio
import typer

from poptrio.cli.checks import Level, Machine, capabilities
from poptrio.cli.common import ConfigFile, ExitCode, load_config, report_faults
from poptrio.cli.descriptors import fitted, raise_limit, within
from poptrio.config import Config
from poptrio.errors import ConfigError, ConfigFault
from poptrio.observe.log import configure, escape
from poptrio.runtime.privileges import Account, become

log = structlog.get_logger()


def run(config_file: ConfigFile) -> None:
    """Run the server until SIGTERM or Ctrl-C; a second one stops it at once. SIGHUP reads secrets again."""
    config = load_config(config_file)
    configure(config.log.level, config.log.format)
    _become_user(config, config_file)
    _refuse_without_rights(config)
    exit_code = _serve(config, raise_limit())
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
    """Drop privileges where the configuration says so, before anything is opened and any thread or process started."""
    user, group = config.server.user, config.server.group
    if not user:
        return
    try:
        account = Account.find(user, group)
        if not account.is_ours:
            become(account)
            log.info("privileges dropped", user=account.user, uid=account.uid, gid=account.gid)
        if not os.access(config_file, os.R_OK):
            remedy = f"let its group be one of theirs, and chmod g+r {config_file}"
            raise OSError(f"{user} cannot read {config_file}, which is read again at SIGHUP; {remedy}")
    except LookupError as error:
        report_faults([ConfigFault("server.user", str(error))])
        raise typer.Exit(ExitCode.USAGE) from None
    except OSError as error:
        typer.echo(escape(f"poptrio cannot become another user: {error.strerror or error}."), err=True)
        raise typer.Exit(ExitCode.FAILED) from None


def _serve(config: Config, descriptors: int) -> ExitCode:
    # Only this command needs the server; the others start without loading all of it.
    from poptrio.management.doors import open_doors
    from poptrio.management.serving import manage
    from poptrio.server.datapaths import decided
    from poptrio.server.serve import serve_until_signalled
    from poptrio.workers.processes import serve_with_workers

    exit_code = ExitCode.DONE
    workers = config.server.worker_count
    try:
        config = fitted(decided(config), descriptors, workers)
        run = None
        if workers > 1:
            run = partial(serve_with_workers, of_worker=within(config, descriptors))
        with open_doors(config) as doors:
            trio.run(serve_until_signalled, config, run, partial(manage, doors=doors))
    except* ConfigError as group:  # what only shows at start-up: plugins and their tables, listen addresses
        for error in _leaves(group):
            report_faults(error.faults)
        exit_code = ExitCode.USAGE
    except* OSError as group:
        for os_error in _leaves(group):
            log.debug("operating system refused", exc_info=os_error)
            typer.echo(escape(f"poptrio cannot go on: {os_error}. `poptrio check` says what is in the way."), err=True)
        exit_code = ExitCode.FAILED
    return exit_code


E = TypeVar("E", bound=Exception)


def _leaves(group: ExceptionGroup[E]) -> Iterator[E]:
    for member in group.exceptions:
        if isinstance(member, ExceptionGroup):
            yield from _leaves(member)
        else:
            yield member
