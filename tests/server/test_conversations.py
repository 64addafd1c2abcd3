"""Whole calls in which the plugin and the client talk more than once: EAP, second tries, new passwords, codes."""

from hashlib import md5

import pytest
import trio

from poptrio.crypto.mschap import nt_password_hash
from poptrio.decisions import Accept, Challenge, LocalEap, Reject, Unavailable
from poptrio.hookspecs import hookimpl
from poptrio.password_change import new_password_of
from poptrio.protocols.ppp.auth_requests import (
    ChapMd5Request,
    EapRequest,
    MsChapV2ChangePasswordRequest,
    MsChapV2Request,
    PapRequest,
)
from poptrio.protocols.ppp.ccp import EncryptionPolicy
from poptrio.protocols.ppp.lcp import AuthProtocol
from poptrio.protocols.ppp.session_events import SessionSettings
from poptrio.testing.server import OneUser, memory_server
from poptrio.verify import verify

EAP = '[ppp]\nauthentication = ["eap"]\n'
CLEAR_EAP = EAP + 'encryption = "refuse"\n'
PAP = '[ppp]\nauthentication = ["pap"]\nencryption = "refuse"\n'


def speaks(protocol, encryption="require"):
    """What the client is ready for."""
    return SessionSettings(authentication=[protocol], encryption=EncryptionPolicy(encryption))


EAP_CLIENT = speaks(AuthProtocol.EAP)
CLEAR_CLIENT = speaks(AuthProtocol.EAP, "refuse")
PAP_CLIENT = speaks(AuthProtocol.PAP, "refuse")


class Plugin:
    """Answers as ``decide`` says, and remembers what it was asked."""

    def __init__(self, decide):
        self.asked = []
        self._decide = decide

    @hookimpl
    async def poptrio_authenticate(self, request):
        self.asked.append(request)
        return self._decide(request)

    def kinds(self):
        return [type(request) for request in self.asked]


class TestEap:
    async def test_ms_chap_v2_by_a_secret_with_mppe(self, autojump_clock):
        async with memory_server(EAP, [OneUser()]) as memory:
            call = await memory.dial(settings=EAP_CLIENT)
            assert (str(call.address), call.encryption) == ("10.90.0.2", "MPPE-128 stateless")
            (ours,) = memory.server.registry.calls.values()
            assert ours.authentication == "eap"

    @pytest.mark.parametrize("user", ["alice", "mallory"])
    async def test_an_unknown_user_gets_as_far_as_a_wrong_password(self, user, log, autojump_clock):
        async with memory_server(EAP, [OneUser()]) as memory:
            call = await memory.dial(user, "wrong", settings=EAP_CLIENT)
            await call.over.wait()
            assert call.session.error_code == 691
        assert log.ends()[0]["cause"] == "authentication-failed"

    async def test_md5_by_a_secret_without_encryption(self, autojump_clock):
        plugin = Plugin(
            lambda request: LocalEap(("md5",)) if isinstance(request, EapRequest) else verify(request, "correct horse")
        )
        async with memory_server(CLEAR_EAP, [plugin]) as memory:
            call = await memory.dial(settings=CLEAR_CLIENT)
            assert (call.encryption, call.address is None) == ("none", False)
        assert plugin.kinds() == [EapRequest, ChapMd5Request]

    async def test_md5_is_not_spoken_where_encryption_is_required(self, log, autojump_clock):
        async with memory_server(EAP, [Plugin(lambda request: LocalEap(("md5",)))]) as memory:
            await (await memory.dial(settings=EAP_CLIENT)).over.wait()
        assert "no EAP method is possible" in log.ends()[0]["why"]

    async def test_md5_is_not_spoken_where_the_configuration_leaves_it_out(self, log, autojump_clock):
        async with memory_server(f'{CLEAR_EAP}eap_methods = ["mschap-v2"]', [Plugin(lambda _: LocalEap())]) as memory:
            call = await memory.dial("alice", settings=CLEAR_CLIENT)
            assert any(b"\xc2\x27\x01" in frame and b"\x1a\x01" in frame for frame in call.frames)

    async def test_a_plugins_own_method_that_gives_no_keys_fails_at_encryption(self, log, autojump_clock):
        async with memory_server(EAP, [Plugin(lambda request: Accept(user="alice"))]) as memory:
            await (await memory.dial(settings=EAP_CLIENT)).over.wait()
        assert log.ends()[0]["cause"] == "encryption-not-agreed"

    async def test_a_plugins_own_method_with_its_context(self, autojump_clock):
        def decide(request):
            if request.is_identity:
                packet = b"\x01\x50\x00\x16\x04\x10" + b"c" * 16
                return Challenge(eap=packet, context="round 1")
            assert request.context == "round 1"
            right = md5(b"\x50correct horse" + b"c" * 16).digest() == request.packet[6:22]
            return Accept(user=request.username, eap=b"\x03\x50\x00\x04") if right else Reject(reason="no")

        plugin, other = Plugin(decide), Plugin(lambda request: None)
        async with memory_server(CLEAR_EAP, {"other": other, "mine": plugin}) as memory:
            call = await memory.dial(settings=CLEAR_CLIENT)
            assert call.address is not None
            assert (len(plugin.asked), len(other.asked)) == (2, 1)  # nobody else hears of the second round
            call = await memory.dial(password="wrong", settings=CLEAR_CLIENT)
            assert call.address is None


