"""The configuration: what is accepted, and that one report lists every fault with its line."""

from ipaddress import IPv4Address
from pathlib import Path

import pytest

from poptrio.config import Config, ListenAddress
from poptrio.errors import ConfigError


def faults(text: str) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        Config.parse(text, name="c.toml")
    return [str(fault) for fault in caught.value.faults]


def only_fault(text: str) -> str:
    found = faults(text)
    assert len(found) == 1, found
    return found[0]


def test_an_empty_file_is_a_working_configuration():
    config = Config.parse("")
    assert config.server.listen == (ListenAddress(IPv4Address("0.0.0.0"), 1723),)
    assert config.ppp.authentication == ("mschap-v2",)
    assert config.ppp.encryption == "require"
    assert config.ppp.encryption_bits == (128,)
    assert config.authentication.plugins == ("chap-secrets",)
    assert config.addresses.plugins == ("ip-pool",)
    assert config.insecure_settings() == ()


def test_values_become_their_types():
    config = Config.parse(
        """
        [server]
        listen = ["192.0.2.1:1724", "192.0.2.2"]
        start_timeout = 3
        [ppp]
        dns = ["192.0.2.53"]
        [addresses]
        server = "10.0.0.1"
        pool = ["10.0.0.2-9", "10.1.0.0/30"]
        [plugins.chap-secrets]
        file = "chap-secrets"
        """
    )
    assert config.server.listen == (
        ListenAddress(IPv4Address("192.0.2.1"), 1724),
        ListenAddress(IPv4Address("192.0.2.2"), 1723),
    )
    assert config.server.start_timeout == 3.0
    assert config.ppp.dns == (IPv4Address("192.0.2.53"),)
    assert config.addresses.pool_ranges == (
        (IPv4Address("10.0.0.2"), IPv4Address("10.0.0.9")),
        (IPv4Address("10.1.0.1"), IPv4Address("10.1.0.2")),
    )
    assert config.plugins == {"chap-secrets": {"file": "chap-secrets"}}


def test_folder_is_that_of_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "config.toml").write_text("")
    monkeypatch.chdir(tmp_path)
    assert Config.load("sub/config.toml").folder == tmp_path / "sub"


def test_a_configuration_does_not_change():
    config = Config.parse("")
    with pytest.raises(ValueError, match="frozen"):
        config.ppp.mtu = 1300  # type: ignore[misc]


