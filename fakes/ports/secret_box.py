"""A pepper in memory."""

from __future__ import annotations

import base64
import hashlib
import hmac

from chalicelib.ports.errors import PortError


class FakeSecretBox:
    """Implements `ports.signer.SecretBox`; `failure`, if set, is raised."""

    def __init__(self, pepper: bytes = b"pepper of the tests") -> None:
        self._pepper = pepper
        self.failure: PortError | None = None

    def mac(self, purpose: str, message: str) -> str:
        """HMAC-SHA-256, base64url without padding."""
        if self.failure is not None:
            raise self.failure
        digest = hmac.digest(self._pepper, f"{purpose}\0{message}".encode(), hashlib.sha256)
        return base64.urlsafe_b64encode(digest).rstrip(b"=").decode()
