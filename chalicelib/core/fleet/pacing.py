"""Pacing of marketplace calls: minimum intervals per verb, as values that the ledger persists.

Vast limits each verb by a minimum interval per identity, and tells the wait only in a refusal
(tests/evidence/vast/search.json), so every function of the account must know when a verb may be
called again. Verbs that Vast counts together share one key.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum

CREATE_PENALTY_S = 12.0
"""How long a create that came too early blocks the next one (protocol.md F.5)."""

MARGIN_S = 0.1
"""Added to every interval: a call may arrive earlier after the last one than it was sent."""

SECONDS_PER_DAY = 86_400.0  # a UTC day
LONGEST_WAIT_S = 900.0
"""No verb waits longer (chosen: the longest `Retry-After` that is obeyed), but for a search whose
daily quota is used up. A stored moment beyond it was written by a clock that was wrong, and means
nothing."""
QUOTA_KEY = "search_quota"
"""When the quota of searches returns: apart from a turn, which a wrong clock puts no further off
for a search than for any verb."""


class Verb(StrEnum):
    """What may be asked of the marketplace."""

    DESTROY = "destroy"
    STOP = "stop"
    LIST = "list"
    SHOW = "show"
    START = "start"
    REBOOT = "reboot"
    BID = "bid"
    CREATE = "create"
    SEARCH = "search"
    TEMPLATE = "template"
    CREDIT = "credit"
    LOGS = "logs"


MIN_INTERVAL_S: Mapping[Verb, float] = {
    Verb.DESTROY: 3.0,
    Verb.STOP: 1.0,
    Verb.LIST: 1.0,
    Verb.SHOW: 2.0,
    Verb.START: 1.0,
    Verb.REBOOT: 1.0,
    Verb.BID: 5.5,
    Verb.CREATE: 4.5,
    Verb.SEARCH: 6.0,
    Verb.TEMPLATE: 3.0,
    Verb.CREDIT: 1.0,
    Verb.LOGS: 1.0,
}
"""Seconds between calls of a verb (the vendor's x-rate-limit); undocumented ones count as 1 s."""

_SHARED_KEYS = {Verb.START: "state", Verb.STOP: "state"}


def pacing_key(verb: Verb) -> str:
    """The name under which calls of this verb are counted; Vast counts starts and stops as one."""
    return _SHARED_KEYS.get(verb, verb.value)


@dataclass(frozen=True, slots=True)
class Pacing:
    """When each key may be called again, in epoch seconds; a missing key may be called now."""

    next_call_at: Mapping[str, float] = field(default_factory=dict)
    scale: float = 1.0  # of the intervals; below 1 only where the market itself runs faster

    def wait_s(self, verb: Verb, now: float) -> float:
        """Seconds until the verb may be called; 0 = now."""
        return turn_at(self.next_call_at, pacing_key(verb), now) - now

    def called(self, verb: Verb, now: float) -> Pacing:
        """After a call that was sent now."""
        return self._not_before(
            pacing_key(verb), now + self.scale * (MIN_INTERVAL_S[verb] + MARGIN_S)
        )

    def limited(self, verb: Verb, now: float, retry_after_s: float) -> Pacing:
        """After a 429: not again before `retry_after_s` and the verb's penalty have passed."""
        penalty_s = CREATE_PENALTY_S if verb is Verb.CREATE else MIN_INTERVAL_S[verb]
        least_s = max(retry_after_s, self.scale * penalty_s)
        is_quota = verb is Verb.SEARCH and least_s > LONGEST_WAIT_S
        key = QUOTA_KEY if is_quota else pacing_key(verb)
        return self._not_before(key, now + min(least_s, longest_wait_s(key, now)) + MARGIN_S)

    def _not_before(self, key: str, at: float) -> Pacing:
        later = moment_of(self.next_call_at, key, at)
        return replace(self, next_call_at={**self.next_call_at, key: later})


def longest_wait_s(key: str, now: float) -> float:
    """How long a pacing key may have to wait."""
    if key == QUOTA_KEY:
        return seconds_to_utc_midnight(now) + LONGEST_WAIT_S
    return LONGEST_WAIT_S


def turn_at(next_call_at: Mapping[str, float], key: str, now: float) -> float:
    """When a verb may be called next, by its pacing key: now, or later if that can be true."""
    turn = moment_of(next_call_at, key, now)
    return max(turn, moment_of(next_call_at, QUOTA_KEY, now)) if key == Verb.SEARCH else turn


def moment_of(next_call_at: Mapping[str, float], key: str, now: float) -> float:
    """The stored moment of one key; now, if it has passed or cannot be true."""
    at = next_call_at.get(key, now)
    return at if now < at <= now + longest_wait_s(key, now) + MARGIN_S else now


def seconds_to_utc_midnight(now: float) -> float:
    """How long the daily search quota stays used up (protocol.md F.5)."""
    return SECONDS_PER_DAY - now % SECONDS_PER_DAY
