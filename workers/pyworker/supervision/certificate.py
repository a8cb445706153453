"""The worker's TLS certificate: a key made here, signed by Vast's signer for the real address."""

from __future__ import annotations

import ipaddress
import ssl
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

MIN_LIFE_LEFT = timedelta(days=2)


class CertificateError(ValueError):
    """No usable certificate; the message says why."""


def make_request(public_ip: str) -> tuple[bytes, bytes]:
    """A new RSA-2048 key and the signing request for `public_ip`, both PEM.

    Subject as Vast's signer expects it (protocol fact: CN=pyworker.vast.ai).

    Raises:
        CertificateError: not an IP address.
    """
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    subject = x509.Name(
        [
            x509.NameAttribute(NameOID.COUNTRY_NAME, "US"),
            x509.NameAttribute(NameOID.STATE_OR_PROVINCE_NAME, "CA"),
            x509.NameAttribute(NameOID.COMMON_NAME, "pyworker.vast.ai"),
        ]
    )
    try:
        address = x509.IPAddress(ipaddress.ip_address(public_ip.strip()))
    except ValueError as error:
        raise CertificateError(f"PUBLIC_IPADDR={public_ip!r} is not an IP address") from error
    names = x509.SubjectAlternativeName([address])
    builder = x509.CertificateSigningRequestBuilder().subject_name(subject)
    request = builder.add_extension(names, critical=False).sign(key, hashes.SHA256())
    private = key.private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption())
    return private, request.public_bytes(Encoding.PEM)


def check_certificate(
    pem: bytes, public_ip: str, now: float, life_left: timedelta = MIN_LIFE_LEFT
) -> None:
    """Clients would accept this certificate for this address, for some days to come.

    Raises:
        CertificateError: another address (clients would re-route for ever), expired, or no PEM.
    """
    try:
        certificate = x509.load_pem_x509_certificate(pem)
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName)
    except (ValueError, x509.ExtensionNotFound) as error:
        raise CertificateError("the signer's answer is no certificate with an address") from error
    addresses = [str(address) for address in names.value.get_values_for_type(x509.IPAddress)]
    if public_ip.strip() not in addresses:
        raise CertificateError(f"the certificate is for {addresses}, not for {public_ip}")
    if (ends := certificate.not_valid_after_utc) < datetime.fromtimestamp(now, UTC) + life_left:
        raise CertificateError(f"the certificate ends at {ends:%Y-%m-%d %H:%M} UTC")


def has_good_certificate(
    cert: Path, key: Path, public_ip: str, now: float, life_left: timedelta = MIN_LIFE_LEFT
) -> bool:
    """Whether the files that are there still serve."""
    try:
        check_certificate(cert.read_bytes(), public_ip, now, life_left)
        # The key is another file, and may be another certificate's after a broken write.
        ssl.create_default_context(ssl.Purpose.CLIENT_AUTH).load_cert_chain(cert, key)
    except (OSError, CertificateError):  # ssl.SSLError is an OSError
        return False
    return True


def store(cert_path: Path, key_path: Path, certificate: bytes, key: bytes) -> None:
    """Write both, each whole or not at all; the key is readable by its owner alone.

    Raises:
        OSError: with the path.
    """
    for path, data, mode in ((key_path, key, 0o600), (cert_path, certificate, 0o644)):
        path.parent.mkdir(parents=True, exist_ok=True)
        draft = path.with_name(path.name + ".new")
        draft.touch(mode=mode)
        draft.chmod(mode)
        draft.write_bytes(data)
        draft.replace(path)
