"""Planning one group: snapshot → decision → what caps, brakes and doubt leave of it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace

from chalicelib.core.fleet.breakers import avoided_machines, open_breakers
from chalicelib.core.fleet.failing import find_failing
from chalicelib.core.fleet.pacing import Verb
from chalicelib.core.fleet.searching import SearchBook, digest
from chalicelib.core.fleet.set_aside import failing_key, set_aside_until, stopping_key
from chalicelib.core.model.autogroup import Autogroup, AutogroupState
from chalicelib.core.model.endpoint_group import EndpointGroup, GroupState
from chalicelib.core.model.market import Offer
from chalicelib.core.model.scopes import ACCOUNT_SCOPE, endpoint_scope
from chalicelib.core.model.vouching import vouch_capacity
from chalicelib.core.model.worker import Worker
from chalicelib.core.money.account import HOUR_S, Account
from chalicelib.core.money.budget import over_microusd_per_hour
from chalicelib.core.scaling.actions import (
    Action,
    ChangeBid,
    DestroyWorker,
    RebootWorker,
    RentOffer,
)
from chalicelib.core.scaling.decision import draft_scaling
from chalicelib.core.scaling.facts import (
    Guardrails,
    find_caps,
    group_caps,
    measure_traffic,
    pending_rental,
    sum_waiting,
    worker_facts,
)
from chalicelib.core.scaling.learning import learned_perfs
from chalicelib.core.scaling.memory import ScalingMemory
from chalicelib.core.scaling.moves.freeze import frozen_actions
from chalicelib.core.scaling.moves.leaving import (
    choose_leaving,
    present,
    send_off,
    wind_down,
    without_spending,
)
from chalicelib.core.scaling.round_memory import RoundMemory
from chalicelib.core.scaling.snapshot import GroupSnapshot, ScalingPlan
from chalicelib.ports.bundles import ScalerPorts
from chalicelib.ports.ledger import IntentState, RentIntent
from chalicelib.ports.marketplace import FoundOffers, MarketplaceError, RateLimitedError
from chalicelib.services.market.launching import LaunchError, search_offers
from chalicelib.services.market.paced_market import PacedMarket, TooEarlyError
from chalicelib.services.rounds.turns import (
    autogroups_of,
    each_offer_once,
    groups_in_turn,
    with_own,
)
from chalicelib.services.rounds.values import GroupPlan, RoundView
from chalicelib.wire.launch_args import LaunchArgsError

BIDS_SITUATION, SHORT_SITUATION = 0, 1  # of searches for bids: ever more rarely, at once if short


@dataclass(frozen=True, kw_only=True, slots=True)
class Fleet:
    """The state of things that groups are planned on, after reconciliation."""

    account: Account
    memory: RoundMemory
    workers: Sequence[Worker]
    intents: Sequence[RentIntent]
    searches: SearchBook = field(default_factory=SearchBook)
    hurried: frozenset[int] = frozenset()  # groups that a person asks about: searched for now
    given: set[int] = field(default_factory=set)  # offers that this round rents already


@dataclass(frozen=True, slots=True)
class Searched:
    """What searching found besides offers, by autogroup.

    The disk that its launch takes; why there are no offers: it cannot be launched, or Vast did not
    answer.
    """

    disk_gb: dict[int, float] = field(default_factory=dict)
    unlaunchable: dict[int, str] = field(default_factory=dict)
    unanswered: dict[int, str] = field(default_factory=dict)


def plan_groups(
    ports: ScalerPorts, market: PacedMarket, view: RoundView, fleet: Fleet
) -> tuple[GroupPlan, ...]:
    """Decide for all groups. Vast allows few searches, so whose last one is oldest comes first."""
    if fleet.account.is_panicking:
        return ()
    own = autogroups_of(view.autogroups)
    plans = [
        plan_group(ports, market, with_own(view, own[group.endpoint_id]), fleet, group)
        for group in groups_in_turn(view, fleet.memory, fleet.workers, fleet.intents, fleet.hurried)
    ]
    return tuple(sorted(plans, key=lambda plan: plan.snapshot.group.endpoint_id))


def search_times(plans: Iterable[GroupPlan], now: float) -> dict[str, float]:
    """When each autogroup was searched for, of those that were now."""
    return {str(key): now for plan in plans for key in plan.snapshot.offers}


def plan_group(
    ports: ScalerPorts, market: PacedMarket, view: RoundView, fleet: Fleet, group: EndpointGroup
) -> GroupPlan:
    """Decide for one group; searches offers only if the decision wants them."""
    snapshot = take_snapshot(view, fleet, group)
    updating = {
        a.autogroup_id: a.rollout_by for a in snapshot.autogroups if a.rollout_by is not None
    }
    leaving = choose_leaving(snapshot, updating, view.now)
    searched = Searched()
    here = present(snapshot, leaving)
    seen, decision = _decide(market, here, fleet, view.now, searched)
    snapshot = replace(snapshot, offers=seen.offers)
    departures = send_off(snapshot, decision, leaving, view.now)
    wanted = [*departures, *(a for a in decision.actions if action_id(a) not in leaving)]
    own = [w for w in fleet.workers if w.endpoint_id == group.endpoint_id]
    capped_by = snapshot.caps.exceeded
    actions = each_offer_once(allowed_actions(wanted, own, view, group), fleet.given)
    if capped_by and not snapshot.group.frozen:
        over = over_microusd_per_hour(
            fleet.account, group.endpoint_id, group_caps(group), capped_by, view.now
        )
        ends = wind_down(own, capped_by, over)
        ended = {action_id(action) for action in ends}
        actions = [*ends, *(a for a in without_spending(actions) if action_id(a) not in ended)]
    if not group.shadow:  # which rents nothing
        fleet.given.update(a.offer.offer_id for a in actions if isinstance(a, RentOffer))
    return GroupPlan(
        snapshot=snapshot,
        decision=decision,
        would=tuple(actions),
        disk_gb=searched.disk_gb,
        unlaunchable=searched.unlaunchable,
        unanswered=searched.unanswered,
    )


def _decide(
    market: PacedMarket,
    snapshot: GroupSnapshot,
    fleet: Fleet,
    now: float,
    searched: Searched,
) -> tuple[GroupSnapshot, ScalingPlan]:
    """Decide; if offers are wanted, search them, and place the orders anew.

    An autogroup that cannot be launched as it is, or that Vast could not answer for, gets no
    offers; `searched` says why.
    """
    memory = fleet.memory.groups.get(str(snapshot.group.endpoint_id), {})
    draft = draft_scaling(snapshot, memory, now)
    decision = draft.with_offers({})
    looks = {
        one
        for one in decision.wants_looks - decision.wants_bids
        if fleet.searches.is_look_due(one, now)
    }
    wanted = decision.wants_offers | decision.wants_bids | looks
    if not wanted or not snapshot.caps.may_rent or not snapshot.caps.free_workers:
        return snapshot, decision
    wanting = [a for a in snapshot.autogroups if a.autogroup_id in wanted]
    wanting.sort(key=lambda a: fleet.memory.searched.get(str(a.autogroup_id), 0.0))
    offers: dict[int, tuple[Offer, ...]] = {}
    for autogroup in wanting:
        searching = _Searching(market, fleet, snapshot, autogroup, now, searched)
        is_short = autogroup.autogroup_id in decision.wants_offers
        is_bid = autogroup.autogroup_id in decision.wants_bids
        found = searching.search(is_bid=True, is_short=is_short) if is_bid else None
        if autogroup.autogroup_id in looks:
            found = searching.search(is_bid=False, is_look=True)
        if is_short and not found:  # what no bid is to be had for is rented on demand
            found = searching.search(is_bid=False)
        if found is not None:
            offers[autogroup.autogroup_id] = found
    snapshot = replace(snapshot, offers=offers)
    if offers:
        decision = draft.with_offers(offers)
    return snapshot, decision


@dataclass(frozen=True, slots=True)
class _Searching:
    """A round's search for one autogroup; bids, where the law may use them, go first."""

    market: PacedMarket
    fleet: Fleet
    snapshot: GroupSnapshot
    autogroup: Autogroup
    now: float
    searched: Searched

    def search(
        self, *, is_bid: bool, is_short: bool = False, is_look: bool = False
    ) -> tuple[Offer, ...] | None:
        """The offers that no other group gets; None if it is not the turn, or they get all.

        What stands against it is told in `searched`.
        """
        autogroup_id, now, fleet = self.autogroup.autogroup_id, self.now, self.fleet
        key = -autogroup_id if is_bid else autogroup_id  # the pace of bids is their own
        situation = _situation(self.snapshot, self.autogroup, fleet.account)
        if is_bid:
            situation = SHORT_SITUATION if is_short else BIDS_SITUATION  # whatever else changes
        is_hurried = self.snapshot.group.endpoint_id in fleet.hurried and not is_bid
        if not (is_hurried or is_look or fleet.searches.is_due(key, situation, now)):
            return None  # nothing has changed since the last search: its pause is not over
        if not is_hurried and not self.market.is_turn(Verb.SEARCH):
            return None  # another group's turn comes first: next round
        try:
            found, disk_gb = search_offers(self.market, self.autogroup, is_bid=is_bid)
            self.searched.disk_gb[autogroup_id] = disk_gb
            n_rows = len(found) + sum(found.left_out.values())
            fleet.searches.note(key, situation, n_rows, now)
            if found.left_out and not found and not is_bid:
                self.searched.unanswered[autogroup_id] = _left_out(found)
        except TooEarlyError:
            return None
        except RateLimitedError as error:  # told until a search comes through
            self.searched.unanswered[autogroup_id] = str(error)[:200]
            return None
        except MarketplaceError as error:
            fleet.searches.note(key, situation, 0, now)
            self.searched.unanswered[autogroup_id] = str(error)[:200]
        except (LaunchError, LaunchArgsError) as error:
            self.searched.unlaunchable[autogroup_id] = str(error)
        else:
            free = tuple(offer for offer in found if offer.offer_id not in fleet.given)
            return free if free or not found else None
        return ()


