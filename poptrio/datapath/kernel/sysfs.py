"""What a device has counted, from /sys, which needs no lock: netlink would wait until another device is removed."""

from pathlib import Path

from poptrio.datapath.kernel.netlink import LinkCounts

_DEVICES = Path("/sys/class/net")
_FILES = ("rx_packets", "tx_packets", "rx_bytes", "tx_bytes")


def counts(name: str, index: int) -> LinkCounts | None:
    """The counts of a device; None where /sys does not show it, for instance that of another network namespace."""
    folder = _DEVICES / name
    try:
        if int((folder / "ifindex").read_bytes()) != index:
            return None
        return LinkCounts(*(int((folder / "statistics" / file).read_bytes()) for file in _FILES))
    except (OSError, ValueError):
        return None
