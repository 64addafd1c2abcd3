"""The sentence that an operator reads when a call has ended."""

from ipaddress import IPv4Address

import pytest

from poptrio.errors import CauseOfEnd
from poptrio.observe.diagnosis import CallFacts, explain, human_bytes, human_seconds, refined


def facts(cause, detail="", sentence="", gre_received=10, gre_sent=12, acknowledged=8, link_up=False, seconds=9.0):
    return CallFacts(
        peer=IPv4Address("203.0.113.9"),
        cause=cause,
        detail=detail,
        sentence=sentence,
        gre_received=gre_received,
        gre_sent=gre_sent,
        acknowledged=acknowledged,
        link_up=link_up,
        seconds=seconds,
    )


@pytest.mark.parametrize("cause", CauseOfEnd)
def test_each_cause_has_a_sentence_with_the_numbers_that_windows_shows(cause):
    sentence = explain(facts(cause, "so it is", gre_received=0 if cause is CauseOfEnd.NO_GRE else 10))
    assert cause.sentence.split(":")[0].removesuffix(" arrived") in sentence
    assert ": so it is" in sentence
    assert not sentence.endswith(".")
    for number in cause.windows_errors:
        assert str(number) in sentence.partition("(Windows shows error ")[2]
    assert ("Windows" in sentence) == bool(cause.windows_errors)


def test_labels_and_sentences_are_unique():
    assert (
        len({cause.label for cause in CauseOfEnd}) == len({cause.sentence for cause in CauseOfEnd}) == len(CauseOfEnd)
    )


def test_no_gre_names_the_client():
    assert explain(facts(CauseOfEnd.NO_GRE, gre_received=0)) == (
        "the control connection works, but no GRE packet ever arrived from 203.0.113.9: protocol 47 is blocked, "
        "or the firewall lacks its PPTP helper (Windows shows error 619 or 721 or 806)"
    )


def test_no_lcp_without_acknowledgements_names_the_direction():
    assert explain(facts(CauseOfEnd.LCP_TIMEOUT, acknowledged=0)) == (
        "GRE packets arrive from 203.0.113.9, but it acknowledges none of the 12 that were sent: protocol 47 is "
        "blocked on the way to the client (Windows shows error 619 or 721)"
    )


def test_no_lcp_with_acknowledgements_is_not_a_question_of_gre():
    assert explain(facts(CauseOfEnd.LCP_TIMEOUT)).startswith("GRE packets arrive, but LCP did not come up in time")


def test_a_detail_that_is_a_sentence_of_its_own_stands_alone():
    text = "the client closed TCP without a goodbye"
    assert explain(facts(CauseOfEnd.CONTROL_CONNECTION_LOST, sentence=text)) == text
    broken = "the client broke the protocol: Magic Cookie is 0x00000000"
    assert explain(facts(CauseOfEnd.PROTOCOL_ERROR, sentence=broken)) == f"{broken} (Windows shows error 629 or 651)"


def test_a_name_never_becomes_the_sentence():
    forged = "the client was ended by the administrator: wrong password"
    assert explain(facts(CauseOfEnd.AUTHENTICATION_FAILED, forged)).startswith(f"authentication was refused: {forged}")


HUNG_UP, LOST, NO_GRE, NO_LCP = (
    CauseOfEnd.CLIENT_HUNG_UP,
    CauseOfEnd.CONTROL_CONNECTION_LOST,
    CauseOfEnd.NO_GRE,
    CauseOfEnd.LCP_TIMEOUT,
)


@pytest.mark.parametrize(
    ("cause", "known", "expected"),
    [
        (HUNG_UP, {"gre_received": 0, "gre_sent": 2, "acknowledged": 0}, NO_GRE),
        (LOST, {"gre_received": 0, "gre_sent": 2, "acknowledged": 0}, NO_GRE),
        (HUNG_UP, {"gre_received": 0, "gre_sent": 1, "acknowledged": 0}, HUNG_UP),
        (HUNG_UP, {"gre_received": 0, "acknowledged": 0, "seconds": 0.5}, HUNG_UP),
        (HUNG_UP, {"acknowledged": 0}, NO_LCP),
        (HUNG_UP, {"acknowledged": 0, "seconds": 0.5}, HUNG_UP),
        (LOST, {"acknowledged": 0}, NO_LCP),
        (HUNG_UP, {}, HUNG_UP),
        (HUNG_UP, {"gre_received": 0, "acknowledged": 0, "link_up": True}, HUNG_UP),
        (NO_GRE, {"gre_received": 0, "acknowledged": 0}, NO_GRE),
        (NO_GRE, {"acknowledged": 0}, NO_LCP),
        (NO_GRE, {}, NO_LCP),
        (CauseOfEnd.SERVER_SHUTDOWN, {"gre_received": 0}, CauseOfEnd.SERVER_SHUTDOWN),
    ],
)
def test_where_gre_or_lcp_never_worked_that_is_the_cause(cause, known, expected):
    assert refined(facts(cause, **known)) is expected


def test_who_gave_up_on_gre_is_said_too():
    assert explain(facts(HUNG_UP, gre_received=0, acknowledged=0)) == (
        "the control connection works, but no GRE packet ever arrived from 203.0.113.9: protocol 47 is blocked, "
        "or the firewall lacks its PPTP helper; the client hung up (Windows shows error 619 or 721 or 806)"
    )
    why = explain(facts(LOST, sentence="the client closed TCP without a goodbye", acknowledged=0))
    assert "blocked on the way to the client; the client closed TCP without a goodbye (Windows" in why


def test_gre_both_ways_without_lcp():
    why = explain(facts(NO_GRE))
    assert why.startswith("GRE passes in both directions, but 203.0.113.9 sends no LCP")
    assert explain(facts(NO_GRE, acknowledged=0)).startswith("GRE packets arrive from 203.0.113.9, but it acknowledges")


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (1000, "1.0 kB"),
        (3_240_000, "3.2 MB"),
        (5 * 10**9, "5.0 GB"),
        (7 * 10**12, "7.0 TB"),
    ],
)
def test_bytes(count, text):
    assert human_bytes(count) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0.0s"), (59.94, "59.9s"), (60, "1m00s"), (3599, "59m59s"), (3600, "1h00m"), (7380, "2h03m")],
)
def test_seconds(seconds, text):
    assert human_seconds(seconds) == text