def take_snapshot(view: RoundView, fleet: Fleet, group: EndpointGroup) -> GroupSnapshot:
    """All that the decision may look at."""
    now, key = view.now, str(group.endpoint_id)
    group = replace(group, frozen=group.frozen or view.account.is_frozen)
    memory = ScalingMemory.from_json(view.memory.groups.get(key, {}))
    rows = [w for w in fleet.workers if w.endpoint_id == group.endpoint_id]
    workers = vouch_capacity(rows, now, learned_perfs(memory))
    rentals = [i for i in fleet.intents if i.endpoint_id == group.endpoint_id and i.is_open]
    requests = view.waiting.get(group.endpoint_id, ())
    waiting = sum_waiting(requests, target_queue_time=group.params.target_queue_time, now=now)
    autogroups = tuple(a for a in view.autogroups if a.endpoint_id == group.endpoint_id)
    rolling = {a.autogroup_id: a for a in autogroups if a.rollout_by is not None}
    guardrails = _guardrails(view, fleet, workers, rentals)
    return GroupSnapshot(
        group=group,
        autogroups=autogroups,
        workers=tuple(worker_facts(w, rolling, guardrails, now) for w in workers),
        waiting=waiting,
        traffic=measure_traffic(view.memory.traffic.get(key, {}), workers, waiting, requests, now),
        rentals=tuple(pending_rental(intent) for intent in rentals),
        caps=find_caps(group, fleet.account, len(workers) + len(rentals), guardrails, now),
        inventory_is_known=guardrails.inventory_is_known,
        listed_at=guardrails.listed_at,
        reports_are_missing=bool(
            guardrails.silences & {ACCOUNT_SCOPE, endpoint_scope(group.endpoint_id)}
        ),
        avoided_machines=guardrails.avoided_machines,
        open_breakers=guardrails.open_breakers,
        set_aside=guardrails.set_aside,
        may_return_failing=failing_key(group.endpoint_id) not in guardrails.set_aside,
        may_fill_reserve=stopping_key(group.endpoint_id) not in guardrails.set_aside,
        may_rent_anew=n_rented_within_hour(fleet.intents, group.endpoint_id, now)
        < rentals_per_hour(group.params.max_workers),
    )


