"""Debian's radsecproxy: takes RADIUS over TLS (RFC 6614) from poptrio and hands it on to FreeRADIUS by UDP."""

import socket
from pathlib import Path

from certificates import Authority, Certificate
from freeradius import ADDRESS, SECRET
from service import Service

PORT = 2083

CONFIG = """\
ListenTLS {address}:{port}
ListenUDP {address}:18120
LogLevel 3
LoopPrevention off

tls default {{
    CACertificateFile {ca}
    CertificateFile {certificate.file}
    CertificateKeyFile {certificate.key}
}}

client {address} {{
    type tls
    secret radsec
}}

server authentication {{
    host {address}
    port 1812
    type udp
    secret {secret}
}}

server accounting {{
    host {address}
    port 1813
    type udp
    secret {secret}
}}

realm * {{
    server authentication
    accountingServer accounting
}}
"""


class RadsecProxy(Service):
    """A radsecproxy with a certificate of its own; ``authority`` has signed it, ``client`` is for poptrio."""

    def __init__(self, folder: Path) -> None:
        self.authority = Authority(folder / "certificates")
        self.client: Certificate = self.authority.sign("poptrio", f"IP:{ADDRESS}")
        config = folder / "radsecproxy.conf"
        server = self.authority.sign("radsecproxy", f"IP:{ADDRESS}")
        config.write_text(
            CONFIG.format(address=ADDRESS, port=PORT, ca=self.authority.file, certificate=server, secret=SECRET)
        )
        super().__init__("radsecproxy", ["radsecproxy", "-f", "-c", str(config)], folder / "radsecproxy", _listens)


def _listens() -> bool:
    try:
        socket.create_connection((ADDRESS, PORT), 1.0).close()
    except OSError:
        return False
    return True
