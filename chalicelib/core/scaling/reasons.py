"""Why something is decided, or is not: each reason's code with its sentence."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum


class ReasonCode(StrEnum):
    """A code, as events carry it, and the sentence that an owner reads, with facts to fill in."""

    sentence: str

    def __new__(cls, code: str, sentence: str) -> ReasonCode:
        """A member, by its code."""
        member = str.__new__(cls, code)
        member._value_ = code
        member.sentence = sentence
        return member

    @classmethod
    def of(cls, code: str) -> ReasonCode:
        """The member of a code, as events carry it.

        Raises:
            ValueError: there is none.
        """
        return cls(code)  # type: ignore[call-arg]  # mypy takes it for a new member

    # why something is done
    HOT_SHORT = (
        "hot_short",
        "Its autogroup's ready workers can serve {had} load/s, and {wanted} is needed of them "
        "({term}).",
    )
    CHEAPER_COVER = (
        "cheaper_cover",
        "It serves what is needed for ${usd_per_hour} an hour instead of ${now_usd_per_hour}; "
        "the dearer workers can then stop.",
    )
    IDLE_SURPLUS = (
        "idle_surplus",
        "The other ready workers of its autogroup can serve {left} load/s, and only {wanted} is "
        "needed of them; it costs most per unit of capacity.",
    )
    COLD_SHORT = (
        "cold_short",
        "What its autogroup holds, ready or in reserve, is {missing} load/s short of its goal; "
        "this machine should serve {expected_perf}, {ready}.",
    )
    UNMEASURED = (
        "unmeasured",
        "Nobody knows yet what a machine serves here; to learn it, machines to rent: {missing}; "
        "{ready}.",
    )
    COLD_SURPLUS = (
        "cold_surplus",
        "Without it its autogroup still holds {left} load/s, ready or in reserve, and {wanted} is "
        "wanted; its disk would cost money for nothing.",
    )
    EXPLORE = (
        "explore",
        "A test of this hardware: {missing} of {test_workers} test workers missing.",
    )
    STUCK_LOADING = (
        "stuck_loading",
        "It has been loading for {waited_s} s; the limit is {limit_s} s.",
    )
    WILL_NOT_STOP = (
        "will_not_stop",
        "It was told to stop {waited_s} s ago, and still runs: a machine that stops takes its "
        "place.",
    )
    STUCK_STARTING = (
        "stuck_starting",
        "It has been starting for {waited_s} s; the limit is {limit_s} s.",
    )
    NO_ADDRESS = (
        "no_address",
        "It has said for {waited_s} s that it is ready, and has no address to reach it.",
    )
    UNREACHABLE = "unreachable", "It has been silent for {silent_s} s."
    UNAVAILABLE = (
        "unavailable",
        "Its machine has been out of reach or let to others for {unavailable_s} s.",
    )
    WILL_NOT_START = (
        "will_not_start",
        "Starting it failed {failures} times in a row; its machine is let to others.",
    )
    ERROR_REBOOT = "error_reboot", "It reported an error ({error}); a reboot may cure it."
    ERROR_AGAIN = "error_again", "It reported an error again after a reboot ({error})."
    FAILING_REBOOT = "failing_reboot", "It fails its requests ({failing}); a reboot may cure it."
    FAILING_AGAIN = "failing_again", "It fails its requests again after a reboot ({failing})."
    REBOOT_REFUSED = (
        "reboot_refused",
        "A reboot might cure it, and Vast refused {refusals} of them in a row.",
    )
    REBOOT_AGAIN = (
        "reboot_again",
        "It was told to reboot, and {ran_on_s} s later the old process still reports.",
    )
    WILL_NOT_REBOOT = (
        "will_not_reboot",
        "It was told to reboot again and again, and {ran_on_s} s later the old process still "
        "reports.",
    )
    SCOUT = (
        "scout",
        "A look at a better machine: expected to save ${expected_gain_usd}, and the look costs "
        "${cost_usd}; {ready}.",
    )
    OVERBILLS = (
        "overbills",
        "Vast bills ${usd_per_hour} an hour for it, and its offer said ${agreed_usd_per_hour}.",
    )
    OUTDATED = "outdated", "Its autogroup asks for another template or other machines by now."
    CONTRACT_ENDS = "contract_ends", "Its contract ends soon."
    DRAINED = "drained", "It has finished its requests, as planned."
    DRAIN_DEADLINE = (
        "drain_deadline",
        "Its drain has reached the deadline; requests that are cut off: {n_cut}.",
    )
    RECALL = "recall", "Load is back; it need not go."
    GROUP_DELETED = "group_deleted", "Its endpoint group is being deleted."
    AUTOGROUP_GONE = "autogroup_gone", "Its autogroup is gone."
    DELETED = "deleted", "Its autogroup is being deleted."
    GROUP_SUSPENDED = (
        "group_suspended",
        "Its endpoint group is suspended: nothing runs, loaded workers are kept.",
    )
    GROUP_STOPPED = (
        "group_stopped",
        "Its endpoint group is stopped: nothing runs, loaded workers are kept.",
    )
    GROUP_FOREIGN = (
        "group_foreign",
        "Another version of Ballast wrote its endpoint group: nothing runs, workers are kept.",
    )
    PAUSED = "paused", "Its autogroup is paused."
    CAP_REACHED = (
        "cap_reached",
        "A spending cap is reached ({cap}), so running workers are returned.",
    )
    OVER_MAX_WORKERS = (
        "over_max_workers",
        "{held} workers are held, and max_workers is {max_workers}.",
    )
    BID = (
        "bid",
        "An interruptible machine at a bid of ${bid_usd_per_hour} an hour: expected to save "
        "${expected_gain_usd} for ${cost_usd} of loading and disk; such are taken away "
        "{lost_per_hour} times an hour.",
    )
    BID_STANDBY = (
        "bid_standby",
        "An interruptible machine for the pool, at a bid of ${bid_usd_per_hour} an hour: "
        "{missing} load/s are missing, and it adds {adds} to what the likeliest loss leaves.",
    )
    BID_RAISED = (
        "bid_raised",
        "It was outbid; ${bid_usd_per_hour} an hour instead of ${before_usd_per_hour} is still "
        "worth it.",
    )
    BID_STARTED = (
        "bid_started",
        "It was outbid, and its last start was refused: a raised bid alone brings nothing back.",
    )
    OUTBID_LONG = (
        "outbid_long",
        "It has been outbid for {paused_s} s; after {limit_s} s its disk costs more than "
        "loading another.",
    )
    BID_UNUSED = "bid_unused", "An interruptible machine, not used for {unused_s} s."
    BID_MAKES_ROOM = (
        "bid_makes_room",
        "max_workers or a spending cap is reached, and another machine is needed more.",
    )
    INTERRUPTIBLE_SHARE = (
        "interruptible_share",
        "More interruptible machines serve than may vanish at once (interruptible_share).",
    )
    INSISTED = "insisted", "Requests wait that take no interruptible worker, and only such serve."
    INTERRUPTIBLE_OFF = "interruptible_off", "The owner wants no interruptible machines any more."
    # why a request goes where it goes
    WARM = (
        "warm",
        "Worker {worker} is the one that its key prefers: its cache should hold the prompt's "
        "beginning, which saves {saved_s} s. A request starts there in {wait_s} s, and in "
        "{other_wait_s} s at worker {other}, which would read all of it.",
    )
    WARM_ANYHOW = (
        "warm_anyhow",
        "Worker {worker} is the one that its key prefers: its cache should hold the prompt's "
        "beginning. A request starts there in {wait_s} s, and would go there without its key, too.",
    )
    SAVES_NOTHING = (
        "saves_nothing",
        "Its client says that a warm worker saves nothing of its cost: its key decides only where "
        "no other would be sooner.",
    )
    WARM_TOO_BUSY = (
        "warm_too_busy",
        "Workers that its key prefers are too busy: waiting there costs more than what their "
        "caches would save.",
    )
    NO_KEYS = "no_keys", "It has no keys of affinity, so no cache counts."
    FREE_SLOT = (
        "free_slot",
        "Worker {worker} is the cheapest of those that have a slot free (${usd_per_hour} an hour).",
    )
    LEAST_FINISH = (
        "least_finish",
        "No slot is free, and worker {worker} will be done with it first: it starts in {wait_s}"
        " s and ends in {finish_s} s.",
    )
    NOBODY = "nobody", "No worker would start it within {within_s} s: it waits for its turn."
    # why something is not done
    FROZEN = "frozen", "Frozen by the owner: nothing is rented, started, stopped or destroyed."
    PANICKING = "panicking", "Nothing is rented: panic is on, every instance is being destroyed."
    INVENTORY_UNKNOWN = (
        "inventory_unknown",
        "Nothing is rented or destroyed: Vast's list is not trusted yet.",
    )
    NO_CREDIT = (
        "no_credit",
        "Nothing is rented: Vast rents the account nothing (its credit or its spend limit).",
    )
    NO_OFFERS = "no_offers", "No offer fits the search of {autogroup} now."
    NOT_SEARCHED = (
        "not_searched",
        "{autogroup} was not searched for in this round: its turn comes, or nothing has changed "
        "since the last search.",
    )
    OFFERS_UNFIT = (
        "offers_unfit",
        "No offer that fits the search of {autogroup} can be used now: of {n}, {n_ending} end "
        "within the hour, {n_avoided} are of machines that failed lately.",
    )
    BREAKER_OPEN = (
        "breaker_open",
        "Nothing is rented: this template has only failed lately; a retry will come.",
    )
    CAP = "cap", "Nothing is rented: a spending cap leaves no room."
    CAP_HOUR = "cap_hour", "Nothing is rented: the cap on dollars an hour leaves no room."
    CAP_DAY = "cap_day", "Nothing is rented: the cap on today's dollars leaves no room."
    CAP_MONTH = "cap_month", "Nothing is rented: the cap on this month's dollars leaves no room."
    GROUP_CAP_HOUR = (
        "group_cap_hour",
        "Nothing is rented: the group's cap on dollars an hour leaves no room.",
    )
    GROUP_CAP_DAY = (
        "group_cap_day",
        "Nothing is rented: the group's cap on today's dollars leaves no room.",
    )
    GROUP_CAP_MONTH = (
        "group_cap_month",
        "Nothing is rented: the group's cap on this month's dollars leaves no room.",
    )
    CAP_IDLE_DAY = (
        "cap_idle_day",
        "Nothing is rented: today's spend on machines that served nobody is used up.",
    )
    CAP_WORKERS = "cap_workers", "No more is rented: max_workers is reached."
    CAP_USD = (
        "cap_usd",
        "No more is rented: what may still be committed an hour does not pay for it.",
    )
    ENOUGH_ON_ORDER = "enough_on_order", "No more is rented: enough workers are on their way."
    OFFERS_REFUSED = (
        "offers_refused",
        "Nothing is rented for a minute: Vast refused several offers in a row.",
    )
    RENTALS_BRAKED = (
        "rentals_braked",
        "No more is rented for now: too many were rented in the last hour.",
    )
    MAX_WORKERS = "max_workers", "No more is rented: max_workers is reached."
    # what only follows from an earlier decision
    REPEATED_CALL = "repeated_call", "The call is made again: its effect is not seen."


@dataclass(frozen=True, kw_only=True, slots=True)
class Reason:
    """Why an action was chosen: a constant code, the numbers behind it, and what it beat.

    `explain_reason` turns it into an English sentence.
    """

    code: ReasonCode
    facts: Mapping[str, float | int | str] = field(default_factory=dict)
    beaten: tuple[str, ...] = ()  # the best rejected candidates, each with the reason


CAP_NAMES: Mapping[str, str] = {
    "cap_hour": "the account's dollars per hour",
    "cap_day": "the account's dollars per day",
    "cap_month": "the account's dollars per month",
    "cap_idle_day": "the account's dollars per day on idle machines",
    "group_cap_hour": "the group's max_usd_per_hour",
    "group_cap_day": "the group's max_usd_per_day",
    "group_cap_month": "the group's max_usd_per_month",
}
"""What an owner calls the caps."""


def cap_reached(cap: str) -> str:
    """That a cap is reached, by the owner's name for it."""
    return f"cap reached: {CAP_NAMES.get(cap, cap)}"


