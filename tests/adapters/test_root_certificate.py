"""The certificate that the vendor's client loads before its first call."""

from __future__ import annotations

import ssl

from cryptography import x509

from chalicelib.adapters.root_certificate import unused_root_certificate


def test_a_client_can_load_it_and_it_can_have_signed_nothing_known() -> None:
    pem = unused_root_certificate(1_800_000_000.0)
    ssl.create_default_context().load_verify_locations(cadata=pem)
    certificate = x509.load_pem_x509_certificate(pem.encode())
    assert certificate.subject == certificate.issuer
    assert pem != unused_root_certificate(1_800_000_000.0)