class TestSecondTry:
    @pytest.mark.parametrize(
        ("config", "settings"), [("", None), (EAP, EAP_CLIENT), ('[ppp]\nauthentication = ["mschap-v1"]', "v1")]
    )
    async def test_the_right_password_after_two_wrong_ones(self, config, settings, autojump_clock):
        def decide(request):
            decision = verify(request, "correct horse")
            return Reject(reason="wrong", retry=True) if isinstance(decision, Reject) else decision

        settings = speaks(AuthProtocol.MSCHAP_V1) if settings == "v1" else settings
        plugin = Plugin(decide)
        async with memory_server(config, [plugin]) as memory:
            call = await memory.dial(
                password="wrong", settings=settings, further_passwords=("wronger", "correct horse")
            )
            assert (call.address is not None, call.encryption) == (True, "MPPE-128 stateless")
            call = await memory.dial(password="1", settings=settings, further_passwords=("2", "3", "correct horse"))
            await call.over.wait()
            assert call.address is None

    async def test_each_wrong_one_counts_for_the_throttle(self, autojump_clock, log):
        plugin = Plugin(lambda request: Reject(reason="wrong", retry=True))
        async with memory_server("", [plugin]) as memory:
            begun = autojump_clock.current_time()
            await (await memory.dial(password="1", further_passwords=("2", "3"))).over.wait()
            assert autojump_clock.current_time() - begun >= 1.5  # half a second, then one
        assert len(plugin.asked) == 3

    async def test_a_client_without_another_password_leaves_and_the_log_knows_why(self, log, autojump_clock):
        async with memory_server("", [Plugin(lambda request: Reject(reason="wrong", retry=True))]) as memory:
            await (await memory.dial(password="wrong")).over.wait()
        assert (log.ends()[0]["cause"], "wrong" in log.ends()[0]["why"]) == ("authentication-failed", True)


class TestChangePassword:
    @pytest.mark.parametrize(("config", "settings"), [("", None), (EAP, EAP_CLIENT)])
    @pytest.mark.parametrize("hashed", [True, False])
    async def test_the_plugin_learns_the_new_password(self, config, settings, hashed, autojump_clock):
        known = {"nt_hash": nt_password_hash("old")} if hashed else {"password": "old"}
        learned = []

        def decide(request):
            match request:
                case EapRequest():
                    return LocalEap()
                case MsChapV2ChangePasswordRequest():
                    learned.append(new_password_of(request, **known))
                    return verify(request, learned[-1]) if learned[-1] else Reject(reason="not the old one", code=709)
                case _:
                    return Reject(reason="expired", code=648, retry=True)

        async with memory_server(config, [Plugin(decide)]) as memory:
            call = await memory.dial(password="old", settings=settings, new_password="new")
            assert (learned, call.encryption) == (["new"], "MPPE-128 stateless")
            call = await memory.dial(password="guess", settings=settings, new_password="mine")
            await call.over.wait()
            assert (call.address, call.session.error_code) == (None, 709)

    def test_the_old_password_is_needed_in_one_form(self):
        with pytest.raises(ValueError, match="either the old password or its NT hash"):
            new_password_of(None)


class TestPapCode:
    def decide(self, request):
        assert isinstance(request, PapRequest)
        if request.context is None:
            right = request.password == "correct horse"
            return Challenge(message="Code?", context="asked") if right else Reject(reason="wrong")
        return Accept(user=request.username) if request.password == "123456" else Reject(reason="wrong code")

    @pytest.mark.parametrize(("codes", "up"), [(("123456",), True), (("999999",), False), ((), False)])
    async def test_a_one_time_code(self, codes, up, autojump_clock):
        other = Plugin(lambda request: None)
        async with memory_server(PAP, {"other": other, "mine": Plugin(self.decide)}) as memory:
            call = await memory.dial(settings=PAP_CLIENT, further_passwords=codes)
            assert (call.address is not None) is up
        assert len(other.asked) == 1

    async def test_ms_chap_cannot_carry_it(self, log, autojump_clock):
        async with memory_server("", [Plugin(lambda request: Challenge(message="Code?"))]) as memory:
            await (await memory.dial()).over.wait()
        assert "CHAP has no way to ask the client for more" in log.ends()[0]["why"]


class TestStickiness:
    async def test_a_later_challenge_goes_to_the_plugin_that_accepted(self, autojump_clock):
        def accept(request):
            decision = verify(request, "correct horse")
            seen.append(request.context)
            return Accept(
                user="alice",
                mppe_keys=decision.mppe_keys,
                authenticator_response=decision.authenticator_response,
                context=len(seen),
            )

        seen = []
        other = Plugin(lambda request: None)
        async with memory_server(
            "[ppp]\nauthentication_interval = 60.0", {"other": other, "mine": Plugin(accept)}
        ) as m:
            await m.dial()
            await trio.sleep(125)
            assert (seen, len(other.asked)) == ([None, 1, 2], 1)

    async def test_unavailable_is_no_wrong_password(self, log, autojump_clock):
        async with memory_server("", [Plugin(lambda request: Unavailable("the directory is silent"))]) as memory:
            await (await memory.dial()).over.wait()
        assert log.ends()[0]["cause"] == "authentication-unavailable"
        assert "the directory is silent" in log.ends()[0]["why"]


async def test_the_message_of_success_reaches_the_client(autojump_clock):
    def decide(request):
        assert isinstance(request, MsChapV2Request)
        decision = verify(request, "correct horse")
        return Accept(
            user="alice",
            mppe_keys=decision.mppe_keys,
            authenticator_response=decision.authenticator_response,
            message="Mind the gap",
        )

    async with memory_server("", [Plugin(decide)]) as memory:
        call = await memory.dial()
        assert any(b" M=Mind the gap" in frame for frame in call.frames)
        assert call.address is not None
