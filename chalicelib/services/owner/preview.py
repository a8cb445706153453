"""What would be done and what it would cost: the next round's plan, a preview of a new group."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from chalicelib.core.model.autogroup import Autogroup
from chalicelib.core.model.draft import draft_of
from chalicelib.core.model.endpoint_group import EndpointGroup, Interruptible, ParameterError
from chalicelib.core.money.account import Account
from chalicelib.core.scaling.reasons import CAP_NAMES, explain
from chalicelib.ports.bundles import ApiPorts
from chalicelib.ports.errors import NotFoundError
from chalicelib.ports.marketplace import RateLimitedError
from chalicelib.services.keys import Caller
from chalicelib.services.owner.autogroups import (
    changed_autogroup,
    check_launchable,
    new_autogroup,
    visible_autogroup,
)
from chalicelib.services.owner.facts import usd_per_hour_now
from chalicelib.services.owner.groups import (
    changed_group,
    group_by_name,
    list_groups,
    visible_group,
)
from chalicelib.services.owner.rollouts import rolled_over
from chalicelib.services.routing.quotas import turn_in_s
from chalicelib.wire.launch_args import parse_launch_args
from chalicelib.wire.management import AutogroupChanges, EndpointChanges

Row = dict[str, object]

MICRO = 1_000_000
EXAMPLES = 5


ROOM_FOR_BIDS = 4  # workers; fewer hold hardly a pool on demand and bids beside it
PLAN_EVERY_S, PREVIEW_EVERY_S = 10.0, 3.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Subject:
    """What is to be changed; nothing of it for something new. `is_update`: `update workers`."""

    endpoint_id: int | None = None
    autogroup_id: int | None = None
    is_update: bool = False


def plan(ports: ApiPorts, caller: Caller, group: EndpointGroup) -> Row:
    """What the next round would do for a group, in sentences and dollars; nothing is done.

    In shadow mode: what it would do without it.

    A plan lists the whole account's machines, so keys that are bound to the group share a turn.

    Raises:
        RateLimitedError: another plan was asked under a bound key a moment ago.
        PortError: the scaler cannot be reached, or Vast does not answer.
    """
    _take_turn(ports, caller, f"plan#{group.endpoint_id}", PLAN_EVERY_S)
    answer = ports.poke.ask({"ask": "plan", "endpoint_id": group.endpoint_id})
    return {
        "endpoint_id": group.endpoint_id,
        "at": ports.clock.now(),
        **_told(ports, group.endpoint_id, answer),
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
    group, autogroups, wanted = _drafted(ports, caller, subject, endpoint, autogroup)
    warnings = _warnings(ports, caller, group, wanted)
    if not autogroups:
        return {"offers": None, "warnings": warnings}
    _take_turn(ports, caller, f"preview#{group.endpoint_id}", PREVIEW_EVERY_S)
    question: Row = {
        "ask": "plan",
        "endpoint_id": group.endpoint_id,
        "draft": draft_of(group, autogroups),
    }
    if wanted is not None:
        question["offers_for"] = {
            **offers_question(wanted),
            "with_bids": _takes_bids(group, wanted),
        }
    planned = _told(ports, group.endpoint_id, ports.poke.ask(question))
    found = planned.pop("found", None)
    warnings += [str(one) for one in _list(planned.get("problems"))]
    answer: Row = {"offers": None, "plan": planned, "warnings": warnings}
    if not isinstance(found, Mapping):
        return answer
    offers = sorted(_rows(found.get("offers")), key=lambda row: _number(row.get("usd_per_hour")))
    cap = ports.ledger.account().caps_microusd_per_hour / MICRO
    if not offers:
        warnings.append(str(found.get("hint") or "no offer fits the search now"))
    n_tested = wanted.test_workers if wanted else 0
    return {**answer, **_priced(group, n_tested, offers, cap), "bids": found.get("bids")}


def _takes_bids(group: EndpointGroup, wanted: Autogroup) -> bool:
    """Whether the autogroup would rent interruptible machines: its own word, else the group's."""
    mode = wanted.interruptible or group.params.interruptible
    return mode is not Interruptible.NEVER


def _take_turn(ports: ApiPorts, caller: Caller, name: str, every_s: float) -> None:
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
) -> tuple[EndpointGroup, list[Autogroup], Autogroup | None]:
    """The group as it would be, its autogroups, and the one among them that is new or changed."""
    now = ports.clock.now()
    before = None
    if subject.autogroup_id is not None:
        before = visible_autogroup(ports, caller, subject.autogroup_id)
    endpoint_id = before.endpoint_id if before else subject.endpoint_id
    present = _present_group(ports, caller, endpoint_id, changes)
    if present is None and caller.endpoint_id is not None:
        raise NotFoundError("Endpoint job ID not found")
    stored = ports.groups.list_autogroups(present.endpoint_id) if present else []
    if present is None:
        name = endpoint.name or (changes.endpoint_name if changes else None) or "preview"
        endpoint = replace(endpoint, name=name)
        present = EndpointGroup(endpoint_id=0, name=name, created_at=now)
    group = changed_group(present, endpoint)
    if changes is None and not subject.is_update:
        return group, list(stored), None
    if changes is None and before is None:
        raise ParameterError("autogroup_id: missing; say which autogroup is updated")
    fresh = before or new_autogroup(group.endpoint_id, now)
    wanted = changed_autogroup(fresh, changes) if changes else fresh
    if subject.is_update:
        wanted = rolled_over(ports, wanted, now)
    check_launchable(wanted)
    kept = [one for one in stored if one.autogroup_id != wanted.autogroup_id]
    return group, [*kept, wanted], wanted


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


