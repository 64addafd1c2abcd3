"""``poptrio check``: whether this configuration will work on this machine, and what to do where it will not."""

from collections.abc import Iterator
from dataclasses import replace
from itertools import chain

import trio
import typer
from rich.console import Console
from rich.text import Text

from poptrio.cli import checks
from poptrio.cli.checks import Finding, Level, Machine
from poptrio.cli.common import ConfigFile, ExitCode, Json, load_config, print_json
from poptrio.cli.descriptors import hard_limit
from poptrio.config import Config
from poptrio.errors import ConfigError
from poptrio.observe.log import configure, escape
from poptrio.server.hooks import Hooks, load_hooks

PLUGIN_START_TIMEOUT = 30.0
"""Seconds that all plugins together have to start."""

_STYLES = {Level.OK: "green", Level.WARNING: "yellow", Level.FAULT: "bold red"}


def check(config_file: ConfigFile, as_json: Json = False) -> None:
    """Check a configuration and this machine: each line is ok, a warning or a fault, with the remedy.

    Exit code 0 without faults, 1 with one, 2 when the configuration cannot be used.
    """
    config = load_config(config_file, as_json=as_json)
    configure("error", "console")
    findings = list(chain([Finding.ok("config", f"{config_file} is valid")], _findings(config, Machine())))
    if as_json:
        print_json([_record(finding) for finding in findings])
    else:
        _print(findings)
    if any(finding.level is Level.FAULT for finding in findings):
        raise typer.Exit(ExitCode.FAILED)


def _findings(config: Config, machine: Machine) -> Iterator[Finding]:
    remedy = "Keep it only for clients that need it; MS-CHAPv2 with 128 bits required is the least bad that PPTP has"
    for sentence in config.insecure_settings():
        yield Finding.warning("security", sentence.removesuffix("."), remedy)
    yield from plugins(config)
    yield from checks.account(config, machine)
    yield from checks.capabilities(machine, config)
    yield from checks.descriptors(config, hard_limit())
    yield from checks.datapath(config)
    if config.server.datapath != "kernel":
        yield from checks.tun(machine)
        yield from checks.interface(machine, config)
    networks = checks.local_networks()
    yield from checks.listen_addresses(config, {network.address for network in networks if network.address})
    yield from checks.ports(machine, config)
    yield from checks.gre_sockets(machine)
    yield from checks.overlaps(config, networks)
    yield from checks.forwarding(machine)
    yield from checks.reverse_path_filter(machine)
    yield from checks.helpers(machine)


def plugins(config: Config) -> Iterator[Finding]:
    """Whether every plugin loads and starts with its table; they are started and stopped for it."""
    remedy = "Correct it, or take the plugin out of the lists of plugins"
    try:
        hooks = load_hooks(config)
        trio.run(_start_and_stop, hooks, config)
    except ConfigError as error:
        for fault in error.faults:
            yield Finding.fault("plugins", str(fault), remedy)
    except trio.TooSlowError:
        yield Finding.fault("plugins", f"the plugins do not start within {PLUGIN_START_TIMEOUT:g} s", remedy)
    else:
        for plugin in hooks.table():
            origin = f" ({plugin.distribution} {plugin.version})" if plugin.distribution else ""
            yield Finding.ok("plugins", f"{plugin.name}{origin} loads and starts")


async def _start_and_stop(hooks: Hooks, config: Config) -> None:
    with trio.fail_after(PLUGIN_START_TIMEOUT):
        async with hooks.lifespan(config.plugins, replace(config.server_info(), rehearsal=True)):
            pass


def _record(finding: Finding) -> dict[str, str]:
    return {
        "level": finding.level.value,
        "subject": finding.subject,
        "sentence": finding.sentence,
        "remedy": finding.remedy,
    }


def _print(findings: list[Finding]) -> None:
    console = Console(highlight=False, soft_wrap=True)
    width = max(len(finding.subject) for finding in findings)
    for finding in findings:
        line = Text(f"{finding.level.value:8}", _STYLES[finding.level])
        line.append(f"{finding.subject:{width}}  {escape(finding.sentence)}", "default")
        console.print(line)
        if finding.remedy:
            console.print(Text(f"{'':{8 + width}}  {escape(finding.remedy)}", "dim"))
