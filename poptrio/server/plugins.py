"""Loading plugins: from names in the configuration to registered objects whose hooks are known to be callable.

Everything that can be wrong with a plugin before it is asked anything (not installed, does not import, a misspelt hook,
a wrong argument) is found here, for all plugins at once, so that the server does not start half deaf.
"""

import difflib
import inspect
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from importlib.metadata import EntryPoint, entry_points

import pluggy
import trio

from poptrio import hookspecs
from poptrio.errors import ConfigError, ConfigFault

SPECS = {name: spec for name, spec in vars(hookspecs).items() if name.startswith(hookspecs.PREFIX)}
"""Every hook by name, in the order of `poptrio.hookspecs`."""

_PASSED = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)


@dataclass(frozen=True, slots=True)
class Plugin:
    """One loaded plugin: its name in the configuration, where it came from, and the hooks that it implements.

    ``distribution`` and ``version`` are empty for an object that was handed in directly.
    """

    name: str
    distribution: str
    version: str
    hooks: tuple[str, ...]
    _implementations: Mapping[str, pluggy.HookImpl] = field(repr=False, compare=False)

    def call(self, hook: str, arguments: Mapping[str, object]) -> object:
        """Call ``hook`` with those of ``arguments`` that it takes; for an asynchronous hook, a coroutine."""
        implementation = self._implementations[hook]
        return implementation.function(*(arguments[name] for name in implementation.argnames))

    def takes_arguments(self, hook: str) -> bool:
        """Whether it wants to know any argument of ``hook``."""
        return bool(self._implementations[hook].argnames)


def load_plugins(wanted: Mapping[str, str], extra: Mapping[str, object]) -> dict[str, Plugin]:
    """Return the plugins that ``wanted`` names, in its order; its values are the config keys that name them.

    ``extra`` are plugin objects by name, preferred to installed ones. Raises `ConfigError` with all that is wrong.
    """
    manager = pluggy.PluginManager(hookspecs.PROJECT)
    manager.add_hookspecs(hookspecs)
    installed = _installed()
    origins: dict[str, EntryPoint | None] = {}
    plugins: dict[str, object] = {}
    faults: list[ConfigFault] = []
    for name, place in wanted.items():
        try:
            origins[name] = None if name in extra else _entry_point(name, place, installed)
            plugins[name] = _plugin_object(name, extra[name] if name in extra else origins[name])
        except ConfigError as error:
            faults += error.faults
        else:
            faults += [ConfigFault(f"plugin {name}", sentence) for sentence in _flaws(plugins[name], manager)]
    if faults:
        raise ConfigError(*faults)
    for name in reversed(plugins):  # pluggy calls the last registered first
        manager.register(plugins[name], name)
    manager.check_pending()
    return {name: _plugin(name, origins[name], manager) for name in plugins}


def _installed() -> dict[str, list[EntryPoint]]:
    found: dict[str, list[EntryPoint]] = {}
    for entry_point in entry_points(group=hookspecs.PROJECT):
        found.setdefault(entry_point.name, []).append(entry_point)
    return found


def _entry_point(name: str, place: str, installed: Mapping[str, list[EntryPoint]]) -> EntryPoint:
    candidates = installed.get(name, [])
    if len(candidates) == 1:
        return candidates[0]
    if candidates:
        rivals = ", ".join(sorted(candidate.dist.name if candidate.dist else "?" for candidate in candidates))
        raise ConfigError(ConfigFault(place, f'several distributions offer a plugin "{name}": {rivals}; keep one'))
    known = f"installed are {', '.join(sorted(installed))}" if installed else "none is"
    raise ConfigError(ConfigFault(place, f'no plugin "{name}" is installed ({known}){nearest(name, installed)}'))


def _plugin_object(name: str, source: object) -> object:
    """Import what ``source`` points to; a class becomes an object of it. Whatever its code raises is a fault."""
    try:
        found = source.load() if isinstance(source, EntryPoint) else source
        return found() if isinstance(found, type) else found
    except BaseException as error:
        pass_on(error)
        sentence = f"it cannot be loaded: {type(error).__name__}: {error}"
        raise ConfigError(ConfigFault(f"plugin {name}", sentence)) from error


def _flaws(plugin: object, manager: pluggy.PluginManager) -> Iterator[str]:
    """A sentence for everything that keeps the hooks of ``plugin`` from being called as they are meant."""
    hooks = 0
    for name in dir(plugin):
        options = manager.parse_hookimpl_opts(plugin, name)
        if options is None:
            if name.startswith(hookspecs.PREFIX):
                yield f"{name} lacks the @hookimpl marker and would never be called"
            continue
        hooks += 1
        hook = options.get("specname") or name
        if any(options.get(option) for option in ("wrapper", "hookwrapper", "tryfirst", "trylast")):
            yield f"{hook} is marked with an option; the configuration sets the order, and wrappers are not called"
        if hook in SPECS:
            yield from _flaws_of_signature(hook, getattr(plugin, name))
        elif not options.get("optionalhook"):
            yield f"{hook} is no hook of poptrio{nearest(hook, SPECS)}"
    if not hooks:
        yield "it implements no hook; mark its functions with @hookimpl"


def _flaws_of_signature(hook: str, function: object) -> Iterator[str]:
    assert callable(function)
    if inspect.iscoroutinefunction(SPECS[hook]):
        if not inspect.iscoroutinefunction(function):
            yield f"{hook} must be an async function"
    elif inspect.iscoroutinefunction(function) or inspect.isasyncgenfunction(function):
        decorate = "; decorate it with @asynccontextmanager" if hook.endswith("lifespan") else ""
        yield f"{hook} must not be an async function{decorate}"
    offered = inspect.signature(SPECS[hook]).parameters
    for parameter in inspect.signature(function).parameters.values():
        has_default = parameter.default is not parameter.empty
        if parameter.name in offered and (has_default or parameter.kind not in _PASSED):
            yield f"the argument {parameter.name} of {hook} must be a plain one without default, or it is never passed"
        elif parameter.name not in offered and not has_default and parameter.kind in (*_PASSED, parameter.KEYWORD_ONLY):
            known = ", ".join(offered) or "none"
            yield f"{hook} has no argument {parameter.name}{nearest(parameter.name, offered)}; there are: {known}"


def pass_on(error: BaseException) -> None:
    """Raise what a plugin may not keep to itself, cancellation and Ctrl-C; all else that its code raises is a failure.

    ``SystemExit`` too: a library that calls ``sys.exit`` shall not stop the server.
    """
    if isinstance(error, (trio.Cancelled, KeyboardInterrupt)):
        raise error
    if isinstance(error, BaseExceptionGroup) and (rest := error.subgroup((trio.Cancelled, KeyboardInterrupt))):
        raise rest


def nearest(word: str, known: Iterable[str]) -> str:
    """``; did you mean …?`` with the one of ``known`` that looks most like ``word``, or nothing."""
    close = difflib.get_close_matches(word, list(known), n=1, cutoff=0.6)
    return f'; did you mean "{close[0]}"?' if close else ""


def _plugin(name: str, origin: EntryPoint | None, manager: pluggy.PluginManager) -> Plugin:
    distribution = origin.dist if origin is not None else None
    implementations = {
        hook: implementation
        for hook in SPECS
        for implementation in getattr(manager.hook, hook).get_hookimpls()
        if implementation.plugin_name == name
    }
    return Plugin(
        name=name,
        distribution=distribution.name if distribution else "",
        version=distribution.version if distribution else "",
        hooks=tuple(implementations),
        _implementations=implementations,
    )
