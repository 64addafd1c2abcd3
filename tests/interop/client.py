"""The client: Debian's pppd with pptp-linux in the guest, and what its log says was negotiated."""

import re
import shlex
from dataclasses import dataclass

from guest import Guest

COMMON_OPTIONS = ("noauth", "nodefaultroute", "noipdefault", "nopersist", "maxfail 1", "lock", "debug", "nodetach")
AUTHENTICATION_NAMES = {
    "pap": "PAP",
    "chap MD5": "CHAP-MD5",
    "chap MS": "MS-CHAPv1",
    "chap MS-v2": "MS-CHAPv2",
    "eap": "EAP",
}


class ClientError(Exception):
    """The client did not do what the row expects of it."""


@dataclass(frozen=True, slots=True)
class Negotiated:
    """What a client that is up has agreed on with the server."""

    interface: str
    authentication: str
    encryption: str  # "MPPE-128 stateless", or "none"
    address: str
    server_address: str
    mtu: int  # of the client's interface, bytes


class PppdClient:
    """One call: a pppd with its pptp, started and watched through the guest's agent."""

    def __init__(
        self,
        guest: Guest,
        server: str,
        *,
        name: str = "call",
        user: str = "alice",
        password: str = "",
        options: tuple[str, ...] = (),
        own_control_connection: bool = False,
    ) -> None:
        self.name = name
        self._guest = guest
        self._server = server
        self._user = user
        self._password = password
        self._options = options
        self._own_control_connection = own_control_connection
        self._folder = f"/run/interop/{name}"
        self._started = False
        self._rule: tuple[str, str] | None = None

    def start(self) -> None:
        """Dial; returns at once.

        All `pptp` processes of a machine share one control connection per server, through a socket under /run/pptp.
        With ``own_control_connection`` this one sees a /run/pptp of its own, so it makes its own control connection.
        """
        options = [
            f'pty "pptp {self._server} --nolaunchpppd --nohostroute"',
            f"user {_quoted(self._user)}",
            f"password {_quoted(self._password)}",
            *COMMON_OPTIONS,
            *self._options,
        ]
        folder = self._folder
        pppd = f"pppd file {folder}/options & echo $! > {folder}/pid; wait $!; echo $? > {folder}/status"
        shell = f"sh -c {shlex.quote(pppd)}"
        if self._own_control_connection:
            private = f"mkdir -p /run/pptp; mount -t tmpfs tmpfs /run/pptp; {pppd}"
            shell = f"unshare --mount sh -c {shlex.quote(private)}"
        self._started = True
        self._guest.must(
            f"umask 077; rm -rf {folder}; mkdir -p {folder}; cat > {folder}/options;"
            f" setsid {shell} > {folder}/log 2>&1 < /dev/null &"
            f" until [ -s {folder}/pid ]; do sleep 0.05; done",
            stdin="\n".join(options) + "\n",
        )

    def log(self) -> str:
        """Everything that pppd and pptp have written so far."""
        return self._guest.run(f"cat {self._folder}/log").output

    def exit_status(self) -> int | None:
        """pppd's exit status, or None while it runs."""
        output = self._guest.run(f"cat {self._folder}/status 2>/dev/null").output.strip()
        return int(output) if output else None

    def wait_up(self, timeout: float = 15.0) -> Negotiated:
        """Wait until IPCP is up and return what was agreed; raises `ClientError` when pppd ends or time is up."""
        self.wait_for(r"remote IP address \S+", timeout)
        log = self.log()
        interface = _last(r"Using interface (\S+)", log)
        address = _last(r"local  IP address (\S+)", log)
        link = self._guest.must(f"ip link show dev {interface}")
        # Calls of one guest have the same server address at the other end: what a call's address sends takes its link.
        table = str(100 + int(interface.removeprefix("ppp")))
        self._guest.must(
            f"ip rule add from {address} lookup {table}; ip route replace default dev {interface} table {table}"
        )
        self._rule = (address, table)
        return Negotiated(
            interface=interface,
            authentication=_authentication(log),
            encryption=_encryption(log),
            address=address,
            server_address=_last(r"remote IP address (\S+)", log),
            mtu=int(_last(r"mtu (\d+)", link)),
        )

    def wait_for(self, pattern: str, timeout: float = 10.0) -> None:
        """Wait until the log has a match of ``pattern``; raises `ClientError` when it does not come.

        The waiting is done in the guest by one sleeping command: asking again and again would take the processor
        from the very set-up that is measured.
        """
        follow = f"tail -n +1 -s 0.2 --pid=$(cat {self._folder}/pid) -f {self._folder}/log"
        command = f"timeout {timeout} {follow} | grep -q -m 1 -P {shlex.quote(pattern)}"
        if self._guest.run(command, timeout=timeout + 5.0).status == 0:
            return
        status = self.exit_status()
        ended = f"ended with status {status}" if status is not None else f"had {timeout:.0f} s"
        raise ClientError(f"pppd {ended}, and its log has no /{pattern}/")

    def wait_exit(self, timeout: float = 15.0) -> int:
        """Wait until pppd has ended and return its exit status; raises `ClientError` when it does not."""
        wait = f"until [ -s {self._folder}/status ]; do sleep 0.1; done"
        self._guest.run(f"timeout {timeout} sh -c {shlex.quote(wait)}", timeout=timeout + 5.0)
        status = self.exit_status()
        if status is None:
            raise ClientError(f"pppd was still running after {timeout:.0f} s")
        return status

    def hang_up(self, timeout: float = 10.0) -> None:
        """SIGTERM to pppd: LCP Terminate-Request, then Call-Clear-Request from pptp; waits for pppd's end."""
        self._guest.must(f"kill -TERM $(cat {self._folder}/pid)")
        self.wait_exit(timeout)

    def end(self) -> None:
        """Whatever has happened: nothing of this call is left in the guest."""
        if not self._started:
            return
        command = f"[ -s {self._folder}/status ] || kill -KILL $(cat {self._folder}/pid)"
        if self._rule:
            address, table = self._rule
            command += f"; ip rule del from {address} lookup {table}; ip route flush table {table}"
        self._guest.run(command)


def end_all_calls(guest: Guest) -> None:
    """Between rows: no pppd, no pptp, and no control connection that a later call could share."""
    guest.run("pkill -KILL '^(pppd|pptp)$'; rm -rf /run/pptp /run/lock/LCK* /run/ppp*")


def _authentication(log: str) -> str:
    """The protocol that was agreed on, with the method where it is EAP."""
    name = AUTHENTICATION_NAMES.get(_last(r"sent \[LCP ConfAck [^\]]*<auth ([^>]+)>", log), "none")
    method = _last(r"sent \[EAP Response id=\S+ (MD5|MSCHAPv2)", log)
    return f"{name}-{method}" if method else name


def _encryption(log: str) -> str:
    enabled = re.findall(r"MPPE (\d+)-bit (\w+) compression enabled", log)
    return f"MPPE-{enabled[-1][0]} {enabled[-1][1]}" if enabled else "none"


def _last(pattern: str, text: str) -> str:
    """The last match's group, or an empty string."""
    return next(reversed(re.findall(pattern, text)), "")


def _quoted(word: str) -> str:
    """A word of a pppd options file."""
    escaped = word.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'
