"""A scaling round: read → decide → act.

`plan_round` reads and decides and changes nothing, so `plan` and shadow mode are this same code.
`apply_plan` writes and does what was planned, under the lease's fence.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from math import inf
from typing import Any

from chalicelib.core.fleet.breakers import find_boots, judge
from chalicelib.core.fleet.failing import follow_outcomes
from chalicelib.core.fleet.observation import Observation, follow_progress, observe
from chalicelib.core.fleet.pacing import Pacing, Verb
from chalicelib.core.fleet.reconcile import Reconciliation, reconcile
from chalicelib.core.fleet.searching import SearchBook, paces_from
from chalicelib.core.model.lifecycle import (
    WorkerEvent,
    blame,
    common_silence,
    excuse,
    moments_corrected,
    silent_by_themselves,
    silent_workers,
    transition,
)
from chalicelib.core.model.worker import Worker, WorkerState
from chalicelib.core.money.account import Account, RoundBooking, booked_since, with_booking
from chalicelib.core.money.bookkeeping import book
from chalicelib.core.scaling.actions import DestroyWorker, DrainWorker, RentOffer, StartWorker
from chalicelib.core.scaling.facts import mark_traffic
from chalicelib.core.scaling.moves.deeds import remember_deeds
from chalicelib.core.scaling.moves.leaving import short_contracts
from chalicelib.core.scaling.moves.repair import BLAMED_CODES
from chalicelib.core.scaling.round_memory import BLOB_NAME, WRITTEN_BY, RoundMemory
from chalicelib.ports.bundles import ScalerPorts
from chalicelib.ports.ledger import RentIntent
from chalicelib.ports.marketplace import MarketplaceError
from chalicelib.services.market.paced_market import PacedMarket
from chalicelib.services.rounds.acting import SPEND_RATE_LIMIT, Acting, changed
from chalicelib.services.rounds.applying import (
    apply_facts,
    finish_deletions,
    finish_rollouts,
    has_deletions,
    is_busy,
    repeat_calls,
    return_machines,
)
from chalicelib.services.rounds.canary import apply_rollback, watch_canaries
from chalicelib.services.rounds.executor import SAVING, SPENDING, execute
from chalicelib.services.rounds.group_planning import Fleet, plan_groups, search_times
from chalicelib.services.rounds.journal.minute_log import gather_minutes
from chalicelib.services.rounds.journal.notifications import deliver_notices
from chalicelib.services.rounds.journal.round_log import RoundOutcome, events_of, sum_up
from chalicelib.services.rounds.journal.spend_log import spend_kept, tally_spend
from chalicelib.services.rounds.journal.troubles import find_troubles, tell_troubles
from chalicelib.services.rounds.reading import build_books, by_endpoint, read_view
from chalicelib.services.rounds.values import Asked, GroupPlan, RoundPlan, RoundView, RowChange
from chalicelib.services.routing.views import keep_directory, publish_directory, rebuild_view

WAITS_S = 12.0  # how long a round may wait for its turns at the marketplace
GUARDED_S = 600.0  # without another try a cap's refusal is no trouble any more
CREDIT_RETRY_S = 300.0  # after Vast refused a rental for the account's credit


def run_round(
    ports: ScalerPorts,
    fence: int,
    account: Account,
    *,
    waits_s: float = WAITS_S,
    lists_until: float = inf,
) -> RoundOutcome:
    """One round under a lease.

    Raises:
        FencedError: another writer took over; nothing more was written.
        StorageUnavailableError: the guard cannot be asked, so nothing more is done.
    """
    now = ports.clock.now()
    pacing = Pacing(account.next_call_at, ports.pacing_scale)
    market = PacedMarket(
        ports.marketplace,
        ports.clock,
        pacing,
        waits_until=now + waits_s,
        lists_until=lists_until,
    )
    plan = plan_round(ports, market, account, now)
    return apply_plan(ports, market, fence, plan)


def plan_round(
    ports: ScalerPorts,
    market: PacedMarket,
    account: Account,
    now: float,
    *,
    asked: Asked | None = None,
) -> RoundPlan:
    """Read and decide; makes no call that changes anything.

    `asked`: a person's question: what would be, searched for whatever pause the scaler keeps.
    """
    view = read_view(ports, market, account, now)
    view = asked.seen(view) if asked else view
    found = reconcile(build_books(ports, view), view.listing, view.inventory, now)
    observations = _observe(ports, view)
    common = common_silence(view.workers, now)
    changes = _row_changes(view, observations, common)
    workers = _workers_after(view, found, changes)
    intents = _intents_after(view, found)
    gone = [worker for worker in view.workers if worker.instance_id in view.gone]
    booking = book(
        [*workers, *gone],  # billed until this very round
        intents,
        view.records,
        booked_at=booked_since(account, now),
        now=now,
        is_known=view.inventory.is_known,
    )
    memory = replace(
        view.memory,
        at=now,
        written_by=WRITTEN_BY,
        inventory=view.inventory,
        listing_so_far=view.listing.so_far,
        reputation=judge(view.memory.reputation, find_boots(workers, {}), now),
        canaries=watch_canaries(view, workers),
        outcomes=follow_outcomes(view.memory.outcomes, workers, now),
        progress=follow_progress(view.memory.progress, workers, view.seen, now),
        credit_retry_at=_credit_retry_at(market, view.memory, now),
        silences=view.memory.silences_after(common, now),
        failures=short_contracts(view.memory.failures, workers, now),
    )
    searches = SearchBook(paces_from(memory.search_paces), memory.search_day.on(now))
    fleet = Fleet(
        account=with_booking(account, booking),
        memory=memory,
        workers=workers,
        intents=intents,
        searches=searches,
        hurried=asked.hurried(view) if asked else frozenset(),
    )
    groups = plan_groups(ports, market, view, fleet)
    known = {sign * a.autogroup_id for a in view.autogroups for sign in (1, -1)}
    memory = replace(memory, denied=market.denied_now(memory.denied, view.listing))
    kept = {str(key): pace for key, pace in searches.paces.items() if key in known}
    memory = replace(memory, search_paces=kept, search_day=searches.day)
    return _with_memory(
        RoundPlan(
            view=view,
            reconciliation=found,
            row_changes=(*changes, *_panic_changes(account, workers, now)),
            workers=workers,
            repeats_start=frozenset(k for k, seen in observations.items() if seen.repeats_start),
            repeats_stop=frozenset(k for k, seen in observations.items() if seen.repeats_stop),
            silences=common,
            booking=booking,
            account=fleet.account,
            groups=groups,
            memory=memory,
        ),
        now,
    )


def apply_plan(
    ports: ScalerPorts, market: PacedMarket, fence: int, plan: RoundPlan
) -> RoundOutcome:
    """Write and do what was planned: facts first, then returns, then what costs money."""
    workers = {worker.instance_id: worker for worker in plan.view.workers}
    acting = Acting(ports, market, fence, workers, listed=frozenset(plan.view.records))
    acting.failures = plan.memory.failures
    account = apply_facts(acting, plan)
    execute(acting, plan, SAVING)
    return_machines(acting, plan)
    repeat_calls(acting, plan)
    execute(acting, plan, SPENDING)
    finish_rollouts(acting, plan)
    apply_rollback(acting, plan)
    if has_deletions(plan):
        finish_deletions(acting, plan)
    if has_deletions(plan) or plan.view.revisions != plan.view.memory.published:
        publish_directory(ports)
    elif plan.view.memory.written_by != WRITTEN_BY:
        keep_directory(ports)
    for endpoint_id in sorted(acting.stale_views):
        rebuild_view(ports, endpoint_id, ports.clock.now())
    _remember(acting, plan, account)
    return RoundOutcome(
        is_busy=is_busy(plan, acting),
        figures=sum_up(plan, account, acting.n_failed_creates),
    )


def _credit_retry_at(market: PacedMarket, memory: RoundMemory, now: float) -> float:
    """When renting may be tried again after Vast refused the account; 0 = nothing is wrong.

    After each pause one round tries, whatever the credit is: an account that pays later rents with
    a negative one, and a limit of the spend rate is not seen in it.
    """
    retry_at = memory.credit_retry_at
    if not retry_at or now < retry_at <= now + CREDIT_RETRY_S:  # later ones a wrong clock wrote
        return retry_at
    if memory.credit_refusal != SPEND_RATE_LIMIT:
        try:
            if market.call(Verb.CREDIT, lambda vast: vast.account_credit_usd()) > 0:
                return 0.0
        except MarketplaceError:
            pass  # nobody knows: one rental is tried now, as with no credit
    return now + CREDIT_RETRY_S


def _observe(ports: ScalerPorts, view: RoundView) -> Mapping[int, Observation]:
    records = view.seen
    return {
        worker.instance_id: observe(
            worker,
            records[worker.instance_id],
            listed_at=view.listing.started_at,  # a look is later
            now=view.now,
            allows_loopback=ports.allows_loopback,
        )
        for worker in view.workers
        if worker.instance_id in records
    }


def _row_changes(
    view: RoundView,
    observations: Mapping[int, Observation],
    common: Mapping[str, Sequence[Worker]],
) -> list[RowChange]:
    """What the market's records and silence change, and what a price rise is worth telling."""
    changes = []
    ours = {worker.instance_id for rows in common.values() for worker in rows}
    own = silent_by_themselves(view.workers, view.now)
    for workers in by_endpoint(view.workers).values():
        silent = (silent_workers(workers, view.now) | own) - ours
        for worker in workers:
            seen = observations.get(worker.instance_id)
            facts = {**moments_corrected(worker, view.now), **(seen.changes if seen else {})}
            if worker.instance_id in silent and "state" not in facts:
                facts |= blame(worker, view.now, is_own=worker.instance_id in own)
            if worker.instance_id in ours and "state" not in facts:
                facts |= excuse(worker, view.now)
            if facts:
                changes.append(RowChange(worker=worker, changes=facts))
    return changes


