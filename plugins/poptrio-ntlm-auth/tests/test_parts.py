"""The line protocol, the helpers and the outcomes, with helpers in memory."""

from base64 import b64decode
from collections import deque

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st

from poptrio.api import Accept, ConfigError, EapRequest, LocalEap, Reject, Unavailable, read_config, verify
from poptrio.crypto.mschap import hash_nt_password_hash, nt_password_hash
from poptrio.testing.requests import chap_md5_request, eap_identity, mschap_v1_request, mschap_v2_request, pap_request
from poptrio_ntlm_auth.helpers import HelperDied, Helpers
from poptrio_ntlm_auth.line_protocol import (
    Answer,
    BadAnswer,
    challenge_question,
    ends,
    password_question,
    read_answer,
)
from poptrio_ntlm_auth.outcomes import failure
from poptrio_ntlm_auth.plugin import NtlmAuth
from poptrio_ntlm_auth.settings import NtlmAuthConfig

PASSWORD = "correct horse"
KEY = hash_nt_password_hash(nt_password_hash(PASSWORD))
YES = b"Authenticated: Yes\nUser-Session-Key: " + KEY.hex().upper().encode() + b"\n.\n"
NO = b"Authenticated: No\nAuthentication-Error: The specified account does not exist.\n.\n.\n"


class FakeHelper:
    """Gives ``answers`` one by one; None is silence, an exception is raised."""

    def __init__(self, *answers) -> None:
        self.answers = deque(answers)
        self.questions: list[bytes] = []
        self.killed = False

    async def ask(self, question: bytes) -> bytes:
        await trio.lowlevel.checkpoint()
        self.questions.append(question)
        answer = self.answers.popleft()
        if answer is None:
            await trio.sleep_forever()
        if isinstance(answer, Exception):
            raise answer
        return answer

    def kill(self) -> None:
        self.killed = True


class Workshop:
    """Makes the given helpers, in their order."""

    def __init__(self, *helpers: FakeHelper) -> None:
        self.helpers = list(helpers)
        self.made = 0

    async def __call__(self) -> FakeHelper:
        await trio.lowlevel.checkpoint()
        self.made += 1
        return self.helpers[self.made - 1]


def plugin(workshop, limit=2, **keys) -> NtlmAuth:
    ntlm_auth = NtlmAuth()
    ntlm_auth.use(NtlmAuthConfig.model_validate(keys), Helpers(workshop, limit), answer_timeout=10.0)
    return ntlm_auth


async def test_a_right_response_gives_keys_and_proof():
    request = mschap_v2_request("alice", PASSWORD)
    assert await plugin(Workshop(FakeHelper(YES))).poptrio_authenticate(request) == verify(request, PASSWORD)


async def test_mschap_v1_gives_the_128_bit_key():
    request = mschap_v1_request("alice", PASSWORD)
    decision = await plugin(Workshop(FakeHelper(YES))).poptrio_authenticate(request)
    assert isinstance(decision, Accept)
    assert decision.mppe_keys.send == verify(request, PASSWORD).mppe_keys.send


async def test_without_a_session_key_there_is_nothing_to_encrypt_with():
    helper = FakeHelper(b"Authenticated: Yes\n.\n")
    decision = await plugin(Workshop(helper)).poptrio_authenticate(mschap_v2_request("alice", PASSWORD))
    assert isinstance(decision, Reject)
    assert "no session key" in decision.reason


async def test_pap_needs_no_key_and_an_empty_password_is_never_asked_about():
    helper = FakeHelper(b"Authenticated: Yes\n.\n")
    ntlm_auth = plugin(Workshop(helper))
    assert isinstance(await ntlm_auth.poptrio_authenticate(pap_request("alice", "")), Reject)
    assert helper.questions == []
    assert await ntlm_auth.poptrio_authenticate(pap_request("alice", PASSWORD)) == Accept(user="alice")


async def test_who_does_not_exist_is_another_plugins():
    decision = await plugin(Workshop(FakeHelper(NO))).poptrio_authenticate(mschap_v2_request("bob", PASSWORD))
    assert decision is None


async def test_protocols_that_a_domain_cannot_judge():
    ntlm_auth = plugin(Workshop())
    assert isinstance(await ntlm_auth.poptrio_authenticate(chap_md5_request("alice", PASSWORD)), Reject)
    assert await ntlm_auth.poptrio_authenticate(eap_identity("alice")) == LocalEap(("mschap-v2",))
    assert isinstance(eap_identity("alice"), EapRequest)


async def test_the_domain_of_the_name_or_of_the_configuration_is_asked():
    helper = FakeHelper(YES, YES)
    ntlm_auth = plugin(Workshop(helper), domain="HOME")
    await ntlm_auth.poptrio_authenticate(mschap_v2_request("alice", PASSWORD))
    await ntlm_auth.poptrio_authenticate(mschap_v2_request("CORP\\alice", PASSWORD))
    domains = [_field(question, b"NT-Domain") for question in helper.questions]
    assert domains == [b"HOME", b"CORP"]


async def test_a_helper_that_died_since_is_replaced_at_once():
    old, new = FakeHelper(YES, HelperDied("gone")), FakeHelper(YES)
    ntlm_auth = plugin(Workshop(old, new))
    request = mschap_v2_request("alice", PASSWORD)
    decisions = [await ntlm_auth.poptrio_authenticate(request) for _ in range(2)]
    assert all(isinstance(decision, Accept) for decision in decisions)
    assert old.killed