def _situation(snapshot: GroupSnapshot, autogroup: Autogroup, account: Account) -> int:
    """What a search's outcome hangs on: the owner's settings, caps, machines, whether any waits."""
    return digest(
        snapshot.group,
        autogroup,
        account.caps_microusd_per_hour,
        account.caps_microusd_per_day,
        account.caps_microusd_per_month,
        snapshot.caps.why_not,
        sorted(worker.instance_id for worker in snapshot.workers),
        len(snapshot.rentals),
        sorted(snapshot.avoided_machines),
        sorted(snapshot.set_aside),
        snapshot.waiting.n > 0,
    )


def _left_out(found: FoundOffers) -> str:
    counts = ", ".join(f"{n} by {name}" for name, n in sorted(found.left_out.items()))
    return f"Vast answered only rows that cannot be used: {counts}"


def n_rented_within_hour(intents: Iterable[RentIntent], endpoint_id: int, now: float) -> int:
    """How many machines were, or may have been, rented for a group in the last hour.

    A try that is known to have rented nothing is none: it must not keep out those that would.
    """
    return sum(
        intent.endpoint_id == endpoint_id
        and intent.state is not IntentState.VOID
        and now - HOUR_S < intent.planned_at <= now
        for intent in intents
    )


def rentals_per_hour(max_workers: int) -> int:
    """How many machines may be rented for a group in an hour: its whole fleet thrice, and ten.

    A fleet that is replaced more often than that is not lost, it is churned.
    """
    return 3 * max_workers + 10