def _panic_changes(
    account: Account, workers: Sequence[Worker], now: float
) -> tuple[RowChange, ...]:
    """In a panic every machine of ours must go."""
    if not account.is_panicking:
        return ()
    return tuple(
        RowChange(worker=worker, changes=transition(worker, WorkerEvent.DESTROY, now))
        for worker in workers
        if worker.state is not WorkerState.DESTROYING
    )


def _workers_after(
    view: RoundView, found: Reconciliation, changes: Sequence[RowChange]
) -> tuple[Worker, ...]:
    facts = {change.worker.instance_id: change.changes for change in changes}
    kept = [
        changed(worker, facts.get(worker.instance_id, {}))
        for worker in view.workers
        if worker.instance_id not in view.gone
    ]
    return (*kept, *(new.worker for new in found.new_rows))


def _intents_after(view: RoundView, found: Reconciliation) -> tuple[RentIntent, ...]:
    settled = {intent.token: intent for intent in found.settled}
    return tuple(settled.get(intent.token, intent) for intent in view.intents)


def _with_memory(plan: RoundPlan, now: float) -> RoundPlan:
    """The plan with the memory that it leaves behind and the events that it tells."""
    stuck = {
        action.instance_id: action.reason.code
        for group in plan.groups
        for action in group.actions
        if isinstance(action, DestroyWorker | DrainWorker) and action.reason.code in BLAMED_CODES
    }
    boots = find_boots(plan.workers, stuck, plan.view.seen)
    memory = replace(plan.memory, reputation=judge(plan.memory.reputation, boots, now))
    plan = replace(plan, memory=memory)
    told = tell_troubles(memory.troubles, find_troubles(plan), plan.view.memory.at, now)
    minutes, over = gather_minutes(plan, told.lasting)
    tallies, due = tally_spend(plan)
    memory = replace(
        memory,
        groups={**memory.groups, **{_key(g): g.decision.memory for g in plan.groups}},
        traffic={_key(g): _mark(plan.workers, g, now) for g in plan.groups},
        searched={**memory.searched, **search_times(plan.groups, now)},
        troubles=told.lasting,
        n_strays=len(plan.reconciliation.unclaimed),
        minutes=minutes,
        spend=tallies,
        spend_before_jump=spend_kept(plan),
    )
    return replace(
        plan,
        memory=memory,
        events=tuple(told.events),
        reminders=tuple(told.reminders),
        series=(*over, *due),
    )


