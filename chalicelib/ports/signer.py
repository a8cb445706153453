"""Signing keys: they sign tickets, and live under KMS."""

from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class SigningKeyInfo:
    """The public half of a signing key."""

    key_id: str
    created_at: float
    public_pem: str  # SPKI; starts at byte 0


class Signer(Protocol):
    """Signs with RSASSA-PKCS1-v1_5 over SHA-256 (protocol.md B.1); 2 KB of text at most."""

    def sign(self, key_id: str, message: bytes) -> bytes:
        """The raw signature.

        Raises:
            NotFoundError: no such key.
            KeysUnavailableError: KMS is down or refuses.
        """
        ...

    def public_key(self, key_id: str) -> SigningKeyInfo:
        """One key.

        Raises:
            NotFoundError: no such key.
        """
        ...

    def newest(self, now: float = 0.0) -> SigningKeyInfo:
        """The key that new instances get; made, as of `now`, if there is none yet.

        Raises:
            KeysUnavailableError: KMS is down or refuses.
        """
        ...

    def create_key(self, now: float) -> SigningKeyInfo:
        """Rotate: a new key that becomes the newest. Older keys keep signing for their workers."""
        ...


class SecretBox(Protocol):
    """The pepper from which callers' keys and instance tokens are derived, wrapped by KMS."""

    def mac(self, purpose: str, message: str) -> str:
        """HMAC-SHA-256 of the message under the pepper and the purpose, base64url, no padding.

        Raises:
            KeysUnavailableError: KMS is down or refuses.
        """
        ...
