"""Volume quotas: Session-Octets-Limit with Octets-Direction, and Mikrotik's limits with their gigawords."""

from poptrio.api import Quota
from poptrio_radius.attributes import Attributes


def quota(attributes: Attributes) -> Quota | None:
    """What the attributes say about volume; None where they say nothing. Mikrotik's come before the other.

    Raises `BadAttribute`.
    """
    limits = Quota(
        from_client=_gigawords(attributes, "Mikrotik-Recv-Limit"),
        to_client=_gigawords(attributes, "Mikrotik-Xmit-Limit"),
        total=_gigawords(attributes, "Mikrotik-Total-Limit"),
    )
    return limits if limits != Quota() else _session_octets(attributes)


def _gigawords(attributes: Attributes, name: str) -> int | None:
    """The limit ``name`` with its upper 32 bits; 0 is none."""
    low, high = attributes.number(name), attributes.number(f"{name}-Gigawords")
    return ((high or 0) << 32 | (low or 0)) or None


def _session_octets(attributes: Attributes) -> Quota | None:
    limit = attributes.number("Session-Octets-Limit")
    if not limit:
        return None
    match attributes.number("Octets-Direction"):
        case None | 0:
            return Quota(total=limit)
        case 1:
            return Quota(from_client=limit)
        case 2:
            return Quota(to_client=limit)
        case _:  # whichever direction has more
            return Quota(from_client=limit, to_client=limit)
