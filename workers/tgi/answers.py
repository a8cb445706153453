"""What TGI's answers tell: generated tokens.

Shapes: tests/evidence/models/published.json.
"""

from __future__ import annotations

import re

from workers.pyworker.model.answers import JsonObject, Reading, count_of

_TEXT = re.compile(rb'(?<!\\)"generated_text" ?: ?"')


def work_of(answer: JsonObject) -> float | None:
    """`details.generated_tokens`, in a whole answer and in the last event of a stream."""
    details = answer.get("details")
    return count_of(details.get("generated_tokens")) if isinstance(details, dict) else None


def _is_token(line: bytes) -> bool:
    return b'"token"' in line


def _is_end(line: bytes) -> bool | None:
    """The last event of `/generate_stream` has the whole text, the ones before it null."""
    if b'"token"' not in line:
        return None
    return _TEXT.search(line) is not None


READING = Reading(
    work_of=work_of, is_token=_is_token, work_header="x-generated-tokens", is_end=_is_end
)
