"""Metrics page, dashboard and alerts say what the code says; promtool, if installed, finds no fault with them."""

import json
import re
import runpy
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from poptrio.api import Health, Measurement
from poptrio.config import Config
from poptrio.measurements import Histogram
from poptrio.observe.metrics import METRICS, Exposer, full_name

DOCS = Path(__file__).resolve().parents[2] / "docs"
GENERATOR = runpy.run_path(str(DOCS / "generate_metrics.py"))
HOWTO = (DOCS / "howto" / "monitor-with-prometheus.md").read_text("utf-8")
RULES = [
    rule
    for group in yaml.safe_load((DOCS / "monitoring" / "alerts.yml").read_text("utf-8"))["groups"]
    for rule in group["rules"]
]
DASHBOARD = json.loads((DOCS / "monitoring" / "grafana.json").read_text("utf-8"))
TARGETS = [(panel["title"], target["expr"]) for panel in DASHBOARD["panels"] for target in panel.get("targets", [])]
ALL = {"": METRICS, **GENERATOR["PLUGINS"]}
NAME = re.compile(r"\b(?:poptrio|process|python)_[a-z0-9_]+")
BY_NAME = {
    full_name(metric, plugin) + suffix: metric
    for plugin, metrics in ALL.items()
    for metric in metrics
    for suffix in (("_bucket", "_sum", "_count") if metric.kind == "histogram" else ("",))
}
OF_THE_LIBRARY = {"process_cpu_seconds_total", "process_resident_memory_bytes"}

needs_promtool = pytest.mark.skipif(
    shutil.which("promtool") is None, reason="promtool is not installed (Debian: apt-get install prometheus)"
)


def test_the_page_is_up_to_date():
    page = (DOCS / "reference" / "metrics.md").read_text("utf-8")
    assert page == GENERATOR["reference_page"](), "docs/reference/metrics.md is out of date: run `make docs`"


@pytest.mark.parametrize(("plugin", "metric"), [(plugin, metric) for plugin, ms in ALL.items() for metric in ms],
                         ids=lambda one: one if isinstance(one, str) else one.name)  # fmt: skip
def test_every_metric_has_a_row_with_its_question(plugin, metric):
    page = (DOCS / "reference" / "metrics.md").read_text("utf-8")
    (row,) = [line for line in page.splitlines() if line.startswith(f"| `{full_name(metric, plugin)}` |")]
    assert metric.kind in row
    assert re.search(r"[?.]", metric.help)
    for label in metric.labels:
        assert f"`{label}`" in row


def check(expression):
    """Every metric in ``expression`` exists, and has the labels by which it is selected."""
    names = set(NAME.findall(re.sub(r'"[^"]*"', '""', expression)))
    assert names, f"{expression} asks for nothing"
    assert names <= BY_NAME.keys() | OF_THE_LIBRARY
    for name, selectors in re.findall(r"(\w+)\{([^}]*)\}", expression):
        labels = set(re.findall(r"(\w+)\s*(?:=~|!~|!=|=)", selectors)) - {"instance", "job", "le"}
        if name in BY_NAME:
            assert labels <= set(BY_NAME[name].labels), f"{name} has no labels {labels}"


@pytest.mark.parametrize("rule", RULES, ids=[rule["alert"] for rule in RULES])
def test_an_alert_asks_for_what_there_is_and_says_what_to_do(rule):
    if rule["alert"] != "PoptrioDown":  # `up` is Prometheus' own
        check(rule["expr"])
    assert rule["labels"]["severity"] in ("warning", "critical")
    assert "instance" in rule["annotations"]["summary"]
    assert len(rule["annotations"]["description"]) > 40
    assert f"| `{rule['alert']}` |" in HOWTO


def test_labels_in_the_text_of_an_alert_survive_its_expression():
    for rule in RULES:
        kept = re.findall(r"by \(([^)]*)\)", rule["expr"])
        if not kept:
            continue
        known = {label.strip() for labels in kept for label in labels.split(",")}
        assert set(re.findall(r"\$labels\.(\w+)", rule["annotations"]["summary"])) <= known, rule["alert"]


@pytest.mark.parametrize(("title", "expression"), TARGETS)
def test_the_dashboard_asks_for_what_there_is(title, expression):
    check(expression)


def test_the_dashboard_is_whole():
    ids = [panel["id"] for panel in DASHBOARD["panels"]]
    assert len(ids) == len(set(ids)) > 25
    places = [tuple(panel["gridPos"].values()) for panel in DASHBOARD["panels"]]
    for number, (height, width, x, y) in enumerate(places):
        assert x + width <= 24
        for h2, w2, x2, y2 in places[number + 1 :]:
            assert x + width <= x2 or x2 + w2 <= x or y + height <= y2 or y2 + h2 <= y, "panels overlap"


def test_the_configuration_of_the_howto_is_one():
    (toml,) = re.findall(r"```toml\n(.*?)```", HOWTO, re.S)
    assert str(Config.parse(toml).management.listen[0]) == "192.0.2.10:9472"
    (prometheus,) = re.findall(r"```yaml\n(.*?)```", HOWTO, re.S)
    assert yaml.safe_load(prometheus)["scrape_configs"][0]["job_name"] == "poptrio"


def test_the_plugin_of_the_howto_works():
    (code,) = re.findall(r"```python\n(.*?)```", HOWTO, re.S)
    names = {}
    exec(code, names)
    plugin = names["MyPlugin"]()
    told = list(plugin.poptrio_measurements())
    assert all(isinstance(one, Measurement) for one in told)
    assert isinstance(plugin.poptrio_health(), Health)
    seen = {full_name(one.metric, "my-plugin") for one in told}
    assert seen == set(re.findall(r"`(poptrio_my_plugin_\w+)`", HOWTO))


@needs_promtool
def test_promtool_finds_no_fault_with_the_rules():
    command = ["promtool", "check", "rules", DOCS / "monitoring" / "alerts.yml"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@needs_promtool
def test_promtool_finds_no_fault_with_the_expressions_of_the_dashboard(tmp_path):
    expressions = [re.sub(r"\$instance", ".*", expression) for _, expression in TARGETS]
    rules = [{"record": f"check:panel:{number}", "expr": expression} for number, expression in enumerate(expressions)]
    file = tmp_path / "rules.yml"
    file.write_text(yaml.safe_dump({"groups": [{"name": "dashboard", "rules": rules}]}))
    done = subprocess.run(["promtool", "check", "rules", file], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@needs_promtool
def test_promtool_finds_no_fault_with_names_and_types():
    def some(metric):
        value = Histogram() if metric.kind == "histogram" else 1.0
        return metric.at(value, *("x" for _ in metric.labels))

    _, text = Exposer().text(
        map(some, METRICS), {plugin: list(map(some, ms)) for plugin, ms in ALL.items() if plugin}, ""
    )
    done = subprocess.run(["promtool", "check", "metrics"], input=text, capture_output=True)
    ours = [line for line in done.stderr.decode().splitlines() if line.startswith("poptrio")]
    assert ours == []
