"""Makes keys, a certificate authority and requests for certificates, for a cluster in which machines join as nodes.

Apart from the control plane, which needs none of this as long as no node joins it.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

IPAddress = IPv4Address | IPv6Address

VALID_FOR = timedelta(days=30)  # no local cluster lives longer
CLOCK_SKEW = timedelta(minutes=5)


def write_authority(name: str, certificate: Path, key: Path) -> None:
    """Writes a new certificate authority called `name`: its certificate, and its key with mode 0600. Both are PEM."""
    private = _new_key()
    authority = _signed_by_itself(name, private).add_extension(_signs_certificates(), critical=True)
    identifier = x509.SubjectKeyIdentifier.from_public_key(private.public_key())
    _write(authority.add_extension(identifier, critical=False), private, certificate, key)


def write_self_signed(address: IPAddress, certificate: Path, key: Path) -> None:
    """Writes a certificate with which a program serves at `address`, and which its clients trust as it is."""
    private, served = _new_key(), x509.SubjectAlternativeName([x509.IPAddress(address)])
    _write(_signed_by_itself("local", private).add_extension(served, critical=False), private, certificate, key)


def new_request(
    common_name: str, organization: str, names: Sequence[str] = (), addresses: Sequence[IPAddress] = ()
) -> tuple[ec.EllipticCurvePrivateKey, bytes]:
    """Returns a new key, and a request (PKCS #10, PEM) for a certificate of that subject.

    `names` and `addresses` are those under which the machine will serve.
    """
    private = _new_key()
    subject = [
        x509.NameAttribute(NameOID.ORGANIZATION_NAME, organization),
        x509.NameAttribute(NameOID.COMMON_NAME, common_name),
    ]
    request = x509.CertificateSigningRequestBuilder().subject_name(x509.Name(subject))
    served = [*map(x509.DNSName, names), *map(x509.IPAddress, addresses)]
    if served:
        request = request.add_extension(x509.SubjectAlternativeName(served), critical=False)
    return private, request.sign(private, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)


def write_key(private: ec.EllipticCurvePrivateKey, path: Path) -> None:
    """Writes the key as PEM. Only its owner can read the file."""
    encoded = private.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.TraditionalOpenSSL, serialization.NoEncryption()
    )
    path.touch(mode=0o600)
    path.write_bytes(encoded)


def _signed_by_itself(name: str, private: ec.EllipticCurvePrivateKey) -> x509.CertificateBuilder:
    """Returns a certificate of `name` that its own key is to sign, as those of authorities are."""
    subject, now = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]), datetime.now(UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(private.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - CLOCK_SKEW)
        .not_valid_after(now + VALID_FOR)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
    )


def _write(built: x509.CertificateBuilder, private: ec.EllipticCurvePrivateKey, certificate: Path, key: Path) -> None:
    certificate.write_bytes(built.sign(private, hashes.SHA256()).public_bytes(serialization.Encoding.PEM))
    write_key(private, key)


def _new_key() -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key(ec.SECP256R1())


def _signs_certificates() -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=True,
        key_cert_sign=True,
        crl_sign=True,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )
