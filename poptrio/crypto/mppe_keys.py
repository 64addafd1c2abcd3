"""MPPE keys as values: what authentication yields (`MppeKeys`) and what CCP settles per direction (`MppeParameters`).

RFC 3079 derives the keys, RFC 3078 uses them; these two types are all that passes between the two.
"""

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class MppeKeys:
    """The master session keys of one authentication, from our point of view (RFC 3079 §2, §3).

    ``send`` and ``receive`` are the 16-octet start keys for 128 bits. ``weak_send`` and ``weak_receive`` are the
    8-octet start keys for 56 and 40 bits: the first half of the others under MS-CHAPv2, derived from the LM hash under
    MS-CHAPv1; None where the backend could not supply them.
    """

    send: bytes = field(repr=False)
    receive: bytes = field(repr=False)
    weak_send: bytes | None = field(default=None, repr=False)
    weak_receive: bytes | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        for key, size in ((self.send, 16), (self.receive, 16), (self.weak_send, 8), (self.weak_receive, 8)):
            if key is not None and len(key) != size:
                raise ValueError(f"an MPPE start key of {len(key)} octets where {size} are needed")


@dataclass(frozen=True, slots=True)
class MppeParameters:
    """One direction of MPPE as CCP settled it: ``bits`` is 128, 56 or 40; ``start_key`` has 16, 8 or 8 octets."""

    bits: int
    stateless: bool
    start_key: bytes = field(repr=False)

    def __str__(self) -> str:
        return f"MPPE-{self.bits} {'stateless' if self.stateless else 'stateful'}"
