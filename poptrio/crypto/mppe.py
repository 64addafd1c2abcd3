"""MPPE (RFC 3078): encryption of PPP datagrams under session keys that change with a 12-bit coherency count. Hot path.

In stateless mode the key changes before every packet, so a packet depends on nothing but its count. In stateful mode
one RC4 key stream runs on from packet to packet; the key changes at every *flag* packet (low octet of the count 0xff),
and after a loss the receiver asks for a FLUSHED packet by a CCP Reset-Request.

What a FLUSHED packet means is where implementations differ. RFC 3078 §8.2 starts the key stream anew with the current
key; Linux changes the key first. Both change it at a flag packet. Therefore:

- `MppeEncryptor` answers a Reset-Request by moving its count on to the next flag packet and sending that one FLUSHED.
  Either kind of receiver sees that packets are missing, counts the flag packets among them, and changes the key here;
  and unlike an RFC flush this never encrypts two packets with the same key stream (§9 warns of that). The first packet
  is not FLUSHED, against §3.1, because Linux would change the key there as well, and does not send it so itself.
- `MppeDecryptor` tries the current key and then its successors on the first octets of a FLUSHED packet and keeps the
  one that gives a PPP datagram. More than one successor, since Linux also changes the key for FLUSHED packets that get
  lost on the way.

Windows 95 and 98 confuse the two modes in one direction: the first packet shows in which one the peer really sends.
"""

from hashlib import sha1

from poptrio.crypto import rc4
from poptrio.crypto.keys import SHA_PAD1, SHA_PAD2, WEAK_PREFIX, initial_session_key
from poptrio.crypto.mppe_keys import MppeParameters

# The two octets before the ciphertext: bits A (FLUSHED) and D (encrypted), and the coherency count (RFC 3078 §3.1).
_FLUSHED = 0x8000
_ENCRYPTED = 0x1000
_COUNT = 0x0FFF
_FLAG = 0xFF

# A count this far ahead of the expected one is one of the last 255 again, repeated or overtaken, not so long a loss.
_LATE = 0x0F00

# How many keys after the current one are tried on a FLUSHED packet: one for each answer of Linux that was lost.
_SUCCESSORS = 8

# How many octets of a packet show whether a key is right: protocol field, IP version and length.
_HEAD = 8

# Key changes for lost packets that a peer may cause at once, and that each of its packets earns it again: a client that
# jumps to and fro in the count would otherwise cost 10 ms a packet.
_MAX_CREDIT = 4096
_CREDIT_PER_PACKET = 16

# Undecryptable packets between two Reset-Requests: at first, and at most.
_PATIENCE = 8
_MAX_PATIENCE = 32


class MppeEncryptor:
    """The sending side of one direction, for one CCP negotiation."""

    __slots__ = ("_count", "_key", "_new", "_once", "_stream")

    def __init__(self, parameters: MppeParameters, provider: rc4.Rc4Provider = rc4.default) -> None:
        self._key = _SessionKey(parameters, provider)
        self._once = provider.once
        self._new = provider.new
        self._stream = None if parameters.stateless else provider.new(self._key.current)
        self._count = 0

    def encrypt(self, payload: bytes, prefix: bytes = b"") -> bytes:
        """The information field of the PPP frame with protocol 0x00fd that carries ``payload``, behind ``prefix``.

        ``payload`` begins with its own protocol field (RFC 3078 §3.1); the information field is 2 octets longer.
        ``prefix`` is what stands before it in the frame.
        """
        count = self._count
        self._count = (count + 1) & _COUNT
        stream = self._stream
        if stream is None:
            header = prefix + (_FLUSHED | _ENCRYPTED | count).to_bytes(2, "big")
            return header + self._once(self._key.change(), payload)
        if count & _FLAG != _FLAG:
            return prefix + (_ENCRYPTED | count).to_bytes(2, "big") + stream.update(payload)
        # Every flag packet is FLUSHED, requested or not: its key stream is new, and Linux drops it otherwise.
        stream = self._stream = self._new(self._key.change())
        return prefix + (_FLUSHED | _ENCRYPTED | count).to_bytes(2, "big") + stream.update(payload)

    def reset(self) -> None:
        """The peer sent a CCP Reset-Request: make the next packet one that it can begin again with (RFC 3078 §8.2).

        Changes nothing in stateless mode, where every packet is of that kind.
        """
        if self._stream is not None:
            self._count |= _FLAG


