"""What a round finds wrong, and what it tells of it: the one list of `core/fleet/troubles.py`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from chalicelib.core.fleet.intents import IntentState
from chalicelib.core.fleet.inventory import in_words
from chalicelib.core.fleet.set_aside import autogroup_key
from chalicelib.core.fleet.troubles import (
    LastingTrouble,
    Trouble,
    TroubleKind,
    begun_and_ended,
    lasting,
    present,
    with_action,
)
from chalicelib.core.model.autogroup import AutogroupState
from chalicelib.core.model.endpoint_group import GroupState
from chalicelib.core.model.scopes import ACCOUNT_SCOPE, autogroup_scope, endpoint_scope
from chalicelib.core.model.worker import WorkerState
from chalicelib.core.money.budget import MICRO, MONEY_CAPS, limits_of
from chalicelib.core.scaling.facts import group_caps
from chalicelib.core.scaling.moves.repair import last_seen_at
from chalicelib.core.scaling.reasons import CAP_NAMES, ReasonCode
from chalicelib.core.words import count, listed
from chalicelib.ports.event_log import Event
from chalicelib.services.rounds.acting import ACTOR, SPEND_RATE_LIMIT
from chalicelib.services.rounds.group_planning import rentals_per_hour
from chalicelib.services.rounds.journal.machines import (
    failing_requests,
    lost_machines,
    machine_troubles,
    missing_reports,
    open_breakers,
    refused_bids,
    suspected_machines,
    unsettled_machines,
    unstoppable_machines,
)
from chalicelib.services.rounds.journal.notifications import REPEAT_AFTER_S
from chalicelib.services.rounds.journal.waits import unexplained_wait
from chalicelib.services.rounds.values import GroupPlan, RoundPlan

RETRY_NOTICE_S = 300.0
DOUBT_WORDS = (
    "; what runs serves on, and nothing is rented or returned until a whole list comes: wait"
)
LONG_DOUBT_WORDS = (
    "; as this lasts, renting goes on with every machine counted at its worst, and each is looked "
    "at itself before it is stopped, rebooted or returned"
)
REFUSAL_COUNTS_S = 600.0  # without another try a refusal is no trouble any more


def find_troubles(plan: RoundPlan) -> list[Trouble]:
    """Everything that is wrong in this round."""
    silences = missing_reports(plan.silences, plan.view.now)
    troubles = [*_of_account(plan), *_foreign(plan), *silences]
    breakers = {trouble.scope: trouble for trouble in open_breakers(plan)}
    for group in plan.groups:
        of_group = list(_of_group(plan, group))
        scopes = [autogroup_scope(one.autogroup_id) for one in group.snapshot.autogroups]
        explaining = [
            *of_group,
            *(breakers[scope] for scope in scopes if scope in breakers),
            *(one for one in troubles if one.scope == ACCOUNT_SCOPE),
        ]
        troubles += unexplained_wait(plan, group, explaining)
        troubles += of_group
    return [with_action(one) for one in (*troubles, *breakers.values())]


def is_capped(group: GroupPlan, told: Mapping[str, LastingTrouble]) -> bool:
    """Whether a spending cap holds the group back, as far as the owner was told."""
    return present(told, f"{TroubleKind.CAP_REACHED}|{_scope(group)}") is not None


def _of_account(plan: RoundPlan) -> Iterator[Trouble]:
    view, unclaimed = plan.view, plan.reconciliation.unclaimed
    waiting = [worker for worker in plan.workers if worker.awaits_owner]
    adopted = sorted(worker.instance_id for worker in waiting if worker.is_unconfirmed)
    mislabelled = sorted(worker.instance_id for worker in waiting if worker.is_mislabelled)
    for kind, holds, text in (
        (
            TroubleKind.PANIC,
            view.account.is_panicking,
            "panic: every instance is being destroyed",
        ),
        (
            TroubleKind.INVENTORY_UNKNOWN,
            not view.inventory.is_trusted,
            f"Vast's list of instances cannot be trusted: {in_words(view.inventory.problem)}"
            + (LONG_DOUBT_WORDS if view.may_plan else DOUBT_WORDS),
        ),
        (
            TroubleKind.STRAY_MACHINES,
            unclaimed,
            f"{count(len(unclaimed), 'instance')} with our label, but in no book of ours: left "
            f"alone: {listed(unclaimed)}",
        ),
        (
            TroubleKind.KEY_LACKS_RIGHT,
            plan.memory.denied,
            "Vast's key may not do what is needed: "
            + "; ".join(f"{verb}: {said}" for verb, said in sorted(plan.memory.denied.items())),
        ),
        (
            TroubleKind.ADOPTED_UNCONFIRMED,
            adopted,
            f"{count(len(adopted), 'instance')} found by label alone, as rows were lost; what was "
            "found serves and bills, and is not destroyed before `ballast adopt`: "
            f"{listed(adopted)}",
        ),
        (
            TroubleKind.LABEL_CHANGED,
            mislabelled,
            f"{count(len(mislabelled), 'instance')} of our books under a label that is not ours "
            "(any more); it bills, and is not destroyed before `ballast adopt`, or before the "
            f"label is back: {listed(mislabelled)}",
        ),
        (
            TroubleKind.ALERTS_UNHEARD,
            plan.memory.unheard,
            f"nobody was told of the last alert: {plan.memory.unheard}",
        ),
        (
            TroubleKind.NO_CREDIT,
            plan.memory.credit_retry_at,
            _no_credit_words(plan.memory.credit_refusal),
        ),
    ):
        if holds:
            yield Trouble(kind=kind, scope=ACCOUNT_SCOPE, message=text)
    yield from suspected_machines(plan.reconciliation.suspected)


def _no_credit_words(refusal: str) -> str:
    if refusal == SPEND_RATE_LIMIT:
        return (
            "the Vast account's spending is limited by Vast (spend_rate_limit): nothing can be "
            "rented; it is tried again every five minutes"
        )
    return "the Vast account has no credit left: nothing can be rented"


def _foreign(plan: RoundPlan) -> Iterator[Trouble]:
    """Rows, groups and rentals that another version of Ballast wrote."""
    view = plan.view
    found = [f"instance {w.instance_id}" for w in plan.workers if w.state is WorkerState.FOREIGN]
    found += [g.name for g in view.groups if g.state is GroupState.FOREIGN]
    found += [
        f"autogroup {a.autogroup_id}" for a in view.autogroups if a.state is AutogroupState.FOREIGN
    ]
    found += [f"rental {i.token}" for i in view.intents if i.state is IntentState.FOREIGN]
    if found:
        text = f"written by another version, counted at the worst and left alone: {listed(found)}"
        yield Trouble(kind=TroubleKind.FOREIGN_VERSION, scope=ACCOUNT_SCOPE, message=text)


def _of_group(plan: RoundPlan, group: GroupPlan) -> Iterator[Trouble]:
    told, scope = plan.view.memory.troubles, _scope(group)
    if group.capped_by and group.snapshot.group.frozen:
        yield _frozen_above(plan, group)
    elif cap := _reached_cap(group, told) or _guarded_by(plan, group):
        yield _capped(plan, group, cap)
    yield from _held_back(plan, group)
    yield from _unlaunchable(group, told)
    yield from _refused(plan, group)
    if not group.snapshot.may_rent_anew:
        most = rentals_per_hour(group.snapshot.group.params.max_workers)
        text = f"{most} machines were rented in an hour: renting waits until it is fewer"
        yield Trouble(kind=TroubleKind.RENTALS_BRAKED, scope=scope, message=text)
    endpoint_id = group.snapshot.group.endpoint_id
    own = [worker for worker in plan.workers if worker.endpoint_id == endpoint_id]
    yield from lost_machines(own, scope, plan.view.now)
    failures, now = plan.view.memory.failures, plan.view.now
    yield from machine_troubles(own, scope, last_seen_at(group.snapshot, now), failures)
    yield from unstoppable_machines(endpoint_id, scope, failures, now)
    yield from unsettled_machines(plan, own, scope)
    yield from refused_bids(group.snapshot.autogroups, failures, now)
    yield from failing_requests(plan, own, scope)


def _capped(plan: RoundPlan, group: GroupPlan, cap: str) -> Trouble:
    """Which cap binds, how far it is used, what the cheapest offer of late needs, what to do."""
    owner, scope = group.snapshot.group, _scope(group)
    limits = limits_of(plan.account, owner.endpoint_id, group_caps(owner), plan.view.now)
    limit = next((one for one in limits if one.name == cap), None)
    prices = [one.usd_per_hour for offers in group.snapshot.offers.values() for one in offers]
    before = plan.view.memory.troubles.get(f"{TroubleKind.CAP_REACHED}|{scope}")
    cheapest = min(prices, default=None) or (before and before.facts.get("cheapest_usd_per_hour"))
    text = (
        f"a spending cap is reached ({CAP_NAMES.get(cap, cap)}): nothing more is rented or started"
    )
    facts: dict[str, object] = {"cap": cap}
    if limit is not None:
        text += f"; ${limit.used / MICRO:.2f} of ${limit.cap / MICRO:.2f} is in use"
    if isinstance(cheapest, int | float):
        facts["cheapest_usd_per_hour"] = cheapest
        text += f", and the cheapest offer needs ${cheapest:.2f} an hour"
    kind = TroubleKind.CAP_REACHED
    return Trouble(kind=kind, scope=scope, message=f"{text}; raise the cap, or wait", facts=facts)


def _frozen_above(plan: RoundPlan, group: GroupPlan) -> Trouble:
    """A cap would wind this group down, and the owner's freeze forbids it: what that costs."""
    owner = group.snapshot.group
    committed = plan.account.committed_by_group.get(owner.endpoint_id, 0) / MICRO
    name = CAP_NAMES.get(group.capped_by, group.capped_by)
    text = (
        f"frozen above a spending cap ({name}): up to ${committed:.2f} an hour goes on being spent "
        f"and nothing is wound down; unfreeze, raise the cap, or destroy {owner.name}"
    )
    facts = {"cap": group.capped_by, "usd_per_hour": committed}
    kind = TroubleKind.FROZEN_ABOVE_CAP
    return Trouble(kind=kind, scope=_scope(group), message=text, facts=facts)


