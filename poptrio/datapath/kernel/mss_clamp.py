"""MSS clamping (RFC 9293 §3.7.1) by the kernel's packet filter: nftables, or iptables where the kernel has only that.

Where iptables is the one that talks nftables, the older one has the name iptables-legacy. One table, or chain, of ours, for all devices with our prefix. It is made anew at each start, so that one which was left
behind (by SIGKILL) is not doubled.
"""

import re
import shutil
import subprocess
from collections.abc import Sequence
from contextlib import suppress

_TIMEOUT = 10.0  # seconds for a command
_SAFE = re.compile(r"[\w.-]+")

REMEDY = "install nftables (or iptables), or set ppp.clamp_mss = false"

_NFT_TABLE = """
table ip {name} {{ }}
delete table ip {name}
table ip {name} {{
    chain forward {{
        type filter hook forward priority mangle; policy accept;
        oifname "{prefix}*" tcp flags & (syn | rst) == syn tcp option maxseg size set rt mtu
        iifname "{prefix}*" tcp flags & (syn | rst) == syn tcp option maxseg size set rt mtu
    }}
}}
"""
_IPTABLES_RULE = "-p tcp --tcp-flags SYN,RST SYN -j TCPMSS --clamp-mss-to-pmtu"


class MssClamp:
    """The rules for devices whose names begin with ``prefix``."""

    def __init__(self, prefix: str) -> None:
        self._prefix = prefix
        self._name = "poptrio_" + re.sub(r"\W", "_", prefix).strip("_")
        self._iptables = ""  # which of the two
        self._undo: list[list[str]] = []

    def obstacle(self) -> str | None:
        """Why this machine cannot do it; None if it can. Nothing is changed."""
        if not _SAFE.fullmatch(self._prefix):
            return f"the name {self._prefix!r} cannot be put into a rule"
        if not _failure(["nft", "--check", "--file", "-"], self._nft_script()):
            return None
        why = ""
        for self._iptables in ("iptables", "iptables-legacy"):
            if not (why := _failure(self._mangle("--list-rules", "FORWARD"))):
                return None
        return f"neither nft nor iptables works here: {why}"

    def add(self) -> None:
        """Make the rules. Raises OSError, with the remedy in its text, when neither program works."""
        if (obstacle := self.obstacle()) is not None:
            raise OSError(f"MSS cannot be clamped: {obstacle}; {REMEDY}")
        if not _failure(["nft", "--file", "-"], self._nft_script()):
            self._undo = [["nft", "delete", "table", "ip", self._name]]
            return
        self._remove_iptables()
        if why := self._add_iptables():
            self._remove_iptables()
            raise OSError(f"MSS cannot be clamped: {why}; {REMEDY}")
        self._undo = self._iptables_removal()

    def remove(self) -> None:
        """Undo `add`; never raises."""
        for command in self._undo:
            _failure(command)
        self._undo = []

    def _nft_script(self) -> str:
        return _NFT_TABLE.format(name=self._name, prefix=self._prefix)

    def _add_iptables(self) -> str:
        rules = [f"-A {self._name} {way} {self._prefix}+ {_IPTABLES_RULE}".split() for way in ("-o", "-i")]
        for rule in (["-N", self._name], *rules, ["-A", "FORWARD", "-j", self._name]):
            if why := _failure(self._mangle(*rule)):
                return why
        return ""

    def _iptables_removal(self) -> list[list[str]]:
        rules = (["-D", "FORWARD", "-j", self._name], ["-F", self._name], ["-X", self._name])
        return [self._mangle(*rule) for rule in rules]

    def _mangle(self, *arguments: str) -> list[str]:
        return [self._iptables, "--wait", "--table", "mangle", *arguments]

    def _remove_iptables(self) -> None:
        for command in self._iptables_removal():
            _failure(command)


def _failure(command: Sequence[str], stdin: str = "") -> str:
    """Run a command; returns what it says when it fails, and an empty string when it does not."""
    program = shutil.which(command[0], path=_PATH)
    if program is None:
        return f"there is no {command[0]}"
    with suppress(OSError, subprocess.TimeoutExpired):
        done = subprocess.run(
            [program, *command[1:]], input=stdin, capture_output=True, text=True, timeout=_TIMEOUT, check=False
        )
        if done.returncode == 0:
            return ""
        return (done.stderr.strip().splitlines() or [f"{command[0]} ended with status {done.returncode}"])[0]
    return f"{command[0]} does not end"


_PATH = "/usr/local/sbin:/usr/sbin:/sbin:/usr/local/bin:/usr/bin:/bin"
