"""Every authentication request judged by a password and by an NT hash, right and wrong."""

from dataclasses import replace
from hashlib import md5

import pytest

from poptrio.crypto.keys import mschap_v1_keys
from poptrio.crypto.mschap import challenge_response, hash_nt_password_hash, lm_password_hash, nt_password_hash
from poptrio.protocols.ppp.auth_requests import ChapMd5Request, MsChapV1Request, MsChapV2Request, PapRequest
from poptrio.protocols.ppp.proof import CannotVerify, Proof, prove

PASSWORD = "clientPass"
NT_HASH = nt_password_hash(PASSWORD)
CHALLENGE = bytes.fromhex("102db5df085d3041")

PAP = PapRequest(name="User", username="User", password=PASSWORD)
CHAP_MD5 = ChapMd5Request(
    name="User",
    username="User",
    identifier=7,
    challenge=b"sixteen octets!!",
    response=md5(b"\x07" + PASSWORD.encode() + b"sixteen octets!!").digest(),
)
MSCHAP_V1 = MsChapV1Request(
    name="User",
    username="User",
    identifier=7,
    challenge=CHALLENGE,
    lm_response=bytes(24),
    nt_response=challenge_response(CHALLENGE, NT_HASH),
    use_nt=True,
)
MSCHAP_V1_LM = replace(
    MSCHAP_V1,
    lm_response=challenge_response(CHALLENGE, lm_password_hash(PASSWORD)),
    nt_response=bytes(24),
    use_nt=False,
)
# RFC 2759 §9.2; the domain takes no part in the hash.
MSCHAP_V2 = MsChapV2Request(
    name="DOMAIN\\User",
    username="User",
    identifier=7,
    challenge=bytes.fromhex("5B5D7C7D7B3F2F3E3C2C602132262628"),
    peer_challenge=bytes.fromhex("21402324255E262A28295F2B3A337C7E"),
    nt_response=bytes.fromhex("82309ECD8D708B5EA08FAA3981CD83544233114A3D85D6DF"),
)
ALL = [PAP, CHAP_MD5, MSCHAP_V1, MSCHAP_V1_LM, MSCHAP_V2]


def kind(request):
    return request.protocol


@pytest.mark.parametrize("request_", ALL, ids=kind)
def test_right_and_wrong_password(request_):
    assert isinstance(prove(request_, PASSWORD), Proof)
    for wrong in ("clientpas", "", "clientPass ", "\udcff", "\ud800"):
        assert prove(request_, wrong) is None


@pytest.mark.parametrize("request_", [PAP, MSCHAP_V1, MSCHAP_V2], ids=kind)
def test_right_and_wrong_nt_hash(request_):
    assert isinstance(prove(request_, nt_hash=NT_HASH), Proof)
    assert prove(request_, nt_hash=bytes(16)) is None


@pytest.mark.parametrize(
    ("request_", "why"), [(CHAP_MD5, "CHAP-MD5 needs the password"), (MSCHAP_V1_LM, "LM response only")]
)
def test_where_an_nt_hash_cannot_serve(request_, why):
    with pytest.raises(CannotVerify, match=why):
        prove(request_, nt_hash=NT_HASH)


@pytest.mark.parametrize("response", [b"", b"\0", bytes(24), bytes(25)])
def test_wrong_responses(response):
    assert prove(replace(CHAP_MD5, response=response), PASSWORD) is None
    assert prove(replace(MSCHAP_V1, nt_response=response), PASSWORD) is None
    assert prove(replace(MSCHAP_V1_LM, lm_response=response), PASSWORD) is None
    assert prove(replace(MSCHAP_V2, nt_response=response), PASSWORD) is None


def test_the_lm_response_does_not_count_where_the_nt_response_is_to_be_used():
    request = replace(MSCHAP_V1_LM, use_nt=True)
    assert prove(request, PASSWORD) is None


def test_pap_and_chap_md5_yield_nothing():
    assert prove(PAP, PASSWORD) == Proof()
    assert prove(CHAP_MD5, PASSWORD) == Proof()


def test_mschap_v1_yields_keys():
    hash_hash = hash_nt_password_hash(NT_HASH)
    with_lm = Proof(mschap_v1_keys(hash_hash, lm_password_hash(PASSWORD), CHALLENGE))
    assert prove(MSCHAP_V1, PASSWORD) == with_lm
    assert prove(MSCHAP_V1_LM, PASSWORD) == with_lm
    assert prove(MSCHAP_V1, nt_hash=NT_HASH) == Proof(mschap_v1_keys(hash_hash, None, CHALLENGE))


def test_mschap_v2_yields_the_servers_keys_and_the_authenticator_response():
    proof = prove(MSCHAP_V2, PASSWORD)
    assert proof == prove(MSCHAP_V2, nt_hash=NT_HASH)
    assert proof.authenticator_response == "S=407A5589115FD0D6209F510FE9C04566932CDA56"
    # RFC 3079 §3.5.3 derives this as the server's send key.
    assert proof.mppe_keys.send == bytes.fromhex("8B7CDC149B993A1BA118CB153F56DCCB")
    assert proof.mppe_keys.receive != proof.mppe_keys.send


def test_octets_that_are_not_utf_8_are_compared_as_they_were():
    latin = "p\udce4ssword"
    assert prove(replace(PAP, password=latin), latin) is not None
    digest = md5(b"\x07p\xe4sswordsixteen octets!!").digest()
    assert prove(replace(CHAP_MD5, response=digest), latin) is not None


@pytest.mark.parametrize(
    "secrets", [{}, {"password": PASSWORD, "nt_hash": NT_HASH}, {"nt_hash": b"short"}, {"nt_hash": bytes(17)}]
)
def test_exactly_one_usable_secret(secrets):
    with pytest.raises(ValueError, match="NT hash"):
        prove(PAP, **secrets)


def test_no_secret_in_a_repr():
    proof = prove(MSCHAP_V2, PASSWORD)
    assert proof.mppe_keys.send.hex() not in repr(proof)
    assert "8B7CDC" not in repr(proof).upper()
    assert repr(proof.mppe_keys.send)[2:12] not in repr(proof)
