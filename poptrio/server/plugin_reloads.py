"""New settings for plugins that run, in two phases: each judges its own, and when all agree, all put them to use."""

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field

import structlog

from poptrio.config.faults import KeyPath
from poptrio.errors import ConfigError, ConfigFault
from poptrio.plugin_reload import PluginReload
from poptrio.runtime.exception_groups import leaves
from poptrio.server.plugins import Plugin, pass_on
from poptrio.server_info import ServerInfo

HOOK = "poptrio_reload"

log = structlog.get_logger("poptrio.server.hooks")


@dataclass(slots=True)
class PreparedPlugins:
    """What the plugins made of their new settings.

    ``faults`` are what is wrong with them; ``restart`` are the keys that cannot be changed, a path of two parts where
    it is a whole table.
    """

    faults: list[ConfigFault] = field(default_factory=list)
    restart: set[KeyPath] = field(default_factory=set)
    commits: list[tuple[Plugin, Callable[[], object]]] = field(default_factory=list)
    undos: list[tuple[Plugin, Callable[[], object]]] = field(default_factory=list)

    def commit(self) -> None:
        """Let all put their new settings to use; what fails is a bug of that plugin, and logged."""
        _call_all(self.commits)

    def undo(self) -> None:
        """Let all stay as they were; what fails is a bug, too."""
        _call_all(self.undos)


def prepare_plugins(
    plugins: Iterable[Plugin],
    configs: Mapping[str, Mapping[str, object]],
    server: ServerInfo,
    changed: Collection[str],
) -> PreparedPlugins:
    """Let each of ``plugins`` judge its table of ``configs``; ``changed`` are those whose tables are other ones now."""
    prepared = PreparedPlugins()
    for plugin in plugins:
        if HOOK not in plugin.hooks or not plugin.takes_arguments(HOOK):
            if plugin.name in changed:
                prepared.restart.add(("plugins", plugin.name))
            if HOOK in plugin.hooks:
                prepared.commits.append((plugin, _late(plugin)))
            continue
        _judge(plugin, {"config": configs.get(plugin.name, {}), "server": server}, prepared)
    return prepared


def _judge(plugin: Plugin, arguments: Mapping[str, object], prepared: PreparedPlugins) -> None:
    try:
        answer = plugin.call(HOOK, arguments)
    except BaseException as error:
        pass_on(error)
        causes = list(leaves(error))
        faults = [fault for cause in causes if isinstance(cause, ConfigError) for fault in cause.faults]
        if not all(isinstance(cause, ConfigError) for cause in causes):
            log.exception("plugin failed", plugin=plugin.name, hook=HOOK)
            sentence = f"it cannot judge its settings: {type(error).__name__}: {error}"
            faults.append(ConfigFault(f"plugin {plugin.name}", sentence))
        prepared.faults += faults
        return
    if isinstance(answer, PluginReload):
        prepared.commits.append((plugin, answer.commit))
        prepared.undos.append((plugin, answer.undo))
        prepared.restart |= {("plugins", plugin.name, key) for key in answer.restart}
    elif answer is not None:
        log.error("plugin answered with a wrong type", plugin=plugin.name, hook=HOOK, type=type(answer).__name__)
        sentence = f"it answered {HOOK} with a {type(answer).__name__}, which is no answer to it"
        prepared.faults.append(ConfigFault(f"plugin {plugin.name}", sentence))


def _call_all(calls: Iterable[tuple[Plugin, Callable[[], object]]]) -> None:
    for plugin, call in calls:
        try:
            call()
        except BaseException as error:
            pass_on(error)
            log.exception("plugin failed", plugin=plugin.name, hook=HOOK)


def _late(plugin: Plugin) -> Callable[[], object]:
    return lambda: plugin.call(HOOK, {})
