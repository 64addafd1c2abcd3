"""What workers count is told to the parent, added up, and kept when a worker dies."""

import trio

from poptrio.management.metrics import exposition
from poptrio.observe.metrics import Exposer
from poptrio.runtime.loop_lag import SLOT, WINDOW
from poptrio.workers.worker import REPORT_INTERVAL

TOLD = REPORT_INTERVAL + 0.1


async def lines(workers):
    _, text = await exposition(workers.parent, Exposer())
    return set(text.decode().splitlines())


async def test_packets_of_both_workers_are_added_up_and_stay_when_one_is_killed(fleet, log, autojump_clock):
    async with fleet() as workers:
        for number in range(2):
            call = await workers.dial(number)
            call.send_ip(bytes(100))
        await trio.sleep(TOLD)
        up = await workers.parent.packets()
        assert (up["packets_in"], up["bytes_in"]) == (2, 240)
        assert up["gre_received"] > 10
        workers.sides[0].kill()
        await workers.sides[0].ended.wait()
        assert await workers.parent.packets() == up
        await workers.replace(0)
        again = await workers.dial(0)
        again.send_ip(bytes(50))
        await again.hang_up()
        await trio.sleep(TOLD)
        assert (await workers.parent.packets())["packets_in"] == 3
        assert workers.parent.stats.ended.total() == 2


async def test_what_belongs_to_no_call_is_told(fleet, log, autojump_clock):
    async with fleet() as workers:
        workers.sides[1].network.server.counters.no_such_call += 7
        workers.sides[1].worker.server.stats.left_out["call refused"] += 3
        await trio.sleep(TOLD)
        workers.sides[0].network.server.counters.no_such_call += 1
        await trio.sleep(TOLD)
        assert workers.parent.strays().no_such_call == 8
        told = await lines(workers)
        assert 'poptrio_stray_packets_total{reason="no-such-call"} 8.0' in told
        assert 'poptrio_log_lines_left_out_total{event="call refused"} 3.0' in told


async def test_connections_and_event_loops_of_all_processes(fleet, log, autojump_clock):
    async with fleet() as workers:
        await workers.dial(0)
        await workers.sides[1].memory.connect()
        workers.sides[1].worker.server.lag.observe(0.4)
        await trio.sleep(TOLD)
        told = await lines(workers)
        assert "poptrio_control_connections 2.0" in told
        assert 'poptrio_event_loop_longest_lag_seconds{process="worker-1"} 0.4' in told
        assert "poptrio_workers_running 2.0" in told
        told = await lines(workers)
        assert 'poptrio_event_loop_longest_lag_seconds{process="worker-1"} 0.4' in told, "reading forgets nothing"
        await trio.sleep(WINDOW + SLOT)
        told = await lines(workers)
        assert 'poptrio_event_loop_longest_lag_seconds{process="worker-1"} 0.0' in told
        assert 'poptrio_event_loop_lag_seconds_bucket{le="0.25",process="worker-1"} 0.0' not in told


async def test_refusals_by_reason_and_what_the_parent_sees_itself(fleet, log, autojump_clock):
    async with fleet("[server]\nmax_calls = 1") as workers:
        await workers.dial(0)
        client = await workers.sides[1].memory.connect()
        await client.start()
        await client.request_call()
        await trio.sleep(TOLD)
        told = await lines(workers)
        assert 'poptrio_refused_total{reason="max-calls"} 1.0' in told
        assert 'poptrio_calls{state="up"} 1.0' in told
        assert 'poptrio_call_setups_total{result="up"} 1.0' in told
        assert 'poptrio_call_step_seconds_count{step="lcp"} 1.0' in told
        assert 'poptrio_plugin_answers_total{hook="authenticate",plugin="one-user",result="accept"} 1.0' in told
