"""Which data path is taken, and what is said about it."""

import pytest

from poptrio.cli.checks import Level, datapath
from poptrio.config import Config
from poptrio.errors import ConfigError
from poptrio.server.datapaths import MOST_CALLS, choose

MISSING = "no PPTP socket: the kernel has no PPTP; load the module (modprobe pptp)"
SMALL = "[server]\nmax_calls = 100\n"


class Machine:
    """A machine that lacks what it is told to lack, and remembers what it was asked."""

    def __init__(self, *lacking: str) -> None:
        self.asked = []
        self._lacking = list(lacking)

    def __call__(self, needs):
        self.asked.append(needs)
        return self._lacking


def configured(text: str, datapath: str = "auto") -> Config:
    return Config.parse(f'[server]\ndatapath = "{datapath}"\n' + text.replace("[server]\n", ""))


def test_userspace_asks_nothing_of_the_kernel():
    machine = Machine(MISSING)
    choice = choose(configured(SMALL, "userspace"), machine)
    assert (choice.datapath, choice.why) == ("userspace", "it is configured")
    assert machine.asked == []


def test_auto_takes_the_kernel_where_it_is_able_and_better():
    machine = Machine()
    assert choose(configured(SMALL), machine).datapath == "kernel"
    (needs,) = machine.asked
    assert (needs.interface, needs.encryption, needs.clamp_mss) == ("poptrio0", True, True)


def test_auto_says_what_is_missing():
    choice = choose(configured(SMALL), Machine(MISSING, "something else"))
    assert (choice.datapath, choice.why) == ("userspace", MISSING)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (f"max_calls = {MOST_CALLS + 1}\n", f"server.max_calls is {MOST_CALLS + 1}"),
        (SMALL + '[ppp]\nencryption_mode = "stateful"\n', "stateful MPPE"),
        (SMALL + "[ppp]\nencryption_bits = [128, 56]\n", "encryption_bits has 56"),
        (SMALL + "workers = 2\n", "server.workers makes 2 processes"),
    ],
)
def test_auto_tries_nothing_where_the_kernel_would_be_worse(text, why):
    machine = Machine()
    choice = choose(configured(text), machine)
    assert choice.datapath == "userspace"
    assert why in choice.why
    assert machine.asked == []


def test_bits_that_are_not_used_are_in_nobodys_way():
    text = SMALL + '[ppp]\nencryption = "refuse"\nencryption_bits = [56]\nclamp_mss = false\n'
    machine = Machine()
    assert choose(configured(text), machine).datapath == "kernel"
    assert (machine.asked[0].encryption, machine.asked[0].clamp_mss) == (False, False)


def test_kernel_where_it_cannot_be_is_a_fault_with_everything_that_is_missing():
    with pytest.raises(ConfigError) as raised:
        choose(configured("", "kernel"), Machine(MISSING, "no MPPE"))
    assert [fault.message for fault in raised.value.faults] == [
        f"no kernel data path: {MISSING}",
        "no kernel data path: no MPPE",
    ]


def test_kernel_is_taken_for_any_number_of_calls():
    assert choose(configured("max_calls = 10000\n", "kernel"), Machine()).why == "it is configured"


def test_kernel_cannot_have_fifty_six_bits():
    with pytest.raises(ConfigError, match="56"):
        choose(configured("[ppp]\nencryption_bits = [128, 56]\n", "kernel"), Machine())


def test_the_check_says_which_and_why():
    (finding,) = datapath(configured(SMALL), Machine())
    assert (finding.level, finding.subject) == (Level.OK, "datapath")
    assert finding.sentence.startswith("the data path is kernel: all that it needs is there")
    (finding,) = datapath(configured(SMALL), Machine(MISSING))
    assert finding.sentence == f"the data path is userspace: {MISSING}"


def test_the_check_finds_what_is_in_the_way():
    (finding,) = datapath(configured("", "kernel"), Machine(MISSING))
    assert finding.level is Level.FAULT
    assert "modprobe pptp" in finding.sentence
    assert "userspace" in finding.remedy
