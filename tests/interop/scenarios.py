"""What happens in a row: each scenario plays one kind of call from dial to end and says what it found.

A scenario gets a `Stage` with the guest, a running server and capture, and clients to dial with; it raises `RowFailed`
(or one of the errors of client, server and guest) when the row's expectation does not hold.
"""

import functools
import re
import statistics
import subprocess
import time

import traffic
from client import end_all_calls
from stage import Stage, expect

SET_UPS_MEASURED = 5
IDLE_TIME = 20.0  # seconds
UPGRADE_PINGS = 300
SMALL_MTU = 600  # bytes
HUNG_UP = "cause=client-hung-up"


def carries_traffic(stage: Stage) -> None:
    """A call comes up, carries traffic, and the client hangs up."""
    client, call = stage.dial_up()
    stage.carries(call)
    client.hang_up()


def carries_traffic_seen_inside(stage: Stage) -> None:
    """As `carries_traffic`, with a second capture on the server's TUN: what comes out of the tunnel is well-formed."""
    stage.start_capture(stage.server.interface)
    carries_traffic(stage)


def is_refused_a_login(stage: Stage) -> None:
    """Authentication fails: pppd says so and ends, and no call comes up."""
    client = stage.client()
    client.start()
    client.wait_exit()
    expect("authentication failed" in client.log(), "pppd did not say that authentication failed")
    stage.outcome.note = _failure_on_the_wire(client.log())
    stage.server.wait_for("cause=authentication-failed")


def is_refused_by_eap(stage: Stage) -> None:
    """EAP-MSCHAPv2 fails: pppd ends, and no call comes up."""
    client = stage.client()
    client.start()
    client.wait_exit()
    expect("rcvd [EAP Failure" in client.log(), "pppd received no EAP Failure")
    stage.server.wait_for("cause=authentication-failed")


def looks_like_a_wrong_password(stage: Stage) -> None:
    """An unknown user and a wrong password get the same failure message, but for its challenge."""
    failures = []
    for name, user in (("unknown-user", stage.dial.user), ("wrong-password", "alice")):
        client = stage.client(name, user=user)
        client.start()
        client.wait_exit()
        failures.append(_failure_on_the_wire(client.log()))
    unknown_user, wrong_password = failures
    expect(unknown_user == wrong_password, f"unknown user: {unknown_user!r}, wrong password: {wrong_password!r}")
    stage.outcome.note = unknown_user


def is_refused_without_encryption(stage: Stage) -> None:
    """A client without MPPE never comes up where the server requires it."""
    client = stage.client()
    client.start()
    client.wait_exit(30.0)
    expect("remote IP address" not in client.log(), "the client came up without encryption")
    stage.outcome.note = _why(stage.server.wait_for("cause=encryption"))


def survives_an_upgrade(stage: Stage) -> None:
    """The server's program is started anew under pings: none is lost, and the call carries traffic as before."""
    client, call = stage.dial_up()
    ping = ["ping", "-c", str(UPGRADE_PINGS), "-i", "0.01", "-W", "2", call.address]
    with subprocess.Popen(ping, stdout=subprocess.PIPE, text=True) as pings:
        stage.server.upgrade()
        stage.outcome.note = stage.server.wait_for("calls taken over")
        output, _ = pings.communicate(timeout=60.0)
    expect(f"{UPGRADE_PINGS} received" in output, f"pings through an upgrade: {output[-300:]}")
    stage.carries(call)
    client.hang_up()
    stage.server.wait_for(HUNG_UP)


def small_mtu(stage: Stage) -> None:
    """Client's MTU and MRU are small: what fits crosses, what does not is answered with fragmentation-needed."""
    client, call = stage.dial_up()
    output = stage.ping(call.address, 1400, count=1)
    reported = traffic.reported_mtu(output)
    expect(reported is not None, f"a packet of 1400 bytes to the client got no fragmentation-needed: {output}")
    stage.outcome.note = f"fragmentation-needed says {reported}"
    stage.carries(call, SMALL_MTU)
    client.hang_up()


def client_sends_echoes(stage: Stage) -> None:
    """The client sends an LCP Echo-Request each second, and every one is answered."""
    _echoes(stage, request=r"sent \[LCP EchoReq id=(\S+)", reply=r"rcvd \[LCP EchoRep id=(\S+)")


def server_sends_echoes(stage: Stage) -> None:
    """The server sends an LCP Echo-Request each second, and takes the client's replies for what they are."""
    _echoes(stage, request=r"rcvd \[LCP EchoReq id=(\S+)", reply=r"sent \[LCP EchoRep id=(\S+)")


