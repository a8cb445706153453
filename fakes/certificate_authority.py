"""A signer of workers' certificates, as Vast's `/api/v0/sign_cert/` is one."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime

from aiohttp import web
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

_START = datetime(2024, 1, 1, tzinfo=UTC)
_END = datetime(2124, 1, 1, tzinfo=UTC)


@dataclass
class CertificateAuthority:
    """Signs whatever it is asked to, until `ends`; remembers for which instance."""

    instance_ids: list[str] = field(default_factory=list)
    ends: datetime = _END
    key: ec.EllipticCurvePrivateKey = field(
        default_factory=lambda: ec.generate_private_key(ec.SECP256R1())
    )

    def __post_init__(self) -> None:
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "test authority")])
        constraints = x509.BasicConstraints(ca=True, path_length=None)
        builder = self._builder(name, name, self.key.public_key())
        builder = builder.add_extension(constraints, critical=True)
        self.certificate = builder.sign(self.key, hashes.SHA256())

    @property
    def pem(self) -> bytes:
        """The root certificate."""
        return self.certificate.public_bytes(Encoding.PEM)

    def sign(self, request_pem: bytes) -> bytes:
        """The PEM certificate for a signing request."""
        request = x509.load_pem_x509_csr(request_pem)
        builder = self._builder(request.subject, self.certificate.subject, request.public_key())
        for extension in request.extensions:
            builder = builder.add_extension(extension.value, critical=extension.critical)
        return builder.sign(self.key, hashes.SHA256()).public_bytes(Encoding.PEM)

    def application(self) -> web.Application:
        """`POST /sign_cert/?instance_id=N` with the request as its body."""
        app = web.Application()
        app.router.add_post("/sign_cert/", self._sign)
        return app

    async def _sign(self, request: web.Request) -> web.Response:
        self.instance_ids.append(request.query["instance_id"])
        return web.Response(body=self.sign(await request.read()))

    def _builder(
        self, subject: x509.Name, issuer: x509.Name, key: object
    ) -> x509.CertificateBuilder:
        builder = x509.CertificateBuilder(subject_name=subject, issuer_name=issuer)
        builder = builder.serial_number(x509.random_serial_number())
        builder = builder.not_valid_before(_START).not_valid_after(self.ends)
        return builder.public_key(key)  # type: ignore[arg-type]