def _refused(plan: RoundPlan, group: GroupPlan) -> Iterator[Trouble]:
    """Autogroups for which nothing but refusals came back, until something is rented."""
    for autogroup in group.snapshot.autogroups:
        failure = plan.view.memory.failures.get(autogroup_key(autogroup.autogroup_id))
        if failure is None or plan.view.now - failure.at > REFUSAL_COUNTS_S:
            continue
        text = (
            f"autogroup {autogroup.autogroup_id}: {count(failure.n, 'rental')} in a row came to "
            f"nothing, the next offer is tried each time; Vast said: {failure.problem}"
        )
        scope = autogroup_scope(autogroup.autogroup_id)
        yield Trouble(kind=TroubleKind.OFFERS_REFUSED, scope=scope, message=text)


def _held_back(plan: RoundPlan, group: GroupPlan) -> Iterator[Trouble]:
    """Clients wait, and the owner's own settings forbid another machine."""
    snapshot, scope = group.snapshot, _scope(group)
    if not snapshot.waiting.n_overdue:
        return
    waiting = count(snapshot.waiting.n, "request waits", "requests wait")
    codes = {note.code for note in group.decision.notes}
    if snapshot.group.frozen:
        text = f"{waiting}, and nothing is rented: frozen by the owner; unfreeze it to serve them"
        yield Trouble(kind=TroubleKind.FROZEN, scope=scope, message=text)
    elif snapshot.caps.free_workers < 1 or "cap_workers" in codes:
        most = snapshot.group.params.max_workers
        text = f"{waiting}, and max_workers ({most}) is reached; raise it to serve them sooner"
        if lost := sum(rental.is_unsettled for rental in snapshot.rentals):
            text += (
                f"; {count(lost, 'rental')} whose answer was lost still counted, until Vast's "
                "lists say whether they exist"
            )
        if staying := _told_to_go(plan, snapshot.group.endpoint_id):
            text += f"; told to go and still counted, as billed: {staying}"
        yield Trouble(kind=TroubleKind.WORKERS_CAPPED, scope=scope, message=text)