async def test_a_helper_that_dies_twice_is_unavailable():
    workshop = Workshop(FakeHelper(HelperDied("gone")), FakeHelper(HelperDied("gone again")))
    decision = await plugin(workshop, unavailable="next").poptrio_authenticate(pap_request("alice", PASSWORD))
    assert decision == Unavailable("gone", True)


async def test_a_helper_that_hangs_is_killed_and_the_next_question_has_another(autojump_clock):
    hanging, good = FakeHelper(None), FakeHelper(YES)
    ntlm_auth = plugin(Workshop(hanging, good), timeout=3.0)
    request = mschap_v2_request("alice", PASSWORD)
    decision = await ntlm_auth.poptrio_authenticate(request)
    assert isinstance(decision, Unavailable)
    assert "within 3 seconds" in decision.reason
    assert trio.current_time() == 3.0
    assert hanging.killed
    assert isinstance(await ntlm_auth.poptrio_authenticate(request), Accept)


async def test_no_more_helpers_than_allowed(autojump_clock):
    class Slow(FakeHelper):
        async def ask(self, question):
            await trio.sleep(1.0)
            return YES

    workshop = Workshop(*(Slow() for _ in range(10)))
    ntlm_auth = plugin(workshop, limit=3)
    async with trio.open_nursery() as nursery:
        for _ in range(9):
            nursery.start_soon(ntlm_auth.poptrio_authenticate, mschap_v2_request("alice", PASSWORD))
    assert workshop.made == 3
    assert trio.current_time() == 3.0


async def test_a_helper_out_of_step_is_not_asked_again():
    confused, good = FakeHelper(b"nonsense\n.\n"), FakeHelper(YES)
    ntlm_auth = plugin(Workshop(confused, good))
    assert isinstance(await ntlm_auth.poptrio_authenticate(pap_request("alice", PASSWORD)), Unavailable)
    assert confused.killed
    assert isinstance(await ntlm_auth.poptrio_authenticate(mschap_v2_request("alice", PASSWORD)), Accept)


@given(st.binary(max_size=80), st.binary(max_size=40), st.binary(min_size=1, max_size=80))
def test_nothing_that_a_client_says_ends_a_line(user, domain, password):
    question = password_question(user, domain, password)
    assert question.count(b"\n") == 3 + bool(domain)
    assert question.endswith(b"\n.\n")
    assert _field(question, b"Username") == user
    assert _field(question, b"Password") == password


def test_a_question_about_a_response():
    lines = challenge_question(b"alice", b"", bytes(8), bytes(24)).splitlines()
    assert lines[1:] == [
        b"LANMAN-Challenge: " + b"00" * 8,
        b"NT-Response: " + b"00" * 24,
        b"Request-User-Session-Key: Yes",
        b".",
    ]


@given(st.binary(max_size=200))
def test_no_answer_makes_the_reader_raise_anything_else(octets):
    try:
        answer = read_answer(octets)
    except BadAnswer:
        return
    assert isinstance(answer, Answer)


@pytest.mark.parametrize(
    "octets",
    [
        b".\n",
        b"Authenticated: Perhaps\n.\n",
        b"Authenticated: Yes",
        b"Authenticated: Yes\nAuthenticated: No\n.\n",
        b"Authenticated: Yes\nUser-Session-Key: 12\n.\n",
        b"Authenticated:: !\n.\n",
    ],
)
def test_what_is_no_answer(octets):
    with pytest.raises(BadAnswer):
        read_answer(octets)


def test_samba_ends_some_answers_twice():
    assert not ends(b".\n")
    assert not ends(b".\nAuthenticated: Yes\n")
    assert ends(b".\nAuthenticated: Yes\n.\n")
    assert read_answer(b".\nAuthenticated: Yes\n.\n") == read_answer(b"Authenticated: Yes\n.\n.\n")


@pytest.mark.parametrize(
    ("error", "code"),
    [
        ("NT_STATUS_WRONG_PASSWORD", 691),
        ("The referenced account is currently disabled and cannot be logged on to.", 647),
        ("Account locked out", 647),
        ("NT_STATUS_PASSWORD_EXPIRED", 648),
        ("The user account has time restrictions and cannot be logged onto at this time.", 646),
        ("something that nobody has seen yet", 691),
        ("", 691),
    ],
)
def test_the_sentences_of_samba(error, code):
    decision = failure(Answer(False, error=error), ask_next=False)
    assert isinstance(decision, Reject)
    assert decision.code == code


def test_a_controller_that_cannot_be_asked_is_unavailable():
    assert isinstance(failure(Answer(False, error="NT_STATUS_NO_LOGON_SERVERS"), ask_next=True), Unavailable)


@pytest.mark.parametrize("keys", [{"command": []}, {"helpers": 0}, {"timeout": 0}, {"unavailable": "no"}, {"x": 1}])
def test_a_fault_names_its_place(keys):
    with pytest.raises(ConfigError, match=r"plugins\.ntlm-auth"):
        read_config(NtlmAuthConfig, keys, "plugins.ntlm-auth")


def _field(question: bytes, name: bytes) -> bytes:
    line = next(line for line in question.splitlines() if line.startswith(name + b"::"))
    return b64decode(line.partition(b":: ")[2])
