"""Inventory: what we believe of the marketplace's listing, as a value with age and doubt.

Known, unknown, or empty-but-unconfirmed (reliability.md 1). Unless it is trusted, nothing is rented
or destroyed; gone is what complete listings agree on and a direct look confirms.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace

from chalicelib.core.fleet.intents import (
    ABSENT_LISTINGS,
    listing_can_show,
    split_label,
)
from chalicelib.core.model.market import InstanceListing, InstanceRecord

EMPTY_LISTINGS = 2  # complete empty listings that must agree before emptiness is believed
SETTLED_LISTINGS, SETTLED_AFTER_S = 3, 600.0
"""Without an answer to direct looks a machine is given up once so many complete listings over so
long a time did not show it."""

LONG_DOUBT_S = 600.0
"""A doubt about the whole listing that lasts longer must not stop renting any more: everything that
is not accounted for counts at its worst, and each machine is looked at itself before it is touched.
"""

UNDER_WAY_S = 180.0
"""So long the last complete listing counts while the next one is paged: a thousand machines take
rounds of two or three executions (tests/services/test_large_account.py)."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Inventory:
    """What is remembered of listings; the records themselves live one round."""

    is_known: bool = False  # this round's listing is complete and believed
    is_under_way: bool = False  # it has pages left, and the one before is young and was believed
    problem: str = "never listed"
    listed_at: float = 0.0  # start of the last complete listing
    unknown_since: float | None = None
    n_instances: int = 0
    n_empty: int = 0  # complete empty listings in a row
    absences: Mapping[str, int] = field(default_factory=dict)  # by instance id or intent token
    absent_since: Mapping[str, float] = field(default_factory=dict)  # start of the first of them

    @property
    def is_trusted(self) -> bool:
        """Whether what was listed last may be acted on."""
        return self.is_known or self.is_under_way

    def age_s(self, now: float) -> float:
        """Since the last complete listing began."""
        return now - self.listed_at

    def is_long_doubted(self, now: float) -> bool:
        """Whether it has been unknown for so long that planning goes on without it."""
        since = self.unknown_since
        return not self.is_trusted and since is not None and now - since >= LONG_DOUBT_S


def absorb(before: Inventory, listing: InstanceListing, expected: Mapping[str, float]) -> Inventory:
    """The inventory after a listing.

    `expected`: instance ids (as text) and tokens of rentals that should be listed, each with the
    time from which on a listing must show it.
    """
    if listing.is_under_way and before.is_trusted and before.age_s(listing.ended_at) <= UNDER_WAY_S:
        return replace(before, is_known=False, is_under_way=True, problem=listing.problem)
    if not listing.is_complete:
        return doubted(before, listing.problem or "incomplete", listing.started_at)
    n_empty = 0 if listing.instances else before.n_empty + 1
    shown = _shown(listing.instances)
    absences = {
        key: before.absences.get(key, 0) + listing_can_show(listing, since)
        for key, since in expected.items()
        if key not in shown
    }
    absences = {key: n for key, n in absences.items() if n}
    is_known = n_empty == 0 or n_empty >= EMPTY_LISTINGS
    return Inventory(
        is_known=is_known,
        problem="" if is_known else "empty, not confirmed yet",
        listed_at=listing.started_at,
        unknown_since=None if is_known else _since(before, listing.started_at),
        n_instances=len(listing.instances),
        n_empty=n_empty,
        absences=absences,
        absent_since={
            key: min(before.absent_since.get(key, listing.started_at), listing.started_at)
            for key in absences
        },
    )


def doubted(before: Inventory, problem: str, now: float) -> Inventory:
    """The inventory after a listing that cannot be trusted: what was counted does not count."""
    return replace(
        before,
        is_known=False,
        is_under_way=False,
        problem=problem,
        unknown_since=_since(before, now),
        n_empty=0,
        absences={},
        absent_since={},
    )


def with_hidden(inventory: Inventory, instance_id: int) -> Inventory:
    """The inventory once a direct look found a machine that the listing hides.

    It is there, so its absences do not count; and what else the listing may hide is not believed
    absent on its word: rentals without an id are not given up.
    """
    kept = {key: n for key, n in inventory.absences.items() if key.isdigit()}
    kept.pop(str(instance_id), None)
    since = {key: at for key, at in inventory.absent_since.items() if key in kept}
    return replace(inventory, absences=kept, absent_since=since)


def hiding(
    inventory: Inventory, before: Inventory, found: Collection[int], problem: str, now: float
) -> Inventory:
    """The inventory after a listing that hides machines which looks found: it is not believed.

    They count as missing on, so that each next listing is doubted until it shows them; but not as
    absent since earlier than this look.
    """
    since = {key: now if int(key) in found else at for key, at in _of_ids(inventory).items()}
    return replace(
        inventory,
        is_known=False,
        is_under_way=False,
        problem=problem,
        unknown_since=_since(before, now),
        absences={key: n for key, n in inventory.absences.items() if key in since},
        absent_since=since,
    )


def _of_ids(inventory: Inventory) -> Mapping[str, float]:
    return {key: at for key, at in inventory.absent_since.items() if key.isdigit()}


def is_settled(inventory: Inventory, instance_id: int, now: float) -> bool:
    """Whether listings alone say that a machine is gone, as nobody answers a look at it."""
    key = str(instance_id)
    is_absent = key in believed_absent(inventory, n_listings=SETTLED_LISTINGS)
    return is_absent and now - inventory.absent_since.get(key, now) >= SETTLED_AFTER_S


def believed_absent(inventory: Inventory, *, n_listings: int = ABSENT_LISTINGS) -> frozenset[str]:
    """Instance ids and tokens that enough complete listings did not show."""
    if not inventory.is_known:
        return frozenset()
    return frozenset(key for key, n in inventory.absences.items() if n >= n_listings)


def _shown(instances: Collection[InstanceRecord]) -> set[str]:
    shown = {str(record.instance_id) for record in instances}
    return shown | {token for record in instances for token in split_label(record.label)}


def _since(before: Inventory, now: float) -> float:
    return now if before.unknown_since is None else before.unknown_since


def in_words(problem: str) -> str:
    """A listing's problem as an owner reads it: without the name of our error class."""
    return re.sub(r"^\w+Error: ", "", problem)
