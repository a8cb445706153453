"""The one table from exceptions to HTTP answers. Every error body is a JSON object."""

from __future__ import annotations

import logging
from collections.abc import Mapping

from chalice.app import Response

from chalicelib.core.model.caller_key import NO_KEY, CallerKeyError
from chalicelib.core.model.endpoint_group import ParameterError
from chalicelib.core.money.account import CapsChangedError
from chalicelib.ports.errors import (
    ConflictError,
    KeysUnavailableError,
    NotDeployedError,
    NotFoundError,
    PortError,
    StorageUnavailableError,
)
from chalicelib.ports.marketplace import MarketplaceError, RateLimitedError, RefusedError
from chalicelib.wire.json_body import WireError, error_body

logger = logging.getLogger("ballast")

WHAT_A_KEY_IS = "it should start with blk.; was all of it pasted?"

OK: Mapping[str, object] = {"success": True}
"""Part of every successful answer: peers look for it (protocol.md G 38)."""


class ForbiddenError(Exception):
    """The key is good, but lacks a verb or the scope that the route asks for."""


_NO_STORE: Mapping[str, str] = {"Cache-Control": "no-store"}

# Children before parents: the first match counts.
_TABLE: tuple[tuple[type[Exception], int, str], ...] = (
    (CallerKeyError, 401, "auth_error"),
    (ForbiddenError, 403, "forbidden"),
    (ParameterError, 400, "invalid_args"),
    (WireError, 400, "invalid_args"),
    (NotFoundError, 404, "not_found"),
    (ConflictError, 409, "conflict"),
    (CapsChangedError, 409, "conflict"),
    (RefusedError, 400, "refused_by_vast"),
    (RateLimitedError, 429, "rate_limited"),
    (MarketplaceError, 502, "marketplace_unavailable"),
    (NotDeployedError, 503, "not_deployed"),
    (StorageUnavailableError, 503, "storage_unavailable"),
    (KeysUnavailableError, 503, "keys_unavailable"),
    (PortError, 503, "unavailable"),
)


def error_response(error: Exception) -> Response:
    """The answer to an error; one that nobody foresaw is logged and becomes a 500."""
    for kind, status, code in _TABLE:
        if isinstance(error, kind):
            message = str(error) or code
            if code == "not_deployed":
                logger.warning(message)
            if code == "auth_error":
                # Not the vendor's "Invalid user key": at just that its client (vastai 1.9.1,
                # cli/main.py) throws away the session of a second factor and asks again.
                message = f"Key not accepted: {WHAT_A_KEY_IS if message == NO_KEY else message}"
            return json_response(error_body(code, message), status)
    logger.error("request_failed", exc_info=error)
    return json_response(error_body("internal_error", "Ballast failed; see the log"), 500)


def json_response(body: object, status: int = 200) -> Response:
    """A JSON answer that no cache keeps."""
    return text_response(body, "application/json", status)


def text_response(body: object, content_type: str, status: int = 200) -> Response:
    """An answer of another type that no cache keeps."""
    headers: dict[str, str | list[str]] = {"Content-Type": content_type, **_NO_STORE}
    return Response(body=body, status_code=status, headers=headers)