def _told(ports: ApiPorts, endpoint_id: int, answer: Mapping[str, object]) -> Row:
    """The scaler's plan with its sentences, and what it comes to in dollars.

    `first_hour_usd`: running, and what is paid once; `once_usd`: image and model, at their largest.
    """
    actions = [_explained(action) for action in _rows(answer.get("actions"))]
    workers = {w.instance_id: w for w in ports.workers.list(endpoint_id)}
    hourly_now = sum(usd_per_hour_now(worker) for worker in workers.values())
    added = returned = 0.0
    for action in actions:
        offer = action.get("offer")
        worker = workers.get(_whole(action.get("instance_id")))
        if isinstance(offer, Mapping):
            added += _number(offer.get("usd_per_hour"))
        elif worker is not None and action.get("action") in ("destroy", "drain", "stop"):
            keeps = worker.storage_usd_per_hour if action.get("action") == "stop" else 0.0
            returned += usd_per_hour_now(worker) - keeps
        elif worker is not None and action.get("action") in ("start", "bid"):
            added += worker.usd_per_hour - worker.storage_usd_per_hour
            if action.get("action") == "bid":  # what it reserves is the rise
                added += _number(action.get("worst_usd_per_hour"))
    once = sum(_number(action.get("once_usd")) for action in actions)
    return {
        **answer,
        "actions": actions,
        "refused": [
            {**_explained(one), "cap_name": CAP_NAMES.get(str(one.get("cap")), one.get("cap"))}
            for one in _rows(answer.get("refused"))
        ],
        "notes": [_explained(note) for note in _rows(answer.get("notes"))],
        "usd_per_hour_now": hourly_now,
        "usd_per_hour_after": hourly_now + added - returned,
        "once_usd": once,
        "worst_first_hour_usd": hourly_now + added + once,
    }


def _priced(
    group: EndpointGroup, test_workers: int, offers: Sequence[Row], cap_usd_per_hour: float
) -> Row:
    """Prices of the offers, and what the group would cost idle and at most, by the hour.

    Idle with a `min_load`, one worker runs at least; how many more, only their measured perf tells.
    """
    prices = [_number(offer.get("usd_per_hour")) for offer in offers]
    storage = [_number(offer.get("storage_usd_per_hour")) for offer in offers]
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
    own = group.params.max_usd_per_hour
    highest = min(dearest * group.params.max_workers, cap_usd_per_hour)
    highest = highest if own is None else min(highest, own)
    idle = [bound(storage) * n_kept + bound(prices) * n_running for bound in (min, max)]
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


def overruled(
    group: EndpointGroup, account: Account, autogroups: Sequence[Autogroup] = ()
) -> list[str]:
    """What the owner asks that a stricter limit does not let happen, in words.

    `autogroups`: those of the group that are made or changed.
    """
    params = group.params
    caps = (
        ("max_usd_per_hour", "an hour", account.caps_microusd_per_hour),
        ("max_usd_per_day", "a day", account.caps_microusd_per_day),
        ("max_usd_per_month", "a month", account.caps_microusd_per_month),
    )
    said = [
        f"{name}: the account's cap of ${cap / MICRO:g} {period} is lower"
        for name, period, cap in caps
        if (getattr(params, name) or 0.0) * MICRO > cap
    ]
    if "cold_workers" in group.given and params.cold_workers > params.max_workers:
        said.append(
            f"cold_workers: no more than max_workers ({params.max_workers}) are kept, "
            f"not {params.cold_workers}"
        )
    said += [
        f"test_workers: no more than max_workers ({params.max_workers}) are rented, "
        f"not {autogroup.test_workers}"
        for autogroup in autogroups
        if autogroup.test_workers > params.max_workers
    ]
    return said


def _warnings(
    ports: ApiPorts, caller: Caller, group: EndpointGroup, wanted: Autogroup | None
) -> list[str]:
    warnings = []
    if group.params.min_load > 0:
        warnings.append("min_load: at least one worker always runs; how many, a measured one tells")
    taken = [g for g in list_groups(ports, caller) if g.name == group.name]
    if any(other.endpoint_id != group.endpoint_id for other in taken):
        warnings.append(f"an endpoint group named {group.name!r} exists already")
    warnings += overruled(group, ports.ledger.account(), [wanted] if wanted else ())
    if group.params.interruptible is not Interruptible.NEVER:
        warnings.append(
            "interruptible: prices here are those on demand, the worst case; bids often cost half, "
            "and are taken away without notice"
        )
        if group.params.max_workers < ROOM_FOR_BIDS:
            warnings.append(
                f"max_workers: {group.params.max_workers} leaves interruptible machines little "
                "room beside those on demand that stand in for them"
            )
    return warnings


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


def _rows(value: object) -> list[Row]:
    return (
        [dict(row) for row in value if isinstance(row, Mapping)] if isinstance(value, list) else []
    )


def _list(value: object) -> list[object]:
    return list(value) if isinstance(value, list | tuple) else []


def _whole(value: object) -> int:
    return value if isinstance(value, int) else -1


def _number(value: object) -> float:
    return float(value) if isinstance(value, int | float) else 0.0
