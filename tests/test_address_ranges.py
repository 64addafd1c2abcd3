"""Address ranges as operators write them."""

from ipaddress import IPv4Address

import pytest

from poptrio.address_ranges import address_count, parse_ranges, range_text


def ranges(*texts: str) -> list[str]:
    return [range_text(found) for found in parse_ranges(texts)]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("10.0.0.7", ["10.0.0.7"]),
        ("10.0.0.7-10.0.1.3", ["10.0.0.7-10.0.1.3"]),
        ("10.0.0.200-250", ["10.0.0.200-10.0.0.250"]),
        ("10.0.0.0/24", ["10.0.0.1-10.0.0.254"]),
        ("10.0.0.0/30", ["10.0.0.1-10.0.0.2"]),
        ("10.0.0.0/31", ["10.0.0.0-10.0.0.1"]),
        ("10.0.0.9/32", ["10.0.0.9"]),
        (" 10.0.0.1 , 10.0.0.4 - 6,10.0.1.0/30", ["10.0.0.1", "10.0.0.4-10.0.0.6", "10.0.1.1-10.0.1.2"]),
    ],
)
def test_each_way_of_writing(text: str, expected: list[str]):
    assert ranges(text) == expected


def test_order_is_kept_and_both_ends_count():
    assert ranges("10.0.0.9-10.0.0.12", "10.0.0.1") == ["10.0.0.9-10.0.0.12", "10.0.0.1"]
    assert address_count(parse_ranges(["10.0.0.9-10.0.0.12", "10.0.0.1"])) == 5
    assert parse_ranges([]) == ()
    assert parse_ranges(["10.0.0.1"]) == ((IPv4Address("10.0.0.1"), IPv4Address("10.0.0.1")),)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("", "an empty entry"),
        ("10.0.0.1,", "an empty entry"),
        ("ten", '"ten" is not an IPv4 address'),
        ("10.0.0.1-ten", '"ten" in "10.0.0.1-ten" is not an IPv4 address'),
        ("10.0.0.1-300", '"10.0.0.300" in "10.0.0.1-300" is not an IPv4 address'),
        ("10.0.0.9-10.0.0.3", '"10.0.0.9-10.0.0.3" runs backwards: 10.0.0.3 comes before 10.0.0.9'),
        ("10.0.0.9-3", '"10.0.0.9-3" runs backwards'),
        ("10.0.0.0/33", '"10.0.0.0/33" is not an IPv4 network'),
        ("fe80::/64", '"fe80::/64" is not an IPv4 network'),
        ("10.0.0.5/24", '"10.0.0.5/24" has bits set beyond its prefix; the network is written 10.0.0.0/24'),
        ("10.0.0.1-10.0.0.9, 10.0.0.9-10.0.0.12", "10.0.0.1-10.0.0.9 and 10.0.0.9-10.0.0.12 share 10.0.0.9"),
        ("10.0.0.5,10.0.0.0/24", "10.0.0.1-10.0.0.254 and 10.0.0.5 share 10.0.0.5"),
    ],
)
def test_a_fault_is_a_sentence(text: str, sentence: str):
    with pytest.raises(ValueError) as caught:
        parse_ranges([text])
    assert str(caught.value).startswith(sentence)
