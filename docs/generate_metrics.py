"""Write ``docs/reference/metrics.md`` from the metrics of the server and of the plugins that come with it.

``python docs/generate_metrics.py`` writes it; a test compares it, so that it cannot fall behind.
"""

from collections.abc import Sequence
from pathlib import Path

from poptrio_ldap.metrics import METRICS as LDAP
from poptrio_ntlm_auth.metrics import METRICS as NTLM_AUTH
from poptrio_radius.metrics import METRICS as RADIUS

from poptrio.measurements import Metric
from poptrio.observe.metrics import METRICS, full_name
from poptrio.plugins.chap_secrets import METRICS as CHAP_SECRETS

REFERENCE = Path(__file__).resolve().parent / "reference" / "metrics.md"

PLUGINS: dict[str, Sequence[Metric]] = {
    "chap-secrets": CHAP_SECRETS,
    "radius": RADIUS,
    "ldap": LDAP,
    "ntlm-auth": NTLM_AUTH,
}
"""The metrics of each plugin that has its own."""

INTRODUCTION = """\
# Metrics

What `GET /metrics` of the [management socket](../howto/monitor-with-prometheus.md) tells Prometheus, and the question
that each metric answers. This page is generated from `poptrio/observe/metrics.py` and from the `METRICS` of the plugins
by `make docs`. [Monitor with Prometheus](../howto/monitor-with-prometheus.md) has a dashboard and alerts that use them.

Times are in seconds, sizes in octets. A counter only grows until the server is started again, also when calls end or
workers die. No label has the name of a user, an address of a client or a number of a call, so the number of series does
not grow with the number of calls.

After [an upgrade](../howto/upgrade-without-dropping-calls.md), calls that came up, failed and ended, refusals, internal
errors, log lines left out, and octets and packets of calls are counted on. What else is counted (reloads, set-up times,
answers of plugins, packets of no call) begins at 0, as at a start.

With [workers](../howto/use-all-cores.md), what workers count (packets, refusals, log lines left out, control
connections, their event loops) is up to 5 seconds old, and a worker that is killed takes along what it has counted
since it last told. `process_*` and `python_gc_*` are of the parent process; `process_open_fds` needs Linux 6.2.

An answer walks through all calls in slices, between which packets have their turn.
"""

NOTES = """\
## What the labels say

- `state` of a call: `starting`, `authenticating`, `negotiating`, `up`, `ending`, as in `poptrio sessions`.
- `result` of a set-up: `up`, or `failed` where the call ended before it had an address. A call that was refused at once
  is in `poptrio_refused_total` only.
- `step`: `lcp`, `authentication`, `encryption`, `network`; only calls that came up are in these histograms.
- `cause`: one of [why calls end](causes.md).
- `reason` of a refusal: a limit by its key in `[server]` (`max-calls`, `max-calls-per-address`, `max-unauthenticated`,
  `max-unauthenticated-per-address`), `too-fast`, `stopping`, `upgrading`, `draining`, `no-call-id`, `wrong-request`, or
  `plugin`.
- `hook` without `poptrio_`; `result` of an answer: `accept`, `reject`, `challenge`, `local-eap`, `unavailable`,
  `lease`, `no-address`, `refusal` (of `admit`), `none` (not mine, no objection, or taken note of), and `failed`,
  `too-slow`, `wrong-type` where the plugin has failed.
- `direction`: `in` and `received` from clients, `out` and `sent` to them.
- `reason` of a dropped packet: `clear-text` and `foreign-source` by encryption enforcement and ingress filter,
  `no-network` before or after IPCP was up, `undecryptable`, `too-big`, `malformed`, `send-failed`. Of a stray one:
  `no-such-call`, `wrong-source`, `malformed`, `no-such-address`, `receive-failed`.
- `process`: `server`; with workers `parent`, `worker-0`, `worker-1` and so on.
- `server` of RADIUS: address and port; of LDAP: its URL. `purpose`: `authentication` or `accounting`. `directory`:
  `default`, or the domain that has servers of its own. `kind` of a dynamic authorization: `disconnect`, `change`, or
  `unknown` for what was not looked into.
"""


def reference_page() -> str:
    """The text of ``docs/reference/metrics.md``."""
    sections = ["## The server\n", _table(METRICS, "")]
    for plugin, metrics in PLUGINS.items():
        sections += [f"## {plugin}\n", _table(metrics, plugin)]
    return "\n".join([INTRODUCTION, *sections, NOTES])


def _table(metrics: Sequence[Metric], plugin: str) -> str:
    rows = (
        f"| `{full_name(metric, plugin)}` | {metric.kind} | {', '.join(f'`{name}`' for name in metric.labels)} "
        f"| {metric.help} |"
        for metric in metrics
    )
    return "\n".join(["| metric | type | labels | the question that it answers |", "|---|---|---|---|", *rows, ""])


def main() -> None:
    """Write the page."""
    REFERENCE.write_text(reference_page(), "utf-8")


if __name__ == "__main__":
    main()
