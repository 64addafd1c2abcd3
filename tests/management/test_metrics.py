"""What /metrics says of a server, through its socket: parsed as Prometheus does, before and after calls."""

import itertools
import math
from datetime import datetime
from ipaddress import IPv4Address

import pytest
import trio
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text
from typer.testing import CliRunner

from poptrio.api import CauseOfEnd, Health, Histogram, Measurement, Metric, PoolLease, PoolState, hookimpl
from poptrio.cli import app
from poptrio.observe.metrics import METRICS, family_name

QUESTIONS = Metric("questions", "counter", "How many questions?", ("kind",))
SECONDS = Metric("seconds", "histogram", "How long?")


class Samples(dict):
    """Values by name and labels; absent is None."""

    def __init__(self, families):
        super().__init__()
        self.families = {family.name: family for family in families}
        for family in self.families.values():
            for sample in family.samples:
                self[sample.name, tuple(sorted(sample.labels.items()))] = sample.value

    def of(self, name, **labels):
        return self.get((f"poptrio_{name}", tuple(sorted(labels.items()))))


async def scrape(server, accept=""):
    answer = await server.client.get("/metrics", headers={"accept": accept})
    assert answer.status_code == 200
    parse = parse_openmetrics if "openmetrics" in answer.headers["content-type"] else parse_text
    return Samples(parse(answer.text))


async def test_a_call_is_seen_coming_up_and_gone(api):
    async with api() as server:
        before = await scrape(server)
        assert before.of("calls", state="up") == 0
        for cause in CauseOfEnd:
            assert before.of("calls_ended_total", cause=cause.label) == 0, "an increase needs something before it"
        assert before.of("refused_total", reason="max-calls") == 0
        call = await server.memory.dial()
        call.send_ip(bytes(100))
        up = await scrape(server)
        assert up.of("calls", state="up") == up.of("sessions") == up.of("control_connections") == 1
        assert up.of("call_setups_total", result="up") == 1
        assert up.of("call_setup_seconds_count") == up.of("call_step_seconds_count", step="lcp") == 1
        assert up.of("plugin_answers_total", plugin="one-user", hook="authenticate", result="accept") == 1
        assert up.of("plugin_answer_seconds_count", plugin="ip-pool", hook="allocate_address") == 1
        assert up.of("pool_addresses_held", plugin="ip-pool", pool="default") == 1
        assert up.of("ip_bytes_total", direction="in") == 120
        await call.hang_up()
        await server.memory.dial(password="wrong")
        gone = await scrape(server)
        assert gone.of("calls", state="up") == gone.of("sessions") == 0
        assert gone.of("calls_ended_total", cause="client-hung-up") == 1
        assert gone.of("calls_ended_total", cause="authentication-failed") == 1
        assert gone.of("call_setups_total", result="failed") == 1
        assert gone.of("plugin_answers_total", plugin="one-user", hook="authenticate", result="reject") == 1
        assert gone.of("ip_bytes_total", direction="in") == 120
        assert gone.of("pool_addresses_free", plugin="ip-pool", pool="default") == gone.of(
            "pool_addresses", plugin="ip-pool", pool="default"
        )


async def test_no_counter_is_less_after_calls_have_ended(api):
    async with api() as server:
        calls = [await server.memory.dial() for _ in range(3)]
        for call in calls:
            call.send_ip(bytes(50))
        up = await scrape(server)
        for call in calls:
            await call.hang_up()
        gone = await scrape(server)
    counters = [key for key in up if key[0].endswith(("_total", "_bucket", "_count"))]
    assert len(counters) > 50
    assert [key for key in counters if gone[key] < up[key]] == []


@pytest.mark.parametrize(
    ("accept", "media_type"),
    [("", "text/plain"), ("application/openmetrics-text; version=1.0.0", "application/openmetrics-text")],
)
async def test_every_metric_of_the_table_is_there_in_both_formats(api, accept, media_type):
    async with api() as server:
        answer = await server.client.get("/metrics", headers={"accept": accept})
        assert answer.headers["content-type"].startswith(media_type)
        samples = await scrape(server, accept)
    for metric in METRICS:
        family = samples.families[family_name(metric)]
        assert (family.type, family.documentation) == (metric.kind, metric.help)
        assert all(set(metric.labels) >= set(sample.labels) - {"le"} for sample in family.samples)
    assert samples.families["process_resident_memory_bytes"].samples[0].value > 1e6


