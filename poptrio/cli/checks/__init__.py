"""What ``poptrio check`` looks at on this machine, one module for each part of it.

Each check is a function from a `Machine` and the configuration to `Finding` values, and changes nothing.
"""

from poptrio.cli.checks.account import account
from poptrio.cli.checks.datapath import datapath
from poptrio.cli.checks.finding import Finding, Level
from poptrio.cli.checks.machine import Machine
from poptrio.cli.checks.network import forwarding, helpers, local_networks, overlaps, reverse_path_filter
from poptrio.cli.checks.ports import gre_sockets, listen_addresses, ports
from poptrio.cli.checks.rights import capabilities, descriptors, interface, tun

__all__ = [
    "Finding",
    "Level",
    "Machine",
    "account",
    "capabilities",
    "datapath",
    "descriptors",
    "forwarding",
    "gre_sockets",
    "helpers",
    "interface",
    "listen_addresses",
    "local_networks",
    "overlaps",
    "ports",
    "reverse_path_filter",
    "tun",
]