TERMS: Mapping[str, str] = {
    "occupancy": "for the requests of now, with room for more",
    "min_load": "your min_load",
    "target_util": "your target_util",
}
"""Which term of the law (core/scaling/law.py) asked for the capacity that is needed."""


DOING: Mapping[str, str] = {
    "rent": "Renting",
    "start": "Starting",
    "drain": "Draining",
    "recall": "Keeping (drain cancelled)",
    "stop": "Stopping",
    "reboot": "Rebooting",
    "destroy": "Destroying",
    "bid": "Bidding more for",
}
"""What is done, by the action's verb; a decision is told before it is known how it went."""


FOLLOWING = frozenset({ReasonCode.DRAINED, ReasonCode.REPEATED_CALL})
"""Codes of what only follows from an earlier decision, which says why."""


class _Facts(dict[str, str]):
    """Facts for a template; one that is missing shows as a question mark."""

    def __missing__(self, key: str) -> str:
        return "?"


def explain_reason(reason: Reason) -> str:
    """The sentence of a reason; of an unknown code, the code with its facts."""
    return explain(reason.code, reason.facts)


def explain(code: str, facts: Mapping[str, object]) -> str:
    """The sentence of a code and its facts, as events carry them."""
    shown = {name: _shown(value) for name, value in facts.items()}
    shown["autogroup"] = autogroup_name(facts.get("autogroup_id"))
    if "term" in shown:
        shown["term"] = TERMS.get(shown["term"], shown["term"])
    if code in _CODES:
        return ReasonCode.of(code).sentence.format_map(_Facts(shown))
    listed = ", ".join(f"{name} {shown[name]}" for name in sorted(facts))
    return f"{code.replace('_', ' ').capitalize()}{': ' if listed else ''}{listed}."


_CODES = frozenset(ReasonCode)


def autogroup_name(identity: object) -> str:
    """Which autogroup, for a sentence; 0 is one that is only previewed."""
    if identity is None:
        return "an autogroup"
    return f"autogroup {identity}" if identity else "the new autogroup"


def _shown(value: object) -> str:
    """Numbers with three significant digits at least, without exponents up to a million."""
    if isinstance(value, float):
        return f"{value:.0f}" if abs(value) >= 100 else f"{value:.3g}"
    return CAP_NAMES.get(str(value), str(value))
