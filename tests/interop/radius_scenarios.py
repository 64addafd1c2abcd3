"""What happens in the rows with FreeRADIUS: what it decides takes effect, and what it is told of calls is right."""

import re
import time
from collections.abc import Mapping

import traffic
from freeradius import FreeRadius, Record, send
from isp import IspMachine
from network import ip
from stage import Negotiated, Stage, expect

TIMEOUT = 3.0  # seconds: Session-Timeout of "hurried" and Idle-Timeout of "lazy" in raddb/users
QUOTA = 200_000  # octets: Mikrotik-Total-Limit of "metered"
BEHIND = "10.77.0.1"  # an address in the network that is routed to "routed"


def is_billed(stage: Stage) -> None:
    """A call carries traffic and hangs up; FreeRADIUS has its Start and its Stop, and they agree with the call."""
    client, call = stage.dial_up()
    stage.carries(call)
    client.hang_up()
    start, stop = _billed(stage, call)
    expect(stop["Acct-Terminate-Cause"] == "User-Request", f"Acct-Terminate-Cause is {stop['Acct-Terminate-Cause']}")
    for name in ("Acct-Input-Octets", "Acct-Output-Octets"):
        expect(int(stop[name]) > traffic.SIZE, f"{name} is {stop[name]}, after more than {traffic.SIZE} each way")
    for name, value in (("NAS-Identifier", "poptrio"), ("Tunnel-Type", "PPTP"), ("Framed-Protocol", "PPP")):
        expect(start.get(name) == value, f"{name} is {start.get(name)} in the Start")
    stage.outcome.note = f"{stop['Acct-Input-Octets']} octets in, {stop['Acct-Output-Octets']} out"


def one_time_password(stage: Stage) -> None:
    """The password is answered with a question, which pppd shows and hangs up; the code then opens the second call."""
    first = stage.client("password")
    first.start()
    first.wait_exit()
    expect("Your code, please" in first.log(), "pppd was not shown the question")
    second = stage.client("code", password="246810")
    second.start()
    call = stage.is_up(second)
    stage.carries(call)
    second.hang_up()
    stage.outcome.note = "the code was asked for, and taken"


def static_address(stage: Stage) -> None:
    """Framed-IP-Address outside the pool, Framed-MTU and MS-Primary-DNS-Server reach the client."""
    client, call = stage.dial_up()
    expect(call.address == "10.91.0.7", f"the address is {call.address}")
    dns = re.search(r"primary   DNS address (\S+)", client.log())
    expect(dns is not None and dns[1] == "10.90.0.53", "the client was not told the name server")
    largest = traffic.reported_mtu(traffic.ping(call.address, 1400, count=1))
    expect(largest is not None and largest <= 1300, f"towards the client {largest} octets fit, not 1300")
    expect(
        traffic.all_returned(traffic.answered(lambda: traffic.ping(call.address, largest or 0))),
        "the client does not answer",
    )
    client.hang_up()
    _billed(stage, call)


def from_pool(stage: Stage) -> None:
    """Framed-Pool names one of the pools of the configuration."""
    client, call = stage.dial_up()
    expect(call.address.startswith("10.92."), f"the address {call.address} is not of the pool")
    stage.carries(call)
    client.hang_up()
    _billed(stage, call)


def routes(stage: Stage) -> None:
    """Framed-Route: the network behind the client is reached while the call is up, and the route goes with it."""
    client, call = stage.dial_up()
    stage.guest.must(f"ip address replace {BEHIND}/32 dev lo")
    expect("10.77.0.0/24" in ip("route", "show"), "there is no route to the network behind the client")
    expect(
        traffic.all_returned(traffic.answered(lambda: traffic.ping(BEHIND, 1000))),
        "the network behind the client does not answer",
    )
    client.hang_up()
    _billed(stage, call)
    expect("10.77." not in ip("route", "show"), "the route was left behind")
    stage.guest.must(f"ip address del {BEHIND}/32 dev lo")


def session_timeout(stage: Stage) -> None:
    """Session-Timeout ends the call to the second."""
    _ended_after(stage, "Session-Timeout", "session-timeout")


def idle_timeout(stage: Stage) -> None:
    """Idle-Timeout ends the call that nothing crosses, and is called by its name."""
    _ended_after(stage, "Idle-Timeout", "idle-timeout")


def quota(stage: Stage) -> None:
    """Mikrotik-Total-Limit ends the call soon after so many octets."""
    client, call = stage.dial_up()
    deadline = time.monotonic() + 20.0
    while client.exit_status() is None and time.monotonic() < deadline:
        traffic.ping(call.address, 1300, count=10)
    client.wait_exit()
    _, stop = _billed(stage, call)
    octets = int(stop["Acct-Input-Octets"]) + int(stop["Acct-Output-Octets"])
    expect(octets >= QUOTA, f"the call ended after {octets} octets already")
    expect("quota" in stage.server.wait_for("call ended"), "the log does not say that the quota was reached")
    stage.outcome.note = f"ended after {octets} of {QUOTA} octets, {stop['Acct-Terminate-Cause']}"


def port_limit(stage: Stage) -> None:
    """Port-Limit 1: the second call of the user is refused, the first one stays."""
    first, call = stage.dial_up()
    second = stage.client("second", own_control_connection=True)
    second.start()
    second.wait_exit()
    stage.outcome.note = _why(stage.server.wait_for("call ended"))
    expect(traffic.all_returned(traffic.answered(lambda: traffic.ping(call.address, 1000))), "the first call is dead")
    first.hang_up()
    _billed(stage, call)


