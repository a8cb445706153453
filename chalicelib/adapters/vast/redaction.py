"""Secrets taken out of texts that others wrote, before anything keeps or logs them.

Vast's refusals may quote a request, and Docker's messages the command line of a container.
"""

from __future__ import annotations

import re

HIDDEN = "[hidden]"

_QUOTE = r"\\*['\"]?"  # also as JSON escapes it
_NAMED = re.compile(
    r"((?:TOKEN|SECRET|PASSWORD|PASSWD|CREDENTIALS?|API_?KEY|ACCESS_KEY|PRIVATE_KEY)"
    rf"{_QUOTE}\s*[=:]\s*{_QUOTE})[^\s'\",;&}}\\]+",
    re.IGNORECASE,
)
_BEARER = re.compile(r"\b(Bearer|Basic)\s+[A-Za-z0-9._~+/=-]{10,}", re.IGNORECASE)
_WELL_KNOWN = re.compile(r"\bhf_[A-Za-z0-9]{8,}|\bblk\.[A-Za-z0-9._-]{20,}")


def redact(text: str) -> str:
    """The text without what looks like a secret by its name or shape."""
    text = _NAMED.sub(rf"\g<1>{HIDDEN}", text)
    text = _BEARER.sub(rf"\g<1> {HIDDEN}", text)
    return _WELL_KNOWN.sub(HIDDEN, text)