def idle(stage: Stage) -> None:
    """Nothing is sent for a while; the call is still there and carries traffic after it."""
    client, call = stage.dial_up()
    time.sleep(IDLE_TIME)
    expect(client.exit_status() is None, "the call ended while it was idle")
    stage.carries(call)
    client.hang_up()


def sets_up_without_a_pause(stage: Stage) -> None:
    """Several calls one after another: the server's share of their set-ups is small. The median, for fairness."""
    for number in range(SET_UPS_MEASURED):
        client = stage.client(f"call-{number}")
        client.start()
        stage.is_up(client)
        client.hang_up()
    shares = [set_up.server for set_up in stage.measured_set_ups()]
    median = statistics.median(shares)
    stage.outcome.note = f"median of the server's share: {median * 1e3:.1f} ms"
    expect(median < stage.server.set_up_share, stage.outcome.note)


def client_hangs_up(stage: Stage) -> None:
    """pppd hangs up; the server says so, and the same user can dial again."""
    client, call = stage.dial_up()
    stage.carries(call)
    client.hang_up()
    stage.outcome.note = _why(stage.server.wait_for(HUNG_UP))
    again = stage.client("again")
    again.start()
    second = stage.is_up(again)
    expect(second.address == call.address, f"the second call got {second.address}, not {call.address} again")
    again.hang_up()


def client_vanishes(stage: Stage) -> None:
    """pppd and pptp are killed without a word; the server ends the call, and the same user can dial again."""
    stage.dial_up()
    end_all_calls(stage.guest)
    stage.outcome.note = _why(stage.server.wait_for("cause="))
    again = stage.client("again")
    again.start()
    stage.carries(stage.is_up(again))
    again.hang_up()


def server_hangs_up(stage: Stage) -> None:
    """SIGTERM: the server says goodbye by LCP, the client ends, and no device or route stays."""
    client, call = stage.dial_up()
    stage.carries(call)
    stage.server.terminate()
    client.wait_for(r"rcvd \[LCP TermReq")
    client.wait_exit()
    stage.server.wait_stopped()


def three_calls_on_one_connection(stage: Stage) -> None:
    """Three calls of one machine at once, over the control connection that pptp shares among them."""
    _three_calls(stage, shared=True)
    seen = stage.control_connections()
    expect(seen == 1, f"the calls used {seen} control connections, not one")
    stage.outcome.note = "one control connection"


def three_calls_on_three_connections(stage: Stage) -> None:
    """Three calls of one machine at once, each with a control connection of its own."""
    _three_calls(stage, shared=False)
    seen = stage.control_connections()
    expect(seen == 3, f"the calls used {seen} control connections, not three")
    stage.outcome.note = "three control connections"


def _three_calls(stage: Stage, *, shared: bool) -> None:
    clients = [stage.client(f"call-{number}", own_control_connection=not shared) for number in (1, 2, 3)]
    clients[0].start()
    if shared:  # the first makes the connection that the others find
        clients[0].wait_for("Connect:")
    for client in clients[1:]:
        client.start()
    calls = [stage.is_up(client) for client in clients]
    expect(len({call.address for call in calls}) == 3, "the calls do not have three addresses")
    for call in calls:
        stage.carries(call)
    clients[0].hang_up()
    for client, call in zip(clients[1:], calls[1:], strict=True):
        expect(client.exit_status() is None, "a call ended with the hang-up of another")
        output = traffic.answered(functools.partial(stage.ping, call.address, call.mtu))
        expect(traffic.all_returned(output), "a call was dead after another hung up")
        client.hang_up()


def _echoes(stage: Stage, *, request: str, reply: str) -> None:
    """Watch five seconds of echoes in pppd's log, by their patterns, on a call that has nothing else to do."""
    client, call = stage.dial_up()
    time.sleep(5.0)
    log = client.log()
    requests, replies = set(re.findall(request, log)), set(re.findall(reply, log))
    stage.outcome.note = f"{len(replies)} of {len(requests)} Echo-Requests answered"
    # One fewer of each: a request may be due, or on its way, when the log is read.
    expect(len(requests) >= 4 and len(requests - replies) <= 1, f"in 5 s: {stage.outcome.note}")
    stage.carries(call)
    client.hang_up()


def _why(log_line: str) -> str:
    """The sentence of the server's line about the end of a call."""
    sentence = re.search(r'why="([^"]*)"', log_line)
    return sentence[1] if sentence else log_line


def _failure_on_the_wire(pppd_log: str) -> str:
    """The server's failure message without its challenge, which is random."""
    message = re.search(r'rcvd \[(?:CHAP Failure|PAP AuthNak) [^"]*"(.*)"\]', pppd_log)
    return re.sub(r"C=[0-9A-Fa-f]+", "C=…", message[1]) if message else "no failure message"
