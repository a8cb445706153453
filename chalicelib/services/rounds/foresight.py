"""What of a plan the money guard will let happen: the executor's own order and its own rules.

`plan`, previews and shadow mode ask here, so that none of them names a rental that a cap refuses.
"""

from __future__ import annotations

from collections.abc import Mapping

from chalicelib.core.model.market import Offer
from chalicelib.core.money.account import Account
from chalicelib.core.money.bookkeeping import rise_microusd_per_hour, start_microusd_per_hour
from chalicelib.core.money.budget import (
    Ask,
    GuardRefusedError,
    running_microusd_per_hour,
    to_micro,
    with_reservation,
)
from chalicelib.core.scaling.actions import Action, ChangeBid, RentOffer, StartWorker
from chalicelib.core.scaling.facts import group_caps
from chalicelib.core.scaling.moves.offers import DOWNLOAD_GB
from chalicelib.services.market.launching import DEFAULT_DISK_GB
from chalicelib.services.rounds.values import GroupPlan, RoundPlan

ASKING = (StartWorker, ChangeBid, RentOffer)  # in the order in which the executor does them


def rental_ask(endpoint_id: int, offer: Offer, disk_gb: float) -> Ask:
    """What a rental reserves: the running price at its worst, and its downloads."""
    return Ask(
        endpoint_id=endpoint_id,
        microusd_per_hour=running_microusd_per_hour(
            offer.usd_per_hour, offer.inet_up_usd_per_gb, offer.inet_down_usd_per_gb
        ),
        n_workers=1,
        once_microusd=to_micro(min(DOWNLOAD_GB, disk_gb) * offer.inet_down_usd_per_gb),
    )


def refused_by_caps(plan: RoundPlan) -> Mapping[int, str]:
    """The caps that refuse actions of this plan, by the identity of the action.

    A group in shadow mode reserves nothing for real: its actions are judged after all others.
    """
    refused: dict[int, str] = {}
    account = plan.account
    ordered = sorted(plan.groups, key=lambda one: one.snapshot.group.shadow)
    pairs = [(g, a) for g in ordered for a in g.would if isinstance(a, ASKING)]
    pairs.sort(key=lambda pair: (pair[0].snapshot.group.shadow, ASKING.index(type(pair[1]))))
    for group, action in pairs:
        ask = ask_for(plan, group, action)
        if ask is None:
            continue
        try:
            account = _reserved(account, ask, group, plan.view.now)
        except GuardRefusedError as error:
            refused[id(action)] = error.cap
    return refused


def ask_for(plan: RoundPlan, group: GroupPlan, action: Action) -> Ask | None:
    """What a rental, a start or a raised bid would reserve; None for what reserves nothing."""
    endpoint_id = group.snapshot.group.endpoint_id
    if isinstance(action, RentOffer):
        disk_gb = group.disk_gb.get(action.autogroup_id, DEFAULT_DISK_GB)
        return rental_ask(endpoint_id, action.offer, disk_gb)
    if not isinstance(action, StartWorker | ChangeBid):
        return None
    worker = next((w for w in plan.workers if w.instance_id == action.instance_id), None)
    if worker is None:
        return None
    if isinstance(action, ChangeBid):
        added = rise_microusd_per_hour(worker, action.bid_usd_per_hour)
    else:
        added = start_microusd_per_hour(worker, plan.view.records.get(action.instance_id))
    return Ask(endpoint_id=endpoint_id, microusd_per_hour=added, n_workers=0)


def _reserved(account: Account, ask: Ask, group: GroupPlan, now: float) -> Account:
    return with_reservation(account, ask, group_caps(group.snapshot.group), now)
