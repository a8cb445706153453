"""What the pretend market answers instead of a success, with Vast's status and body."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping


class MarketRefusal(Exception):  # noqa: N818  an answer, not a failure
    """An answer that is no success; `text` is its whole body."""

    def __init__(self, status: int, text: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(f"HTTP {status}: {text}")
        self.status = status
        self.text = text
        self.headers = dict(headers or {})

    @staticmethod
    def too_frequent(retry_after_s: float) -> MarketRefusal:
        """A 429 in the captured form (record search-busy-live-2026-07): the wait is told twice."""
        wait = math.ceil(retry_after_s)
        body = {
            "error": "HTTPTooManyRequests",
            "msg": "API requests too frequent",
            "retry_after": wait,
            "remaining": 0,
        }
        return MarketRefusal(429, json.dumps(body), {"Retry-After": str(wait)})

    @staticmethod
    def stating(status: int, code: str, message: str, **more: object) -> MarketRefusal:
        """A refusal with Vast's error object."""
        body = {"success": False, "error": code, "msg": message, **more}
        return MarketRefusal(status, json.dumps(body))
