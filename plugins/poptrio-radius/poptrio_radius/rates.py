"""Rate limits in the languages of several vendors, made one value: `RateLimit`.

The first of these that is there decides: Mikrotik-Rate-Limit, WISPr-Bandwidth-*, Cisco-AVPair, Ascend-*. Rates are
bits per second; 0 is no limit.
"""

import re
from collections.abc import Callable
from dataclasses import replace

from poptrio.api import Rate, RateLimit
from poptrio_radius.attributes import Attributes, BadAttribute

_UNITS = {"": 1, "k": 1_000, "K": 1_000, "m": 1_000_000, "M": 1_000_000, "g": 1_000_000_000, "G": 1_000_000_000}
_RATE = re.compile(r"(\d{1,12})([kKmMgG]?)")
_SECONDS = re.compile(r"(\d{1,6}(?:\.\d{1,3})?)s?")
_CISCO = re.compile(
    r"lcp:interface-config(?:#\d+)?\s*=\s*rate-limit\s+(input|output)\s+"
    r"(?:(?:access-group(?:\s+rate-limit)?|dscp|qos-group)\s+\d+\s+)?(\d{1,12})(?:\s+(\d{1,12}))?",
    re.IGNORECASE,
)


def rate_limit(attributes: Attributes) -> RateLimit | None:
    """What the attributes say about speed; None where they say nothing. Raises `BadAttribute`."""
    for read in _READERS:
        limit = read(attributes)
        if limit is not None:
            return limit
    return None


def parse_mikrotik(text: str) -> RateLimit:
    """Mikrotik-Rate-Limit, in which rx is from the client::

        rx[/tx] [rx-burst[/tx-burst] [rx-threshold[/tx-threshold] [rx-time[/tx-time] [priority [rx-min[/tx-min]]]]]]

    Raises ValueError with a sentence.
    """
    words = text.split()
    if not 1 <= len(words) <= 6:
        raise ValueError(f"has {len(words)} words where 1 to 6 are needed")
    words += ["0"] * (6 - len(words))
    rates, bursts, thresholds = (_pair(word, _rate) for word in words[:3])
    times = _pair(words[3], _seconds)
    minimums = _pair(words[5], _rate)
    from_client, to_client = (
        _mikrotik_rate(rates[way], bursts[way], thresholds[way], times[way], minimums[way]) for way in (0, 1)
    )
    return RateLimit(from_client=from_client, to_client=to_client, priority=_priority(words[4]))


def _mikrotik_rate(bits: int, burst: int, threshold: int, seconds: float, minimum: int) -> Rate | None:
    """One direction. The threshold of a burst is the rate, its time one second, unless the text says otherwise."""
    if not bits:
        return None
    rate = Rate(bits_per_second=bits, guaranteed=minimum or None)
    if burst <= bits:
        return rate
    return replace(rate, burst_bits_per_second=burst, burst_threshold=threshold or bits, burst_seconds=seconds or 1.0)


def _pair(word: str, read: Callable[[str], float]) -> tuple[int, int]:
    """``rx/tx``, or one value for both."""
    first, slash, second = word.partition("/")
    rx = read(first)
    return rx, read(second) if slash else rx  # type: ignore[return-value]


def _rate(text: str) -> int:
    found = _RATE.fullmatch(text)
    if found is None:
        raise ValueError(f"{text!r} is not a rate as 64k or 10M")
    return int(found[1]) * _UNITS[found[2]]


def _seconds(text: str) -> float:
    found = _SECONDS.fullmatch(text)
    if found is None:
        raise ValueError(f"{text!r} is not a time in seconds")
    return float(found[1])


def _priority(text: str) -> int | None:
    if text == "0":
        return None
    if text not in "12345678" or len(text) != 1:
        raise ValueError(f"{text!r} is not a priority from 1 to 8")
    return int(text)


def _from_mikrotik(attributes: Attributes) -> RateLimit | None:
    text = attributes.text("Mikrotik-Rate-Limit")
    if not text or not text.strip():
        return None
    try:
        return parse_mikrotik(text)
    except ValueError as error:
        raise BadAttribute("Mikrotik-Rate-Limit", str(error)) from None


def _from_wispr(attributes: Attributes) -> RateLimit | None:
    up, down = attributes.number("WISPr-Bandwidth-Max-Up"), attributes.number("WISPr-Bandwidth-Max-Down")
    if up is None and down is None:
        return None
    return RateLimit(
        from_client=_plain(up, attributes.number("WISPr-Bandwidth-Min-Up")),
        to_client=_plain(down, attributes.number("WISPr-Bandwidth-Min-Down")),
    )


def _from_cisco(attributes: Attributes) -> RateLimit | None:
    ways: dict[str, Rate] = {}
    for text in attributes.texts("Cisco-AVPair"):
        found = _CISCO.match(text.strip())
        if found and int(found[2]):
            burst = int(found[3]) if found[3] else None
            ways.setdefault(found[1].lower(), Rate(bits_per_second=int(found[2]), burst_octets=burst or None))
    return RateLimit(from_client=ways.get("input"), to_client=ways.get("output")) if ways else None


def _from_ascend(attributes: Attributes) -> RateLimit | None:
    """Ascend-Xmit-Rate is to the client, and Ascend-Data-Rate from it then; two Data-Rates are to it and from it."""
    rates, sent = attributes.numbers("Ascend-Data-Rate"), attributes.number("Ascend-Xmit-Rate")
    if sent is not None:
        return RateLimit(from_client=_plain(rates[0] if rates else None), to_client=_plain(sent))
    if not rates:
        return None
    return RateLimit(to_client=_plain(rates[0]), from_client=_plain(rates[1] if len(rates) > 1 else rates[0]))


def _plain(bits: int | None, guaranteed: int | None = None) -> Rate | None:
    return Rate(bits_per_second=bits, guaranteed=guaranteed or None) if bits else None


_READERS = (_from_mikrotik, _from_wispr, _from_cisco, _from_ascend)
