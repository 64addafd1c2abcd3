"""How many packets per second one core encrypts and decrypts with MPPE-128: `python benchmarks/mppe.py [--json]`."""

import argparse
import json
from dataclasses import asdict, dataclass
from time import perf_counter

from poptrio.crypto import rc4
from poptrio.crypto.mppe import MppeDecryptor, MppeEncryptor
from poptrio.crypto.mppe_keys import MppeParameters

SIZES = (1400, 100)
ROUNDS = 5


@dataclass(frozen=True, slots=True)
class Row:
    """One measurement: RC4 provider, mode, octets of a packet, and packets per second."""

    rc4: str
    mode: str
    octets: int
    encrypted_per_second: int
    decrypted_per_second: int


def main() -> None:
    """Measure every provider, mode and size; print a table or JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--packets", type=int, default=20_000, help="packets per measurement; the best of 5 counts")
    parser.add_argument("--json", action="store_true", help="print the numbers as JSON")
    arguments = parser.parse_args()
    rows = [
        measure(provider, stateless=stateless, size=size, packets=arguments.packets)
        for provider in providers()
        for stateless in (True, False)
        for size in SIZES
    ]
    if arguments.json:
        print(json.dumps([asdict(row) for row in rows], indent=2))
        return
    print(f"{'RC4':<14}{'mode':<12}{'octets':>8}{'encrypt/s':>12}{'µs':>8}{'decrypt/s':>12}{'µs':>8}")
    for row in rows:
        print(
            f"{row.rc4:<14}{row.mode:<12}{row.octets:>8}"
            f"{row.encrypted_per_second:>12,}{1e6 / row.encrypted_per_second:>8.2f}"
            f"{row.decrypted_per_second:>12,}{1e6 / row.decrypted_per_second:>8.2f}"
        )


def providers() -> list[rc4.Rc4Provider]:
    """Both RC4 providers, or the one that this machine has."""
    fallback = rc4.CryptographyRc4()
    return [fallback] if rc4.default.name == fallback.name else [rc4.default, fallback]


def measure(provider: rc4.Rc4Provider, *, stateless: bool, size: int, packets: int) -> Row:
    """Packets per second of both directions, each the best of several rounds."""
    parameters = MppeParameters(128, stateless, bytes(range(16)))
    encrypt = MppeEncryptor(parameters, provider).encrypt
    decrypt = MppeDecryptor(parameters, provider).decrypt
    payload = b"\x00\x21\x45".ljust(size, b"\x00")
    encrypted, decrypted = 0.0, 0.0
    for _ in range(ROUNDS):
        start = perf_counter()
        wire = [encrypt(payload) for _ in range(packets)]
        middle = perf_counter()
        clear = [decrypt(packet) for packet in wire]
        end = perf_counter()
        if clear != [payload] * packets:
            raise SystemExit("what was decrypted is not what was encrypted")
        encrypted = max(encrypted, packets / (middle - start))
        decrypted = max(decrypted, packets / (end - middle))
    return Row(provider.name, "stateless" if stateless else "stateful", size, round(encrypted), round(decrypted))


if __name__ == "__main__":
    main()
