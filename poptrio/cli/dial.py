"""``poptrio dial``: our own client, which shows each step of a call as it passes, and says which one failed and why."""

import json
import os
import signal
from ipaddress import IPv4Address, IPv4Network
from typing import Annotated

import trio
import typer
from rich.console import Console
from rich.markup import escape as plain

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
from poptrio.client.dial import HUNG_UP, DialSettings, Tunnel
from poptrio.client.dial import dial as make_call
from poptrio.client.steps import DialOutcome, StepReport
from poptrio.config.values import interface_name
from poptrio.observe.log import configure, escape
from poptrio.protocols.ppp.authenticator import Credentials
from poptrio.protocols.ppp.session_events import SessionSettings

NEW_PASSWORD_VARIABLE = "POPTRIO_NEW_PASSWORD"
LONGEST_PASSWORD = 256  # characters of a new one (RFC 2759 §8.9)
SECONDS_FOR_PROBE = 20.0

User = Annotated[str, typer.Option("--user", help="User name as it is sent, DOMAIN\\user allowed.")]
NewPassword = Annotated[
    str | None,
    typer.Option("--new-password", help=f"Change an expired password to this one; better in {NEW_PASSWORD_VARIABLE}."),
]
Code = Annotated[
    list[str] | None,
    typer.Option("--code", help="Another password, where the server lets us try again: a one-time code; repeatable."),
]
Probe = Annotated[bool, typer.Option("--probe", help="Hang up when all steps have passed; exit code 0 or 1.")]
Route = Annotated[list[str] | None, typer.Option("--route", help="Network to lead into the tunnel; repeatable.")]
Interface = Annotated[str, typer.Option("--interface", help="Name of the TUN.")]


def dial(
    server: Server,
    user: User,
    password: Password = None,
    probe: Probe = False,
    authentication: Auth = "mschap-v2",
    encryption: Encryption = "require",
    bits: Bits = "128",
    mode: Mode = "any",
    mtu: Mtu = 1400,
    route: Route = None,
    interface: Interface = "poptrio-dial",
    code: Code = None,
    new_password: NewPassword = None,
    as_json: Json = False,
) -> None:
    """Call a PPTP server and show each step; stay until Ctrl-C, or hang up at once with --probe."""
    password = the_password(password)
    if new_password is None:
        new_password = os.environ.get(NEW_PASSWORD_VARIABLE)
    if new_password is not None and len(new_password.encode("utf-16-le", "surrogatepass")) > 2 * LONGEST_PASSWORD:
        raise typer.BadParameter(f"--new-password: at most {LONGEST_PASSWORD} characters")
    host, port = host_and_port(server)
    settings = DialSettings(
        host=host,
        port=port,
        credentials=Credentials(user, password, tuple(code or ()), new_password),
        session=SessionSettings(
            mru=mtu,
            authentication=auth_protocols(authentication),
            encryption=encryption_policy(encryption, bits, mode),
            establish_timeout=SECONDS_FOR_PROBE,
        ),
        interface=None if probe else _interface(interface),
        routes=_routes(route or [], host),
    )
    configure("warning", "console")
    outcome = _run(settings, probe, as_json)
    raise typer.Exit(ExitCode.DONE if outcome.reached and (probe or outcome.why == HUNG_UP) else ExitCode.FAILED)


def _run(settings: DialSettings, probe: bool, as_json: bool) -> DialOutcome:
    """Make the call, and print the outcome as JSON, whatever it is, where that is wanted."""
    reports: list[StepReport] = []
    try:
        outcome = trio.run(_dial, settings, reports, probe, as_json)
    except OSError as error:
        outcome = DialOutcome(False, f"poptrio cannot dial from this machine: {error.strerror or error}")
        typer.echo(escape(outcome.why), err=True)
    if as_json:
        print_json(_as_json(reports, outcome))
    return outcome


async def _dial(settings: DialSettings, reports: list[StepReport], probe: bool, as_json: bool) -> DialOutcome:
    console = Console(highlight=False)

    def report(step: StepReport) -> None:
        reports.append(step)
        if not as_json:
            console.print(_line(step), soft_wrap=True)

    async def stay(tunnel: Tunnel) -> None:
        if as_json:
            print(json.dumps({"up": str(tunnel.address)}), flush=True)
        else:
            console.print(f"[bold]up[/]: {tunnel.address} on {settings.interface}; Ctrl-C hangs up")
        await trio.sleep_forever()

    stop = trio.Event()

    async def obey() -> None:
        async for _ in signals:
            stop.set()

    with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(obey)
            try:
                outcome: DialOutcome | OSError = await make_call(settings, report, None if probe else stay, stop)
            except OSError as error:
                outcome = error
            nursery.cancel_scope.cancel()
    if isinstance(outcome, OSError):
        raise outcome
    if not as_json:
        console.print(_conclusion(outcome, reports, probe), soft_wrap=True)
    return outcome


def _line(report: StepReport) -> str:
    """One step: mark, name, milliseconds since the beginning, what was agreed or why not."""
    mark = "[green]✓[/]" if report.passed else "[red]✗[/]"
    return f"{mark} {report.step.label:<14} {report.seconds * 1000:7.1f} ms  {plain(escape(report.detail))}"


def _conclusion(outcome: DialOutcome, reports: list[StepReport], probe: bool) -> str:
    if outcome.reached:
        return "[green]all steps passed[/]" if probe else f"call ended: {plain(escape(outcome.why))}"
    if not reports or reports[-1].passed:
        return plain(escape(outcome.why))
    return f"[red]failed[/] at step {reports[-1].step.label}: {reports[-1].step.meaning}"


def _as_json(reports: list[StepReport], outcome: DialOutcome) -> dict[str, object]:
    steps = [
        {
            "step": report.step.label,
            "passed": report.passed,
            "milliseconds": round(report.seconds * 1000, 1),
            "detail": report.detail,
        }
        for report in reports
    ]
    failed = next((report.step.label for report in reports if not report.passed), None)
    return {"reached": outcome.reached, "failed_step": failed, "why": outcome.why, "steps": steps}


def _interface(name: str) -> str:
    try:
        return interface_name(name)
    except ValueError as error:
        raise typer.BadParameter(f"--interface: {error}") from error


def _routes(texts: list[str], host: str) -> tuple[IPv4Network, ...]:
    routes = []
    for text in texts:
        try:
            network = IPv4Network(text)
        except ValueError as error:
            raise typer.BadParameter(f"--route {text}: {error}") from error
        if network.prefixlen == 0 or _is_in(host, network):
            raise typer.BadParameter(f"--route {text} would lead the tunnel's own packets into the tunnel")
        routes.append(network)
    return tuple(routes)


def _is_in(host: str, network: IPv4Network) -> bool:
    """Whether ``host`` is an address, not a name, in ``network``; what a name stands for is seen when it is called."""
    try:
        return IPv4Address(host) in network
    except ValueError:
        return False
