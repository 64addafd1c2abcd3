"""``poptrio load``: many calls to a server at once, and what it took: to find out what a machine can carry."""

import gc
import signal
import sys
from collections.abc import Sequence
from ipaddress import IPv4Address
from typing import Annotated, NoReturn

import trio
import typer
from rich.console import Console

from poptrio.address_ranges import address_count, parse_ranges
from poptrio.cli.calling import (
    Auth,
    Bits,
    Encryption,
    Mode,
    Mtu,
    Password,
    Server,
    auth_protocols,
    encryption_policy,
    host_and_port,
    the_password,
)
from poptrio.cli.common import ExitCode, Json, print_json
from poptrio.cli.descriptors import HIGHER_LIMIT, RESERVE, raise_limit
from poptrio.cli.load_display import LoadBar, print_report
from poptrio.client.load import MOST_CALLS, Load, LoadSettings
from poptrio.client.load_report import LoadReport
from poptrio.client.load_target import LoadTarget, UserPattern
from poptrio.client.load_target import load as run_load
from poptrio.client.traffic import SMALLEST
from poptrio.observe.log import configure, escape
from poptrio.protocols.ppp.session_events import SessionSettings

MOST_SOURCES = 65536

Calls = Annotated[int, typer.Option("--calls", min=1, max=MOST_CALLS, help="How many calls.")]
User = Annotated[
    str,
    typer.Option("--user", help="User name; `%d` in it is the number of the call from 1, `%05d` with leading zeros."),
]
Rate = Annotated[
    float,
    typer.Option("--rate", min=0.0, help="Calls begun per second; 0: as fast as they come up."),
]
Concurrency = Annotated[
    int,
    typer.Option("--concurrency", min=1, help="Calls on their way up at once, without --rate; and down."),
]
Timeout = Annotated[float, typer.Option("--timeout", min=1.0, help="Seconds until a call must be up.")]
Source = Annotated[
    list[str] | None,
    typer.Option("--source", help="Addresses of this machine that calls come from in turn: one, a range, a network."),
]
Hold = Annotated[float, typer.Option("--hold", min=0.0, help="Seconds to hold all calls before the traffic.")]
PacketRate = Annotated[
    float,
    typer.Option("--packets", min=0.0, help="Pings per second, through all tunnels together."),
]
Size = Annotated[int, typer.Option("--size", min=SMALLEST, max=1500, help="Octets of a ping, its IP header included.")]
Seconds = Annotated[float, typer.Option("--seconds", min=0.1, help="Seconds of pings.")]
Vanish = Annotated[
    bool, typer.Option("--vanish", help="End without a goodbye: close all TCP connections, send nothing more.")
]


def load(
    server: Server,
    calls: Calls,
    user: User,
    password: Password = None,
    rate: Rate = 0.0,
    concurrency: Concurrency = 20,
    timeout: Timeout = 20.0,
    source: Source = None,
    hold: Hold = 0.0,
    packets: PacketRate = 0.0,
    size: Size = 100,
    seconds: Seconds = 10.0,
    vanish: Vanish = False,
    authentication: Auth = "mschap-v2",
    encryption: Encryption = "require",
    bits: Bits = "128",
    mode: Mode = "any",
    mtu: Mtu = 1400,
    as_json: Json = False,
) -> None:
    """Load a server with many calls: set them up, hold them, ping through them, hang up; Ctrl-C hangs up at once.

    Real calls from this one process, each with a TCP connection, GRE, MS-CHAPv2 and MPPE, but no interface. The result
    says what it cost in CPU time here, so that it shows whether the server or the generator was the bottleneck.
    """
    host, port = host_and_port(server)
    target = LoadTarget(
        host=host,
        port=port,
        users=_users(user),
        password=the_password(password),
        session=SessionSettings(
            mru=mtu,
            authentication=auth_protocols(authentication),
            encryption=encryption_policy(encryption, bits, mode),
            # The server's Echo-Requests are enough; ours would spare it some of them.
            lcp_echo_interval=0.0,
            establish_timeout=timeout,
        ),
        sources=_sources(source or []),
    )
    settings = LoadSettings(
        calls=calls,
        rate=rate,
        concurrency=concurrency,
        timeout=timeout,
        hold=hold,
        packets=packets,
        size=size,
        seconds=seconds,
        vanish=vanish,
    )
    if packets and size > mtu:
        raise typer.BadParameter(f"--size {size} does not fit into --mtu {mtu}")
    configure("warning", "console")
    _refuse_without_descriptors(calls)
    report = _run(target, settings, as_json)
    raise typer.Exit(ExitCode.DONE if report.clean else ExitCode.FAILED)


def _run(target: LoadTarget, settings: LoadSettings, as_json: bool) -> LoadReport:
    # Ten thousand calls are objects that live long: collections that walk them all would look like a slow server.
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 50, 100)
    try:
        report = trio.run(_load, target, settings, as_json)
    except OSError as error:
        _fail(f"poptrio cannot dial from this machine: {error.strerror or error}")
    if as_json:
        print_json(report.as_json())
    else:
        print_report(report, Console(highlight=False))
    return report


async def _load(target: LoadTarget, settings: LoadSettings, as_json: bool) -> LoadReport:
    running: list[Load] = []
    early = False  # a signal came while the server's name was looked up

    async def obey() -> None:
        nonlocal early
        async for _ in signals:
            early = True
            for run in running:
                run.interrupt()

    def begins(run: Load) -> None:
        running.append(run)
        if early:
            run.interrupt()
        if not as_json and sys.stderr.isatty():
            nursery.start_soon(LoadBar(run).run)

    failure: OSError | None = None
    with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(obey)
            try:
                report = await run_load(target, settings, begins)
            except OSError as error:
                failure = error
            nursery.cancel_scope.cancel()
    if failure is not None:
        raise failure
    return report


def _refuse_without_descriptors(calls: int) -> None:
    """Each call takes a file descriptor, for its control connection."""
    limit = raise_limit()
    if calls + RESERVE > limit:
        fits = max(limit - RESERVE, 0)
        _fail(
            f"{calls} calls need {calls + RESERVE} file descriptors, and this process may have {limit}: "
            f"{HIGHER_LIMIT}, or make {fits} calls at most"
        )


def _fail(sentence: str) -> NoReturn:
    typer.echo(escape(sentence), err=True)
    raise typer.Exit(ExitCode.FAILED)


def _users(text: str) -> UserPattern:
    try:
        return UserPattern(text)
    except ValueError as error:
        raise typer.BadParameter(f"--user: {error}") from error


def _sources(texts: Sequence[str]) -> tuple[IPv4Address, ...]:
    try:
        ranges = parse_ranges(texts)
    except ValueError as error:
        raise typer.BadParameter(f"--source: {error}") from error
    if address_count(ranges) > MOST_SOURCES:
        raise typer.BadParameter(f"--source: at most {MOST_SOURCES} addresses")
    return tuple(IPv4Address(number) for first, last in ranges for number in range(int(first), int(last) + 1))
