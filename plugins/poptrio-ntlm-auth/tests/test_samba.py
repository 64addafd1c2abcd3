"""Against Samba itself: winbindd and ntlm_auth with accounts in a SAM of their own, as root in namespaces of their own.

unshare: /run is empty, so that nothing of this machine's Samba is touched
├─ winbindd                      TESTBOX\\nobody, TESTBOX\\daemon (disabled), TESTBOX\\games (must change)
└─ nsenter … ntlm_auth           what the plugin runs
"""

import os
import shutil
import signal
import subprocess
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import replace
from ipaddress import IPv4Address
from pathlib import Path

import pytest

from poptrio.api import Accept, ConfigError, Reject, ServerInfo, Unavailable, verify
from poptrio.testing.requests import mschap_v1_request, mschap_v2_request, pap_request
from poptrio_ntlm_auth.plugin import NtlmAuth

NEEDED = ("winbindd", "ntlm_auth", "smbpasswd", "net", "unshare", "nsenter")
MISSING = [name for name in NEEDED if shutil.which(name) is None]

pytestmark = [
    pytest.mark.samba,
    pytest.mark.skipif(os.geteuid() != 0, reason="not root"),
    pytest.mark.skipif(bool(MISSING), reason=f"no {' and no '.join(MISSING)} here"),
]

ISOLATED = ("unshare", "--mount", "--net", "--pid", "--fork", "--kill-child", "--mount-proc")
"""What Samba starts beside winbindd leaves its session; it ends with the namespace of its process identifiers."""

WINBINDD = """
ip link set lo up
mount -t tmpfs none /run
mkdir -p /run/samba
exec winbindd --configfile="$1" --foreground --no-process-group --debug-stdout
"""


