"""What Vast's refusals mean: (verb, status, body, headers) → the error that the port promises.

Vast often puts the real code into `msg` ("error 404/3603: no_such_ask …") and a general one into
`error`, so a refusal is judged by its status, `error` and `msg` together, in one table. Each line
names records of tests/evidence/vast that show it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

from chalicelib.adapters.vast.redaction import redact
from chalicelib.adapters.vast.values import whole
from chalicelib.core.fleet.pacing import (
    CREATE_PENALTY_S,
    MIN_INTERVAL_S,
    SECONDS_PER_DAY,
    Verb,
    seconds_to_utc_midnight,
)
from chalicelib.ports.marketplace import (
    KEY_REFUSED,
    NOT_THERE,
    AmbiguousCreateError,
    MarketplaceError,
    MarketplaceUnavailableError,
    OfferGoneError,
    RateLimitedError,
    RefusedError,
)

OFFER_GONE = "no_such_ask"
NO_CREDIT = "insufficient_credit"
QUEUED = "resources_unavailable"
QUOTA = "search_quota_exceeded"
MILLISECONDS_SINCE = 1e11  # an epoch that is larger counts milliseconds
LONG_WAIT_S = 120.0  # chosen: as long as a trouble takes to be told
MAX_RETRY_AFTER_S = 600.0  # a longer wait is not believed: it would be an outage by one header

_OF_ONE_ID = frozenset({Verb.SHOW, Verb.START, Verb.STOP, Verb.DESTROY, Verb.REBOOT, Verb.LOGS})
_RENTS_NOTHING = frozenset(
    {"invalid_args", "invalid_price", "no_ssh_key_for_vm", "not_allowed", "spend_rate_limit",
     NO_CREDIT, KEY_REFUSED, OFFER_GONE}
)  # fmt: skip
"""Codes of refusals that are stated before anything is rented, also under HTTP 200."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Rule:
    """A line of the table: what is said, by which calls, and the one code that we give it."""

    code: str
    says: str  # searched for in "error msg", in lower case
    verbs: frozenset[Verb] = frozenset(Verb)
    statuses: frozenset[int] = frozenset()  # that mean it without a word
    evidence: tuple[str, ...] = ()

    def applies(self, verb: Verb, status: int, said: str) -> bool:
        """Whether an answer says this."""
        return verb in self.verbs and (status in self.statuses or bool(re.search(self.says, said)))


RULES = (
    Rule(
        code=KEY_REFUSED,
        says=r"auth_error|invalid_?(user|api)?_? ?(api)?_?key\b|invalid user key|session expired"
        r"|\bunauthorized\b",
        statuses=frozenset({401}),
        evidence=("list-key-refused-404", "list-session-expired", "search-key-refused-404"),
    ),
    Rule(
        code=NO_CREDIT,
        says=r"insufficient[_ ]credit",
        evidence=("create-no-credit-live", "state-no-credit"),
    ),
    Rule(
        code=OFFER_GONE,
        says=r"no_such_ask|no longer available|instance type \S+ is (no longer|not) available",
        verbs=frozenset({Verb.CREATE}),
        statuses=frozenset({410}),
        evidence=("create-gone-400-live-2026-02", "create-gone-404-docs", "create-gone-410-docs"),
    ),
    Rule(
        code=QUEUED,
        says=r"resources_unavailable|resources are currently unavailable|state change queued",
        evidence=("state-queued-vastly",),
    ),
    Rule(
        code=NOT_THERE,
        says=r"no[_ ]such[_ ]instance|instance not found|invalid_id\b",
        verbs=_OF_ONE_ID,
        statuses=frozenset({404}),
        evidence=("destroy-gone-docs", "destroy-gone-mcp", "state-gone-in-200", "logs-gone"),
    ),
)
"""The first line that applies rules."""

_THRESHOLD = re.compile(r"threshold=([0-9]{1,4}(?:\.[0-9]{1,3})?)(?:\*([0-9]{1,2}(?:\.[0-9]+)?))?")
_TOO_EARLY = re.compile(rf"\berror 429/|\b{QUOTA}\b|requests too frequent|too many requests")
_MAX_MESSAGE_CHARS = 200


def parse_object(text: str) -> Mapping[str, object] | None:
    """The JSON object in an answer, or None for HTML, plain text, lists, nothing.

    Half a surrogate pair, which JSON may spell, becomes "?": no text could be stored or hashed.
    """
    try:
        value = json.loads(text)
        if "\\ud" in text.lower():
            value = json.loads(json.dumps(value, ensure_ascii=False).encode(errors="replace"))
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def refusal(
    verb: Verb, status: int, text: str, now: float, headers: Mapping[str, str] | None = None
) -> MarketplaceError | None:
    """The error that an answer stands for, or None if it is a success."""
    body = parse_object(text)
    if status == 429 or _is_too_early(status, body):
        wait_s = _retry_after_s(verb, body, text, now, headers or {})
        return RateLimitedError(f"{verb}: {_limit_words(body, text, wait_s, now)}", wait_s)
    is_2xx = 200 <= status < 300
    is_refused = 400 <= status < 500 and status != 408
    if not (is_refused or (is_2xx and body is not None)):
        return _nothing_known(verb, f"{verb}: HTTP {status}: {_shorten(text)}")
    if is_2xx and body is not None and body.get("success") is not False:
        return None
    return _stated_refusal(verb, status, body or {}, text)


