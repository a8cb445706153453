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
    """Secrets of one purpose each, wrapped by KMS; a function's role unwraps those that it needs.

    Purposes: "worker" (instances' tokens), "intent" (labels), "index" (`request_idx`); and what
    proves callers' keys, which management alone can make and everybody can check.
    """

    @property
    def has_former_keys(self) -> bool:
        """Whether keys of the former kind were taken over; without, they are refused unread.

        Raises:
            KeysUnavailableError: it cannot be read.
        """
        ...

    def mac(self, purpose: str, message: str) -> str:
        """HMAC-SHA-256 of the message under the purpose's pepper: 43 characters of base64url.

        Raises:
            KeysUnavailableError: KMS is down or refuses.
        """
        ...

    def prove(self, message: str) -> str:
        """A caller's key's proof: 86 characters of base64url, the same each time.

        Raises:
            KeysUnavailableError: KMS is down or refuses.
        """
        ...

    def is_proof(self, message: str, proof: str) -> bool:
        """Whether `prove` made it.

        Raises:
            KeysUnavailableError: its public half cannot be read.
        """
        ...
