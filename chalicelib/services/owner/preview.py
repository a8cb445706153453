"""What would be done and what it would cost: the next round's plan, a preview of a new group."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from chalicelib.core.model.autogroup import Autogroup
from chalicelib.core.model.draft import draft_of
from chalicelib.core.model.endpoint_group import EndpointGroup, Interruptible, ParameterError
from chalicelib.core.money.budget import MICRO
from chalicelib.core.scaling.reasons import CAP_NAMES, explain
from chalicelib.ports.bundles import ApiPorts
from chalicelib.ports.errors import NotFoundError
from chalicelib.ports.marketplace import RateLimitedError
from chalicelib.services.keys import Caller
from chalicelib.services.owner.autogroups import (
    autogroup_values,
    changed_autogroup,
    check_launchable,
    new_autogroup,
    visible_autogroup,
)
from chalicelib.services.owner.caution import (
    moves_machines,
    must_ask,
    new_name,
    risks,
    warnings_of,
)
from chalicelib.services.owner.facts import usd_per_hour_now
from chalicelib.services.owner.groups import (
    changed_group,
    group_by_name,
    group_values,
    list_groups,
    visible_group,
)
from chalicelib.services.owner.rollouts import rolled_over
from chalicelib.services.routing.quotas import turn_in_s
from chalicelib.wire.launch_args import parse_launch_args
from chalicelib.wire.management import AutogroupChanges, EndpointChanges

Row = dict[str, object]

EXAMPLES = 5
NO_AUTOGROUP = "It costs nothing until it has an autogroup."
NOTHING_MOVES = "Nothing of this rents, starts or stops a machine."
PLAN_EVERY_S, PREVIEW_EVERY_S = 10.0, 3.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Subject:
    """What is to be changed; nothing of it for something new. `is_update`: `update workers`."""

    endpoint_id: int | None = None
    autogroup_id: int | None = None
    is_update: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class Draft:
    """A group as it would be, beside what it is; `wanted`: its new or changed autogroup."""

    before: EndpointGroup | None
    group: EndpointGroup
    autogroups: Sequence[Autogroup]
    autogroup_before: Autogroup | None = None
    wanted: Autogroup | None = None
    is_named_only: bool = False  # the group is new, by no more than a name that an autogroup gave

    def moves_machines(self, subject: Subject) -> bool:
        """Whether the change could rent, start or stop anything."""
        return (
            subject.is_update
            or moves_machines(*self._groups())
            or moves_machines(*self._autogroups())
        )

    def risks(self, others: Sequence[EndpointGroup]) -> list[str]:
        """What of it is asked in words."""
        slips = [new_name(self.group.name, [g.name for g in others])] if self.is_named_only else []
        return [*slips, *risks(*self._groups()), *risks(*self._autogroups())]

    def _groups(self) -> tuple[Row, Row]:
        return group_values(self.before) if self.before else {}, group_values(self.group)

    def _autogroups(self) -> tuple[Row, Row]:
        before, after = self.autogroup_before, self.wanted
        if after is None:
            return {}, {}
        return autogroup_values(before) if before else {}, autogroup_values(after)


def plan(ports: ApiPorts, caller: Caller, group: EndpointGroup) -> Row:
    """What the next round would do for a group, in sentences and dollars; nothing is done.

    In shadow mode: what it would do without it.

    A plan lists the whole account's machines, so keys that are bound to the group share a turn.

    Raises:
        RateLimitedError: another plan was asked under a bound key a moment ago.
        PortError: the scaler cannot be reached, or Vast does not answer.
    """
    take_turn(ports, caller, f"plan#{group.endpoint_id}", PLAN_EVERY_S)
    answer = ports.poke.ask({"ask": "plan", "endpoint_id": group.endpoint_id})
    return {
        "endpoint_id": group.endpoint_id,
        "at": ports.clock.now(),
        **told(ports, group.endpoint_id, answer),
    }


def preview(
    ports: ApiPorts,
    caller: Caller,
    subject: Subject,
    endpoint: EndpointChanges,
    autogroup: AutogroupChanges | None,
) -> Row:
    """What would happen and what it would cost, before a group or an autogroup is made or changed.

    Raises:
        NotFoundError: what is to be changed is not within the key's scope.
        ParameterError: a bad parameter.
        RateLimitedError: another preview was asked under a bound key a moment ago.
        PortError: the scaler cannot be reached, or Vast does not answer.
    """
    draft = _drafted(ports, caller, subject, endpoint, autogroup)
    group, wanted = draft.group, draft.wanted
    account, others = ports.ledger.account(), list_groups(ports, caller)
    warnings = warnings_of(group, account, others, wanted)
    answer: Row = {"offers": None, "risks": draft.risks(others), "warnings": warnings}
    if not draft.autogroups or not draft.moves_machines(subject):
        answer["no_plan"] = NOTHING_MOVES if draft.autogroups else NO_AUTOGROUP
        return {**answer, "must_ask": must_ask(answer)}
    take_turn(ports, caller, f"preview#{group.endpoint_id}", PREVIEW_EVERY_S)
    planned = _planned(ports, draft, account.caps_microusd_per_hour / MICRO)
    answer |= planned
    warnings += problems_of(planned)
    is_rental = wanted is not None and (wanted.autogroup_id == 0 or subject.is_update)
    return {**answer, "must_ask": is_rental or must_ask(answer)}


def problems_of(answer: Row) -> list[str]:
    """What stands in the plan's way, in words."""
    plan = answer.get("plan")
    return [str(one) for one in as_list(plan.get("problems"))] if isinstance(plan, Mapping) else []


