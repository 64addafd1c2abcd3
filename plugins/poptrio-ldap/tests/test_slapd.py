"""Against OpenLDAP itself: TLS, binds, hashes, groups, injection, and a directory that dies during calls."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from ipaddress import IPv4Address

import pytest
from poptrio_ldap.plugin import Ldap

from poptrio.api import Accept, Reject, ServerInfo
from poptrio.testing.requests import pap_request

pytestmark = pytest.mark.slapd


@asynccontextmanager
async def plugin(slapd, **keys) -> AsyncIterator[Ldap]:
    """The plugin with slapd as its directory; ``keys`` are added to ``[plugins.ldap]``, or take their place."""
    config = {
        "servers": [slapd.url],
        "ca_file": "ca.pem",
        "base": "ou=people,dc=example,dc=org",
        "bind_dn": "cn=poptrio,dc=example,dc=org",
        "bind_password": "service",
        "nt_hash_attribute": "sambaNTPassword",
    }
    ldap = Ldap()
    server = ServerInfo(folder=slapd.folder, name="poptrio", address=IPv4Address("10.90.0.1"), pool=())
    async with ldap.poptrio_lifespan(config | keys, server):
        yield ldap


async def test_pap_binds_as_the_user_under_start_tls(slapd):
    async with plugin(slapd) as ldap:
        right = await ldap.poptrio_authenticate(pap_request("alice", "correct horse"))
        wrong = await ldap.poptrio_authenticate(pap_request("alice", "battery staple"))
        again = await ldap.poptrio_authenticate(pap_request("alice", "correct horse"))
    assert isinstance(right, Accept)
    assert right.framed_address == IPv4Address("10.90.0.77")
    assert isinstance(wrong, Reject)
    assert again == right
