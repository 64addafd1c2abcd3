"""Becoming another user who keeps three capabilities and can get no more: capabilities(7), prctl(2).

Everything that a server opens later it may still open with them: TUN and routes (CAP_NET_ADMIN), raw sockets
(CAP_NET_RAW), low ports (CAP_NET_BIND_SERVICE). So privileges are dropped before anything is opened and before there is
any other thread or process, all of which inherit what is left: the capabilities are ambient, and programs that are
started have them too.
"""

import ctypes
import errno
import grp
import os
import pwd
from dataclasses import dataclass
from struct import pack, unpack

# linux/capability.h
CAP_SETGID, CAP_SETUID, CAP_SETPCAP = 6, 7, 8
CAP_NET_BIND_SERVICE, CAP_NET_ADMIN, CAP_NET_RAW = 10, 12, 13
KEPT = (CAP_NET_BIND_SERVICE, CAP_NET_ADMIN, CAP_NET_RAW)
"""The capabilities that are kept, as far as they were there."""

_VERSION_3 = 0x20080522

# linux/prctl.h
_PR_SET_KEEPCAPS = 8
_PR_CAPBSET_READ = 23
_PR_CAPBSET_DROP = 24
_PR_SET_NO_NEW_PRIVS = 38
_PR_CAP_AMBIENT = 47
_PR_CAP_AMBIENT_RAISE = 2

_libc = ctypes.CDLL(None, use_errno=True)


@dataclass(frozen=True, slots=True)
class Account:
    """A user and group of this machine, and the user's further groups."""

    user: str
    uid: int
    gid: int
    groups: tuple[int, ...]

    @classmethod
    def find(cls, user: str, group: str = "") -> "Account":
        """The account called ``user``, or with that number; in ``group``, or in its own.

        Raises LookupError with a sentence when there is none.
        """
        try:
            entry = pwd.getpwuid(int(user)) if user.isdecimal() else pwd.getpwnam(user)
        except (KeyError, OverflowError):
            raise LookupError(f'there is no user "{user}"; make one: useradd --system {user}') from None
        gid = entry.pw_gid
        if group:
            try:
                gid = (grp.getgrgid(int(group)) if group.isdecimal() else grp.getgrnam(group)).gr_gid
            except (KeyError, OverflowError):
                raise LookupError(f'there is no group "{group}"; make one: groupadd --system {group}') from None
        return cls(entry.pw_name, entry.pw_uid, gid, tuple(os.getgrouplist(entry.pw_name, gid)))

    @property
    def is_ours(self) -> bool:
        """Whether this process is that user already."""
        return os.getresuid() == (self.uid,) * 3 and os.getresgid() == (self.gid,) * 3

    def may_read_and_write(self, status: os.stat_result) -> bool:
        """Whether a file's mode lets it, with no capability to pass over that."""
        if self.uid == status.st_uid:
            wanted = 0o600
        elif status.st_gid in (self.gid, *self.groups):
            wanted = 0o060
        else:
            wanted = 0o006
        return status.st_mode & wanted == wanted


def become(account: Account) -> None:
    """Be ``account`` from now on, with `KEPT` and nothing else.

    Must be called while this is the only thread. Raises OSError, with the remedy in its text, when that is not allowed;
    then the process may be somebody in between, and must end.
    """
    have = _permitted()
    missing = [name for bit, name in ((CAP_SETUID, "SETUID"), (CAP_SETGID, "SETGID")) if not have >> bit & 1]
    if missing:
        names = " and ".join(f"CAP_{name}" for name in missing)
        why = f"to become {account.user} takes {names}; start as root, or as {account.user} without server.user"
        raise PermissionError(errno.EPERM, why)
    kept = [bit for bit in KEPT if have >> bit & 1]
    if have >> CAP_SETPCAP & 1:  # else what could be got back is only what no_new_privs does not let us have
        for bit in range(_last_capability() + 1):
            if bit not in kept:
                _prctl(_PR_CAPBSET_DROP, bit)
    _prctl(_PR_SET_KEEPCAPS, 1)
    os.setgroups(account.groups)
    os.setresgid(account.gid, account.gid, account.gid)
    os.setresuid(account.uid, account.uid, account.uid)
    _set_capabilities(kept)
    for bit in kept:
        _prctl(_PR_CAP_AMBIENT, _PR_CAP_AMBIENT_RAISE, bit)
    _prctl(_PR_SET_NO_NEW_PRIVS, 1)


def _permitted() -> int:
    """The permitted set of this thread."""
    header, data = ctypes.create_string_buffer(pack("=Ii", _VERSION_3, 0)), ctypes.create_string_buffer(24)
    _checked(_libc.capget(header, data))
    low, high = unpack("=4xI8xI4x", data.raw[:24])
    return int(low) | int(high) << 32


def _set_capabilities(bits: list[int]) -> None:
    """Make ``bits`` this thread's effective, permitted and inheritable set."""
    total = sum(1 << bit for bit in bits)
    low, high = total & 0xFFFFFFFF, total >> 32
    header = ctypes.create_string_buffer(pack("=Ii", _VERSION_3, 0))
    data = ctypes.create_string_buffer(pack("=6I", low, low, low, high, high, high))
    _checked(_libc.capset(header, data))


def _last_capability() -> int:
    # Not from /proc/sys, which is not there for a service that sees processes only (ProcSubset=pid).
    bit = 0
    while _libc.prctl(_PR_CAPBSET_READ, *map(ctypes.c_ulong, (bit + 1, 0, 0, 0))) >= 0:
        bit += 1
    return bit


def _prctl(option: int, *arguments: int) -> None:
    padded = [ctypes.c_ulong(argument) for argument in (*arguments, 0, 0, 0, 0)[:4]]
    _checked(_libc.prctl(option, *padded))


def _checked(result: int) -> None:
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"privileges cannot be dropped: {os.strerror(number)}")
