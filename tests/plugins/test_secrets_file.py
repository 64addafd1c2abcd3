"""pppd's secrets file: words, quotes, escapes, secrets and the address column, line by line."""

from contextlib import suppress
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from poptrio.api import ConfigError
from poptrio.plugins.secrets_file import ANY_ADDRESS, Row, Secret, parse_secrets

NT_HASH = "8846f7eaee8fb117ad06bdd830b7586c"


def no_file(path):
    raise FileNotFoundError(2, "No such file or directory")


def parse(text, files=None, **options):
    data = text if isinstance(text, bytes) else text.encode()
    read_file = files.__getitem__ if files is not None else no_file
    return parse_secrets(data, "secrets", read_file, **options)


def faults_of(text, **options):
    with pytest.raises(ConfigError) as caught:
        parse(text, **options)
    return [str(fault) for fault in caught.value.faults]


def networks(*texts):
    return tuple(map(IPv4Network, texts))


def test_a_plain_line():
    assert parse("alice poptrio sesame 10.0.0.5\n") == [
        Row(1, "alice", "poptrio", Secret(password="sesame"), networks("10.0.0.5/32"))
    ]


@pytest.mark.parametrize("text", ["", "\n\n", "# only a comment", " \t # another\n\n", "\\\n"])
def test_files_without_lines(text):
    assert parse(text) == []


@pytest.mark.parametrize(
    ("word", "password"),
    [
        ('"open sesame"', "open sesame"),
        ("'open sesame'", "open sesame"),
        ('"it\'s"', "it's"),
        ("'say \"x\"'", 'say "x"'),
        ('"a#b"', "a#b"),
        ("a#b", "a"),
        ('a"b"c', 'a"b"c'),
        ("it's", "it's"),
        ("\\#a", "#a"),
        ("a\\ b", "a b"),
        ('a\\"b', 'a"b'),
        ('"a\\"b"', 'a"b'),
        ("'a\\'b'", "a'b"),
        ("a\\\\b", "a\\b"),
        ("a\\sb\\tc\\nd", "a b\tc\nd"),
        ("\\a\\b\\f\\r", "\a\b\f\r"),
        ("\\101\\60\\1018", "A0A8"),
        ("\\x41\\x7az", "Azz"),
        ("\\xc3\\xa9", "é"),
        ("\\303\\251", "é"),
        ("\\q\\ü", "qü"),
        ("ab\\\ncd", "abcd"),
        ('"ab\\\ncd"', "abcd"),
        ("@sesame", "@sesame"),
        ("@", "@"),
        ("pässwörd", "pässwörd"),
    ],
)
def test_quotes_and_escapes(word, password):
    (row,) = parse(f"alice * {word}\n")
    assert row.secret.password == password
    assert row.networks == ANY_ADDRESS


def test_a_closing_quote_ends_the_word():
    assert parse("\"alice\"'*'sesame")[0] == Row(1, "alice", "*", Secret(password="sesame"))


def test_blanks_are_tabs_and_carriage_returns_too():
    assert [row.client for row in parse("\talice\t*\tsesame\t*\r\n  bob * sesame\r\n")] == ["alice", "bob"]


def test_a_backslash_continues_the_line_and_numbers_are_of_its_start():
    rows = parse("# hello\n\nalice * \\\n  sesame \\\n  10.0.0.5\nbob * sesame\n")
    assert [(row.line, row.client, row.address) for row in rows] == [
        (3, "alice", IPv4Address("10.0.0.5")),
        (6, "bob", None),
    ]


def test_a_comment_does_not_continue():
    assert [row.client for row in parse("alice * sesame # comment \\\nbob * sesame")] == ["alice", "bob"]


def test_names_keep_their_case_and_a_domain_is_written_with_two_backslashes():
    assert [row.client for row in parse("Alice * x\nOFFICE\\\\alice * x\n")] == ["Alice", "OFFICE\\alice"]


# Secrets.


def test_a_secret_in_another_file_is_its_first_word():
    file = Path("/etc/secrets/alice")
    (row,) = parse("alice * @/etc/secrets/alice", {file: b'# for alice\n  "open sesame" rest\n'})
    assert row.secret == Secret(password="open sesame", file=file)


def test_a_secret_file_that_cannot_be_used_is_a_fault_of_the_line():
    assert faults_of("\nalice * @/nowhere") == [
        "secrets:2: the secret file /nowhere cannot be read: No such file or directory"
    ]
    assert "the secret in /empty is empty" in faults_of("alice * @/empty", files={Path("/empty"): b" # nothing\n"})[0]


def test_a_marked_secret_is_an_nt_hash():
    (row,) = parse(f"alice * nthash:{NT_HASH.upper()}")
    assert row.secret == Secret(nt_hash=bytes.fromhex(NT_HASH))


def test_encrypted_makes_every_secret_an_nt_hash():
    files = {Path("/hash"): NT_HASH.encode()}
    rows = parse(f"alice * {NT_HASH}\nbob * nthash:{NT_HASH}\ncarol * @/hash", files, encrypted=True)
    assert [row.secret.nt_hash for row in rows] == [bytes.fromhex(NT_HASH)] * 3
    assert faults_of("alice * sesame", encrypted=True) == [
        "secrets:1: the secret must be an NT hash of 32 hexadecimal digits because of encrypted = true"
    ]


@pytest.mark.parametrize("digits", ["", "12", NT_HASH + "0", NT_HASH[:-1] + "g"])
def test_what_is_marked_must_be_an_nt_hash(digits):
    assert "32 hexadecimal digits after nthash:" in faults_of(f"alice * nthash:{digits}")[0]


