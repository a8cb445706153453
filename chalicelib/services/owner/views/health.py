"""Whether a group is healthy, and why not: what an operator must see first."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from chalicelib.core.fleet.troubles import LastingTrouble, Severity, TroubleKind
from chalicelib.core.words import count

NEAR_CAP = 0.9
"""From this share of a cap on, the owner is warned."""
LATE_COUNTS = 5  # chosen: fewer late requests, as those of a first start, say nothing of a share

SILENT_AFTER_S = 180.0  # three of the schedule's minutes: one round may be long, or fail

MENDED = "rebooted once, then replaced within the caps"


class Health(StrEnum):
    """From good to bad."""

    OK = "ok"
    WARN = "warn"
    BAD = "bad"


@dataclass(frozen=True, kw_only=True, slots=True)
class HealthFacts:
    """What the judgement rests on. Shares within 0 to 1; `cap_used` of the tightest cap."""

    n_ready: int
    n_waiting: int
    n_in_error: int
    error: str = ""  # what one of them says
    n_unreachable: int
    n_loading: int
    n_outbid: int = 0
    ready_capacity: float
    hot_target: float  # load per second; 0 = not decided yet
    n_started: float  # in the minute
    n_late: float  # of them, later than the target
    allowed_late_share: float
    cap_used: float
    queue_time_s: float
    target_queue_time_s: float
    is_off: str = ""  # the owner's own wish that nobody is served: shown, and no alarm
    own_cause: str = ""  # the owner's setting that lets nobody serve, and what to do
    is_held: str = ""  # "frozen", "panicking", "inventory unknown": why nothing is done
    troubles: Sequence[LastingTrouble] = ()  # that matter now, see core/fleet/troubles.py


@dataclass(frozen=True, slots=True)
class Verdict:
    """The judgement and its reasons, worst first."""

    health: Health
    reasons: tuple[str, ...]


def judge_health(facts: HealthFacts) -> Verdict:
    """Bad: clients suffer now, or money ran out. Warn: they may soon."""
    bad = [
        text
        for holds, text in (
            (
                not facts.is_off
                and facts.n_ready == 0
                and max(facts.n_waiting, facts.hot_target) > 0,
                _nobody(facts),
            ),
            (
                # a trouble of it says more: which one, and what it would take
                facts.cap_used >= 1.0
                and all(one.kind != TroubleKind.CAP_REACHED for one in facts.troubles),
                "a spending cap is reached",
            ),
            (
                not facts.is_off and facts.queue_time_s > 2 * facts.target_queue_time_s,
                f"queue time {facts.queue_time_s:.0f} s is over twice its target",
            ),
        )
        if holds
    ]
    bad += [one.message for one in facts.troubles if one.severity is Severity.BAD]
    warn = [
        text
        for holds, text in (
            (bool(facts.is_held), facts.is_held),
            (
                not facts.is_off and facts.n_ready > 0 and facts.ready_capacity < facts.hot_target,
                f"ready capacity is {facts.ready_capacity:.0f} of {facts.hot_target:.0f} wanted; "
                f"{count(facts.n_loading, 'worker')} loading{_outbid(facts)}",
            ),
            (
                facts.n_late >= LATE_COUNTS
                and facts.n_late > facts.allowed_late_share * facts.n_started,
                f"{facts.n_late:.0f} of {count(facts.n_started, 'request')} of a minute started "
                f"late; {facts.allowed_late_share:.1%} may",
            ),
            (NEAR_CAP <= facts.cap_used < 1.0, f"{facts.cap_used:.0%} of a spending cap is used"),
            (facts.n_in_error > 0, in_error(facts.n_in_error, facts.error)),
            (facts.n_unreachable > 0, f"{count(facts.n_unreachable, 'worker')} silent"),
        )
        if holds
    ]
    warn += [one.message for one in facts.troubles if one.severity is not Severity.BAD]
    health = Health.BAD if bad else Health.WARN if warn else Health.OK
    told = [facts.is_off] if facts.is_off else []
    return Verdict(health, tuple(dict.fromkeys(bad + warn + told)))


def scaler_silence(last_round_at: float, now: float) -> str:
    """What an owner is told while no round ends; empty while they do, or before the first one."""
    silent_s = now - last_round_at
    if not last_round_at or silent_s <= SILENT_AFTER_S:
        return ""
    return (
        f"The scaler has been silent for {count(silent_s // 60, 'minute')}: what runs serves on "
        "and costs, and nothing is rented, replaced or returned. `ballast doctor` looks closer."
    )


def in_error(n: int, error: str) -> str:
    """How many workers are, what one says, and who mends it."""
    said = f": {error}" if error else ""
    return f"{count(n, 'worker')} in error{said}; each is {MENDED}"


def _nobody(facts: HealthFacts) -> str:
    """That nothing can be served now, and whether anything is on its way."""
    who = f"{count(facts.n_waiting, 'request')} waiting, " if facts.n_waiting else ""
    coming = f"{count(facts.n_loading, 'worker')} on the way" if facts.n_loading else "none coming"
    wanted = f" ({facts.hot_target:.0f} load/s wanted)" if facts.hot_target else ""
    cause = f": {facts.own_cause}" if facts.own_cause else ""
    return f"{who}no worker is ready{wanted}; {coming}{cause}{_outbid(facts)}"


def _outbid(facts: HealthFacts) -> str:
    """The machines at bids that others took, which come back by themselves or are replaced."""
    if not facts.n_outbid:
        return ""
    return f"; {count(facts.n_outbid, 'machine')} outbid, and what stands in is started or rented"