def test_every_fault_is_in_one_report_in_the_order_of_the_file():
    text = """\
mtu = 1400
[server]
listen = ["0.0.0.0:99999"]
max_cals = 4

[ppp]
mtu = "1400"
  clamp_mss = 1
authentication = ["mschap-v2", "pap"]
"dns" = ["1.1.1.1", "1.1.1.2", "1.1.1.3"]
idle_timeout = -1
encryption_mode = "statefull"

[addresses]
pool = [
  "10.0.0.1-10.0.0.9",
  "10.0.0.9",
]
[plugins.chap-secret]
[serverr]
"""
    assert faults(text) == [
        "c.toml:1: mtu: unknown table or key; it belongs into [ppp]",
        'c.toml:3: server.listen: "0.0.0.0:99999" has no TCP port from 1 to 65535 after the colon',
        'c.toml:4: server.max_cals: unknown key; did you mean "max_calls"?',
        'c.toml:7: ppp.mtu: "1400" is text; a whole number is needed',
        "c.toml:8: ppp.clamp_mss: 1 is a whole number; true or false is needed",
        "c.toml:9: ppp.authentication: only MS-CHAP and EAP yield MPPE keys, so pap cannot work with "
        'ppp.encryption = "require"; leave out what yields none, or set "prefer"',
        "c.toml:10: ppp.dns: 3 are too many; at most 2",
        "c.toml:11: ppp.idle_timeout: -1 is too little; it must be at least 0.0",
        'c.toml:12: ppp.encryption_mode: "statefull" is none of "stateless", "stateful" or "any"',
        "c.toml:15: addresses.pool: 10.0.0.1-10.0.0.9 and 10.0.0.9 share 10.0.0.9",
        "c.toml:19: plugins.chap-secret: no list of plugins (of authentication, addresses, accounting) names this one; "
        'did you mean "chap-secrets"?',
        'c.toml:20: serverr: unknown table or key; did you mean "server"?',
    ]


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("x = = 3", "c.toml:1: not TOML: Invalid value"),
        ("x = " + 5000 * "1", "c.toml: has a number with thousands of digits, which is none of ours"),
        ("x = " + 5000 * "[", "c.toml: is no TOML: arrays or tables lie too deep in each other"),
        ("[server]\nworkers = 0", 'c.toml:2: server.workers: 0 is neither a number from 1 to 64 nor "auto"'),
        ("[server]\nworkers = true", 'c.toml:2: server.workers: true is neither a number from 1 to 64 nor "auto"'),
        (
            '[server]\nworkers = 2\ndatapath = "kernel"',
            "c.toml:2: server.workers: workers make 2 processes, and the kernel uses all cores from one; set them to 1",
        ),
        (
            '[server]\ndatapath = "kernel"\n[ppp]\nencryption_bits = [128, 56]',
            'c.toml:4: ppp.encryption_bits: Linux\' MPPE has no 56 bits (server.datapath = "kernel"); take it out',
        ),
        (
            '[management]\nlisten = ["127.0.0.1"]',
            'c.toml:2: management.listen: "127.0.0.1" has no TCP port from 1 to 65535 after the colon',
        ),
        (
            '[server]\ngroup = "vpn"',
            "c.toml:2: server.group: it counts only along with server.user; set that, too",
        ),
        (
            '[server]\nuser = "-x y"',
            'c.toml:2: server.user: "-x y" can be neither the name nor the number of a user or group',
        ),
        (
            '[server]\ndatapath = "dpdk"',
            'c.toml:2: server.datapath: "dpdk" is none of "userspace", "kernel" or "auto"',
        ),
        ("[ppp]\nencryption_bits = []", "c.toml:2: ppp.encryption_bits: must not be empty"),
        ("[ppp]\nencryption_bits = [128, 64]", "c.toml:2: ppp.encryption_bits: 64 is none of 128, 56 or 40"),
        ("[ppp]\nencryption_bits = [40, 40]", 'c.toml:2: ppp.encryption_bits: "40" is listed twice'),
        ("[ppp]\nmtu = 575", "c.toml:2: ppp.mtu: 575 is too little; it must be at least 576"),
        ("[ppp]\nmtu = 1501", "c.toml:2: ppp.mtu: 1501 is too much; it must be at most 1500"),
        ("[ppp]\nmtu = true", "c.toml:2: ppp.mtu: true is a boolean; a whole number is needed"),
        ("[ppp]\nrestart_interval = 0", "c.toml:2: ppp.restart_interval: 0 is too little; it must be more than 0.0"),
        ("[server]\ngrace = inf", "c.toml:2: server.grace: must be a finite number"),
        ("[server]\ngrace = nan", "c.toml:2: server.grace: must be a finite number"),
        ('[server]\nlisten = "0.0.0.0"', 'c.toml:2: server.listen: "0.0.0.0" is text; a list is needed'),
        ("[server]\nlisten = []", "c.toml:2: server.listen: must not be empty"),
        (
            '[server]\nlisten = ["10.0.0.1", "0.0.0.0"]',
            "c.toml:2: server.listen: 0.0.0.0:1723 already takes connections for 10.0.0.1:1723; name one of them only",
        ),
        (
            '[server]\ninterface = "sixteen-octets-0"',
            "c.toml:2: server.interface: an interface name has 1 to 15 octets",
        ),
        (
            '[server]\ninterface = "a b"',
            'c.toml:2: server.interface: "a b" cannot be the name of an interface: '
            "no blanks, slash, colon or per cent sign",
        ),
        (
            '[server]\nhost_name = "two words"',
            "c.toml:2: server.host_name: a host name has 1 to 63 printable ASCII characters and no blanks",
        ),
        ("server = 3", "c.toml:1: server: 3 is a whole number; a table is needed"),
        ("[plugins]\nfoo = 3", "c.toml:2: plugins.foo: 3 is a whole number; a table is needed"),
        ('[addresses]\nserver = "fe80::1"', 'c.toml:2: addresses.server: "fe80::1" is not an IPv4 address'),
        (
            '[addresses]\nserver = "10.0.0.1"\npool = ["10.0.0.1"]',
            "c.toml:3: addresses.pool: 10.0.0.1 is our own end of every call (addresses.server), "
            "so nothing is left for clients",
        ),
        (
            '[addresses]\nserver = "127.0.0.1"',
            "c.toml:2: addresses.server: 127.0.0.1 is an address of the loopback (127.0.0.0/8); "
            "our end of the calls needs one of a host",
        ),
        (
            '[addresses]\nserver = "0.0.0.0"',
            'c.toml:2: addresses.server: 0.0.0.0 is an address of "this network" (0.0.0.0/8); '
            "our end of the calls needs one of a host",
        ),
        (
            '[addresses]\nserver = "239.1.2.3"',
            "c.toml:2: addresses.server: 239.1.2.3 is an address for multicast and reserved ones (224.0.0.0/3); "
            "our end of the calls needs one of a host",
        ),
        (
            '[addresses]\npool = ["126.255.255.250-127.0.0.9"]',
            "c.toml:2: addresses.pool: 126.255.255.250-127.0.0.9 holds addresses of the loopback (127.0.0.0/8), "
            "which no client can have",
        ),
        (
            '[addresses]\npool = ["16.0.0.0/7"]',
            "c.toml:2: addresses.pool: 33554430 addresses are too many; at most 16777216, as in a /8",
        ),
        (
            "[authentication]\nfailure_delay = 9.0",
            "c.toml:2: authentication.failure_delay: 9.0 is more than authentication.failure_delay_max = 8.0",
        ),
        (
            '[ppp]\nauthentication = ["mschap-v2", "chap-md5", "pap"]',
            "c.toml:2: ppp.authentication: only MS-CHAP and EAP yield MPPE keys, so chap-md5 and pap cannot work with "
            'ppp.encryption = "require"; leave out what yields none, or set "prefer"',
        ),
        (
            '[ppp]\nauthentication = ["pap"]\nencryption = "prefer"',
            "c.toml:2: ppp.authentication: only MS-CHAP and EAP yield MPPE keys, so pap cannot work with "
            'ppp.encryption = "prefer"; add "mschap-v2", or set "refuse"',
        ),
    ],
)
def test_a_fault_says_where_and_what(text: str, fault: str):
    assert only_fault(text) == fault