def _credit_after(acting: Acting, plan: RoundPlan) -> dict[str, Any]:
    """What the round's own rentals say of the account's credit."""
    if acting.credit_refusal:
        return {
            "credit_retry_at": plan.view.now + CREDIT_RETRY_S,
            "credit_refusal": acting.credit_refusal,
        }
    has_rented = any(isinstance(one, RentOffer) for one in acting.done.values())
    return {"credit_retry_at": 0.0, "credit_refusal": ""} if has_rented else {}


def _remember(acting: Acting, plan: RoundPlan, account: Account) -> None:
    """Persist memory and pacing, then tell what happened."""
    ports, memory = acting.ports, _with_deeds(acting, plan)
    memory = replace(memory, denied=acting.market.denied_now(memory.denied))
    memory = replace(memory, **_credit_after(acting, plan))
    for scope, minute, values in plan.series:  # again after a crash: then nothing is missing
        ports.series.put(scope, minute, values)
    ports.ledger.write_blob(acting.fence, BLOB_NAME, memory.to_bytes())
    next_call_at = acting.market.pacing.next_call_at
    if next_call_at != account.next_call_at:
        nothing = RoundBooking(booked_until=plan.view.now, spent_by_group={})
        ports.ledger.settle_round(acting.fence, nothing, next_call_at)
    events = [
        *plan.events,
        *events_of(plan, plan.view.now, acting.done, acting.problems),
        *acting.events,
    ]
    if events:
        ports.events.append(events)
    unheard = deliver_notices(ports, [*events, *plan.reminders]).problem
    if unheard is not None and unheard != memory.unheard:
        memory = replace(memory, unheard=unheard)
        ports.ledger.write_blob(acting.fence, BLOB_NAME, memory.to_bytes())


