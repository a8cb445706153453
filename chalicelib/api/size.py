"""Answers of a size that Lambda passes on: packed where the caller takes that, else refused."""

from __future__ import annotations

import base64
import gzip
import json
import re
from typing import Any

from chalicelib.wire.json_body import error_body

Event = dict[str, Any]

MAX_ANSWER = 6 * 2**20
"""Bytes that a function may give back (Lambda guide, quotas); above it the gateway answers 500."""
SMALL_CHARS = MAX_ANSWER // 6  # JSON writes no character in more than six
_GZIP = re.compile(r"(?:^|,)\s*(?:x-)?gzip\s*(?:;\s*q=(?!0(?:\.0*)?\s*(?:,|$))[^,]*)?(?:,|$)")


def fitted(answer: Event, event: Event) -> Event:
    """The answer to an event, or a refusal of 413 where it cannot be passed on."""
    text = answer.get("body")
    if not isinstance(text, str) or len(text) <= SMALL_CHARS or answer.get("isBase64Encoded"):
        return answer
    # The REST API unpacks only the types that it was told are binary.
    is_http_api = event.get("version") == "1.0"
    given = event.get("headers") or {}
    takes = next((str(v) for name, v in given.items() if name.lower() == "accept-encoding"), "")
    if is_http_api and _GZIP.search(takes.lower()):
        headers = {**(answer.get("headers") or {}), "Content-Encoding": "gzip"}
        packed = base64.b64encode(gzip.compress(text.encode(), 5)).decode()
        answer = {**answer, "headers": headers, "body": packed, "isBase64Encoded": True}
    n_bytes = len(json.dumps(answer))
    if n_bytes <= MAX_ANSWER:
        return answer
    words = (
        f"the answer takes {n_bytes / 2**20:.1f} MB, and AWS Lambda passes on {MAX_ANSWER >> 20}: "
        "ask for one group at a time, or send Accept-Encoding: gzip to the deployment's address"
    )
    return {
        "statusCode": 413,
        "headers": {"Content-Type": "application/json"},
        "multiValueHeaders": {},
        "body": json.dumps(error_body("answer_too_large", words)),
    }
