"""The webhook's own certificate authority and serving certificate (pure but for the keys).

Kubernetes trusts what a webhook configuration's `caBundle` says. An authority lives ten years,
a serving certificate one, and each is made anew when a third of its life is left; a new
authority is named beside the old one in the bundle, so that no replica is distrusted while it
changes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from ipaddress import IPv4Address
from typing import Final

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from shared.errors import InvalidInput

AUTHORITY_LIFE: Final = timedelta(days=3650)
SERVING_LIFE: Final = timedelta(days=365)
_SKEW: Final = timedelta(minutes=5)  # clocks of API server and allocator may differ


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyPair:
    """A certificate and its key, as PEM."""

    certificate: bytes
    key: bytes

    @property
    def not_after(self) -> datetime:
        return x509.load_pem_x509_certificate(self.certificate).not_valid_after_utc

    def is_due(self, now: datetime) -> bool:
        """Whether a third of its life or less is left: time to make another."""
        found = x509.load_pem_x509_certificate(self.certificate)
        life = found.not_valid_after_utc - found.not_valid_before_utc
        return now >= found.not_valid_after_utc - life / 3

    def is_signed_by(self, authority: KeyPair) -> bool:
        ours = x509.load_pem_x509_certificate(self.certificate)
        try:
            ours.verify_directly_issued_by(
                x509.load_pem_x509_certificate(authority.certificate)
            )
        except (ValueError, InvalidSignature):
            return False
        return True


def read_pair(certificate: bytes, key: bytes, *, where: str) -> KeyPair:
    """Check that both can be read and belong together. Raises InvalidInput, never the key."""
    try:
        found = x509.load_pem_x509_certificate(certificate)
        private = load_pem_private_key(key, password=None)
    except (ValueError, TypeError) as error:
        raise InvalidInput(f"{where}: certificate or key cannot be read as PEM") from error
    if private.public_key() != found.public_key():
        raise InvalidInput(f"{where}: the key is not the certificate's")
    return KeyPair(certificate=certificate, key=key)


def new_authority(name: str, now: datetime) -> KeyPair:
    """A self-signed authority that may sign serving certificates only."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = _subject(name)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _SKEW)
        .not_valid_after(now + AUTHORITY_LIFE)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(signs_certificates=True), critical=True)
        .add_extension(
            x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False
        )
        .sign(key, hashes.SHA256())
    )
    return _pair(certificate, key)


def new_serving_pair(
    authority: KeyPair,
    names: Sequence[str],
    now: datetime,
    *,
    addresses: Sequence[IPv4Address] = (),
    life: timedelta = SERVING_LIFE,
    is_peer: bool = False,
) -> KeyPair:
    """A certificate for these DNS names and addresses, signed by the authority.

    `is_peer`: it is shown to other servers, too, when this one connects to them.
    """
    uses = [ExtendedKeyUsageOID.SERVER_AUTH]
    if is_peer:
        uses.append(ExtendedKeyUsageOID.CLIENT_AUTH)
    held: list[x509.GeneralName] = [x509.DNSName(each) for each in names]
    held += [x509.IPAddress(each) for each in addresses]
    signer = x509.load_pem_x509_certificate(authority.certificate)
    signing_key = load_pem_private_key(authority.key, password=None)
    assert isinstance(signing_key, ec.EllipticCurvePrivateKey), "made by new_authority"
    key = ec.generate_private_key(ec.SECP256R1())
    certificate = (
        x509.CertificateBuilder()
        .subject_name(_subject(names[0]))
        .issuer_name(signer.subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _SKEW)
        .not_valid_after(min(now + life, signer.not_valid_after_utc))
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(signs_certificates=False), critical=True)
        # Two authorities of one name stand in a bundle: this tells which of them signed.
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(signing_key.public_key()),
            critical=False,
        )
        .add_extension(x509.ExtendedKeyUsage(uses), critical=False)
        .add_extension(x509.SubjectAlternativeName(held), critical=False)
        .sign(signing_key, hashes.SHA256())
    )
    return _pair(certificate, key)


def bundle(authorities: Sequence[KeyPair]) -> bytes:
    """What goes into `caBundle`: every authority that some replica may still serve under."""
    return b"".join(each.certificate for each in authorities)


def _subject(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name[:64])])


def _usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        encipher_only=False,
        decipher_only=False,
    )


def _pair(certificate: x509.Certificate, key: ec.EllipticCurvePrivateKey) -> KeyPair:
    return KeyPair(
        certificate=certificate.public_bytes(Encoding.PEM),
        key=key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()),
    )