@pytest.mark.parametrize("word", ['""', "''"])
def test_an_empty_secret_is_a_fault(word):
    assert faults_of(f"alice * {word}") == [
        "secrets:1: the secret is empty, so anybody who knows the name could log in"
    ]


def test_secrets_are_not_shown():
    text = repr(parse(f"alice * sesame\nbob * nthash:{NT_HASH}"))
    assert "alice" in text
    assert "sesame" not in text
    assert "\\x88" not in text


# The address column.


@pytest.mark.parametrize(
    ("column", "permitted"),
    [
        ("", ANY_ADDRESS),
        ("*", ANY_ADDRESS),
        ("* 10.0.0.5", ANY_ADDRESS),
        ("-", ()),
        ("- 10.0.0.5", ()),
        ("10.0.0.5", networks("10.0.0.5/32")),
        ("10.0.0.5 -", networks("10.0.0.5/32")),
        ("10.0.0.5 10.0.0.7", networks("10.0.0.5/32", "10.0.0.7/32")),
        ("10.0.0.5 *", networks("10.0.0.5/32")),
        ("10.0.0.0/24", networks("10.0.0.0/24")),
        ("10.0.0.77/24", networks("10.0.0.0/24")),
        ("10.0.0.0/24+", networks("10.0.0.0/24")),
        ("10.0.0.0/24 10.0.0.5", networks("10.0.0.5/32", "10.0.0.0/24")),
        ("!10.0.0.1 10.0.0.0/30", networks("10.0.0.0/32", "10.0.0.2/31")),
        ("10.0.0.0/30 !10.0.0.1", networks("10.0.0.0/30")),
        ("!10.0.0.0/24 10.0.0.5", ()),
        ("!10.0.0.5", ()),
        ("10.0.0.5 10.0.0.5", networks("10.0.0.5/32")),
    ],
)
def test_address_column(column, permitted):
    (row,) = parse(f"alice * sesame {column}")
    if column == "10.0.0.5 *":  # the preferred address, then all the others
        assert row.networks[0] == permitted[0]
        assert sum(network.num_addresses for network in row.networks) == 2**32
    else:
        assert row.networks == permitted


def test_all_but_one():
    (row,) = parse("alice * sesame !10.0.0.5 *")
    assert sum(network.num_addresses for network in row.networks) == 2**32 - 1
    assert not any(IPv4Address("10.0.0.5") in network for network in row.networks)


@pytest.mark.parametrize(
    "word",
    ["horse", "10.0.0", "10.0.0.256", "10.0.0.0/33", "10.0.0.0/", "10.0.0.0/+", "!", "!*", "10.0.0.0/٣", "1024/512"],
)
def test_what_is_no_address_is_a_fault_that_does_not_quote_it(word):
    (fault,) = faults_of(f"alice * correct {word}")
    assert fault.startswith("secrets:1: word 4 is not an address, network, - or *")
    assert "needs quotes" in fault
    assert word == "!" or word not in fault


@pytest.mark.parametrize("word", ["0.0.0.0", "0.0.0.0/0", "127.0.0.1", "224.0.0.1", "255.255.255.255"])
def test_addresses_that_no_client_can_have_are_faults(word):
    assert faults_of(f"alice * sesame {word}") == ["secrets:1: word 4 is no address that a client can have"]


@pytest.mark.parametrize("column", ["-- mtu 1400", "* -- mtu 1400"])
def test_options_of_pppd_are_a_fault(column):
    assert faults_of(f"alice * sesame {column}") == [
        "secrets:1: pppd's options for a user (after --) are not supported; remove them"
    ]


# Faults.


def test_every_faulty_line_is_listed_and_no_secret_is_quoted():
    text = "alice\nbob *\ncarol * 'open\ndave * sesame\nerin * \\0zero\nfrank * sesame\\"
    faults = faults_of(text)
    assert faults == [
        "secrets:1: 1 word only; a line needs client, server and secret",
        "secrets:2: 2 words only; a line needs client, server and secret",
        "secrets:3: a quote is opened and not closed on the same line",
        "secrets:5: word 3 contains a zero octet",
        "secrets:6: the file ends in a backslash",
    ]


def test_what_is_not_utf8_is_a_fault():
    assert faults_of(b"alice * s\xe9same") == [
        "secrets:1: word 3 is not UTF-8; convert the file, for instance with iconv"
    ]


@settings(derandomize=True, deadline=None)
@given(st.binary(max_size=200))
def test_no_file_raises_anything_but_faults(data):
    with suppress(ConfigError):
        assert all(row.secret.password for row in parse(data))


@settings(derandomize=True, deadline=None)
@given(st.lists(st.sampled_from([b"a", b" ", b"\n", b"\\", b'"', b"'", b"#", b"@/", b"*", b"x"]), max_size=40))
def test_no_combination_of_special_characters_confuses_the_line_numbers(pieces):
    data = b"".join(pieces)
    try:
        lines = [row.line for row in parse(data)]
    except ConfigError as error:
        lines = [int(fault.place.partition(":")[2]) for fault in error.faults]
    assert lines == sorted(set(lines))
    assert all(1 <= line <= data.count(b"\n") + 1 for line in lines)


def test_a_byte_order_mark_is_no_part_of_the_first_name():
    assert [row.client for row in parse(b"\xef\xbb\xbfalice * sesame\nbob * sesame")] == ["alice", "bob"]
