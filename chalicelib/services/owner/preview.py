"""What would be done and what it would cost: the next round's plan, a preview of a new group."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from chalicelib.core.model.endpoint_group import EndpointGroup
from chalicelib.core.scaling.explain import explain
from chalicelib.ports.bundles import ApiPorts
from chalicelib.services.keys import Caller
from chalicelib.services.owner.autogroups import changed_autogroup, check_launchable, new_autogroup
from chalicelib.services.owner.facts import usd_per_hour_now
from chalicelib.services.owner.groups import changed_group, list_groups
from chalicelib.wire.launch_args import parse_launch_args
from chalicelib.wire.management import AutogroupChanges, EndpointChanges

Row = dict[str, object]

MICRO = 1_000_000
EXAMPLES = 5


def plan(ports: ApiPorts, group: EndpointGroup) -> Row:
    """What the next round would do for a group, in sentences and dollars; nothing is done.

    Raises:
        PortError: the scaler cannot be reached, or Vast does not answer.
    """
    answer = ports.poke.ask({"ask": "plan", "endpoint_id": group.endpoint_id})
    actions = [_explained(action) for action in _rows(answer.get("actions"))]
    workers = {w.instance_id: w for w in ports.workers.list(group.endpoint_id)}
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
        elif worker is not None and action.get("action") == "start":
            added += worker.usd_per_hour - worker.storage_usd_per_hour
    return {
        **answer,
        "endpoint_id": group.endpoint_id,
        "at": ports.clock.now(),
        "actions": actions,
        "notes": [_explained(note) for note in _rows(answer.get("notes"))],
        "usd_per_hour_now": hourly_now,
        "usd_per_hour_after": hourly_now + added - returned,
        "worst_first_hour_usd": hourly_now + added,
    }


def preview(
    ports: ApiPorts, caller: Caller, endpoint: EndpointChanges, autogroup: AutogroupChanges | None
) -> Row:
    """What a group and its autogroup would cost, before they exist.

    Raises:
        ParameterError: a bad parameter.
        PortError: the scaler cannot be reached, or Vast does not answer.
    """
    now = ports.clock.now()
    name = endpoint.name or "preview"
    group = changed_group(
        EndpointGroup(endpoint_id=0, name=name, created_at=now), replace(endpoint, name=name)
    )
    if autogroup is None:
        return {"offers": None, "warnings": _warnings(ports, caller, group)}
    wanted = changed_autogroup(new_autogroup(0, now), autogroup)
    check_launchable(wanted)
    disk_gb = parse_launch_args(wanted.launch_args).disk_gb
    answer = ports.poke.ask(
        {
            "ask": "offers",
            "search": {field: dict(ops) for field, ops in wanted.search_query.items()},
            "template_hash": wanted.template_hash,
            "disk_gb": disk_gb,
            "limit": 64,
        }
    )
    offers = sorted(_rows(answer.get("offers")), key=lambda row: _number(row.get("usd_per_hour")))
    cap = ports.ledger.account().caps_microusd_per_hour / MICRO
    warnings = _warnings(ports, caller, group)
    if not offers:
        warnings.append("no offer fits the search now")
    return {**_priced(group, wanted.test_workers, offers, cap), "warnings": warnings}


def _priced(
    group: EndpointGroup, test_workers: int, offers: Sequence[Row], cap_usd_per_hour: float
) -> Row:
    """Prices of the offers, and what the group would cost idle and at most, by the hour.

    Idle with a `min_load`, one worker runs at least; how many more, only their measured perf tells.
    """
    prices = [_number(offer.get("usd_per_hour")) for offer in offers]
    storage = [_number(offer.get("storage_usd_per_hour")) for offer in offers]
    cheapest, dearest = (prices[0], prices[-1]) if prices else (0.0, 0.0)
    n_kept = min(group.params.cold_workers, test_workers)
    n_running = 1 if group.params.min_load > 0 else 0
    own = group.params.max_usd_per_hour
    at_most = (dearest * group.params.max_workers, cap_usd_per_hour)
    return {
        "offers": {
            "n": len(offers),
            "cheapest_usd_per_hour": cheapest,
            "dearest_usd_per_hour": dearest,
            "examples": list(offers[:EXAMPLES]),
        },
        "usd_per_hour_idle": [
            bound(storage, default=0.0) * n_kept + bound(prices, default=0.0) * n_running
            for bound in (min, max)
        ],
        "usd_per_hour_max": min(at_most) if own is None else min(*at_most, own),
    }


def _warnings(ports: ApiPorts, caller: Caller, group: EndpointGroup) -> list[str]:
    warnings = []
    if group.params.min_load > 0:
        warnings.append("min_load: at least one worker always runs; how many, a measured one tells")
    if any(other.name == group.name for other in list_groups(ports, caller)):
        warnings.append(f"an endpoint group named {group.name!r} exists already")
    cap = ports.ledger.account().caps_microusd_per_hour / MICRO
    own = group.params.max_usd_per_hour
    if own is not None and own > cap:
        warnings.append(f"max_usd_per_hour: the account's cap of ${cap:g} an hour is lower")
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


def _whole(value: object) -> int:
    return value if isinstance(value, int) else -1


def _number(value: object) -> float:
    return float(value) if isinstance(value, int | float) else 0.0
