"""The helpers of the plugin API: verify, reject_unknown, run_blocking, read_config."""

import threading

import pytest
import trio
from pydantic import BaseModel, ConfigDict, Field

from poptrio.api import (
    Accept,
    CannotVerify,
    ChapMd5Request,
    ConfigError,
    MsChapV1Request,
    MsChapV2Request,
    PapRequest,
    Reject,
    accept_judged,
    ntlm_challenge,
    read_config,
    reject_unknown,
    run_blocking,
    verify,
)
from poptrio.crypto.mschap import (
    challenge_response,
    hash_nt_password_hash,
    nt_password_hash,
)
from poptrio.testing.requests import mschap_v1_request, mschap_v2_request

REQUESTS = [
    PapRequest(name="alice", username="alice", password="sesame"),
    ChapMd5Request(name="alice", username="alice", identifier=1, challenge=bytes(16), response=bytes(16)),
    MsChapV1Request(
        name="alice",
        username="alice",
        identifier=1,
        challenge=bytes(8),
        lm_response=bytes(24),
        nt_response=bytes(24),
        use_nt=True,
    ),
    MsChapV2Request(
        name="alice",
        username="alice",
        identifier=1,
        challenge=bytes(16),
        peer_challenge=bytes(16),
        nt_response=bytes(24),
    ),
]


def test_verify_accepts_under_the_name_it_is_told():
    request = REQUESTS[0]
    assert verify(request, "sesame") == Accept(user="alice")
    assert verify(request, "sesame", user="Alice Liddell") == Accept(user="Alice Liddell")
    assert verify(request, nt_hash=nt_password_hash("sesame")) == Accept(user="alice")


@pytest.mark.parametrize("request_", REQUESTS, ids=lambda request: request.protocol)
def test_an_unknown_user_looks_like_a_wrong_password(request_):
    wrong, unknown = verify(request_, "no such password"), reject_unknown(request_)
    assert isinstance(wrong, Reject)
    assert (wrong.code, wrong.message) == (unknown.code, unknown.message) == (691, "")
    assert wrong.reason != unknown.reason


def test_verify_says_when_a_hash_cannot_serve():
    with pytest.raises(CannotVerify):
        verify(REQUESTS[1], nt_hash=bytes(16))


@pytest.mark.parametrize("known", [{}, {"password": "x", "nt_hash": bytes(16)}])
def test_verify_wants_exactly_one_secret(known):
    with pytest.raises(ValueError):
        verify(REQUESTS[0], **known)


async def test_run_blocking_leaves_the_thread_of_the_server():
    limiter = trio.CapacityLimiter(1)
    threads = await run_blocking(lambda *args: (threading.current_thread(), args), 1, 2, limiter=limiter)
    assert threads[0] is not threading.current_thread()
    assert threads[1] == (1, 2)


async def test_run_blocking_does_not_hold_up_a_cancelled_call():
    release = threading.Event()
    limiter = trio.CapacityLimiter(1)
    with trio.CancelScope() as scope:
        async with trio.open_nursery() as nursery:

            async def wait():
                await run_blocking(release.wait, limiter=limiter)

            nursery.start_soon(wait)
            await trio.testing.wait_all_tasks_blocked()
            scope.cancel()
    assert limiter.borrowed_tokens == 1
    release.set()
    async with limiter:
        pass


class Settings(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)

    host: str
    port: int = Field(default=1812, ge=1)


def test_read_config():
    assert read_config(Settings, {"host": "radius"}, "plugins.radius") == Settings(host="radius")


def test_read_config_reports_every_fault_with_its_place():
    with pytest.raises(ConfigError) as caught:
        read_config(Settings, {"host": 5, "port": 0, "prot": 1}, "plugins.radius")
    assert sorted(map(str, caught.value.faults)) == [
        "plugins.radius.host: 5 is a whole number; text is needed",
        "plugins.radius.port: 0 is too little; it must be at least 1",
        'plugins.radius.prot: unknown table or key; did you mean "port"?',
    ]


@pytest.mark.parametrize(
    "request_",
    [mschap_v1_request("OFFICE\\alice", "sesame"), mschap_v2_request("OFFICE\\alice", "sesame")],
    ids=["v1", "v2"],
)
def test_what_somebody_else_judged_yields_what_the_hash_itself_would(request_: MsChapV1Request | MsChapV2Request):
    nt_hash = nt_password_hash("sesame")
    assert challenge_response(ntlm_challenge(request_), nt_hash) == request_.nt_response
    judged = accept_judged(request_, hash_nt_password_hash(nt_hash), user="carol")
    ours = verify(request_, nt_hash=nt_hash, user="carol")
    assert judged == ours
    assert judged.mppe_keys is not None


def test_a_session_key_of_another_size_is_none():
    with pytest.raises(ValueError, match="16 octets"):
        accept_judged(mschap_v2_request("alice", "sesame"), bytes(8))