class MppeDecryptor:
    """The receiving side of one direction, for one CCP negotiation.

    ``reset_needed`` becomes True when the key stream is lost (stateful mode only): the caller sends one CCP
    Reset-Request and sets it back to False. It becomes True again while packets come that cannot be decrypted, at the
    8th, 16th, 32nd, 64th and then every 32, in case the request or its answer was lost; surplus answers do no harm.
    """

    __slots__ = (
        "_ask_at", "_credit", "_expected", "_key", "_lost", "_new", "_once", "_stream", "_untouched", "reset_needed",
    )  # fmt: skip

    def __init__(self, parameters: MppeParameters, provider: rc4.Rc4Provider = rc4.default) -> None:
        self._key = _SessionKey(parameters, provider)
        self._once = provider.once
        self._new = provider.new
        self._stream = None if parameters.stateless else provider.new(self._key.current)
        self._expected = 0
        self._untouched = True
        self._lost = 0  # undecryptable packets since the key stream was lost; 0: we have it
        self._ask_at = 1
        self._credit = _MAX_CREDIT
        self.reset_needed = False

    def decrypt(self, packet: bytes, start: int = 0) -> bytes | None:
        """The datagram in ``packet``, its protocol field first, or None: dropped.

        What stands in ``packet`` from ``start`` on is the information field of a PPP frame with protocol 0x00fd. Never
        raises, whatever the octets.
        Dropped are packets that are too short, not encrypted (bit D), late or repeated, and in stateful mode those
        that come after a loss. Up to 3840 lost packets in a row are made up for; where that happens again and again,
        catching up takes a few more.
        """
        if len(packet) < start + 3:
            return None
        header = packet[start] << 8 | packet[start + 1]
        gap = (header - self._expected) & _COUNT
        if gap > _LATE or not header & _ENCRYPTED:
            return None
        data = packet[start + 2 :]
        if self._untouched:
            self._untouched = False
            if not gap:
                self._settle_mode(data)
        stream = self._stream
        if stream is None:
            if gap:
                if not self._catch_up(gap):
                    return None
            elif self._credit < _MAX_CREDIT:
                self._credit += _CREDIT_PER_PACKET
            self._expected = (header + 1) & _COUNT
            return self._once(self._key.change(), data)
        if gap or self._lost or header & _FLUSHED or header & _FLAG == _FLAG:
            return self._restart(header, gap, data)
        self._expected = (header + 1) & _COUNT
        return stream.update(data)

    def _catch_up(self, gap: int) -> bool:
        """Change the key once for each of ``gap`` lost packets (RFC 3078 §8.1); False if the credit was too small."""
        credit = min(self._credit + _CREDIT_PER_PACKET, _MAX_CREDIT)
        steps = min(gap, credit)
        self._credit = credit - steps
        self._expected = (self._expected + steps) & _COUNT
        change = self._key.change
        for _ in range(steps):
            change()
        return steps == gap

    def _restart(self, header: int, gap: int, data: bytes) -> bytes | None:
        """Any stateful packet but the plain next one: find where the key stream begins again (RFC 3078 §8.2)."""
        expected = self._expected
        key = self._key
        for _ in range(((expected + gap + 1) >> 8) - (expected >> 8)):  # flag packets lost, and this one if it is one
            key.change()
        self._expected = (header + 1) & _COUNT
        in_place = not gap and not self._lost
        if (in_place and header & _FLAG == _FLAG) or (header & _FLUSHED and self._find_key(data)):
            self._lost = 0
            self._ask_at = 1
            self.reset_needed = False
            stream = self._stream = self._new(key.current)
            return stream.update(data)
        self._lost += 1
        if self._lost == self._ask_at:
            self.reset_needed = True
            self._ask_at = max(_PATIENCE, min(2 * self._lost, self._lost + _MAX_PATIENCE))
        return None

    def _find_key(self, data: bytes) -> bool:
        """Set the session key to the first of the current one and its successors that ``data`` can be encrypted with.

        An IP datagram of the right length is looked for first; only then anything with an uncompressed protocol field.
        False if neither is found; the key is then the old one.
        """
        keys = [self._key.current]
        for _ in range(_SUCCESSORS):
            keys.append(self._key.successor(keys[-1]))
        heads = [self._once(key, data[:_HEAD]) for key in keys]
        for fits in (_begins_ip, _begins_datagram):
            for key, head in zip(keys, heads, strict=True):
                if fits(head, len(data)):
                    self._key.current = key
                    return True
        return False

    def _settle_mode(self, data: bytes) -> None:
        """Change to the mode that the peer really sends in, where its very first packet fits only the other one."""
        head = data[:_HEAD]
        size = len(data)
        key = self._key.current
        stateful = _begins_ip(self._once(key, head), size)
        stateless = _begins_ip(self._once(self._key.successor(key), head), size)
        if stateful and not stateless and self._stream is None:
            self._stream = self._new(key)
        elif stateless and not stateful:
            self._stream = None


class _SessionKey:
    """The session key of one direction and its changes (RFC 3078 §7.3)."""

    __slots__ = ("_once", "_salt", "_size", "_start", "current")

    def __init__(self, parameters: MppeParameters, provider: rc4.Rc4Provider) -> None:
        self._salt = WEAK_PREFIX[parameters.bits]
        self._start = parameters.start_key + SHA_PAD1
        self._size = len(parameters.start_key)
        self._once = provider.once
        self.current = initial_session_key(parameters.start_key, parameters.bits)

    def change(self) -> bytes:
        """Change the key; returns the new one."""
        # GetNewKeyFromSHA, written out with what never changes put together once.
        interim = sha1(self._start + self.current + SHA_PAD2).digest()[: self._size]
        key = self._once(interim, interim)
        salt = self._salt
        if salt:
            key = salt + key[len(salt) :]
        self.current = key
        return key

    def successor(self, key: bytes) -> bytes:
        """The key that follows ``key``; the current one stays."""
        current = self.current
        self.current = key
        try:
            return self.change()
        finally:
            self.current = current


def _begins_ip(head: bytes, size: int) -> bool:
    """Whether a datagram of ``size`` octets that begins with ``head`` is IPv4 or IPv6 of just that length."""
    if head[0] == 0:  # the protocol field is not compressed
        head = head[1:]
        size -= 1
    if len(head) < 7:
        return False
    if head[0] == 0x21:
        return head[1] >> 4 == 4 and (head[3] << 8 | head[4]) == size - 1
    return head[0] == 0x57 and head[1] >> 4 == 6 and (head[5] << 8 | head[6]) + 40 == size - 1


def _begins_datagram(head: bytes, size: int) -> bool:
    """Whether ``head`` begins with an uncompressed protocol field of the range that MPPE encrypts (RFC 3078 §3)."""
    return size > 2 and head[0] == 0 and 0x21 <= head[1] <= 0xFA and head[1] & 1 == 1
