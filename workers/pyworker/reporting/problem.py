"""An answer other than the model's: status and JSON body, raised where it is found."""

from __future__ import annotations

from collections.abc import Mapping


class ProblemError(Exception):
    """Becomes the HTTP answer; the body never quotes payloads or secrets."""

    def __init__(self, status: int, body: Mapping[str, object]) -> None:
        super().__init__(status)
        self.status = status
        self.body = dict(body)

    @staticmethod
    def of(status: int, error: str) -> ProblemError:
        """A problem told in one sentence."""
        return ProblemError(status, {"error": error})
