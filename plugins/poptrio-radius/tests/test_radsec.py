"""RadSec over real TLS on loopback: certificates that are good, and those that are not."""

import ssl
from datetime import UTC, datetime, timedelta
from functools import partial
from ipaddress import IPv4Address

import pytest
import trio
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from peer import attributes

from poptrio_radius.config import ServerConfig
from poptrio_radius.packets import HEADER, Code, Request, parse, respond, verify_reply
from poptrio_radius.radsec import open_radsec, tls_context

SECRET = b"radsec"
DAY = timedelta(days=1)


class Authority:
    """Signs certificates into ``folder``; its own is ``ca.pem``."""

    def __init__(self, folder):
        folder.mkdir()
        self.folder = folder
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "authority")])
        own = self._builder(self._name, self._key).add_extension(x509.BasicConstraints(True, None), critical=True)
        self.file = folder / "ca.pem"
        self.file.write_bytes(own.sign(self._key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM))

    def sign(self, name, address, *, days=1):
        """A file with a certificate for an address, and its key."""
        key = ec.generate_private_key(ec.SECP256R1())
        builder = self._builder(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]), key, days)
        names = x509.SubjectAlternativeName([x509.IPAddress(IPv4Address(address))])
        certificate = builder.add_extension(names, critical=False).sign(self._key, hashes.SHA256())
        file = self.folder / f"{name}.pem"
        file.write_bytes(
            certificate.public_bytes(serialization.Encoding.PEM)
            + key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
        )
        return file

    def _builder(self, subject, key, days=1):
        now = datetime.now(UTC)
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self._name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - 3 * DAY)
            .not_valid_after(now + days * DAY)
        )


async def answer_everything(stream):
    """A server: packet after packet, however the stream cuts them."""
    buffer = b""
    try:
        async for octets in stream:
            buffer += octets
            while len(buffer) >= HEADER.size and len(buffer) >= int.from_bytes(buffer[2:4], "big"):
                length = int.from_bytes(buffer[2:4], "big")
                reply = respond(parse(buffer[:length]), Code.ACCESS_ACCEPT, attributes(Reply_Message="hello"), SECRET)
                for octet in reply:  # as slowly as it can be
                    await stream.send_all(bytes([octet]))
                buffer = buffer[length:]
    except trio.BrokenResourceError:
        pass


@pytest.fixture
def authority(tmp_path):
    return Authority(tmp_path / "authority")


@pytest.fixture
async def serve(nursery):
    """Starts a TLS server with a certificate; returns its port."""

    async def start(certificate, client_ca=None):
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate)
        if client_ca is not None:
            context.verify_mode = ssl.CERT_REQUIRED
            context.load_verify_locations(client_ca)
        listeners = await nursery.start(
            partial(trio.serve_ssl_over_tcp, answer_everything, 0, context, host="127.0.0.1")
        )
        return listeners[0].transport_listener.socket.getsockname()[1]

    return start


async def connect(port, folder, **tls):
    config = ServerConfig.model_validate({"address": "127.0.0.1", "tls": {"port": port, **tls}})
    return await open_radsec(config, tls_context(config.tls, folder))


async def test_packets_go_and_come(authority, serve, tmp_path):
    link = await connect(await serve(authority.sign("server", "127.0.0.1")), tmp_path, ca="authority/ca.pem")
    for identifier in (1, 2):
        request = Request(Code.ACCESS_REQUEST, attributes(User_Name="alice")).encode(identifier, SECRET)
        await link.send(request)
        reply = verify_reply(await link.receive(), request, SECRET)
        assert reply.attributes.text("Reply-Message") == "hello"
    link.close()


async def test_another_authority_is_not_believed(authority, serve, tmp_path):
    other = Authority(tmp_path / "other")
    port = await serve(other.sign("server", "127.0.0.1"))
    with pytest.raises(OSError, match="certificate verify failed"):
        await connect(port, tmp_path, ca="authority/ca.pem")


async def test_another_name_is_not_believed(authority, serve, tmp_path):
    port = await serve(authority.sign("server", "127.0.0.2"))
    with pytest.raises(OSError, match=r"certificate is not valid for '127\.0\.0\.1'"):
        await connect(port, tmp_path, ca="authority/ca.pem")


async def test_an_expired_certificate_is_not_believed(authority, serve, tmp_path):
    port = await serve(authority.sign("server", "127.0.0.1", days=-1))
    with pytest.raises(OSError, match="certificate has expired"):
        await connect(port, tmp_path, ca="authority/ca.pem")


async def test_our_own_certificate_is_shown(authority, serve, tmp_path):
    port = await serve(authority.sign("server", "127.0.0.1"), client_ca=authority.file)
    authority.sign("us", "127.0.0.1")
    link = await connect(port, tmp_path, ca="authority/ca.pem", certificate="authority/us.pem")
    request = Request(Code.ACCESS_REQUEST, attributes(User_Name="alice")).encode(1, SECRET)
    await link.send(request)
    verify_reply(await link.receive(), request, SECRET)
    link.close()


async def test_files_that_cannot_be_used_are_said(tmp_path):
    (tmp_path / "empty.pem").touch()
    for tls in ({"ca": "missing.pem"}, {"ca": "empty.pem"}, {"certificate": "empty.pem"}):
        config = ServerConfig.model_validate({"address": "127.0.0.1", "tls": tls})
        with pytest.raises(OSError):  # ssl.SSLError is one
            tls_context(config.tls, tmp_path)


async def test_a_length_that_cannot_be_ends_the_connection(authority, nursery, tmp_path):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(authority.sign("server", "127.0.0.1"))

    async def nonsense(stream):
        await stream.send_all(b"\x02\x01\xff\xff")

    listeners = await nursery.start(partial(trio.serve_ssl_over_tcp, nonsense, 0, context, host="127.0.0.1"))
    port = listeners[0].transport_listener.socket.getsockname()[1]
    link = await connect(port, tmp_path, ca="authority/ca.pem")
    with pytest.raises(OSError, match="length of 65535"):
        await link.receive()
