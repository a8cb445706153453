"""What a Vast key may do, tried with calls that change nothing and rent nothing.

Each right that the product uses has a call here (source of the rights' names: Vast's table of
scopes, docs/internals/marketplace.md). `instance_write` has none: whatever needs it changes
something; `ballast probe --rent` tries it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from chalicelib.core.fleet.pacing import Verb
from chalicelib.ports.marketplace import Marketplace, MarketplaceError, RefusedError
from chalicelib.services.market.paced_market import PacedMarket

NAMES_OF_RIGHTS = "instance_read, instance_write, misc and user_read"
SLOW = "not asked: Vast answers too slowly to ask everything"
_DISK_GB = 16.0
_ERROR_NAME = re.compile(r"^\w+Error: ")
_MAX_PROBLEM_CHARS = 200


@dataclass(frozen=True, kw_only=True, slots=True)
class KeyRights:
    """By what each right is for: what was tried, what Vast refused, what it did not answer."""

    tried: tuple[str, ...]
    refused: Mapping[str, str] = field(default_factory=dict)
    unanswered: Mapping[str, str] = field(default_factory=dict)


def try_rights(market: PacedMarket, has_time: Callable[[], bool] = lambda: True) -> KeyRights:
    """Try each right once, as long as there is time: one that is not tried is not answered."""
    refused, unanswered = {}, {}
    for name, (verb, ask) in _CALLS.items():
        if not has_time():
            unanswered[name] = SLOW
            continue
        try:
            problem = market.call(verb, ask)
        except RefusedError as error:
            refused[name] = str(error)[:_MAX_PROBLEM_CHARS]
        except MarketplaceError as error:
            unanswered[name] = str(error)[:_MAX_PROBLEM_CHARS]
        else:
            is_refusal = problem.startswith(RefusedError.__name__)
            if problem:
                said = _ERROR_NAME.sub("", problem)  # an owner reads words, no class names
                (refused if is_refusal else unanswered)[name] = said[:_MAX_PROBLEM_CHARS]
    return KeyRights(tried=tuple(_CALLS), refused=refused, unanswered=unanswered)


def _search_one(vast: Marketplace) -> str:
    vast.search_offers({}, disk_gb=_DISK_GB, limit=1)
    return ""


def _template_none(vast: Marketplace) -> str:
    vast.find_template("0" * 32)  # of nobody: only whether the key may ask
    return ""


def _credit(vast: Marketplace) -> str:
    vast.account_credit_usd()
    return ""


_CALLS: Mapping[str, tuple[Verb, Callable[[Marketplace], str]]] = {
    "instance_read (list instances)": (Verb.LIST, lambda vast: vast.list_instances().problem),
    "misc (search offers)": (Verb.SEARCH, _search_one),
    "user_read (templates)": (Verb.TEMPLATE, _template_none),
    "user_read (credit)": (Verb.CREDIT, _credit),
}