def _planned(ports: ApiPorts, draft: Draft, cap_usd_per_hour: float) -> Row:
    """The plan of a draft, and the offers for the autogroup that is new or changed."""
    group, wanted = draft.group, draft.wanted
    question: Row = {
        "ask": "plan",
        "endpoint_id": group.endpoint_id,
        "draft": draft_of(group, draft.autogroups),
    }
    if wanted is not None:
        question["offers_for"] = {
            **offers_question(wanted),
            "with_bids": _takes_bids(group, wanted),
        }
    planned = told(ports, group.endpoint_id, ports.poke.ask(question))
    found = planned.pop("found", None)
    if not isinstance(found, Mapping):
        return {"plan": planned}
    offers = sorted(
        as_rows(found.get("offers")), key=lambda row: as_number(row.get("usd_per_hour"))
    )
    n_tested = wanted.test_workers if wanted else 0
    priced = _priced(group, n_tested, offers, cap_usd_per_hour)
    if not offers:
        hint = str(found.get("hint") or "no offer fits the search now")
        planned["problems"] = [*as_list(planned.get("problems")), hint]
    return {"plan": planned, **priced, "bids": found.get("bids")}


def _takes_bids(group: EndpointGroup, wanted: Autogroup) -> bool:
    """Whether the autogroup would rent interruptible machines: its own word, else the group's."""
    mode = wanted.interruptible or group.params.interruptible
    return mode is not Interruptible.NEVER


def take_turn(ports: ApiPorts, caller: Caller, name: str, every_s: float) -> None:
    """Bound keys share turns: a plan lists the whole account's machines.

    Raises:
        RateLimitedError: another one asked a moment ago.
    """
    if caller.endpoint_id is None:
        return
    wait_s = turn_in_s(ports, name, every_s)
    if wait_s > 0:
        raise RateLimitedError(f"{name}: the next one in {wait_s:.0f} s", wait_s)


def _drafted(
    ports: ApiPorts,
    caller: Caller,
    subject: Subject,
    endpoint: EndpointChanges,
    changes: AutogroupChanges | None,
) -> Draft:
    now = ports.clock.now()
    before = None
    if subject.autogroup_id is not None:
        before = visible_autogroup(ports, caller, subject.autogroup_id)
    endpoint_id = before.endpoint_id if before else subject.endpoint_id
    stored_group = present = _present_group(ports, caller, endpoint_id, changes)
    if present is None and caller.endpoint_id is not None:
        raise NotFoundError("Endpoint job ID not found")
    stored = ports.groups.list_autogroups(present.endpoint_id) if present else []
    endpoint_name = endpoint.name
    if present is None:
        name = endpoint.name or (changes.endpoint_name if changes else None) or "preview"
        endpoint = replace(endpoint, name=name)
        present = EndpointGroup(endpoint_id=0, name=name, created_at=now)
    group = changed_group(present, endpoint)
    if changes is None and not subject.is_update:
        return Draft(before=stored_group, group=group, autogroups=stored)
    if changes is None and before is None:
        raise ParameterError("autogroup_id: missing; say which autogroup is updated")
    fresh = before or new_autogroup(group.endpoint_id, now)
    wanted = changed_autogroup(fresh, changes) if changes else fresh
    if subject.is_update:
        wanted = rolled_over(ports, wanted, now)
    check_launchable(wanted)
    kept = [one for one in stored if one.autogroup_id != wanted.autogroup_id]
    return Draft(
        before=stored_group,
        group=group,
        autogroups=[*kept, wanted],
        autogroup_before=before,
        wanted=wanted,
        is_named_only=stored_group is None and not endpoint_name,
    )


def _present_group(
    ports: ApiPorts, caller: Caller, endpoint_id: int | None, changes: AutogroupChanges | None
) -> EndpointGroup | None:
    """The stored group that is meant, by id or by the autogroup's own words; None for a new one."""
    endpoint_id = endpoint_id or (changes.endpoint_id if changes else None)
    if endpoint_id:
        return visible_group(ports, caller, endpoint_id)
    if changes and changes.endpoint_name:
        return group_by_name(ports, caller, changes.endpoint_name)
    return None


def offers_question(wanted: Autogroup) -> Row:
    """What is asked of the scaler for an autogroup's offers, beside the plan."""
    return {
        "search": {field: dict(ops) for field, ops in wanted.search_query.items()},
        "planned_as": wanted.autogroup_id,  # in the draft; 0 is one that is not stored
        "template_hash": wanted.template_hash,
        "disk_gb": parse_launch_args(wanted.launch_args).disk_gb,
        "limit": 64,
        "hints": True,
    }


