"""What Vast's refusals mean: (verb, status, body) → the error that the port promises."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping

from chalicelib.adapters.vast.redaction import redact
from chalicelib.core.fleet.pacing import (
    CREATE_PENALTY_S,
    MIN_INTERVAL_S,
    Verb,
    seconds_to_utc_midnight,
)
from chalicelib.ports.marketplace import (
    AmbiguousCreateError,
    MarketplaceError,
    MarketplaceUnavailableError,
    OfferGoneError,
    RateLimitedError,
    RefusedError,
)

_THRESHOLD = re.compile(r"threshold=([0-9]{1,4}(?:\.[0-9]{1,3})?)")
_MAX_MESSAGE_CHARS = 200
_GONE_STATUSES = (404, 410)


def parse_object(text: str) -> Mapping[str, object] | None:
    """The JSON object in an answer, or None for HTML, plain text, lists, nothing."""
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def refusal(verb: Verb, status: int, text: str, now: float) -> MarketplaceError | None:
    """The error that an answer stands for, or None if it is a success."""
    body = parse_object(text)
    if status == 429:
        return RateLimitedError(f"{verb}: {_shorten(text)}", _retry_after_s(verb, body, text, now))
    is_2xx = 200 <= status < 300
    is_refused = 400 <= status < 500 and status != 408
    if not (is_refused or (is_2xx and body is not None)):
        return _nothing_known(verb, f"{verb}: HTTP {status}: {_shorten(text)}")
    if is_2xx and body is not None and body.get("success") is not False:
        return None
    return _stated_refusal(verb, status, body or {}, text)


def no_answer(verb: Verb, message: str) -> MarketplaceError:
    """The error for a call that got no answer."""
    return _nothing_known(verb, f"{verb}: {message}")


def _stated_refusal(
    verb: Verb, status: int, body: Mapping[str, object], text: str
) -> MarketplaceError:
    code = str(body.get("error") or f"http_{status}")
    message = _shorten(str(body.get("msg") or body.get("message") or text))
    if verb is Verb.CREATE:
        contract = body.get("new_contract")
        if isinstance(contract, int):
            return AmbiguousCreateError(f"{code}: refused with a contract", contract)
        is_unnamed = code.startswith("http_")
        if code == "no_such_ask" or (is_unnamed and status in _GONE_STATUSES):
            return OfferGoneError(f"{code}: {message}")
        if status < 300:  # success:false that names no reason we know and no contract
            return AmbiguousCreateError(f"{code}: {message}")
    return RefusedError(code, message)


def _nothing_known(verb: Verb, message: str) -> MarketplaceError:
    if verb is Verb.CREATE:
        return AmbiguousCreateError(message)
    return MarketplaceUnavailableError(message)


def _retry_after_s(verb: Verb, body: Mapping[str, object] | None, text: str, now: float) -> float:
    if body is not None and body.get("error") == "search_quota_exceeded":
        return seconds_to_utc_midnight(now)
    named = _THRESHOLD.search(text)
    interval_s = float(named[1]) if named else MIN_INTERVAL_S[verb]
    return max(interval_s, CREATE_PENALTY_S) if verb is Verb.CREATE else interval_s


def _shorten(text: str) -> str:
    return redact(" ".join(text.split()))[:_MAX_MESSAGE_CHARS]