def _with_deeds(acting: Acting, plan: RoundPlan) -> RoundMemory:
    """The memory once it is known what was done: a wish that came to nothing is none."""
    groups = dict(plan.memory.groups)
    for group in plan.groups:
        done = [action for action in group.actions if id(action) in acting.done]
        groups[_key(group)] = remember_deeds(groups[_key(group)], done, plan.view.now)
        acting.remember_returns(group.snapshot.group.endpoint_id, done)
        acting.remember_overbilling(done)
    return replace(
        plan.memory,
        groups=groups,
        failures=acting.failures_left(),
        guarded=_guarded(acting, plan),
        published=plan.view.revisions,
    )


def _guarded(acting: Acting, plan: RoundPlan) -> dict[str, tuple[str, float]]:
    """Which caps refuse what groups want, until something of theirs is rented or started."""
    spent = {
        _key(group)
        for group in plan.groups
        for action in group.actions
        if isinstance(action, RentOffer | StartWorker) and id(action) in acting.done
    }
    now = plan.view.now
    kept = {key: value for key, value in plan.memory.guarded.items() if key not in spent}
    new = {str(endpoint_id): (cap, now) for endpoint_id, cap in acting.guarded.items()}
    return {key: value for key, value in {**kept, **new}.items() if now - value[1] < GUARDED_S}


def _mark(workers: Sequence[Worker], group: GroupPlan, now: float) -> Mapping[str, object]:
    endpoint_id = group.snapshot.group.endpoint_id
    own = [worker for worker in workers if worker.endpoint_id == endpoint_id]
    return mark_traffic(own, group.snapshot.waiting, now)


def _key(group: GroupPlan) -> str:
    return str(group.snapshot.group.endpoint_id)
