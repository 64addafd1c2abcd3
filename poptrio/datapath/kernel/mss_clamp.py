"""MSS clamping (RFC 9293 §3.7.1) by the kernel's packet filter: nftables, or iptables where the kernel has only that.

One table, or chain, of ours, for all devices with our prefix. It is made anew at each start, so that one which was left
behind (by SIGKILL) is not doubled. Where the program iptables talks to nftables, the older one is iptables-legacy.
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
_IPTABLES_CHAIN = """
*mangle
:{name} - [0:0]
{undo}
-A {name} -o {prefix}+ -p tcp --tcp-flags SYN,RST SYN -j TCPMSS --clamp-mss-to-pmtu
-A {name} -i {prefix}+ -p tcp --tcp-flags SYN,RST SYN -j TCPMSS --clamp-mss-to-pmtu
-A FORWARD -j {name}
COMMIT
"""
_IPTABLES_UNDO = "-D FORWARD -j {name}"
_IPTABLES_REMOVAL = """
*mangle
-D FORWARD -j {name}
-F {name}
-X {name}
COMMIT
"""
_IPTABLES = (["iptables-restore", "--noflush", "--wait"], ["iptables-legacy-restore", "--noflush", "--wait"])
_NFT = ["nft", "--file", "-"]


class MssClamp:
    """The rules for devices whose names begin with ``prefix``."""

    def __init__(self, prefix: str) -> None:
        self._prefix = prefix
        self._name = "poptrio_" + re.sub(r"\W", "_", prefix).strip("_")
        self._removal: tuple[Sequence[str], str] | None = None

    def obstacle(self) -> str | None:
        """Why this machine cannot do it; None if it can. Nothing is changed."""
        if not _SAFE.fullmatch(self._prefix):
            return f"the name {self._prefix!r} cannot be put into a rule"
        if not _failure([*_NFT, "--check"], self._filled(_NFT_TABLE)):
            return None
        for command in _IPTABLES:
            if not (why := _failure([*command, "--test"], self._filled(_IPTABLES_CHAIN))):
                return None
        return f"neither nft nor iptables works here: {why}"

    def add(self) -> None:
        """Make the rules. Raises OSError, with the remedy in its text, when neither program works."""
        if not _SAFE.fullmatch(self._prefix):
            raise OSError(f"MSS cannot be clamped: the name {self._prefix!r} cannot be put into a rule; {REMEDY}")
        if not _failure(_NFT, self._filled(_NFT_TABLE)):
            self._removal = ["nft", "delete", "table", "ip", self._name], ""
            return
        for command in _IPTABLES:
            # The first one replaces a chain that was left behind; it fails as a whole where there is none.
            for undo in (_IPTABLES_UNDO, ""):
                if not (why := _failure(command, self._filled(_IPTABLES_CHAIN, self._filled(undo)))):
                    self._removal = command, self._filled(_IPTABLES_REMOVAL)
                    return
        raise OSError(f"MSS cannot be clamped: {why}; {REMEDY}")

    def remove_left_behind(self) -> None:
        """Undo what an `add` of a process did that was killed; never raises."""
        if _SAFE.fullmatch(self._prefix):
            _failure(["nft", "delete", "table", "ip", self._name])
            for command in _IPTABLES:
                _failure(command, self._filled(_IPTABLES_REMOVAL))

    def remove(self) -> None:
        """Undo `add`; never raises."""
        if self._removal is not None:
            _failure(*self._removal)
            self._removal = None

    def _filled(self, rules: str, undo: str = "") -> str:
        return rules.format(name=self._name, prefix=self._prefix, undo=undo)


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