def told(ports: ApiPorts, endpoint_id: int, answer: Mapping[str, object]) -> Row:
    """The scaler's plan with its sentences, and what it comes to in dollars.

    `first_hour_usd`: running, and what is paid once; `once_usd`: image and model, at their largest.
    """
    actions = [_explained(action) for action in as_rows(answer.get("actions"))]
    workers = {w.instance_id: w for w in ports.workers.list(endpoint_id)}
    hourly_now = sum(usd_per_hour_now(worker) for worker in workers.values())
    added = returned = 0.0
    for action in actions:
        offer = action.get("offer")
        worker = workers.get(as_whole(action.get("instance_id")))
        if isinstance(offer, Mapping):
            added += as_number(offer.get("usd_per_hour"))
        elif worker is not None and action.get("action") in ("destroy", "drain", "stop"):
            keeps = worker.storage_usd_per_hour if action.get("action") == "stop" else 0.0
            returned += usd_per_hour_now(worker) - keeps
        elif worker is not None and action.get("action") in ("start", "bid"):
            added += worker.usd_per_hour - worker.storage_usd_per_hour
            if action.get("action") == "bid":  # what it reserves is the rise
                added += as_number(action.get("worst_usd_per_hour"))
    once = sum(as_number(action.get("once_usd")) for action in actions)
    return {
        **answer,
        "actions": actions,
        "refused": [_named(_explained(one)) for one in as_rows(answer.get("refused"))],
        "caps": [_named(one) for one in as_rows(answer.get("caps"))],
        "notes": [_explained(note) for note in as_rows(answer.get("notes"))],
        "usd_per_hour_now": hourly_now,
        "usd_per_hour_after": hourly_now + added - returned,
        "once_usd": once,
        "worst_first_hour_usd": hourly_now + added + once,
    }


def _priced(
    group: EndpointGroup, test_workers: int, offers: Sequence[Row], cap_usd_per_hour: float
) -> Row:
    """Prices of the offers, and what the group would cost idle and at most, by the hour.

    Idle with a `min_load`, one worker runs at least, as while a schedule's holds; how many more,
    only their measured perf tells.
    """
    prices = [as_number(offer.get("usd_per_hour")) for offer in offers]
    storage = [as_number(offer.get("storage_usd_per_hour")) for offer in offers]
    if not offers:  # then nobody can say what one costs
        none: Row = {
            "n": 0,
            "cheapest_usd_per_hour": None,
            "dearest_usd_per_hour": None,
            "examples": [],
        }
        return {"offers": none, "usd_per_hour_idle": None, "usd_per_hour_max": None}
    cheapest, dearest = prices[0], prices[-1]
    n_kept = min(group.params.cold_workers, test_workers)
    n_running = 1 if group.params.min_load > 0 else 0
    n_at_times = 1 if any(one.min_load > 0 for one in group.schedules) else n_running
    own = group.params.max_usd_per_hour
    highest = min(dearest * group.params.max_workers, cap_usd_per_hour)
    highest = highest if own is None else min(highest, own)
    idle = [
        min(storage) * n_kept + cheapest * n_running,
        max(storage) * n_kept + max(prices) * n_at_times,
    ]
    return {
        "offers": {
            "n": len(offers),
            "cheapest_usd_per_hour": cheapest,
            "dearest_usd_per_hour": dearest,
            "examples": list(offers[:EXAMPLES]),
        },
        "usd_per_hour_idle": [min(one, highest) for one in idle],
        "usd_per_hour_max": highest,
    }


def _explained(row: Row) -> Row:
    """An action or note of the scaler's answer with its code and sentence on top."""
    reason = row.get("reason", row)
    if not isinstance(reason, Mapping):
        return row
    facts = reason.get("facts")
    code = str(reason.get("code", ""))
    return {
        **{name: value for name, value in row.items() if name != "reason"},
        "code": code,
        "sentence": explain(code, facts if isinstance(facts, Mapping) else {}),
        "beaten": reason.get("beaten", []),
    }


def _named(row: Row) -> Row:
    """A row that tells of a cap, with the owner's name for it."""
    return {**row, "cap_name": CAP_NAMES.get(str(row.get("cap")), row.get("cap"))}


def as_rows(value: object) -> list[Row]:
    """The objects of an answer's list; none of what is no list."""
    return (
        [dict(row) for row in value if isinstance(row, Mapping)] if isinstance(value, list) else []
    )


def as_list(value: object) -> list[object]:
    """An answer's list; empty for what is none."""
    return list(value) if isinstance(value, list | tuple) else []


def as_whole(value: object) -> int:
    """An answer's whole number; -1 for what is none."""
    return value if isinstance(value, int) else -1


def as_number(value: object) -> float:
    """An answer's number; 0 for what is none."""
    return float(value) if isinstance(value, int | float) else 0.0
