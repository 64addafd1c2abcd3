"""``[plugins.radius.coa]`` and the keys for accounting."""

from ipaddress import ip_address

import pytest

from poptrio.api import ConfigError, read_config
from poptrio_radius.coa_config import UdpAddress
from poptrio_radius.config import RadiusConfig

SERVERS = [{"address": "127.0.0.1", "secret": "testing123"}]
CLIENTS = [{"address": "127.0.0.1", "secret": "testing123"}]


def read(**values):
    return read_config(RadiusConfig, {"servers": SERVERS} | values, "plugins.radius")


def faults(**values):
    with pytest.raises(ConfigError) as caught:
        read(**values)
    return {fault.place: fault.message for fault in caught.value.faults}


def test_without_the_table_nothing_is_obeyed():
    assert read().coa is None


def test_requests_are_taken_from_this_machine_only_unless_it_says_otherwise():
    coa = read(coa={"clients": CLIENTS}).coa
    assert str(coa.listen) == "127.0.0.1:3799"
    assert (coa.window, coa.require_event_timestamp, coa.require_message_authenticator) == (300.0, False, False)


@pytest.mark.parametrize(
    ("text", "address", "port"),
    [
        ("127.0.0.1:3799", "127.0.0.1", 3799),
        ("192.0.2.1", "192.0.2.1", 3799),
        ("[::]:1700", "::", 1700),
        ("[2001:db8::1]", "2001:db8::1", 3799),
        ("2001:db8::1", "2001:db8::1", 3799),
    ],
)
def test_addresses_to_listen_on(text, address, port):
    listen = read(coa={"listen": text, "clients": CLIENTS}).coa.listen
    assert listen == UdpAddress(ip_address(address), port)
    assert read(coa={"listen": str(listen), "clients": CLIENTS}).coa.listen == listen


@pytest.mark.parametrize("text", ["", "x", "127.0.0.1:0", "127.0.0.1:65536", "127.0.0.1:٣", "[::1", "[::1]9", ":1", 7])
def test_what_is_no_address_is_a_fault(text):
    assert "plugins.radius.coa.listen" in faults(coa={"listen": text, "clients": CLIENTS})


def test_somebody_must_be_listed():
    assert "plugins.radius.coa.clients" in faults(coa={"clients": []})
    assert "plugins.radius.coa.clients" in faults(coa={})


def test_misspelt_keys_are_faults():
    assert "plugins.radius.coa.port" in faults(coa={"clients": CLIENTS, "port": 1})
    assert "plugins.radius.spol" in faults(spol="x")


@pytest.mark.parametrize(
    ("key", "value"),
    [("spool_max", 0), ("accounting_failure", "end"), ("min_interim_interval", -1), ("spool_note_interval", 0)],
)
def test_values_that_make_no_sense_are_faults(key, value):
    assert f"plugins.radius.{key}" in faults(**{key: value})


def test_secrets_are_not_shown():
    assert "testing123" not in repr(read(coa={"clients": CLIENTS}))