class Samba:
    """winbindd in ``folder``. ``command`` is ntlm_auth beside it."""

    def __init__(self, folder: Path) -> None:
        self._configuration = folder / "smb.conf"
        self._configuration.write_text(
            (Path(__file__).parent / "smb.conf").read_text().replace("@FOLDER@", str(folder))
        )
        for name in ("private", "state", "lock", "cache", "pid", "ncalrpc"):
            (folder / name).mkdir()
        for user in ("nobody", "daemon", "games"):
            self._run("smbpasswd", "-c", self._configuration, "-a", "-s", user, say="correct horse\ncorrect horse\n")
        self._run("smbpasswd", "-c", self._configuration, "-d", "daemon")
        self._run("net", "-s", self._configuration, "sam", "set", "pwdmustchangenow", "games", "yes")
        self._winbindd: subprocess.Popen[bytes] | None = None
        self._log = folder / "winbindd.out"

    def start(self) -> None:
        """Returns when it answers."""
        with self._log.open("wb") as log:
            self._winbindd = subprocess.Popen(
                [*ISOLATED, "bash", "-c", WINBINDD, "winbindd", self._configuration],
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        deadline = time.monotonic() + 20
        ask = [*self.command, "--username=nobody", "--domain=TESTBOX", "--password=correct horse"]
        while subprocess.run(ask, capture_output=True, check=False).returncode != 0:
            assert time.monotonic() < deadline, self._log.read_text()
            time.sleep(0.05)

    def stop(self) -> None:
        assert self._winbindd is not None
        os.killpg(self._winbindd.pid, signal.SIGKILL)
        self._winbindd.wait()

    @property
    def command(self) -> list[str]:
        assert self._winbindd is not None
        enter = ["nsenter", "-t", str(self._winbindd.pid), "-m", "-n"]
        return [*enter, "ntlm_auth", f"--configfile={self._configuration}"]

    def _run(self, *command: object, say: str = "") -> None:
        done = subprocess.run([str(word) for word in command], input=say, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture(scope="module")
def samba(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Samba]:
    samba = Samba(tmp_path_factory.mktemp("samba"))
    samba.start()
    yield samba
    samba.stop()


@asynccontextmanager
async def plugin(samba: Samba, **keys) -> AsyncIterator[NtlmAuth]:
    ntlm_auth = NtlmAuth()
    server = ServerInfo(folder=Path(), name="poptrio", address=IPv4Address("10.90.0.1"), pool=())
    async with ntlm_auth.poptrio_lifespan({"command": samba.command, "domain": "TESTBOX"} | keys, server):
        yield ntlm_auth


async def test_mschap_v2_gives_what_the_hash_itself_would(samba):
    request = mschap_v2_request("nobody", "correct horse")
    async with plugin(samba) as ntlm_auth:
        decision = await ntlm_auth.poptrio_authenticate(request)
        with_domain = await ntlm_auth.poptrio_authenticate(mschap_v2_request("TESTBOX\\nobody", "correct horse"))
    assert decision == verify(request, "correct horse")
    assert decision.mppe_keys is not None
    assert isinstance(with_domain, Accept)


async def test_mschap_v1_under_a_policy_that_allows_mschap_v2(samba):
    request = mschap_v1_request("nobody", "correct horse")
    async with plugin(samba) as ntlm_auth:
        decision = await ntlm_auth.poptrio_authenticate(request)
    assert isinstance(decision, Accept)
    assert decision.mppe_keys.send == verify(request, "correct horse").mppe_keys.send


async def test_pap(samba):
    async with plugin(samba) as ntlm_auth:
        right = await ntlm_auth.poptrio_authenticate(pap_request("nobody", "correct horse"))
        wrong = await ntlm_auth.poptrio_authenticate(pap_request("nobody", "battery staple"))
    assert right == Accept(user="nobody")
    assert isinstance(wrong, Reject)


@pytest.mark.parametrize(
    ("name", "password", "code"),
    [("nobody", "battery staple", 691), ("daemon", "correct horse", 647), ("games", "correct horse", 648)],
)
async def test_refusals_have_their_numbers(samba, name, password, code):
    async with plugin(samba) as ntlm_auth:
        decision = await ntlm_auth.poptrio_authenticate(mschap_v2_request(name, password))
    assert isinstance(decision, Reject)
    assert decision.code == code


@pytest.mark.parametrize("name", ["mallory", "nobody\n", "nobody\n.\nUsername: nobody", "", "\udcff", "é", "*"])
async def test_who_is_not_there_is_not_ours_whatever_is_in_the_name(samba, name):
    request = mschap_v2_request("nobody", "correct horse")
    async with plugin(samba) as ntlm_auth:
        decision = await ntlm_auth.poptrio_authenticate(replace(request, name=name, username=name))
        next_one = await ntlm_auth.poptrio_authenticate(request)
    assert not isinstance(decision, Accept)
    assert isinstance(next_one, Accept)


async def test_a_domain_that_nobody_can_ask_is_unavailable(samba):
    async with plugin(samba, unavailable="next") as ntlm_auth:
        decision = await ntlm_auth.poptrio_authenticate(mschap_v2_request("ELSEWHERE\\nobody", "correct horse"))
    assert isinstance(decision, Unavailable)
    assert decision.ask_next is True


async def test_winbindd_that_is_killed_and_comes_back(samba):
    request = mschap_v2_request("nobody", "correct horse")
    async with plugin(samba) as ntlm_auth:
        assert isinstance(await ntlm_auth.poptrio_authenticate(request), Accept)
        samba.stop()
        decision = await ntlm_auth.poptrio_authenticate(request)
    samba.start()
    assert isinstance(decision, Unavailable)
    async with plugin(samba) as ntlm_auth:
        assert isinstance(await ntlm_auth.poptrio_authenticate(request), Accept)


async def test_a_command_that_is_not_there_refuses_to_start(samba):
    with pytest.raises(ConfigError, match="no command"):
        async with plugin(samba, command=["ntlm_auth-of-nobody"]):
            pass
