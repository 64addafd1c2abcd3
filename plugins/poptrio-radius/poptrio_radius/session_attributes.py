"""What authentication and accounting both say: who we are, and which call it is about.

Acct-Session-Id is in the Access-Request already, so that both can be joined; the tunnel attributes of RFC 2868 are
there because many servers choose by them.
"""

from poptrio.api import CallInfo
from poptrio_radius.attributes import Attributes
from poptrio_radius.config import RadiusConfig


def nas_attributes(config: RadiusConfig) -> Attributes:
    """Who we are, for requests that are about no call."""
    attributes = Attributes()
    attributes.add("NAS-Identifier", config.nas_identifier)
    if config.nas_ip_address is not None:
        attributes.add("NAS-IP-Address", config.nas_ip_address)
    return attributes


def call_attributes(call: CallInfo, config: RadiusConfig) -> Attributes:
    """Who we are and which call it is. NAS-Port is our Call ID, which only one call has at a time."""
    attributes = nas_attributes(config)
    if config.nas_ip_address is None:
        attributes.add("NAS-IP-Address", call.server)
    attributes.add("NAS-Port", call.call_id)
    attributes.add("NAS-Port-Id", f"pptp-{call.call_id}")
    attributes.add("NAS-Port-Type", "Virtual")
    attributes.add("Service-Type", "Framed")
    attributes.add("Framed-Protocol", "PPP")
    attributes.add("Calling-Station-Id", str(call.peer))
    attributes.add("Called-Station-Id", str(call.server))
    attributes.add("Acct-Session-Id", call.session_id)
    if call.connection_id:
        attributes.add("Acct-Multi-Session-Id", call.connection_id)
    attributes.add("Tunnel-Type", "PPTP")
    attributes.add("Tunnel-Medium-Type", "IPv4")
    attributes.add("Tunnel-Client-Endpoint", str(call.peer))
    attributes.add("Tunnel-Server-Endpoint", str(call.server))
    return attributes
