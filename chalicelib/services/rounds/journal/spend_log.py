"""The scaler's tallies of what each group's workers cost: kept in its memory, written by the hour.

One item a group and day holds every worker: the spend of a month is one query for each group.
A deleted group's name is kept as an event, as long as its tallies are: its spend stays in view.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from chalicelib.core.model.endpoint_group import EndpointGroup
from chalicelib.core.model.worker import Worker
from chalicelib.core.money.account import before_false_jump, booked_since
from chalicelib.core.money.spend import (
    DELETED_SCOPE,
    Tally,
    add_span,
    begins_anew,
    is_due,
    spans_by_day,
    spend_scope,
)
from chalicelib.ports.event_log import Event
from chalicelib.services.rounds.reading import by_endpoint
from chalicelib.services.rounds.values import RoundPlan

Item = tuple[str, int, Tally]
"""Scope, minute in which the tally began, tally."""


def tally_spend(plan: RoundPlan) -> tuple[dict[str, Tally], list[Item]]:
    """(the tallies in progress by endpoint id, what is due to be written)."""
    view = plan.view
    gone = [worker for worker in view.workers if worker.instance_id in view.gone]
    workers = by_endpoint([*plan.workers, *gone])  # billed until this very round
    n_requests = {
        str(group.snapshot.group.endpoint_id): group.snapshot.traffic.n_started
        for group in plan.groups
    }
    known = {str(group.endpoint_id) for group in view.groups}
    before = spend_gone_on_with(plan)
    running: dict[str, Tally] = {}
    due: list[Item] = []
    for key in sorted(known | before.keys() | {str(one) for one in workers}):
        own = workers.get(int(key), [])
        tally, over = _continued(plan, _whole(before.get(key, {})), own)
        if tally:
            count = tally.get("n_requests", 0.0) + n_requests.get(key, 0)
            tally = {**tally, "n_requests": count}
        is_over = not own and key not in known
        if tally and is_due(tally, view.now, is_over=is_over):
            due.append(_item(key, tally))
            tally = {**tally, "written_at": view.now}
        due += [_item(key, one) for one in over if is_due(one, view.now, is_over=True)]
        if tally:  # of a deleted group, too, until its day is over
            running[key] = tally
    return running, due


def spend_gone_on_with(plan: RoundPlan) -> Mapping[str, Tally]:
    """The tallies so far: those of before, if the clock jumped and is back."""
    memory = plan.view.memory
    is_false = before_false_jump(plan.view.account, plan.view.now) is not None
    return memory.spend_before_jump if is_false else memory.spend


def spend_kept(plan: RoundPlan) -> Mapping[str, Tally]:
    """The tallies to go on with if the clock turns out to have jumped for a moment."""
    kept = plan.account.before_jump
    if kept is None:
        return {}
    is_new = kept.kept_at == plan.view.now
    return spend_gone_on_with(plan) if is_new else plan.view.memory.spend_before_jump


def deleted_group_event(group: EndpointGroup, now: float) -> Event:
    """What is kept of a group that is forgotten: its id and its name."""
    return Event(
        at=now,
        scope=DELETED_SCOPE,
        level="info0",
        kind="deleted_group",
        message=f"endpoint group {group.name} is deleted",
        facts={"endpoint_id": group.endpoint_id, "endpoint_name": group.name},
        actor="scaler",
    )


def _continued(
    plan: RoundPlan, tally: Tally, workers: Sequence[Worker]
) -> tuple[Tally, list[Tally]]:
    """(a group's tally up to now, those that ended on the way)."""
    view, over = plan.view, []
    for span in spans_by_day(booked_since(view.account, view.now), view.now):
        if tally and begins_anew(tally, span[0]):
            over.append(tally)
            tally = {}
        if workers:
            tally = add_span(tally, span, workers, view.records)
    return tally, over


def _whole(tally: Tally) -> Tally:
    """The tally, or none if another version left out what every one has."""
    return tally if {"begun_at", "until", "written_at"} <= tally.keys() else {}


def _item(key: str, tally: Tally) -> Item:
    return spend_scope(int(key)), int(tally["begun_at"] // 60), tally
