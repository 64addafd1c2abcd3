"""What happens in the rows with OpenLDAP."""

import re

from slapd import Slapd
from stage import Stage, expect

ADDRESS = "10.91.0.21"  # radiusFramedIPAddress of the user


def has_address_of_entry(stage: Stage) -> None:
    """The directory knows the user, and the address of the entry is the call's."""
    client, call = stage.dial_up()
    expect(call.address == ADDRESS, f"the address is {call.address}, not {ADDRESS}")
    stage.carries(call)
    client.hang_up()


def directory_dies_and_returns(stage: Stage) -> None:
    """slapd is killed: the call that is up feels nothing, a new one is refused; slapd is back: calls are taken."""
    first, call = stage.dial_up()
    slapd = stage.backend.one(Slapd)
    slapd.kill()
    second = stage.client("second", own_control_connection=True)
    second.start()
    second.wait_exit(30.0)
    refusal = stage.server.wait_for("cause=authentication-unavailable")
    stage.carries(call)
    slapd.start()
    first.hang_up()
    third = stage.client("third", own_control_connection=True)
    third.start()
    stage.carries(stage.is_up(third))
    third.hang_up()
    why = re.search(r'why="([^"]*)"', refusal)
    stage.outcome.note = why[1] if why else refusal