def _is_too_early(status: int, body: Mapping[str, object] | None) -> bool:
    """Whether a refusal under another status is a 429: its words say so, as with other codes."""
    is_refused = 400 <= status < 500 or (
        200 <= status < 300 and (body or {}).get("success") is False
    )
    said = " ".join(
        str((body or {}).get(name) or "") for name in ("error", "msg", "message", "detail")
    )
    return is_refused and bool(_TOO_EARLY.search(said.lower()))


def _limit_words(body: Mapping[str, object] | None, text: str, wait_s: float, now: float) -> str:
    """What a limit says, and of a long one when it ends: its owner reads it."""
    told = (str((body or {}).get(name) or "") for name in ("msg", "message", "detail", "error"))
    said = _shorten(next(filter(None, told), text))
    if wait_s < LONG_WAIT_S:
        return said
    return f"{said}; Vast is asked again at {datetime.fromtimestamp(now + wait_s, UTC):%H:%M} UTC"


def no_answer(verb: Verb, message: str) -> MarketplaceError:
    """The error for a call that got no answer."""
    return _nothing_known(verb, f"{verb}: {message}")


def _stated_refusal(
    verb: Verb, status: int, body: Mapping[str, object], text: str
) -> MarketplaceError:
    stated = str(body.get("error") or "")
    message = _shorten(str(body.get("msg") or body.get("message") or text))
    contract = whole(body.get("new_contract"), 1)
    if verb is Verb.CREATE and contract is not None:
        return AmbiguousCreateError(f"{stated}: refused with a contract", contract)
    said = f"{stated} {message}".lower()
    rules = (rule.code for rule in RULES if rule.applies(verb, status, said))
    code = next(rules, "")
    if verb is Verb.CREATE:
        if status == 404 and text.lstrip().startswith("<"):
            # A page of something on the way: nothing says that the call came to nothing.
            return AmbiguousCreateError(f"http_{status}: {message}")
        if code == OFFER_GONE or (status == 404 and not stated and not code):
            return OfferGoneError(f"{code or f'http_{status}'}: {message}")
        if status < 300 and (code or stated) not in _RENTS_NOTHING:
            return AmbiguousCreateError(f"{stated or f'http_{status}'}: {message}")
    return RefusedError(code or stated or f"http_{status}", message)


def _nothing_known(verb: Verb, message: str) -> MarketplaceError:
    if verb is Verb.CREATE:
        return AmbiguousCreateError(message)
    return MarketplaceUnavailableError(message)


def _retry_after_s(
    verb: Verb,
    body: Mapping[str, object] | None,
    text: str,
    now: float,
    headers: Mapping[str, str],
) -> float:
    """How long to wait: what the server says, and never less than the verb's own interval."""
    sent = {name.lower(): value for name, value in headers.items()}
    if QUOTA in text:  # in `error`, or only in `msg` as other codes
        reset_s = _until(_seconds(sent.get("x-ratelimit-reset")), now)
        if 0 < reset_s <= SECONDS_PER_DAY:
            return reset_s
        return min(_told_s(body, sent, now), SECONDS_PER_DAY) or seconds_to_utc_midnight(now)
    named = _THRESHOLD.search(text)
    interval_s = float(named[1]) * float(named[2] or 1.0) if named else MIN_INTERVAL_S[verb]
    wait_s = min(_told_s(body, sent, now) or interval_s, MAX_RETRY_AFTER_S)
    return max(wait_s, CREATE_PENALTY_S) if verb is Verb.CREATE else wait_s


def _told_s(body: Mapping[str, object] | None, sent: Mapping[str, str], now: float) -> float:
    """The wait that the server names, in a header or its body; 0 if it names none."""
    return max(
        _seconds(sent.get("retry-after")),
        _date_s(sent.get("retry-after"), now),
        _seconds((body or {}).get("retry_after")),
    )


def _until(moment: float, now: float) -> float:
    """Seconds until a reset, which servers give as an epoch, in milliseconds, or as a wait."""
    if moment <= SECONDS_PER_DAY:
        return moment
    return (moment / 1000.0 if moment > MILLISECONDS_SINCE else moment) - now


def _date_s(value: str | None, now: float) -> float:
    """Seconds until an HTTP date (RFC 9110, 10.2.3); 0 for anything else, and for what is past."""
    try:
        return max(0.0, parsedate_to_datetime(value or "").timestamp() - now)
    except (ValueError, OverflowError):
        return 0.0


def _seconds(value: object) -> float:
    """A number of seconds as a header or body gives it; 0 for anything else."""
    found = re.fullmatch(r"[0-9]{1,13}(?:\.[0-9]{1,6})?", str(value).strip())
    return float(found[0]) if found else 0.0


def _shorten(text: str) -> str:
    words = re.sub(r"<[^<>]*>", " ", text)  # a proxy's error page: its markup says nothing
    return redact(" ".join(words.split()))[:_MAX_MESSAGE_CHARS]