_NOT_ON_BELIEF = RentOffer | DestroyWorker | RebootWorker | ChangeBid


def allowed_actions(
    actions: Iterable[Action], workers: Sequence[Worker], view: RoundView, group: EndpointGroup
) -> list[Action]:
    """The actions that doubt and brakes leave: nothing is rented or destroyed on a mere belief."""
    own = {worker.instance_id for worker in workers}
    waiting = {worker.instance_id for worker in workers if worker.awaits_owner}
    strange = {
        w.instance_id for w in workers if w.is_mislabelled and w.awaits_owner and not w.reported_at
    }
    kept: list[Action] = []
    for action in actions:
        if not view.may_plan and isinstance(action, _NOT_ON_BELIEF):
            continue
        if isinstance(action, ChangeBid) and not view.inventory.is_trusted:
            continue  # in a long doubt, too: nobody looked at that machine
        if isinstance(action, DestroyWorker) and action.instance_id in waiting:
            continue  # it serves on until the owner has said that it is ours
        if action_id(action) in strange:
            continue  # it may be another's machine: nothing of it was ever heard
        if isinstance(action, RentOffer) or action.instance_id in own:
            kept.append(action)
    if group.frozen or view.account.is_frozen:
        return frozen_actions(kept, workers, deleted_instances(workers, view))
    return kept


def deleted_instances(workers: Iterable[Worker], view: RoundView) -> frozenset[int]:
    """The instances whose group or autogroup the owner deletes, or has deleted."""
    lives = {g.endpoint_id for g in view.groups if g.state is not GroupState.DELETING}
    stays = {
        a.autogroup_id
        for a in view.autogroups
        if a.state is not AutogroupState.DELETING and a.endpoint_id in lives
    }
    return frozenset(w.instance_id for w in workers if w.autogroup_id not in stays)


def action_id(action: Action) -> int:
    """The instance an action is about; 0 for a rental."""
    return 0 if isinstance(action, RentOffer) else action.instance_id


def _guardrails(
    view: RoundView,
    fleet: Fleet,
    workers: Sequence[Worker],
    rentals: Iterable[RentIntent],
) -> Guardrails:
    booting = [w.autogroup_id for w in workers if w.state.is_first_load]
    booting += [intent.autogroup_id for intent in rentals]
    reputation = fleet.memory.reputation
    revisions = {a.autogroup_id: a.template_revision for a in view.autogroups}
    return Guardrails(
        inventory_is_known=view.may_plan,
        listed_at=view.inventory.listed_at,
        unsettled=view.unsettled,
        extra_usd_per_hour=0.0 if view.inventory.is_trusted else _at_worst_more(fleet.workers),
        has_credit=view.memory.credit_retry_at <= view.now,  # once after each pause
        avoided_machines=avoided_machines(reputation, view.now),
        open_breakers=open_breakers(reputation, booting, revisions, view.now),
        set_aside=set_aside_until(fleet.memory.failures, view.now),
        progress_at={int(key): at for key, (_, at) in fleet.memory.progress.items()},
        failing=find_failing(fleet.memory.outcomes, workers, view.now),
        failures=fleet.memory.failures,
        silences=frozenset(fleet.memory.silences),
    )


def _at_worst_more(workers: Iterable[Worker]) -> float:
    """Dollars an hour that the stopped machines would cost if, unseen, they ran."""
    at_rest = [w for w in workers if w.at_rest_since is not None]
    return sum(max(0.0, w.usd_per_hour - w.storage_usd_per_hour) for w in at_rest)
