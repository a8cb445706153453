"""Reasons in English: one sentence for each code, the same in events, command and dashboard."""

from __future__ import annotations

from collections.abc import Mapping

from chalicelib.core.scaling.actions import Reason
from chalicelib.core.scaling.reasons import ReasonCode

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
    if "term" in shown:
        shown["term"] = TERMS.get(shown["term"], shown["term"])
    if code in _CODES:
        return ReasonCode.of(code).sentence.format_map(_Facts(shown))
    listed = ", ".join(f"{name} {value}" for name, value in sorted(shown.items()))
    return f"{code.replace('_', ' ').capitalize()}{': ' if listed else ''}{listed}."


_CODES = frozenset(ReasonCode)


def _shown(value: object) -> str:
    """Numbers with three significant digits at least, without exponents up to a million."""
    if isinstance(value, float):
        return f"{value:.0f}" if abs(value) >= 100 else f"{value:.3g}"
    return CAP_NAMES.get(str(value), str(value))