@pytest.mark.parametrize("accept", ["text/plain; version=x", "application/openmetrics-text;version=1.a;escaping=b"])
async def test_an_accept_header_that_makes_no_sense_gets_an_answer(api, accept):
    async with api() as server:
        answer = await server.client.get("/metrics", headers={"accept": accept})
        assert answer.status_code == 200  # as plain text, but that prometheus-client 0.21 looks at no version
        assert answer.headers["content-type"].partition(";")[0] in ("text/plain", "application/openmetrics-text")
        assert "poptrio_build_info" in answer.text
        assert server.memory.server.stats.internal_errors == 0


async def test_the_longest_lag_is_there_for_whoever_reads(api):
    async with api() as server:
        server.memory.server.lag.observe(0.3)
        server.memory.server.lag.observe(0.002)
        first, second = await scrape(server), await scrape(server)
    for samples in (first, second):
        assert samples.of("event_loop_longest_lag_seconds", process="server") == 0.3
    assert second.of("event_loop_lag_seconds_count", process="server") == 2
    assert second.of("event_loop_lag_seconds_bucket", process="server", le="0.25") == 1


async def test_the_server_was_started_once(api):
    async with api() as server:
        told = datetime.fromisoformat((await server.get("/v1/stats"))["started"]).timestamp()
        assert (await scrape(server)).of("start_time_seconds") == told == server.memory.server.stats.started.timestamp()


async def test_refusals_have_the_limit_as_their_reason(api):
    limits = "[server]\nmax_calls_per_address = 1\nmax_unauthenticated_per_address = 2\n"
    async with api(limits) as server:
        await server.memory.dial()
        client = await server.memory.connect()
        await client.start()
        await client.request_call()
        await server.memory.connect()
        refused = await server.memory.connect()  # the third stranger
        await refused.over.wait()
        samples = await scrape(server)
    assert samples.of("refused_total", reason="max-calls-per-address") == 1
    assert samples.of("refused_total", reason="max-unauthenticated-per-address") == 1


async def test_reloads_are_told(api):
    async with api() as server:
        assert (await scrape(server)).of("config_last_reload_timestamp_seconds") == 0
        server.memory.server.stats.reloaded(good=False)
        server.memory.server.stats.reloaded(good=True)
        samples = await scrape(server)
    assert samples.of("config_reloads_total", result="bad") == samples.of("config_reloads_total", result="good") == 1
    assert samples.of("config_last_reload_timestamp_seconds") > 1.7e9


class Telling:
    """A plugin that tells what a test wants."""

    def __init__(self):
        self.told = []
        self.health = Health(ok=True, sentence="fine", details={"servers": 2})
        self.pools = []

    @hookimpl
    def poptrio_measurements(self):
        if isinstance(self.told, Exception):
            raise self.told
        return self.told

    @hookimpl
    def poptrio_health(self):
        return self.health

    @hookimpl
    def poptrio_pools(self):
        return self.pools


async def test_what_a_plugin_measures_is_told_under_its_name(api):
    plugin = Telling()
    seconds = Histogram((0.1, 1.0))
    seconds.observe(0.1)
    seconds.observe(5)
    plugin.told = [QUESTIONS.at(3, "hard"), QUESTIONS.at(1, 'quo"ted\n'), SECONDS.at(seconds)]
    async with api(plugins={"my-plugin": plugin}) as server:
        samples = await scrape(server)
    assert samples.of("my_plugin_questions_total", kind="hard") == 3
    assert samples.of("my_plugin_questions_total", kind='quo"ted\n') == 1
    assert samples.of("my_plugin_seconds_bucket", le="0.1") == 1
    assert samples.of("my_plugin_seconds_bucket", le="+Inf") == samples.of("my_plugin_seconds_count") == 2
    assert math.isclose(samples.of("my_plugin_seconds_sum"), 5.1)


def _broken_histogram():
    histogram = Histogram((0.1, 1.0))
    histogram.counts = [1]
    return histogram


