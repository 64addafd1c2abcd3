"""The rows with OpenLDAP: a bind as the user, the NT hash of the entry, and a directory that goes and comes back."""

import backend
import ldap_scenarios as scenarios
from row import CLEAR, MPPE_128, Row
from stage import Dial

MSCHAP_V2 = Dial({}, MPPE_128, "MS-CHAPv2", "MPPE-128 stateless", backend=backend.ldap)

LDAP_ROWS = (
    Row(
        "ldap-pap",
        Dial({"authentication": ["pap"], **CLEAR}, (), "PAP", "none", backend=backend.ldap),
        scenarios.has_address_of_entry,
    ),
    Row("ldap-mschap-v2", MSCHAP_V2, scenarios.has_address_of_entry),
    Row(
        "ldap-eap-mschapv2",
        Dial({"authentication": ["eap"]}, MPPE_128, "EAP-MSCHAPv2", "MPPE-128 stateless", backend=backend.ldap),
        scenarios.has_address_of_entry,
    ),
    Row("ldap-outage", MSCHAP_V2, scenarios.directory_dies_and_returns),
)
