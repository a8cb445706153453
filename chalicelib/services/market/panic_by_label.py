"""Panic with the Vast key alone: no tables, no deployment, no proof of whose a label is.

What carries a label of our form is shown, and what its owner names is returned and seen gone. The
proof inside a token needs a key that lies with the tables, so nothing is judged here.
"""

from __future__ import annotations

from collections.abc import Callable

from chalicelib.core.fleet.intents import LISTING_LAG_S, split_label
from chalicelib.core.fleet.pacing import Pacing
from chalicelib.core.model.market import InstanceRecord
from chalicelib.core.words import count
from chalicelib.ports.clock import Clock
from chalicelib.ports.marketplace import Marketplace
from chalicelib.services.market.paced_market import PacedMarket
from chalicelib.services.market.panic import (
    GIVE_UP_S,
    RETRY_S,
    Choose,
    PanicReport,
    destroy_all,
    list_all,
)


def panic_by_label(
    marketplace: Marketplace,
    clock: Clock,
    choose: Choose,
    *,
    gives_up_s: float = GIVE_UP_S,
    tell: Callable[[str], None] = lambda _text: None,
) -> PanicReport:
    """Return what the owner chooses, until two complete listings a minute apart show none of it.

    What they kept is in `unjudged`. So is whatever appears under such a label meanwhile, and then
    nothing is verified: a deployment that still lives may have rented it. A listing that shows no
    such label is asked again after a minute too: one alone may be wrong.
    """
    ends_at = clock.now() + gives_up_s
    market = PacedMarket(marketplace, clock, Pacing(), waits_until=ends_at)
    problems: list[str] = []
    so_far: dict[str, object] = {}
    shown: frozenset[int] = frozenset()  # to the owner, who chose among them
    chosen: frozenset[int] = frozenset()
    left: frozenset[int] = frozenset()
    others: frozenset[int] = frozenset()
    empty_since: float | None = None
    is_over = False
    while clock.now() < ends_at and not is_over:
        labelled = _labelled(market, so_far, problems)
        if labelled is None:
            tell(f"no whole list from Vast yet; trying again. {problems[-1]}")
        else:
            if labelled and not shown:
                shown = frozenset(record.instance_id for record in labelled)
                chosen = frozenset(choose(labelled))
                ends_at = clock.now() + gives_up_s  # the owner took their time
                market = PacedMarket(marketplace, clock, market.pacing, waits_until=ends_at)
            ids = frozenset(record.instance_id for record in labelled)
            left, others = ids & chosen, ids - chosen
            tell(f"{count(len(left), 'machine')} left")
            empty_since = None if left else (empty_since or clock.now())
            if left:
                destroy_all(market, left, problems)
            keeps_all = bool(shown) and not chosen
            is_over = keeps_all or (
                empty_since is not None and clock.now() - empty_since >= LISTING_LAG_S
            )
        if not is_over:
            clock.sleep(RETRY_S)
    is_verified = is_over and not left and others <= shown
    return PanicReport(
        is_verified=is_verified,
        n_returned=len(chosen - left),
        left=tuple(sorted(left | (others - shown))),
        verified_at=clock.now() if is_verified else None,
        unjudged=tuple(sorted(others)),
        problems=tuple(dict.fromkeys(problems)),
    )


def _labelled(
    market: PacedMarket, so_far: dict[str, object], problems: list[str]
) -> list[InstanceRecord] | None:
    """What a complete listing shows under labels of our form; None if none is to be had."""
    records = list_all(market, so_far, problems)
    if records is None:
        return None
    return [record for record in records if split_label(record.label)]