@pytest.mark.parametrize(
    "told",
    [
        RuntimeError("broken"),
        ["no measurement"],
        [QUESTIONS.at(1, "a"), QUESTIONS.at(2, "a")],
        [QUESTIONS.at(1, "a"), Metric("questions", "gauge", "?").at(1)],
        [QUESTIONS.at(1, str(number)) for number in range(2001)],
        [QUESTIONS.at(1, 5)],
        [QUESTIONS.at("many", "a")],
        [QUESTIONS.at(1, "\ud800")],
        [Metric("answers", "rate", "?").at(1)],
        [Metric("answers", "gauge", None).at(1)],
        [SECONDS.at(_broken_histogram())],
    ],
    ids=[
        *("raises", "type", "twice", "two metrics", "too many", "label", "value", "no UTF-8", "kind", "help"),
        "histogram",
    ],
)
async def test_a_plugin_that_cannot_tell_costs_its_own_metrics_only(api, told):
    plugin, other = Telling(), Telling()
    plugin.told, other.told = told, [QUESTIONS.at(1, "good")]
    async with api(plugins={"bad": plugin, "other": other}) as server:
        samples = await scrape(server)
        samples = await scrape(server)
    assert samples.of("calls", state="up") == 0
    assert samples.of("other_questions_total", kind="good") == 1
    assert not any(name.startswith("poptrio_bad_") for name, _ in samples)
    assert samples.of("plugin_report_failures_total", plugin="bad", hook="measurements") >= 1


async def test_no_plugin_can_speak_for_the_server(api):
    plugin = Telling()
    plugin.told = [Metric("addresses", "gauge", "?", ("plugin", "pool")).at(77, "ip-pool", "default")]
    async with api(plugins={"pool": plugin}) as server:
        samples = await scrape(server)
    assert samples.of("pool_addresses", plugin="ip-pool", pool="default") > 77


async def test_plugins_and_their_health(api):
    plugin = Telling()
    async with api(plugins={"tells": plugin}) as server:
        rows = {row["name"]: row for row in (await server.get("/v1/plugins"))["plugins"]}
        assert rows["tells"]["health"] == {"ok": True, "sentence": "fine", "remedy": "", "details": {"servers": 2}}
        assert rows["one-user"]["health"]["sentence"] == "it was not asked yet"
        assert rows["ip-pool"]["version"]
        assert rows["ip-pool"]["hooks"][:2] == ["poptrio_lifespan", "poptrio_allocate_address"]
        await server.memory.dial(password="wrong")
        plugin.health = "well"
        rows = {row["name"]: row for row in (await server.get("/v1/plugins"))["plugins"]}
        assert rows["one-user"]["health"]["ok"], "a refusal is an answer"
        assert rows["one-user"]["last_success"]
        assert not rows["tells"]["health"]["ok"]
        assert (await scrape(server)).of("plugin_healthy", plugin="tells") == 0


@pytest.mark.parametrize(
    "health",
    [
        Health(ok="yes", sentence="fine"),
        Health(ok=True, sentence=None),
        Health(ok=True, sentence="\ud800"),
        Health(ok=True, sentence="fine", details={"a": object()}),
        Health(ok=True, sentence="fine", details=5),
    ],
)
async def test_health_that_is_none_costs_nobody_else_a_report(api, health):
    plugin = Telling()
    plugin.health = health
    async with api(plugins={"bad": plugin}) as server:
        rows = {row["name"]: row["health"]["ok"] for row in (await server.get("/v1/plugins"))["plugins"]}
        samples = await scrape(server)
    assert rows == {"bad": False, "one-user": True, "ip-pool": True}
    assert samples.of("plugin_report_failures_total", plugin="bad", hook="health") >= 1


@pytest.mark.parametrize(
    "pools",
    [
        [PoolState(name="a", size=None, held=0)],
        [PoolState(name="a", size=1, held="none")],
        [PoolState(name=5, size=1, held=0)],
        [PoolState(name="\ud800", size=1, held=0)],
        (PoolState(name=str(number), size=1, held=0) for number in itertools.count()),
    ],
    ids=["size", "held", "name", "no UTF-8", "too many"],
)
async def test_pools_that_are_none_cost_nobody_else_a_report(api, pools):
    plugin = Telling()
    plugin.pools = pools
    async with api(plugins={"bad": plugin}) as server:
        (pool,) = (await server.get("/v1/pools"))["pools"]
    assert pool["plugin"] == "ip-pool"