@pytest.mark.parametrize(
    "text",
    [
        '[ppp]\nauthentication = ["mschap-v2", "pap"]\nencryption = "prefer"',
        '[ppp]\nauthentication = ["pap"]\nencryption = "refuse"',
        "[ppp]\nmtu = 576",
        "[ppp]\nlcp_echo_interval = 0",
        '[server]\nlisten = ["0.0.0.0:1723", "10.0.0.1:1724"]',
        '[addresses]\nserver = "10.0.0.1"\npool = ["10.0.0.0/24"]',
        "[addresses]\npool = []\nplugins = []",
        '[addresses]\nplugins = ["radius"]\n[plugins.radius]\nserver = "192.0.2.1"',
    ],
)
def test_what_is_legal_is_accepted(text: str):
    Config.parse(text)


def test_a_faulty_key_does_not_cause_a_second_fault_elsewhere():
    """The pool is checked against the server address only if there is one."""
    assert only_fault('[addresses]\nserver = "nonsense"\npool = ["10.90.0.1"]') == (
        'c.toml:2: addresses.server: "nonsense" is not an IPv4 address'
    )


def test_keys_in_dotted_and_inline_tables_have_lines_too():
    assert faults('\nserver.grace = "x"\nppp = { mtu = 1 }') == [
        'c.toml:2: server.grace: "x" is text; a number is needed',
        "c.toml:3: ppp.mtu: 1 is too little; it must be at least 576",
    ]


def test_a_byte_order_mark_is_passed_over(tmp_path: Path):
    path = tmp_path / "config.toml"
    path.write_bytes(b"\xef\xbb\xbf[ppp]\nmtu = 1300\n")
    assert Config.load(path).ppp.mtu == 1300


def test_a_file_that_cannot_be_read_is_a_fault(tmp_path: Path):
    with pytest.raises(ConfigError) as caught:
        Config.load(tmp_path / "none.toml")
    assert str(caught.value) == f"{tmp_path}/none.toml: cannot be read: No such file or directory"
    (tmp_path / "latin.toml").write_bytes(b"# caf\xe9")
    with pytest.raises(ConfigError, match="octet 5 is not UTF-8"):
        Config.load(tmp_path / "latin.toml")


@pytest.mark.parametrize(
    ("settings", "subjects"),
    [
        ("", []),
        ('authentication = ["mschap-v2", "mschap-v1"]', ['authentication = "mschap-v1"']),
        (
            'authentication = ["mschap-v2", "chap-md5", "pap"]\nencryption = "prefer"',
            ['authentication = "chap-md5"', 'authentication = "pap"', 'encryption = "prefer"'],
        ),
        ("encryption_bits = [128, 56, 40]", ["encryption_bits = 56", "encryption_bits = 40"]),
        ('encryption = "refuse"\nencryption_bits = [40]', ['encryption = "refuse"']),
    ],
)
def test_insecure_settings_are_named(settings: str, subjects: list[str]):
    sentences = Config.parse(f"[ppp]\n{settings}").insecure_settings()
    assert [sentence.partition(":")[0] for sentence in sentences] == subjects


def test_a_list_with_a_broken_item_is_not_called_empty_as_well():
    with pytest.raises(ConfigError) as caught:
        Config.parse('[server]\nlisten = ["nowhere"]')
    assert len(caught.value.faults) == 1
