"""A model server's answer on its way through worker and proxy to the client. Pure.

Which headers pass, our own, and whether the answer is an error though its status says otherwise.
"""

from __future__ import annotations

import json
from collections.abc import Mapping

MODEL_ANSWER = "X-Model-Answer"
"""On an error that the model server gave: its own words, which another worker's may repeat."""
NO_SUCH_PATH = "X-No-Such-Path"
"""On a PyWorker's own 404: its back end has no such route. Never beside MODEL_ANSWER."""
SERVED_MODELS = "X-Served-Models"
"""On answers: what the model server calls what it serves, separated by commas."""
MODEL_SERVER = "X-Model-Server"
"""On answers: which server it is, as it says itself (`owned_by` of its models), or none."""
CONNECTION_HEADERS = frozenset(
    {"connection", "keep-alive", "proxy-connection", "te", "trailer", "transfer-encoding"}
    | {"upgrade"}
)
"""About one connection, not about the answer (RFC 9110, 7.6.1)."""
FAILED_GENERATION = 424
"""TGI's status where its engine failed; the request was sound (tests/evidence/models)."""
MAX_WORDS = 500
_CUT_OFF = frozenset({"abort", "error"})


def error_of(answer: object) -> str:
    """The words of an answer or event that is an error under a status of 200; "" of any other.

    `{"error": "…" or {"message"}}` is OpenAI's, TGI's and Ballast's own; `{"object": "error"}` an
    older vLLM's, `{"type": "error"}` and `{"response": {"error"}}` those of `/v1/responses`. A
    choice that finished with "abort" or "error" is cut off by the engine (vLLM 0.32's
    FINISH_REASON_STRINGS): nobody who reads the answer to its end has aborted it. An object of
    nothing but `detail` is how FastAPI, under vLLM, SGLang and most servers of one's own, writes
    an exception (its `HTTPException`), which what stands between may pass on with any status.
    Shapes: tests/evidence/models.
    """
    if not isinstance(answer, dict):
        return ""
    for choice in choices if isinstance(choices := answer.get("choices"), list) else ():
        reason = choice.get("finish_reason") if isinstance(choice, dict) else None
        if isinstance(reason, str) and reason in _CUT_OFF:
            return f"the model server cut the answer off (finish_reason {reason!r})"
    response = answer.get("response")
    error = answer.get("error") or (response.get("error") if isinstance(response, dict) else None)
    if not error and "error" in (answer.get("object"), answer.get("type")):
        error = answer
    if answer.keys() == {"detail"}:
        error = answer["detail"] or answer
    if isinstance(error, dict):
        error = error.get("message") or error.get("type") or json.dumps(error)
    return str(error)[:MAX_WORDS] if error else ""


def passed_headers(headers: Mapping[str, str]) -> list[tuple[str, str]]:
    """An answer's headers without those about the connection itself; a name may come twice."""
    named = {name.strip().lower() for name in headers.get("Connection", "").split(",")}
    left_out = CONNECTION_HEADERS | named
    return [(name, value) for name, value in headers.items() if name.lower() not in left_out]


_TGI_STATUSES = {
    "overloaded": 429,
    "validation": 422,
    "template_error": 422,
    "missing_template_variable": 422,
    "tool_error": 422,
}


def status_of_error(answer: object) -> int:
    """The status that an error under 200 would have had: the server's own code, else 500.

    `error.code` is of OpenAI's kind of servers, `error_type` TGI's; what TGI writes into a streamed
    chat (`http_status_code`) is 422 whatever happened, and says nothing.
    """
    if not isinstance(answer, dict):
        return 500
    kind, error = answer.get("error_type"), answer.get("error")
    if isinstance(kind, str):
        return _TGI_STATUSES.get(kind, 500)
    code = error.get("code") if isinstance(error, dict) else None
    is_status = isinstance(code, int) and not isinstance(code, bool) and 400 <= code < 600
    return int(str(code)) if is_status else 500