def _told_to_go(plan: RoundPlan, endpoint_id: int) -> int:
    own = [worker for worker in plan.workers if worker.endpoint_id == endpoint_id]
    return sum(worker.state is WorkerState.DESTROYING for worker in own)


def _guarded_by(plan: RoundPlan, group: GroupPlan) -> str:
    """The cap that refused the group's last rental or start, though the plan had room for it."""
    endpoint_id = group.snapshot.group.endpoint_id
    cap, _ = plan.view.memory.guarded.get(str(endpoint_id), ("", 0.0))
    return cap if cap in MONEY_CAPS else ""


def _reached_cap(group: GroupPlan, told: Mapping[str, LastingTrouble]) -> str:
    """The spending cap that holds a group back, or "".

    While no offer is seen it is believed as it was, until there is room for the cheapest of before.
    """
    caps = group.snapshot.caps
    why_not = group.capped_by or caps.why_not
    if why_not in MONEY_CAPS:
        return why_not
    codes = {note.code for note in group.decision.notes}
    before = present(told, f"{TroubleKind.CAP_REACHED}|{_scope(group)}")
    cheapest = before.facts.get("cheapest_usd_per_hour") if before else 0.0
    lasts = not isinstance(cheapest, int | float) or caps.free_usd_per_hour < cheapest
    is_refused = "cap_usd" in codes or (bool(codes & {"no_offers", "not_searched"}) and lasts)
    return caps.bound_by if is_refused else ""


