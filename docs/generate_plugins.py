"""Write the tables of keys in the reference pages of the plugins from their models.

``python docs/generate_plugins.py`` writes them between the markers in each page; a test compares them, so that they
cannot fall behind.
"""

import json
from collections.abc import Sequence
from pathlib import Path

from poptrio_ldap.settings import DomainConfig, GroupConfig, LdapConfig
from poptrio_ntlm_auth.settings import NtlmAuthConfig
from poptrio_radius.authorization import RULES
from poptrio_radius.coa_config import CoaClientConfig, CoaConfig
from poptrio_radius.config import RadiusConfig, ServerConfig, TlsConfig
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from poptrio.plugins.scripts import ScriptsConfig
from poptrio.plugins.wtmp import WtmpConfig

REFERENCE = Path(__file__).resolve().parent / "reference"
RULES_BEGIN, RULES_END = "<!-- attributes, by make docs -->\n", "<!-- end of attributes -->\n"
BEGIN, END = "<!-- keys, by make docs -->\n", "<!-- end of keys -->\n"

PAGES: dict[str, Sequence[tuple[str, type[BaseModel]]]] = {
    "ldap.md": (
        ("[plugins.ldap]", LdapConfig),
        ("[plugins.ldap.domains.NAME]", DomainConfig),
        ("[[plugins.ldap.groups]]", GroupConfig),
    ),
    "ntlm-auth.md": (("[plugins.ntlm-auth]", NtlmAuthConfig),),
    "radius.md": (
        ("[plugins.radius]", RadiusConfig),
        ("Each of servers and accounting_servers", ServerConfig),
        ("tls of a server", TlsConfig),
    ),
    "scripts.md": (("[plugins.scripts]", ScriptsConfig), ("[plugins.wtmp]", WtmpConfig)),
    "radius-coa.md": (("[plugins.radius.coa]", CoaConfig), ("Each of clients", CoaClientConfig)),
}
"""The tables of each page, with the models behind them."""


def reference_page(name: str) -> str:
    """The text of ``docs/reference/NAME`` with the tables as they should be."""
    page = (REFERENCE / name).read_text("utf-8")
    before, _, rest = page.partition(BEGIN)
    _, _, after = rest.partition(END)
    tables = "\n".join(_table(heading, model) for heading, model in PAGES[name])
    return _with_rules(f"{before}{BEGIN}\n{tables}\n{END}{after}")


def _with_rules(page: str) -> str:
    """``page`` with the table of what an Access-Accept may say, if it has a place for it."""
    before, marker, rest = page.partition(RULES_BEGIN)
    if not marker:
        return page
    _, _, after = rest.partition(RULES_END)
    rows = [f"| {', '.join(f'`{name}`' for name in rule.names)} | {rule.does} |" for rule in RULES]
    table = "\n".join(["| attribute | what it does |", "|---|---|", *rows])
    return f"{before}{RULES_BEGIN}\n{table}\n\n{RULES_END}{after}"


def _table(heading: str, model: type[BaseModel]) -> str:
    rows = [
        f"| `{key}` | {_default(field)} | {' '.join((field.description or '').replace('``', '`').split())} |"
        for key, field in model.model_fields.items()
    ]
    return "\n".join([f"### {heading}", "", "| key | default | what it is |", "|---|---|---|", *rows, ""])


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "must be there"
    value = field.get_default(call_default_factory=True)
    if isinstance(value, BaseModel) or value is None:
        return ""
    return f"`{json.dumps(value, default=str)}`"


def main() -> None:
    """Write all pages."""
    for name in PAGES:
        (REFERENCE / name).write_text(reference_page(name), "utf-8")


if __name__ == "__main__":
    main()
