"""TLS 1.3 with certificates on both sides, in memory: what a mutual handshake costs elsewhere."""

from __future__ import annotations

import datetime as dt
import ipaddress
import ssl
import tempfile
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.x509.oid import NameOID

HOST = "127.0.0.1"
DAY = dt.timedelta(days=1)
PrivateKey = ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey


@dataclass(frozen=True, slots=True)
class Certificate:
    """Self-signed, and trusted as it is, so that no chain has to be verified."""

    public: str
    private: str

    def load(self, context: ssl.SSLContext) -> None:
        """Make it the context's own."""
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / "both.pem"
            file.write_text(self.public + self.private, encoding="ascii")
            context.load_cert_chain(file)


def certificate(key: PrivateKey) -> Certificate:
    """For loopback, valid today."""
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, HOST)])
    now = dt.datetime.now(dt.UTC)
    signed = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - DAY)
        .not_valid_after(now + DAY)
        .add_extension(
            x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address(HOST))]),
            critical=False,
        )
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, None if isinstance(key, ed25519.Ed25519PrivateKey) else hashes.SHA256())
    )
    private = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    public = signed.public_bytes(serialization.Encoding.PEM)
    return Certificate(public.decode(), private.decode())


def p256() -> Certificate:
    """ECDSA on P-256, the fastest that OpenSSL has."""
    return certificate(ec.generate_private_key(ec.SECP256R1()))


def edwards() -> Certificate:
    """Ed25519, as our own long-term keys are."""
    return certificate(ed25519.Ed25519PrivateKey.generate())


def context(own: Certificate, peer: Certificate, side: int) -> ssl.SSLContext:
    """TLS 1.3 only, over X25519, the other side's certificate required, no resumption."""
    made = ssl.SSLContext(side)
    made.check_hostname = False
    made.verify_mode = ssl.CERT_REQUIRED
    made.minimum_version = ssl.TLSVersion.TLSv1_3
    if side == ssl.PROTOCOL_TLS_SERVER:
        made.num_tickets = 0
    own.load(made)
    made.load_verify_locations(cadata=peer.public)
    return made


def server_context(own: Certificate) -> ssl.SSLContext:
    """An ordinary web server's: it asks for no certificate."""
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    own.load(made)
    return made


def client_context(peer: Certificate) -> ssl.SSLContext:
    """An ordinary client's, which trusts this certificate alone."""
    return ssl.create_default_context(cadata=peer.public)


class MutualTls:
    """Contexts of two peers that demand each other's certificate."""

    def __init__(self, server: Certificate, client: Certificate) -> None:
        self._server = context(server, client, ssl.PROTOCOL_TLS_SERVER)
        self._client = context(client, server, ssl.PROTOCOL_TLS_CLIENT)

    def shake_hands(self) -> tuple[ssl.SSLObject, ssl.SSLObject]:
        """One handshake through memory: client, server."""
        to_client, to_server = ssl.MemoryBIO(), ssl.MemoryBIO()
        client = self._client.wrap_bio(to_client, to_server)
        server = self._server.wrap_bio(to_server, to_client, server_side=True)
        waiting = [client, server]
        while waiting:
            for end in tuple(waiting):
                try:
                    end.do_handshake()
                    waiting.remove(end)
                except ssl.SSLWantReadError:
                    pass
        return client, server
