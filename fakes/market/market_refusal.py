"""What the pretend market answers instead of a success, with Vast's status and body."""

from __future__ import annotations

import json


class MarketRefusal(Exception):  # noqa: N818  an answer, not a failure
    """An answer that is no success; `text` is its whole body."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(f"HTTP {status}: {text}")
        self.status = status
        self.text = text

    @staticmethod
    def stating(status: int, code: str, message: str, **more: object) -> MarketRefusal:
        """A refusal with Vast's error object."""
        body = {"success": False, "error": code, "msg": message, **more}
        return MarketRefusal(status, json.dumps(body))
