"""An error that comes under a status of 200: inside a stream, or as the whole answer. Pure.

Who has sent `200` cannot take it back, so model servers write what went wrong into the answer.
"""

from __future__ import annotations

import json

from chalicelib.wire.model_answers import MAX_WORDS, error_of

MAX_WHOLE = 1 << 18
"""A longer answer is no error: nobody writes so much about a failure."""
MAX_EVENT = 1 << 16


def error_in_event(event: bytes) -> str:
    """The words of one whole server-sent event that is an error; "" of any other."""
    if not (b"error" in event or b'"abort"' in event) or len(event) > MAX_EVENT:
        return ""
    lines = [line.strip() for line in event.split(b"\n")]
    data = b"\n".join(line[5:].strip() for line in lines if line.startswith(b"data:"))
    is_error = any(line.startswith(b"event:") and line[6:].strip() == b"error" for line in lines)
    words = error_of(_parsed(data))
    return words or (data[:MAX_WORDS].decode(errors="replace") or "error" if is_error else "")


class ErrorWatch:
    """Follows one answer as it passes; `error` is what it says of its failure, "" so far."""

    def __init__(self, content_type: str) -> None:
        self.error = ""
        self._is_stream = "event-stream" in content_type
        self._kept = b""
        self._is_over = False  # what is still to come is not looked at

    def take(self, chunk: bytes) -> None:
        """The next bytes."""
        if self._is_over:
            return
        self._kept += chunk
        if not self._is_stream:
            self._is_over = len(self._kept) > MAX_WHOLE
            return
        *events, self._kept = self._kept.replace(b"\r\n", b"\n").split(b"\n\n")
        for event in events:
            self.error = self.error or error_in_event(event)
        if len(self._kept) > MAX_EVENT:  # audio, images: no error is as long
            self._kept = b":" + self._kept[-1:]

    def end(self) -> str:
        """After the last byte: the error's words, or ""."""
        if self._is_stream:
            self.error = self.error or error_in_event(self._kept)
        elif not self._is_over and self._kept.lstrip()[:1] == b"{":
            self.error = error_of(_parsed(self._kept))
        return self.error


def _parsed(data: bytes) -> object:
    try:
        return json.loads(data)
    except (ValueError, RecursionError):
        return None
