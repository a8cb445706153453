"""Peppers, and what proves callers' keys, in memory."""

from __future__ import annotations

import base64
import hashlib
import hmac
from functools import lru_cache

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from chalicelib.ports.errors import PortError


@lru_cache(maxsize=8)
def _private_key(pepper: bytes) -> Ed25519PrivateKey:
    """Made when it is needed: a world is pickled, and a key cannot be."""
    return Ed25519PrivateKey.from_private_bytes(hashlib.sha256(pepper).digest())


@lru_cache(maxsize=4_096)
def _signature(pepper: bytes, message: str) -> bytes:
    """The same each time, so it is made once."""
    return _private_key(pepper).sign(message.encode())


class FakeSecretBox:
    """Implements `ports.signer.SecretBox`; `failure`, if set, is raised."""

    def __init__(self, pepper: bytes = b"pepper of the tests") -> None:
        self._pepper = pepper
        self.failure: PortError | None = None
        self.has_former_keys = False

    def prove(self, message: str) -> str:
        """An Ed25519 signature, base64url without padding."""
        if self.failure is not None:
            raise self.failure
        signature = _signature(self._pepper, message)
        return base64.urlsafe_b64encode(signature).rstrip(b"=").decode()

    def is_proof(self, message: str, proof: str) -> bool:
        """Whether `prove` made it."""
        if self.failure is not None:
            raise self.failure
        return proof == self.prove(message)

    def mac(self, purpose: str, message: str) -> str:
        """HMAC-SHA-256, base64url without padding."""
        if self.failure is not None:
            raise self.failure
        digest = hmac.digest(self._pepper, f"{purpose}\0{message}".encode(), hashlib.sha256)
        return base64.urlsafe_b64encode(digest).rstrip(b"=").decode()