def refused_with_message(stage: Stage) -> None:
    """Access-Reject with Reply-Message: the client is shown the message."""
    client = stage.client()
    client.start()
    client.wait_exit()
    expect("Your account has expired" in client.log(), "pppd was not shown the message")
    stage.outcome.note = _why(stage.server.wait_for("call ended"))


def disconnect(stage: Stage) -> None:
    """radclient's Disconnect-Requests: for nobody a NAK, by each attribute the right call ends."""
    nobody = send("disconnect", {"User-Name": "nobody"})
    expect("Disconnect-NAK" in nobody and "Session-Context-Not-Found" in nobody, f"for nobody: {nobody}")
    for attribute in ("Acct-Session-Id", "User-Name", "Framed-IP-Address", "Calling-Station-Id", "NAS-Port"):
        client = stage.client(attribute.lower())
        client.start()
        call = stage.is_up(client)
        start = stage.backend.one(FreeRadius).record("Start", Framed_IP_Address=call.address)
        answer = send("disconnect", {attribute: start[attribute]})
        expect("Disconnect-ACK" in answer, f"by {attribute}: {answer}")
        client.wait_exit()
        _, stop = _billed(stage, call, start)
        expect(stop["Acct-Terminate-Cause"] == "Admin-Reset", f"by {attribute}: {stop['Acct-Terminate-Cause']}")
    stage.outcome.note = "by session, user, inner and outer address, port"


def change_of_authorization(stage: Stage) -> None:
    """radclient's CoA-Requests: all of it or nothing; a new Session-Timeout ends the call."""
    client, call = stage.dial_up()
    start = stage.backend.one(FreeRadius).record("Start", Framed_IP_Address=call.address)
    session = {"Acct-Session-Id": start["Acct-Session-Id"]}
    refused = send("coa", {**session, "Session-Timeout": "1", "Framed-Compression": "None"})
    expect("CoA-NAK" in refused and "Unsupported-Attribute" in refused, f"an attribute that cannot change: {refused}")
    time.sleep(1.5)
    expect(client.exit_status() is None, "a refused change has taken effect")
    answer = send("coa", {**session, "Session-Timeout": "4", "Filter-Id": "slow", "Class": "0x676f6c64"})
    expect("CoA-ACK" in answer, f"a change that can be: {answer}")
    client.wait_exit()
    _, stop = _billed(stage, call, start)
    expect(stop["Acct-Terminate-Cause"] == "Session-Timeout", f"Acct-Terminate-Cause is {stop['Acct-Terminate-Cause']}")
    expect(stop.get("Class") == "0x676f6c64", f"the Stop has the Class {stop.get('Class')}")
    stage.outcome.note = f"ended after {stop['Acct-Session-Time']} s"


def isp_how_to(stage: Stage) -> None:
    """The page's customer dials: an address of the SQL pool, a bill with the call's octets, and the address is free."""
    machine = stage.backend.one(IspMachine)
    client, call = stage.dial_up()
    stage.carries(call)
    client.hang_up()
    machine.wait_until(lambda: bool(machine.bill()), "the bill")
    user, address, _, octets_in, octets_out, cause = machine.bill()[0]
    expect((user, address, cause) == ("alice", call.address, "User-Request"), f"the bill is {machine.bill()}")
    expect(min(int(octets_in), int(octets_out)) > traffic.SIZE, f"the bill has {octets_in} and {octets_out} octets")
    held = machine.query("SELECT count(*) FROM radippool WHERE expiry_time > now()")
    expect(held == [["0"]], f"{held} addresses are still held")
    stage.outcome.note = f"billed {octets_in} octets in, {octets_out} out"


def _ended_after(stage: Stage, terminate_cause: str, cause: str) -> None:
    client, call = stage.dial_up()
    client.wait_exit()
    _, stop = _billed(stage, call)
    expect(stop["Acct-Terminate-Cause"] == terminate_cause, f"Acct-Terminate-Cause is {stop['Acct-Terminate-Cause']}")
    line = stage.server.wait_for(f"cause={cause}")
    up = float(_field(line, "seconds")) - _set_up_seconds(stage.server.wait_for("call up"))
    expect(TIMEOUT <= up < TIMEOUT + 1.0, f"the call was up for {up:.2f} s, not {TIMEOUT:.0f}")
    stage.outcome.note = f"{up:.2f} s after it was up"


def _billed(stage: Stage, call: Negotiated, start: Record | None = None) -> tuple[Record, Record]:
    """The Start and the Stop of the newest call with this address; they must be of the same session."""
    radius = stage.backend.one(FreeRadius)
    start = start or radius.record("Start", Framed_IP_Address=call.address)
    stop = radius.record("Stop", Acct_Session_Id=start["Acct-Session-Id"])
    kinds = [record["Acct-Status-Type"] for record in _of_session(radius.records(), start)]
    expect(kinds.count("Start") == kinds.count("Stop") == 1, f"the session was accounted as {kinds}")
    return start, stop


def _of_session(records: list[Record], start: Mapping[str, str]) -> list[Record]:
    return [record for record in records if record.get("Acct-Session-Id") == start["Acct-Session-Id"]]


def _set_up_seconds(line: str) -> float:
    milliseconds = re.search(r"network=([\d.]+)", line)
    return float(milliseconds[1]) / 1e3 if milliseconds else 0.0


def _field(line: str, name: str) -> str:
    found = re.search(rf"\b{name}=(\S+)", line)
    return found[1] if found else ""


def _why(line: str) -> str:
    found = re.search(r'why="([^"]*)"', line)
    return found[1] if found else line
