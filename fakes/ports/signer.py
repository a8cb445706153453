"""Signing keys in memory: real RSA signatures, no KMS."""

from __future__ import annotations

from collections import Counter
from functools import lru_cache

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa

from chalicelib.ports.errors import NotFoundError, PortError
from chalicelib.ports.signer import SigningKeyInfo


@lru_cache(maxsize=8)
def _private_key(index: int) -> rsa.RSAPrivateKey:
    """Making a key takes 50 ms: all fakes of a process share them."""
    return rsa.generate_private_key(public_exponent=65_537, key_size=2048)


class FakeSigner:
    """Implements `ports.signer.Signer`.

    `calls` counts calls by method; `failure`, if set, is raised by every method.
    """

    def __init__(self) -> None:
        self.keys: dict[str, SigningKeyInfo] = {}
        self.calls: Counter[str] = Counter()
        self.failure: PortError | None = None

    def sign(self, key_id: str, message: bytes) -> bytes:
        """The raw signature."""
        self._called("sign")
        self.public_key(key_id)
        return _private_key(int(key_id)).sign(message, padding.PKCS1v15(), hashes.SHA256())

    def public_key(self, key_id: str) -> SigningKeyInfo:
        """One key."""
        self._called("public_key")
        if key_id not in self.keys:
            raise NotFoundError(f"no signing key {key_id!r}")
        return self.keys[key_id]

    def newest(self, now: float = 0.0) -> SigningKeyInfo:
        """The key that new instances get."""
        self._called("newest")
        if not self.keys:
            return self.create_key(now)
        return self.keys[str(len(self.keys) - 1)]

    def create_key(self, now: float) -> SigningKeyInfo:
        """Rotate."""
        self._called("create_key")
        key_id = str(len(self.keys))
        public = _private_key(len(self.keys)).public_key()
        pem = public.public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        ).decode()
        self.keys[key_id] = SigningKeyInfo(key_id, now, pem)
        return self.keys[key_id]

    def _called(self, method: str) -> None:
        self.calls[method] += 1
        if self.failure is not None:
            raise self.failure


class UncheckedSigner(FakeSigner):
    """A signature of the right length that nobody checks, in a thousandth of the time.

    For stories: in a day of them thousands of tickets are signed, and no worker reads one.
    """

    def sign(self, key_id: str, message: bytes) -> bytes:
        """Nothing that depends on the message."""
        self._called("sign")
        self.public_key(key_id)
        return b"s" * 256
