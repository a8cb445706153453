"""The minutes of groups and autogroups: gathered over the rounds, written when they are over."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from chalicelib.core.fleet.troubles import LastingTrouble
from chalicelib.core.model.load import reliability
from chalicelib.core.model.scopes import autogroup_scope, endpoint_scope
from chalicelib.core.model.worker import Worker
from chalicelib.core.scaling.facts import measure_traffic
from chalicelib.core.scaling.minute_series import finished, gather, is_worth_writing
from chalicelib.core.scaling.snapshot import GroupSnapshot, Waiting
from chalicelib.services.rounds.journal.troubles import is_capped
from chalicelib.services.rounds.values import GroupPlan, RoundPlan

Minutes = dict[str, Mapping[str, float]]


def gather_minutes(
    plan: RoundPlan, told: Mapping[str, LastingTrouble]
) -> tuple[Minutes, list[tuple[str, int, Mapping[str, float]]]]:
    """(the minutes in progress, those that are over and worth writing: scope, minute, values)."""
    minute, before = int(plan.view.now // 60), plan.view.memory.minutes
    running: Minutes = {}
    over: list[tuple[str, int, Mapping[str, float]]] = []
    for group in plan.groups:
        is_worth = is_worth_writing(before.get(endpoint_scope(_id(group)), {}))
        for scope, snapshot, more in _subjects(plan, group):
            sums = before.get(scope, {})
            if sums and int(sums.get("minute", minute)) < minute:
                over += [(scope, int(sums["minute"]), finished(sums))] if is_worth else []
                sums = {}
            gathered = {**gather(sums, snapshot, is_capped=is_capped(group, told)), **more}
            if scope.startswith("autogroup:") and not gathered["ready"]:
                del gathered["queue_time_s"]  # there is no queue to compare
            running[scope] = {**gathered, "minute": float(minute)}
    return running, over


def _subjects(
    plan: RoundPlan, group: GroupPlan
) -> Iterator[tuple[str, GroupSnapshot, Mapping[str, float]]]:
    """(scope, what is gathered from it, gauges beside) of a group and of its autogroups."""
    rows = [row for row in plan.workers if row.endpoint_id == _id(group)]
    more = {"hot_target": group.decision.hot_target, "reliable": reliability(rows)}
    yield endpoint_scope(_id(group)), group.snapshot, more
    for autogroup in group.snapshot.autogroups:
        own = [row for row in rows if row.autogroup_id == autogroup.autogroup_id]
        part = _part(plan, group, autogroup.autogroup_id, own)
        yield autogroup_scope(autogroup.autogroup_id), part, {"reliable": reliability(own)}


def _part(
    plan: RoundPlan, group: GroupPlan, autogroup_id: int, rows: Sequence[Worker]
) -> GroupSnapshot:
    """A group's snapshot cut to one autogroup. Nobody waits for an autogroup."""
    view, snapshot = plan.view, group.snapshot
    mark = view.memory.traffic.get(str(_id(group)), {})
    return replace(
        snapshot,
        workers=tuple(one for one in snapshot.workers if one.autogroup_id == autogroup_id),
        waiting=Waiting(),
        traffic=measure_traffic({**mark, "waiting": None}, rows, Waiting(), [], view.now),
    )


def _id(group: GroupPlan) -> int:
    return group.snapshot.group.endpoint_id
