"""What the kernel must not take from a peer: clear text where encryption is required, CCP that ends it, other sources.

Linux' PPP accepts clear IP packets while MPPE runs, and a Configure-Request or Terminate-Request of CCP makes it send
in clear at once, before any process can say no. Neither reaches it: the filter of the call's PPPoX socket drops them.
CCP's are read beside the kernel, by a raw socket (`ccp_socket`).
"""

from collections.abc import Iterable
from ipaddress import IPv4Network

from poptrio.datapath.kernel.bpf import ACCEPT, DROP, Instruction, assemble

# PPP protocols, as the kernel's filters see them.
_IPV4 = 0x0021
_ENCRYPTED = 0x00FD
_CCP = 0x80FD
_FIRST_CONTROL_PROTOCOL = 0x8000
_ADDRESS_AND_CONTROL = 0xFF03

# CCP codes (RFC 1962 §3) that end compression in Linux before it is agreed on again.
_CONFIGURE_REQUEST, _TERMINATE_REQUEST, _TERMINATE_ACK = 1, 5, 6
CCP_CODES_KEPT_BACK = (_CONFIGURE_REQUEST, _TERMINATE_REQUEST, _TERMINATE_ACK)

_GRE_PPP = 0x880B
_SEQUENCE_PRESENT = 0x10
_ACKNOWLEDGEMENT_PRESENT = 0x80

MOST_NETWORKS = 500
"""Networks of one call that the ingress filter has room for; the kernel takes 4096 instructions."""


def socket_filter(encryption_required: bool) -> bytes:
    """The filter of a PPPoX socket, which sees packets from their GRE header on.

    It reads the frame as the kernel will: behind a header of 12 or 16 octets, with or without address and control, the
    protocol in one octet or in two. What is too short for that is dropped.
    """
    only_encrypted: list[Instruction] = [
        ("jeq", _ENCRYPTED, "accept", ""),
        ("jge", _FIRST_CONTROL_PROTOCOL, "accept", "drop"),
    ]
    return assemble(
        [
            ("ldx", 0),
            *_to_ppp_frame(),
            ("ldb", 0),
            ("jset", 1, "protocol known", ""),
            ("ldh", 0),
            ("jeq", _CCP, "", "protocol known"),
            *_ccp_kept_back(yes="drop", no="accept"),
            "protocol known",
            *(only_encrypted if encryption_required else []),
            "accept",
            ("ret", ACCEPT),
            "drop",
            ("ret", DROP),
        ]
    )


def ccp_filter() -> bytes:
    """The filter of the raw GRE socket that gets what `socket_filter` keeps back of CCP; it sees the IP header too."""
    return assemble(
        [
            ("ldx_ip_header", 0),
            ("ldh", 2),
            ("jeq", _GRE_PPP, "", "drop"),
            ("ldb", 1),
            ("and", 0x07),
            ("jeq", 1, "", "drop"),
            ("ldb", 0),
            ("jset", _SEQUENCE_PRESENT, "", "drop"),
            *_to_ppp_frame(),
            ("ldh", 0),
            ("jeq", _CCP, "", "drop"),
            *_ccp_kept_back(yes="accept", no="drop"),
            "accept",
            ("ret", ACCEPT),
            "drop",
            ("ret", DROP),
        ]
    )


def ingress_filter(sources: Iterable[IPv4Network]) -> bytes:
    """The pass filter of a PPP unit: IPv4 only, and from the peer only what comes from one of ``sources``.

    It sees decrypted packets of both directions behind four octets: the direction, one without meaning, the protocol.
    """
    networks = list(sources)
    if len(networks) > MOST_NETWORKS:
        raise OSError(f"more than {MOST_NETWORKS} networks behind one call are too many for the ingress filter")
    program: list[Instruction | str] = [
        ("ldh_abs", 2),
        ("jeq", _IPV4, "", "drop"),
        ("ldb_abs", 0),
        ("jeq", 0, "from the peer", "accept"),
        "drop",
        ("ret", DROP),
        "accept",
        ("ret", ACCEPT),
        "from the peer",
    ]
    for number, network in enumerate(networks):
        program += [
            ("ld_abs", 16),
            ("and", int(network.netmask)),
            ("jeq", int(network.network_address), "", f"not {number}"),
            ("ret", ACCEPT),
            f"not {number}",
        ]
    return assemble([*program, ("ret", DROP)])


def _to_ppp_frame() -> list[Instruction | str]:
    """Move X from the GRE header to the PPP frame's protocol field (RFC 2637 §4.1)."""
    return [
        ("ldb", 1),
        ("and", _ACKNOWLEDGEMENT_PRESENT),
        ("rsh", 5),  # the four octets of the acknowledgement number
        ("add", 12),
        ("add_x", 0),
        ("tax", 0),
        ("ldh", 0),
        ("jeq", _ADDRESS_AND_CONTROL, "", "at protocol"),
        ("txa", 0),
        ("add", 2),
        ("tax", 0),
        "at protocol",
    ]


def _ccp_kept_back(*, yes: str, no: str) -> list[Instruction | str]:
    first, *others = CCP_CODES_KEPT_BACK
    last = others.pop()
    return [
        ("ldb", 2),
        ("jeq", first, yes, ""),
        *(("jeq", code, yes, "") for code in others),
        ("jeq", last, yes, no),
    ]