class Silent:
    """An authentication plugin that fails until it is well."""

    well = False

    @hookimpl
    async def poptrio_authenticate(self, request):
        if not self.well:
            raise RuntimeError("a secret")


async def test_a_plugin_without_a_health_hook_is_judged_by_its_last_answer(api):
    plugin = Silent()
    async with api(plugins={"silent": plugin}) as server:
        await server.memory.dial()
        (row,) = [row for row in (await server.get("/v1/plugins"))["plugins"] if row["name"] == "silent"]
        assert not row["health"]["ok"]
        assert row["last_error"] == row["health"]["sentence"]
        assert "RuntimeError" in row["last_error"]
        assert "a secret" not in str(row)
        assert row["health"]["remedy"]
        assert (row["last_success"], bool(row["last_failure"])) == (None, True)
        plugin.well = True
        await server.memory.dial()
        (row,) = [row for row in (await server.get("/v1/plugins"))["plugins"] if row["name"] == "silent"]
        assert row["health"]["ok"]


async def test_pools_page_by_page(api):
    async with api() as server:
        calls = [await server.memory.dial() for _ in range(3)]
        (pool,) = (await server.get("/v1/pools"))["pools"]
        assert (pool["plugin"], pool["pool"], pool["held"]) == ("ip-pool", "default", 3)
        assert pool["free"] == pool["size"] - 3
        first = await server.get("/v1/pools/default", limit=2)
        second = await server.get("/v1/pools/default", limit=2, offset=2)
        assert (len(first["leases"]), first["more"]) == (2, True)
        assert (len(second["leases"]), second["more"]) == (1, False)
        leases = first["leases"] + second["leases"]
        assert [lease["address"] for lease in leases] == [str(call.address) for call in calls]
        assert {lease["user"] for lease in leases} == {"alice"}
        assert leases[0]["session_id"] == (await server.get("/v1/sessions"))["sessions"][0]["session_id"]
        assert (await server.get("/v1/pools/default", user="bob"))["leases"] == []
        gone = await server.get("/v1/pools/nowhere", 404)
        assert "default" in gone["remedy"]
        assert (await server.get("/v1/pools/default", 422, limit=0))["error"]
        assert (await server.get("/v1/pools/default", 422, offset=10**30))["error"]


async def test_a_pool_may_have_any_name(api):
    async with api("[addresses.pools]\n'site/\"gold' = ['10.91.0.2-10.91.0.9']") as server:
        assert (await server.get("/v1/pools/site%2F%22gold"))["size"] == 8
        done = await trio.to_thread.run_sync(
            CliRunner().invoke, app, ["pools", "--pool", 'site/"gold', "--socket", str(server.socket)]
        )
        assert (done.exit_code, done.stdout.split()) == (0, ["address", "user", "session"])


async def test_two_plugins_with_a_pool_of_one_name(api):
    plugin = Telling()
    lease = PoolLease(address=IPv4Address("10.1.0.1"), user="bob", session_id="x")
    plugin.pools = [PoolState.of("default", 5, [lease])]
    async with api(plugins={"mine": plugin, "ip-pool": "ip-pool"}) as server:
        assert [pool["plugin"] for pool in (await server.get("/v1/pools"))["pools"]] == ["mine", "ip-pool"]
        assert "mine, ip-pool" in (await server.get("/v1/pools/default", 409))["remedy"]
        mine = await server.get("/v1/pools/default", plugin="mine")
        assert mine["leases"] == [{"address": "10.1.0.1", "user": "bob", "session_id": "x"}]
        plugin.pools = [PoolState.of("default", 5, ()), PoolState.of("default", 6, ())]
        assert [pool["plugin"] for pool in (await server.get("/v1/pools"))["pools"]] == ["ip-pool"]


def test_a_metric_that_cannot_be_one():
    for name in ("Requests", "requests_total", "a-b", "", "a__b"):
        with pytest.raises(ValueError):
            Metric(name, "counter", "?")
    with pytest.raises(ValueError):
        Metric("x", "gauge", "?", ("le",))
    with pytest.raises(ValueError):
        QUESTIONS.at(1)
    with pytest.raises(ValueError):
        SECONDS.at(1.0)
    with pytest.raises(ValueError):
        Measurement(QUESTIONS, Histogram(), ("a",))
