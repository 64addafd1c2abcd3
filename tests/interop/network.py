"""The network of one run: a namespace of its own with a bridge, the guest's tap on it, and a tap for the agent.

        guest                                    private network namespace of this process
    ┌───────────────┐                    ┌───────────────────────────────────────────────┐
    │ pppd + pptp   │                    │                                               │
    │ eth0 .2 ──────┼── interop-guest ───┼─ interop-br 192.0.2.1 ── poptrio ── poptrio0  │
    │ eth1 .2 ──────┼── interop-agent ───┼─ 198.51.100.1 (commands for the guest)        │
    └───────────────┘                    └───────────────────────────────────────────────┘

Where the server is in a guest as well, that one has 192.0.2.1, by a second pair of taps, and the bridge 192.0.2.254.

The namespace has no name: this process moves into it, everything it starts inherits it, and the kernel removes it and
all that is in it when the last of them has ended. So runs cannot collide, and nothing can be left behind.
"""

import ctypes
import os
import subprocess
from dataclasses import dataclass

CLONE_NEWNET = 0x40000000


@dataclass(frozen=True, slots=True)
class GuestLinks:
    """How a guest is connected: its taps, its address on the bridge, its agent's, and ours on the agent's tap."""

    name: str
    tap: str
    address: str
    agent_tap: str
    agent_address: str
    commander: str


class Network:
    """Names and addresses of the namespace that `enter` made."""

    bridge = "interop-br"
    server_address = "192.0.2.1"
    guest_address = "192.0.2.2"
    bridge_address_beside_server = "192.0.2.254"
    clients = GuestLinks("guest", "interop-guest", guest_address, "interop-agent", "198.51.100.2", "198.51.100.1")
    server = GuestLinks("server", "interop-srv", server_address, "interop-sagent", "198.51.100.10", "198.51.100.9")

    @classmethod
    def enter(cls, *, server_in_guest: bool = False) -> "Network":
        """Move this process into a new network namespace and build the bridge and the taps there. Needs root."""
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.unshare(CLONE_NEWNET) != 0:
            code = ctypes.get_errno()
            raise OSError(code, f"unshare: {os.strerror(code)}")
        network = cls()
        ours = cls.bridge_address_beside_server if server_in_guest else cls.server_address
        for command in (
            "link set lo up",
            f"link add {cls.bridge} type bridge forward_delay 0",
            f"address add {ours}/24 dev {cls.bridge}",
            f"link set {cls.bridge} up",
        ):
            ip(*command.split())
        for links in (cls.clients, cls.server) if server_in_guest else (cls.clients,):
            for command in (
                f"tuntap add dev {links.tap} mode tap",
                f"tuntap add dev {links.agent_tap} mode tap",
                f"link set {links.tap} master {cls.bridge} up",
                f"address add {links.commander}/29 dev {links.agent_tap}",
                f"link set {links.agent_tap} up",
            ):
                ip(*command.split())
        return network


def ip(*arguments: str) -> str:
    """Run ip(8) in this process's namespace and return its output."""
    return subprocess.run(["ip", *arguments], check=True, capture_output=True, text=True).stdout


def link_exists(name: str) -> bool:
    """Whether a network device of this name is in the namespace."""
    return subprocess.run(["ip", "link", "show", "dev", name], capture_output=True, check=False).returncode == 0
