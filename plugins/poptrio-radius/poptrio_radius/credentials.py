"""From what a client offered as proof to the attributes that carry it (RFC 2865, RFC 2548, RFC 3579)."""

from typing import assert_never

from poptrio.api import (
    AuthRequest,
    ChapMd5Request,
    EapRequest,
    MsChapV1Request,
    MsChapV2ChangePasswordRequest,
    MsChapV2Request,
    PapRequest,
)
from poptrio_radius.attributes import Attributes

EAP_MTU = 1300
"""Framed-MTU in requests with EAP: no EAP packet from the server shall be larger (RFC 3579 §2.4). PPP carries no less
than 1400 octets of payload nearly everywhere, and certificates do not mind another fragment."""

_PASSWORD_PIECE = 243
"""Octets of a new password in one MS-CHAP-NT-Enc-PW: 253, without 6 of Vendor-Specific's and 4 of its own."""


def credentials(request: AuthRequest) -> Attributes:
    """The attributes that prove what ``request`` says. A password is in clear; packing a request hides it.

    Raises ValueError when something does not fit into its attribute.
    """
    attributes = Attributes()
    match request:
        case PapRequest():
            attributes.add("User-Password", request.password.encode("utf-8", "surrogateescape"))
        case ChapMd5Request():
            attributes.add("CHAP-Password", bytes([request.identifier]) + request.response)
            attributes.add("CHAP-Challenge", request.challenge)
        case MsChapV1Request():
            attributes.add("MS-CHAP-Challenge", request.challenge)
            head = bytes([request.identifier, request.use_nt])
            attributes.add("MS-CHAP-Response", head + request.lm_response + request.nt_response)
        case MsChapV2Request():
            attributes.add("MS-CHAP-Challenge", request.challenge)
            head = bytes([request.identifier, request.flags & 0xFF])
            response = head + request.peer_challenge + bytes(8) + request.nt_response
            attributes.add("MS-CHAP2-Response", response)
        case MsChapV2ChangePasswordRequest():
            _add_change_of_password(attributes, request)
        case EapRequest():
            attributes.add("Framed-MTU", EAP_MTU)
            attributes.add_pieces("EAP-Message", request.packet)
        case _:
            assert_never(request)
    return attributes


def user_name(request: AuthRequest, *, as_sent: bool) -> str:
    """The User-Name to ask for.

    For EAP it is the Identity (RFC 3579 §2.1). For MS-CHAPv2 it must be one whose user part the client has hashed,
    because the server hashes it too (RFC 2759 §8.2): where the domain rule made another name, the client's is taken.
    """
    if as_sent or isinstance(request, EapRequest):
        return request.name
    if isinstance(request, MsChapV2Request | MsChapV2ChangePasswordRequest):
        hashed = request.hashed_name.decode("utf-8", "surrogateescape")
        if request.username.rpartition("\\")[2] != hashed:
            return hashed
    return request.username


def _add_change_of_password(attributes: Attributes, request: MsChapV2ChangePasswordRequest) -> None:
    """The new password, in pieces that are counted from 1, and its proof (RFC 2548 §2.2, §2.3.4)."""
    code, ident = 7, request.identifier
    attributes.add("MS-CHAP-Challenge", request.challenge)
    proof = request.encrypted_hash + request.peer_challenge + bytes(8) + request.nt_response
    attributes.add("MS-CHAP2-CPW", bytes([code, ident]) + proof + request.flags.to_bytes(2, "big"))
    for number, start in enumerate(range(0, len(request.encrypted_password), _PASSWORD_PIECE), start=1):
        piece = request.encrypted_password[start : start + _PASSWORD_PIECE]
        attributes.add("MS-CHAP-NT-Enc-PW", bytes([6, ident]) + number.to_bytes(2, "big") + piece)
