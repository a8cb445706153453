"""The context object that Lambda hands to a function beside its event."""

from __future__ import annotations

import time
import uuid


class LambdaContext:
    """As much of Lambda's context as functions and Powertools read."""

    memory_limit_in_mb = 1024
    function_version = "$LATEST"

    def __init__(self, function_name: str, timeout_s: float) -> None:
        self.function_name = function_name
        self.invoked_function_arn = (
            f"arn:aws:lambda:us-east-1:123456789012:function:{function_name}"
        )
        self.aws_request_id = str(uuid.uuid4())
        self._ends_at = time.monotonic() + timeout_s

    def get_remaining_time_in_millis(self) -> int:
        """Milliseconds until Lambda would stop the function."""
        return max(0, int((self._ends_at - time.monotonic()) * 1000))
