"""Becoming another user: three capabilities are kept, in every thread and program, and nothing else can be got back."""

import os
import subprocess
import sys

import pytest

from poptrio.runtime.privileges import Account

BECOME = """
import os, socket, subprocess, sys, threading
from poptrio.runtime.privileges import Account, become
become(Account.find("nobody", "daemon"))
def state():
    lines = open("/proc/thread-self/status").read().splitlines()
    found = dict(line.split(":", 1) for line in lines)
    print(*(found[name].strip() for name in ("CapEff", "CapPrm", "CapBnd", "CapAmb", "NoNewPrivs")))
state()
thread = threading.Thread(target=state); thread.start(); thread.join()
print(os.getresuid(), os.getresgid(), os.getgroups(), Account.find("nobody", "daemon").is_ours, flush=True)
subprocess.run([sys.executable, "-c", "print(open('/proc/self/status').read())"], check=True)
socket.socket(socket.AF_INET, socket.SOCK_RAW, 47).close()
socket.socket().bind(("127.0.0.1", 0))
for forbidden in (lambda: os.setuid(0), lambda: os.chroot("/"), lambda: open("/etc/shadow")):
    try:
        forbidden()
    except PermissionError:
        continue
    sys.exit("got a right back")
"""


def test_accounts_are_found_by_name_and_number():
    root = Account.find("root")
    assert (root.uid, root.gid) == (0, 0)
    assert Account.find("0") == root
    assert Account.find("root", "daemon").gid == Account.find("0", str(Account.find("root", "daemon").gid)).gid != 0


@pytest.mark.parametrize(
    ("user", "group", "why"),
    [("poptrio-nobody", "", "useradd"), ("99999999999999", "", "no user"), ("root", "poptrio-nobody", "groupadd")],
)
def test_an_account_that_is_none_has_a_remedy(user, group, why):
    with pytest.raises(LookupError, match=why):
        Account.find(user, group)


@pytest.mark.root
def test_only_three_capabilities_are_left_everywhere(python_for_all):
    done = subprocess.run([*python_for_all, "-c", BECOME], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    main, thread, who, *child = done.stdout.splitlines()
    three = f"{1 << 10 | 1 << 12 | 1 << 13:016x}"
    assert main == thread == f"{three} {three} {three} {three} 1"
    assert "CapEff:\t" + three in child
    nobody = Account.find("nobody", "daemon")
    assert who.startswith(f"({nobody.uid}, {nobody.uid}, {nobody.uid}) ({nobody.gid}, {nobody.gid}, {nobody.gid})")
    assert who.endswith("True")
    assert "0," not in who.split("[")[1]


@pytest.mark.root
@pytest.mark.parametrize("without", ["-setuid", "-setgid"])
def test_without_the_right_to_it_there_is_a_sentence(without):
    program = (
        "from poptrio.runtime.privileges import *\n"
        "try:\n    become(Account.find('nobody'))\nexcept OSError as error:\n    print(error.strerror)"
    )
    command = ["setpriv", f"--bounding-set={without}", "--inh-caps=-all", sys.executable, "-c", program]
    said = subprocess.check_output(command, text=True)
    assert f"to become nobody takes CAP_{without[1:].upper()}; start as root" in said


def test_the_account_of_this_process_is_ours():
    user, group = str(os.getuid()), str(os.getgid())
    assert Account.find(user, group).is_ours
