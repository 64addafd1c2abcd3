"""Write ``docs/reference/hooks.md`` from the hook specifications in `poptrio.hookspecs`.

``python docs/generate_hooks.py`` writes it; a test compares it, so that it cannot fall behind.
"""

import inspect
import re
import textwrap
from collections.abc import Callable
from pathlib import Path

from poptrio import api, hookspecs
from poptrio.protocols.ppp.auth_requests import AuthRequest

REFERENCE = Path(__file__).resolve().parent / "reference" / "hooks.md"

INTRODUCTION = """\
# Hooks

What poptrio asks its plugins. This page is generated from `poptrio/hookspecs.py` and `poptrio/api.py` by `make docs`; a
worked example is in [write an authentication plugin](../howto/write-an-auth-plugin.md).

A plugin is a module or a class that an entry point of the group `poptrio` names; of a class, one object is made for
each server. The name of the entry point is the name for `[authentication] plugins` and `[addresses] plugins`. A plugin
that is in either list is loaded, and all its hooks are called, except that only plugins of the first list are asked who
is calling, and only plugins of the second for an address. Functions are marked with `@hookimpl` and may leave out
arguments; a hook that is `async` here must be an `async` function, and the others must not be.

poptrio does not start with a plugin that is not installed or does not import, that misspells a hook or an argument, or
that forgets the marker; it says which, and what was probably meant. An `async` hook has `[authentication] timeout`
seconds for its answer. With `POPTRIO_TRACE_HOOKS=1` in the environment the answers of plugins are printed to standard
error, each with the plugin and the milliseconds it took.
"""

WITHOUT_DOCSTRING = {
    "AddressRange": "The first and the last `IPv4Address` of a range, both included.",
    "AuthRequest": "Any of the six requests.",
    "Decision": "Any of the five answers of `poptrio_authenticate`, besides `None`.",
    "EapMethod": 'One of `"mschap-v2"`, `"md5"`.',
    "Encryption": 'One of `"require"`, `"prefer"`, `"refuse"`.',
    "hookimpl": "Marks a function as a hook.",
}

API_INTRODUCTION = """\
## poptrio.api

What a plugin may import; whatever is not here may change without notice.
"""


def reference_page() -> str:
    """The text of ``docs/reference/hooks.md``."""
    hooks = [(name, spec) for name, spec in vars(hookspecs).items() if name.startswith(hookspecs.PREFIX)]
    sections = [_section(name, spec) for name, spec in hooks]
    return "\n".join([INTRODUCTION, *sections, API_INTRODUCTION, *map(_api_line, sorted(api.__all__))]) + "\n"


def _section(name: str, spec: Callable[..., object]) -> str:
    return f"## {name}\n\n```python\n{_definition(name, spec)}\n```\n\n{_markdown(inspect.getdoc(spec))}\n"


def _definition(name: str, spec: Callable[..., object]) -> str:
    """The first line of the hook, with types as short as a plugin author writes them."""
    signature = re.sub(r"\b[a-z_.]+\.(?=[A-Z])", "", str(inspect.signature(spec)))
    signature = signature.replace(" | ".join(kind.__name__ for kind in AuthRequest.__args__), "AuthRequest")
    return f"{'async ' if inspect.iscoroutinefunction(spec) else ''}def {name}{signature}"


def _api_line(name: str) -> str:
    """One name of the API with the first paragraph of its docstring."""
    summary = WITHOUT_DOCSTRING.get(name) or _markdown(inspect.getdoc(getattr(api, name))).partition("\n\n")[0]
    return textwrap.fill(f"- `{name}`: {summary}", width=118, subsequent_indent="  ", break_on_hyphens=False)


def _markdown(docstring: str | None) -> str:
    return re.sub(r"`{1,2}([^`]+)`{1,2}", r"`\1`", docstring or "")  # Markdown has one kind of code


def main() -> None:
    """Write the page."""
    REFERENCE.write_text(reference_page(), "utf-8")


if __name__ == "__main__":
    main()
