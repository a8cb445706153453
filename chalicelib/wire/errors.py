"""The one shape of every error body, and the error of messages that cannot be understood."""

from __future__ import annotations


class WireError(ValueError):
    """A message is malformed; the text names the bad value and the fix."""


def error_body(code: str, message: str) -> dict[str, object]:
    """The error object under every key that some peer reads (protocol.md A.4, E)."""
    return {"success": False, "error": code, "msg": message, "error_msg": message}
