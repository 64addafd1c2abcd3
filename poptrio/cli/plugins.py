"""``poptrio plugins``: which plugins a configuration loads, where they come from, and what they do."""

import typer

from poptrio.cli.common import ConfigFile, ExitCode, Json, load_config, print_json, report_faults
from poptrio.cli.managing import console, printed, table
from poptrio.errors import ConfigError
from poptrio.hookspecs import PREFIX
from poptrio.server.hooks import load_hooks
from poptrio.server.plugins import Plugin


def plugins(config_file: ConfigFile, as_json: Json = False) -> None:
    """Show the plugins that a configuration loads, in the order in which they are asked."""
    config = load_config(config_file, as_json=as_json)
    try:
        loaded = load_hooks(config).table()
    except ConfigError as error:
        report_faults(error.faults, as_json=as_json)
        raise typer.Exit(ExitCode.USAGE) from error
    if as_json:
        print_json([_record(plugin) for plugin in loaded])
    else:
        _print_table(loaded)


def _record(plugin: Plugin) -> dict[str, object]:
    return {
        "name": plugin.name,
        "distribution": plugin.distribution,
        "version": plugin.version,
        "hooks": [hook.removeprefix(PREFIX) for hook in plugin.hooks],
    }


def _print_table(loaded: list[Plugin]) -> None:
    rows = table("plugin", "distribution", "version", "hooks")
    for plugin in loaded:
        hooks = ", ".join(hook.removeprefix(PREFIX) for hook in plugin.hooks)
        rows.add_row(*map(printed, (plugin.name, plugin.distribution, plugin.version, hooks)))
    console().print(rows)
