"""The control plane's public keys: the current one, and the previous one while its tickets live."""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections.abc import Awaitable, Callable

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import load_pem_public_key

logger = logging.getLogger(__name__)

REFRESH_INTERVAL_S = 10.0
"""Least time between two fetches that unverifiable tickets can cause."""
PREVIOUS_KEY_S = 300.0
"""How long the previous key counts after a rotation; no ticket lives longer."""
_PADDING, _HASH = PKCS1v15(), SHA256()  # made once: a sixth of what a ticket costs on cold caches


class PublicKeyError(ValueError):
    """What came as a public key is not one."""


class RsaVerifier:
    """Checks signatures with one RSA key."""

    def __init__(self, pem: str) -> None:
        try:
            key = load_pem_public_key(pem.encode())
        except (ValueError, UnsupportedAlgorithm) as error:
            raise PublicKeyError("the control plane's /pubkey/ gave no PEM public key") from error
        if not isinstance(key, RSAPublicKey):
            raise PublicKeyError("the control plane's public key is not an RSA key")
        self._key = key
        self.pem = pem
        self.signature_size = key.key_size // 8

    def verify(self, signature: bytes, message: bytes) -> bool:
        """Whether `signature` is this key's RSASSA-PKCS1-v1_5 with SHA-256 over `message`."""
        try:
            self._key.verify(signature, message, _PADDING, _HASH)
        except InvalidSignature:
            return False
        return True


class SigningKeys:
    """Fetches and keeps the keys; `fetch` gives the PEM text, `now` seconds that never jump."""

    def __init__(
        self, fetch: Callable[[], Awaitable[str]], now: Callable[[], float] = time.monotonic
    ) -> None:
        self._fetch = fetch
        self._now = now
        self._current: RsaVerifier | None = None
        self._previous: RsaVerifier | None = None
        self._previous_until = 0.0
        self._fetched_at = -math.inf
        self._fetching = asyncio.Lock()

    @property
    def is_known(self) -> bool:
        """Whether any ticket can be verified."""
        return self._current is not None

    def verifiers(self) -> list[RsaVerifier]:
        """The keys that count, newest first."""
        keys = [self._current] if self._current else []
        if self._previous and self._now() < self._previous_until:
            keys.append(self._previous)
        return keys

    async def refresh(self, *, is_forced: bool = False) -> bool:
        """Fetch again, at most every 10 s unless forced; whether the key changed.

        A fetch under way is waited for: its key may be the one that is missed.

        Raises:
            ControlPlaneError: no answer.
            PublicKeyError: the answer is no key.
        """
        known = self._current
        async with self._fetching:
            if self._current is not known:
                return True
            now = self._now()
            if not is_forced and now - self._fetched_at < REFRESH_INTERVAL_S:
                return False
            self._fetched_at = now
            return await self._fetch_now()

    async def _fetch_now(self) -> bool:
        pem = await self._fetch()
        if self._current and pem == self._current.pem:
            return False
        verifier = RsaVerifier(pem)
        self._previous, self._previous_until = self._current, self._now() + PREVIOUS_KEY_S
        self._current = verifier
        logger.info("public key fetched", extra={"key_bits": verifier.signature_size * 8})
        return True