def _unlaunchable(group: GroupPlan, told: Mapping[str, LastingTrouble]) -> Iterator[Trouble]:
    """Autogroups that nothing can be rented for; the others of the account go on as ever.

    One whose search had no turn in this round is believed to be as it was.
    """
    offers = group.snapshot.offers
    unfit = {
        int(note.facts["autogroup_id"]): note.facts
        for note in group.decision.notes
        if note.code is ReasonCode.OFFERS_UNFIT
    }
    for autogroup_id in sorted({*group.decision.wants_offers, *unfit}):
        name, scope = f"autogroup {autogroup_id}", autogroup_scope(autogroup_id)
        for kind, text in (
            (
                TroubleKind.CANNOT_LAUNCH,
                f"{name} cannot be launched: {group.unlaunchable[autogroup_id]}"
                if autogroup_id in group.unlaunchable
                else "",
            ),
            (
                TroubleKind.TEMPLATE_UNREADABLE,
                f"{name}: Vast could not say what to rent: {group.unanswered[autogroup_id]}"
                if autogroup_id in group.unanswered
                else "",
            ),
            (
                TroubleKind.NO_OFFERS,
                _unfit_words(name, unfit[autogroup_id])
                if autogroup_id in unfit
                else f"{name}: no offer of Vast's fits its search; widen search_params, or wait"
                if offers.get(autogroup_id) == ()
                and autogroup_id not in group.unlaunchable
                and autogroup_id not in group.unanswered
                else "",
            ),
        ):
            before = present(told, f"{kind}|{scope}")
            if not text and autogroup_id not in offers and before is not None:
                text = before.message
            if text:
                yield Trouble(kind=kind, scope=scope, message=text)


def _unfit_words(name: str, facts: Mapping[str, object]) -> str:
    return (
        f"{name}: no offer that fits its search can be used: {facts['n_ending']} of {facts['n']} "
        f"end within the hour, {facts['n_avoided']} are of machines that failed lately; widen "
        "search_params, or wait"
    )


def _scope(group: GroupPlan) -> str:
    return endpoint_scope(group.snapshot.group.endpoint_id)


@dataclass(frozen=True, kw_only=True, slots=True)
class Announcement:
    """What a round tells of its troubles. `lasting`: all that last, by key."""

    lasting: Mapping[str, LastingTrouble]
    events: Sequence[Event]
    reminders: Sequence[Event]  # for the notifiers alone, should they have failed before


def tell_troubles(
    before: Mapping[str, LastingTrouble], troubles: Sequence[Trouble], last_at: float, now: float
) -> Announcement:
    """Each trouble is told once when it matters, and once when it ends.

    `last_at`: of the round before. Every few minutes the notifiers get another chance, for as long
    as they would not repeat themselves.
    """
    after = lasting(before, troubles, now)
    events, begun = [], set()
    for trouble, begins in begun_and_ended(before, after):
        if begins:
            begun.add(id(trouble))
            events.append(_event(now, trouble, trouble.kind, trouble.message, trouble.facts))
        else:
            lasted_s = (now if trouble.is_present else trouble.absent_since) - trouble.since
            text = f"{trouble.kind}: over after {lasted_s:.0f} s"
            events.append(_event(now, trouble, f"{trouble.kind}_over", text, {}))
    reminders = [
        _event(now, trouble, trouble.kind, trouble.message, trouble.facts)
        for trouble in after.values()
        if trouble.is_present and id(trouble) not in begun and _is_due_again(trouble, last_at, now)
    ]
    return Announcement(lasting=after, events=events, reminders=reminders)


def _is_due_again(trouble: LastingTrouble, last_at: float, now: float) -> bool:
    """Nobody heard of one kind by its nature: it goes on until somebody does."""
    due_at = trouble.matters_at
    if due_at > last_at:
        return False
    n_before, n_now = ((at - due_at) // RETRY_NOTICE_S for at in (last_at, now))
    ends = trouble.kind != TroubleKind.ALERTS_UNHEARD
    return n_before < n_now and not (ends and now - due_at >= REPEAT_AFTER_S - RETRY_NOTICE_S)


def _event(
    now: float, trouble: LastingTrouble, kind: str, text: str, facts: Mapping[str, object]
) -> Event:
    return Event(
        at=now,
        scope=trouble.scope,
        level="info0",
        kind=kind,
        message=text,
        facts=facts,
        actor=ACTOR,
    )
