"""Inventory: what we believe of the marketplace's listing, as a value with age and doubt.

Known, unknown, or empty-but-unconfirmed (reliability.md 1). Unless it is known, nothing is rented
or destroyed; gone is what complete listings agree on and a direct look confirms.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace

from chalicelib.core.fleet.intents import (
    ABSENT_LISTINGS,
    listing_can_show,
    split_label,
)
from chalicelib.core.model.market import InstanceListing, InstanceRecord

EMPTY_LISTINGS = 2  # complete empty listings that must agree before emptiness is believed


@dataclass(frozen=True, kw_only=True, slots=True)
class Inventory:
    """What is remembered of listings; the records themselves live one round."""

    is_known: bool = False
    problem: str = "never listed"
    listed_at: float = 0.0  # start of the last complete listing
    unknown_since: float | None = None
    n_instances: int = 0
    n_empty: int = 0  # complete empty listings in a row
    absences: Mapping[str, int] = field(default_factory=dict)  # by instance id or intent token

    def age_s(self, now: float) -> float:
        """Since the last complete listing began."""
        return now - self.listed_at


def absorb(before: Inventory, listing: InstanceListing, expected: Mapping[str, float]) -> Inventory:
    """The inventory after a listing.

    `expected`: instance ids (as text) and tokens of rentals that should be listed, each with the
    time from which on a listing must show it.
    """
    if not listing.is_complete:
        return doubted(before, listing.problem or "incomplete", listing.started_at)
    n_empty = 0 if listing.instances else before.n_empty + 1
    shown = _shown(listing.instances)
    absences = {
        key: before.absences.get(key, 0) + listing_can_show(listing, since)
        for key, since in expected.items()
        if key not in shown
    }
    is_known = n_empty == 0 or n_empty >= EMPTY_LISTINGS
    return Inventory(
        is_known=is_known,
        problem="" if is_known else "empty, not confirmed yet",
        listed_at=listing.started_at,
        unknown_since=None if is_known else _since(before, listing.started_at),
        n_instances=len(listing.instances),
        n_empty=n_empty,
        absences={key: n for key, n in absences.items() if n},
    )


def doubted(before: Inventory, problem: str, now: float) -> Inventory:
    """The inventory after a listing that cannot be trusted: what was counted does not count."""
    return replace(
        before,
        is_known=False,
        problem=problem,
        unknown_since=_since(before, now),
        n_empty=0,
        absences={},
    )


def unconfirmed(inventory: Inventory, problem: str, now: float) -> Inventory:
    """The inventory while a gap in it is not confirmed: unknown, but what was counted counts."""
    since = _since(inventory, now)
    return replace(inventory, is_known=False, problem=problem, unknown_since=since)


def believed_absent(inventory: Inventory, *, n_listings: int = ABSENT_LISTINGS) -> frozenset[str]:
    """Instance ids and tokens that enough complete listings did not show."""
    if not inventory.is_known:
        return frozenset()
    return frozenset(key for key, n in inventory.absences.items() if n >= n_listings)


def _shown(instances: Collection[InstanceRecord]) -> set[str]:
    shown = {str(record.instance_id) for record in instances}
    labels = (split_label(record.label) for record in instances)
    return shown | {parts[1] for parts in labels if parts}


def _since(before: Inventory, now: float) -> float:
    return now if before.unknown_since is None else before.unknown_since
