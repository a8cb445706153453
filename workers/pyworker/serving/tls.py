"""The worker's TLS: the supervisor's files, read again when it has renewed them."""

from __future__ import annotations

import asyncio
import hashlib
import logging
import ssl
from collections.abc import Callable
from pathlib import Path

logger = logging.getLogger(__name__)

LOOK_EVERY_S = 1.0
"""At the file's date."""


class Tls:
    """A context whose certificate changes under it; connections that are open go on."""

    def __init__(self, cert: Path, key: Path) -> None:
        """Read both files.

        Raises:
            OSError: one cannot be read, or they do not fit each other (ssl.SSLError).
            ValueError: the certificate is no PEM.
        """
        self._cert, self._key = cert, key
        self._stamp = _stamp_of(cert)
        self.context = _context(cert, key)
        self.fingerprint = _fingerprint(cert)
        """What clients may pin: SHA-256 of the DER certificate, hex."""

    async def follow(self, on_change: Callable[[str], None]) -> None:
        """Serve with a new certificate once it is there, for ever; a bad one changes nothing."""
        while True:
            await asyncio.sleep(LOOK_EVERY_S)
            stamp = self._stamp
            try:
                self._stamp = _stamp_of(self._cert)
                if self._stamp == stamp:
                    continue
                # Tried apart: a key of another certificate would leave the context without one.
                _context(self._cert, self._key)
                self.fingerprint = _fingerprint(self._cert)
                self.context.load_cert_chain(self._cert, self._key)
            except (OSError, ValueError) as error:
                logger.warning("certificate not read again", extra={"reason": str(error)})
                continue
            logger.info("certificate renewed", extra={"sha256": self.fingerprint})
            on_change(self.fingerprint)


def _context(cert: Path, key: Path) -> ssl.SSLContext:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(cert, key)
    return context


def _stamp_of(path: Path) -> tuple[int, int]:
    stat = path.stat()
    return stat.st_mtime_ns, stat.st_ino


def _fingerprint(cert: Path) -> str:
    pem, end = cert.read_text(), "-----END CERTIFICATE-----"
    first = pem[pem.index("-----BEGIN CERTIFICATE-----") : pem.index(end) + len(end)]
    return hashlib.sha256(ssl.PEM_cert_to_DER_cert(first)).hexdigest()
