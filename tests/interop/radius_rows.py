"""The rows with FreeRADIUS: each protocol, each thing that it decides, and what comes from it during a call."""

import backend
import radius_outage as outage
import radius_scenarios as scenarios
from row import CLEAR, MPPE_128, Row
from stage import Dial

ENCRYPTED = ("MS-CHAPv2", "MPPE-128 stateless")
POOLS = {"addresses.pools": {"gold": ["10.92.0.2-10.92.0.254"]}}
EAP = {"authentication": ["eap"]}


def _dial(user: str, options: tuple[str, ...] = MPPE_128) -> Dial:
    """MS-CHAPv2 and MPPE-128 as a user of ``raddb/users``."""
    return Dial({}, options, *ENCRYPTED, user=user, backend=backend.radius, tables=POOLS)


def _protocol(ppp: dict[str, object], options: tuple[str, ...], authentication: str, encryption: str) -> Dial:
    return Dial(ppp, options, authentication, encryption, backend=backend.radius)


RADIUS_ROWS = (
    Row("radius-pap", _protocol({"authentication": ["pap"], **CLEAR}, (), "PAP", "none"), scenarios.is_billed),
    Row(
        "radius-chap-md5",
        _protocol({"authentication": ["chap-md5"], **CLEAR}, (), "CHAP-MD5", "none"),
        scenarios.is_billed,
    ),
    Row(
        "radius-mschap-v1",
        _protocol({"authentication": ["mschap-v1"]}, MPPE_128, "MS-CHAPv1", "MPPE-128 stateless"),
        scenarios.is_billed,
    ),
    Row("radius-mschap-v2", _protocol({}, MPPE_128, *ENCRYPTED), scenarios.is_billed),
    Row(
        "radius-eap-md5",
        Dial({**EAP, **CLEAR}, (), "EAP-MD5", "none", user="digest", backend=backend.radius),
        scenarios.is_billed,
    ),
    Row("radius-eap-mschapv2", _protocol(EAP, MPPE_128, "EAP-MSCHAPv2", "MPPE-128 stateless"), scenarios.is_billed),
    Row(
        "radius-one-time-password",
        Dial({"authentication": ["pap"], **CLEAR}, (), "PAP", "none", user="otp", backend=backend.radius),
        scenarios.one_time_password,
    ),
    Row("radius-static-address", _dial("static", (*MPPE_128, "usepeerdns")), scenarios.static_address),
    Row("radius-pool", _dial("gold"), scenarios.from_pool),
    Row("radius-routes", _dial("routed"), scenarios.routes),
    Row("radius-session-timeout", _dial("hurried"), scenarios.session_timeout),
    Row("radius-idle-timeout", _dial("lazy"), scenarios.idle_timeout),
    Row("radius-quota", _dial("metered"), scenarios.quota),
    Row("radius-port-limit", _dial("only"), scenarios.port_limit),
    Row("radius-refused", _dial("expired"), scenarios.refused_with_message),
    Row("radius-disconnect", _dial("alice"), scenarios.disconnect),
    Row("radius-coa", _dial("alice"), scenarios.change_of_authorization),
    Row("radius-outage", _dial("alice"), outage.freeradius_dies_under_load),
    Row("radius-server-killed", _dial("alice"), outage.server_dies_with_calls),
    Row("radius-server-killed-under-load", _dial("alice"), outage.server_dies_under_load),
    Row(
        "radsec",
        Dial({}, MPPE_128, *ENCRYPTED, backend=backend.radsec),
        scenarios.is_billed,
    ),
    Row(
        "isp-how-to",
        Dial({}, MPPE_128, *ENCRYPTED, password="correct horse", backend=backend.isp),
        scenarios.isp_how_to,
    ),
)
